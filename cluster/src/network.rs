//! The cluster's own link and what the kernel must allow for pods to be routed.

use crate::fail::{Context, Failure, Result};
use crate::layout::{Layout, write_private};
use crate::state::State;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a tool of the system; its standard error becomes the failure.
pub fn tool(program: &str, args: &[&str]) -> Result<String> {
    let out = Command::new(program).args(args).output().context(|| format!("run {program}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(Failure::new(format!("{program} {}: {}", args.join(" "), text.trim())))
}

/// A bridge without ports: an address of the cluster's own on the host, where DNS listens. Pods are routed
/// one by one (CNI `ptp`), so that the node translates Service addresses on both ways of every packet.
pub fn create(layout: &Layout, state: &State) -> Result<()> {
    let link = layout.link();
    if !Path::new("/sys/class/net").join(&link).exists() {
        tool("ip", &["link", "add", &link, "type", "bridge"])?;
    }
    tool("ip", &["address", "replace", &format!("{}/32", state.link_ip()), "dev", &link])?;
    tool("ip", &["link", "set", &link, "up"])?;
    let forward = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(forward).map(|s| s.trim() == "1").unwrap_or(false) {
        return Ok(());
    }
    fs::write(forward, "1").context(|| format!("turn {forward} on, which routes packets to pods"))
}

/// Removes the link and the cluster's nftables table.
pub fn remove(layout: &Layout) -> Result<()> {
    let link = layout.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        tool("ip", &["link", "delete", &link])?;
    }
    let table = layout.nft_table();
    if tool("nft", &["list", "tables"])?.lines().any(|l| l.trim() == format!("table inet {table}")) {
        tool("nft", &["delete", "table", "inet", &table])?;
    }
    Ok(())
}

/// CNI configuration for containerd: a routed veth a pod, addresses from host-local.
pub fn write_cni(layout: &Layout, state: &State) -> Result<()> {
    let (first, last) = state.pod_range();
    let conf = json!({
        "cniVersion": "0.4.0",
        "name": layout.nft_table(),
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": layout.cni_state(),
                "ranges": [[{
                    "subnet": state.pod_cidr,
                    "rangeStart": first,
                    "rangeEnd": last,
                    "gateway": state.pod_gateway(),
                }]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    let bytes = serde_json::to_vec_pretty(&conf).context(|| "encode the CNI configuration")?;
    write_private(&layout.cni_conf().join("10-keelson.conflist"), &bytes)
}
