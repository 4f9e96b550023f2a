//! Authorities: those of a file, or those that the machine trusts.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

/// Where distributions keep the authorities that the machine trusts.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Authorities, and their certificates as they are, to know one that is shown itself.
#[derive(Debug)]
pub struct Roots {
    pub store: RootCertStore,
    pub certificates: Vec<CertificateDer<'static>>,
}

pub fn file_of(trusted_ca_file: &str) -> Option<PathBuf> {
    if !trusted_ca_file.is_empty() {
        return Some(PathBuf::from(trusted_ca_file));
    }
    SYSTEM_FILES.iter().map(PathBuf::from).find(|p| Path::exists(p))
}

/// Certificates that make no sense as authorities are left out when there are others.
pub fn parse(pem: &[u8]) -> Result<Roots, String> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    let mut problem = None;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| format!("parse certificate: {e}"))?;
        match store.add(certificate.clone()) {
            Ok(()) => certificates.push(certificate),
            Err(e) => problem = Some(format!("x509: {e}")),
        }
    }
    match problem {
        Some(problem) if certificates.is_empty() => Err(problem),
        _ => Ok(Roots { store, certificates }),
    }
}
