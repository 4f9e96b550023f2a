//! `/stats/summary` (k8s.io/kubelet/pkg/apis/stats/v1alpha1) and `/configz`, and the figures behind them.
use super::State;
use super::answer::Refusal;
use crate::Options;
use crate::cri::{Cri, labels, view};
use crate::node::machine;
use jiff::Timestamp;
use keelson_proto::cri as pb;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// USER_HZ: the unit of /proc/stat, fixed by the kernel's interface.
const TICK_NANOS: u64 = 1_000_000_000 / 100;

/// One container that runs.
pub struct ContainerUsage {
    pub name: String,
    pub started_at: i64,
    /// When it was measured, in milliseconds since the epoch.
    pub at_ms: i64,
    pub cpu_nanos: u64,
    pub cpu_nano_cores: Option<u64>,
    pub memory: pb::MemoryUsage,
    pub rootfs: Option<pb::FilesystemUsage>,
}

/// One pod with containers that run.
pub struct PodUsage {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub containers: Vec<ContainerUsage>,
}

impl PodUsage {
    pub fn cpu_nanos(&self) -> u64 {
        self.containers.iter().map(|c| c.cpu_nanos).sum()
    }
    pub fn at_ms(&self) -> Option<i64> {
        self.containers.iter().map(|c| c.at_ms).max()
    }
    pub fn working_set_bytes(&self) -> u64 {
        let of = |c: &ContainerUsage| value(&c.memory.working_set_bytes).unwrap_or(0);
        self.containers.iter().map(of).sum()
    }
}

pub fn value(v: &Option<pb::UInt64Value>) -> Option<u64> {
    v.as_ref().map(|v| v.value)
}

/// By the runtime's word, in the order of namespace and name.
pub async fn pods(cri: &Cri) -> crate::Result<Vec<PodUsage>> {
    let (stats, containers) = tokio::try_join!(cri.container_stats(), cri.list_containers(None))?;
    let running = pb::ContainerState::ContainerRunning as i32;
    let containers = containers.into_iter().filter(|c| c.state == running);
    let created: HashMap<String, i64> = containers.map(|c| (c.id, c.created_at)).collect();
    let mut pods: BTreeMap<(String, String, String), Vec<ContainerUsage>> = BTreeMap::new();
    for s in stats {
        let Some(a) = s.attributes else { continue };
        let Some(started_at) = created.get(&a.id) else { continue };
        let label = |key: &str| a.labels.get(key).cloned().unwrap_or_default();
        let key = (
            label(labels::POD_NAMESPACE),
            label(labels::POD_NAME),
            label(labels::POD_UID),
        );
        let cpu = s.cpu.unwrap_or_default();
        pods.entry(key).or_default().push(ContainerUsage {
            name: label(labels::CONTAINER_NAME),
            started_at: *started_at,
            at_ms: cpu.timestamp / 1_000_000,
            cpu_nanos: value(&cpu.usage_core_nano_seconds).unwrap_or(0),
            cpu_nano_cores: value(&cpu.usage_nano_cores),
            memory: s.memory.unwrap_or_default(),
            rootfs: s.writable_layer,
        });
    }
    let pod = |((namespace, name, uid), containers)| PodUsage {
        name,
        namespace,
        uid,
        containers,
    };
    Ok(pods.into_iter().map(pod).collect())
}

/// The machine as a whole.
pub struct NodeUsage {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    pub working_set_bytes: u64,
    pub available_bytes: u64,
}

pub fn node() -> NodeUsage {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let field = |name: &str| u64::try_from(machine::meminfo(&memory, name)).unwrap_or(0);
    let used = field("MemTotal").saturating_sub(field("MemFree"));
    NodeUsage {
        cpu_nanos: cpu_nanos(&read("/proc/stat")),
        memory_bytes: used,
        // As for any cgroup: what is used, without file pages that nobody touched lately.
        working_set_bytes: used.saturating_sub(field("Inactive(file)")),
        available_bytes: field("MemAvailable"),
    }
}

/// The time in which some CPU was not idle; steal is not ours.
fn cpu_nanos(stat: &str) -> u64 {
    let Some(line) = stat.lines().find_map(|l| l.strip_prefix("cpu ")) else {
        return 0;
    };
    let fields = line.split_whitespace().map(|f| f.parse::<u64>().unwrap_or(0));
    // user nice system idle iowait irq softirq
    let busy: u64 = fields
        .enumerate()
        .filter(|(i, _)| matches!(i, 0 | 1 | 2 | 5 | 6))
        .map(|(_, v)| v)
        .sum();
    busy.saturating_mul(TICK_NANOS)
}

pub async fn summary(state: &State) -> Result<Value, Refusal> {
    let agent = &state.agent;
    let (pods, image_fs) = tokio::try_join!(pods(&agent.cri), agent.cri.image_fs())?;
    let now = Timestamp::now();
    let node = node();
    let root = filesystem(&agent.options.root_dir, now);
    let mut images = image_fs
        .first()
        .and_then(|f| f.fs_id.as_ref())
        .map_or_else(|| root.clone(), |f| filesystem(Path::new(&f.mountpoint), now));
    if let Some(used) = image_fs.first().and_then(|f| value(&f.used_bytes)) {
        images["usedBytes"] = used.into();
    }
    let pods: Vec<Value> = pods.iter().map(|p| pod_summary(p, now)).collect();
    Ok(json!({
        "node": {
            "nodeName": agent.options.node_name,
            "startTime": state.started_at.to_string(),
            "cpu": {"time": now.to_string(), "usageCoreNanoSeconds": node.cpu_nanos},
            "memory": {
                "time": now.to_string(),
                "availableBytes": node.available_bytes,
                "usageBytes": node.memory_bytes,
                "workingSetBytes": node.working_set_bytes,
            },
            "fs": root,
            "runtime": {"imageFs": images},
        },
        "pods": pods,
    }))
}

fn filesystem(path: &Path, now: Timestamp) -> Value {
    match machine::Disk::of(path) {
        Some(d) => json!({
            "time": now.to_string(),
            "capacityBytes": d.total,
            "availableBytes": d.free,
            "usedBytes": d.usable.saturating_sub(d.free),
        }),
        None => json!({"time": now.to_string()}),
    }
}

fn pod_summary(pod: &PodUsage, now: Timestamp) -> Value {
    let time = now.to_string();
    let started = |nanos: i64| view::timestamp(nanos).map(|t| t.to_string());
    let containers: Vec<Value> = pod.containers.iter().map(|c| container_summary(c, now)).collect();
    json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.containers.iter().map(|c| c.started_at).min().and_then(started),
        "containers": containers,
        "cpu": {"time": time, "usageCoreNanoSeconds": pod.cpu_nanos()},
        "memory": {"time": time, "workingSetBytes": pod.working_set_bytes()},
    })
}

fn container_summary(c: &ContainerUsage, now: Timestamp) -> Value {
    let time = now.to_string();
    let mut out = json!({
        "name": c.name,
        "startTime": view::timestamp(c.started_at).map(|t| t.to_string()),
        "cpu": {"time": time, "usageCoreNanoSeconds": c.cpu_nanos},
        "memory": {"time": time, "workingSetBytes": value(&c.memory.working_set_bytes)},
    });
    let optional = [
        ("/cpu", "usageNanoCores", c.cpu_nano_cores),
        ("/memory", "usageBytes", value(&c.memory.usage_bytes)),
        ("/memory", "availableBytes", value(&c.memory.available_bytes)),
        ("/memory", "rssBytes", value(&c.memory.rss_bytes)),
    ];
    for (parent, key, v) in optional {
        if let (Some(v), Some(parent)) = (v.filter(|v| *v > 0), out.pointer_mut(parent)) {
            parent[key] = v.into();
        }
    }
    if let Some(fs) = &c.rootfs {
        out["rootfs"] = json!({
            "time": time,
            "usedBytes": value(&fs.used_bytes),
            "inodesUsed": value(&fs.inodes_used),
        });
    }
    out
}

/// What of the kubelet's configuration applies here (k8s.io/kubelet/config/v1beta1).
pub fn config(o: &Options) -> Value {
    json!({"kubeletconfig": {
        "address": o.listen.ip().to_string(),
        "port": o.listen.port(),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
        "authorization": {"mode": "Webhook"},
        "clusterDomain": o.cluster_domain,
        "clusterDNS": o.cluster_dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "containerLogMaxSize": o.container_log_bytes_max.to_string(),
        "containerLogMaxFiles": o.container_log_files_max,
        "containerRuntimeEndpoint": format!("unix://{}", o.cri_endpoint.trim_start_matches("unix://")),
        "cgroupDriver": "cgroupfs",
        "imageGCHighThresholdPercent": o.image_gc.high_percent,
        "imageGCLowThresholdPercent": o.image_gc.low_percent,
        "maxPods": o.pods_max,
        "podCIDR": o.pod_cidr,
        "resolvConf": o.resolv_conf.display().to_string(),
        "syncFrequency": format!("{}s", o.sync_frequency.as_secs()),
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_of_the_machine() {
        let stat = "cpu  100 20 30 9999 500 5 5 77 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(cpu_nanos(stat), 160 * TICK_NANOS);
        assert_eq!(cpu_nanos(""), 0);
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers() {
        let memory = |bytes| pb::MemoryUsage {
            working_set_bytes: Some(pb::UInt64Value { value: bytes }),
            ..Default::default()
        };
        let one = |name: &str, cpu_nanos, bytes| ContainerUsage {
            name: name.into(),
            started_at: 1_000_000_000,
            at_ms: 1000,
            cpu_nanos,
            cpu_nano_cores: None,
            memory: memory(bytes),
            rootfs: None,
        };
        let pod = PodUsage {
            name: "p".into(),
            namespace: "a".into(),
            uid: "u".into(),
            containers: vec![one("x", 5, 10), one("y", 7, 20)],
        };
        let s = pod_summary(&pod, Timestamp::UNIX_EPOCH);
        assert_eq!(s["cpu"]["usageCoreNanoSeconds"], 12);
        assert_eq!(s["memory"]["workingSetBytes"], 30);
        assert_eq!(s["startTime"], "1970-01-01T00:00:01Z");
        assert_eq!(
            s["containers"][1]["memory"],
            json!({"time": "1970-01-01T00:00:00Z", "workingSetBytes": 20})
        );
    }
}
