//! TLS of the client ports and the peer ports, by rustls.
//!
//! What it is: configurations whose certificates, keys, authorities and revocation lists are looked at again at each
//! handshake, by the files' times and sizes, so that they are renewed without a restart.
//! What it is not: it accepts no connection; what can only be checked with the caller's address is in [`caller_check`].
//!
//! Invariants:
//! - A file that has become unreadable never opens a door: a revocation list then refuses everybody, and for the others
//!   the last good content stays in use, with a warning.
//! - Sessions are not resumed where callers show certificates: a revoked one is refused at the next connection.

/// The methods of a verifier that a provider's algorithms answer by themselves, the same on both sides of a handshake.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls12_signature(
                message,
                cert,
                dss,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(
                message,
                cert,
                dss,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

mod allowed;
mod auto;
mod client;
mod crl;
mod files;
mod roots;
mod san;
mod server;
mod suites;
#[cfg(test)]
mod tests;

use crate::settings::{Settings, TlsSettings};
use std::path::Path;
use std::sync::Arc;

pub use client::{client_config, discovery_config};
pub use san::caller_check;
pub use server::server_config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Peer,
}

/// What this member shows and whom it trusts, with files that exist.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub settings: TlsSettings,
    /// Made by this member: others cannot check it.
    self_made: bool,
}

/// Checks what is said about certificates, and makes one where that is asked for.
pub fn identity(s: &Settings, tls: &TlsSettings, side: Side, data_dir: &Path) -> Result<Identity, String> {
    let mut identity = Identity {
        settings: tls.clone(),
        self_made: false,
    };
    suites::provider(&s.cipher_suites)?;
    let (word, urls) = match side {
        Side::Peer => ("peer", s.listen_peer_urls.clone()),
        Side::Client => (
            "client",
            [s.listen_client_urls.clone(), s.listen_client_http_urls.clone()].concat(),
        ),
    };
    if tls.auto && !tls.is_empty() {
        crate::logs::warn(&format!("ignoring {word} auto TLS since certs given")).log();
    } else if tls.auto {
        let made = auto::certificate(
            &data_dir.join("fixtures").join(word),
            &urls,
            s.self_signed_validity_years,
        )?;
        identity.settings.cert_file.clone_from(&made.cert);
        identity.settings.key_file.clone_from(&made.key);
        identity.settings.client_cert_file = made.cert;
        identity.settings.client_key_file = made.key;
        identity.self_made = true;
    }
    check_pairs(&identity.settings)?;
    Ok(identity)
}

fn check_pairs(tls: &TlsSettings) -> Result<(), String> {
    if tls.cert_file.is_empty() != tls.key_file.is_empty() {
        return Err(format!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}]",
            tls.key_file, tls.cert_file
        ));
    }
    if tls.client_cert_file.is_empty() != tls.client_key_file.is_empty() {
        return Err(format!(
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
            tls.client_key_file, tls.client_cert_file
        ));
    }
    if !tls.allowed_cns.is_empty() && !tls.allowed_hostnames.is_empty() {
        return Err(format!(
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns={:?}, hostnames={:?})",
            tls.allowed_cns, tls.allowed_hostnames
        ));
    }
    Ok(())
}

type Provider = Arc<rustls::crypto::CryptoProvider>;

/// The versions that the settings leave.
fn versions(s: &Settings) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let (v2, v3) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let mut versions = Vec::new();
    if s.tls_max_version != "TLS1.2" {
        versions.push(v3);
    }
    if s.tls_min_version != "TLS1.3" {
        versions.push(v2);
    }
    versions
}
