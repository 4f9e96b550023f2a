//! Leases granted and kept alive.

use crate::answers;
use crate::calls::{Call, Calls};
use crate::load::{Outcome, Plan, Until, run, run_calls};
use crate::requests::{self as ask, Random};
use crate::target::Cluster;
use std::io;

/// Longer than any round, so that none expires.
const SECONDS: i64 = 3600;

/// Grants with ids from `first` on; their number is the outcome's calls.
pub fn grant(
    cluster: &Cluster,
    outstanding: usize,
    connections: usize,
    first: i64,
    until: Until<'_>,
) -> io::Result<Outcome> {
    let plan = Plan {
        addresses: cluster.addresses(),
        path: ask::LEASE_GRANT,
        connections,
        outstanding,
        until,
    };
    run(&plan, |n, out| ask::lease_grant(first + n as i64, SECONDS, out))
}

struct KeepAlives {
    random: Random,
    leases: u64,
}

impl Calls for KeepAlives {
    const STREAMS: bool = true;
    fn next(&mut self, _: u64, out: &mut Vec<u8>) -> Call {
        ask::lease_keep_alive(1 + self.random.below(self.leases) as i64, out);
        Call::default()
    }
    fn answered(&mut self, _: u64, message: &[u8]) -> bool {
        answers::time_to_live(message) > 0
    }
}

/// So many streams, each with one lease asked for at a time, any of those with ids from 1 on.
pub fn keep_alive(
    cluster: &Cluster,
    streams: usize,
    connections: usize,
    leases: u64,
    until: Until<'_>,
) -> io::Result<Outcome> {
    let plan = Plan {
        addresses: cluster.addresses(),
        path: ask::LEASE_KEEP_ALIVE,
        connections,
        outstanding: streams,
        until,
    };
    let mut calls = KeepAlives {
        random: Random::new(11),
        leases,
    };
    run_calls(&plan, &mut calls)
}
