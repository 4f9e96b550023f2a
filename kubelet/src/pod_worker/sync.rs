//! Makes a pod that should run, run.
use super::plan::{KillReason, Plan, Start};
use super::{Backoff, Next, RETRY, Worker, earlier, instant_of, plan};
use crate::cri::{ContainerView, PodView};
use crate::images::now_nanos;
use crate::pod::PodExt;
use crate::status::Waiting;
use crate::volumes;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CRASH_FIRST: Duration = Duration::from_secs(10);
const CRASH_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long starts its crash loop anew.
const CRASH_FORGET: Duration = Duration::from_secs(600);
/// Between tries of volumes that could not be made; a changed object wakes the pod sooner.
const VOLUME_RETRY: Duration = Duration::from_secs(2);
/// The same volume failure is told again after this.
const VOLUME_TELL_AGAIN: Duration = Duration::from_secs(60);
/// A sandbox that fails is tried again after this, doubled up to the maximum.
const SANDBOX_RETRY: Duration = Duration::from_millis(500);
const SANDBOX_RETRY_MAX: Duration = Duration::from_secs(30);

impl Worker {
    pub(super) async fn sync(&mut self, pod: &Arc<Pod>) -> Next {
        let view = match self.agent.cri.pod_view(pod.uid()).await {
            Ok(v) => v,
            Err(e) => {
                tracing::warn!(pod = pod.full_name(), error = %e, "ask the runtime about the pod");
                return Next::Wait(Some(Instant::now() + RETRY));
            }
        };
        if !self.adopted {
            self.adopt(pod, &view);
            self.adopted = true;
        }
        self.agent.objects.set(pod.uid(), &volumes::payload::references(pod));
        let plan = plan::plan(pod, &view, |id| self.agent.probes.get(id));
        self.drop_stale_waits(&view);
        let (due, held) = self.hold_back(pod, plan.starts.clone());
        if plan.done {
            return self.finish(pod, view, &plan).await;
        }
        self.report(pod, &view);
        self.sync_probes(pod, &view, false);
        if !plan.kills.is_empty() {
            self.run_kills(pod, &plan).await;
            return Next::Again;
        }
        let deadline = self.deadline(pod).map(instant_of);
        let nothing_to_start = plan.sandbox.is_none() && due.is_empty();
        // Volumes of a running pod follow the objects behind them.
        let ips = view.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default();
        let ready = match self.volumes(pod, &ips).await {
            Ok(r) => r,
            Err(retry) => return Next::Wait(earlier(Some(retry), deadline)),
        };
        let renew = ready.renew_at.map(instant_of);
        if nothing_to_start {
            self.collect_dead(&view).await;
            return Next::Wait(earlier(held, earlier(deadline, renew)));
        }
        if let Some(attempt) = plan.sandbox {
            return match self.make_sandbox(pod, &view, attempt).await {
                Ok(()) => {
                    self.sandbox_failures = 0;
                    Next::Again
                }
                Err(()) => {
                    self.sandbox_failures = self.sandbox_failures.saturating_add(1);
                    let pause = SANDBOX_RETRY * 2u32.saturating_pow(self.sandbox_failures.min(8));
                    Next::Wait(earlier(Some(Instant::now() + pause.min(SANDBOX_RETRY_MAX)), deadline))
                }
            };
        }
        let Some(sandbox) = view.ready_sandbox().cloned() else {
            return Next::Again;
        };
        for start in due {
            if self.desired.borrow().must_stop() {
                break;
            }
            self.start(pod, &start, &sandbox, &ready).await;
        }
        Next::Again
    }

    /// Starts that may happen now, and when the next of the others may.
    fn hold_back(&mut self, pod: &Pod, starts: Vec<Start>) -> (Vec<Start>, Option<Instant>) {
        let (mut due, mut held) = (Vec::new(), None);
        let now = Instant::now();
        for start in starts {
            let name = start.container.name.clone();
            if let Some(until) = self.holds.get(&name).filter(|t| **t > now) {
                held = earlier(held, Some(*until));
                continue;
            }
            if let Some(until) = self.crash_loop(pod, &start) {
                held = earlier(held, Some(until));
                continue;
            }
            due.push(start);
        }
        (due, held)
    }

    /// Until when a crashing container waits.
    fn crash_loop(&mut self, pod: &Pod, start: &Start) -> Option<Instant> {
        let dead = start.after.as_ref().filter(|c| c.exited())?;
        let name = &start.container.name;
        let since = Duration::from_nanos(u64::try_from(now_nanos() - dead.finished_at).unwrap_or(0));
        let backoff = *self.backoffs.get(name)?;
        let left = backoff.delay.checked_sub(since).filter(|l| !l.is_zero())?;
        let message = format!(
            "back-off {} restarting failed container={name} pod={}",
            go_duration(backoff.delay),
            pod.full_name()
        );
        let waiting = Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message,
        };
        if self.context.waiting.get(name) != Some(&waiting) {
            let text = format!("Back-off restarting failed container {name} in pod {}", pod.full_name());
            self.agent.warning(pod, Some(name), "BackOff", text);
            self.context.waiting.insert(name.clone(), waiting);
        }
        Some(Instant::now() + left)
    }

    /// Counts a restart that is about to happen.
    pub(super) fn count_crash(&mut self, name: &str) {
        let now = Instant::now();
        let delay = match self.backoffs.get(name) {
            Some(b) if now.duration_since(b.updated) < CRASH_FORGET => (b.delay * 2).min(CRASH_MAX),
            _ => CRASH_FIRST,
        };
        self.backoffs.insert(name.to_owned(), Backoff { delay, updated: now });
    }

    /// A container that runs waits for nothing.
    fn drop_stale_waits(&mut self, view: &PodView) {
        let running = |name: &str| view.latest(name).is_some_and(ContainerView::running);
        self.context.waiting.retain(|name, _| !running(name));
        self.holds.retain(|name, _| !running(name));
    }

    async fn volumes(&mut self, pod: &Arc<Pod>, ips: &[String]) -> Result<volumes::Ready, Instant> {
        let agent = self.agent.clone();
        let facts = agent.facts(pod, ips);
        let made = tokio::select! {
            r = volumes::setup(&agent, pod, &facts) => r,
            () = self.interrupted() => return Err(Instant::now()),
        };
        match made {
            Ok(ready) => {
                self.volume_failure = None;
                Ok(ready)
            }
            Err((volume, e)) => {
                let message = format!("MountVolume.SetUp failed for volume {volume:?} : {e}");
                let news = match &self.volume_failure {
                    Some((told, at)) => *told != message || at.elapsed() >= VOLUME_TELL_AGAIN,
                    None => true,
                };
                if news {
                    self.agent.warning(pod, None, "FailedMount", message.clone());
                    self.volume_failure = Some((message, Instant::now()));
                }
                Err(Instant::now() + VOLUME_RETRY)
            }
        }
    }

    pub(super) fn sync_probes(&mut self, pod: &Arc<Pod>, view: &PodView, terminating: bool) {
        let ips = view.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default();
        let ip = self
            .agent
            .facts(pod, &ips)
            .pod_ips
            .into_iter()
            .next()
            .unwrap_or_default();
        let sidecars = pod.init_containers().iter().filter(|c| crate::pod::is_sidecar(c));
        let all = pod.spec().containers.iter().chain(sidecars);
        let running = all.filter_map(|c| Some((c, view.latest(&c.name).filter(|v| v.running())?)));
        self.probes.sync(&self.agent, pod, running, &ip, terminating);
    }

    async fn run_kills(&mut self, pod: &Pod, plan: &Plan) {
        for k in &plan.kills {
            let (message, probe_grace) = match k.reason {
                KillReason::Liveness => (
                    format!("Container {} failed liveness probe, will be restarted", k.name),
                    self.probe_grace(pod, &k.name, true),
                ),
                KillReason::Startup => (
                    format!("Container {} failed startup probe, will be restarted", k.name),
                    self.probe_grace(pod, &k.name, false),
                ),
                KillReason::Changed => (
                    format!("Container {} definition changed, will be restarted", k.name),
                    None,
                ),
                KillReason::SandboxGone | KillReason::PodDone | KillReason::Unknown => {
                    (format!("Stopping container {}", k.name), None)
                }
            };
            let grace = probe_grace.unwrap_or_else(|| pod.spec().termination_grace_period_seconds.unwrap_or(30));
            let interrupted = self.interrupted();
            tokio::select! {
                () = self.kill_one(pod, &k.name, &k.id, &message, grace) => {}
                // The pod is to end: termination takes over with its own grace.
                () = interrupted => return,
            }
        }
    }

    fn probe_grace(&self, pod: &Pod, name: &str, liveness: bool) -> Option<i64> {
        let all = pod.spec().containers.iter().chain(pod.init_containers());
        let c = all.into_iter().find(|c| c.name == name)?;
        let probe = if liveness {
            c.liveness_probe.as_ref()
        } else {
            c.startup_probe.as_ref()
        };
        probe?.termination_grace_period_seconds
    }

    /// Everything has ended by itself.
    async fn finish(&mut self, pod: &Arc<Pod>, view: PodView, plan: &Plan) -> Next {
        if !plan.kills.is_empty() {
            // Sidecars, last to first.
            self.kill_view(pod, &view, None).await;
            return Next::Again;
        }
        self.context.terminal = true;
        self.context.waiting.clear();
        self.probes.stop();
        self.report(pod, &view);
        let desired = self.desired.borrow().clone();
        self.wind_down(&desired, view).await
    }

    /// Keeps one dead predecessor of each container, for `logs --previous` and the last state.
    async fn collect_dead(&self, view: &PodView) {
        const KEPT: usize = 2;
        let mut seen: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        for c in &view.containers {
            let n = seen.entry(c.name.as_str()).or_default();
            *n += 1;
            if *n > KEPT && c.exited() {
                if let Err(e) = self.agent.cri.remove_container(&c.id).await {
                    tracing::debug!(container = c.id, error = %e, "remove a dead container");
                }
                crate::logs::remove(&c.log_path);
                self.agent.probes.forget(&c.id);
            }
        }
        let used = |id: &str| view.containers.iter().any(|c| c.sandbox_id == id);
        for s in view.sandboxes.iter().skip(1).filter(|s| !s.ready && !used(&s.id)) {
            if let Err(e) = self.agent.cri.remove_sandbox(&s.id).await {
                tracing::debug!(sandbox = s.id, error = %e, "remove a dead sandbox");
            }
        }
    }

    /// Tells why a start failed, and when to try again.
    pub(super) fn failed_start(&mut self, name: &str, reason: &str, message: String, retry: Duration) {
        let waiting = Waiting {
            reason: reason.to_owned(),
            message,
        };
        self.context.waiting.insert(name.to_owned(), waiting);
        self.holds.insert(name.to_owned(), Instant::now() + retry);
    }
}

/// `10s`, `1m20s`, `5m0s`, as Go prints durations.
fn go_duration(d: Duration) -> String {
    match d.as_secs() {
        s if s < 60 => format!("{s}s"),
        s => format!("{}m{}s", s / 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        let text = |s| go_duration(Duration::from_secs(s));
        assert_eq!(
            (text(10), text(80), text(300)),
            ("10s".into(), "1m20s".into(), "5m0s".into())
        );
    }
}
