//! Brings events from the ring to the streams that watch for them.
//!
//! Apply only puts events into the ring and rings a bell. Whoever comes first (the hub's own task, or a request that
//! needs to be sure) dispatches them under one lock to the queues of the streams. A watcher whose queue is full, or
//! all of them when the ring has turned over, is marked as lagging; its stream reads on from the store.

use super::queue::{Item, Positions, Shared};
use super::watchers::{Sync, Watcher};
use ahash::AHashMap;
use keelson_mvcc::{Matcher, RevisionEvents, Store};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Revisions taken from the ring at once.
const DISPATCH_SLICE_REVISIONS: usize = 256;

/// A watcher: its stream and its id there.
type Key = (u64, i64);

struct Inner {
    /// Every event up to this revision has been queued or its watcher marked as lagging.
    dispatched: i64,
    matcher: Matcher<Key>,
    streams: AHashMap<u64, Arc<Shared>>,
    next_stream: u64,
}

pub struct Hub {
    pub store: Arc<Store>,
    inner: Mutex<Inner>,
}

/// How many there are of everything, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub streams: usize,
    pub watchers: usize,
    /// Watchers that are behind.
    pub lagging: usize,
    pub events_waiting: usize,
}

/// What became of a watcher that has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Synced,
    /// More has happened in between.
    Behind,
}

impl Hub {
    /// Follows the store; `bell` rings when there is something to dispatch.
    pub fn new(store: Arc<Store>, bell: &Arc<Notify>) -> Arc<Hub> {
        let inner = Inner {
            dispatched: store.ring().newest(),
            matcher: Matcher::default(),
            streams: AHashMap::new(),
            next_stream: 0,
        };
        let bell = bell.clone();
        store.ring().on_publish(move || bell.notify_one());
        Arc::new(Hub {
            store,
            inner: Mutex::new(inner),
        })
    }

    pub async fn run(self: Arc<Self>, bell: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = bell.notified() => self.inner.lock().dispatch(&self.store),
            }
        }
    }

    pub fn census(&self) -> Census {
        let streams: Vec<_> = self.inner.lock().streams.values().cloned().collect();
        let mut census = Census {
            streams: streams.len(),
            ..Census::default()
        };
        for shared in streams {
            let queue = shared.queue.lock();
            census.watchers += queue.watchers.len();
            census.lagging += queue.watchers.lagging();
            census.events_waiting += queue.events_waiting();
        }
        census
    }

    pub fn open_stream(&self) -> (u64, Arc<Shared>) {
        let mut inner = self.inner.lock();
        let id = inner.next_stream;
        inner.next_stream += 1;
        let shared = Arc::new(Shared::default());
        inner.streams.insert(id, shared.clone());
        (id, shared)
    }

    pub fn close_stream(&self, stream: u64) {
        let mut inner = self.inner.lock();
        let Some(shared) = inner.streams.remove(&stream) else {
            return;
        };
        for (id, watcher) in std::mem::take(&mut shared.queue.lock().watchers).iter() {
            inner.matcher.remove(&watcher.interest.range, &(stream, id));
        }
    }

    /// Adds a watcher from `start` on (0: from now on) after queueing `created` with the revision of now.
    pub fn add(&self, stream: u64, id: i64, watcher: Watcher, start: i64, created: impl FnOnce(i64) -> Item) {
        let mut inner = self.inner.lock();
        inner.dispatch(&self.store);
        let now = inner.dispatched;
        let from = if start > 0 { start } else { now + 1 };
        let resumes = seeded!(DuplicateAfterReconnect) && (2..=now + 1).contains(&start);
        let from = from - i64::from(resumes);
        let sync = if from > now {
            Sync::Synced { from }
        } else {
            Sync::Lagging { from }
        };
        let Some(shared) = inner.streams.get(&stream).cloned() else {
            return;
        };
        if from > now {
            inner.matcher.add(&watcher.interest.range, (stream, id));
        }
        let mut queue = shared.queue.lock();
        queue.push(created(now));
        queue.watchers.insert(id, watcher, sync);
    }

    /// False: there is no such watcher. Otherwise `canceled` is queued with the revision of now.
    pub fn remove(&self, stream: u64, id: i64, canceled: impl FnOnce(i64) -> Item) -> bool {
        let mut inner = self.inner.lock();
        let Some(shared) = inner.streams.get(&stream).cloned() else {
            return false;
        };
        let mut queue = shared.queue.lock();
        let Some(watcher) = queue.watchers.remove(id) else {
            return false;
        };
        inner.matcher.remove(&watcher.interest.range, &(stream, id));
        queue.purge(id);
        queue.push(canceled(inner.dispatched));
        true
    }

    /// Queues one progress answer for the whole stream, if every watcher of it has had everything.
    pub fn request_progress(&self, stream: u64) {
        let mut inner = self.inner.lock();
        inner.dispatch(&self.store);
        let revision = inner.dispatched;
        let Some(shared) = inner.streams.get(&stream) else {
            return;
        };
        let mut queue = shared.queue.lock();
        if queue.watchers.all_synced(revision) || seeded!(EarlyProgressNotify) {
            queue.push_progress(-1, revision);
        }
    }

    /// Queues a progress answer for each watcher that asked for them and had nothing since the last tick.
    pub fn tick(&self, stream: u64) {
        let mut inner = self.inner.lock();
        inner.dispatch(&self.store);
        let revision = inner.dispatched;
        let Some(shared) = inner.streams.get(&stream) else {
            return;
        };
        let mut queue = shared.queue.lock();
        let mut due = Vec::new();
        for (id, watcher) in queue.watchers.iter_mut().filter(|(_, w)| w.progress_notify) {
            let synced = matches!(watcher.sync(), Sync::Synced { from } if from <= revision + 1);
            if watcher.quiet && (synced || seeded!(EarlyProgressNotify)) {
                due.push(id);
            }
            watcher.quiet = true;
        }
        due.into_iter()
            .for_each(|watch_id| queue.push_progress(watch_id, revision));
    }

    /// A lagging watcher has seen everything below `from`: from here on the hub serves it, or it has to read on.
    pub fn rejoin(&self, stream: u64, id: i64, from: i64) -> Joined {
        let mut inner = self.inner.lock();
        inner.dispatch(&self.store);
        let synced = from > inner.dispatched;
        let Some(shared) = inner.streams.get(&stream).cloned() else {
            return Joined::Synced;
        };
        let mut queue = shared.queue.lock();
        let Some(watcher) = queue.watchers.get(id) else {
            return Joined::Synced;
        };
        if !synced {
            queue.watchers.set_sync(id, Sync::Lagging { from });
            return Joined::Behind;
        }
        inner.matcher.add(&watcher.interest.range, (stream, id));
        queue.watchers.set_sync(id, Sync::Synced { from });
        Joined::Synced
    }
}

impl Inner {
    fn dispatch(&mut self, store: &Store) {
        loop {
            match store.ring().since(self.dispatched, DISPATCH_SLICE_REVISIONS) {
                Some(revisions) => {
                    if revisions.is_empty() {
                        return;
                    }
                    for revision in &revisions {
                        self.deliver(revision);
                        self.dispatched = revision.revision;
                    }
                }
                None => {
                    let newest = store.ring().newest();
                    if !seeded!(SnapshotInstallSkipsWatchers) {
                        self.mark_all_lagging();
                    }
                    self.dispatched = newest;
                }
            }
        }
    }

    fn deliver(&mut self, revision: &Arc<RevisionEvents>) {
        if self.matcher.is_empty() {
            return;
        }
        let mut targets: Vec<(Key, u32)> = Vec::new();
        for (at, event) in (0u32..).zip(&revision.events) {
            self.matcher.matching(&event.kv.key, |key| targets.push((*key, at)));
        }
        // Grouped by watcher, the positions of each in order.
        targets.sort_unstable();
        for group in targets.chunk_by(|a, b| a.0 == b.0) {
            if let Some(((stream, id), _)) = group.first() {
                self.deliver_to(*stream, *id, revision, group.iter().map(|(_, at)| *at));
            }
        }
    }

    fn deliver_to(&mut self, stream: u64, id: i64, revision: &Arc<RevisionEvents>, at: impl Iterator<Item = u32>) {
        let Some(shared) = self.streams.get(&stream) else {
            return;
        };
        let mut queue = shared.queue.lock();
        let Some(watcher) = queue.watchers.get(id) else { return };
        if !matches!(watcher.sync(), Sync::Synced { from } if from <= revision.revision) {
            return;
        }
        let wanted = |at: &u32| {
            revision
                .events
                .get(*at as usize)
                .is_some_and(|e| watcher.interest.wants(e.delete))
        };
        let mut positions: Positions = at.filter(wanted).collect();
        if seeded!(TxnEventsSplit) {
            while positions.len() > 1 {
                queue.push_events(id, revision, Positions::from_slice(&[positions.remove(0)]));
            }
        }
        if positions.is_empty() {
            return;
        }
        if !queue.push_events(id, revision, positions)
            && let Some(watcher) = queue.watchers.get(id)
        {
            self.matcher.remove(&watcher.interest.range, &(stream, id));
            let from = revision.revision;
            queue.watchers.set_sync(id, Sync::Lagging { from });
        }
        drop(queue);
        shared.wake.notify_one();
    }

    /// The ring has turned over before its events were dispatched.
    fn mark_all_lagging(&mut self) {
        let next = self.dispatched + 1;
        for (stream, shared) in &self.streams {
            let mut queue = shared.queue.lock();
            let mut behind = Vec::new();
            for (id, watcher) in queue.watchers.iter() {
                if let Sync::Synced { from } = watcher.sync() {
                    self.matcher.remove(&watcher.interest.range, &(*stream, id));
                    behind.push((id, from.max(next)));
                }
            }
            for (id, from) in behind {
                queue.watchers.set_sync(id, Sync::Lagging { from });
            }
            drop(queue);
            shared.wake.notify_one();
        }
    }
}
