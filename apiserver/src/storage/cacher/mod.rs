//! The watch cache: one a kind, over a persistent ordered map (upstream: apiserver/pkg/storage/cacher).
//!
//! It loads at the first list or watch of the kind, follows one watch of the store, and rests again when
//! nobody asked for a while: a kind that nobody uses costs nothing. Lists copy the map (one pointer) and
//! filter outside of any lock; pages of one list read the same copy. Consistent reads ask the store for its
//! revision and wait until the cache has seen it.
use super::{Error, Revision, Storage, keys};
use keelson_machinery::labels::{FieldSelector, Selector};
use keelson_machinery::resources::Resource;
use keelson_machinery::status::ApiError;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

mod feed;
mod list;
mod object;
mod options;
mod select;
mod snapshots;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod watch;

pub use object::{EncodingKey, Encodings, Object};

/// The waits that tests shorten.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// How long a read waits for the cache to reach a revision (upstream: blockTimeout).
    fresh_wait_max: Duration,
    /// How often bookmarks are sent and idleness is looked at (upstream: bookmarkFrequency).
    tick: Duration,
    /// How long before its end a watch is told where it stands (upstream: bookmarkTimer).
    last_bookmark: Duration,
    /// A cache without reader or watcher for so long is dropped.
    idle_max: Duration,
}

const TIMING: Timing = Timing {
    fresh_wait_max: Duration::from_secs(3),
    tick: Duration::from_secs(60),
    last_bookmark: Duration::from_secs(2),
    idle_max: Duration::from_secs(600),
};

/// How long a read waits for the first load.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often the store is asked for its progress while a reader waits.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Query of a list, as the client put it.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Empty: all.
    pub namespace: String,
    pub labels: Selector,
    pub fields: FieldSelector,
    /// 0: no limit.
    pub limit: u64,
    pub continue_token: String,
    pub resource_version: String,
    pub resource_version_match: String,
}

#[derive(Clone, Debug)]
pub struct Page {
    pub items: Vec<Arc<Object>>,
    pub revision: Revision,
    /// Empty on the last page.
    pub continue_token: String,
    /// How many come after this page; unknown under a selector.
    pub remaining: Option<u64>,
}

/// Query of a watch, as the client put it.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub namespace: String,
    pub labels: Selector,
    pub fields: FieldSelector,
    pub resource_version: String,
    pub resource_version_match: String,
    pub send_initial_events: Option<bool>,
    pub allow_bookmarks: bool,
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug)]
pub enum WatchEvent {
    Object {
        kind: EventType,
        object: Arc<Object>,
        /// Shared by all watchers that get this event in this shape.
        encodings: Arc<Encodings>,
    },
    Bookmark {
        revision: Revision,
        initial_events_end: bool,
    },
    /// The last event of its watch.
    Error(ApiError),
}

/// The cache of one kind; served versions of a kind share it.
pub struct Cacher {
    storage: Arc<dyn Storage>,
    resource: &'static Resource,
    stop: CancellationToken,
    timing: Timing,
    prefix: String,
    state: Mutex<state::State>,
    snapshots: Mutex<snapshots::Snapshots>,
    /// The cache's revision for those who wait for one; 0 while it is not loaded.
    reached: tokio::sync::watch::Sender<Revision>,
    used: Mutex<Instant>,
    next_id: AtomicU64,
}

impl Cacher {
    /// Costs nothing until the first read.
    pub fn new(storage: Arc<dyn Storage>, resource: &'static Resource, stop: CancellationToken) -> Arc<Cacher> {
        Cacher::timed(storage, resource, stop, TIMING)
    }

    fn timed(
        storage: Arc<dyn Storage>,
        resource: &'static Resource,
        stop: CancellationToken,
        timing: Timing,
    ) -> Arc<Cacher> {
        Arc::new(Cacher {
            storage,
            resource,
            stop,
            timing,
            prefix: keys::prefix(resource),
            state: Mutex::new(state::State::new(resource)),
            snapshots: Mutex::default(),
            reached: tokio::sync::watch::Sender::new(0),
            used: Mutex::new(Instant::now()),
            next_id: AtomicU64::new(1),
        })
    }

    /// An object as the cache has it, at `resource_version` or later (`0`: as it is).
    pub async fn get(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> Result<Option<Arc<Object>>, ApiError> {
        let key = keys::object(self.resource, namespace, name);
        let read = match options::revision(resource_version)? {
            Some(0) => options::Read::Any,
            Some(r) => options::Read::AtLeast(r),
            None => options::Read::Newest,
        };
        if let Some((objects, _)) = self.view(read).await? {
            return Ok(objects.get(key.as_bytes()).cloned());
        }
        let (found, _) = self.storage.get(key.as_bytes()).await?;
        let loaded = found.map(|kv| Object::load(&kv)).transpose();
        Ok(loaded.map_err(ApiError::internal)?.map(Arc::new))
    }

    /// Starts the feed if it rests, and waits for the first load.
    async fn loaded(self: &Arc<Self>) -> Result<(), ApiError> {
        *self.used.lock() = Instant::now();
        let mut reached = self.reached.subscribe();
        {
            let mut state = self.state.lock();
            if state.revision > 0 {
                return Ok(());
            }
            if !std::mem::replace(&mut state.fed, true) {
                tokio::spawn(feed::run(self.clone()));
            }
        }
        let ready = tokio::time::timeout(LOAD_WAIT_MAX, reached.wait_for(|r| *r > 0)).await;
        match ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ApiError::too_many_requests("storage is (re)initializing", 1)),
        }
    }

    /// Waits until the cache has seen `target`.
    async fn fresh(&self, target: Revision) -> Result<(), ApiError> {
        let mut reached = self.reached.subscribe();
        if *reached.borrow_and_update() >= target {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + self.timing.fresh_wait_max;
        loop {
            self.storage.request_progress(self.prefix.as_bytes()).await?;
            let turn = (tokio::time::Instant::now() + PROGRESS_INTERVAL).min(deadline);
            if let Ok(Ok(_)) = tokio::time::timeout_at(turn, reached.wait_for(|r| *r >= target)).await {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline || self.stop.is_cancelled() {
                let current = *self.reached.borrow();
                return Err(too_large(target, current));
            }
        }
    }
}

/// Upstream: storage.NewTooLargeResourceVersionError.
fn too_large(asked: Revision, current: Revision) -> ApiError {
    let text = format!("Too large resource version: {asked}, current: {current}");
    let mut e = ApiError::timeout(format!("Timeout: {text}"), 1);
    e.details = Some(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }));
    e
}

/// What a client is told of a failed store.
impl From<Error> for ApiError {
    fn from(e: Error) -> ApiError {
        match e {
            Error::Compacted => ApiError::gone("The resourceVersion for the provided list is too old."),
            Error::Future => too_large(0, 0),
            Error::TooLarge => ApiError::new(413, "RequestEntityTooLarge", "etcdserver: request is too large"),
            Error::Unavailable(_) => ApiError::new(503, "ServiceUnavailable", e.to_string()),
            Error::Other(_) => ApiError::internal(e),
        }
    }
}
