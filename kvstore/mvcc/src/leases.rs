//! The leases as the log knows them: their TTL, and which keys hang on each. Time is not here but with the leader.

use ahash::AHashMap;
use bytes::{Buf, BufMut, Bytes};
use std::collections::BTreeSet;

/// Shortest TTL that the log carries, seconds. What a server grants follows its election timeout and is no shorter.
pub const TTL_MIN_SECONDS: i64 = 1;
/// Longest TTL granted, seconds.
pub const TTL_MAX_SECONDS: i64 = 9_000_000_000;

const META_PREFIX: &[u8] = b"lease/";

/// Told to whoever keeps the leases' time, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    Granted { id: i64, ttl_seconds: i64 },
    Revoked { id: i64 },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// As granted, seconds.
    pub ttl: i64,
    /// As checkpointed, seconds; 0 when never.
    pub remaining_ttl: i64,
    pub keys: BTreeSet<Bytes>,
}

impl Lease {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.put_i64_le(self.ttl);
        out.put_i64_le(self.remaining_ttl);
        out
    }

    fn decode(mut value: &[u8]) -> Option<Lease> {
        (value.len() == 16).then(|| Lease {
            ttl: value.get_i64_le(),
            remaining_ttl: value.get_i64_le(),
            keys: BTreeSet::new(),
        })
    }
}

#[derive(Default)]
pub struct Leases {
    by_id: AHashMap<i64, Lease>,
    /// Only keys that hang on a lease.
    of_key: AHashMap<Bytes, i64>,
}

pub fn meta_key(id: i64) -> Vec<u8> {
    [META_PREFIX, &id.to_be_bytes()].concat()
}

impl Leases {
    /// Takes a row of `meta` if it is a lease; false: it is something else.
    pub fn load(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(id) = key.strip_prefix(META_PREFIX).and_then(|id| id.try_into().ok()) else {
            return false;
        };
        let Some(lease) = Lease::decode(value) else {
            return false;
        };
        self.by_id.insert(i64::from_be_bytes(id), lease);
        true
    }

    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, id: i64) -> Option<&mut Lease> {
        self.by_id.get_mut(&id)
    }

    pub fn insert(&mut self, id: i64, ttl: i64) -> &Lease {
        self.by_id.entry(id).or_insert(Lease {
            ttl,
            ..Lease::default()
        })
    }

    /// The keys must have been detached before.
    pub fn remove(&mut self, id: i64) {
        self.by_id.remove(&id);
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    /// Hangs the key on a lease, or on none (0), and takes it off the one it was on.
    pub fn attach(&mut self, key: &Bytes, id: i64) {
        if id == 0 && self.of_key.is_empty() {
            return;
        }
        let before = if id == 0 {
            self.of_key.remove(key)
        } else {
            self.of_key.insert(key.clone(), id)
        };
        if let Some(before) = before
            && before != id
            && let Some(lease) = self.by_id.get_mut(&before)
        {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key.clone());
        }
    }

    pub fn detach(&mut self, key: &Bytes) {
        self.attach(key, 0);
    }
}
