//! `/metrics`, `/metrics/resource` and `/stats/summary`: what a metrics server reads.
use super::Server;
use super::routes::{Body, Refusal, answer};
use crate::cri::labels;
use http::{Response, StatusCode};
use keelson_proto::cri as pb;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Usage<'a> {
    namespace: &'a str,
    pod: &'a str,
    uid: &'a str,
    container: &'a str,
    cpu_nanos: u64,
    memory_bytes: u64,
    /// Milliseconds since the epoch.
    at: i64,
}

fn usage(stats: &[pb::ContainerStats]) -> Vec<Usage<'_>> {
    let each = stats.iter().filter_map(|s| {
        let l = &s.attributes.as_ref()?.labels;
        let get = |key: &str| l.get(key).map(String::as_str).unwrap_or_default();
        let value = |v: &Option<pb::UInt64Value>| v.as_ref().map_or(0, |v| v.value);
        let (cpu, memory) = (s.cpu.as_ref()?, s.memory.as_ref()?);
        Some(Usage {
            namespace: get(labels::POD_NAMESPACE),
            pod: get(labels::POD_NAME),
            uid: get(labels::POD_UID),
            container: get(labels::CONTAINER_NAME),
            cpu_nanos: value(&cpu.usage_core_nano_seconds),
            memory_bytes: value(&memory.working_set_bytes),
            at: cpu.timestamp / 1_000_000,
        })
    });
    each.collect()
}

/// All of the node: CPU in nanoseconds, memory in bytes.
fn node() -> (u64, i64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|v| v.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; a tick is a hundredth of a second.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| crate::node::machine::meminfo(&memory, name);
    (
        busy.saturating_mul(10_000_000),
        field("MemTotal") - field("MemAvailable"),
    )
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

pub async fn resource(server: &Server) -> Result<Response<Body>, Refusal> {
    let stats = server.agent.cri.container_stats().await.map_err(Refusal::internal)?;
    let all = usage(&stats);
    let (cpu, memory) = node();
    let mut out = String::new();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = write!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}\n");
    };
    let of = |u: &Usage| {
        format!(
            "container=\"{}\",namespace=\"{}\",pod=\"{}\"",
            u.container, u.namespace, u.pod
        )
    };
    let name = "container_cpu_usage_seconds_total";
    head(
        &mut out,
        name,
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    for u in &all {
        let _ = writeln!(out, "{name}{{{}}} {} {}", of(u), seconds(u.cpu_nanos), u.at);
    }
    let name = "container_memory_working_set_bytes";
    head(&mut out, name, "gauge", "Current working set of the container in bytes");
    for u in &all {
        let _ = writeln!(out, "{name}{{{}}} {} {}", of(u), u.memory_bytes, u.at);
    }
    let name = "node_cpu_usage_seconds_total";
    head(
        &mut out,
        name,
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    let _ = writeln!(out, "{name} {}", seconds(cpu));
    let name = "node_memory_working_set_bytes";
    head(&mut out, name, "gauge", "Current working set of the node in bytes");
    let _ = writeln!(out, "{name} {memory}");
    let mut pods: BTreeMap<(&str, &str), (u64, u64, i64)> = BTreeMap::new();
    for u in &all {
        let sum = pods.entry((u.namespace, u.pod)).or_default();
        *sum = (sum.0 + u.cpu_nanos, sum.1 + u.memory_bytes, sum.2.max(u.at));
    }
    let name = "pod_cpu_usage_seconds_total";
    head(
        &mut out,
        name,
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for ((namespace, pod), (cpu, _, at)) in &pods {
        let _ = writeln!(
            out,
            "{name}{{namespace=\"{namespace}\",pod=\"{pod}\"}} {} {at}",
            seconds(*cpu)
        );
    }
    let name = "pod_memory_working_set_bytes";
    head(&mut out, name, "gauge", "Current working set of the pod in bytes");
    for ((namespace, pod), (_, memory, at)) in &pods {
        let _ = writeln!(out, "{name}{{namespace=\"{namespace}\",pod=\"{pod}\"}} {memory} {at}");
    }
    head(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.push_str("resource_scrape_error 0\n");
    Ok(answer(StatusCode::OK, PROMETHEUS, out))
}

/// About the agent itself.
pub fn own(server: &Server) -> Response<Body> {
    let pods = server.pods.list().len();
    let text = format!(
        "# HELP kubelet_active_pods [ALPHA] The number of pods the kubelet considers active\n\
         # TYPE kubelet_active_pods gauge\nkubelet_active_pods {pods}\n\
         # HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n\
         # TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{}\"}} 1\n",
        server.agent.options.node_name
    );
    answer(StatusCode::OK, PROMETHEUS, text)
}

pub async fn summary(server: &Server) -> Result<Response<Body>, Refusal> {
    let stats = server.agent.cri.container_stats().await.map_err(Refusal::internal)?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let cpu = |nanos: u64| json!({"time": now, "usageCoreNanoSeconds": nanos});
    let memory = |bytes: u64| json!({"time": now, "workingSetBytes": bytes});
    let mut pods: BTreeMap<&str, (Value, Vec<Value>, u64, u64)> = BTreeMap::new();
    let all = usage(&stats);
    for u in &all {
        let reference = || json!({"name": u.pod, "namespace": u.namespace, "uid": u.uid});
        let entry = pods.entry(u.uid).or_insert_with(|| (reference(), Vec::new(), 0, 0));
        let container = json!({"name": u.container, "cpu": cpu(u.cpu_nanos), "memory": memory(u.memory_bytes)});
        entry.1.push(container);
        entry.2 += u.cpu_nanos;
        entry.3 += u.memory_bytes;
    }
    let pods: Vec<Value> = pods
        .into_values()
        .map(|(reference, containers, c, m)| {
            json!({"podRef": reference, "containers": containers, "cpu": cpu(c), "memory": memory(m)})
        })
        .collect();
    let (node_cpu, node_memory) = node();
    let node_memory = u64::try_from(node_memory).unwrap_or(0);
    let body = json!({
        "node": {"nodeName": server.agent.options.node_name, "cpu": cpu(node_cpu), "memory": memory(node_memory)},
        "pods": pods,
    });
    Ok(answer(StatusCode::OK, "application/json", body.to_string()))
}
