//! Namespaces that are being deleted: everything in them goes, pods first, then the namespace itself.
mod conditions;

use crate::common::discovery::{Kind, built_in, custom};
use crate::common::status::write_status;
use crate::common::{Context, Error, Outcome, key};
use conditions::Findings;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use keelson_client::{Api, Client, DeleteParams, DynamicApi, Event, ListParams, Propagation, Store, WorkQueue};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub const NAME: &str = "namespace-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "namespace-controller";
const FINALIZER: &str = "kubernetes";
/// Objects that remain are counted up to this.
const LIST_ITEMS_MAX: u32 = 500;
/// When to look again for objects that others finalize (upstream: 15 s, here sooner at first by backoff).
const REMAINING_PAUSE: Duration = Duration::from_secs(1);
const REMAINING_PAUSE_MAX: Duration = Duration::from_secs(15);

struct Controller {
    client: Client,
    namespaces: Store<Namespace>,
    pods: Store<Pod>,
    definitions: Store<CustomResourceDefinition>,
}

pub async fn run(ctx: Context) {
    let namespaces = ctx.factory.informer::<Namespace>();
    let pods = ctx.factory.informer::<Pod>();
    let definitions = crate::garbagecollector::definitions(&ctx);
    let queue = WorkQueue::<String>::new("namespace");
    let q = queue.clone();
    namespaces.on_event(move |e| {
        let n = e.object();
        if !matches!(e, Event::Deleted(_)) && n.metadata.deletion_timestamp.is_some() {
            q.add(key(&n.metadata));
        }
    });
    // The last pod to go opens the way for the rest.
    let (q, store) = (queue.clone(), namespaces.store());
    pods.on_event(move |e| {
        if let Event::Deleted(p) = e
            && let Some(ns) = &p.metadata.namespace
            && store.get(ns).is_some_and(|n| n.metadata.deletion_timestamp.is_some())
        {
            q.add(ns.clone());
        }
    });
    namespaces.wait_synced().await;
    pods.wait_synced().await;
    definitions.wait_synced().await;
    let c = Arc::new(Controller {
        client: ctx.client.clone(),
        namespaces: namespaces.store(),
        pods: pods.store(),
        definitions: definitions.store(),
    });
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

/// What a look at one resource found.
#[derive(Debug, Default)]
struct Rest {
    count: usize,
    finalizers: Vec<String>,
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        if !self.namespaces.contains(name) {
            return Ok(None);
        }
        let api = Api::<Namespace>::all(self.client.clone());
        // The live object: a namespace's end is rare, and a stale copy would finalize on old knowledge.
        let Some(mut ns) = api.get_opt(name).await? else {
            return Ok(None);
        };
        if ns.metadata.deletion_timestamp.is_none() || finalizers(&ns).is_empty() {
            return Ok(None);
        }
        if ns.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
            let mut status = ns.status.clone().unwrap_or_default();
            status.phase = Some("Terminating".into());
            if let Some(new) = write_status(&api, &ns, |n| &mut n.status, status).await? {
                ns = new;
            }
        }
        let findings = self.delete_content(name).await;
        let mut status = ns.status.clone().unwrap_or_default();
        conditions::update(&mut status, &findings, Timestamp::now());
        if !findings.is_clean() {
            write_status(&api, &ns, |n| &mut n.status, status).await?;
        }
        if let Some(e) = findings.errors.into_iter().next() {
            return Err(Error::Other(format!("delete the content of namespace {name}: {e}")));
        }
        if !findings.remaining.is_empty() {
            return Ok(Some(self.next_look(&ns)));
        }
        self.finalize(&ns).await?;
        Ok(None)
    }

    /// Longer the longer it takes, so that a namespace stuck on a foreign finalizer costs little.
    fn next_look(&self, ns: &Namespace) -> Duration {
        let since = ns
            .metadata
            .deletion_timestamp
            .as_ref()
            .map_or(0, |t| Timestamp::now().as_second().saturating_sub(t.0.as_second()));
        let age = Duration::from_secs(u64::try_from(since).unwrap_or(0));
        (age / 10).clamp(REMAINING_PAUSE, REMAINING_PAUSE_MAX)
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = built_in();
        kinds.extend(self.definitions.list().iter().filter_map(|d| custom(d)));
        kinds.retain(|k| k.namespaced);
        kinds
    }

    /// Pods go first (KEP-5080): what protects them, NetworkPolicies say, stays until they are gone.
    async fn delete_content(&self, name: &str) -> Findings {
        let mut findings = Findings::default();
        let (pods, rest): (Vec<Kind>, Vec<Kind>) = self
            .kinds()
            .into_iter()
            .partition(|k| k.gvr.group.is_empty() && k.gvr.resource == "pods");
        for kind in pods {
            self.delete_kind(&kind, name, &mut findings).await;
        }
        if !findings.remaining.is_empty() || !self.pods.list_namespace(name).is_empty() {
            if findings.remaining.is_empty() && findings.errors.is_empty() {
                findings
                    .remaining
                    .insert("pods.".into(), self.pods.list_namespace(name).len());
            }
            return findings;
        }
        for kind in rest {
            self.delete_kind(&kind, name, &mut findings).await;
        }
        findings
    }

    async fn delete_kind(&self, kind: &Kind, namespace: &str, findings: &mut Findings) {
        match self.delete_all(kind, namespace).await {
            Ok(rest) => findings.add(
                &format!("{}.{}", kind.gvr.resource, kind.gvr.group),
                rest.count,
                rest.finalizers,
            ),
            // A kind that this server does not serve has nothing to delete.
            Err(e) if e.code() == 404 || e.code() == 405 => {}
            Err(e) => findings.errors.push(e.to_string()),
        }
    }

    async fn delete_all(&self, kind: &Kind, namespace: &str) -> Result<Rest, keelson_client::Error> {
        let api = DynamicApi::new(self.client.clone(), kind.gvr.clone(), Some(namespace.to_owned())).metadata_only();
        let page = ListParams {
            limit: Some(LIST_ITEMS_MAX),
            ..ListParams::default()
        };
        let (items, _) = api.list(&page).await?;
        if items.is_empty() {
            return Ok(Rest::default());
        }
        let params = DeleteParams {
            propagation: Some(Propagation::Background),
            ..DeleteParams::default()
        };
        if kind.delete_collection {
            api.delete_collection(&params, &ListParams::default()).await?;
        } else {
            for item in items {
                match api
                    .delete(item.metadata.name.as_deref().unwrap_or_default(), &params)
                    .await
                {
                    Err(e) if !e.is_not_found() => return Err(e),
                    _ => {}
                }
            }
        }
        let (left, _) = api.list(&page).await?;
        Ok(Rest {
            count: left.len(),
            finalizers: left
                .into_iter()
                .flat_map(|i| i.metadata.finalizers.unwrap_or_default())
                .collect(),
        })
    }

    async fn finalize(&self, ns: &Namespace) -> Result<(), Error> {
        let left: Vec<&String> = finalizers(ns).iter().filter(|f| *f != FINALIZER).collect();
        let name = ns.metadata.name.as_deref().unwrap_or_default();
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "uid": ns.metadata.uid, "resourceVersion": ns.metadata.resource_version},
            "spec": {"finalizers": left},
        });
        let api = Api::<Namespace>::all(self.client.clone());
        match api
            .replace_subresource::<_, serde_json::Value>(name, "finalize", &body)
            .await
        {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}

fn finalizers(ns: &Namespace) -> &[String] {
    ns.spec
        .as_ref()
        .and_then(|s| s.finalizers.as_deref())
        .unwrap_or_default()
}
