//! A store's whole contents in terms that others have too, for a file that another program reads: everything at one
//! state, while the store goes on.
//!
//! It is not what members send each other: that is `snapshot`, rows as they lie here.

use crate::auth::StoredAuth;
use crate::cluster::ClusterMeta;
use crate::history::{History, Rule, Step};
use crate::revision::Version;
use crate::state_machine::{AppliedState, StorageError};
use crate::store::Store;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a store holds besides the versions of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    pub revision: i64,
    /// -1 before the first compaction.
    pub compacted: i64,
    pub applied: AppliedState,
    /// Id, granted TTL and checkpointed remainder (0: never), seconds; sorted by id.
    pub leases: Vec<(i64, i64, i64)>,
    /// Member and kind.
    pub alarms: Vec<(u64, i32)>,
    pub cluster: ClusterMeta,
    pub auth: StoredAuth,
}

/// The contents at one state. While it lives, no compaction takes what it has yet to give.
pub struct Dump {
    store: Arc<Store>,
    pinned: i64,
    history: History,
    ready: VecDeque<(Version, Bytes)>,
    pub holdings: Holdings,
}

impl Store {
    /// An empty file on the store's own disk that has no name, and so leaves nothing behind.
    pub fn scratch_file(&self) -> Result<std::fs::File, StorageError> {
        self.home.scratch()
    }

    /// The contents as of now.
    pub fn dump(self: &Arc<Self>) -> Dump {
        let state = self.state.read();
        let rule = Rule {
            upto: state.revision,
            compacted: state.compacted,
            at: state.compacted,
            tombstones: true,
        };
        let pinned = state.compacted.max(0);
        self.pins.add(pinned);
        let mut leases: Vec<_> = state
            .leases
            .iter()
            .map(|(id, l)| (id, l.ttl, l.remaining_ttl))
            .collect();
        leases.sort_unstable();
        Dump {
            history: History::new(self, &state, rule),
            store: self.clone(),
            pinned,
            ready: VecDeque::new(),
            holdings: Holdings {
                revision: state.revision,
                compacted: state.compacted,
                applied: state.applied.clone(),
                leases,
                alarms: state.alarms.iter().copied().collect(),
                cluster: state.cluster.clone(),
                auth: state.stored_auth(),
            },
        }
    }
}

impl Dump {
    /// Where the store is by now.
    pub fn current_revision(&self) -> i64 {
        self.store.revision()
    }

    /// The next version that is not compacted away, ascending, and its record as etcd stores it: of a deletion the
    /// key alone.
    pub fn next_version(&mut self) -> Result<Option<(Version, Bytes)>, StorageError> {
        while self.ready.is_empty() {
            match self.history.step(&self.store)? {
                Step::Some(versions) => self.ready.extend(versions),
                Step::Done => return Ok(None),
                Step::Replaced => {
                    return Err(StorageError(
                        "a snapshot from another member took the state's place while it was read".to_owned(),
                    ));
                }
            }
        }
        Ok(self.ready.pop_front())
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.store.pins.remove(self.pinned);
    }
}
