//! The registry as the server's own parts use it.

use super::{Ask, Registry, stored};
use crate::auth::UserInfo;
use crate::objects::{Change, Objects};
use crate::storage::cacher::{EventType, ListOptions, WatchEvent, WatchOptions};
use keelson_machinery::labels::{FieldSelector, Selector};
use keelson_machinery::resources::Resource;
use keelson_machinery::status::ApiError;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;

/// Changes that a reader inside the server may be behind before its feed waits.
const FEED_LEN: usize = 256;
/// How long a feed's watch lasts before it is renewed.
const FEED_TIMEOUT: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_millis(200);

pub(crate) fn system_user() -> UserInfo {
    UserInfo {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    }
}

impl Registry {
    pub(crate) fn internal(resource: &'static Resource, namespace: &str, name: &str) -> Ask {
        Ask {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            user: system_user(),
            dry_run: false,
            internal: true,
        }
    }

    pub(super) async fn all(&self, resource: &'static Resource, namespace: &str) -> Result<Vec<Value>, ApiError> {
        let o = ListOptions {
            namespace: namespace.to_owned(),
            ..ListOptions::default()
        };
        let page = self.cacher(resource)?.list(&o).await?;
        page.items
            .iter()
            .map(|i| stored::decode(resource, &i.value, i.revision))
            .collect()
    }
}

#[async_trait::async_trait]
impl Objects for std::sync::Arc<Registry> {
    async fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        Ok(self
            .current(&Registry::internal(resource, namespace, name))
            .await?
            .map(|c| c.value))
    }

    async fn list(&self, resource: &'static Resource, namespace: &str) -> Result<Vec<Value>, ApiError> {
        self.all(resource, namespace).await
    }

    async fn create(&self, resource: &'static Resource, namespace: &str, object: Value) -> Result<Value, ApiError> {
        Registry::create(self, &Registry::internal(resource, namespace, ""), object).await
    }

    async fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Value, ApiError> {
        Ok(
            Registry::update(self, &Registry::internal(resource, namespace, name), object)
                .await?
                .value,
        )
    }

    async fn watch(&self, resource: &'static Resource) -> Result<mpsc::Receiver<Change>, ApiError> {
        let (tx, rx) = mpsc::channel(FEED_LEN);
        let this = self.clone();
        // The first read is the caller's to see fail.
        let mut first = Some(this.cacher(resource)?.list(&ListOptions::default()).await?);
        tokio::spawn(async move {
            loop {
                let page = match first.take() {
                    Some(p) => Ok(p),
                    None => match this.cacher(resource) {
                        Ok(c) => c.list(&ListOptions::default()).await,
                        Err(e) => Err(e),
                    },
                };
                if let Ok(page) = page {
                    let all: Vec<Value> = page
                        .items
                        .iter()
                        .filter_map(|i| stored::decode(resource, &i.value, i.revision).ok())
                        .collect();
                    if tx.send(Change::Reset(all)).await.is_err() {
                        return;
                    }
                    if this.follow(resource, page.revision, &tx).await.is_none() {
                        return;
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = this.stop.cancelled() => return,
                    () = tx.closed() => return,
                }
            }
        });
        Ok(rx)
    }
}

impl Registry {
    /// Hands changes on until the watch is cut (`Some`) or nobody listens (`None`).
    async fn follow(&self, resource: &'static Resource, from: u64, tx: &mpsc::Sender<Change>) -> Option<()> {
        let mut revision = from;
        loop {
            let o = WatchOptions {
                namespace: String::new(),
                labels: Selector::default(),
                fields: FieldSelector::default(),
                resource_version: revision.to_string(),
                resource_version_match: String::new(),
                send_initial_events: None,
                allow_bookmarks: true,
                timeout: FEED_TIMEOUT,
            };
            let Ok(cacher) = self.cacher(resource) else {
                return Some(());
            };
            let Ok(mut events) = cacher.watch(o).await else {
                return Some(());
            };
            loop {
                let event = tokio::select! {
                    e = events.recv() => e,
                    () = self.stop.cancelled() => return None,
                    () = tx.closed() => return None,
                };
                match event {
                    // The watch has run its time: another goes on from where it was.
                    None => break,
                    Some(WatchEvent::Bookmark { revision: at, .. }) => revision = at,
                    Some(WatchEvent::Error(_)) => return Some(()),
                    Some(WatchEvent::Object { kind, object, .. }) => {
                        revision = object.revision;
                        let Ok(value) = stored::decode(resource, &object.value, object.revision) else {
                            continue;
                        };
                        let change = if kind == EventType::Deleted {
                            Change::Deleted(value)
                        } else {
                            Change::Put(value)
                        };
                        tx.send(change).await.ok()?;
                    }
                }
            }
        }
    }
}
