//! Looks at one object with the server's own knowledge, and deletes, patches or leaves it.
use super::graph::{FOREGROUND, Graph, Node, ORPHAN, Uid, Work};
use crate::common::discovery::Kind;
use crate::common::{Context, Error, Outcome};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keelson_client::{Client, DeleteParams, DynamicApi, EventRecorder, Patch, PatchParams, Propagation, WorkQueue};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Owners known to be absent (upstream: 500).
const ABSENT_OWNERS_MAX: usize = 500;
/// When to look again at an object whose owner exists but has not been seen by its watch.
const UNSEEN_OWNER_PAUSE: Duration = Duration::from_secs(1);

/// Kinds by group, version and kind: what references name.
#[derive(Clone, Default)]
pub struct Kinds(Arc<RwLock<HashMap<(String, String), Kind>>>);

impl Kinds {
    pub fn add(&self, k: Kind) {
        self.0.write().insert((k.api_version(), k.kind.clone()), k);
    }
    pub fn remove(&self, k: &Kind) {
        self.0.write().remove(&(k.api_version(), k.kind.clone()));
    }
    fn get(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let map = self.0.read();
        if let Some(k) = map.get(&(api_version.to_owned(), kind.to_owned())) {
            return Some(k.clone());
        }
        // Another version of the same group names the same objects.
        let group = api_version.split_once('/').map_or("", |(g, _)| g);
        map.values().find(|k| k.gvr.group == group && k.kind == kind).cloned()
    }
}

/// Uids that the server said are gone, with the place they were looked for in; the oldest are forgotten.
#[derive(Default)]
struct Absent {
    set: HashSet<(String, String)>,
    order: VecDeque<(String, String)>,
}

impl Absent {
    fn key(r: &OwnerReference, namespace: &str) -> (String, String) {
        (
            r.uid.clone(),
            format!("{}/{}/{namespace}/{}", r.api_version, r.kind, r.name),
        )
    }
    fn add(&mut self, key: (String, String)) {
        if self.set.insert(key.clone()) {
            self.order.push_back(key);
        }
        while self.order.len() > ABSENT_OWNERS_MAX {
            if let Some(old) = self.order.pop_front() {
                self.set.remove(&old);
            }
        }
    }
}

pub struct Collector {
    client: Client,
    events: EventRecorder,
    graph: Arc<Mutex<Graph>>,
    kinds: Kinds,
    queue: WorkQueue<Work>,
    absent: Mutex<Absent>,
}

enum Owner {
    Solid,
    Dangling,
    /// In foreground deletion: it waits for this dependent.
    Waiting,
}

impl Collector {
    pub fn new(ctx: &Context, graph: Arc<Mutex<Graph>>, kinds: Kinds, queue: WorkQueue<Work>) -> Self {
        Collector {
            client: ctx.client.clone(),
            events: ctx.events.clone(),
            graph,
            kinds,
            queue,
            absent: Mutex::default(),
        }
    }

    pub async fn handle(&self, work: Work) -> Outcome {
        match work {
            Work::Examine(uid) => self.examine(&uid).await,
            Work::Orphan(uid) => self.orphan(&uid).await,
        }
    }

    fn node(&self, uid: &str) -> Option<Node> {
        self.graph.lock().get(uid).cloned()
    }

    fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Result<(DynamicApi, Kind), Error> {
        let kind = self
            .kinds
            .get(api_version, kind)
            .ok_or_else(|| Error::Other(format!("no resource serves {api_version} {kind}")))?;
        let ns = kind.namespaced.then(|| namespace.to_owned());
        let api = DynamicApi::new(self.client.clone(), kind.gvr.clone(), ns).metadata_only();
        Ok((api, kind))
    }

    fn api_of(&self, n: &Node) -> Result<DynamicApi, Error> {
        let i = &n.identity;
        self.api(&i.api_version, &i.kind, &i.namespace).map(|(a, _)| a)
    }

    /// The object's metadata now, if it is still the same object.
    async fn latest(&self, api: &DynamicApi, uid: &str, name: &str) -> Result<Option<ObjectMeta>, Error> {
        let found = api.get_opt(name).await?;
        Ok(found.map(|o| o.metadata).filter(|m| m.uid.as_deref() == Some(uid)))
    }

    async fn examine(&self, uid: &Uid) -> Outcome {
        let Some(node) = self.node(uid) else {
            return Ok(None);
        };
        if node.deleting && !node.foreground {
            return Ok(None);
        }
        let namespace = node.identity.namespace.clone();
        if !node.foreground && self.is_settled(&node) {
            return Ok(None);
        }
        let api = self.api_of(&node)?;
        let Some(latest) = self.latest(&api, uid, &node.identity.name).await? else {
            // Its end was missed, or will be told later; either way it is gone.
            for w in self.graph.lock().remove(uid) {
                self.queue.add(w);
            }
            return Ok(None);
        };
        if node.foreground {
            return self.advance_foreground(&api, uid, &latest).await;
        }
        let owners = latest.owner_references.clone().unwrap_or_default();
        let (mut solid, mut remove, mut waiting) = (false, Vec::new(), false);
        for r in &owners {
            match self.classify(uid, r, &namespace).await? {
                None => return Ok(None),
                Some(Owner::Solid) => solid = true,
                Some(Owner::Dangling) => remove.push(r.uid.clone()),
                Some(Owner::Waiting) => {
                    waiting = true;
                    remove.push(r.uid.clone());
                }
            }
        }
        if owners.is_empty() {
            return Ok(None);
        }
        if solid {
            if !remove.is_empty() {
                self.drop_owners(&api, &latest, &remove).await?;
            }
            let unseen = owners.iter().any(|r| !self.graph.lock().knows_owner(r, &namespace));
            return Ok((unseen && remove.is_empty()).then_some(UNSEEN_OWNER_PAUSE));
        }
        let propagation = self.propagation(&api, uid, &latest, waiting).await?;
        let params = DeleteParams {
            propagation: Some(propagation),
            precondition_uid: Some(uid.to_string()),
            precondition_resource_version: latest.resource_version.clone(),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = %node.identity.kind, %namespace, name = %node.identity.name, "collecting");
        match api.delete(&node.identity.name, &params).await {
            Err(e) if e.is_not_found() => Ok(None),
            other => other.map(|()| None).map_err(Error::from),
        }
    }

    /// Whether all owners have been seen and none goes: the graph alone says that nothing is to be done.
    fn is_settled(&self, node: &Node) -> bool {
        let g = self.graph.lock();
        node.owners
            .iter()
            .all(|r| g.knows_owner(r, &node.identity.namespace) && g.get(&r.uid).is_some_and(|o| !o.foreground))
    }

    /// How to delete: in the foreground where an owner waits and there are dependents in turn; otherwise as
    /// the finalizers say, and in the background by default.
    async fn propagation(
        &self,
        api: &DynamicApi,
        uid: &Uid,
        latest: &ObjectMeta,
        waiting: bool,
    ) -> Result<Propagation, Error> {
        let has = |f: &str| latest.finalizers.iter().flatten().any(|x| x == f);
        let (dependents, circular) = {
            let g = self.graph.lock();
            let deps = g.dependents(uid);
            let circular = deps.iter().any(|d| g.get(d).is_some_and(|n| n.foreground));
            (!deps.is_empty(), circular)
        };
        if waiting && dependents {
            if circular {
                // Two that wait for each other would wait for ever.
                self.unblock_owners(api, latest).await?;
            }
            return Ok(Propagation::Foreground);
        }
        Ok(if has(ORPHAN) {
            Propagation::Orphan
        } else if has(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        })
    }

    /// `None` where the reference can never be valid and nothing is to be done about it.
    async fn classify(&self, uid: &Uid, r: &OwnerReference, namespace: &str) -> Result<Option<Owner>, Error> {
        if self.graph.lock().crosses_namespaces(r, namespace) {
            self.report_crossing(uid, r, namespace);
        }
        let (api, kind) = self.api(&r.api_version, &r.kind, namespace)?;
        if kind.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        let place = if kind.namespaced { namespace } else { "" };
        let key = Absent::key(r, place);
        if self.absent.lock().set.contains(&key) {
            return Ok(Some(Owner::Dangling));
        }
        let Some(owner) = self.latest(&api, &r.uid, &r.name).await? else {
            self.absent.lock().add(key);
            return Ok(Some(Owner::Dangling));
        };
        let foreground =
            owner.deletion_timestamp.is_some() && owner.finalizers.iter().flatten().any(|f| f == FOREGROUND);
        Ok(Some(if foreground { Owner::Waiting } else { Owner::Solid }))
    }

    fn report_crossing(&self, uid: &Uid, r: &OwnerReference, namespace: &str) {
        let Some(node) = self.node(uid) else {
            return;
        };
        let about = ObjectReference {
            api_version: Some(node.identity.api_version.to_string()),
            kind: Some(node.identity.kind.to_string()),
            namespace: Some(namespace.to_owned()),
            name: Some(node.identity.name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            r.api_version, r.kind, r.name, r.uid
        );
        self.events
            .event(&about, "Warning", "OwnerRefInvalidNamespace", message);
    }

    /// The owner goes when nothing blocks it any more.
    async fn advance_foreground(&self, api: &DynamicApi, uid: &Uid, latest: &ObjectMeta) -> Outcome {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            self.remove_finalizer(api, latest, FOREGROUND).await?;
            return Ok(None);
        }
        for (dependent, foreground) in blocking {
            if !foreground {
                self.queue.add(Work::Examine(dependent));
            }
        }
        Ok(None)
    }

    async fn orphan(&self, uid: &Uid) -> Outcome {
        let Some(owner) = self.node(uid) else {
            return Ok(None);
        };
        let dependents = self.graph.lock().dependents(uid);
        for d in dependents {
            let Some(node) = self.node(&d) else {
                continue;
            };
            let api = self.api_of(&node)?;
            if let Some(latest) = self.latest(&api, &d, &node.identity.name).await? {
                self.drop_owners(&api, &latest, &[uid.to_string()]).await?;
            }
        }
        let api = self.api_of(&owner)?;
        if let Some(latest) = self.latest(&api, uid, &owner.identity.name).await? {
            self.remove_finalizer(&api, &latest, ORPHAN).await?;
        }
        Ok(None)
    }

    /// Merge patches with a resourceVersion work for every kind, custom ones too.
    async fn patch(&self, api: &DynamicApi, latest: &ObjectMeta, mut change: Value) -> Result<(), Error> {
        change["uid"] = json!(latest.uid);
        change["resourceVersion"] = json!(latest.resource_version);
        let patch = Patch::Merge(json!({"metadata": change}));
        let name = latest.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &patch).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn drop_owners(&self, api: &DynamicApi, latest: &ObjectMeta, uids: &[String]) -> Result<(), Error> {
        let all = latest.owner_references.as_deref().unwrap_or_default();
        let kept: Vec<&OwnerReference> = all.iter().filter(|r| !uids.contains(&r.uid)).collect();
        if kept.len() == all.len() {
            return Ok(());
        }
        self.patch(api, latest, json!({"ownerReferences": kept})).await
    }

    async fn unblock_owners(&self, api: &DynamicApi, latest: &ObjectMeta) -> Result<(), Error> {
        let mut owners = latest.owner_references.clone().unwrap_or_default();
        for r in &mut owners {
            r.block_owner_deletion = Some(false);
        }
        self.patch(api, latest, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, api: &DynamicApi, latest: &ObjectMeta, finalizer: &str) -> Result<(), Error> {
        let all = latest.finalizers.as_deref().unwrap_or_default();
        let kept: Vec<&String> = all.iter().filter(|f| *f != finalizer).collect();
        if kept.len() == all.len() {
            return Ok(());
        }
        self.patch(api, latest, json!({"finalizers": kept})).await
    }
}
