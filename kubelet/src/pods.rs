//! The pods bound to this node: a worker for each, and the end of those nobody knows.
use crate::agent::Agent;
use crate::cri::labels;
use crate::pod::PodExt;
use crate::pod_worker::{self, WorkerHandle};
use crate::volumes;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::Event;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Between looks for what no pod owns any more.
pub const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(300);

/// Workers by pod uid; cheap to clone. It exists before the agent does, because others hold its [`Pods::wake`].
#[derive(Clone, Default)]
pub struct Pods {
    workers: Arc<Mutex<HashMap<String, WorkerHandle>>>,
    agent: Arc<OnceLock<Arc<Agent>>>,
}

impl Pods {
    pub fn set_agent(&self, agent: Arc<Agent>) {
        // Set once, at the start.
        let _ = self.agent.set(agent);
    }

    pub fn wake(&self, uid: &str) {
        if let Some(w) = self.workers.lock().get(uid) {
            w.wake();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.workers.lock().is_empty()
    }

    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.workers.lock().values().map(WorkerHandle::pod).collect()
    }

    /// By name; a newer pod before an older one that is still ending.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let mut found = self.list();
        found.retain(|p| p.namespace() == namespace && p.name() == name);
        found.sort_by_key(|p| p.metadata.creation_timestamp.clone());
        found.pop()
    }

    /// A word of the API.
    pub fn on_event(&self, event: &Event<Pod>) {
        match event {
            Event::Added(pod) | Event::Updated(_, pod) => self.update(pod),
            Event::Deleted(pod) => {
                if let Some(w) = self.workers.lock().get(pod.uid()) {
                    w.deleted(pod.clone());
                }
            }
        }
    }

    fn update(&self, pod: &Arc<Pod>) {
        let Some(agent) = self.agent.get() else { return };
        let uid = pod.uid().to_owned();
        let mut workers = self.workers.lock();
        match workers.get(&uid) {
            Some(w) => w.update(pod.clone()),
            None => {
                let (all, key) = (self.workers.clone(), uid.clone());
                let on_end = move || {
                    all.lock().remove(&key);
                };
                workers.insert(uid, WorkerHandle::spawn(agent.clone(), pod.clone(), on_end));
            }
        }
    }

    /// Ends and removes what belongs to pods that have no worker. Call it only after the first list of pods.
    pub async fn housekeeping(&self) {
        let Some(agent) = self.agent.get() else { return };
        let (containers, sandboxes) =
            match tokio::try_join!(agent.cri.list_containers(None), agent.cri.list_sandboxes(None)) {
                Ok(l) => l,
                Err(e) => {
                    tracing::warn!(error = %e, "look for orphaned pods");
                    return;
                }
            };
        let of = |l: &HashMap<String, String>| l.get(labels::POD_UID).cloned();
        let mut in_runtime: BTreeSet<String> = containers.iter().filter_map(|c| of(&c.labels)).collect();
        in_runtime.extend(sandboxes.iter().filter_map(|s| of(&s.labels)));
        let on_disk = volumes::pods_on_disk(&agent.options.root_dir);
        let in_cgroups = agent.cgroups.pods();
        // The workers come last: one that was spawned since the lists were made is in them.
        let known: BTreeSet<String> = self.workers.lock().keys().cloned().collect();
        for uid in in_runtime.iter().filter(|u| !known.contains(*u)) {
            if let Err(e) = pod_worker::kill_orphan(agent, uid).await {
                tracing::warn!(uid, error = %e, "end an orphaned pod");
            }
        }
        for uid in on_disk.iter().filter(|u| !known.contains(*u)) {
            if let Err(e) = volumes::teardown(&agent.options.root_dir, uid) {
                tracing::warn!(uid, error = %e, "remove an orphaned pod's volumes");
            }
        }
        for uid in in_cgroups.iter().filter(|u| !known.contains(*u)) {
            agent.cgroups.remove_pod(uid).await;
        }
        remove_logs(agent, &known);
    }
}

/// Log directories end in the pod's uid.
fn remove_logs(agent: &Agent, known: &BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(&agent.options.pod_logs_dir) else {
        return;
    };
    for e in entries.flatten() {
        let name = e.file_name();
        let parts: Vec<&str> = name.to_str().unwrap_or_default().split('_').collect();
        let [_, _, uid] = parts.as_slice() else { continue };
        if !known.contains(*uid)
            && let Err(error) = std::fs::remove_dir_all(e.path())
        {
            tracing::warn!(dir = %e.path().display(), %error, "remove an orphaned pod's logs");
        }
    }
}
