//! Liveness, readiness and startup probes (upstream: pkg/kubelet/prober).
//!
//! One task a probe, for as long as its container runs; what it finds goes to [`results::ProbeResults`], and the pod
//! is woken when that changes something.
mod exec;
mod grpc;
mod http;
pub mod results;
mod tcp;
mod tls;

pub use http::{HttpTarget, get as http_get};

use crate::agent::Agent;
use crate::cri::ContainerView;
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use results::Kind;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Output kept for an event, in bytes.
pub(crate) const OUTPUT_BYTES_MAX: usize = 10 << 10;

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure(String),
    /// The probe itself could not run; counts as a failure.
    Error(String),
}

/// The probe tasks of one pod.
#[derive(Default)]
pub struct ProbeSet {
    tasks: HashMap<(String, Kind), JoinHandle<()>>,
}

impl Drop for ProbeSet {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a pod's probes go by default.
#[derive(Clone)]
struct Target {
    agent: Arc<Agent>,
    pod: Arc<Pod>,
    container: Container,
    container_id: String,
    pod_ip: String,
}

impl ProbeSet {
    /// Starts probes of containers that run, ends those of containers that no longer do. While the pod terminates,
    /// only readiness goes on.
    pub fn sync<'a>(
        &mut self,
        agent: &Arc<Agent>,
        pod: &Arc<Pod>,
        running: impl Iterator<Item = (&'a Container, &'a ContainerView)>,
        pod_ip: &str,
        terminating: bool,
    ) {
        let mut wanted = HashMap::new();
        for (c, view) in running {
            for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                if terminating && kind != Kind::Readiness {
                    continue;
                }
                if kind == Kind::Startup && agent.probes.get(&view.id).started == Some(true) {
                    continue;
                }
                if let Some(probe) = kind.of(c) {
                    wanted.insert((view.id.clone(), kind), (probe.clone(), c, view));
                }
            }
        }
        self.tasks.retain(|key, task| {
            let keep = wanted.contains_key(key);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, (probe, c, view)) in wanted {
            if self.tasks.contains_key(&key) {
                continue;
            }
            let target = Target {
                agent: agent.clone(),
                pod: pod.clone(),
                container: c.clone(),
                container_id: view.id.clone(),
                pod_ip: pod_ip.to_owned(),
            };
            let task = tokio::spawn(watch(target, key.1, probe, view.started_at));
            self.tasks.insert(key, task);
        }
    }

    pub fn stop(&mut self) {
        for (_, task) in self.tasks.drain() {
            task.abort();
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default),
    )
}

fn times(value: Option<i32>, default: u32) -> u32 {
    value
        .and_then(|v| u32::try_from(v).ok())
        .filter(|v| *v > 0)
        .unwrap_or(default)
}

async fn watch(target: Target, kind: Kind, probe: Probe, started_at: i64) {
    let results = target.agent.probes.clone();
    let (period, timeout) = (seconds(probe.period_seconds, 10), seconds(probe.timeout_seconds, 1));
    let (to_fail, to_succeed) = (times(probe.failure_threshold, 3), times(probe.success_threshold, 1));
    if kind != Kind::Startup {
        results.wait_started(&target.container_id).await;
    }
    let since_start = crate::images::now_nanos().saturating_sub(started_at).max(0);
    let delay = Duration::from_secs(
        probe
            .initial_delay_seconds
            .and_then(|s| u64::try_from(s).ok())
            .unwrap_or(0),
    );
    let left = delay.saturating_sub(Duration::from_nanos(u64::try_from(since_start).unwrap_or(0)));
    tokio::time::sleep(left).await;
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0u32, 0u32);
    loop {
        tick.tick().await;
        let outcome = attempt(&target, &probe, timeout).await;
        let ok = outcome == Outcome::Success;
        if ok {
            (good, bad) = (good.saturating_add(1), 0);
        } else {
            (good, bad) = (0, bad.saturating_add(1));
        }
        tell(&target, kind, &outcome);
        let decided = (ok && good >= to_succeed) || (!ok && bad >= to_fail);
        if !decided {
            continue;
        }
        if results.set(&target.container_id, kind, ok) {
            tracing::debug!(
                pod = target.pod.full_name(),
                container = target.container.name,
                ?kind,
                ok,
                "probe"
            );
            (target.agent.probes.wake)(target.pod.uid());
        }
        // The container will be killed, or needs no further startup probe: this task has done its part.
        if matches!((kind, ok), (Kind::Startup, _) | (Kind::Liveness, false)) {
            return;
        }
    }
}

fn tell(target: &Target, kind: Kind, outcome: &Outcome) {
    let name = Some(target.container.name.as_str());
    let kind = kind.as_str();
    match outcome {
        Outcome::Success => {}
        Outcome::Failure(why) => {
            let message = format!("{kind} probe failed: {why}");
            target.agent.warning(&target.pod, name, "Unhealthy", message);
        }
        Outcome::Error(why) => {
            let message = format!("{kind} probe errored and resulted in unknown state: {why}");
            target.agent.warning(&target.pod, name, "Unhealthy", message);
        }
    }
}

async fn attempt(target: &Target, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return exec::run(&target.agent.cri, &target.container_id, command, timeout).await;
    }
    if let Some(action) = &probe.http_get {
        return match http_target(&target.container, action, &target.pod_ip) {
            Ok(t) => http::probe(&t, timeout).await,
            Err(why) => Outcome::Error(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| target.pod_ip.clone());
        return match port(&target.container, &action.port) {
            Ok(port) => tcp::run(&host, port, timeout).await,
            Err(why) => Outcome::Error(why),
        };
    }
    if let Some(action) = &probe.grpc {
        return match u16::try_from(action.port) {
            Ok(port) => {
                grpc::run(
                    &target.pod_ip,
                    port,
                    action.service.as_deref().unwrap_or_default(),
                    timeout,
                )
                .await
            }
            Err(_) => Outcome::Error(format!("invalid port number: {}", action.port)),
        };
    }
    Outcome::Error(format!("missing probe handler for {}", target.pod.full_name()))
}

/// A number, or the name of one of the container's ports.
pub fn port(c: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => {
            let named = c.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match named.map(|p| p.container_port).or_else(|| name.parse().ok()) {
                Some(n) => n,
                None => return Err(format!("couldn't find port: {name:?} in container {}", c.name)),
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

pub fn http_target(c: &Container, action: &HTTPGetAction, pod_ip: &str) -> Result<HttpTarget, String> {
    let headers = action.http_headers.iter().flatten();
    Ok(HttpTarget {
        tls: action
            .scheme
            .as_deref()
            .is_some_and(|s| s.eq_ignore_ascii_case("https")),
        host: action
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| pod_ip.to_owned()),
        port: port(c, &action.port)?,
        path: match action.path.as_deref().unwrap_or("/") {
            p if p.starts_with('/') => p.to_owned(),
            p => format!("/{p}"),
        },
        headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
    })
}

/// Cuts at a character's start.
pub(crate) fn clipped(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..OUTPUT_BYTES_MAX).unwrap_or(bytes)).into_owned()
}
