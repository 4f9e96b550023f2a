//! TLS of the server: its own certificate, and client certificates where a client has one.
use crate::{Error, Options, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::Config(format!("{what}: {why}"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| failed(format_args!("read {}", path.display()), e))
}

pub fn acceptor(options: &Options) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for c in certificates(&options.client_ca)? {
        roots
            .add(c)
            .map_err(|e| failed(format_args!("trust {}", options.client_ca.display()), e))?;
    }
    // Certificates are optional: those who bring a token have none.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed("verify client certificates", e))?;
    let key = PrivateKeyDer::from_pem_file(&options.tls_key)
        .map_err(|e| failed(format_args!("read {}", options.tls_key.display()), e))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("choose TLS versions", e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&options.tls_cert)?, key)
        .map_err(|e| failed(format_args!("use {}", options.tls_cert.display()), e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
