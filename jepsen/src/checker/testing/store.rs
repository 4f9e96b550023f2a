//! A store as the contract has it, one step at a time.

use crate::history::{FinalKv, PrevKv, WatchEvent};
use std::collections::BTreeMap;

/// Keys with their history.
#[derive(Clone)]
pub(crate) struct Store {
    pub revision: i64,
    /// The time at which a step is done; set by who drives it.
    pub now_ns: u64,
    pub keys: BTreeMap<String, Kept>,
    /// The state after each revision, from 1 on; empty when they are not kept.
    pub states: Vec<BTreeMap<String, Kept>>,
    /// Events of each revision that has any, with its time.
    pub log: Vec<(u64, Vec<WatchEvent>)>,
}

/// A key's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub value: String,
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            revision: 1,
            now_ns: 0,
            keys: BTreeMap::new(),
            states: vec![BTreeMap::new(); 2],
            log: Vec::new(),
        }
    }

    /// Writes a key at a revision of its own.
    pub(crate) fn put(&mut self, key: &str, value: &str, lease: i64) -> i64 {
        self.revision += 1;
        let old = self.keys.get(key).cloned();
        let kept = Kept {
            value: value.to_owned(),
            create: old.as_ref().map_or(self.revision, |old| old.create),
            modified: self.revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease,
        };
        let event = WatchEvent {
            delete: false,
            key: key.to_owned(),
            value: value.to_owned(),
            create_revision: kept.create,
            mod_revision: kept.modified,
            version: kept.version,
            lease,
            prev: old.as_ref().map(previous),
        };
        self.keys.insert(key.to_owned(), kept);
        self.log.push((self.now_ns, vec![event]));
        self.keep();
        self.revision
    }

    /// Deletes keys at one revision; none is made when there is nothing to delete. Tells how many there were.
    pub(crate) fn delete(&mut self, keys: &[String]) -> usize {
        let mut events = Vec::new();
        for key in keys {
            if let Some(old) = self.keys.remove(key) {
                events.push(WatchEvent {
                    delete: true,
                    key: key.clone(),
                    value: String::new(),
                    create_revision: 0,
                    mod_revision: self.revision + 1,
                    version: 0,
                    lease: 0,
                    prev: Some(previous(&old)),
                });
            }
        }
        let deleted = events.len();
        if deleted > 0 {
            self.revision += 1;
            self.log.push((self.now_ns, events));
            self.keep();
        }
        deleted
    }

    /// Deletes what hangs on a lease.
    pub(crate) fn end_lease(&mut self, lease: i64) -> usize {
        let keys: Vec<String> = self
            .keys
            .iter()
            .filter(|(_, kept)| kept.lease == lease)
            .map(|(key, _)| key.clone())
            .collect();
        self.delete(&keys)
    }

    fn keep(&mut self) {
        if !self.states.is_empty() {
            self.states.push(self.keys.clone());
        }
    }

    pub(crate) fn kvs(&self) -> Vec<FinalKv> {
        self.keys
            .iter()
            .map(|(key, kept)| FinalKv {
                key: key.clone(),
                value: kept.value.clone(),
                create_revision: kept.create,
                mod_revision: kept.modified,
                version: kept.version,
                lease: kept.lease,
            })
            .collect()
    }
}

fn previous(old: &Kept) -> PrevKv {
    PrevKv {
        value: old.value.clone(),
        create_revision: old.create,
        mod_revision: old.modified,
        version: old.version,
        lease: old.lease,
    }
}
