//! What the datastore should be: every revision kept whole, one command at a time, nothing clever.
//!
//! It is written from etcd's contract, not from the store's code, and it answers every command and every read, so that
//! the store's answers can be compared word by word.

mod read;
mod txn;

use bytes::Bytes;
use keelson_mvcc::{Command, Error, Reply, Response};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The keys at one revision.
pub type Keys = BTreeMap<Bytes, KeyValue>;

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub revision: i64,
    pub key: Bytes,
    /// None: it was deleted.
    pub kv: Option<KeyValue>,
    pub previous: Option<KeyValue>,
}

pub struct Model {
    /// By revision; the first two are empty.
    states: Vec<Arc<Keys>>,
    /// By revision.
    changes: BTreeMap<i64, Vec<Change>>,
    pub compacted: i64,
    /// TTL and checkpointed remainder.
    pub leases: BTreeMap<i64, (i64, i64)>,
}

/// What a command does before it is known whether it may.
struct Edit {
    keys: Keys,
    changes: Vec<Change>,
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}

fn in_range(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    match end.as_ref() {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < end,
    }
}

impl Default for Model {
    fn default() -> Self {
        Model {
            states: vec![Arc::default(), Arc::default()],
            changes: BTreeMap::new(),
            compacted: -1,
            leases: BTreeMap::new(),
        }
    }
}

impl Model {
    pub fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    pub fn now(&self) -> Arc<Keys> {
        self.states.last().cloned().unwrap_or_default()
    }

    /// The keys at a revision that was.
    pub fn at(&self, revision: i64) -> Option<Arc<Keys>> {
        self.states.get(usize::try_from(revision).ok()?).cloned()
    }

    /// The changes of revisions `from..until`, in order.
    pub fn changes(&self, from: i64, until: i64) -> impl Iterator<Item = &Change> {
        self.changes
            .range(from..until.max(from))
            .flat_map(|(_, changes)| changes)
    }

    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        let now = self.now();
        now.values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect()
    }

    /// One committed command, and the answer to it.
    pub fn apply(&mut self, command: &Command) -> Response {
        let mut edit = Edit {
            keys: (*self.now()).clone(),
            changes: Vec::new(),
        };
        let reply = match command {
            Command::Put(r) => {
                self.check_put(&edit, r)?;
                Reply::Put(self.put(&mut edit, r))
            }
            Command::DeleteRange(r) => Reply::DeleteRange(self.delete(&mut edit, r)),
            Command::Txn(r) => Reply::Txn(self.txn(&mut edit, r)?),
            Command::Compact(r) => {
                if r.revision <= self.compacted {
                    return Err(Error::Compacted);
                }
                if r.revision > self.revision() {
                    return Err(Error::FutureRevision);
                }
                self.compacted = r.revision;
                Reply::Compact(pb::CompactionResponse {
                    header: header(self.revision()),
                })
            }
            Command::LeaseGrant(r) => Reply::LeaseGrant(self.grant(r)?),
            Command::LeaseRevoke(r) => Reply::LeaseRevoke(self.revoke(&mut edit, r)?),
            Command::LeaseCheckpoint(r) => {
                for c in &r.checkpoints {
                    if let Some(lease) = self.leases.get_mut(&c.id) {
                        lease.1 = c.remaining_ttl;
                    }
                }
                Reply::LeaseCheckpoint(pb::LeaseCheckpointResponse {
                    header: header(self.revision()),
                })
            }
            // The clients of the simulation send nothing else.
            _ => return Err(Error::Malformed),
        };
        if !edit.changes.is_empty() {
            self.states.push(Arc::new(edit.keys));
            self.changes.insert(self.revision(), edit.changes);
        }
        Ok(reply)
    }

    fn seen_revision(&self, edit: &Edit) -> i64 {
        self.revision() + i64::from(!edit.changes.is_empty())
    }

    fn change(&self, edit: &mut Edit, key: &Bytes, kv: Option<KeyValue>) {
        edit.changes.push(Change {
            revision: self.revision() + 1,
            key: key.clone(),
            kv,
            previous: self.now().get(key).cloned(),
        });
    }

    fn check_put(&self, edit: &Edit, r: &pb::PutRequest) -> Result<(), Error> {
        if r.lease != 0 && !self.leases.contains_key(&r.lease) {
            return Err(Error::LeaseNotFound);
        }
        if (r.ignore_value || r.ignore_lease) && !edit.keys.contains_key(&r.key) {
            return Err(Error::KeyNotFound);
        }
        Ok(())
    }

    fn put(&self, edit: &mut Edit, r: &pb::PutRequest) -> pb::PutResponse {
        let old = edit.keys.get(&r.key).cloned();
        let mut kv = KeyValue {
            key: r.key.clone(),
            value: r.value.clone(),
            lease: r.lease,
            create_revision: self.revision() + 1,
            mod_revision: self.revision() + 1,
            version: 1,
        };
        if let Some(old) = &old {
            kv.create_revision = old.create_revision;
            kv.version = old.version + 1;
            if r.ignore_value {
                kv.value = old.value.clone();
            }
            if r.ignore_lease {
                kv.lease = old.lease;
            }
        }
        edit.keys.insert(r.key.clone(), kv.clone());
        self.change(edit, &r.key, Some(kv));
        pb::PutResponse {
            header: header(self.seen_revision(edit)),
            prev_kv: old.filter(|_| r.prev_kv),
        }
    }

    fn delete(&self, edit: &mut Edit, r: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let gone: Vec<KeyValue> = edit
            .keys
            .values()
            .filter(|kv| in_range(&kv.key, &r.key, &r.range_end))
            .cloned()
            .collect();
        for kv in &gone {
            edit.keys.remove(&kv.key);
            self.change(edit, &kv.key, None);
        }
        pb::DeleteRangeResponse {
            header: header(self.seen_revision(edit)),
            deleted: gone.len() as i64,
            prev_kvs: if r.prev_kv { gone } else { Vec::new() },
        }
    }

    fn grant(&mut self, r: &pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Error> {
        if self.leases.contains_key(&r.id) {
            return Err(Error::LeaseExists);
        }
        let ttl = r.ttl;
        self.leases.insert(r.id, (ttl, 0));
        Ok(pb::LeaseGrantResponse {
            header: header(self.revision()),
            id: r.id,
            ttl,
            error: String::new(),
        })
    }

    fn revoke(&mut self, edit: &mut Edit, r: &pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Error> {
        self.leases.remove(&r.id).ok_or(Error::LeaseNotFound)?;
        let keys: BTreeSet<Bytes> = edit
            .keys
            .values()
            .filter(|kv| kv.lease == r.id)
            .map(|kv| kv.key.clone())
            .collect();
        for key in keys {
            edit.keys.remove(&key);
            self.change(edit, &key, None);
        }
        Ok(pb::LeaseRevokeResponse {
            header: header(self.seen_revision(edit)),
        })
    }
}
