//! Where a call comes from, as it says itself: nothing here is verified yet.
//!
//! Taking this out of a request is cheap and cannot fail. It is judged later, behind the read barrier: only there
//! is it known whether authentication is on.

use crate::listener::PeerCertificate;
use http::HeaderMap;
use std::fmt;

const TOKEN: &str = "token";
const AUTHORIZATION: &str = "authorization";
const BEARER: &str = "Bearer ";
/// The gateway sets it on what it calls: the certificate that came with the connection does not count then.
pub const GATEWAY: &str = "grpcgateway-accept";

/// Where a call comes from.
#[derive(Clone, Debug)]
pub enum Caller {
    /// This process: the member itself, or whoever embeds it. It may do everything.
    Member,
    Client(Credentials),
}

/// What a client shows.
#[derive(Clone, Default)]
pub struct Credentials {
    pub token: Option<String>,
    /// Absent when the request came through the gateway.
    pub certificate: Option<PeerCertificate>,
}

/// Tokens are secrets: they are not for logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("has_token", &self.token.is_some())
            .field("certificate", &self.certificate)
            .finish()
    }
}

impl Caller {
    /// The caller of a gRPC method.
    pub fn of<T>(request: &tonic::Request<T>) -> Caller {
        let certificate = request.extensions().get::<PeerCertificate>();
        Caller::shown(request.metadata().as_ref(), certificate)
    }

    /// The caller with these headers, on a connection with this certificate.
    pub fn shown(headers: &HeaderMap, certificate: Option<&PeerCertificate>) -> Caller {
        Caller::Client(Credentials {
            token: token(headers),
            certificate: certificate.filter(|_| !headers.contains_key(GATEWAY)).cloned(),
        })
    }

    /// One with no header that says anything of it.
    pub fn nameless(certificate: Option<&PeerCertificate>) -> Caller {
        Caller::Client(Credentials {
            token: None,
            certificate: certificate.cloned(),
        })
    }

    /// Whether a header of this name counts in [`Caller::shown`].
    pub fn is_named_in(header: &str) -> bool {
        matches!(header, TOKEN | AUTHORIZATION | GATEWAY)
    }
}

/// etcd's clients send the token bare under either name; others put "Bearer" before it. A value that is no text is
/// no token that was ever given.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(TOKEN).or_else(|| headers.get(AUTHORIZATION))?;
    let text = value.to_str().unwrap_or_default();
    Some(text.strip_prefix(BEARER).unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustls_pki_types::CertificateDer;

    fn credentials(headers: &[(&'static str, &'static str)], certificate: Option<PeerCertificate>) -> Credentials {
        let mut request = tonic::Request::new(());
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
        match Caller::of(&request) {
            Caller::Client(credentials) => credentials,
            Caller::Member => panic!("a request from outside is never the member's own"),
        }
    }

    #[test]
    fn a_token_is_found_under_both_names() {
        let token = |headers| credentials(headers, None).token;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("token", "abc.1")]), Some("abc.1".to_owned()));
        assert_eq!(token(&[("authorization", "abc.1")]), Some("abc.1".to_owned()));
        assert_eq!(token(&[("authorization", "Bearer abc.1")]), Some("abc.1".to_owned()));
        assert_eq!(
            token(&[("authorization", "a"), ("token", "Bearer t")]),
            Some("t".to_owned())
        );
        assert_eq!(token(&[("token", "")]), Some(String::new()));
        let shown = format!("{:?}", credentials(&[("token", "secret.1")], None));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_certificate_counts_unless_the_gateway_called() {
        let certificate = || PeerCertificate::new(&[CertificateDer::from(vec![0])]);
        let shown = |headers| credentials(headers, certificate()).certificate.is_some();
        assert!(shown(&[]) && shown(&[("token", "x.1")]));
        assert!(!shown(&[("grpcgateway-accept", "*/*")]));
    }
}
