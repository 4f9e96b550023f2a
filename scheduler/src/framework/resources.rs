//! What pods ask for and what nodes have, as integers.
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use keelson_machinery::quantity::Quantity;
use std::collections::BTreeMap;

/// CPU assumed for scoring when a container requests none, in millicores (upstream `DefaultMilliCPURequest`).
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// Memory assumed for scoring when a container requests none, in bytes (upstream `DefaultMemoryRequest`).
pub const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

type List = BTreeMap<String, ApiQuantity>;

/// A vector of resource amounts. CPU is in millicores, the rest in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
    pub pods: i64,
    /// Extended resources, huge pages and the like, by name.
    pub scalars: BTreeMap<String, i64>,
}

fn parse(q: &ApiQuantity) -> Quantity {
    // The API server validates quantities; one that does not parse counts as nothing.
    Quantity::parse(&q.0).unwrap_or_default()
}

impl Resources {
    pub fn from_list(list: &List) -> Self {
        let mut r = Resources::default();
        for (name, q) in list {
            let q = parse(q);
            match name.as_str() {
                "cpu" => r.milli_cpu = q.milli_value(),
                "memory" => r.memory_bytes = q.value(),
                "ephemeral-storage" => r.ephemeral_storage_bytes = q.value(),
                "pods" => r.pods = q.value(),
                _ => {
                    r.scalars.insert(name.clone(), q.value());
                }
            }
        }
        r
    }

    pub fn add(&mut self, other: &Resources) {
        self.milli_cpu = self.milli_cpu.saturating_add(other.milli_cpu);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.ephemeral_storage_bytes = self
            .ephemeral_storage_bytes
            .saturating_add(other.ephemeral_storage_bytes);
        for (k, v) in &other.scalars {
            let e = self.scalars.entry(k.clone()).or_default();
            *e = e.saturating_add(*v);
        }
    }

    pub fn sub(&mut self, other: &Resources) {
        self.milli_cpu -= other.milli_cpu;
        self.memory_bytes -= other.memory_bytes;
        self.ephemeral_storage_bytes -= other.ephemeral_storage_bytes;
        for (k, v) in &other.scalars {
            if let Some(e) = self.scalars.get_mut(k) {
                *e -= *v;
            }
        }
    }

    /// Component-wise maximum.
    pub fn raise_to(&mut self, other: &Resources) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.ephemeral_storage_bytes = self.ephemeral_storage_bytes.max(other.ephemeral_storage_bytes);
        for (k, v) in &other.scalars {
            let e = self.scalars.entry(k.clone()).or_default();
            *e = (*e).max(*v);
        }
    }

    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory_bytes == 0
            && self.ephemeral_storage_bytes == 0
            && self.scalars.values().all(|v| *v == 0)
    }
}

fn container_requests(c: &Container, with_defaults: bool) -> Resources {
    let list = c.resources.as_ref().and_then(|r| r.requests.as_ref());
    let mut r = list.map(Resources::from_list).unwrap_or_default();
    if with_defaults {
        if !list.is_some_and(|l| l.contains_key("cpu")) {
            r.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !list.is_some_and(|l| l.contains_key("memory")) {
            r.memory_bytes = DEFAULT_MEMORY_BYTES;
        }
    }
    r
}

/// Whether an init container is a sidecar (KEP-753): it runs beside the containers.
pub fn is_restartable_init(c: &Container) -> bool {
    c.restart_policy.as_deref() == Some("Always")
}

/// What a pod asks of a node: the larger of its running containers together and of each init container with
/// the sidecars started before it, plus overhead; pod-level requests (KEP-2837) override the sum.
/// `with_defaults` fills absent requests in as scoring wants them.
pub fn pod_requests(pod: &Pod, with_defaults: bool) -> Resources {
    let Some(spec) = &pod.spec else {
        return Resources::default();
    };
    let mut total = Resources::default();
    for c in &spec.containers {
        total.add(&container_requests(c, with_defaults));
    }
    let mut sidecars = Resources::default();
    let mut init_peak = Resources::default();
    for c in spec.init_containers.iter().flatten() {
        let mut r = container_requests(c, with_defaults);
        if is_restartable_init(c) {
            total.add(&r);
            sidecars.add(&r);
            init_peak.raise_to(&sidecars);
        } else {
            r.add(&sidecars);
            init_peak.raise_to(&r);
        }
    }
    total.raise_to(&init_peak);
    apply_pod_level(spec, &mut total);
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_list(overhead));
    }
    total
}

fn apply_pod_level(spec: &PodSpec, total: &mut Resources) {
    let Some(list) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) else {
        return;
    };
    let level = Resources::from_list(list);
    if list.contains_key("cpu") {
        total.milli_cpu = level.milli_cpu;
    }
    if list.contains_key("memory") {
        total.memory_bytes = level.memory_bytes;
    }
    for (k, v) in level.scalars {
        total.scalars.insert(k, v);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(v: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": v})).unwrap()
    }

    #[test]
    fn init_containers_count_by_peak_and_sidecars_by_sum() {
        let p = pod(serde_json::json!({
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "0.2"}}}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}}}],
            "overhead": {"cpu": "10m"}
        }));
        let r = pod_requests(&p, false);
        assert_eq!(r.milli_cpu, 1050 + 10);
        assert_eq!(r.memory_bytes, 64 << 20);
        assert_eq!(r.scalars.get("example.com/gpu"), Some(&2));
    }

    #[test]
    fn defaults_are_per_container() {
        let p = pod(serde_json::json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        assert!(pod_requests(&p, false).is_zero());
        let r = pod_requests(&p, true);
        assert_eq!((r.milli_cpu, r.memory_bytes), (200, 400 << 20));
    }

    #[test]
    fn pod_level_requests_override_the_sum() {
        let p = pod(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}],
            "resources": {"requests": {"cpu": "2"}}}));
        assert_eq!(pod_requests(&p, false).milli_cpu, 2000);
    }
}
