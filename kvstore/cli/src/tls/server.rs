//! The server's side.

use super::allowed::{Allowed, is_trusted_itself};
use super::crl::Revoked;
use super::files::Watched;
use super::roots::{self, Roots};
use super::{Identity, Provider, Side, suites, versions};
use crate::settings::Settings;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DistinguishedName, Error, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;

/// gRPC clients insist on `h2`; probes and curl speak HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A refusal of ours, in words that reach the log.
pub(super) fn refused(message: String) -> Error {
    let cause = std::io::Error::other(message);
    Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(cause))))
}

/// Certificate and key from two files.
pub(super) fn certified_key(
    cert_file: &str,
    key_file: &str,
    provider: &Provider,
) -> Result<Watched<CertifiedKey>, String> {
    let provider = provider.clone();
    let paths = vec![PathBuf::from(cert_file), PathBuf::from(key_file)];
    let names = (cert_file.to_owned(), key_file.to_owned());
    Watched::open(paths, move |contents| {
        let [cert, key] = contents else {
            return Err("a certificate and a key are needed".to_owned());
        };
        parse_pair(cert, key, &provider).map_err(|e| format!("{e} (cert: {}, key: {})", names.0, names.1))
    })
}

fn parse_pair(cert: &[u8], key: &[u8], provider: &Provider) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|e| format!("tls: failed to parse certificate: {e}"))?;
    if chain.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "tls: failed to find any PEM data in key input")?;
    CertifiedKey::from_der(chain, key, provider).map_err(|e| match e {
        Error::InconsistentKeys(_) => "tls: private key does not match public key".to_owned(),
        other => format!("tls: failed to use private key: {other}"),
    })
}

#[derive(Debug)]
struct Certificate(Watched<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.latest())
    }
}

/// Configuration of a listener.
pub fn server_config(s: &Settings, identity: &Identity, side: Side) -> Result<Arc<ServerConfig>, String> {
    let provider = suites::provider(&s.cipher_suites)?;
    let tls = &identity.settings;
    let certificate = Certificate(certified_key(&tls.cert_file, &tls.key_file, &provider)?);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(s))
        .map_err(|e| format!("set TLS versions and cipher suites: {e}"))?;
    let asks = !tls.trusted_ca_file.is_empty() || tls.client_cert_auth;
    let mut config = if asks {
        let verifier = Verifier::open(identity, &provider)?;
        builder
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(certificate))
    } else {
        warn_of_unused(identity, side);
        builder.with_no_client_auth().with_cert_resolver(Arc::new(certificate))
    };
    if asks {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = PROTOCOLS.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Rules for certificates that nobody is asked for.
fn warn_of_unused(identity: &Identity, side: Side) {
    let tls = &identity.settings;
    if !Allowed::new(tls).is_everybody() || !tls.crl_file.is_empty() {
        let (word, flag) = match side {
            Side::Client => ("client", "--client-cert-auth"),
            Side::Peer => ("peer", "--peer-client-cert-auth"),
        };
        let told = "rules for certificates are set while no certificate is asked for; ignoring them";
        crate::logs::warn(told).with("side", word).with("missing", flag).log();
    }
}

/// Checks certificates of callers by files that may change.
#[derive(Debug)]
struct Verifier {
    authorities: Watched<Authorities>,
    allowed: Allowed,
    revoked: Option<Revoked>,
    provider: Provider,
}

#[derive(Debug)]
struct Authorities {
    roots: Roots,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    fn open(identity: &Identity, provider: &Provider) -> Result<Verifier, String> {
        let tls = &identity.settings;
        let path = roots::file_of(&tls.trusted_ca_file).ok_or(
            "certificates of clients are asked for, and there is neither a trusted CA file nor a list of the machine's",
        )?;
        let with = provider.clone();
        let authorities = Watched::open(vec![path], move |contents| {
            let roots = roots::parse(contents.first().map(Vec::as_slice).unwrap_or_default())?;
            let store = Arc::new(roots.store.clone());
            let verifier = WebPkiClientVerifier::builder_with_provider(store, with.clone()).build();
            let verifier = verifier.map_err(|e| format!("use the trusted CA file: {e}"))?;
            Ok(Authorities { roots, verifier })
        })?;
        Ok(Verifier {
            authorities,
            allowed: Allowed::new(tls),
            revoked: Revoked::open(&tls.crl_file)?,
            provider: provider.clone(),
        })
    }
}

impl ClientCertVerifier for Verifier {
    /// None are told: they may change.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let authorities = self.authorities.latest();
        if let Err(e) = authorities.verifier.verify_client_cert(end, chain, now)
            && !is_trusted_itself(&authorities.roots, end, now)
        {
            return Err(e);
        }
        self.allowed.check(end).map_err(refused)?;
        if let Some(revoked) = &self.revoked {
            revoked.check(std::iter::once(end).chain(chain)).map_err(refused)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    signatures_by_provider!();
}
