//! Users of client certificates: the common name is the user, each organization a group
//! (upstream: apiserver/pkg/authentication/request/x509).
use super::UserInfo;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The subject of a certificate that the TLS layer has verified; `None` when it names nobody.
pub fn user_of(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let mut user = UserInfo {
        name: name.to_owned(),
        groups: subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok().map(str::to_owned))
            .collect(),
        ..UserInfo::default()
    };
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    user.extra
        .insert("authentication.kubernetes.io/credential-id".into(), vec![id]);
    Some(user)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn common_name_and_organizations() {
        let mut p = CertificateParams::default();
        p.distinguished_name = rcgen::DistinguishedName::new();
        p.distinguished_name.push(DnType::CommonName, "system:node:a");
        p.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let cert = p.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let user = user_of(cert.der()).unwrap();
        assert_eq!(user.name, "system:node:a");
        assert_eq!(user.groups, ["system:nodes"]);
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
        assert_eq!(user_of(b"junk"), None);
    }
}
