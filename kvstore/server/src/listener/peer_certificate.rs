//! Who is at the other end of a TLS connection, as far as it has proved it.

use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificate that a client presented and the TLS configuration's verifier accepted. It is among the extensions of
/// every request of the connection; requests of connections without one carry none.
#[derive(Clone, Debug)]
pub struct PeerCertificate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The client's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    common_name: Option<String>,
}

impl PeerCertificate {
    /// `None` without a certificate.
    pub fn new(chain: &[CertificateDer<'_>]) -> Option<PeerCertificate> {
        let leaf = chain.first()?;
        let common_name = common_name(leaf);
        let chain = chain.iter().map(|c| c.clone().into_owned()).collect();
        Some(PeerCertificate(Arc::new(Inner { chain, common_name })))
    }

    /// DER, the client's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// The common name of the client's own certificate, when it has one that is not empty.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }
}

/// The last one, as Go reads a name with several.
fn common_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf.as_ref()).ok()?;
    let name = certificate.subject().iter_common_name().last()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(common_name: Option<&str>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_common_name_is_that_of_the_first_certificate() {
        let chain = [certificate(Some("alice")), certificate(Some("an authority"))];
        let peer = PeerCertificate::new(&chain).unwrap();
        assert_eq!(peer.common_name(), Some("alice"));
        assert_eq!(peer.chain(), chain);
    }

    #[test]
    fn no_name_is_none_and_no_certificate_is_nobody() {
        assert_eq!(PeerCertificate::new(&[certificate(None)]).unwrap().common_name(), None);
        assert!(PeerCertificate::new(&[]).is_none());
        let garbage = PeerCertificate::new(&[CertificateDer::from(vec![1, 2, 3])]).unwrap();
        assert_eq!(garbage.common_name(), None);
    }
}
