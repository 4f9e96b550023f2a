//! Whether a member calls from where its certificate says: an address of the certificate, or a host name of it that
//! belongs to the address.

use super::Identity;
use super::allowed::has_name;
use hickory_resolver::TokioResolver;
use keelson_kvstore::CallerCheck;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// DNS that does not answer by then says no.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Host names of one certificate that are looked up.
const NAMES_MAX: usize = 64;

/// The check for the peer ports; `None` when it is switched off.
pub fn caller_check(identity: &Identity) -> Option<CallerCheck> {
    if identity.settings.skip_client_san_verify {
        return None;
    }
    Some(Arc::new(|certificate, ip| {
        Box::pin(async move { check(&certificate, ip.to_canonical()).await })
    }))
}

/// DNS names, and whether there are addresses.
fn names(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, bool), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| format!("parse certificate: {e}"))?;
    let san = parsed
        .subject_alternative_name()
        .map_err(|e| format!("parse certificate: {e}"))?;
    let names = san.map(|san| san.value.general_names.as_slice()).unwrap_or_default();
    let mut dns = Vec::new();
    let mut has_addresses = false;
    for name in names {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(_) => has_addresses = true,
            _ => {}
        }
    }
    Ok((dns, has_addresses))
}

async fn check(certificate: &CertificateDer<'_>, ip: IpAddr) -> Result<(), String> {
    let (dns, has_addresses) = names(certificate)?;
    if dns.is_empty() && !has_addresses {
        return Ok(());
    }
    if has_addresses {
        if has_name(certificate, &ip.to_string()) {
            return Ok(());
        }
        if dns.is_empty() {
            return Err(format!("x509: certificate is valid for other addresses, not {ip}"));
        }
    }
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, is_host_of(&dns, ip)).await;
    let ip = ip.to_string();
    match found {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(format!("tls: {ip:?} does not match any of DNSNames {dns:?}")),
        Ok(Err(e)) => Err(format!("tls: {ip:?} does not match any of DNSNames {dns:?} ({e})")),
        Err(_) => Err(format!(
            "tls: {ip:?} does not match any of DNSNames {dns:?} (lookup timed out)"
        )),
    }
}

fn resolver() -> Option<&'static TokioResolver> {
    static RESOLVER: OnceLock<Option<TokioResolver>> = OnceLock::new();
    RESOLVER
        .get_or_init(|| TokioResolver::builder_tokio().ok()?.build().ok())
        .as_ref()
}

/// Asks for the address's names, then for the names' addresses.
async fn is_host_of(dns: &[String], ip: IpAddr) -> Result<bool, String> {
    let (wildcards, names): (Vec<&String>, Vec<&String>) =
        dns.iter().take(NAMES_MAX).partition(|n| n.starts_with("*."));
    let mut problem = None;
    for name in names_of(ip).await {
        let name = name.trim_end_matches('.');
        let in_wildcard = |wildcard: &&String| wildcard.strip_prefix('*').is_some_and(|suffix| name.ends_with(suffix));
        if wildcards.iter().any(in_wildcard) || names.iter().any(|n| n.as_str() == name) {
            return Ok(true);
        }
    }
    for name in names {
        match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(mut addresses) => {
                if addresses.any(|a| a.ip().to_canonical() == ip) {
                    return Ok(true);
                }
            }
            Err(e) => problem = Some(format!("lookup {name}: {}", crate::fail::io_text(&e))),
        }
    }
    problem.map_or(Ok(false), Err)
}

/// By `/etc/hosts`, where Go looks too, and by DNS.
async fn names_of(ip: IpAddr) -> Vec<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if words.next().and_then(|w| w.parse::<IpAddr>().ok()) == Some(ip) {
            names.extend(words.map(str::to_owned));
        }
    }
    if names.is_empty()
        && let Some(resolver) = resolver()
        && let Ok(found) = resolver.reverse_lookup(ip).await
    {
        names.extend(found.answers().iter().map(|record| record.data.to_string()));
    }
    names
}
