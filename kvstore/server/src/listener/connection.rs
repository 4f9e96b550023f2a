//! One connection of a client, from its handshake to its end.

use super::sniff::{Rewound, Spoken, sniff};
use super::socket::{Socket, Stream};
use super::{Audience, PeerCertificate};
use crate::front::{self, Client, Terms};
use crate::http::Split;
use crate::{Limits, Serves};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt};

/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that has not said by then what it speaks is dropped.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(120);
/// The head of an HTTP/1.1 request takes no longer than this, as etcd's.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of the head of an HTTP/1.1 request, and as much read ahead of its body.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// Bytes of the headers of a call.
const HEADER_LIST_BYTES_MAX: u32 = 1 << 20;
/// Calls under way on one connection, whatever the options allow: it guards memory.
const STREAMS_MAX: u32 = 100_000;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How long open connections may go on when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The same of other members, whose streams never end by themselves and who have a new leader by then.
const MEMBERS_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// What one connection may do.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    streams: u32,
    /// `None`: silence is nobody's business.
    keepalive_interval: Option<Duration>,
    keepalive_timeout: Duration,
    pub(super) patience: Patience,
}

/// How long what a client begins may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub handshake: Duration,
    pub first_bytes: Duration,
    pub header: Duration,
}

impl ConnectionLimits {
    pub fn new(limits: &Limits) -> ConnectionLimits {
        ConnectionLimits {
            streams: limits.concurrent_streams.min(STREAMS_MAX),
            keepalive_interval: Some(limits.keepalive_interval)
                .filter(|interval| !interval.is_zero() && !limits.keepalive_timeout.is_zero()),
            keepalive_timeout: limits.keepalive_timeout,
            patience: Patience {
                handshake: HANDSHAKE_TIMEOUT,
                first_bytes: FIRST_BYTES_TIMEOUT,
                header: HEADER_TIMEOUT,
            },
        }
    }
}

/// The client's address in words, among the extensions of each request.
#[derive(Clone, Debug)]
pub struct Remote(pub Arc<str>);

/// Among the extensions of each request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct Secure;

pub struct Connection {
    pub acceptor: Option<TlsAcceptor>,
    pub serves: Serves,
    pub service: Split,
    pub limits: ConnectionLimits,
    pub audience: Audience,
    pub stop: CancellationToken,
    pub remote: Remote,
}

impl Connection {
    /// Ends with the connection. Why one was refused is logged here, in etcd's words.
    pub async fn serve(self, socket: Socket) {
        let stop = self.stop.clone();
        let opened = tokio::select! {
            opened = self.open(socket) => opened,
            () = stop.cancelled() => return,
        };
        let Some((stream, certificate)) = opened else { return };
        let spoken = tokio::select! {
            spoken = tokio::time::timeout(self.limits.patience.first_bytes, sniff(stream)) => spoken,
            () = stop.cancelled() => return,
        };
        let refused = match spoken {
            Err(_) => "the client said nothing".to_owned(),
            Ok(Err(error)) => return self.lost(&error),
            Ok(Ok((Spoken::Nothing, _))) => return,
            Ok(Ok((Spoken::Tls, _))) => "a TLS handshake on a port without TLS".to_owned(),
            Ok(Ok((Spoken::Http1, _))) if self.serves == Serves::Grpc => "HTTP/1 on a port for gRPC only".to_owned(),
            Ok(Ok((Spoken::Http2, stream))) => return self.serve_http2(stream, certificate).await,
            Ok(Ok((Spoken::Http1, stream))) => return self.serve_http1(stream, certificate).await,
        };
        self.reject("", &refused);
    }

    async fn open(&self, socket: Socket) -> Option<(Stream, Option<PeerCertificate>)> {
        let Some(acceptor) = &self.acceptor else {
            return Some((Stream::Plain(socket), None));
        };
        // In two steps, so that a refusal can name the server that the client asked for.
        let mut server_name = String::new();
        let address = socket.peer_ip();
        let handshake = async {
            let start = LazyConfigAcceptor::new(Default::default(), socket).await?;
            server_name = start.client_hello().server_name().unwrap_or_default().to_owned();
            start.into_stream(acceptor.config().clone()).await
        };
        let outcome = tokio::time::timeout(self.limits.patience.handshake, handshake).await;
        match outcome {
            Ok(Ok(stream)) => {
                let certificate = stream.get_ref().1.peer_certificates().and_then(PeerCertificate::new);
                if let Err(error) = self.check_caller(certificate.as_ref(), address).await {
                    self.reject(&server_name, &error);
                    return None;
                }
                Some((Stream::Tls(Box::new(stream)), certificate))
            }
            Ok(Err(error)) if is_end(&error) => {
                self.lost(&error);
                None
            }
            Ok(Err(error)) => {
                self.reject(&server_name, &in_words(&error));
                None
            }
            Err(_) => {
                self.reject(&server_name, "TLS handshake timed out");
                None
            }
        }
    }

    /// Whether a member calls from where its certificate says.
    async fn check_caller(&self, shown: Option<&PeerCertificate>, from: Option<IpAddr>) -> Result<(), String> {
        let Audience::Members(Some(check)) = &self.audience else {
            return Ok(());
        };
        match (shown.and_then(|c| c.chain().first()), from) {
            (Some(certificate), Some(ip)) => check(certificate.clone(), ip).await,
            _ => Ok(()),
        }
    }

    fn reject(&self, server_name: &str, error: &str) {
        let remote = &*self.remote.0;
        tracing::warn!(
            "remote-addr" = remote,
            "server-name" = server_name,
            error,
            "rejected connection on {} endpoint",
            self.audience.endpoint()
        );
    }

    /// A client that hung up is nobody's fault; probes of load balancers do it all the time.
    fn lost(&self, error: &io::Error) {
        let remote = &*self.remote.0;
        let endpoint = self.audience.endpoint();
        tracing::debug!("remote-addr" = remote, %error, "rejected connection on {endpoint} endpoint");
    }

    fn drain(&self) -> Duration {
        match self.audience {
            Audience::Clients => DRAIN_TIMEOUT,
            Audience::Members(_) => MEMBERS_DRAIN_TIMEOUT,
        }
    }

    async fn serve_http2(self, stream: Rewound, certificate: Option<PeerCertificate>) {
        let terms = Terms {
            streams_max: self.limits.streams,
            header_list_bytes_max: HEADER_LIST_BYTES_MAX,
            stream_window_bytes: STREAM_WINDOW_BYTES,
            connection_window_bytes: CONNECTION_WINDOW_BYTES,
            keepalive: self
                .limits
                .keepalive_interval
                .map(|interval| (interval, self.limits.keepalive_timeout)),
            drain: self.drain(),
        };
        let client = Client {
            remote: self.remote.clone(),
            secure: self.acceptor.is_some(),
            certificate,
        };
        let outcome = front::serve(stream, client, self.service, terms, self.stop).await;
        tell_end(&self.remote, outcome);
    }

    async fn serve_http1(self, stream: Rewound, certificate: Option<PeerCertificate>) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.patience.header)
            .max_buf_size(HEADER_BYTES_MAX);
        let drain = self.drain();
        let remote = self.remote.clone();
        let secure = self.acceptor.is_some();
        let told = move |mut request: http::Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert(remote.clone());
            if secure {
                extensions.insert(Secure);
            }
            if let Some(certificate) = &certificate {
                extensions.insert(certificate.clone());
            }
            request
        };
        let service = TowerToHyperService::new(ServiceExt::<http::Request<Incoming>>::map_request(self.service, told));
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(drain, connection).await.unwrap_or(Ok(()))
            }
        };
        tell_end(&self.remote, outcome.map_err(Into::into));
    }
}

fn tell_end(remote: &Remote, outcome: Result<(), BoxError>) {
    if let Err(error) = outcome {
        tracing::debug!("remote-addr" = &*remote.0, error, "a client connection ended");
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Go's words where tools look for them; rustls' own otherwise.
fn in_words(error: &io::Error) -> String {
    use rustls::Error as Tls;
    let tls = error.get_ref().and_then(|e| e.downcast_ref::<Tls>());
    match tls {
        Some(Tls::InvalidMessage(_)) => "tls: first record does not look like a TLS handshake".to_owned(),
        Some(Tls::NoCertificatesPresented) => "tls: client didn't provide a certificate".to_owned(),
        Some(Tls::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(tls) => format!("tls: {tls}"),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
