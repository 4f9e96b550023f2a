//! Quality of service classes (upstream: pkg/apis/core/v1/helper/qos).
use super::PodExt;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }

    /// A class already in the status never changes.
    pub fn of(pod: &Pod) -> Qos {
        match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
            Some("Guaranteed") => return Qos::Guaranteed,
            Some("Burstable") => return Qos::Burstable,
            Some("BestEffort") => return Qos::BestEffort,
            _ => {}
        }
        let spec = pod.spec();
        let pod_level = spec.resources.as_ref().filter(|r| mentions(r));
        let all: Vec<Option<&ResourceRequirements>> = match pod_level {
            Some(r) => vec![Some(r)],
            None => {
                let main = spec.containers.iter().chain(pod.init_containers());
                main.map(|c| c.resources.as_ref()).collect()
            }
        };
        if !all.iter().flatten().any(|r| mentions(r)) {
            return Qos::BestEffort;
        }
        if all.iter().all(|r| r.is_some_and(guaranteed)) {
            return Qos::Guaranteed;
        }
        Qos::Burstable
    }
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> i128 {
    list.and_then(|l| l.get(name)).map_or(0, super::resources::nanos)
}

fn mentions(r: &ResourceRequirements) -> bool {
    ["cpu", "memory"]
        .iter()
        .any(|n| amount(r.requests.as_ref(), n) > 0 || amount(r.limits.as_ref(), n) > 0)
}

fn guaranteed(r: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|n| {
        let (limit, request) = (amount(r.limits.as_ref(), n), amount(r.requests.as_ref(), n));
        // The API server defaults a missing request to the limit.
        limit > 0 && (request == limit || request == 0)
    })
}
