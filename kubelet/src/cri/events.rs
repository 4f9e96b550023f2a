//! What happens to containers, told rather than asked: the CRI event stream, or containerd's own where the runtime
//! has none, with a relist as the safety net (upstream: pkg/kubelet/pleg).
//!
//! Cost at idle: one open stream, and one `ListContainers` a minute while pods exist.
use super::{Cri, labels};
use futures::StreamExt;
use futures::stream::BoxStream;
use keelson_proto::containerd_events as cd;
use keelson_proto::cri as pb;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// While a stream tells, the relist only catches what it may have lost.
const RELIST_WITH_STREAM: Duration = Duration::from_secs(60);
const RELIST_WITHOUT_STREAM: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
const RUNTIME_DOWN_PAUSE: Duration = Duration::from_millis(50);
/// Between the exit that an event told and the runtime's own status saying so.
const SETTLE_PAUSES_MS: &[u64] = &[2, 5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// Keeps the states of sandboxes apart from those of containers.
const SANDBOX_OFFSET: i32 = 16;

/// Tells which pod to look at again.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// Containers and sandboxes by id: their pod, and the state last seen.
type Known = Arc<Mutex<HashMap<String, (String, i32)>>>;

/// Watches the runtime until `stop`, calling `wake` with pod uids. `busy` says whether any pod is here at all.
pub async fn watch(cri: Cri, wake: Wake, busy: Arc<dyn Fn() -> bool + Send + Sync>, stop: CancellationToken) {
    let known: Known = Arc::default();
    loop {
        let stream = tokio::select! {
            s = subscribe(&cri) => s,
            () = stop.cancelled() => return,
        };
        let Ok(stream) = stream else {
            // It is not up, or has just gone: there is nothing to list either.
            tokio::select! {
                () = tokio::time::sleep(RUNTIME_DOWN_PAUSE) => continue,
                () = stop.cancelled() => return,
            }
        };
        let every = if stream.is_some() {
            RELIST_WITH_STREAM
        } else {
            RELIST_WITHOUT_STREAM
        };
        let mut stream = stream.unwrap_or_else(|| futures::stream::pending().boxed());
        let mut attempts_without_stream = 0u32;
        // What happened while nobody listened.
        relist(&cri, &known, &wake).await;
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                next = stream.next() => match next {
                    Some(id) => changed(&cri, &known, &wake, id).await,
                    None => break,
                },
                _ = tick.tick() => {
                    if busy() {
                        relist(&cri, &known, &wake).await;
                    }
                    attempts_without_stream += 1;
                    // A runtime that was replaced by a newer one may tell now.
                    if every == RELIST_WITHOUT_STREAM && attempts_without_stream >= 60 {
                        break;
                    }
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The runtime cannot be reached.
struct Down;

fn is_down(e: &crate::Error) -> bool {
    matches!(e, crate::Error::Cri(s) if s.code() == tonic::Code::Unavailable)
}

/// Ids of containers that changed; `None` when the runtime tells nothing.
async fn subscribe(cri: &Cri) -> Result<Option<BoxStream<'static, String>>, Down> {
    match cri.container_events().await {
        Ok(stream) => {
            tracing::debug!("listening to CRI container events");
            return Ok(Some(told(stream, |e: pb::ContainerEventResponse| Some(e.container_id))));
        }
        Err(e) if is_down(&e) => return Err(Down),
        Err(e) => tracing::debug!(error = %e, "no CRI container events"),
    }
    let mut client = cd::events_client::EventsClient::new(cri.channel());
    let filter = |topic: &str| format!("namespace==k8s.io,topic==\"{topic}\"");
    let m = cd::SubscribeRequest {
        filters: vec![filter("/tasks/exit"), filter("/tasks/oom")],
    };
    match client.subscribe(m).await {
        Ok(answer) => {
            tracing::debug!("listening to containerd's events");
            Ok(Some(told(answer.into_inner(), task_of)))
        }
        Err(e) => {
            tracing::info!(error = %e, "the container runtime has no event stream: relisting every second");
            Ok(None)
        }
    }
}

fn told<T: Send + 'static>(
    stream: tonic::Streaming<T>,
    id: impl Fn(T) -> Option<String> + Send + 'static,
) -> BoxStream<'static, String> {
    stream
        .take_while(|r| std::future::ready(r.is_ok()))
        .filter_map(move |r| std::future::ready(r.ok().and_then(&id)))
        .boxed()
}

/// The container whose main process ended; execs (probes, mostly) are no news.
fn task_of(envelope: cd::Envelope) -> Option<String> {
    let any = envelope.event?;
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let e = cd::TaskExit::decode(any.value.as_slice()).ok()?;
            (e.id == e.container_id).then_some(e.container_id)
        }
        _ => cd::TaskOom::decode(any.value.as_slice()).ok().map(|e| e.container_id),
    }
}

/// containerd's CRI plugin learns of an exit from the same event: its answer may still say Running for a moment.
async fn changed(cri: &Cri, known: &Known, wake: &Wake, id: String) {
    let seen = known.lock().get(&id).cloned();
    if seen.is_none() {
        // A container or sandbox that the last relist did not see.
        relist(cri, known, wake).await;
    }
    let Some((uid, _)) = known.lock().get(&id).cloned() else {
        return;
    };
    let (cri, known, wake) = (cri.clone(), known.clone(), wake.clone());
    tokio::spawn(async move {
        if let Some(state) = settled(&cri, &id).await
            && let Some(entry) = known.lock().get_mut(&id)
        {
            entry.1 = state;
        }
        wake(&uid);
    });
}

/// The state after an exit, as a relist would see it; `None` when the thing is gone or does not settle.
async fn settled(cri: &Cri, id: &str) -> Option<i32> {
    for pause in SETTLE_PAUSES_MS {
        match cri.container_status(id).await {
            Ok(s) if s.state != pb::ContainerState::ContainerRunning as i32 => return Some(s.state),
            Ok(_) => {}
            Err(_) => match cri.sandbox_status(id).await {
                Ok(s) if s.state != pb::PodSandboxState::SandboxReady as i32 => return Some(SANDBOX_OFFSET + s.state),
                Ok(_) => {}
                Err(_) => return None,
            },
        }
        tokio::time::sleep(Duration::from_millis(*pause)).await;
    }
    None
}

/// Compares all states with the last ones and wakes the pods that differ.
async fn relist(cri: &Cri, known: &Known, wake: &Wake) {
    let lists = tokio::try_join!(cri.list_containers(None), cri.list_sandboxes(None));
    let (containers, sandboxes) = match lists {
        Ok(l) => l,
        Err(e) => {
            tracing::debug!(error = %e, "relist containers");
            return;
        }
    };
    let containers = containers.into_iter().map(|c| (c.id, c.labels, c.state));
    let sandboxes = sandboxes
        .into_iter()
        .map(|s| (s.id, s.labels, SANDBOX_OFFSET + s.state));
    let mut now = HashMap::new();
    for (id, labels, state) in containers.chain(sandboxes) {
        if let Some(uid) = labels.get(labels::POD_UID) {
            now.insert(id, (uid.clone(), state));
        }
    }
    let mut woken: Vec<String> = Vec::new();
    {
        let mut before = known.lock();
        for (id, (uid, state)) in &now {
            if before.get(id).is_none_or(|(_, s)| s != state) {
                woken.push(uid.clone());
            }
        }
        for (id, (uid, _)) in before.iter() {
            if !now.contains_key(id) {
                woken.push(uid.clone());
            }
        }
        *before = now;
    }
    woken.sort();
    woken.dedup();
    for uid in woken {
        wake(&uid);
    }
}
