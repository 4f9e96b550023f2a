//! The Node's status.
use super::machine;
use crate::agent::Agent;
use crate::cri::RuntimeHealth;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// The version whose API this agent speaks; clients compare it with the server's.
pub const VERSION: &str = "v1.35.4";

/// Free memory under which the node says MemoryPressure (upstream: evictionHard memory.available).
const MEMORY_FREE_MIN: i64 = 100 << 20;
/// Free share of the disk under which it says DiskPressure (upstream: nodefs.available).
const DISK_FREE_PERCENT_MIN: i64 = 10;

fn resources(cpu: String, memory: i64, storage: i64, pods: u32) -> BTreeMap<String, Quantity> {
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", memory / 1024)),
        ("ephemeral-storage", format!("{}Ki", storage / 1024)),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
        ("pods", pods.to_string()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), Quantity(v)))
    .collect()
}

pub fn compute(
    agent: &Agent,
    runtime: &str,
    health: &RuntimeHealth,
    have: &[NodeCondition],
    images: Vec<ContainerImage>,
) -> NodeStatus {
    let (machine, options) = (&agent.machine, &agent.options);
    let free = machine.allocatable(&options.reserved);
    let cpu = if free.cpu_milli % 1000 == 0 {
        (free.cpu_milli / 1000).to_string()
    } else {
        format!("{}m", free.cpu_milli)
    };
    let address = |kind: &str, address: String| NodeAddress {
        type_: kind.to_owned(),
        address,
    };
    let hostname = match options.hostname.as_str() {
        "" => options.node_name.clone(),
        name => name.to_owned(),
    };
    let port = options.advertise_port.unwrap_or(agent.server_addr.port());
    NodeStatus {
        capacity: Some(resources(
            machine.cpus.to_string(),
            machine.memory_bytes,
            machine.disk_bytes,
            options.pods_max,
        )),
        allocatable: Some(resources(
            cpu,
            free.memory_bytes,
            free.ephemeral_storage_bytes,
            options.pods_max,
        )),
        conditions: Some(conditions(agent, health, have)),
        addresses: Some(vec![
            address("InternalIP", options.node_ip.to_string()),
            address("Hostname", hostname),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: machine.arch.to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: runtime.to_owned(),
            kernel_version: machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            swap: None,
            system_uuid: machine.system_uuid.clone(),
        }),
        images: (!images.is_empty()).then_some(images),
        ..Default::default()
    }
}

fn conditions(agent: &Agent, health: &RuntimeHealth, have: &[NodeCondition]) -> Vec<NodeCondition> {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let low_memory = machine::meminfo(&memory, "MemAvailable") < MEMORY_FREE_MIN;
    let low_disk =
        machine::Disk::of(&agent.options.root_dir).is_some_and(|d| d.used_percent() > 100 - DISK_FREE_PERCENT_MIN);
    let pressure = |kind: &str, bad: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if bad { yes } else { no };
        condition(have, kind, bad, reason, message)
    };
    let ready = match health.ready() {
        true => condition(have, "Ready", true, "KubeletReady", "kubelet is posting ready status"),
        false => condition(have, "Ready", false, "KubeletNotReady", &health.message),
    };
    vec![
        pressure(
            "MemoryPressure",
            low_memory,
            (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            low_disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            false,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ]
}

fn condition(have: &[NodeCondition], kind: &str, status: bool, reason: &str, message: &str) -> NodeCondition {
    let status = if status { "True" } else { "False" };
    let now = Time(Timestamp::now());
    let old = have.iter().find(|c| c.type_ == kind);
    let since = old
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: Some(since.unwrap_or(now)),
    }
}

/// Whether more than heartbeats changed.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let quiet = |s: &NodeStatus| {
        let mut s = s.clone();
        for c in s.conditions.iter_mut().flatten() {
            c.last_heartbeat_time = None;
            c.last_transition_time = None;
        }
        s
    };
    quiet(a) != quiet(b)
}
