//! List and watch, for ever: WatchList first, a list where the server has none, the watch after it, resumed
//! from the last resourceVersion seen (bookmarks included), and a new list when that is gone
//! (upstream: client-go/tools/cache/reflector.go).
use super::backoff::Backoff;
use super::shared::Shared;
use super::source::{Events, HasMeta, Source};
use crate::{Error, ListParams, Result, WatchEvent};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Objects in one page of a consistent list.
const PAGE_OBJECTS: u32 = 500;
/// A watch that ends sooner than this without an event counts as failed, or a broken server would be asked in a loop.
const WATCH_DURATION_MIN: Duration = Duration::from_secs(1);

pub(super) struct Reflector<K: HasMeta> {
    pub source: Box<dyn Source<K>>,
    pub params: ListParams,
    pub shared: Arc<Shared<K>>,
    /// Empty before the first list, and after the server said that it is gone.
    pub resource_version: String,
    /// The server refused WatchList: it is not asked again.
    pub lists_only: bool,
}

/// How a watch ended.
enum Ended {
    /// Watch again from the last resourceVersion.
    Resume,
    /// The same after a pause.
    Failed(Error),
    /// The last resourceVersion is gone, or what the watch said cannot be trusted: list again.
    Relist(Error),
}

impl<K: HasMeta> Reflector<K> {
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let mut events = match self.initial().await {
                Ok(e) => e,
                Err(e) => {
                    let wait = backoff.next();
                    tracing::warn!(what = self.source.name(), error = %e, ?wait, "list failed; it will be retried");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            loop {
                let ended = match events.take() {
                    Some(stream) => self.follow(stream).await,
                    None => match self.source.watch(&self.params, &self.resource_version).await {
                        Ok(stream) => self.follow(stream).await,
                        Err(e) => judge(e),
                    },
                };
                match ended {
                    Ended::Resume => {}
                    Ended::Failed(e) => {
                        let wait = backoff.next();
                        tracing::debug!(what = self.source.name(), error = %e, ?wait, "watch failed; it will be resumed");
                        tokio::time::sleep(wait).await;
                    }
                    Ended::Relist(e) => {
                        tracing::debug!(what = self.source.name(), error = %e, "watch cannot be resumed; listing again");
                        if e.is_gone() {
                            self.resource_version.clear();
                        } else {
                            tokio::time::sleep(backoff.next()).await;
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Fills the store. A stream comes back when it goes on as the watch.
    async fn initial(&mut self) -> Result<Option<Events<K>>> {
        if !self.lists_only {
            match self.initial_by_watch().await {
                Ok(stream) => return Ok(Some(stream)),
                Err(e) if e.is_transport() => return Err(e),
                Err(e) if e.is_gone() || is_too_large(&e) => {
                    self.resource_version.clear();
                    return Err(e);
                }
                Err(e) => {
                    // Servers without WatchList say Invalid (upstream) or BadRequest; for other errors
                    // only this once.
                    self.lists_only = matches!(e.code(), 400 | 422);
                    tracing::debug!(what = self.source.name(), error = %e, "no WatchList; listing");
                }
            }
        }
        self.initial_by_list().await?;
        Ok(None)
    }

    async fn initial_by_watch(&mut self) -> Result<Events<K>> {
        let mut p = self.params.clone();
        p.resource_version = Some(self.resource_version.clone());
        let mut stream = self.source.watch_list(&p).await?;
        let mut objects = BTreeMap::new();
        while let Some(event) = stream.next().await {
            match event? {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                    objects.insert(super::key_of(&o), o);
                }
                WatchEvent::Deleted(o) => {
                    objects.remove(&super::key_of(&o));
                }
                WatchEvent::Bookmark {
                    resource_version,
                    initial_events_end: true,
                } => {
                    self.resource_version = resource_version;
                    self.shared.replace(objects);
                    return Ok(stream);
                }
                WatchEvent::Bookmark { .. } => {}
            }
        }
        Err(Error::Transport("the watch ended within its initial events".into()))
    }

    async fn initial_by_list(&mut self) -> Result<()> {
        let mut p = self.params.clone();
        // The server's cache may answer when it is at least as new as what was seen before; after 410, and
        // at the start, only a consistent list will do, and that one is taken in pages.
        if self.resource_version.is_empty() {
            p.limit = Some(PAGE_OBJECTS);
        } else {
            p.resource_version = Some(self.resource_version.clone());
        }
        let mut objects = BTreeMap::new();
        let version = loop {
            let page = match self.source.list(&p).await {
                Ok(page) => page,
                Err(e) if e.is_gone() || is_too_large(&e) => {
                    // A page token that expired, or a version from before a restore: from the start.
                    self.resource_version.clear();
                    return Err(e);
                }
                Err(e) => return Err(e),
            };
            objects.extend(page.items.into_iter().map(|o| (super::key_of(&o), o)));
            match page.metadata.continue_.filter(|c| !c.is_empty()) {
                Some(token) => {
                    p.continue_token = Some(token);
                    p.resource_version = None;
                }
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        self.resource_version = version;
        self.shared.replace(objects);
        Ok(())
    }

    async fn follow(&mut self, mut stream: Events<K>) -> Ended {
        let start = Instant::now();
        let mut seen = false;
        while let Some(event) = stream.next().await {
            let event = match event {
                Ok(e) => e,
                Err(e) => return judge(e),
            };
            seen = true;
            let version = match &event {
                WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => {
                    o.meta().resource_version.clone().unwrap_or_default()
                }
                WatchEvent::Bookmark { resource_version, .. } => resource_version.clone(),
            };
            match event {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => self.shared.put(o),
                WatchEvent::Deleted(o) => self.shared.delete(o),
                WatchEvent::Bookmark { .. } => {}
            }
            if !version.is_empty() {
                self.resource_version = version;
            }
        }
        if !seen && start.elapsed() < WATCH_DURATION_MIN {
            return Ended::Failed(Error::Transport("the watch ended at once".into()));
        }
        Ended::Resume
    }
}

fn judge(e: Error) -> Ended {
    match &e {
        Error::Transport(_) => Ended::Failed(e),
        // Server overload: what was seen stays valid.
        Error::Api(_) if matches!(e.code(), 429 | 500 | 503 | 504) => Ended::Failed(e),
        _ => Ended::Relist(e),
    }
}

/// "Too large resource version": the server is behind what was seen, or was restored from a backup.
fn is_too_large(e: &Error) -> bool {
    let Error::Api(s) = e else { return false };
    let causes = s.details.as_ref().and_then(|d| d.causes.as_deref()).unwrap_or_default();
    e.reason() == "Timeout"
        && causes
            .iter()
            .any(|c| c.reason.as_deref() == Some("ResourceVersionTooLarge"))
}
