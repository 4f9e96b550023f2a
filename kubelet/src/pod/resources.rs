//! Requests and limits as the kernel wants them (upstream: pkg/kubelet/cm/helpers_linux.go, pkg/kubelet/qos).
use super::qos::Qos;
use super::{PodExt, is_sidecar};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keelson_machinery::quantity;
use keelson_proto::cri as pb;

const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_MIN_US: i64 = 1_000;

const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

pub fn parse(q: &Quantity) -> quantity::Quantity {
    quantity::Quantity::parse(&q.0).unwrap_or_default()
}
pub fn nanos(q: &Quantity) -> i128 {
    parse(q).nanos
}

/// What one container may use; 0 says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_request_milli: i64,
    pub cpu_limit_milli: i64,
    pub memory_request: i64,
    pub memory_limit: i64,
}

impl Amounts {
    pub fn of(r: Option<&ResourceRequirements>) -> Amounts {
        let get = |limits: bool, name: &str| {
            let list = r.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
            list.and_then(|l| l.get(name)).map(parse)
        };
        let cpu_limit_milli = get(true, "cpu").map_or(0, |q| q.milli_value());
        let memory_limit = get(true, "memory").map_or(0, |q| q.value());
        Amounts {
            cpu_request_milli: get(false, "cpu").map_or(cpu_limit_milli, |q| q.milli_value()),
            memory_request: get(false, "memory").map_or(memory_limit, |q| q.value()),
            cpu_limit_milli,
            memory_limit,
        }
    }
}

pub fn cpu_shares(milli: i64) -> i64 {
    if milli == 0 {
        return CPU_SHARES_MIN;
    }
    (milli.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

/// Microseconds a period; 0 is no limit.
pub fn cpu_quota(milli: i64) -> i64 {
    if milli == 0 {
        return 0;
    }
    (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_MIN_US)
}

pub fn is_critical(pod: &Pod) -> bool {
    pod.spec().priority.is_some_and(|p| p >= 2_000_000_000)
}

/// Who dies first when memory ends (upstream: pkg/kubelet/qos/policy.go).
pub fn oom_score_adj(pod: &Pod, c: &Container, memory_capacity: i64) -> i64 {
    if is_critical(pod) {
        return OOM_GUARANTEED;
    }
    match Qos::of(pod) {
        Qos::Guaranteed => OOM_GUARANTEED,
        Qos::BestEffort => OOM_BEST_EFFORT,
        Qos::Burstable => {
            let request = Amounts::of(c.resources.as_ref()).memory_request;
            let share = i128::from(request).saturating_mul(1000) / i128::from(memory_capacity.max(1));
            let score = 1000 - i64::try_from(share).unwrap_or(1000);
            // Always killed after Guaranteed ones (3) and before BestEffort ones (999).
            score.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

pub fn container_resources(pod: &Pod, c: &Container, memory_capacity: i64) -> pb::LinuxContainerResources {
    let a = Amounts::of(c.resources.as_ref());
    pb::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: cpu_quota(a.cpu_limit_milli),
        cpu_shares: cpu_shares(a.cpu_request_milli),
        memory_limit_in_bytes: a.memory_limit,
        oom_score_adj: oom_score_adj(pod, c, memory_capacity),
        ..Default::default()
    }
}

/// The pod's own cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    pub cpu_shares: i64,
    /// 0: none
    pub cpu_quota_us: i64,
    pub cpu_period_us: i64,
    /// 0: none
    pub memory_bytes: i64,
}

/// What the pod as a whole asks for: the larger of its main containers with all sidecars, and of each init
/// container with the sidecars started before it (KEP-753), plus overhead.
pub fn pod_amounts(pod: &Pod) -> Amounts {
    let spec = pod.spec();
    let add = |a: &mut Amounts, b: Amounts| {
        a.cpu_request_milli += b.cpu_request_milli;
        a.cpu_limit_milli += b.cpu_limit_milli;
        a.memory_request += b.memory_request;
        a.memory_limit += b.memory_limit;
    };
    let mut sum = Amounts::default();
    for c in &spec.containers {
        add(&mut sum, Amounts::of(c.resources.as_ref()));
    }
    let (mut sidecars, mut peak) = (Amounts::default(), Amounts::default());
    for c in pod.init_containers() {
        let mut now = Amounts::of(c.resources.as_ref());
        if is_sidecar(c) {
            add(&mut sidecars, now);
            now = sidecars;
        } else {
            add(&mut now, sidecars);
        }
        peak.cpu_request_milli = peak.cpu_request_milli.max(now.cpu_request_milli);
        peak.cpu_limit_milli = peak.cpu_limit_milli.max(now.cpu_limit_milli);
        peak.memory_request = peak.memory_request.max(now.memory_request);
        peak.memory_limit = peak.memory_limit.max(now.memory_limit);
    }
    add(&mut sum, sidecars);
    let mut all = Amounts {
        cpu_request_milli: sum.cpu_request_milli.max(peak.cpu_request_milli),
        cpu_limit_milli: sum.cpu_limit_milli.max(peak.cpu_limit_milli),
        memory_request: sum.memory_request.max(peak.memory_request),
        memory_limit: sum.memory_limit.max(peak.memory_limit),
    };
    if let Some(r) = &spec.resources {
        let own = Amounts::of(Some(r));
        let pick = |own: i64, sum: i64| if own > 0 { own } else { sum };
        all.cpu_request_milli = pick(own.cpu_request_milli, all.cpu_request_milli);
        all.cpu_limit_milli = pick(own.cpu_limit_milli, all.cpu_limit_milli);
        all.memory_request = pick(own.memory_request, all.memory_request);
        all.memory_limit = pick(own.memory_limit, all.memory_limit);
    }
    if let Some(overhead) = &spec.overhead {
        let get = |n: &str| overhead.get(n).map(parse);
        let cpu = get("cpu").map_or(0, |q| q.milli_value());
        let memory = get("memory").map_or(0, |q| q.value());
        all.cpu_request_milli += cpu;
        all.memory_request += memory;
        if all.cpu_limit_milli > 0 {
            all.cpu_limit_milli += cpu;
        }
        if all.memory_limit > 0 {
            all.memory_limit += memory;
        }
    }
    all
}

pub fn pod_limits(pod: &Pod) -> PodLimits {
    let spec = pod.spec();
    let all = pod_amounts(pod);
    let each = || {
        spec.containers
            .iter()
            .chain(pod.init_containers())
            .map(|c| Amounts::of(c.resources.as_ref()))
    };
    let own = Amounts::of(spec.resources.as_ref());
    // One container without a limit leaves the pod without one.
    let cpu_limited = own.cpu_limit_milli > 0 || each().all(|a| a.cpu_limit_milli > 0);
    let memory_limited = own.memory_limit > 0 || each().all(|a| a.memory_limit > 0);
    PodLimits {
        cpu_shares: cpu_shares(all.cpu_request_milli),
        cpu_quota_us: if cpu_limited { cpu_quota(all.cpu_limit_milli) } else { 0 },
        cpu_period_us: CPU_PERIOD_US,
        memory_bytes: if memory_limited { all.memory_limit } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(resources: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{}},"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn shares_and_quotas() {
        assert_eq!(cpu_shares(0), 2);
        assert_eq!(cpu_shares(500), 512);
        assert_eq!(cpu_quota(500), 50_000);
        assert_eq!(cpu_quota(1), 1_000);
        assert_eq!(cpu_quota(0), 0);
    }

    #[test]
    fn classes_and_scores() {
        let best = pod("{}");
        assert_eq!(Qos::of(&best), Qos::BestEffort);
        let sure = pod(r#"{"limits":{"cpu":"500m","memory":"64Mi"}}"#);
        assert_eq!(Qos::of(&sure), Qos::Guaranteed);
        let burst = pod(r#"{"requests":{"memory":"1Gi"}}"#);
        assert_eq!(Qos::of(&burst), Qos::Burstable);
        let c = &burst.spec.as_ref().unwrap().containers[0];
        assert_eq!(oom_score_adj(&burst, c, 4 << 30), 750);
        assert_eq!(
            oom_score_adj(&best, &best.spec.as_ref().unwrap().containers[0], 1),
            1000
        );
    }

    #[test]
    fn a_pod_is_limited_only_when_all_its_containers_are() {
        let sure = pod(r#"{"limits":{"cpu":"500m","memory":"64Mi"}}"#);
        let l = pod_limits(&sure);
        assert_eq!((l.cpu_quota_us, l.memory_bytes), (50_000, 64 << 20));
        let l = pod_limits(&pod(r#"{"requests":{"cpu":"250m"}}"#));
        assert_eq!((l.cpu_shares, l.cpu_quota_us, l.memory_bytes), (256, 0, 0));
    }
}
