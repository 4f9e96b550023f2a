//! The `/etc/hosts` that a pod's containers share (upstream: pkg/kubelet/kubelet_pods.go).
use super::{PodExt, dns};
use k8s_openapi::api::core::v1::Pod;
use std::fmt::Write;

const MANAGED: &str = "# Kubernetes-managed hosts file.\n";
const MANAGED_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const STANDARD: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\n\
    fe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";

/// `node_hosts` is the node's own file, which pods on the host's network get.
pub fn content(pod: &Pod, ips: &[String], cluster_domain: &str, node_hosts: &str) -> String {
    let mut out = String::new();
    if pod.host_network() {
        out.push_str(MANAGED_HOST_NETWORK);
        out.push_str(node_hosts);
    } else {
        out.push_str(MANAGED);
        out.push_str(STANDARD);
        let (host, domain) = dns::hostname_and_domain(pod, cluster_domain);
        for ip in ips {
            let _ = match domain.is_empty() {
                true => writeln!(out, "{ip}\t{host}"),
                false => writeln!(out, "{ip}\t{host}.{domain}\t{host}"),
            };
        }
    }
    let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for a in aliases {
            let names = a.hostnames.as_deref().unwrap_or_default();
            let _ = writeln!(out, "{}\t{}", a.ip, names.join("\t"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_network() {
        let pod: Pod = serde_json::from_str(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n"},
                "spec":{"containers":[],"hostAliases":[{"ip":"1.2.3.4","hostnames":["x","y"]}]}}"#,
        )
        .unwrap();
        let text = content(&pod, &["10.0.0.2".into()], "c.l", "");
        assert!(text.starts_with(MANAGED));
        assert!(
            text.ends_with("10.0.0.2\ta\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"),
            "{text}"
        );
    }
}
