//! What a cluster remembers between starts: its ports and address ranges.

use crate::fail::{Context, Failure, Result};
use crate::layout::{Layout, write_private};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Clusters on one machine: each takes a /16 for pods and one for Services.
const CLUSTERS_MAX: u8 = 12;
/// How many ports past the usual one are tried before giving up.
const PORT_SEARCH_MAX: u16 = 200;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub api_port: u16,
    pub etcd_port: u16,
    pub kubelet_port: u16,
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    pub node_name: String,
    pub node_ip: IpAddr,
    /// The kubeconfig that this cluster's context was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<std::path::PathBuf>,
}

/// Ports that the user named; 0 leaves the choice to us.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub api_port: u16,
    pub etcd_port: u16,
    pub kubelet_port: u16,
}

fn nth(net: &Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + n)
}

impl State {
    pub fn load(layout: &Layout) -> Result<Option<State>> {
        let path = layout.state_file();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .context(|| format!("parse {}", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::new(format!("read {}: {e}", path.display()))),
        }
    }

    pub fn save(&self, layout: &Layout) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).context(|| "encode the cluster's state")?;
        write_private(&layout.state_file(), &bytes)
    }

    /// Address of Service `default/kubernetes`.
    pub fn api_service_ip(&self) -> Ipv4Addr {
        nth(&self.service_cidr, 1)
    }
    /// Address of the cluster's DNS Service.
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        nth(&self.service_cidr, 10)
    }
    /// Gateway that pods see.
    pub fn pod_gateway(&self) -> Ipv4Addr {
        nth(&self.pod_cidr, 1)
    }
    /// Address on the cluster's own link: where the DNS server listens.
    pub fn link_ip(&self) -> Ipv4Addr {
        nth(&self.pod_cidr, 2)
    }
    /// First and last address that pods are given.
    pub fn pod_range(&self) -> (Ipv4Addr, Ipv4Addr) {
        (
            nth(&self.pod_cidr, 16),
            nth(&self.pod_cidr, (1 << (32 - self.pod_cidr.prefix_len())) - 2),
        )
    }
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// Ranges and ports for a new cluster, clear of the other clusters' and of what listens now.
    pub fn choose(wanted: Wanted) -> Result<State> {
        let others: Vec<State> = Layout::all()
            .iter()
            .filter_map(|l| State::load(l).ok().flatten())
            .collect();
        let routes = local_networks();
        let free = |net: &Ipv4Net| !routes.iter().any(|r| r.contains(net) || net.contains(r));
        let pair = (0..CLUSTERS_MAX)
            .filter_map(|i| {
                let pods = Ipv4Net::new(Ipv4Addr::new(10, 244 - i, 0, 0), 16).ok()?;
                let services = Ipv4Net::new(Ipv4Addr::new(10, 96 + i, 0, 0), 16).ok()?;
                Some((pods, services))
            })
            .find(|(p, s)| {
                free(p) && free(s) && !others.iter().any(|o| o.pod_cidr == *p || o.service_cidr == *s)
            })
            .ok_or_else(|| {
                Failure::new(format!(
                    "no free address range: all {CLUSTERS_MAX} pairs from 10.244.0.0/16 and 10.96.0.0/16 on are taken; `keelson down --purge --name X` frees one"
                ))
            })?;
        let taken = |p: u16| {
            others
                .iter()
                .any(|o| [o.api_port, o.etcd_port, o.kubelet_port].contains(&p))
        };
        Ok(State {
            api_port: pick_port("--api-port", wanted.api_port, 6443, Ipv4Addr::UNSPECIFIED, &taken)?,
            etcd_port: pick_port("--etcd-port", wanted.etcd_port, 2379, Ipv4Addr::LOCALHOST, &taken)?,
            kubelet_port: pick_port(
                "--kubelet-port",
                wanted.kubelet_port,
                10250,
                Ipv4Addr::UNSPECIFIED,
                &taken,
            )?,
            pod_cidr: pair.0,
            service_cidr: pair.1,
            node_name: hostname()?,
            node_ip: node_ip().unwrap_or(nth(&pair.0, 2).into()),
            kubeconfig: None,
        })
    }

    /// Fails with one line when a port of this cluster is held by something else.
    pub fn check_ports(&self) -> Result<()> {
        for (what, ip, port) in [
            ("--api-port", Ipv4Addr::UNSPECIFIED, self.api_port),
            ("--etcd-port", Ipv4Addr::LOCALHOST, self.etcd_port),
            ("--kubelet-port", Ipv4Addr::UNSPECIFIED, self.kubelet_port),
        ] {
            if !is_free(ip, port) {
                return Err(port_taken(what, port));
            }
        }
        Ok(())
    }
}

fn port_taken(flag: &str, port: u16) -> Failure {
    Failure::new(format!(
        "port {port} is taken by another program (`ss -ltnp 'sport = :{port}'` names it): stop it, or pass {flag} with a free one"
    ))
}

fn is_free(ip: Ipv4Addr, port: u16) -> bool {
    TcpListener::bind(SocketAddr::from((ip, port))).is_ok()
}

fn pick_port(flag: &str, wanted: u16, usual: u16, ip: Ipv4Addr, taken: &dyn Fn(u16) -> bool) -> Result<u16> {
    if wanted != 0 {
        return if is_free(ip, wanted) && !taken(wanted) {
            Ok(wanted)
        } else {
            Err(port_taken(flag, wanted))
        };
    }
    (usual..usual + PORT_SEARCH_MAX)
        .find(|p| !taken(*p) && is_free(ip, *p))
        .ok_or_else(|| port_taken(flag, usual))
}

/// The node's name: the machine's, as a DNS subdomain.
fn hostname() -> Result<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().to_lowercase();
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let name: String = name.chars().map(|c| if ok(c) { c } else { '-' }).collect();
    let name = name.trim_matches(|c| c == '-' || c == '.').to_owned();
    if name.is_empty() {
        Err(Failure::new(
            "the machine has no host name: set one with `hostname NAME`",
        ))
    } else {
        Ok(name)
    }
}

/// The address that packets to the outside leave from. No packet is sent: the kernel only looks its routes up.
fn node_ip() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 254), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

/// Destinations in the kernel's IPv4 routing table, the default route left out.
fn local_networks() -> Vec<Ipv4Net> {
    let Ok(table) = fs::read_to_string("/proc/net/route") else {
        return Vec::new();
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let hex = |i: usize| u32::from_str_radix(columns.get(i)?, 16).ok().map(u32::from_be);
            let (destination, mask) = (hex(1)?, hex(7)?);
            if mask == 0 {
                return None;
            }
            Ipv4Net::new(destination.into(), mask.leading_ones() as u8).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_named_port_that_is_taken_is_refused_and_an_unnamed_one_moves_on() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let none = |_: u16| false;
        let e = pick_port("--etcd-port", port, 2379, Ipv4Addr::LOCALHOST, &none)
            .unwrap_err()
            .to_string();
        assert!(e.contains(&port.to_string()) && e.contains("--etcd-port"), "{e}");
        let other = pick_port("--etcd-port", 0, port, Ipv4Addr::LOCALHOST, &none).unwrap();
        assert!(other > port);
    }

    #[test]
    fn addresses_follow_from_the_ranges() {
        let s = State {
            api_port: 1,
            etcd_port: 2,
            kubelet_port: 3,
            pod_cidr: "10.244.0.0/16".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            node_name: "n".into(),
            node_ip: Ipv4Addr::LOCALHOST.into(),
            kubeconfig: None,
        };
        assert_eq!(s.api_service_ip().to_string(), "10.96.0.1");
        assert_eq!(s.dns_service_ip().to_string(), "10.96.0.10");
        assert_eq!(s.pod_range().1.to_string(), "10.244.255.254");
        assert_eq!(
            serde_json::from_str::<State>(&serde_json::to_string(&s).unwrap()).unwrap(),
            s
        );
    }
}
