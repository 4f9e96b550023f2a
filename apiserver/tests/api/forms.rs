//! Encodings and forms of answers, discovery, OpenAPI, health.
use super::harness::{Cluster, PROTOBUF};
use super::*;
use http::Method;
use keelson_machinery::{codec, resources};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn protobuf_both_ways() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let id = resources::by_resource("", "v1", "pods").unwrap().type_id;
    let (mut raw, mut body) = (Vec::new(), Vec::new());
    codec::value_to_proto(id, &pod("a", json!({"app": "x"})), &mut raw).unwrap();
    codec::wrap_envelope("v1", "Pod", &raw, &mut body);
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let made = admin.send(Method::POST, PODS, &headers, body).await;
    assert_eq!(
        (made.code, &made.headers["content-type"]),
        (201, &http::HeaderValue::from_static(PROTOBUF))
    );
    let envelope = codec::unwrap_envelope(&made.body).unwrap();
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "Pod"));
    let mut tree = codec::proto_to_value(id, envelope.raw).unwrap();
    (tree["apiVersion"], tree["kind"]) = ("v1".into(), "Pod".into());
    assert_eq!(admin.get(&format!("{PODS}/a")).await.ok(), tree);
    let list = admin.send(Method::GET, PODS, &[("accept", PROTOBUF)], Vec::new()).await;
    assert_eq!(codec::unwrap_envelope(&list.body).unwrap().kind, "PodList");
    let absent = admin
        .send(
            Method::GET,
            &format!("{PODS}/none"),
            &[("accept", PROTOBUF)],
            Vec::new(),
        )
        .await;
    assert_eq!(
        (absent.code, codec::unwrap_envelope(&absent.body).unwrap().kind),
        (404, "Status")
    );
    let watch = format!("{PODS}?watch=true&resourceVersion=0&timeoutSeconds=1");
    let watch = admin
        .send(
            Method::GET,
            &watch,
            &[("accept", "application/vnd.kubernetes.protobuf;stream=watch")],
            Vec::new(),
        )
        .await;
    assert_eq!(
        watch.headers["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let length = u32::from_be_bytes(watch.body[..4].try_into().unwrap()) as usize;
    assert_eq!(length, watch.body.len() - 4);
    let text = String::from_utf8_lossy(&watch.body).into_owned();
    assert!(text.contains("ADDED") && text.contains("k8s\0"));
}

#[tokio::test]
async fn tables_and_metadata() {
    let c = Cluster::start().await;
    let admin = c.admin();
    admin.post(PODS, pod("a", json!({"app": "x"}))).await.ok();
    let table = admin
        .send(Method::GET, PODS, &[("accept", TABLE)], Vec::new())
        .await
        .ok();
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(table["columnDefinitions"][1]["name"], "Ready");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = admin
        .send(Method::GET, PODS, &[("accept", accept)], Vec::new())
        .await
        .ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["labels"], json!({"app": "x"}));
    assert!(list["items"][0]["spec"].is_null());
    let accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = admin.send(Method::GET, PODS, &[("accept", accept)], Vec::new()).await;
    assert_eq!(
        codec::unwrap_envelope(&list.body).unwrap().kind,
        "PartialObjectMetadataList"
    );
    let odd = admin
        .send(Method::GET, PODS, &[("accept", "text/html")], Vec::new())
        .await;
    assert_eq!(odd.code, 406);
}

#[tokio::test]
async fn every_kind_is_listed_and_watched() {
    let c = Cluster::start().await;
    let admin = c.admin();
    for r in resources::all().iter().filter(|r| r.verbs.contains(&"list")) {
        let root = if r.group.is_empty() {
            "/api".into()
        } else {
            format!("/apis/{}", r.group)
        };
        let path = format!("{root}/{}/{}", r.version, r.plural);
        for accept in ["application/json", PROTOBUF, TABLE] {
            let answer = admin.send(Method::GET, &path, &[("accept", accept)], Vec::new()).await;
            assert_eq!(
                answer.code,
                200,
                "{path} as {accept}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        let list = admin.get(&path).await.ok();
        assert_eq!(list["kind"], r.list_kind);
        assert!(list["items"].is_array(), "{path}");
    }
}

#[tokio::test]
async fn discovery_in_both_forms() {
    let c = Cluster::start().await;
    let admin = c.admin();
    assert_eq!(admin.get("/api").await.ok()["versions"], json!(["v1"]));
    let groups = admin.get("/apis").await.ok();
    assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "apps"));
    let core = admin.get("/api/v1").await.ok();
    let resource = |name: &str| {
        core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(resource("pods")["shortNames"], json!(["po"]));
    assert_eq!(resource("pods/log")["namespaced"], true);
    for version in ["v2", "v2beta1"] {
        let accept =
            format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList,application/json");
        for path in ["/api", "/apis"] {
            let a = admin.send(Method::GET, path, &[("accept", &accept)], Vec::new()).await;
            let content_type = a.headers["content-type"].to_str().unwrap().to_owned();
            assert!(content_type.contains("as=APIGroupDiscoveryList"), "{content_type}");
            let v = a.ok();
            assert_eq!(v["kind"], "APIGroupDiscoveryList");
            assert_eq!(v["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
            assert!(v["items"][0]["versions"][0]["resources"].is_array());
        }
    }
    let index = admin.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.contains("hash="));
    let document = admin.get(&url).await.ok();
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let minor = admin.get("/version").await.ok();
    assert_eq!((&minor["major"], &minor["minor"]), (&json!("1"), &json!("35")));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(admin.get(path).await.body, b"ok");
    }
    assert_eq!(admin.get("/nope").await.code, 404);
}
