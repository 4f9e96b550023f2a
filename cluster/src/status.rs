//! `keelson status`.

use crate::cli::Output;
use crate::control::{self, ComponentReport, EtcdAccess, Report};
use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::state::State;
use std::collections::BTreeMap;

/// Prints the health of a cluster; fails (exit code 1) when it is not up or not ready.
pub fn run(layout: &Layout, output: Output) -> Result<()> {
    crate::preflight::root()?;
    let Some(state) = State::load(layout)? else {
        return Err(Failure::new(format!(
            "there is no cluster {:?}: `keelson up --name {}` makes it",
            layout.name, layout.name
        )));
    };
    let up = control::ask(layout)?;
    let report = up.clone().unwrap_or_else(|| absent(layout, &state));
    match output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&report).context(|| "encode the status")?;
            println!("{text}");
        }
        Output::Text => print(&report, up.is_some()),
    }
    match up {
        None => Err(Failure::new(format!(
            "cluster {:?} is not running: `keelson up --name {}` starts it",
            layout.name, layout.name
        ))),
        Some(r) if !r.ready => Err(Failure::new(format!("cluster {:?} is not ready", layout.name))),
        Some(_) => Ok(()),
    }
}

/// Where to reach the datastore of a cluster, whether it runs or not.
pub fn etcd_access(layout: &Layout, state: &State) -> EtcdAccess {
    let pki = layout.pki();
    EtcdAccess {
        endpoint: format!("https://127.0.0.1:{}", state.etcd_port),
        ca: pki.join("etcd-ca.crt"),
        cert: pki.join("etcd-client.crt"),
        key: pki.join("etcd-client.key"),
    }
}

fn absent(layout: &Layout, state: &State) -> Report {
    let mut pids = BTreeMap::new();
    if let Some(pid) = crate::containerd::running(layout) {
        pids.insert("containerd".to_owned(), pid);
    }
    let healthy = pids.contains_key("containerd");
    let containerd = ComponentReport {
        healthy,
        restarts: 0,
        message: String::new(),
    };
    Report {
        name: layout.name.clone(),
        ready: false,
        kubeconfig: layout.admin_kubeconfig(),
        server: state.server(),
        etcd: etcd_access(layout, state),
        pids,
        components: BTreeMap::from([("containerd".to_owned(), containerd)]),
    }
}

fn print(r: &Report, up: bool) {
    println!(
        "cluster     {} ({})",
        r.name,
        if r.ready {
            "ready"
        } else if up {
            "not ready"
        } else {
            "not running"
        }
    );
    println!("server      {}", r.server);
    println!("kubeconfig  {}", r.kubeconfig.display());
    println!("datastore   {}", r.etcd.endpoint);
    println!();
    println!(
        "{:<20} {:<10} {:>8} {:>9}  MESSAGE",
        "COMPONENT", "HEALTH", "PID", "RESTARTS"
    );
    for (name, c) in &r.components {
        let pid = r.pids.get(name).map(i32::to_string).unwrap_or_else(|| "-".into());
        let health = if c.healthy { "healthy" } else { "unhealthy" };
        println!("{name:<20} {health:<10} {pid:>8} {:>9}  {}", c.restarts, c.message);
    }
}
