//! How a member without data begins: which cluster it is of, and whether what was said of that holds together.

use crate::notice::Notice;
use crate::settings::{CLIENT_URL_DEFAULT, INITIAL_CLUSTER_DEFAULT, NAME_DEFAULT, PEER_URL_DEFAULT, Settings};
use crate::urls::{Url, UrlsMap, format_cluster, join, parse_cluster, strings};
use crate::{discover, host, logs};
use keelson_kvstore::Bootstrap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Made by every member that has data.
const IDENTITY: &str = "identity.json";

/// The folder has the data of a member, and flags about the cluster's beginning mean nothing.
pub fn is_initialised(data_dir: &Path) -> bool {
    data_dir.join(IDENTITY).exists()
}

/// Data that etcd itself wrote is not read in place: it comes in by a snapshot.
pub fn refuse_etcds_folder(data_dir: &Path) -> Result<(), String> {
    let member = data_dir.join("member");
    if !is_initialised(data_dir) && member.join("wal").exists() {
        return Err(format!(
            "the folder {} holds the data of an etcd, which this store does not read in place: take a snapshot of that \
             member (etcdctl snapshot save) and restore it into a new folder (keelson kvstore snapshot restore)",
            data_dir.display()
        ));
    }
    Ok(())
}

/// Puts this machine's address where only a default stands, when the member listens everywhere; and the member's name
/// into a cluster of its own.
pub fn substitute_defaults(settings: &mut Settings) -> Vec<Notice> {
    let mut notices = Vec::new();
    let everywhere = |urls: &[Url]| {
        let first = urls.first().and_then(|url| url.host_port().ok());
        first
            .filter(|(host, _)| *host == "0.0.0.0")
            .map(|(_, port)| port.to_owned())
    };
    let is_default = |urls: &[Url], default: &str| join(urls) == default;
    let peer_port =
        everywhere(&settings.listen_peer_urls).filter(|_| is_default(&settings.advertise_peer_urls, PEER_URL_DEFAULT));
    let client_port = everywhere(&settings.listen_client_urls)
        .filter(|_| is_default(&settings.advertise_client_urls, CLIENT_URL_DEFAULT));
    if peer_port.is_some() || client_port.is_some() {
        match host::default_host() {
            Ok(ip) => {
                let host = ip.to_string();
                for (urls, port) in [
                    (&mut settings.advertise_peer_urls, peer_port),
                    (&mut settings.advertise_client_urls, client_port),
                ] {
                    if let (Some(url), Some(port)) = (urls.first_mut(), port) {
                        *url = url.with_host(&host, &port);
                    }
                }
                notices.push(logs::info("detected default host for advertise").with("host", host));
            }
            Err(e) => notices.push(logs::info("failed to detect default host").with("error", e)),
        }
    }
    if settings.name != NAME_DEFAULT && settings.initial_cluster == INITIAL_CLUSTER_DEFAULT {
        settings.initial_cluster = settings.cluster_of_one(&settings.name);
    }
    notices
}

/// Which cluster a member without data is of: by flags, by DNS, or by asking another etcd.
pub async fn find(settings: &Settings) -> Result<Bootstrap, String> {
    if !settings.discovery.endpoints.is_empty() {
        return discover::by_store(settings).await;
    }
    if !settings.discovery_srv.is_empty() {
        return discover::by_dns(settings).await;
    }
    from_flags(settings).await
}

/// What the flags say, unchecked: a member that has data knows better.
pub fn of_initialised(settings: &Settings) -> Bootstrap {
    let members = parse_cluster(&settings.initial_cluster).unwrap_or_default();
    bootstrap(settings, members, settings.initial_cluster_token.clone())
}

/// The cluster that `--initial-cluster` says, checked as etcd does.
pub async fn from_flags(settings: &Settings) -> Result<Bootstrap, String> {
    let members =
        parse_cluster(&settings.initial_cluster).map_err(|e| format!("error setting up initial cluster: {e}"))?;
    check_local(settings, &members)?;
    if settings.initial_cluster_state == "new" {
        check_advertised(settings, &members).await?;
    }
    check_unique(&members)?;
    Ok(bootstrap(settings, members, settings.initial_cluster_token.clone()))
}

pub fn bootstrap(settings: &Settings, members: UrlsMap, token: String) -> Bootstrap {
    let members: BTreeMap<String, Vec<String>> =
        members.into_iter().map(|(name, urls)| (name, strings(&urls))).collect();
    match settings.initial_cluster_state.as_str() {
        "existing" => Bootstrap::Existing { members, token },
        _ => Bootstrap::New { members, token },
    }
}

fn check_local(settings: &Settings, members: &UrlsMap) -> Result<(), String> {
    if members.contains_key(&settings.name) {
        return Ok(());
    }
    let name = &settings.name;
    Err(format!(
        "couldn't find local name {name:?} in the initial cluster configuration"
    ))
}

pub fn check_unique(members: &UrlsMap) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    if members.values().flatten().all(|url| seen.insert(url)) {
        return Ok(());
    }
    Err(format!("initial cluster {} has duplicate url", format_cluster(members)))
}

/// The URLs of this member in the cluster are those that it tells others: as text, or as what the names resolve to.
async fn check_advertised(settings: &Settings, members: &UrlsMap) -> Result<(), String> {
    let advertised = &settings.advertise_peer_urls;
    let listed = members.get(&settings.name).map(Vec::as_slice).unwrap_or_default();
    let Err(unequal) = same_places(advertised, listed).await else {
        return Ok(());
    };
    let missing = |from: &[Url], inside: &[Url]| -> Vec<String> {
        from.iter()
            .filter(|url| !inside.contains(url))
            .map(Url::to_string)
            .collect()
    };
    let only_listed = missing(listed, advertised);
    if !only_listed.is_empty() {
        let name = &settings.name;
        let pairs: Vec<String> = only_listed.iter().map(|url| format!("{name}={url}")).collect();
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({unequal})",
            pairs.join(","),
            join(advertised)
        ));
    }
    let own = settings.cluster_of_one(&settings.name);
    let only_advertised = missing(advertised, listed);
    if !only_advertised.is_empty() {
        return Err(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={own}",
            only_advertised.join(",")
        ));
    }
    Err(format!(
        "failed to resolve {} to match --initial-cluster={own} ({unequal})",
        join(advertised)
    ))
}

async fn same_places(a: &[Url], b: &[Url]) -> Result<(), String> {
    let (mut a_text, mut b_text) = (strings(a), strings(b));
    a_text.sort();
    b_text.sort();
    if a_text == b_text {
        return Ok(());
    }
    if a_text.len() != b_text.len() {
        return Err(format!(
            "len({}) != len({})",
            quoted_list(&a_text),
            quoted_list(&b_text)
        ));
    }
    let (a_places, b_places) = (places(a).await?, places(b).await?);
    if a_places == b_places {
        return Ok(());
    }
    let different = |x: &[String], y: &[String]| {
        x.iter()
            .zip(y)
            .find(|(x, y)| x != y)
            .map(|(x, y)| (x.clone(), y.clone()))
    };
    let (x, y) = different(&a_places, &b_places).unwrap_or_default();
    let original = |place: &str, places: &[String], urls: &[Url]| {
        let at = places.iter().position(|p| p == place);
        at.and_then(|at| urls.get(at))
            .map_or_else(|| place.to_owned(), Url::to_string)
    };
    // Positions are of the sorted lists, as the URLs are.
    let (x, y) = (original(&x, &a_places, a), original(&y, &b_places, b));
    Err(format!("resolved urls: {x:?} != {y:?}"))
}

fn quoted_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|t| format!("{t:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// Each URL with its host as a number.
async fn places(urls: &[Url]) -> Result<Vec<String>, String> {
    let mut places = Vec::with_capacity(urls.len());
    for url in urls {
        if url.is_unix() {
            places.push(url.to_string());
            continue;
        }
        let (host, port) = url.host_port()?;
        let number: u16 = port.parse().map_err(|_| format!("invalid port {port:?} in {url}"))?;
        let mut found = tokio::net::lookup_host((host, number))
            .await
            .map_err(|e| format!("failed to resolve {host}: {}", crate::fail::io_text(&e)))?;
        // As Go does, the first IPv4 address counts when there is one.
        let addresses: Vec<_> = found.by_ref().collect();
        let address = addresses.iter().find(|a| a.is_ipv4()).or(addresses.first());
        let address = address.ok_or_else(|| format!("failed to resolve {host}: no address"))?;
        places.push(format!("{}://{address}", url.scheme));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(name: &str, advertised: &str, cluster: &str) -> Settings {
        Settings {
            name: name.to_owned(),
            advertise_peer_urls: Url::parse_list(advertised).unwrap(),
            initial_cluster: cluster.to_owned(),
            ..Settings::default()
        }
    }

    #[track_caller]
    fn check(name: &str, advertised: &str, cluster: &str, expected: Result<(), &str>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let found = runtime.block_on(from_flags(&settings(name, advertised, cluster)));
        assert_eq!(
            found.map(drop).as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|e| *e)
        );
    }

    #[test]
    fn the_cluster_and_the_member_agree_or_it_is_told() {
        check(
            "a",
            "http://127.0.0.1:1",
            "a=http://127.0.0.1:1,b=http://127.0.0.1:2",
            Ok(()),
        );
        check("a", "http://localhost:1", "a=http://127.0.0.1:1", Ok(()));
        check(
            "a",
            "http://127.0.0.1:1",
            "b=http://127.0.0.1:1",
            Err(r#"couldn't find local name "a" in the initial cluster configuration"#),
        );
        check(
            "a",
            "http://127.0.0.1:1",
            "a=http://127.0.0.1:2",
            Err("--initial-cluster has a=http://127.0.0.1:2 but missing from \
                 --initial-advertise-peer-urls=http://127.0.0.1:1 (resolved urls: \"http://127.0.0.1:1\" != \
                 \"http://127.0.0.1:2\")"),
        );
        check(
            "a",
            "http://127.0.0.1:1,http://127.0.0.1:2",
            "a=http://127.0.0.1:1",
            Err("--initial-advertise-peer-urls has http://127.0.0.1:2 but missing from \
                 --initial-cluster=a=http://127.0.0.1:1,a=http://127.0.0.1:2"),
        );
        check(
            "a",
            "http://127.0.0.1:1",
            "a=http://127.0.0.1:1,b=http://127.0.0.1:1",
            Err("initial cluster a=http://127.0.0.1:1,b=http://127.0.0.1:1 has duplicate url"),
        );
    }

    #[test]
    fn a_name_alone_makes_a_cluster_of_one() {
        let mut s = settings("m", "http://127.0.0.1:7", INITIAL_CLUSTER_DEFAULT);
        assert!(substitute_defaults(&mut s).is_empty());
        assert_eq!(s.initial_cluster, "m=http://127.0.0.1:7");
    }
}
