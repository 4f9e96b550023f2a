//! The watchers of one stream. Who is behind, and whether anybody wants to be told of progress, is known without looking
//! at each: a stream may have very many, and wakes up for every event.

use keelson_mvcc::KeyRange;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the hub's matcher; revisions below `from` do not concern it.
    Synced { from: i64 },
    /// Behind: has seen everything below `from`, and reads on from there.
    Lagging { from: i64 },
}

/// Which events a watcher wants.
#[derive(Clone)]
pub struct Interest {
    /// Shared with the hub's matcher.
    pub range: Arc<KeyRange>,
    pub no_put: bool,
    pub no_delete: bool,
}

impl Interest {
    /// Whether it passes the filters.
    pub fn wants(&self, delete: bool) -> bool {
        !(if delete { self.no_delete } else { self.no_put })
    }
}

pub struct Watcher {
    pub interest: Interest,
    pub prev_kv: bool,
    pub fragment: bool,
    pub progress_notify: bool,
    /// No event was sent since the last tick.
    pub quiet: bool,
    sync: Sync,
}

impl Watcher {
    pub fn new(interest: Interest, prev_kv: bool, fragment: bool, progress_notify: bool) -> Watcher {
        Watcher {
            interest,
            prev_kv,
            fragment,
            progress_notify,
            quiet: true,
            sync: Sync::Synced { from: 0 },
        }
    }

    pub fn sync(&self) -> Sync {
        self.sync
    }
}

/// All of a stream, by id.
#[derive(Default)]
pub struct Watchers {
    all: BTreeMap<i64, Watcher>,
    /// Those that lag.
    behind: BTreeSet<i64>,
    /// How many want to be told of progress.
    notified: usize,
}

impl Watchers {
    pub fn insert(&mut self, id: i64, mut watcher: Watcher, sync: Sync) {
        self.remove(id);
        watcher.sync = sync;
        self.notified += usize::from(watcher.progress_notify);
        self.all.insert(id, watcher);
        self.set_sync(id, sync);
    }

    pub fn remove(&mut self, id: i64) -> Option<Watcher> {
        let watcher = self.all.remove(&id)?;
        self.notified -= usize::from(watcher.progress_notify);
        self.behind.remove(&id);
        Some(watcher)
    }

    /// Without effect where there is no such watcher.
    pub fn set_sync(&mut self, id: i64, sync: Sync) {
        let Some(watcher) = self.all.get_mut(&id) else { return };
        watcher.sync = sync;
        match sync {
            Sync::Synced { .. } => self.behind.remove(&id),
            Sync::Lagging { .. } => self.behind.insert(id),
        };
    }

    pub fn contains(&self, id: i64) -> bool {
        self.all.contains_key(&id)
    }

    pub fn get(&self, id: i64) -> Option<&Watcher> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: i64) -> Option<&mut Watcher> {
        self.all.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Watcher)> {
        self.all.iter().map(|(id, watcher)| (*id, watcher))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut Watcher)> {
        self.all.iter_mut().map(|(id, watcher)| (*id, watcher))
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn lagging(&self) -> usize {
        self.behind.len()
    }

    /// Whether anybody wants to be told of progress.
    pub fn are_notified(&self) -> bool {
        self.notified > 0
    }

    /// The first watcher above `after`, going round, that is behind.
    pub fn next_lagging(&self, after: i64) -> Option<i64> {
        let later = self.behind.range(after.saturating_add(1)..).next();
        later.or_else(|| self.behind.first()).copied()
    }

    /// Whether each has had everything up to `revision`, and there is one.
    pub fn all_synced(&self, revision: i64) -> bool {
        let synced = |w: &Watcher| matches!(w.sync, Sync::Synced { from } if from <= revision + 1);
        !self.all.is_empty() && self.behind.is_empty() && self.all.values().all(synced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn watcher(progress_notify: bool) -> Watcher {
        let interest = Interest {
            range: Arc::new(KeyRange::single(Bytes::from_static(b"k"))),
            no_put: false,
            no_delete: false,
        };
        Watcher::new(interest, false, false, progress_notify)
    }

    #[test]
    fn those_behind_take_turns_and_are_forgotten_with_their_watcher() {
        let mut all = Watchers::default();
        for id in 0..4 {
            let sync = if id % 2 == 1 {
                Sync::Lagging { from: 5 }
            } else {
                Sync::Synced { from: 5 }
            };
            all.insert(id, watcher(id == 3), sync);
        }
        assert_eq!((all.len(), all.lagging(), all.are_notified()), (4, 2, true));
        assert_eq!(
            (all.next_lagging(-1), all.next_lagging(1), all.next_lagging(3)),
            (Some(1), Some(3), Some(1))
        );
        all.set_sync(1, Sync::Synced { from: 9 });
        assert_eq!(all.next_lagging(-1), Some(3));
        assert!(!all.all_synced(9));
        assert!(all.remove(3).is_some() && all.remove(3).is_none());
        assert_eq!((all.next_lagging(-1), all.are_notified()), (None, false));
        assert!(all.all_synced(8) && !all.all_synced(7));
        // One that is replaced is counted once.
        all.insert(0, watcher(true), Sync::Lagging { from: 1 });
        all.insert(0, watcher(false), Sync::Synced { from: 1 });
        assert_eq!((all.len(), all.lagging(), all.are_notified()), (3, 0, false));
        all.set_sync(77, Sync::Lagging { from: 1 });
        assert_eq!(all.lagging(), 0);
    }
}
