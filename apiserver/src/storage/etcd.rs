//! The Storage trait over any etcd v3, by gRPC.
use super::Error;
use super::etcd3::{Calls, Etcd3, WatchStream};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_client::WatchClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// A connection attempt, and the silence after which a dead connection is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message from etcd: a page of a list, or a batch of events, bytes.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// How an etcd is reached. `endpoints` are `http://host:port`, `https://host:port` or `unix:///path`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub endpoints: Vec<String>,
    /// PEM of the CA that signed the server, and of our certificate and key.
    pub ca_pem: Option<Vec<u8>>,
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

/// [`super::Storage`] over etcd.
pub type Etcd = Etcd3<Grpc>;

/// Connects lazily: an etcd that is down is an error of the first call, not of this one.
pub fn connect(options: &Options) -> Result<Etcd, Error> {
    Ok(Etcd3::new(Grpc {
        channel: channel(options)?,
    }))
}

fn channel(options: &Options) -> Result<Channel, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::Other(format!("etcd endpoint: {e}"));
    let first = options.endpoints.first().ok_or_else(|| bad(&"none given"))?;
    if let Some(path) = first.strip_prefix("unix://") {
        let path = std::path::PathBuf::from(path);
        let endpoint = tune(Endpoint::from_static("http://localhost"));
        return Ok(
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                let path = path.clone();
                async move {
                    let stream = tokio::net::UnixStream::connect(path).await?;
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
                }
            })),
        );
    }
    let mut endpoints = Vec::with_capacity(options.endpoints.len());
    for url in &options.endpoints {
        let mut endpoint = tune(Endpoint::from_shared(url.clone()).map_err(|e| bad(&e))?);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            if let Some(ca) = &options.ca_pem {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((cert, key)) = &options.identity_pem {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|e| bad(&e))?;
        }
        endpoints.push(endpoint);
    }
    Ok(match endpoints.as_slice() {
        [one] => one.connect_lazy(),
        _ => Channel::balance_list(endpoints.into_iter()),
    })
}

fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_adaptive_window(true)
}

#[derive(Clone)]
pub struct Grpc {
    channel: Channel,
}

impl Grpc {
    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Calls for Grpc {
    async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        Ok(self.kv().range(r).await?.into_inner())
    }
    async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        Ok(self.kv().txn(r).await?.into_inner())
    }
    async fn compact(&self, r: pb::CompactionRequest) -> Result<(), Status> {
        self.kv().compact(r).await.map(drop)
    }
    async fn lease_grant(&self, r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
        Ok(LeaseClient::new(self.channel.clone())
            .lease_grant(r)
            .await?
            .into_inner())
    }
    async fn watch(&self, requests: mpsc::Receiver<pb::WatchRequest>) -> Result<WatchStream, Status> {
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(requests));
        // Without a leader the stream is cancelled, so that a cut-off member never serves a stale watch.
        request
            .metadata_mut()
            .insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Box::pin(client.watch(request).await?.into_inner()))
    }
}
