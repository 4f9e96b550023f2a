//! The members of a cluster from DNS: `_etcd-server-ssl._tcp` and `_etcd-server._tcp` records of a domain
//! (`--discovery-srv`, `--discovery-srv-name`).

use super::Error;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Members that one domain may name.
const RECORDS_MAX: usize = 128;

/// One SRV record, and the first address that its target has.
struct Record {
    /// Without the trailing dot.
    host: String,
    port: u16,
    addr: SocketAddr,
}

/// What the domain says, name to peer URLs: this member under its own name (it is recognized by the address of its
/// advertised peer URLs), the others as numbers.
pub async fn cluster(
    domain: &str,
    service_name: Option<&str>,
    name: &str,
    advertise_peer_urls: &[String],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let resolver = TokioResolver::builder_tokio().and_then(|b| b.build());
    let resolver = resolver.map_err(|e| dns_error("etcd-server", &e.to_string()))?;
    cluster_with(&resolver, domain, service_name, name, advertise_peer_urls).await
}

/// The same, asking a given resolver.
pub async fn cluster_with(
    resolver: &TokioResolver,
    domain: &str,
    service_name: Option<&str>,
    name: &str,
    advertise_peer_urls: &[String],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut own = Vec::new();
    for url in advertise_peer_urls {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let addr = first_address(authority)
            .await
            .map_err(|e| dns_error("etcd-server", &e))?;
        own.push((addr, url.clone()));
    }
    let suffix = service_name
        .filter(|s| !s.is_empty())
        .map_or_else(String::new, |s| format!("-{s}"));
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut failure = None;
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = format!("{service}{suffix}");
        let found = match records(resolver, &service, domain).await {
            Ok(records) => assemble(&records, scheme, &service, name, &own),
            Err(error) => Err(error),
        };
        tracing::info!(
            "service-scheme" = scheme,
            "service-name" = service,
            "server-name" = name,
            "discovery-srv" = domain,
            "found-cluster" = ?found.as_ref().map(Vec::len).unwrap_or(0),
            "get cluster for {service} SRV"
        );
        match found {
            Ok(found) => found
                .into_iter()
                .for_each(|(name, url)| members.entry(name).or_default().push(url)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    // One of the two kinds of records is enough.
    match (members.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(dns_error("etcd-server", "no such records")),
        (false, _) => Ok(members),
    }
}

fn dns_error(service: &str, reason: &str) -> Error {
    Error::Dns {
        service: service.to_owned(),
        reason: reason.to_owned(),
    }
}

async fn first_address(authority: &str) -> Result<SocketAddr, String> {
    let mut found = tokio::net::lookup_host(authority)
        .await
        .map_err(|e| format!("{authority}: {e}"))?;
    found.next().ok_or_else(|| format!("{authority} has no address"))
}

async fn records(resolver: &TokioResolver, service: &str, domain: &str) -> Result<Vec<Record>, Error> {
    let name = format!("_{service}._tcp.{}.", domain.trim_end_matches('.'));
    let answer = resolver
        .srv_lookup(name)
        .await
        .map_err(|e| dns_error(service, &e.to_string()))?;
    let mut records = Vec::new();
    let mut failure = None;
    for answer in answer.answers().iter().take(RECORDS_MAX) {
        let RData::SRV(srv) = &answer.data else { continue };
        let host = srv.target.to_ascii().trim_end_matches('.').to_owned();
        match address_of(resolver, &host, srv.port).await {
            Ok(addr) => records.push(Record {
                host,
                port: srv.port,
                addr,
            }),
            // The others may be enough.
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if records.is_empty() => Err(dns_error(service, &error)),
        _ => Ok(records),
    }
}

async fn address_of(resolver: &TokioResolver, host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = resolver.lookup_ip(format!("{host}.")).await;
    if let Some(ip) = found.ok().and_then(|ips| ips.iter().next()) {
        return Ok(SocketAddr::new(ip, port));
    }
    // Names of this machine alone are in its hosts file.
    first_address(&format!("{host}:{port}")).await
}

/// Name and URL of each record.
fn assemble(
    records: &[Record],
    scheme: &str,
    service: &str,
    name: &str,
    own: &[(SocketAddr, String)],
) -> Result<Vec<(String, String)>, Error> {
    let mut next_number = 0u32;
    let mut mismatch = None;
    let mut all = Vec::new();
    for record in records {
        let url = format!("{scheme}://{}:{}", record.host, record.port);
        let this = own.iter().find(|(addr, _)| *addr == record.addr);
        let member = match this {
            Some((_, own_url)) if !own_url.starts_with(&format!("{scheme}://")) => {
                mismatch = Some(Error::SchemeMismatch {
                    found: url,
                    service: service.to_owned(),
                    expected: own_url.clone(),
                });
                continue;
            }
            Some(_) if !name.is_empty() => name.to_owned(),
            _ => {
                next_number += 1;
                (next_number - 1).to_string()
            }
        };
        all.push((member, url));
    }
    match mismatch {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(host: &str, last: u8) -> Record {
        Record {
            host: host.to_owned(),
            port: 2380,
            addr: format!("10.0.0.{last}:2380").parse().unwrap(),
        }
    }

    #[test]
    fn this_member_is_found_by_its_address_and_the_others_are_numbered() {
        let records = [record("a.example", 1), record("b.example", 2), record("c.example", 3)];
        let own = [("10.0.0.2:2380".parse().unwrap(), "http://b:2380".to_owned())];
        let found = assemble(&records, "http", "etcd-server", "me", &own).unwrap();
        let expected = [
            ("0", "http://a.example:2380"),
            ("me", "http://b.example:2380"),
            ("1", "http://c.example:2380"),
        ];
        assert_eq!(found, expected.map(|(n, u)| (n.to_owned(), u.to_owned())));
    }

    #[test]
    fn a_record_of_the_other_scheme_is_told() {
        let own = [("10.0.0.1:2380".parse().unwrap(), "https://a:2380".to_owned())];
        let error = assemble(&[record("a.example", 1)], "http", "etcd-server", "me", &own).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bootstrap at http://a.example:2380 from DNS for etcd-server has scheme mismatch with expected peer \
             https://a:2380"
        );
    }
}
