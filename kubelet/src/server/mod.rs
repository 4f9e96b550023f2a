//! The node's HTTPS server: what the API server calls for logs, exec, attach and port-forward, and what scrapers
//! read (upstream: pkg/kubelet/server).
//!
//! Nobody is served without an identity, and nothing without the API server's SubjectAccessReview saying so.
mod auth;
mod logs;
mod metrics;
mod query;
mod routes;
mod spdy;
mod streaming;
mod tunnel;
mod upstream;

use crate::agent::Agent;
use crate::pods::Pods;
use crate::{Error, Options, Result};
use auth::{Authorizer, PeerCertificate};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections open at once.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    local_addr: SocketAddr,
}

/// What each request needs.
pub(crate) struct Server {
    pub agent: Arc<Agent>,
    pub pods: Pods,
    pub authorizer: Authorizer,
}

pub async fn bind(options: &Options) -> Result<Listener> {
    let acceptor = TlsAcceptor::from(Arc::new(tls_config(options)?));
    let what = || format!("listen on {}", options.listen);
    let socket = TcpListener::bind(options.listen).await.map_err(Error::io(what()))?;
    let local_addr = socket.local_addr().map_err(Error::io(what()))?;
    Ok(Listener {
        socket,
        acceptor,
        local_addr,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |e: rustls::pki_types::pem::Error| Error::Config(format!("read {}: {e}", path.display()));
    CertificateDer::pem_file_iter(path)
        .map_err(bad)?
        .collect::<std::result::Result<_, _>>()
        .map_err(bad)
}

fn tls_config(options: &Options) -> Result<rustls::ServerConfig> {
    let tls = |e: &dyn std::fmt::Display| Error::Config(format!("TLS of the node's server: {e}"));
    let mut roots = RootCertStore::empty();
    for cert in certificates(&options.client_ca)? {
        roots.add(cert).map_err(|e| tls(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // A caller without a certificate may have a token.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| tls(&e))?;
    let key = PrivateKeyDer::from_pem_file(&options.tls_key)
        .map_err(|e| Error::Config(format!("read {}: {e}", options.tls_key.display())))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&options.tls_cert)?, key)
        .map_err(|e| tls(&e))?;
    // Upgrades need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Listener {
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until the agent stops; open streams end with it.
    pub async fn run(self, agent: Arc<Agent>, pods: Pods) {
        let stop = agent.stop.clone();
        let server = Arc::new(Server {
            authorizer: Authorizer::new(agent.client.clone(), &agent.options.node_name),
            agent,
            pods,
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                a = self.socket.accept() => a,
                () = stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = %e, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // One too many is dropped: its client tries again.
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (server, acceptor, stop) = (server.clone(), self.acceptor.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = serve(server, acceptor, stream) => {}
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
    }
}

async fn serve(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(e)) => {
            tracing::debug!(error = %e, "TLS handshake");
            return;
        }
        Err(_) => return,
    };
    let certificate = tls.get_ref().1.peer_certificates().and_then(|c| c.first()).cloned();
    let peer = PeerCertificate(certificate.map(CertificateDer::into_owned));
    let service = hyper::service::service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(routes::handle(server, peer, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    if let Err(e) = connection.await {
        tracing::debug!(error = %e, "connection");
    }
}
