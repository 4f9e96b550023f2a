//! A folder of certificates, made for the occasion. The handshakes' unit tests use it too.
#![allow(clippy::unwrap_used, dead_code)]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use std::path::{Path, PathBuf};

pub type Issuer = CertifiedIssuer<'static, KeyPair>;

pub struct Place(tempfile::TempDir);

/// A list of revoked certificates, in one of its two forms.
#[derive(Clone, Copy)]
pub enum Form {
    Der,
    Pem,
}

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }
    pub fn dir(&self) -> &Path {
        self.0.path()
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
    /// Replaced at once, as those who renew certificates do.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path("fresh"), content).unwrap();
        std::fs::rename(self.path("fresh"), self.path(name)).unwrap();
    }
    /// `NAME.pem`.
    pub fn authority(&self, name: &str) -> Issuer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        self.put(&format!("{name}.pem"), issuer.pem());
        issuer
    }
    /// `NAME.crt` and `NAME.key`, good for `hosts`.
    pub fn issue(&self, issuer: &Issuer, name: &str, common_name: &str, serial: u64, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        self.put(&format!("{name}.key"), key.serialize_pem());
        self.put(&format!("{name}.crt"), params.signed_by(&key, issuer).unwrap().pem());
    }
    /// `crl`.
    pub fn revoke(&self, issuer: &Issuer, serials: &[u64], form: Form) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2044, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(issuer).unwrap();
        match form {
            Form::Der => self.put("crl", list.der()),
            Form::Pem => self.put("crl", list.pem().unwrap()),
        }
    }
}
