//! The ConfigMaps and Secrets that pods here refer to: one watch an object, shared, and ended with the last pod
//! that needs it (upstream: pkg/kubelet/util/manager, watch-based).
use crate::{Error, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keelson_client::informer::InformerHandle;
use keelson_client::{Api, Client, Informer, ListParams};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A first list that takes longer is told as a failed mount, and retried.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    ConfigMap { namespace: String, name: String },
    Secret { namespace: String, name: String },
}

enum Watched {
    ConfigMap(InformerHandle<ConfigMap>),
    Secret(InformerHandle<Secret>),
}

struct Entry {
    watched: Arc<Watched>,
    stop: CancellationToken,
    /// Pods that refer to it, by uid.
    users: Arc<Mutex<BTreeSet<String>>>,
}

type Wake = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Clone)]
pub struct Objects {
    client: Client,
    stop: CancellationToken,
    wake: Wake,
    entries: Arc<Mutex<HashMap<ObjectKey, Entry>>>,
}

impl Objects {
    /// `wake` is called with the uid of each pod that refers to an object that changed.
    pub fn new(client: Client, wake: Wake, stop: CancellationToken) -> Self {
        Objects {
            client,
            stop,
            wake,
            entries: Arc::default(),
        }
    }

    /// Says that the pod refers to exactly these objects; an empty set forgets the pod.
    pub fn set(&self, uid: &str, keys: &BTreeSet<ObjectKey>) {
        let mut entries = self.entries.lock();
        for key in keys {
            match entries.get(key) {
                Some(e) => {
                    e.users.lock().insert(uid.to_owned());
                }
                None => {
                    let entry = self.start(key, uid);
                    entries.insert(key.clone(), entry);
                }
            }
        }
        entries.retain(|key, e| {
            if keys.contains(key) {
                return true;
            }
            let mut users = e.users.lock();
            users.remove(uid);
            if users.is_empty() {
                e.stop.cancel();
            }
            !users.is_empty()
        });
    }

    fn start(&self, key: &ObjectKey, uid: &str) -> Entry {
        let stop = self.stop.child_token();
        let users = Arc::new(Mutex::new(BTreeSet::from([uid.to_owned()])));
        let watched = match key {
            ObjectKey::ConfigMap { namespace, name } => {
                Watched::ConfigMap(self.inform(namespace, name, &users, stop.clone()))
            }
            ObjectKey::Secret { namespace, name } => {
                Watched::Secret(self.inform(namespace, name, &users, stop.clone()))
            }
        };
        Entry {
            watched: Arc::new(watched),
            stop,
            users,
        }
    }

    fn inform<K: keelson_client::api::Object>(
        &self,
        namespace: &str,
        name: &str,
        users: &Arc<Mutex<BTreeSet<String>>>,
        stop: CancellationToken,
    ) -> InformerHandle<K> {
        let params = ListParams {
            field_selector: format!("metadata.name={name}"),
            ..Default::default()
        };
        let informer = Informer::new(Api::<K>::namespaced(self.client.clone(), namespace), params);
        let (wake, users) = (self.wake.clone(), users.clone());
        informer.on_event(move |_| {
            let uids: Vec<String> = users.lock().iter().cloned().collect();
            for uid in uids {
                wake(&uid);
            }
        });
        informer.run(stop)
    }

    fn watched(&self, key: &ObjectKey) -> Option<Arc<Watched>> {
        self.entries.lock().get(key).map(|e| e.watched.clone())
    }

    /// `None` when there is no such object. An object that was not announced by [`Objects::set`] is asked for.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>> {
        let key = ObjectKey::ConfigMap {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self.watched(&key).as_deref() {
            Some(Watched::ConfigMap(h)) => stored(h, namespace, name).await,
            _ => {
                let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
                Ok(api.get_opt(name).await?.map(Arc::new))
            }
        }
    }

    /// As [`Objects::config_map`].
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>> {
        let key = ObjectKey::Secret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self.watched(&key).as_deref() {
            Some(Watched::Secret(h)) => stored(h, namespace, name).await,
            _ => {
                let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
                Ok(api.get_opt(name).await?.map(Arc::new))
            }
        }
    }
}

async fn stored<K: keelson_client::api::Object>(
    h: &InformerHandle<K>,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<K>>> {
    if tokio::time::timeout(SYNC_TIMEOUT, h.wait_synced()).await.is_err() {
        return Err(Error::Config(format!(
            "failed to sync {} cache: timed out waiting for {namespace}/{name}",
            K::KIND.to_ascii_lowercase()
        )));
    }
    Ok(h.store().get(&format!("{namespace}/{name}")))
}
