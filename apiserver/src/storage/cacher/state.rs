//! The cache's data: the objects now, what changed lately, and who wants to know. No clock, no I/O.
//!
//! Invariants: `objects` is exactly the store's content of the range at `revision`; `recent` holds every
//! change after `oldest`; a watcher was told of every change after its start that its selection meets, or
//! it is gone.
use super::object::{Encodings, Object};
use super::select::{Selection, node_of};
use super::{EventType, WatchEvent};
use crate::storage::Revision;
use bytes::Bytes;
use imbl::OrdMap;
use keelson_machinery::resources::Resource;
use keelson_machinery::schema::TypeId;
use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

pub(super) type Objects = OrdMap<Bytes, Arc<Object>>;

/// How long changes are kept for watches that start in the past, and how many at least and at most.
/// Upstream: cacher's eventFreshDuration and capacities.
const RECENT_AGE: Duration = Duration::from_secs(75);
const RECENT_MIN: usize = 100;
const RECENT_MAX: usize = 100_000;
/// Objects that only `recent` may hold, bytes, about.
const RECENT_BYTES_MAX: usize = 32 << 20;

/// One change, as stored.
#[derive(Debug)]
pub(super) struct Change {
    pub revision: Revision,
    pub at: Instant,
    pub before: Option<Arc<Object>>,
    /// `None`: deleted.
    pub after: Option<Arc<Object>>,
}

impl Change {
    fn size_bytes(&self) -> usize {
        self.before.as_ref().map_or(0, |o| o.size_bytes())
    }
}

pub(super) struct Watcher {
    pub id: u64,
    pub selection: Arc<Selection>,
    pub sender: mpsc::Sender<WatchEvent>,
    pub bookmarks: bool,
    /// Changes at or below are known to it.
    pub after: Revision,
    /// Tells the watch's own task when this is dropped.
    pub _gone: DropGuard,
}

/// Watchers by what can concern them.
#[derive(Default)]
struct Watchers {
    by_key: HashMap<Bytes, Vec<Watcher>>,
    by_node: HashMap<String, Vec<Watcher>>,
    rest: Vec<Watcher>,
    count: usize,
}

impl Watchers {
    fn add(&mut self, w: Watcher) {
        self.count += 1;
        match (w.selection.exact, w.selection.node()) {
            (true, _) => self.by_key.entry(w.selection.prefix.clone()).or_default().push(w),
            (_, Some(node)) => self.by_node.entry(node.to_owned()).or_default().push(w),
            _ => self.rest.push(w),
        }
    }
    fn remove(&mut self, id: u64, selection: &Selection) {
        let take = |list: &mut Vec<Watcher>| list.iter().position(|w| w.id == id).map(|i| list.swap_remove(i));
        let taken = match (selection.exact, selection.node()) {
            (true, _) => within(&mut self.by_key, &selection.prefix, take),
            (_, Some(node)) => within(&mut self.by_node, node, take),
            _ => take(&mut self.rest),
        };
        self.count -= usize::from(taken.is_some());
    }
    fn all(&self) -> impl Iterator<Item = &Watcher> {
        let lists = self.by_key.values().chain(self.by_node.values());
        lists.flatten().chain(&self.rest)
    }
}

/// Takes one watcher out of the list under `key`, and the list when that empties it.
fn within<K, Q>(
    lists: &mut HashMap<K, Vec<Watcher>>,
    key: &Q,
    take: impl Fn(&mut Vec<Watcher>) -> Option<Watcher>,
) -> Option<Watcher>
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    let list = lists.get_mut(key)?;
    let taken = take(list);
    if list.is_empty() {
        lists.remove(key);
    }
    taken
}

pub(super) struct State {
    pub resource: &'static Resource,
    id: TypeId,
    pub objects: Objects,
    /// 0: not loaded.
    pub revision: Revision,
    recent: VecDeque<Change>,
    recent_bytes: usize,
    /// A watch may start at this revision or later.
    pub oldest: Revision,
    watchers: Watchers,
    /// Whether a feed exists that will load or has loaded it.
    pub fed: bool,
}

impl State {
    pub fn new(resource: &'static Resource) -> Self {
        State {
            resource,
            id: super::object::storage_type(resource),
            objects: OrdMap::new(),
            revision: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            oldest: 0,
            watchers: Watchers::default(),
            fed: false,
        }
    }

    /// The whole content anew. Watchers are closed: what happened in between cannot be told.
    pub fn reset(&mut self, objects: Objects, revision: Revision) {
        *self = State {
            fed: self.fed,
            ..State::new(self.resource)
        };
        (self.objects, self.revision, self.oldest) = (objects, revision, revision);
    }

    /// Applies one change and tells the watchers.
    pub fn apply(&mut self, key: Bytes, after: Option<Arc<Object>>, revision: Revision, now: Instant) {
        let before = match &after {
            Some(o) => self.objects.insert(o.key.clone(), o.clone()),
            None => self.objects.remove(&key),
        };
        self.revision = self.revision.max(revision);
        if before.is_none() && after.is_none() {
            return;
        }
        let change = Change {
            revision,
            at: now,
            before,
            after,
        };
        self.tell(&change);
        self.recent_bytes += change.size_bytes();
        self.recent.push_back(change);
        self.trim(now);
    }

    /// Nothing at or below `revision` is still to come.
    pub fn progress(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Forgets what no watch may start from any more.
    pub fn trim(&mut self, now: Instant) {
        while let Some(first) = self.recent.front() {
            let n = self.recent.len();
            let old = now.saturating_duration_since(first.at) > RECENT_AGE;
            if !(n > RECENT_MAX || n > RECENT_MIN && (old || self.recent_bytes > RECENT_BYTES_MAX)) {
                return;
            }
            self.oldest = first.revision;
            self.recent_bytes = self.recent_bytes.saturating_sub(first.size_bytes());
            self.recent.pop_front();
        }
    }

    fn tell(&mut self, change: &Change) {
        if self.watchers.count == 0 {
            return;
        }
        let mut forms = Forms::default();
        let before = self.watchers.count;
        let mut gone = 0;
        let mut each = |list: &mut Vec<Watcher>| {
            list.retain(|w| {
                let kept = deliver(w, change, &mut forms);
                gone += usize::from(!kept);
                kept
            });
            list.is_empty()
        };
        each(&mut self.watchers.rest);
        let key = change.after.as_ref().or(change.before.as_ref()).map(|o| &o.key);
        if let Some(key) = key.filter(|_| !self.watchers.by_key.is_empty())
            && self.watchers.by_key.get_mut(key).is_some_and(&mut each)
        {
            self.watchers.by_key.remove(key);
        }
        if !self.watchers.by_node.is_empty() {
            let node = |o: &Option<Arc<Object>>| o.as_ref().and_then(|o| node_of(self.resource, self.id, o));
            let (old, new) = (node(&change.before), node(&change.after));
            let new = new.filter(|n| old.as_ref() != Some(n));
            for node in [old, new].into_iter().flatten() {
                if self.watchers.by_node.get_mut(&node).is_some_and(&mut each) {
                    self.watchers.by_node.remove(&node);
                }
            }
        }
        self.watchers.count = before.saturating_sub(gone);
    }

    pub fn watch(&mut self, w: Watcher) {
        self.watchers.add(w);
    }

    /// Sends `w` the changes after its start. False if it was too slow for them.
    pub fn replay(&self, w: &Watcher) -> bool {
        let from = self.recent.partition_point(|c| c.revision <= w.after);
        let from = (from + usize::from(seeded!(CacheSkipsEvent))).min(self.recent.len());
        self.recent.range(from..).all(|c| deliver(w, c, &mut Forms::default()))
    }

    /// How many changes after `revision` are known.
    pub fn changes_after(&self, revision: Revision) -> usize {
        self.recent.len() - self.recent.partition_point(|c| c.revision <= revision)
    }

    pub fn forget(&mut self, id: u64, selection: &Selection) {
        self.watchers.remove(id, selection);
    }

    pub fn watcher_count(&self) -> usize {
        self.watchers.count
    }

    pub fn wants_bookmarks(&self) -> bool {
        self.watchers.all().any(|w| w.bookmarks)
    }

    /// Tells every watcher that asked for it where the cache stands. One with a full queue is told next time.
    pub fn bookmark(&self) {
        self.watchers
            .all()
            .filter(|w| w.bookmarks)
            .for_each(|w| self.bookmark_to(w));
    }

    pub fn bookmark_one(&self, id: u64) {
        self.watchers
            .all()
            .filter(|w| w.id == id)
            .for_each(|w| self.bookmark_to(w));
    }

    fn bookmark_to(&self, w: &Watcher) {
        let revision = self.revision;
        if revision >= w.after {
            let _ = w.sender.try_send(WatchEvent::Bookmark {
                revision,
                initial_events_end: false,
            });
        }
    }
}

/// One event in the shapes that watchers see it, each made once.
#[derive(Default)]
struct Forms {
    added: Option<Arc<Encodings>>,
    modified: Option<Arc<Encodings>>,
    deleted: Option<(Arc<Object>, Arc<Encodings>)>,
}

/// False when the watcher is gone or its queue is full, which closes it (as upstream does).
fn deliver(w: &Watcher, c: &Change, forms: &mut Forms) -> bool {
    if c.revision <= w.after {
        return true;
    }
    let met = |o: &Option<Arc<Object>>| o.as_ref().is_some_and(|o| w.selection.matches(o));
    let (kind, object, encodings) = match (met(&c.before), met(&c.after)) {
        (false, false) => return true,
        (false, true) => (
            EventType::Added,
            c.after.clone(),
            forms.added.get_or_insert_default().clone(),
        ),
        (true, true) => (
            EventType::Modified,
            c.after.clone(),
            forms.modified.get_or_insert_default().clone(),
        ),
        (true, false) => {
            let Some(before) = &c.before else { return true };
            let made = || (Arc::new(before.at(c.revision)), Arc::default());
            let (object, encodings) = forms.deleted.get_or_insert_with(made).clone();
            (EventType::Deleted, Some(object), encodings)
        }
    };
    let Some(object) = object else { return true };
    w.sender
        .try_send(WatchEvent::Object {
            kind,
            object,
            encodings,
        })
        .is_ok()
}
