//! kube-apiserver's transactions as in real use: the client knows each key's revision, one is in flight for a key, and
//! a few clients know an outdated one.

use crate::answers;
use crate::calls::{Call, Calls};
use crate::fill::Filled;
use crate::requests::{self as ask, Random};
use crate::workload::Figure;

/// How many of a hundred updates come with a revision that is no longer the key's and get the key instead.
const OUTDATED_OF_HUNDRED: u64 = 2;
/// Looks for a key that is not in flight; with more keys than calls the first is one nearly always.
const TRIES_MAX: usize = 64;

/// Updates of random keys.
pub struct Updates<'a> {
    pub filled: &'a mut Filled,
    in_flight: Vec<bool>,
    random: Random,
    value_bytes: usize,
    held: u64,
    all: u64,
}

impl<'a> Updates<'a> {
    pub fn new(filled: &'a mut Filled, random: Random, value_bytes: usize) -> Self {
        Updates {
            in_flight: vec![false; filled.revisions.len()],
            filled,
            random,
            value_bytes,
            held: 0,
            all: 0,
        }
    }

    /// The share of guards that held: what was asked for, less the outdated ones.
    pub fn figure(&self) -> Figure {
        Figure::gain(
            "guards that held",
            "%",
            self.held as f64 * 100.0 / self.all.max(1) as f64,
        )
    }
}

impl Calls for Updates<'_> {
    fn next(&mut self, n: u64, out: &mut Vec<u8>) -> Call {
        let keys = self.in_flight.len() as u64;
        let mut key = self.random.below(keys);
        for _ in 0..TRIES_MAX {
            if !self.in_flight.get(key as usize).copied().unwrap_or(false) {
                break;
            }
            key = self.random.below(keys);
        }
        if let Some(busy) = self.in_flight.get_mut(key as usize) {
            *busy = true;
        }
        let known = self.filled.revisions.get(key as usize).copied().unwrap_or(0);
        let outdated = self.random.below(100) < OUTDATED_OF_HUNDRED;
        let value = ask::value(n, self.value_bytes);
        ask::update(key, value, known - i64::from(outdated), out);
        Call { path: None, tag: key }
    }

    fn answered(&mut self, tag: u64, message: &[u8]) -> bool {
        self.failed(tag);
        self.all += 1;
        if answers::succeeded(message) {
            self.held += 1;
            if let (Some(known), Some(revision)) =
                (self.filled.revisions.get_mut(tag as usize), answers::revision(message))
            {
                *known = revision;
            }
        }
        true
    }

    fn failed(&mut self, tag: u64) {
        if let Some(busy) = self.in_flight.get_mut(tag as usize) {
            *busy = false;
        }
    }
}

/// Creates of keys that are not there.
pub struct Creates<'a> {
    pub filled: &'a mut Filled,
    pub value_bytes: usize,
}

impl Calls for Creates<'_> {
    fn next(&mut self, _: u64, out: &mut Vec<u8>) -> Call {
        let key = self.filled.revisions.len() as u64 + self.filled.created;
        self.filled.created += 1;
        ask::update(key, ask::value(key, self.value_bytes), 0, out);
        Call { path: None, tag: key }
    }
    fn answered(&mut self, _: u64, message: &[u8]) -> bool {
        answers::succeeded(message)
    }
}
