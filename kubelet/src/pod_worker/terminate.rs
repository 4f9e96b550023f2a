//! Ends a pod: containers, sandbox, final status, volumes, and last its API object.
use super::{Desired, Next, RETRY, Worker};
use crate::agent::Agent;
use crate::cri::PodView;
use crate::pod::PodExt;
use crate::volumes;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::{Api, DeleteParams};
use std::time::Instant;

impl Worker {
    /// For pods that are deleted, failed for a reason of their own, or were over before this agent started.
    pub(super) async fn terminate(&mut self, desired: &Desired) -> Next {
        let pod = &desired.pod;
        let view = match self.agent.cri.pod_view(pod.uid()).await {
            Ok(v) => v,
            Err(e) => {
                tracing::warn!(pod = pod.full_name(), error = %e, "ask the runtime about the pod");
                return Next::Wait(Some(Instant::now() + RETRY));
            }
        };
        self.sync_probes(pod, &view, true);
        self.last_view = view.clone();
        if view.any_running() {
            self.report(pod, &view);
            self.kill_with_changing_grace(&view).await;
            return Next::Again;
        }
        self.probes.stop();
        self.context.terminal = true;
        self.context.waiting.clear();
        self.report(pod, &view);
        self.wind_down(desired, view).await
    }

    /// A second, shorter deletion (`--grace-period=0 --force`) cuts the first one short.
    async fn kill_with_changing_grace(&self, view: &PodView) {
        loop {
            let desired = self.desired.borrow().clone();
            let grace = grace(&desired.pod);
            let mut changes = self.desired.clone();
            let shorter = async {
                if changes.wait_for(|d| self::grace(&d.pod) < grace).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.kill_view(&desired.pod, view, Some(grace)) => return,
                () = shorter => {}
            }
        }
    }

    /// Nothing runs any more.
    pub(super) async fn wind_down(&mut self, desired: &Desired, view: PodView) -> Next {
        let pod = &desired.pod;
        if !self.torn_down {
            for s in view.sandboxes.iter().filter(|s| s.ready) {
                if let Err(e) = self.agent.cri.stop_sandbox(&s.id).await {
                    tracing::warn!(sandbox = s.id, error = %e, "stop sandbox");
                    return Next::Wait(Some(Instant::now() + RETRY));
                }
            }
            self.writer.flush().await;
            let (root, uid) = (self.agent.options.root_dir.clone(), pod.uid().to_owned());
            let torn = tokio::task::spawn_blocking(move || volumes::teardown(&root, &uid)).await;
            if let Ok(Err(e)) = torn {
                tracing::warn!(pod = pod.full_name(), error = %e, "remove the pod's volumes");
                return Next::Wait(Some(Instant::now() + RETRY));
            }
            self.agent.cgroups.remove_pod(pod.uid()).await;
            self.agent.objects.set(pod.uid(), &std::collections::BTreeSet::new());
            self.torn_down = true;
        }
        let now = self.desired.borrow().clone();
        if !now.must_stop() {
            // Succeeded or failed: containers and logs stay until someone deletes the pod.
            return Next::Wait(None);
        }
        self.writer.flush().await;
        if !now.deleted && !self.delete_object(pod).await {
            return Next::Wait(Some(Instant::now() + RETRY));
        }
        if let Err(e) = remove(&self.agent, &view).await {
            tracing::warn!(pod = pod.full_name(), error = %e, "remove the pod's containers");
            return Next::Wait(Some(Instant::now() + RETRY));
        }
        let dir = super::log_dir(&self.agent.options.pod_logs_dir, pod.namespace(), pod.name(), pod.uid());
        if let Err(e) = std::fs::remove_dir_all(&dir)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), error = %e, "remove the pod's logs");
        }
        for c in &view.containers {
            self.agent.probes.forget(&c.id);
        }
        Next::Done
    }

    /// The last word on a pod: only now may another of its name exist.
    async fn delete_object(&self, pod: &Pod) -> bool {
        let api = Api::<Pod>::namespaced(self.agent.client.clone(), pod.namespace());
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            precondition_uid: Some(pod.uid().to_owned()),
            ..Default::default()
        };
        match api.delete(pod.name(), &params).await {
            Ok(()) => true,
            Err(e) if e.is_not_found() || e.is_conflict() => true,
            Err(e) => {
                tracing::warn!(pod = pod.full_name(), error = %e, "delete the pod's API object");
                false
            }
        }
    }
}

/// Seconds that the containers get. A pod removed without a word is ended as if it had been deleted properly.
fn grace(pod: &Pod) -> i64 {
    let own = pod.spec().termination_grace_period_seconds.unwrap_or(30);
    pod.metadata.deletion_grace_period_seconds.unwrap_or(own)
}

/// Removes containers and sandboxes that have ended.
pub async fn remove(agent: &Agent, view: &PodView) -> crate::Result<()> {
    for c in &view.containers {
        ignore_missing(agent.cri.remove_container(&c.id).await)?;
    }
    for s in &view.sandboxes {
        ignore_missing(agent.cri.remove_sandbox(&s.id).await)?;
    }
    Ok(())
}

fn ignore_missing(r: crate::Result<()>) -> crate::Result<()> {
    match r {
        Err(e) if e.is_cri_not_found() => Ok(()),
        r => r,
    }
}
