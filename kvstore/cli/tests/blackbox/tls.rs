//! Certificates for a test, in files.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::path::{Path, PathBuf};

/// A certificate authority and what it has issued, in one folder.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(dir: &Path) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("ca.crt"), issuer.pem()).unwrap();
        Authority {
            dir: dir.to_owned(),
            issuer,
        }
    }

    /// A certificate for both ends of a connection; its common name is `name`.
    pub fn issue(&self, name: &str, organizations: &[&str], hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.cert(name), cert.pem()).unwrap();
        std::fs::write(self.key(name), key.serialize_pem()).unwrap();
        std::fs::write(self.public(name), key.public_key_pem()).unwrap();
    }

    fn path(&self, file: &str) -> String {
        self.dir.join(file).to_str().unwrap().to_owned()
    }

    pub fn ca(&self) -> String {
        self.path("ca.crt")
    }

    pub fn cert(&self, name: &str) -> String {
        self.path(&format!("{name}.crt"))
    }

    pub fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key"))
    }

    pub fn public(&self, name: &str) -> String {
        self.path(&format!("{name}.pub"))
    }

    /// A kubeconfig of a client certificate.
    pub fn kubeconfig(&self, server: &str, name: &str) -> PathBuf {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{server}\", certificate-authority: \"{}\"}}}}]\n\
             users: [{{name: u, user: {{client-certificate: \"{}\", client-key: \"{}\"}}}}]\n",
            self.ca(),
            self.cert(name),
            self.key(name)
        );
        let file = self.dir.join("kubeconfig");
        std::fs::write(&file, text).unwrap();
        file
    }
}
