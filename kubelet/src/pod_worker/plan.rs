//! What a pod needs next, from what the runtime has: a pure function (upstream: computePodActions and
//! computeInitContainerActions in pkg/kubelet/kuberuntime).
use crate::cri::{ContainerView, PodView, RunState};
use crate::pod::{PodExt, container_hash, container_policy, ephemeral_as_container, is_sidecar};
use crate::probes::results::Health;
use k8s_openapi::api::core::v1::{Container, Pod};

/// Which of the pod's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Init,
    Main,
    Ephemeral,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    pub section: Section,
    pub container: Container,
    /// The dead predecessor, whose crash loop may hold the start back.
    pub after: Option<ContainerView>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    Liveness,
    Startup,
    Changed,
    /// The sandbox it belongs to is dead or replaced.
    SandboxGone,
    /// The main containers have ended.
    PodDone,
    /// The runtime does not know what became of it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    pub id: String,
    pub name: String,
    pub reason: KillReason,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Make a sandbox with this attempt number.
    pub sandbox: Option<u32>,
    pub kills: Vec<Kill>,
    pub starts: Vec<Start>,
    /// Nothing of this pod will ever be started again.
    pub done: bool,
}

pub fn plan(pod: &Pod, view: &PodView, health: impl Fn(&str) -> Health) -> Plan {
    let planner = Planner {
        pod,
        view,
        health: &health,
    };
    planner.plan()
}

struct Planner<'a> {
    pod: &'a Pod,
    view: &'a PodView,
    health: &'a dyn Fn(&str) -> Health,
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let Some(sandbox) = self.usable_sandbox() else {
            if self.finished() {
                plan.done = true;
            } else {
                plan.sandbox = Some(self.view.sandboxes.first().map_or(0, |s| s.attempt.saturating_add(1)));
            }
            plan.kills = self.kill_all(KillReason::SandboxGone, |_| true);
            return plan;
        };
        // Leftovers of an earlier sandbox.
        plan.kills = self.kill_all(KillReason::SandboxGone, |c| c.sandbox_id != sandbox);
        let initialized = match self.init(sandbox, &mut plan) {
            Init::Failed => {
                plan.done = true;
                plan.starts.clear();
                plan.kills = self.kill_all(KillReason::PodDone, |_| true);
                return plan;
            }
            Init::Done => true,
            Init::Pending => false,
        };
        self.ephemeral(&mut plan);
        if initialized && !self.main(&mut plan) {
            plan.done = true;
            plan.starts.clear();
            // Sidecars and debuggers end with the pod.
            plan.kills = self.kill_all(KillReason::PodDone, |_| true);
        }
        plan
    }

    /// The newest sandbox, when it can carry containers.
    fn usable_sandbox(&self) -> Option<&str> {
        let s = self.view.ready_sandbox()?;
        let second = self.view.sandboxes.iter().filter(|s| s.ready).count() > 1;
        let network_fits = s.host_network == self.pod.host_network();
        let has_address = s.host_network || !s.ips.is_empty();
        (!second && network_fits && has_address).then_some(s.id.as_str())
    }

    /// Without a sandbox: whether the pod has run to its end.
    fn finished(&self) -> bool {
        let init = self.pod.init_containers().iter().filter(|c| !is_sidecar(c));
        let init_failed = init
            .filter_map(|c| Some((c, self.view.latest(&c.name)?)))
            .any(|(c, v)| v.exited() && v.exit_code != 0 && !container_policy(self.pod, c, true).restarts(v.exit_code));
        let main = &self.pod.spec().containers;
        let all_ended = main.iter().all(|c| {
            self.view
                .latest(&c.name)
                .is_some_and(|v| v.exited() && !container_policy(self.pod, c, false).restarts(v.exit_code))
        });
        init_failed || (!main.is_empty() && all_ended)
    }

    fn kill_all(&self, reason: KillReason, which: impl Fn(&ContainerView) -> bool) -> Vec<Kill> {
        let running = |c: &&ContainerView| matches!(c.state, RunState::Running | RunState::Unknown);
        let found = self.view.containers.iter().filter(running).filter(|c| which(c));
        found.map(|c| kill(c, reason)).collect()
    }

    /// Init containers one by one; sidecars as soon as the ones before them are done.
    fn init(&self, sandbox: &str, plan: &mut Plan) -> Init {
        let main = &self.pod.spec().containers;
        let of_sandbox = |name: &str| self.view.latest(name).filter(|v| v.sandbox_id == sandbox);
        // Once a main container was made in this sandbox, regular init containers are history.
        let passed = main.iter().any(|c| of_sandbox(&c.name).is_some());
        for c in self.pod.init_containers() {
            let found = of_sandbox(&c.name);
            if is_sidecar(c) {
                match self.sidecar(c, found, plan) {
                    true => {}
                    false if passed => {}
                    false => return Init::Pending,
                }
                continue;
            }
            if passed {
                continue;
            }
            match found {
                Some(v) if v.exited() && v.exit_code == 0 => {}
                Some(v) if v.exited() => {
                    if !container_policy(self.pod, c, true).restarts(v.exit_code) {
                        return Init::Failed;
                    }
                    plan.starts.push(start(Section::Init, c, Some(v)));
                    return Init::Pending;
                }
                Some(v) if v.running() => return Init::Pending,
                Some(v) => {
                    if v.state == RunState::Unknown {
                        plan.kills.push(kill(v, KillReason::Unknown));
                    }
                    plan.starts.push(start(Section::Init, c, None));
                    return Init::Pending;
                }
                None => {
                    plan.starts.push(start(Section::Init, c, self.view.latest(&c.name)));
                    return Init::Pending;
                }
            }
        }
        Init::Done
    }

    /// Returns whether what comes after it may start.
    fn sidecar(&self, c: &Container, found: Option<&ContainerView>, plan: &mut Plan) -> bool {
        match found {
            Some(v) if v.running() => {
                if let Some(reason) = self.sick(c, v) {
                    plan.kills.push(kill(v, reason));
                    return false;
                }
                (self.health)(&v.id).started == Some(true)
            }
            other => {
                if let Some(v) = other.filter(|v| v.state == RunState::Unknown) {
                    plan.kills.push(kill(v, KillReason::Unknown));
                }
                plan.starts
                    .push(start(Section::Init, c, other.or_else(|| self.view.latest(&c.name))));
                false
            }
        }
    }

    fn sick(&self, c: &Container, v: &ContainerView) -> Option<KillReason> {
        if !v.hash.is_empty() && v.hash != container_hash(c) {
            return Some(KillReason::Changed);
        }
        let health = (self.health)(&v.id);
        if health.live == Some(false) {
            return Some(KillReason::Liveness);
        }
        (health.started == Some(false)).then_some(KillReason::Startup)
    }

    /// Returns false when no main container runs or will run again.
    fn main(&self, plan: &mut Plan) -> bool {
        let mut alive = false;
        for c in &self.pod.spec().containers {
            match self.view.latest(&c.name) {
                None => plan.starts.push(start(Section::Main, c, None)),
                Some(v) if v.running() => {
                    alive = true;
                    if let Some(reason) = self.sick(c, v) {
                        plan.kills.push(kill(v, reason));
                    }
                }
                Some(v) if v.exited() => {
                    if container_policy(self.pod, c, false).restarts(v.exit_code) {
                        plan.starts.push(start(Section::Main, c, Some(v)));
                    }
                }
                Some(v) => {
                    if v.state == RunState::Unknown {
                        plan.kills.push(kill(v, KillReason::Unknown));
                    }
                    plan.starts.push(start(Section::Main, c, None));
                }
            }
        }
        alive || plan.starts.iter().any(|s| s.section == Section::Main)
    }

    /// Debuggers start once and are never restarted.
    fn ephemeral(&self, plan: &mut Plan) {
        for e in self.pod.spec().ephemeral_containers.iter().flatten() {
            if self.view.latest(&e.name).is_none() {
                plan.starts
                    .push(start(Section::Ephemeral, &ephemeral_as_container(e), None));
            }
        }
    }
}

enum Init {
    Done,
    Pending,
    Failed,
}

fn start(section: Section, c: &Container, after: Option<&ContainerView>) -> Start {
    Start {
        section,
        container: c.clone(),
        after: after.cloned(),
    }
}

fn kill(c: &ContainerView, reason: KillReason) -> Kill {
    Kill {
        id: c.id.clone(),
        name: c.name.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cri::SandboxView;
    use serde_json::json;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(
            json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"},"spec":{
            "restartPolicy": policy,
            "initContainers":[{"name":"i"},{"name":"s","restartPolicy":"Always"}],
            "containers":[{"name":"a"},{"name":"b"}]}}),
        )
        .unwrap()
    }
    fn sandbox(ready: bool) -> SandboxView {
        SandboxView {
            id: "sb".into(),
            ready,
            attempt: 0,
            created_at: 1,
            host_network: false,
            ips: vec!["10.0.0.1".into()],
            pod_name: "p".into(),
            pod_namespace: "n".into(),
            pod_uid: "u".into(),
        }
    }
    fn c(name: &str, state: RunState, exit_code: i32) -> ContainerView {
        let mut v = ContainerView::new(Default::default(), "sb");
        v.name = name.into();
        v.id = name.into();
        v.state = state;
        v.exit_code = exit_code;
        v
    }
    fn running(name: &str) -> ContainerView {
        c(name, RunState::Running, 0)
    }
    fn exited(name: &str, code: i32) -> ContainerView {
        c(name, RunState::Exited, code)
    }
    fn started(_: &str) -> Health {
        Health {
            started: Some(true),
            ..Default::default()
        }
    }
    fn check(pod: &Pod, containers: Vec<ContainerView>, want: &str) {
        let view = PodView::new(vec![sandbox(true)], containers);
        let p = plan(pod, &view, started);
        let starts: Vec<_> = p.starts.iter().map(|s| s.container.name.as_str()).collect();
        let kills: Vec<_> = p.kills.iter().map(|k| k.name.as_str()).collect();
        let text = format!("start {} kill {} done {}", starts.join(","), kills.join(","), p.done);
        assert_eq!(text, want);
    }

    #[test]
    fn a_new_pod_wants_a_sandbox() {
        let p = plan(&pod("Always"), &PodView::default(), started);
        assert_eq!(p.sandbox, Some(0));
        let p = plan(
            &pod("Always"),
            &PodView::new(vec![sandbox(false)], vec![running("a")]),
            started,
        );
        assert_eq!((p.sandbox, p.kills.len()), (Some(1), 1));
        let ended = vec![exited("a", 0), exited("b", 1)];
        let p = plan(&pod("Never"), &PodView::new(vec![sandbox(false)], ended), started);
        assert_eq!((p.sandbox, p.done), (None, true));
    }

    #[test]
    fn init_in_order() {
        let pod = pod("Always");
        check(&pod, vec![], "start i kill  done false");
        check(&pod, vec![running("i")], "start  kill  done false");
        check(&pod, vec![exited("i", 1)], "start i kill  done false");
        check(&pod, vec![exited("i", 0)], "start s kill  done false");
        check(&pod, vec![exited("i", 0), running("s")], "start a,b kill  done false");
        check(
            &pod,
            vec![exited("i", 0), exited("s", 0), running("a"), running("b")],
            "start s kill  done false",
        );
    }

    #[test]
    fn a_sidecar_that_has_not_started_holds_the_rest() {
        let view = PodView::new(vec![sandbox(true)], vec![exited("i", 0), running("s")]);
        assert!(plan(&pod("Always"), &view, |_| Health::default()).starts.is_empty());
    }

    #[test]
    fn endings() {
        let s = || running("s");
        check(&pod("Never"), vec![exited("i", 3)], "start  kill  done true");
        check(
            &pod("Never"),
            vec![exited("i", 0), s(), exited("a", 1), running("b")],
            "start  kill  done false",
        );
        check(
            &pod("Never"),
            vec![exited("i", 0), s(), exited("a", 1), exited("b", 0)],
            "start  kill s done true",
        );
        check(
            &pod("OnFailure"),
            vec![exited("i", 0), s(), exited("a", 1), exited("b", 0)],
            "start a kill  done false",
        );
        check(
            &pod("Always"),
            vec![exited("i", 0), s(), exited("a", 0), running("b")],
            "start a kill  done false",
        );
    }

    #[test]
    fn probes_kill() {
        let view = PodView::new(
            vec![sandbox(true)],
            vec![exited("i", 0), running("s"), running("a"), running("b")],
        );
        let p = plan(&pod("Always"), &view, |id| Health {
            started: Some(true),
            live: Some(id != "a"),
            ..Default::default()
        });
        assert_eq!(p.kills.len(), 1);
        assert_eq!(p.kills[0].reason, KillReason::Liveness);
    }
}
