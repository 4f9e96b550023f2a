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
    let out = Command::new(program)
        .args(args)
        .output()
        .context(|| format!("run {program}"))?;
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
    tool(
        "ip",
        &["address", "replace", &format!("{}/32", state.link_ip()), "dev", &link],
    )?;
    tool("ip", &["link", "set", &link, "up"])?;
    // The way to Service addresses for programs on the host, whether or not there is a default route; the rules
    // translate the destination before anything leaves this way.
    tool(
        "ip",
        &["route", "replace", &state.service_cidr.to_string(), "dev", &link],
    )?;
    set_kernel_settings(layout)
}

/// Kernel settings that routing to pods needs, with the value of each. `route_localnet` lets a NodePort or host
/// port on 127.0.0.1 be translated; the proxy's rules drop packets from outside that abuse it.
const KERNEL_SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv4/conf/all/route_localnet", "1"),
];

/// Sets them, and notes what was there for `down`.
fn set_kernel_settings(layout: &Layout) -> Result<()> {
    let note = layout.run.join("kernel-settings.json");
    let mut before: std::collections::BTreeMap<String, String> = fs::read(&note)
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    for (path, wanted) in KERNEL_SETTINGS {
        let now = fs::read_to_string(path).context(|| format!("read {path}"))?;
        if now.trim() != wanted {
            before.entry(path.to_owned()).or_insert_with(|| now.trim().to_owned());
        }
    }
    let bytes = serde_json::to_vec(&before).context(|| "encode kernel settings")?;
    write_private(&note, &bytes)?;
    for (path, wanted) in KERNEL_SETTINGS {
        fs::write(path, wanted).context(|| format!("set {path} to {wanted}"))?;
    }
    Ok(())
}

/// Puts back what [`set_kernel_settings`] changed, unless another cluster needs it still.
fn restore_kernel_settings(layout: &Layout) -> Result<()> {
    let note = layout.run.join("kernel-settings.json");
    let Ok(bytes) = fs::read(&note) else { return Ok(()) };
    let before: std::collections::BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
    let others: Vec<Layout> = Layout::all()
        .into_iter()
        .filter(|l| l.name != layout.name && l.run.join("kernel-settings.json").exists())
        .collect();
    if let Some(heir) = others.first() {
        // The one that stays inherits the duty.
        return fs::rename(&note, heir.run.join("kernel-settings.json")).context(|| "hand kernel settings over");
    }
    for (path, value) in before {
        fs::write(&path, &value).context(|| format!("set {path} back to {value}"))?;
    }
    Ok(())
}

/// Removes the link and the cluster's nftables table.
pub fn remove(layout: &Layout) -> Result<()> {
    let link = layout.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        tool("ip", &["link", "delete", &link])?;
    }
    let table = layout.nft_table();
    if tool("nft", &["list", "tables"])?
        .lines()
        .any(|l| l.trim() == format!("table inet {table}"))
    {
        tool("nft", &["delete", "table", "inet", &table])?;
    }
    restore_kernel_settings(layout)
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
