//! Whole lists, and what they take of the members' memory.

use crate::answers;
use crate::caller::Caller;
use crate::load::{Outcome, SILENCE_MAX, Until};
use crate::requests as ask;
use crate::target::Cluster;
use std::io;
use std::time::{Duration, Instant};

const PREFIX: &[u8] = b"/registry/pods/";

/// One list after another, each by pages; a list is one operation.
pub fn paged(cluster: &Cluster, keys: u64, limit: i64, until: Until<'_>) -> io::Result<Outcome> {
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    let mut caller = Caller::open(&address, ask::RANGE, SILENCE_MAX)?;
    let mut outcome = Outcome::default();
    let begin = Instant::now();
    // At least one, however long it takes.
    while outcome.calls == 0 || until.goes_on(begin.elapsed(), outcome.calls) {
        let since = Instant::now();
        if once(&mut caller, limit)? != keys {
            return Err(io::Error::other("a list by pages has another number of keys"));
        }
        outcome.calls += 1;
        outcome.latency.add(since.elapsed());
    }
    outcome.elapsed = begin.elapsed();
    Ok(outcome)
}

fn once(caller: &mut Caller, limit: i64) -> io::Result<u64> {
    let (mut from, mut seen, mut more) = (PREFIX.to_vec(), 0, true);
    let mut message = Vec::new();
    while more {
        message.clear();
        ask::list(&from, limit, false, &mut message);
        let before = seen;
        caller.ask(&message, |answer| {
            let (n, last, left) = answers::page(answer);
            seen += n;
            more = left;
            if let Some(last) = last {
                from = [last, b"\0"].concat();
            }
        })?;
        if more && seen == before {
            return Err(io::Error::other("a page with more to come is empty"));
        }
    }
    Ok(seen)
}

/// The list's count, as the members tell it.
pub fn count(cluster: &Cluster) -> io::Result<u64> {
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    let mut message = Vec::new();
    ask::list(PREFIX, 0, true, &mut message);
    let mut told = 0;
    Caller::open(&address, ask::RANGE, SILENCE_MAX)?.ask(&message, |answer| told = answers::count(answer))?;
    Ok(told)
}

/// Waits until the first key is read: a member that says it is healthy may still be at its start.
pub fn first_read(cluster: &Cluster) -> io::Result<Duration> {
    let since = Instant::now();
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    let (mut message, mut found) = (Vec::new(), 0);
    ask::get(0, false, &mut message);
    Caller::open(&address, ask::RANGE, SILENCE_MAX)?.ask(&message, |answer| found = answers::page(answer).0)?;
    if found == 0 {
        return Err(io::Error::other("a key is gone after a start"));
    }
    Ok(since.elapsed())
}
