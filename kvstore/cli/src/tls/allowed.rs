//! Which certificates are let in, of those that the authorities signed.

use super::roots::Roots;
use crate::settings::TlsSettings;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `*-allowed-cn` and `*-allowed-hostname`.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    common_names: Vec<String>,
    hostnames: Vec<String>,
}

impl Allowed {
    pub fn new(tls: &TlsSettings) -> Allowed {
        Allowed {
            common_names: tls.allowed_cns.clone(),
            hostnames: tls.allowed_hostnames.clone(),
        }
    }

    pub fn is_everybody(&self) -> bool {
        self.common_names.is_empty() && self.hostnames.is_empty()
    }

    pub fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let admitted = self.is_everybody()
            || (!self.common_names.is_empty() && self.has_common_name(certificate))
            || self.hostnames.iter().any(|name| has_name(certificate, name));
        match admitted {
            true => Ok(()),
            false => Err("client certificate authentication failed".to_owned()),
        }
    }

    fn has_common_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let name = parsed
            .subject()
            .iter_common_name()
            .last()
            .and_then(|name| name.as_str().ok());
        name.is_some_and(|name| self.common_names.iter().any(|allowed| allowed == name))
    }
}

/// The certificate is good for `name`, a host name or an address.
pub fn has_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(name)) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// A certificate that is itself in the list of authorities is trusted, as in Go; webpki refuses an authority that is
/// shown as an end's certificate.
pub fn is_trusted_itself(roots: &Roots, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let listed = roots.certificates.iter().any(|c| c.as_ref() == certificate.as_ref());
    if !listed {
        return false;
    }
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
}
