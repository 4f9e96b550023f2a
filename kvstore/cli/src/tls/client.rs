//! The caller's side: one member to another.

use super::allowed::{Allowed, has_name, is_trusted_itself};
use super::files::Watched;
use super::roots::{self, Roots};
use super::server::{certified_key, refused};
use super::{Identity, Provider, suites, versions};
use crate::settings::{Settings, TlsSettings};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error, SignatureScheme};
use std::sync::Arc;

#[derive(Debug)]
struct Certificate(Watched<CertifiedKey>);

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.latest())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// Configuration for calling other members. Without authorities of its own it trusts those of the machine.
pub fn client_config(s: &Settings, identity: &Identity) -> Result<Arc<ClientConfig>, String> {
    let provider = suites::provider(&s.cipher_suites)?;
    let tls = &identity.settings;
    let verifier = Verifier::open(s, identity, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(s))
        .map_err(|e| format!("set TLS versions and cipher suites: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let (cert, key) = match tls.client_cert_file.is_empty() {
        true => (&tls.cert_file, &tls.key_file),
        false => (&tls.client_cert_file, &tls.client_key_file),
    };
    let mut config = if cert.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(Certificate(certified_key(cert, key, &provider)?)))
    };
    // A server is looked at anew at each connection.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Configuration for calling the etcd that knows the members of a new cluster.
pub fn discovery_config(s: &Settings) -> Result<Arc<ClientConfig>, String> {
    let d = &s.discovery;
    if d.cert.is_empty() != d.key.is_empty() {
        return Err("--discovery-cert and --discovery-key must both be set".to_owned());
    }
    let identity = Identity {
        settings: TlsSettings {
            cert_file: d.cert.clone(),
            key_file: d.key.clone(),
            trusted_ca_file: d.cacert.clone(),
            ..TlsSettings::default()
        },
        self_made: d.insecure_skip_verify,
    };
    client_config(s, &identity)
}

#[derive(Debug)]
struct Authorities {
    roots: Roots,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

#[derive(Debug)]
struct Verifier {
    /// `None`: there is nothing to check by.
    authorities: Option<Watched<Authorities>>,
    /// Members make their own certificates: whoever answers is taken for a member.
    anybody: bool,
    /// Members found by DNS show the domain's name.
    name: Option<ServerName<'static>>,
    allowed: Allowed,
    provider: Provider,
}

impl Verifier {
    fn open(s: &Settings, identity: &Identity, provider: &Provider) -> Result<Verifier, String> {
        let tls = &identity.settings;
        let with = provider.clone();
        let authorities = roots::file_of(&tls.trusted_ca_file).map(|path| {
            Watched::open(vec![path], move |contents| {
                let roots = roots::parse(contents.first().map(Vec::as_slice).unwrap_or_default())?;
                let store = Arc::new(roots.store.clone());
                let verifier = WebPkiServerVerifier::builder_with_provider(store, with.clone())
                    .build()
                    .ok();
                Ok(Authorities { roots, verifier })
            })
        });
        let by_domain = !s.discovery_srv.is_empty() && tls.trusted_ca_file.is_empty();
        Ok(Verifier {
            authorities: authorities.transpose()?,
            anybody: identity.self_made,
            name: ServerName::try_from(s.discovery_srv.clone()).ok().filter(|_| by_domain),
            allowed: Allowed::new(tls),
            provider: provider.clone(),
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.anybody {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authorities = self.authorities.as_ref().ok_or_else(unknown)?.latest();
        let name = self.name.as_ref().unwrap_or(name);
        let checked = match &authorities.verifier {
            Some(verifier) => verifier.verify_server_cert(end, chain, name, ocsp, now).map(drop),
            None => Err(unknown()),
        };
        if let Err(e) = checked {
            let trusted = is_trusted_itself(&authorities.roots, end, now) && has_name(end, &name.to_str());
            if !trusted {
                return Err(e);
            }
        }
        self.allowed.check(end).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}
