//! `kube-bind`: Pods that come and go on hollow Nodes that are nearly full, placed by two schedulers.

use super::api::Access;
use super::client::{Call, Client, Failed, Values};
use super::informer::{End, Informer, RETRY};
use super::setup::{self, Patience, access};
use super::{NODE_PREFIX, pod_name, request_of};
use crate::history::{InformerStart, Kind, Seen};
use crate::workload::{Env, Worker, Workload};
use futures::future::BoxFuture;
use http::Method;
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "kube-bind";
const NODES: usize = 3;
/// Thousandths of a CPU that a Node has.
const NODE_MILLI: u64 = 4_000;
/// Pods that a Node takes, whatever they request.
const NODE_PODS: u64 = 12;
/// What Pods request, thousandths of a CPU.
const REQUESTS: [u64; 5] = [250, 500, 750, 1_000, 1_500];
/// What all Pods together may request: somewhat more than there is, so that some wait.
const WANTED_MILLI: u64 = NODES as u64 * NODE_MILLI * 5 / 4;
/// What all Pods may request at the end: then any placement has room for the rest.
const SETTLED_MILLI: u64 = NODES as u64 * NODE_MILLI / 2;
/// How long the schedulers have for the rest at the end: a Lease that nobody renews, and some backoff.
const SETTLE_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// Pods that are believed to be there, with their uid (empty when it is not known).
#[derive(Clone, Default)]
struct Pods(Arc<Mutex<BTreeMap<String, String>>>);

impl Pods {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted_milli(&self) -> u64 {
        self.lock().keys().filter_map(|name| request_of(name)).sum()
    }
}

#[derive(Default)]
pub struct KubeBind {
    values: Values,
    pods: Pods,
}

impl Workload for KubeBind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "Pods that come and go on nearly full Nodes, placed by two schedulers"
    }

    fn clients(&self) -> usize {
        3
    }

    fn rate(&self) -> f64 {
        20.0
    }

    fn setup<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            setup::namespace(&access, NAME).await?;
            let mut client = Client::new(env, &access, NAME, usize::MAX, &self.values);
            let patience = Patience::new("make the Nodes");
            for number in 1..=NODES {
                while let Err(e) = node(&mut client, number).await {
                    if matches!(e, Failed::Refused(http::StatusCode::CONFLICT, _)) {
                        break;
                    }
                    patience.again().await?;
                }
                // A new Node is not ready, whatever it says: a controller would take this taint off.
                let path = format!("/api/v1/nodes/{NODE_PREFIX}{number:02}");
                setup::patch(&access, &path, &json!({"spec": {"taints": null}})).await?;
            }
            Ok(())
        })
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let Ok(access) = access(env) else {
            return Vec::new();
        };
        let mut workers: Vec<Worker> = (0..env.settings.clients)
            .map(|number| -> Worker {
                let client = Client::new(env, &access, NAME, number, &self.values);
                Box::pin(work(client, self.pods.clone()))
            })
            .collect();
        for server in access.numbers() {
            let informer = Informer::new(&env.recorder, &access, format!("{NAME}-{server}"));
            workers.push(Box::pin(watch(informer, server, env.clone())));
        }
        workers
    }

    fn finals<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            let mut client = Client::new(env, &access, NAME, usize::MAX, &self.values);
            settle(&mut client, &access).await
        })
    }
}

/// A Node that is there for the scheduler only.
async fn node(client: &mut Client, number: usize) -> Result<Value, Failed> {
    let name = format!("{NODE_PREFIX}{number:02}");
    let has = json!({"cpu": format!("{NODE_MILLI}m"), "memory": "64Gi", "pods": NODE_PODS.to_string()});
    let call = Call {
        f: "node",
        key: Some(&name),
        value: json!({"milli": NODE_MILLI, "pods": NODE_PODS}),
        method: Method::POST,
        path: "/api/v1/nodes".to_owned(),
        content_type: "application/json",
        body: Some(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"allocatable": has, "capacity": has, "conditions": [{"type": "Ready", "status": "True"}]},
        })),
    };
    client.act(1, call, whole).await
}

/// What is recorded of an answer that is an object.
fn whole(body: &Value) -> Option<(Value, Option<i64>)> {
    let seen = super::object::seen(body)?;
    Some((json!(seen), Some(seen.rv)))
}

fn path() -> String {
    format!("/api/v1/namespaces/{NAME}/pods")
}

async fn work(mut client: Client, pods: Pods) {
    while client.next().await {
        let server = client.any();
        // What comes of it is written down.
        let _ = if pods.wanted_milli() < WANTED_MILLI {
            create(&mut client, server, &pods).await
        } else {
            delete_one(&mut client, server, &pods).await
        };
        if client.one_in(4) {
            let server = client.any();
            let _ = delete_one(&mut client, server, &pods).await;
        }
    }
}

async fn create(client: &mut Client, server: usize, pods: &Pods) -> Result<(), Failed> {
    let milli = REQUESTS[client.rng.random_range(0..REQUESTS.len())];
    let name = pod_name(client.fresh(), milli);
    let container = json!({
        "name": "c", "image": "none.invalid/none",
        "resources": {"requests": {"cpu": format!("{milli}m")}},
    });
    let call = Call {
        f: "pod",
        key: Some(&name),
        value: json!({"milli": milli}),
        method: Method::POST,
        path: path(),
        content_type: "application/json",
        body: Some(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [container], "automountServiceAccountToken": false},
        })),
    };
    match client.act(server, call, whole).await {
        Ok(body) => {
            let uid = body["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            pods.lock().insert(name, uid);
            Ok(())
        }
        Err(Failed::Unknown) => {
            pods.lock().insert(name, String::new());
            Err(Failed::Unknown)
        }
        Err(e) => Err(e),
    }
}

async fn delete_one(client: &mut Client, server: usize, pods: &Pods) -> Result<(), Failed> {
    let (name, uid) = {
        let mut held = pods.lock();
        let at = client.rng.random_range(0..held.len().max(1));
        let Some(name) = held.keys().nth(at).cloned() else {
            return Ok(());
        };
        let uid = held.remove(&name).unwrap_or_default();
        (name, uid)
    };
    let done = client
        .delete(server, format!("{}/{name}", path()), &name, "", &uid)
        .await;
    match done {
        // It may still be there: another attempt comes to it.
        Err(Failed::NotSent | Failed::Unknown) => {
            pods.lock().insert(name, uid);
        }
        Ok(_) | Err(Failed::Refused(..)) => {}
    }
    done.map(drop)
}

/// An informer on all Pods, which resumes where it was.
async fn watch(mut informer: Informer, server: usize, env: Env) {
    let mut end = End::Gone;
    while !env.stopped() {
        let rv = match informer.last {
            last if last > 0 && end != End::Gone => last.to_string(),
            _ => "0".to_owned(),
        };
        let start = InformerStart {
            prefix: format!("/registry/pods/{NAME}/"),
            resource_version: rv,
            bookmarks: true,
            ..InformerStart::default()
        };
        let (far, path) = (Instant::now() + Duration::from_secs(3_600), path());
        end = tokio::select! {
            end = informer.stream(server, &path, &start, far, "") => end,
            () = env.until_stopped() => End::Closed,
        };
        env.rest(RETRY).await;
    }
}

/// Deletes Pods until the rest fits certainly, and waits until each has a Node.
async fn settle(client: &mut Client, access: &Access) -> Result<(), String> {
    let patience = Patience::new("delete Pods until the rest fits");
    loop {
        let pods = list(access).await?;
        let mut milli: u64 = pods.iter().filter_map(|p| request_of(&p.name)).sum();
        let mut deleted = 0;
        for pod in &pods {
            if milli <= SETTLED_MILLI {
                break;
            }
            let path = format!("{}/{}", path(), pod.name);
            if client.delete(1, path, &pod.name, "", &pod.uid).await.is_ok() {
                milli -= request_of(&pod.name).unwrap_or_default();
                deleted += 1;
            }
        }
        if milli <= SETTLED_MILLI && deleted == 0 {
            break;
        }
        patience.again().await?;
    }
    client.line(Kind::Invoke, 1, "settle", Value::Null, None);
    let end = Instant::now() + SETTLE_WAIT;
    let pending = loop {
        let pods = list(access).await?;
        let pending: Vec<String> = pods.into_iter().filter(|p| p.node.is_empty()).map(|p| p.name).collect();
        if pending.is_empty() || Instant::now() > end {
            break pending;
        }
        tokio::time::sleep(LOOK).await;
    };
    client.line(Kind::Ok, 1, "settle", json!({"pending": pending}), None);
    Ok(())
}

/// All Pods now; not recorded.
async fn list(access: &Access) -> Result<Vec<Seen>, String> {
    setup::get(access, &path()).await?["items"]
        .as_array()
        .map(|items| items.iter().filter_map(super::object::seen).collect())
        .ok_or_else(|| "a list of Pods has no items".to_owned())
}
