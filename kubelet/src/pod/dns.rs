//! Host names and resolvers of pods (upstream: pkg/kubelet/network/dns).
use super::PodExt;
use k8s_openapi::api::core::v1::Pod;
use keelson_proto::cri as pb;
use std::net::IpAddr;

const HOSTNAME_BYTES_MAX: usize = 63;
const SEARCHES_MAX: usize = 32;
const SERVERS_MAX: usize = 3;

/// `resolv.conf` in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    pub fn parse(text: &str) -> Resolver {
        let mut r = Resolver::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => r.servers.extend(words.next().map(str::to_owned)),
                // The last one wins, as in resolver(5).
                Some("search") => r.searches = words.map(str::to_owned).collect(),
                Some("options") => r.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        r
    }
}

/// What the pod's resolv.conf says, by its dnsPolicy and dnsConfig.
pub fn config(pod: &Pod, node: &Resolver, cluster_dns: Option<IpAddr>, cluster_domain: &str) -> pb::DnsConfig {
    let spec = pod.spec();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "None" => return with_custom(pod, Resolver::default()),
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let base = match cluster_dns.filter(|_| cluster) {
        None => node.clone(),
        Some(server) => {
            let mut searches = vec![
                format!("{}.svc.{cluster_domain}", pod.namespace()),
                format!("svc.{cluster_domain}"),
                cluster_domain.to_owned(),
            ];
            searches.retain(|_| !cluster_domain.is_empty());
            searches.extend(node.searches.iter().cloned());
            Resolver {
                servers: vec![server.to_string()],
                searches,
                options: vec!["ndots:5".to_owned()],
            }
        }
    };
    with_custom(pod, base)
}

fn with_custom(pod: &Pod, mut r: Resolver) -> pb::DnsConfig {
    if let Some(custom) = &pod.spec().dns_config {
        r.servers.extend(custom.nameservers.iter().flatten().cloned());
        r.searches.extend(custom.searches.iter().flatten().cloned());
        for o in custom.options.iter().flatten() {
            let Some(name) = &o.name else { continue };
            r.options.retain(|have| have.split(':').next() != Some(name));
            r.options.push(match o.value.as_deref() {
                Some(v) if !v.is_empty() => format!("{name}:{v}"),
                _ => name.clone(),
            });
        }
    }
    let unique = |list: Vec<String>, max: usize| {
        let mut seen = Vec::<String>::new();
        for item in list {
            if !seen.contains(&item) && seen.len() < max {
                seen.push(item);
            }
        }
        seen
    };
    pb::DnsConfig {
        servers: unique(r.servers, SERVERS_MAX),
        searches: unique(r.searches, SEARCHES_MAX),
        options: r.options,
    }
}

/// The short host name, and the domain of a headless Service's pods (empty without one).
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec();
    let filled = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    if let Some(name) = filled(&spec.hostname_override) {
        return (name, String::new());
    }
    let mut host = filled(&spec.hostname).unwrap_or_else(|| pod.name().to_owned());
    if host.len() > HOSTNAME_BYTES_MAX {
        let cut = (0..=HOSTNAME_BYTES_MAX)
            .rev()
            .find(|i| host.is_char_boundary(*i))
            .unwrap_or(0);
        host.truncate(cut);
        host.truncate(host.trim_end_matches(['-', '.']).len());
    }
    let domain = filled(&spec.subdomain)
        .map(|sub| format!("{sub}.{}.svc.{cluster_domain}", pod.namespace()))
        .unwrap_or_default();
    (host, domain)
}

/// What `hostname` prints in the pod's UTS namespace; empty with the host's network.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    if pod.host_network() && pod.spec().hostname_override.is_none() {
        return String::new();
    }
    let (host, domain) = hostname_and_domain(pod, cluster_domain);
    if pod.spec().set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        return format!("{host}.{domain}");
    }
    host
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(spec: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-0","namespace":"shop"}},"spec":{spec}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn cluster_first() {
        let node = Resolver::parse("# by hand\nnameserver 1.1.1.1\nsearch lan\noptions rotate\n");
        let c = config(
            &pod(r#"{"containers":[]}"#),
            &node,
            "10.96.0.10".parse().ok(),
            "cluster.local",
        );
        assert_eq!(c.servers, ["10.96.0.10"]);
        assert_eq!(
            c.searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]
        );
        assert_eq!(c.options, ["ndots:5"]);
        let c = config(
            &pod(r#"{"containers":[],"dnsPolicy":"Default","dnsConfig":{"options":[{"name":"ndots","value":"2"}]}}"#),
            &node,
            "10.96.0.10".parse().ok(),
            "cluster.local",
        );
        assert_eq!(
            (c.servers, c.options),
            (
                vec!["1.1.1.1".to_owned()],
                vec!["rotate".to_owned(), "ndots:2".to_owned()]
            )
        );
    }

    #[test]
    fn names() {
        assert_eq!(
            hostname_and_domain(&pod(r#"{"containers":[],"subdomain":"web"}"#), "cluster.local"),
            ("web-0".to_owned(), "web.shop.svc.cluster.local".to_owned())
        );
        assert_eq!(
            sandbox_hostname(&pod(r#"{"containers":[],"hostNetwork":true}"#), "x"),
            ""
        );
    }
}
