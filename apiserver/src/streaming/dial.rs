//! One HTTP exchange with a kubelet or a pod, upgrades included.
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {path}: {why}")]
    File { path: String, why: String },
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    #[error("dial tcp {address}: {why}")]
    Dial { address: String, why: String },
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Where a request goes.
#[derive(Clone)]
pub struct Backend {
    pub host: String,
    pub port: u16,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Backend {
    /// `host:port`, with brackets for IPv6.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `https://host:port`
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Sends the request over a connection of its own; the connection lives as long as the answer's body or
    /// the upgraded stream.
    pub async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Incoming>, Error> {
        let address = self.authority();
        let dial = |why: String| Error::Dial {
            address: address.clone(),
            why,
        };
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match tokio::time::timeout(DIAL_TIMEOUT, connect).await {
            Ok(Ok(s)) => s,
            Ok(Err(e)) => return Err(dial(format!("connect: {}", plain(&e)))),
            Err(_) => return Err(dial("i/o timeout".into())),
        };
        // Interactive streams are made of small writes.
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "set TCP_NODELAY");
        }
        match &self.tls {
            None => exchange(stream, request).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|e| dial(e.to_string()))?;
                let handshake = TlsConnector::from(config.clone()).connect(name, stream);
                match tokio::time::timeout(DIAL_TIMEOUT, handshake).await {
                    Ok(Ok(s)) => exchange(s, request).await,
                    Ok(Err(e)) => Err(dial(format!("tls: {e}"))),
                    Err(_) => Err(dial("tls: handshake timeout".into())),
                }
            }
        }
    }
}

/// Go's words for what clients look for.
fn plain(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "no route to host".into(),
        _ => e.to_string(),
    }
}

async fn exchange<S>(stream: S, request: http::Request<Body>) -> Result<http::Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "backend connection");
        }
    });
    Ok(sender.send_request(request).await?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn file<T>(path: &Path, read: Result<T, impl std::fmt::Display>) -> Result<T, Error> {
    read.map_err(|e| Error::File {
        path: path.display().to_string(),
        why: e.to_string(),
    })
}

/// TLS toward kubelets: they are verified by their CA, and we show who we are.
pub fn kubelet_tls(ca: &Path, cert: &Path, key: &Path) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    for c in file(ca, CertificateDer::pem_file_iter(ca))? {
        roots.add(file(ca, c)?)?;
    }
    let chain: Result<Vec<_>, _> = file(cert, CertificateDer::pem_file_iter(cert))?.collect();
    let key_der = file(key, PrivateKeyDer::from_pem_file(key))?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(file(cert, chain)?, key_der)?;
    Ok(Arc::new(config))
}

/// TLS toward pods and services that the user asked to reach by `https:`: as upstream, their certificates
/// are not verified, and we show none.
pub fn workload_tls() -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
