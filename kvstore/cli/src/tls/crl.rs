//! Revocation lists. As in etcd, a serial number in the file is refused whoever signed the list: the file is this
//! machine's own. DER, or PEM.

use super::files::Watched;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::HashSet;
use std::path::PathBuf;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

#[derive(Debug)]
pub struct Revoked {
    file: Watched<HashSet<Vec<u8>>>,
}

/// Without leading zeros.
fn serial(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.get(zeros..).unwrap_or_default().to_vec()
}

fn parse(bytes: &[u8]) -> Result<HashSet<Vec<u8>>, String> {
    let lists: Vec<Vec<u8>> = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        let lists = CertificateRevocationListDer::pem_slice_iter(bytes);
        let lists: Result<Vec<_>, _> = lists.map(|list| list.map(|l| l.as_ref().to_vec())).collect();
        lists.map_err(|e| format!("parse revocation list: {e}"))?
    } else {
        vec![bytes.to_vec()]
    };
    if lists.is_empty() {
        return Err("x509: malformed crl".to_owned());
    }
    let mut serials = HashSet::new();
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(&list).map_err(|e| format!("x509: malformed crl: {e}"))?;
        serials.extend(list.iter_revoked_certificates().map(|r| serial(r.raw_serial())));
    }
    Ok(serials)
}

impl Revoked {
    pub fn open(path: &str) -> Result<Option<Revoked>, String> {
        if path.is_empty() {
            return Ok(None);
        }
        let parse = |contents: &[Vec<u8>]| parse(contents.first().map(Vec::as_slice).unwrap_or_default());
        let file =
            Watched::open(vec![PathBuf::from(path)], parse).map_err(|e| format!("read the revocation list: {e}"))?;
        Ok(Some(Revoked { file }))
    }

    /// Refuses when any certificate of a chain is in the list, or when the list cannot be read now.
    pub fn check<'a>(&self, chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Result<(), String> {
        let revoked = self.file.strict()?;
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| format!("parse certificate: {e}"))?;
            let serial = serial(parsed.raw_serial());
            if revoked.contains(&serial) {
                let hex: String = serial.iter().map(|b| format!("{b:02x}")).collect();
                return Err(format!("transport: certificate serial {hex} revoked"));
            }
        }
        Ok(())
    }
}
