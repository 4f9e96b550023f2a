//! Pending, Running, Succeeded or Failed (upstream: getPhase in pkg/kubelet/kubelet_pods.go).
use crate::pod::{container_policy, is_sidecar};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

enum State {
    Running { started: bool },
    Ended(i32),
    Waiting,
    Unknown,
}

/// A container that waits to be started again counts by how it ended.
fn state(statuses: &[ContainerStatus], name: &str) -> State {
    let Some(s) = statuses.iter().find(|s| s.name == name) else {
        return State::Unknown;
    };
    let Some(now) = &s.state else { return State::Unknown };
    if now.running.is_some() {
        return State::Running {
            started: s.started == Some(true),
        };
    }
    if let Some(t) = &now.terminated {
        return State::Ended(t.exit_code);
    }
    match s.last_state.as_ref().and_then(|l| l.terminated.as_ref()) {
        Some(t) => State::Ended(t.exit_code),
        None if now.waiting.is_some() => State::Waiting,
        None => State::Unknown,
    }
}

/// `terminal`: nothing will be started again.
pub fn compute(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus], terminal: bool) -> &'static str {
    let Some(spec) = &pod.spec else { return "Pending" };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let (mut pending_init, mut pending_sidecars, mut failed) = (0, 0, 0);
    let (mut unknown, mut running, mut waiting, mut stopped, mut stopped_for_good, mut succeeded) = (0, 0, 0, 0, 0, 0);
    for c in inits {
        match (is_sidecar(c), state(init, &c.name)) {
            (false, State::Ended(0)) => {}
            (false, State::Ended(code)) => {
                if !container_policy(pod, c, true).restarts(code) {
                    failed += 1;
                }
            }
            (false, _) => pending_init += 1,
            (true, State::Running { started }) => {
                running += 1;
                pending_sidecars += u32::from(!started);
            }
            (true, State::Ended(_)) => {}
            (true, State::Waiting) => {
                pending_sidecars += 1;
                waiting += 1;
            }
            (true, State::Unknown) => {
                pending_sidecars += 1;
                unknown += 1;
            }
        }
    }
    let ever_ran = |c: &Container| matches!(state(main, &c.name), State::Running { .. } | State::Ended(_));
    let initialized = spec.containers.iter().any(ever_ran);
    for c in &spec.containers {
        match state(main, &c.name) {
            State::Running { .. } => running += 1,
            State::Ended(code) => {
                stopped += 1;
                stopped_for_good += u32::from(!container_policy(pod, c, false).restarts(code));
                succeeded += u32::from(code == 0);
            }
            State::Waiting => waiting += 1,
            State::Unknown => unknown += 1,
        }
    }
    if failed > 0 {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecars > 0 && !initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        if !terminal && stopped != stopped_for_good {
            return "Running";
        }
        return if stopped == succeeded { "Succeeded" } else { "Failed" };
    }
    "Pending"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{
            "restartPolicy": policy,
            "initContainers":[{"name":"i"}],
            "containers":[{"name":"a"},{"name":"b"}]}}))
        .unwrap()
    }
    fn of(name: &str, state: serde_json::Value) -> ContainerStatus {
        serde_json::from_value(
            json!({"name":name,"image":"","imageID":"","ready":false,"restartCount":0,"state":state}),
        )
        .unwrap()
    }
    fn ended(name: &str, code: i32) -> ContainerStatus {
        of(name, json!({"terminated":{"exitCode":code}}))
    }
    fn running(name: &str) -> ContainerStatus {
        of(name, json!({"running":{}}))
    }
    fn waiting(name: &str) -> ContainerStatus {
        of(name, json!({"waiting":{"reason":"x"}}))
    }

    #[test]
    fn phases() {
        let done = [ended("i", 0)];
        let check = |policy: &str, init: &[ContainerStatus], main: &[ContainerStatus], want: &str| {
            assert_eq!(compute(&pod(policy), init, main, false), want, "{policy}");
        };
        check("Always", &[running("i")], &[waiting("a"), waiting("b")], "Pending");
        check("Never", &[ended("i", 1)], &[waiting("a"), waiting("b")], "Failed");
        check("Always", &[ended("i", 1)], &[waiting("a"), waiting("b")], "Pending");
        check("Always", &done, &[running("a"), running("b")], "Running");
        check("Always", &done, &[ended("a", 1), ended("b", 0)], "Running");
        check("Never", &done, &[ended("a", 0), ended("b", 0)], "Succeeded");
        check("OnFailure", &done, &[ended("a", 1), ended("b", 0)], "Running");
        check("Never", &done, &[ended("a", 1), ended("b", 0)], "Failed");
        check("Never", &done, &[ended("a", 1), running("b")], "Running");
        assert_eq!(
            compute(&pod("Always"), &done, &[ended("a", 0), ended("b", 0)], true),
            "Succeeded"
        );
    }
}
