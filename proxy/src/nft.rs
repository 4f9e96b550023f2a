//! The `nft` and `conntrack` programs.

use crate::Error;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs one transaction: all of it holds, or none.
pub async fn apply(script: &str) -> Result<(), Error> {
    let fail = |e: std::io::Error| Error::Nft(e.to_string());
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).await.map_err(fail)?;
    }
    let out = child.wait_with_output().await.map_err(fail)?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(Error::Nft(text.lines().take(3).collect::<Vec<_>>().join("; ")))
}

/// Elements of an affinity map that point at `backend` (`IP . PORT` by client), to be deleted.
pub async fn affinity_clients(table: &str, map: &str, backends: &[String]) -> Vec<String> {
    let out = Command::new("nft")
        .args(["-j", "list", "map", "inet", table, map])
        .output()
        .await;
    let Ok(out) = out else { return Vec::new() };
    let Ok(v) = serde_json::from_slice::<serde_json::Value>(&out.stdout) else {
        return Vec::new();
    };
    let items = v["nftables"].as_array().into_iter().flatten();
    let elements = items.filter_map(|i| i["map"]["elem"].as_array()).flatten();
    elements
        .filter_map(|e| {
            let key = if e[0].is_object() { &e[0]["elem"]["val"] } else { &e[0] };
            let to = &e[1]["concat"];
            let to = format!("{} . {}", to[0].as_str()?, to[1]);
            backends
                .contains(&to)
                .then(|| key.as_str().map(str::to_owned))
                .flatten()
        })
        .collect()
}

/// Forgets UDP flows to a backend that left: without a closing packet they would go on for minutes.
pub async fn forget_udp(service_ip: &str, backend: &str) {
    let args = ["-D", "-p", "udp", "--orig-dst", service_ip, "--reply-src", backend];
    // Exit code 1 says that there was no such flow.
    if let Err(error) = Command::new("conntrack")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
    {
        tracing::warn!(%error, "conntrack cannot be run: UDP clients of a pod that left may wait for their flow to end");
    }
}
