//! The cluster of a member without data, when it is not written down: by DNS, or by asking another etcd.

use crate::settings::Settings;
use crate::urls::{UrlsMap, format_cluster, parse_cluster, strings};
use crate::{bootstrap, logs, tls};
use keelson_kvstore::Bootstrap;
use keelson_kvstore::discovery::{srv, store};
use std::collections::BTreeMap;

fn urls_map(found: BTreeMap<String, Vec<String>>) -> Result<UrlsMap, String> {
    let pairs = found
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    parse_cluster(&pairs.collect::<Vec<_>>().join(","))
}

/// `--discovery-srv`.
pub async fn by_dns(settings: &Settings) -> Result<Bootstrap, String> {
    let service = Some(settings.discovery_srv_name.as_str()).filter(|name| !name.is_empty());
    let advertised = strings(&settings.advertise_peer_urls);
    let found = srv::cluster(&settings.discovery_srv, service, &settings.name, &advertised).await;
    let members = urls_map(found.map_err(|e| format!("error setting up initial cluster: {e}"))?)?;
    for (name, urls) in &members {
        let node: Vec<String> = urls.iter().map(|url| format!("{name}={url}")).collect();
        logs::info("got bootstrap from DNS for etcd-server")
            .with("node", node.join(","))
            .log();
    }
    if !members.contains_key(&settings.name) {
        let name = &settings.name;
        return Err(format!(
            "error setting up initial cluster: cannot find local etcd member {name:?} in SRV records"
        ));
    }
    bootstrap::check_unique(&members)?;
    Ok(bootstrap::bootstrap(
        settings,
        members,
        settings.initial_cluster_token.clone(),
    ))
}

/// `--discovery-token` and `--discovery-endpoints`. Waits until all members have come.
pub async fn by_store(settings: &Settings) -> Result<Bootstrap, String> {
    if settings.initial_cluster_state == "existing" {
        return Err("discovery URL should not be set when joining existing initial cluster".to_owned());
    }
    let d = &settings.discovery;
    let scheme = if d.insecure_transport { "http" } else { "https" };
    let endpoint = |text: &String| match text.contains("://") {
        true => text.trim().to_owned(),
        false => format!("{scheme}://{}", text.trim()),
    };
    let options = store::Options {
        tls: if d.insecure_transport {
            None
        } else {
            Some(tls::discovery_config(settings)?)
        },
        user: user(settings)?,
        dial_timeout: d.dial_timeout.or_zero(),
        request_timeout: d.request_timeout.or_zero(),
        ..store::Options::new(d.token.as_str(), d.endpoints.iter().map(endpoint).collect())
    };
    let advertised = strings(&settings.advertise_peer_urls);
    let id = keelson_kvstore::member_id(&advertised, &d.token, None);
    let found = store::join(&options, id, &settings.name, &advertised).await;
    let members = urls_map(found.map_err(|e| e.to_string())?)?;
    bootstrap::check_unique(&members)
        .map_err(|_| format!("discovery cluster {} has duplicate url", format_cluster(&members)))?;
    Ok(bootstrap::bootstrap(settings, members, d.token.clone()))
}

/// Name and password. Nobody is there to be asked for a password.
fn user(settings: &Settings) -> Result<Option<(String, String)>, String> {
    let d = &settings.discovery;
    if d.user.is_empty() {
        return Ok(None);
    }
    if !d.password.is_empty() {
        return Ok(Some((d.user.clone(), d.password.clone())));
    }
    match d.user.split_once(':') {
        Some((name, password)) => Ok(Some((name.to_owned(), password.to_owned()))),
        None => Err("--discovery-user has no password: give user:password, or --discovery-password".to_owned()),
    }
}
