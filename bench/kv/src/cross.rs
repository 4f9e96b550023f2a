//! The same comparison by etcd's own `benchmark` tool, which knows nothing of this project. It costs more processor
//! time than the load here, so that on a small machine its rates are lower; the ratios should tell the same.

use crate::report::short;
use crate::rounds::Options;
use crate::target::{Cluster, Kind};
use std::io;
use std::path::Path;
use std::process::Command;

struct Check {
    name: &'static str,
    clients: u32,
    connections: u32,
    calls: u32,
    reads: Option<&'static str>,
}

const fn check(name: &'static str, clients: u32, connections: u32, calls: u32, reads: Option<&'static str>) -> Check {
    Check {
        name,
        clients,
        connections,
        calls,
        reads,
    }
}

const CHECKS: &[Check] = &[
    check("put-1x1", 1, 1, 5_000, None),
    check("put-1x256", 256, 16, 60_000, None),
    check("put-1x1000", 1000, 100, 60_000, None),
    check("get-linearizable-1x256", 256, 16, 100_000, Some("l")),
    check("get-serializable-1x256", 256, 16, 100_000, Some("s")),
];

/// The key that is read: the tool reads one range over and over.
const KEY: &str = "/registry/pods/default/pod-0000000000";

fn once(tool: &Path, kind: &Kind, check: &Check, options: &Options) -> io::Result<f64> {
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let mut cluster = Cluster::start(kind, 1, dir.path(), &[])?;
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    let run = |clients: u32, connections: u32, calls: u32, rest: &[&str]| {
        let output = Command::new(tool)
            .args(["--endpoints", &address, "--precise"])
            .args(["--clients", &clients.to_string(), "--conns", &connections.to_string()])
            .args(rest)
            .args(["--total", &calls.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|l| l.trim().strip_prefix("Requests/sec:"));
        let errors = text.contains("Error distribution");
        match rate.and_then(|r| r.trim().parse::<f64>().ok()) {
            Some(rate) if !errors => Ok(rate),
            _ => Err(io::Error::other(format!(
                "{} says: {text}{}",
                tool.display(),
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    };
    let put = [
        "put",
        "--key-size",
        "37",
        "--val-size",
        "256",
        "--key-space-size",
        "10000",
    ];
    let rate = match check.reads {
        None => run(check.clients, check.connections, check.calls, &put),
        Some(consistency) => {
            crate::fill::fill(
                &cluster,
                &crate::workload::Data {
                    members: 1,
                    keys: 10_000,
                    value: 256,
                    scattered: false,
                },
            )?;
            let range = ["range", KEY, "--consistency", consistency];
            run(check.clients, check.connections, check.calls, &range)
        }
    };
    cluster.stop()?;
    rate
}

/// Prints a row a check.
pub fn run(tool: &Path, options: &Options) -> io::Result<()> {
    println!("by etcd's benchmark       |     ours     etcd  ratio, operations/s");
    for check in CHECKS {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (kind, rates) in options.sides.iter().zip(&mut rates) {
                rates.push(once(tool, kind, check, options)?);
            }
        }
        let median = |rates: &mut Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let [ours, etcd] = &mut rates;
        let (ours, etcd) = (median(ours), median(etcd));
        println!(
            "{:<25} | {:>8} {:>8} {:>5}x",
            check.name,
            short(ours),
            short(etcd),
            short(ours / etcd)
        );
    }
    Ok(())
}
