//! Dialing: TCP, TLS with the ring provider given explicitly, and the HTTP handshake.
use super::{H1, H2, config_error};
use crate::config::{Auth, Config};
use crate::transport::BoxError;
use crate::{Error, Result};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 pings of a connection with open streams, and how long their answer may take (client-go: 30 s and 15 s).
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2 flow control windows, in bytes.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Where Debian keeps the system's roots.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) enum Connected {
    H1(H1),
    H2(H2),
}

/// Where to connect, and as whom.
pub(super) struct Target {
    config: Config,
    tls: bool,
    host: String,
    port: u16,
    /// `host:port`, as the request names it.
    pub authority: String,
    /// Path before `/api`, without a slash at its end.
    pub prefix: String,
}

impl Target {
    pub fn new(config: Config) -> Result<Self> {
        let text = match config.server.contains("://") {
            true => config.server.clone(),
            false => format!("https://{}", config.server),
        };
        let uri: http::Uri = text.parse().map_err(|e| config_error("server URL", e))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => {
                return Err(Error::Config(format!(
                    "server URL: scheme {other:?} is not https or http"
                )));
            }
        };
        let authority = uri
            .authority()
            .ok_or_else(|| Error::Config(format!("server URL {text:?} has no host")))?;
        let target = Target {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            config,
        };
        if target.tls {
            // Bad certificates should fail here, where someone reads the message, and not at the first request.
            target.tls_config(true)?;
        }
        Ok(target)
    }

    /// A ready connection; `http1` asks for HTTP/1.1 even where the server speaks HTTP/2.
    pub async fn connect(&self, http1: bool) -> Result<Connected, BoxError> {
        let dial = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| format!("connect to {}: no answer in {CONNECT_TIMEOUT:?}", self.authority))?
            .map_err(|e| format!("connect to {}: {e}", self.authority))?;
        tcp.set_nodelay(true)?;
        if !self.tls {
            return handshake1(TokioIo::new(tcp)).await;
        }
        let name = self.config.tls_server_name.as_deref().unwrap_or(&self.host);
        let name = ServerName::try_from(name.to_owned())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.tls_config(http1)?));
        let tls = tokio::time::timeout(TLS_TIMEOUT, connector.connect(name, tcp))
            .await
            .map_err(|_| format!("TLS with {}: no answer in {TLS_TIMEOUT:?}", self.authority))?
            .map_err(|e| format!("TLS with {}: {e}", self.authority))?;
        let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(tls);
        if h2 { handshake2(io).await } else { handshake1(io).await }
    }

    fn tls_config(&self, http1: bool) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| config_error("TLS", e))?;
        let builder = if self.config.insecure_skip_tls_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut tls = match &self.config.auth {
            Auth::ClientCertificate { certificate, key } => {
                let chain = certificates("client certificate", &certificate.read()?)?;
                let key = PrivateKeyDer::from_pem_slice(&key.read()?).map_err(|e| config_error("client key", e))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| config_error("client certificate", e))?
            }
            _ => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = match http1 {
            true => vec![b"http/1.1".to_vec()],
            false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(tls)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let pem = match &self.config.ca {
            Some(ca) => ca.read()?,
            None => std::fs::read(SYSTEM_ROOTS).map_err(|e| config_error(SYSTEM_ROOTS, e))?,
        };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates("certificate authority", &pem)?);
        match added {
            0 => Err(Error::Config("certificate authority: no certificate in it".into())),
            _ => Ok(roots),
        }
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| config_error(what, e))
}

type Io<T> = TokioIo<T>;

async fn handshake1<T>(io: Io<T>) -> Result<Connected, BoxError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "HTTP/1.1 connection ended");
        }
    });
    Ok(Connected::H1(sender))
}

async fn handshake2<T>(io: Io<T>) -> Result<Connected, BoxError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(io)
        .await?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "HTTP/2 connection ended");
        }
    });
    Ok(Connected::H2(sender))
}

/// `insecure-skip-tls-verify`: any certificate will do, but its key must still sign the handshake.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
