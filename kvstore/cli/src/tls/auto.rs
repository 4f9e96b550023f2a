//! Certificates that a member makes for itself, kept in its data folder.

use crate::fail::io_text;
use crate::logs;
use crate::urls::Url;
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest validity, years: dates have four digits.
const YEARS_MAX: u64 = 1000;

/// Paths of the two files.
pub struct Made {
    pub cert: String,
    pub key: String,
}

/// The certificate in `folder`; made when there is none, or when it has run out.
pub fn certificate(folder: &Path, urls: &[Url], years: u64) -> Result<Made, String> {
    if years == 0 || years > YEARS_MAX {
        return Err(format!(
            "selfSignedCertValidity is invalid,it should be greater than 0 (and at most {YEARS_MAX} years; \
             --self-signed-cert-validity={years})"
        ));
    }
    let failed = |path: &Path, e: std::io::Error| format!("create {}: {}", path.display(), io_text(&e));
    let folder = std::path::absolute(folder).map_err(|e| failed(folder, e))?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !(key.exists() && is_good(&cert)) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| failed(&folder, e))?;
        make(&cert, &key, urls, years)?;
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(Made {
        cert: text(&cert),
        key: text(&key),
    })
}

/// It is there, and has not run out.
fn is_good(cert: &Path) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_file(cert) else {
        return false;
    };
    let Ok((_, parsed)) = X509Certificate::from_der(&certificate) else {
        return false;
    };
    parsed.validity().not_after.timestamp() > Timestamp::now().as_second()
}

fn make(cert: &Path, key: &Path, urls: &[Url], years: u64) -> Result<(), String> {
    let now = Zoned::new(Timestamp::now(), TimeZone::UTC);
    let days = i64::try_from(years).unwrap_or(1).saturating_mul(365);
    let end = now
        .checked_add(days.days())
        .map_err(|e| format!("--self-signed-cert-validity: {e}"))?;
    logs::warn("automatically generate certificates")
        .with(
            "certificate-validity-bound-not-after",
            end.strftime("%Y-%m-%dT00:00:00Z").to_string(),
        )
        .log();
    let mut hosts: Vec<String> = urls
        .iter()
        .filter_map(|url| url.host_port().ok())
        .map(|(host, _)| host.to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    hosts.sort();
    hosts.dedup();
    let failed = |e: rcgen::Error| format!("generate a certificate: {e}");
    let mut params = CertificateParams::new(hosts).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let date = |day: &Zoned| {
        let (month, date) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(day.year()), month, date)
    };
    (params.not_before, params.not_after) = (date(&now), date(&end));
    let pair = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&pair).map_err(failed)?;
    // The key first: a certificate without its key would be taken for finished.
    write(key, 0o600, &pair.serialize_pem())?;
    logs::info("created key file")
        .with("path", key.display().to_string())
        .log();
    write(cert, 0o644, &made.pem())?;
    logs::info("created cert file")
        .with("path", cert.display().to_string())
        .log();
    Ok(())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("create {}: {}", path.display(), io_text(&e));
    let fresh = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&fresh)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}
