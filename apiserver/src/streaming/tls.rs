//! TLS toward kubelets and pods.

use super::Options;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What is shown to the other side, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Our certificate is shown; theirs must be of the kubelets' authority.
    Kubelet,
    /// As above, but any certificate of theirs will do (`insecureSkipTLSVerifyBackend`).
    KubeletUnverified,
    /// No certificate is shown and any will do: how upstream proxies to pods over https.
    Anyone,
}

/// Certificates that cannot be used; a sentence that names the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Modification time and length of each file.
type Stamp = [Option<(SystemTime, u64)>; 3];

struct Configs {
    stamp: Stamp,
    kubelet: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

pub(super) struct Tls {
    options: Options,
    configs: Mutex<Configs>,
    anyone: Arc<ClientConfig>,
}

impl Tls {
    pub fn new(options: Options) -> Result<Self, Error> {
        let builder = builder()?;
        let verifier = Arc::new(Unverified(builder.crypto_provider().clone()));
        let mut anyone = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        anyone.alpn_protocols = vec![b"http/1.1".to_vec()];
        let configs = Mutex::new(load(&options)?);
        Ok(Tls {
            options,
            configs,
            anyone: Arc::new(anyone),
        })
    }

    /// The configuration for a new connection, read anew if a file has changed. Files that cannot be used (half
    /// written, or of different pairs) leave the last good ones in force.
    pub fn config(&self, trust: Trust) -> Arc<ClientConfig> {
        if trust == Trust::Anyone {
            return self.anyone.clone();
        }
        let mut configs = self.configs.lock();
        if configs.stamp != stamp(&self.options) {
            match load(&self.options) {
                Ok(new) => *configs = new,
                Err(e) => tracing::warn!(error = %e, "reading the kubelet client's certificates again"),
            }
        }
        match trust {
            Trust::KubeletUnverified => configs.unverified.clone(),
            _ => configs.kubelet.clone(),
        }
    }
}

fn stamp(o: &Options) -> Stamp {
    [&o.kubelet_client_cert, &o.kubelet_client_key, &o.kubelet_ca].map(|path| {
        let m = std::fs::metadata(path).ok()?;
        Some((m.modified().ok()?, m.len()))
    })
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder() -> Result<Builder, Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error(format!("TLS: {e}")))
}

fn load(o: &Options) -> Result<Configs, Error> {
    // Before the files: a change while they are read is then seen at the next connection.
    let stamp = stamp(o);
    let chain = certificates(&o.kubelet_client_cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&o.kubelet_client_key)?)
        .map_err(|e| Error(format!("{}: {e}", o.kubelet_client_key.display())))?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates(&o.kubelet_ca)?).0 == 0 {
        return Err(Error(format!(
            "{}: no usable certificate in it",
            o.kubelet_ca.display()
        )));
    }
    let failed = |e: rustls::Error| Error(format!("{}: {e}", o.kubelet_client_cert.display()));
    let builder_ = builder()?;
    let verifier = Arc::new(Unverified(builder_.crypto_provider().clone()));
    let mut kubelet = builder_
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(failed)?;
    let mut unverified = builder()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(failed)?;
    for c in [&mut kubelet, &mut unverified] {
        c.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(Configs {
        stamp,
        kubelet: Arc::new(kubelet),
        unverified: Arc::new(unverified),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error(format!("{}: {e}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error(format!("{}: {e}", path.display())))
}

/// Any certificate will do, but its key must still sign the handshake.
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
