//! Pod conditions (upstream: pkg/kubelet/status/generate.go).
use super::whole_seconds;
use crate::cri::PodView;
use crate::pod::{PodExt, is_sidecar};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

/// The conditions that are ours; others' are read for readiness gates and never written.
pub const OURS: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

struct Verdict {
    yes: bool,
    reason: &'static str,
    message: String,
}

fn yes(reason: &'static str) -> Verdict {
    Verdict {
        yes: true,
        reason,
        message: String::new(),
    }
}
fn no(reason: &'static str, message: String) -> Verdict {
    Verdict {
        yes: false,
        reason,
        message,
    }
}

/// `[a b]`, as Go prints a slice.
fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

pub fn all(
    pod: &Pod,
    view: &PodView,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    phase: &str,
    last: &PodStatus,
) -> Vec<PodCondition> {
    let sandbox = view
        .ready_sandbox()
        .is_some_and(|s| pod.host_network() || !s.ips.is_empty());
    let containers = containers_ready(pod, init, main, phase);
    let ready = ready(pod, &containers);
    let verdicts = [
        (
            "PodReadyToStartContainers",
            if sandbox { yes("") } else { no("", String::new()) },
        ),
        ("Initialized", initialized(pod, init, main, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", yes("")),
    ];
    verdicts
        .into_iter()
        .map(|(kind, v)| condition(pod, kind, v, last))
        .collect()
}

fn condition(pod: &Pod, kind: &str, v: Verdict, last: &PodStatus) -> PodCondition {
    let status = if v.yes { "True" } else { "False" };
    let api = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let old = [last.conditions.as_ref(), api]
        .into_iter()
        .flatten()
        .flatten()
        .find(|c| c.type_ == kind);
    let since = old
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!v.reason.is_empty()).then(|| v.reason.to_owned()),
        message: (!v.message.is_empty()).then_some(v.message),
        last_transition_time: Some(since.unwrap_or_else(|| whole_seconds(Timestamp::now()))),
        last_probe_time: None,
        observed_generation: pod.metadata.generation,
    }
}

fn containers_ready(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus], phase: &str) -> Verdict {
    let spec = pod.spec();
    let sidecars = pod
        .init_containers()
        .iter()
        .filter(|c| is_sidecar(c))
        .map(|c| (&c.name, init));
    let all = sidecars.chain(spec.containers.iter().map(|c| (&c.name, main)));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (name, statuses) in all {
        match find(statuses, name) {
            None => unknown.push(name.as_str()),
            Some(s) if !s.ready => unready.push(name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return no("PodCompleted", String::new());
    }
    if phase == "Failed" {
        return no("PodFailed", String::new());
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", listed(&unknown)));
    }
    if !unready.is_empty() {
        messages.push(format!("containers with unready status: {}", listed(&unready)));
    }
    match messages.is_empty() {
        true => yes(""),
        false => no("ContainersNotReady", messages.join(", ")),
    }
}

fn ready(pod: &Pod, containers: &Verdict) -> Verdict {
    if !containers.yes {
        return no(containers.reason, containers.message.clone());
    }
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut messages = Vec::new();
    for gate in pod.spec().readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match conditions.and_then(|l| l.iter().find(|c| &c.type_ == kind)) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {kind:?} does not exist."
            )),
            Some(c) if c.status != "True" => messages.push(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                c.status
            )),
            Some(_) => {}
        }
    }
    match messages.is_empty() {
        true => yes(""),
        false => no("ReadinessGatesNotReady", messages.join(", ")),
    }
}

fn initialized(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus], phase: &str) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for c in pod.init_containers() {
        match find(init, &c.name) {
            None => unknown.push(c.name.as_str()),
            Some(s) => {
                let done = if is_sidecar(c) {
                    s.started == Some(true)
                } else {
                    s.ready
                };
                if !done {
                    incomplete.push(c.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return yes("PodCompleted");
    }
    let ever_ran = |s: &ContainerStatus| {
        let ran = |st: &k8s_openapi::api::core::v1::ContainerState| st.running.is_some() || st.terminated.is_some();
        s.state.as_ref().is_some_and(ran) || s.last_state.as_ref().is_some_and(ran)
    };
    if main.iter().any(ever_ran) {
        return yes("");
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", listed(&unknown)));
    }
    if !incomplete.is_empty() {
        messages.push(format!("containers with incomplete status: {}", listed(&incomplete)));
    }
    match messages.is_empty() {
        true => yes(""),
        false => no("ContainersNotInitialized", messages.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{
            "readinessGates":[{"conditionType":"x/ok"}],
            "initContainers":[{"name":"i"}],
            "containers":[{"name":"a"}]}}))
        .unwrap()
    }
    fn status(name: &str, ready: bool, state: serde_json::Value) -> ContainerStatus {
        serde_json::from_value(
            json!({"name":name,"image":"","imageID":"","ready":ready,"restartCount":0,"state":state}),
        )
        .unwrap()
    }
    fn check(pod: &Pod, init_done: bool, ready: bool, phase: &str, want: &[&str]) {
        let init = [status("i", init_done, json!({"waiting":{}}))];
        let state = if init_done {
            json!({"running":{}})
        } else {
            json!({"waiting":{}})
        };
        let main = [status("a", ready, state)];
        let all = all(pod, &PodView::default(), &init, &main, phase, &PodStatus::default());
        let text: Vec<String> = all
            .iter()
            .map(|c| format!("{} {} {}", c.type_, c.status, c.reason.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(text, want);
    }

    #[test]
    fn from_nothing_to_ready() {
        let mut p = pod();
        check(
            &p,
            false,
            false,
            "Pending",
            &[
                "PodReadyToStartContainers False -",
                "Initialized False ContainersNotInitialized",
                "Ready False ContainersNotReady",
                "ContainersReady False ContainersNotReady",
                "PodScheduled True -",
            ],
        );
        check(
            &p,
            true,
            true,
            "Running",
            &[
                "PodReadyToStartContainers False -",
                "Initialized True -",
                "Ready False ReadinessGatesNotReady",
                "ContainersReady True -",
                "PodScheduled True -",
            ],
        );
        let gate = json!({"conditions":[{"type":"x/ok","status":"True"}]});
        p.status = serde_json::from_value(gate).unwrap();
        check(
            &p,
            true,
            true,
            "Running",
            &[
                "PodReadyToStartContainers False -",
                "Initialized True -",
                "Ready True -",
                "ContainersReady True -",
                "PodScheduled True -",
            ],
        );
        check(
            &p,
            true,
            false,
            "Succeeded",
            &[
                "PodReadyToStartContainers False -",
                "Initialized True PodCompleted",
                "Ready False PodCompleted",
                "ContainersReady False PodCompleted",
                "PodScheduled True -",
            ],
        );
    }
}
