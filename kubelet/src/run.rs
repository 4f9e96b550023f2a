//! Puts the agent together and runs its tasks.
use crate::agent::Agent;
use crate::cgroups::Cgroups;
use crate::cri::{self, Cri};
use crate::images::{self, Images};
use crate::logs;
use crate::node::{self, machine::Machine};
use crate::objects::Objects;
use crate::pods::{self, Pods};
use crate::probes::results::ProbeResults;
use crate::server;
use crate::volumes::token::Tokens;
use crate::{Error, Handle, Options, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use keelson_client::{Api, Client, EventRecorder, Informer, ListParams};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub async fn start(options: Options, client: Client, stop: CancellationToken) -> Result<Handle> {
    if options.node_name.is_empty() {
        return Err(Error::Config("the node has no name".into()));
    }
    private_dir(&options.root_dir)?;
    std::fs::create_dir_all(&options.pod_logs_dir)
        .map_err(Error::io(format!("make {}", options.pod_logs_dir.display())))?;
    let listener = server::bind(&options).await?;
    let local_addr = listener.local_addr();

    let pods = Pods::default();
    let wake: Arc<dyn Fn(&str) + Send + Sync> = {
        let pods = pods.clone();
        Arc::new(move |uid: &str| pods.wake(uid))
    };
    let services = Informer::new(Api::<Service>::all(client.clone()), ListParams::default())
        .with_transform(|s| s.metadata.managed_fields = None)
        .run(stop.child_token());
    let cgroups = Cgroups::detect(&options.cgroup_parent)?;
    let machine = Machine::detect(&options.root_dir);
    let allocatable = machine.allocatable(&options.reserved);
    let reserves_memory = options.reserved.memory_bytes > 0;
    cgroups.ensure_node(
        allocatable.cpu_milli,
        reserves_memory.then_some(allocatable.memory_bytes),
    )?;
    let agent = Arc::new(Agent {
        cri: Cri::new(&options.cri_endpoint)?,
        recorder: EventRecorder::new(client.clone(), "kubelet", &options.node_name),
        objects: Objects::new(client.clone(), wake.clone(), stop.child_token()),
        services,
        cgroups,
        tokens: Tokens::new(client.clone()),
        images: Images::default(),
        machine,
        probes: ProbeResults::new(wake.clone()),
        server_addr: local_addr,
        stop: stop.clone(),
        client,
        options,
    });
    pods.set_agent(agent.clone());

    let (ready, is_ready) = watch::channel(false);
    let tasks = TaskTracker::new();
    tasks.spawn(node::run(agent.clone(), ready));
    tasks.spawn(watch_pods(agent.clone(), pods.clone(), wake));
    tasks.spawn(keep_logs(agent.clone(), pods.clone()));
    tasks.spawn(collect_images(agent.clone()));
    tasks.spawn(listener.run(agent, pods));
    tasks.close();
    Ok(Handle {
        local_addr,
        ready: is_ready,
        tasks,
    })
}

/// Volumes hold secrets: nobody else enters.
fn private_dir(dir: &Path) -> Result<()> {
    let what = || format!("make {}", dir.display());
    let pods = dir.join("pods");
    std::fs::create_dir_all(&pods).map_err(Error::io(what()))?;
    std::fs::set_permissions(&pods, std::fs::Permissions::from_mode(0o750)).map_err(Error::io(what()))
}

async fn watch_pods(agent: Arc<Agent>, pods: Pods, wake: cri::events::Wake) {
    // Before the runtime answers there is nothing to adopt, and a pod's worker could only retry.
    let stop = agent.stop.clone();
    let params = ListParams {
        field_selector: format!("spec.nodeName={}", agent.options.node_name),
        ..Default::default()
    };
    let informer = Informer::new(Api::<Pod>::all(agent.client.clone()), params)
        .with_transform(|p| p.metadata.managed_fields = None);
    let listener = pods.clone();
    informer.on_event(move |e| listener.on_event(e));
    let informer = informer.run(stop.child_token());
    let busy = {
        let pods = pods.clone();
        Arc::new(move || !pods.is_empty())
    };
    let events = cri::events::watch(agent.cri.clone(), wake, busy, stop.clone());
    let housekeeping = async {
        informer.wait_synced().await;
        loop {
            pods.housekeeping().await;
            tokio::time::sleep(pods::HOUSEKEEPING_EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = events => {}
        () = housekeeping => {}
    }
}

async fn keep_logs(agent: Arc<Agent>, pods: Pods) {
    let mut first = true;
    loop {
        tokio::select! {
            () = agent.stop.cancelled() => return,
            () = tokio::time::sleep(logs::rotate::EVERY) => {}
        }
        if pods.is_empty() {
            continue;
        }
        match logs::rotate::all(&agent, first).await {
            Ok(()) => first = false,
            Err(e) => tracing::debug!(error = %e, "look at the logs' sizes"),
        }
    }
}

async fn collect_images(agent: Arc<Agent>) {
    loop {
        tokio::select! {
            () = agent.stop.cancelled() => return,
            () = tokio::time::sleep(images::COLLECT_EVERY) => {}
        }
        if let Err(e) = agent.images.collect(&agent).await {
            tracing::warn!(error = %e, "collect images");
        }
    }
}
