//! A pod's status from what the runtime knows (upstream: pkg/kubelet/kubelet_pods.go, pkg/kubelet/status).
mod conditions;
mod containers;
mod phase;
mod writer;

pub use containers::{Messages, Waiting};
pub use writer::StatusWriter;

use crate::agent::Agent;
use crate::cri::PodView;
use crate::pod::PodExt;
use crate::pod::qos::Qos;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::HashMap;

/// What the worker knows beside the runtime.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Containers that wait, and why.
    pub waiting: HashMap<String, Waiting>,
    /// The pod ended for a reason of its own: phase Failed with it.
    pub failure: Option<(String, String)>,
    /// Nothing of this pod will be started again.
    pub terminal: bool,
    pub started_at: Option<Timestamp>,
}

/// The status as it should be. `last` is the one computed before, or else the API's.
pub fn compute(
    agent: &Agent,
    pod: &Pod,
    view: &PodView,
    context: &Context,
    messages: &Messages,
    last: &PodStatus,
) -> PodStatus {
    let spec = pod.spec();
    let has_init = !pod.init_containers().is_empty();
    let make = |list: &[k8s_openapi::api::core::v1::Container], old: Option<&Vec<ContainerStatus>>, init: bool| {
        let source = containers::Source {
            agent,
            pod,
            view,
            context,
            messages,
            old: old.map(Vec::as_slice).unwrap_or_default(),
            waiting_reason: if has_init {
                "PodInitializing"
            } else {
                "ContainerCreating"
            },
            init,
        };
        list.iter().map(|c| source.status(c)).collect::<Vec<_>>()
    };
    let main = make(&spec.containers, last.container_statuses.as_ref(), false);
    let init = make(pod.init_containers(), last.init_container_statuses.as_ref(), true);
    let ephemeral: Vec<_> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(crate::pod::ephemeral_as_container)
        .collect();
    let ephemeral = make(&ephemeral, last.ephemeral_container_statuses.as_ref(), false);

    let was = last.phase.as_deref().unwrap_or_default();
    let computed = phase::compute(pod, &init, &main, context.terminal);
    let phase = match (&context.failure, was) {
        // A phase that ended stays what it was.
        (_, "Succeeded" | "Failed") => was,
        (Some(_), _) => "Failed",
        (None, _) => computed,
    };
    let (reason, message) = match &context.failure {
        Some((r, m)) => (Some(r.clone()), Some(m.clone())),
        None => (last.reason.clone(), last.message.clone()),
    };
    let ips = pod_ips(agent, pod, view, last);
    let host_ip = agent.options.node_ip.to_string();
    let conditions = conditions::all(pod, view, &init, &main, phase, last);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        reason,
        message,
        host_ip: Some(host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: host_ip }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: last
            .start_time
            .clone()
            .or_else(|| context.started_at.map(whole_seconds)),
        container_statuses: (!main.is_empty()).then_some(main),
        init_container_statuses: (!init.is_empty()).then_some(init),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        qos_class: Some(Qos::of(pod).as_str().to_owned()),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

/// The API keeps seconds; a finer time would differ from what it gives back.
pub fn whole_seconds(t: Timestamp) -> Time {
    Time(Timestamp::from_second(t.as_second()).unwrap_or(t))
}

fn pod_ips(agent: &Agent, pod: &Pod, view: &PodView, last: &PodStatus) -> Vec<String> {
    if pod.host_network() {
        return match view.sandboxes.is_empty() && last.pod_ip.is_none() {
            true => Vec::new(),
            false => vec![agent.options.node_ip.to_string()],
        };
    }
    match view.sandboxes.iter().find(|s| !s.ips.is_empty()) {
        Some(s) => s.ips.clone(),
        // A sandbox that has ended no longer knows its address; the pod keeps the one it had.
        None => last.pod_ips.iter().flatten().map(|p| p.ip.clone()).collect(),
    }
}
