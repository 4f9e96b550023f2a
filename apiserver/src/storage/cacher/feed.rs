//! What keeps a cache current: a list, then a watch, until nobody needs it.
use super::Cacher;
use super::object::Object;
use super::state::Objects;
use crate::storage::{Error, KeyValue, Revision, WatchItem, WatchReceiver, keys};
use imbl::OrdMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys a page of the first list.
pub(super) const PAGE_KEYS: u64 = 10_000;
/// Between attempts to reach a store that failed.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Why a feed ended a turn.
enum End {
    /// The history has a gap: list again.
    Relist,
    /// The watch was cut: go on where it ended.
    Resume,
    Rest,
}

pub(super) async fn run(cacher: Arc<Cacher>) {
    let mut backoff = BACKOFF_MIN;
    let mut end = End::Relist;
    loop {
        let turn = match end {
            End::Rest => break,
            End::Relist => load(&cacher).await,
            End::Resume => Ok(()),
        };
        end = match turn {
            Ok(()) => follow(&cacher, &mut backoff).await,
            Err(e) => {
                tracing::warn!(prefix = cacher.prefix, error = %e, "load the watch cache");
                End::Relist
            }
        };
        if !matches!(end, End::Rest) {
            tokio::select! {
                () = cacher.stop.cancelled() => end = End::Rest,
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
            }
        }
    }
    rest(&cacher);
}

/// Drops everything; the next reader starts anew.
fn rest(cacher: &Cacher) {
    let mut state = cacher.state.lock();
    state.reset(OrdMap::new(), 0);
    cacher.reached.send_replace(0);
    cacher.snapshots.lock().clear();
    state.fed = false;
}

fn insert(objects: &mut Objects, kv: &KeyValue) {
    match Object::load(kv) {
        Ok(o) => {
            objects.insert(o.key.clone(), Arc::new(o));
        }
        // One damaged value must not hide all others.
        Err(e) => undecodable(&kv.key, &e),
    }
}

pub(super) fn undecodable(key: &[u8], e: &dyn std::fmt::Display) {
    tracing::error!(key = %String::from_utf8_lossy(key), error = %e, "read a stored object");
}

async fn load(cacher: &Cacher) -> Result<(), Error> {
    let (mut objects, mut at): (Objects, Revision) = (OrdMap::new(), 0);
    let mut start = cacher.prefix.as_bytes().to_vec();
    let end = keys::prefix_end(&start);
    loop {
        let page = cacher.storage.list(&start, &end, PAGE_KEYS, at).await?;
        if at == 0 {
            at = page.revision;
        }
        let more = page.count > page.items.len() as u64;
        for kv in &page.items {
            insert(&mut objects, kv);
        }
        match page.items.last() {
            Some(last) if more => {
                start = last.key.to_vec();
                start.push(0);
            }
            _ => break,
        }
    }
    let mut state = cacher.state.lock();
    state.reset(objects, at);
    cacher.snapshots.lock().clear();
    cacher.reached.send_replace(at);
    Ok(())
}

async fn follow(cacher: &Cacher, backoff: &mut Duration) -> End {
    let from = cacher.state.lock().revision;
    let mut events = match cacher.storage.watch(cacher.prefix.as_bytes(), from).await {
        Ok(events) => events,
        Err(e) => return ended(cacher, &e),
    };
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + cacher.timing.tick, cacher.timing.tick);
    let mut bookmark_due = false;
    loop {
        tokio::select! {
            () = cacher.stop.cancelled() => return End::Rest,
            _ = tick.tick() => {
                if std::mem::take(&mut bookmark_due) {
                    cacher.state.lock().bookmark();
                }
                if idle(cacher) {
                    return End::Rest;
                }
                // Bookmarks go out with the answer, so that they carry a fresh revision.
                bookmark_due = cacher.state.lock().wants_bookmarks();
                if bookmark_due && let Err(e) = cacher.storage.request_progress(cacher.prefix.as_bytes()).await {
                    tracing::debug!(prefix = cacher.prefix, error = %e, "request progress");
                }
            }
            batch = next(&mut events) => match batch {
                Ok(items) => {
                    *backoff = BACKOFF_MIN;
                    if apply(cacher, items) && std::mem::take(&mut bookmark_due) {
                        cacher.state.lock().bookmark();
                    }
                }
                Err(e) => return ended(cacher, &e),
            },
        }
    }
}

async fn next(events: &mut WatchReceiver) -> Result<Vec<WatchItem>, Error> {
    let ended = || Err(Error::Unavailable("watch ended".into()));
    events.recv().await.unwrap_or_else(ended)
}

fn ended(cacher: &Cacher, e: &Error) -> End {
    if matches!(e, Error::Compacted) {
        return End::Relist;
    }
    tracing::debug!(prefix = cacher.prefix, error = %e, "the watch of the store was cut");
    End::Resume
}

/// Whether progress was among the items.
fn apply(cacher: &Cacher, items: Vec<WatchItem>) -> bool {
    let (now, mut progressed) = (Instant::now(), false);
    let mut state = cacher.state.lock();
    for item in items {
        match item {
            WatchItem::Put { kv, .. } => match Object::load(&kv) {
                Ok(o) => state.apply(kv.key, Some(Arc::new(o)), kv.mod_revision, now),
                Err(e) => {
                    undecodable(&kv.key, &e);
                    state.apply(kv.key, None, kv.mod_revision, now);
                }
            },
            WatchItem::Delete { key, revision, .. } => state.apply(key, None, revision, now),
            WatchItem::Progress(revision) => {
                state.progress(revision);
                progressed = true;
            }
        }
    }
    let revision = state.revision;
    // Under the lock, so that a reader who sees the revision finds the objects.
    cacher
        .reached
        .send_if_modified(|r| std::mem::replace(r, revision) != revision);
    progressed
}

fn idle(cacher: &Cacher) -> bool {
    let now = Instant::now();
    cacher.snapshots.lock().trim(now);
    let mut state = cacher.state.lock();
    state.trim(now);
    state.watcher_count() == 0 && now.saturating_duration_since(*cacher.used.lock()) > cacher.timing.idle_max
}
