//! gRPC reflection tells the whole API, in both versions that tools ask for.
#![allow(clippy::unwrap_used)]

use keelson_kvstore::{Options, Server};
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;

const SERVICES: &[&str] = &[
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "v3electionpb.Election",
    "v3lockpb.Lock",
];

macro_rules! services_by {
    ($version:ident, $url:expr) => {{
        use tonic_reflection::pb::$version as pb;
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        let channel = Endpoint::from_shared($url).unwrap().connect().await.unwrap();
        let mut client = pb::server_reflection_client::ServerReflectionClient::new(channel);
        let ask = |message| pb::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let requests = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("etcdserverpb.KV.Txn".to_owned())),
            ask(MessageRequest::FileContainingSymbol("keelson.kvstore.v1.Envelope".to_owned())),
        ];
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await;
        let answers: Vec<_> = answers.unwrap().into_inner().collect().await;
        let mut answers = answers.into_iter().map(|a| a.map(|a| a.message_response.unwrap()));
        let mut names = match answers.next().unwrap().unwrap() {
            MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|s| s.name).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let file = answers.next().unwrap().unwrap();
        assert!(matches!(file, MessageResponse::FileDescriptorResponse(f) if !f.file_descriptor_proto.is_empty()));
        // The log's own envelope is nobody's business.
        assert!(answers.next().unwrap().is_err());
        names.sort_unstable();
        names
    }};
}

#[tokio::test]
async fn every_service_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    let server = Server::start(options).await.unwrap();
    let url = format!("http://{}", server.client_addr().unwrap());
    for names in [services_by!(v1, url.clone()), services_by!(v1alpha, url.clone())] {
        for service in SERVICES {
            assert!(names.iter().any(|n| n == service), "{service} in {names:?}");
        }
        assert!(!names.iter().any(|n| n.starts_with("keelson.")), "{names:?}");
    }
    server.shutdown().await;
}
