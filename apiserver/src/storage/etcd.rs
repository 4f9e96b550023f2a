//! The Storage trait over any etcd v3, by gRPC.
//!
//! One member is asked until it fails, then the next. What certainly changed nothing is asked again at once.
use super::Error;
use super::etcd3::{Calls, Etcd3, WatchStream};
use futures::TryStreamExt;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_client::WatchClient;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

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
    let bad = |e: &dyn std::fmt::Display| Error::Other(format!("etcd endpoint: {e}"));
    let channels: Vec<Channel> = options
        .endpoints
        .iter()
        .map(|url| channel(url, options).map_err(|e| bad(&e)))
        .collect::<Result<_, _>>()?;
    if channels.is_empty() {
        return Err(bad(&"none given"));
    }
    Ok(Etcd3::new(Grpc {
        members: Arc::new(Members {
            channels,
            preferred: AtomicUsize::new(0),
        }),
    }))
}

fn channel(url: &str, options: &Options) -> Result<Channel, tonic::transport::Error> {
    if let Some(path) = url.strip_prefix("unix://") {
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
    let mut endpoint = tune(Endpoint::from_shared(url.to_owned())?);
    if url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &options.ca_pem {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((cert, key)) = &options.identity_pem {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect_lazy())
}

fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_adaptive_window(true)
}

/// The members of one etcd, of which one is asked until it fails.
struct Members {
    channels: Vec<Channel>,
    /// Index of the one that is asked first.
    preferred: AtomicUsize,
}

/// What may be asked of another member when one did not answer (upstream: clientv3's retry interceptor).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It changes nothing, so any other member may be asked.
    Always,
    /// Only if the request certainly was not sent: else it might be done twice.
    IfNotSent,
}

impl Members {
    async fn ask<T, F>(&self, again: Again, call: impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let at = (first + tried) % self.channels.len();
            tried += 1;
            match call(self.channels[at].clone()).await {
                Err(e) if e.code() == Code::Unavailable => {
                    self.leave(at);
                    let may = again == Again::Always || was_not_sent(&e);
                    if !may || tried >= self.channels.len() {
                        return Err(e);
                    }
                }
                other => return other,
            }
        }
    }

    /// The next request goes to another member first, if this one still was to get it.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.channels.len();
        // Who loses this race finds that another has left it already.
        let _ = self
            .preferred
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Whether there was no connection to send it on.
fn was_not_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(e) = cause {
        if e.is::<tonic::ConnectError>() {
            return true;
        }
        cause = e.source();
    }
    false
}

#[derive(Clone)]
pub struct Grpc {
    members: Arc<Members>,
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[async_trait::async_trait]
impl Calls for Grpc {
    async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let call = |c| {
            let r = r.clone();
            async move { Ok(kv(c).range(r).await?.into_inner()) }
        };
        self.members.ask(Again::Always, call).await
    }
    async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        let call = |c| {
            let r = r.clone();
            async move { Ok(kv(c).txn(r).await?.into_inner()) }
        };
        self.members.ask(Again::IfNotSent, call).await
    }
    async fn compact(&self, r: pb::CompactionRequest) -> Result<(), Status> {
        let call = |c| async move { kv(c).compact(r).await.map(drop) };
        self.members.ask(Again::IfNotSent, call).await
    }
    async fn lease_grant(&self, r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
        let call = |c| async move { Ok(LeaseClient::new(c).lease_grant(r).await?.into_inner()) };
        // A lease too many ends by itself.
        self.members.ask(Again::Always, call).await
    }
    async fn watch(&self, requests: mpsc::Receiver<pb::WatchRequest>) -> Result<WatchStream, Status> {
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(requests));
        // Without a leader the stream is cancelled, so that a cut-off member never serves a stale watch.
        request
            .metadata_mut()
            .insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let members = self.members.clone();
        let at = members.preferred.load(Ordering::Relaxed);
        let mut client = WatchClient::new(members.channels[at].clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        // Whoever watches begins again where it ended: at another member, if this one failed.
        let stream = client.watch(request).await.inspect_err(|_| members.leave(at))?;
        let stream = stream.into_inner();
        Ok(Box::pin(stream.inspect_err(move |_| members.leave(at))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Guarded, Storage};
    use super::*;

    /// Members that are down are passed over: by reads, and by writes that cannot have been sent.
    #[tokio::test]
    async fn one_member_that_is_down_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = keelson_kvstore::Options::new("test", dir.path().to_owned());
        options.cache_bytes = 1 << 20;
        let options = options.serve_at(([127, 0, 0, 1], 0).into(), None);
        let server = keelson_kvstore::Server::start(options).await.unwrap();
        let down = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let up = format!("http://{}", server.client_addr().unwrap());
        for endpoints in [
            vec![format!("http://{down}"), up.clone()],
            vec![up, format!("http://{down}")],
        ] {
            let members = endpoints.len();
            let client = |_| {
                connect(&Options {
                    endpoints: endpoints.clone(),
                    ..Options::default()
                })
                .unwrap()
            };
            // Whatever comes first.
            client(0).current_revision().await.unwrap();
            let put = client(1).put(b"/registry/x", "1".into(), 0, 0).await.unwrap();
            assert!(matches!(put, Guarded::Done(_)), "{put:?}");
            let both = client(2);
            for _ in 0..2 * members {
                both.get(b"/registry/x").await.unwrap();
            }
            both.put(b"/registry/y", "1".into(), 0, 60).await.unwrap();
            let mut failed = 0;
            while both.watch(b"/registry/", 1).await.is_err() {
                failed += 1;
                assert!(failed < members, "the watch goes to another member");
            }
            for key in [b"/registry/x", b"/registry/y"] {
                let (found, _) = both.get(key).await.unwrap();
                both.delete(key, found.unwrap().mod_revision).await.unwrap();
            }
        }
        server.shutdown().await;
    }
}
