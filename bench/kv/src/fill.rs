//! What a cluster holds before a workload begins, and what the client that wrote it knows of it.

use crate::answers;
use crate::calls::{Call, Calls, Simple};
use crate::load::{Outcome, Plan, Until, run_calls};
use crate::requests as ask;
use crate::target::{Cluster, Usage};
use crate::workload::Data;
use std::io;

const CONNECTIONS: usize = 16;
const OUTSTANDING: usize = 512;
/// Prime, and no divisor of a number of keys here: steps of it touch each key once.
const STRIDE: u64 = 7_368_787;

/// Keys that were written, as their client remembers them.
#[derive(Default)]
pub struct Filled {
    /// The revision at which each key was written last.
    pub revisions: Vec<i64>,
    /// Keys created after those, with the numbers that follow.
    pub created: u64,
    /// How the filling went.
    pub outcome: Outcome,
    pub used: Usage,
    /// What the data took on disk afterwards; 0 where it was not looked at.
    pub disk_bytes: u64,
}

struct Filling<'a> {
    value_bytes: usize,
    keys: u64,
    stride: u64,
    revisions: &'a mut [i64],
}

impl Calls for Filling<'_> {
    fn next(&mut self, n: u64, out: &mut Vec<u8>) -> Call {
        let tag = n * self.stride % self.keys;
        ask::put(tag, ask::value(tag, self.value_bytes), out);
        Call { path: None, tag }
    }
    fn answered(&mut self, tag: u64, message: &[u8]) -> bool {
        let revision = answers::revision(message);
        if let (Some(known), Some(revision)) = (self.revisions.get_mut(tag as usize), revision) {
            *known = revision;
        }
        revision.is_some()
    }
}

/// Makes so many puts as fast as may be; that all succeed is what makes it a filling.
fn put_all<C: Calls>(cluster: &Cluster, puts: u64, calls: &mut C) -> io::Result<Outcome> {
    let plan = Plan {
        addresses: cluster.addresses(),
        path: ask::PUT,
        connections: CONNECTIONS,
        outstanding: OUTSTANDING,
        until: Until::Calls(puts),
    };
    let outcome = run_calls(&plan, calls)?;
    if outcome.failures > 0 {
        let failures = outcome.failures;
        return Err(io::Error::other(format!("{failures} puts failed while filling")));
    }
    Ok(outcome)
}

/// Makes so many puts, of which `next` writes the n-th.
pub fn puts(cluster: &Cluster, puts: u64, next: impl FnMut(u64, &mut Vec<u8>)) -> io::Result<Outcome> {
    put_all(cluster, puts, &mut Simple(next))
}

/// Writes the keys, each by a put of its own.
pub fn fill(cluster: &Cluster, data: &Data) -> io::Result<Filled> {
    let mut revisions = vec![0; usize::try_from(data.keys).map_err(io::Error::other)?];
    let mut calls = Filling {
        value_bytes: data.value,
        keys: data.keys.max(1),
        stride: if data.scattered { STRIDE } else { 1 },
        revisions: &mut revisions,
    };
    let before = cluster.usage()?;
    let outcome = put_all(cluster, data.keys, &mut calls)?;
    Ok(Filled {
        revisions,
        created: 0,
        outcome,
        used: cluster.usage()?.since(before),
        disk_bytes: 0,
    })
}
