//! What was applied, acknowledged, read and watched, and the judge of all of it.
//!
//! The order of everything is the log's: the first member that applies an entry shows it to the model, whose answer
//! every other member must give as well, now and after each restart. Clients' observations are held against that order.

use crate::executor::current;
use crate::model::{Change, Model};
use bytes::Bytes;
use keelson_mvcc::{Caught, Command, Error, Event, KeyRange, LogEntry, Response, Store};
use keelson_proto::etcdserverpb as pb;
use std::collections::{BTreeMap, BTreeSet};

struct Applied {
    term: u64,
    command: Bytes,
    response: Response,
}

/// What a client knew when it asked: everything acknowledged by then.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    index: u64,
    revision: i64,
}

#[derive(Default)]
pub struct History {
    pub model: Model,
    /// By index, from 1 on.
    applied: Vec<Applied>,
    places: BTreeMap<Bytes, Vec<u64>>,
    acked: BTreeSet<u64>,
    /// Commands that a member said it did not take.
    refused: Vec<Bytes>,
    known_index: u64,
    known_revision: i64,
    pub counts: Counts,
    /// By term.
    leaders: BTreeMap<u64, u64>,
}

/// How much was seen, so that a run that saw nothing cannot pass for a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acked: u64,
    pub unknown: u64,
    pub refused: u64,
    pub reads: u64,
    pub stale_reads: u64,
    pub events: u64,
    pub compacted_watches: u64,
    pub installs: u64,
    pub crashes: u64,
    pub changes: u64,
    /// Members that were replaced because their log was found damaged, and members that were stopped in order.
    pub damaged: u64,
    pub stopped: u64,
}

fn fail(why: String) {
    if let Some(executor) = current() {
        executor.fail(why);
    }
}

fn revision_of(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().map_or(0, |h| h.revision)
}

impl History {
    pub fn known(&self) -> Known {
        Known {
            index: self.known_index,
            revision: self.known_revision,
        }
    }

    pub fn last_index(&self) -> u64 {
        self.applied.len() as u64
    }

    /// A member applied an entry and answered.
    pub fn applied(&mut self, member: u64, entry: &LogEntry, response: &Response) {
        let at = entry.index.saturating_sub(1) as usize;
        if let Some(before) = self.applied.get(at) {
            if before.term != entry.term || before.command != entry.command {
                fail(format!(
                    "member {member} applied another entry at {} than others: term {} where it was {}",
                    entry.index, entry.term, before.term
                ));
            } else if before.response != *response {
                fail(format!(
                    "member {member} answered entry {} with {response:?} where it was {:?}",
                    entry.index, before.response
                ));
            }
            return;
        }
        if at != self.applied.len() {
            fail(format!(
                "member {member} applied {} where {} comes next",
                entry.index,
                self.applied.len() + 1
            ));
            return;
        }
        let expected = if entry.command.is_empty() {
            Ok(Default::default())
        } else {
            match Command::decode(entry.command.clone()) {
                Ok(command) => self.model.apply(&command),
                Err(_) => Err(Error::Malformed),
            }
        };
        if expected != *response {
            fail(format!(
                "member {member} answered entry {} with {response:?}, and the model says {expected:?}",
                entry.index
            ));
        }
        if !entry.command.is_empty() {
            self.places.entry(entry.command.clone()).or_default().push(entry.index);
        }
        self.applied.push(Applied {
            term: entry.term,
            command: entry.command.clone(),
            response: response.clone(),
        });
    }

    /// A member says that it leads.
    pub fn leads(&mut self, member: u64, term: u64) {
        let other = *self.leaders.entry(term).or_insert(member);
        if other != member {
            fail(format!("members {other} and {member} lead term {term}"));
        }
    }

    /// A member took over another's state.
    pub fn installed(&mut self, member: u64, index: u64, term: u64) {
        self.counts.installs += 1;
        let known = self.applied.get(index.saturating_sub(1) as usize).map(|a| a.term);
        if known != Some(term) {
            fail(format!(
                "member {member} installed the state after {index} of term {term}, which is {known:?}"
            ));
        }
    }

    /// A client has its answer.
    pub fn acked(&mut self, command: &Bytes, known: Known, index: u64, response: &Response) {
        self.counts.acked += 1;
        let Some(applied) = self.applied.get(index.saturating_sub(1) as usize) else {
            return fail(format!("entry {index} is acknowledged and nobody has applied it"));
        };
        if applied.command != *command {
            return fail(format!("entry {index} is acknowledged for a command that is not there"));
        }
        if applied.response != *response {
            return fail(format!(
                "entry {index} is acknowledged with {response:?} and was answered with {:?}",
                applied.response
            ));
        }
        if index <= known.index {
            return fail(format!(
                "entry {index} is acknowledged for a command sent when {} was known",
                known.index
            ));
        }
        if !self.acked.insert(index) {
            return fail(format!("entry {index} is acknowledged twice"));
        }
        self.known_index = self.known_index.max(index);
        let revision = match response {
            Ok(keelson_mvcc::Reply::Put(r)) => revision_of(&r.header),
            Ok(keelson_mvcc::Reply::DeleteRange(r)) => revision_of(&r.header),
            Ok(keelson_mvcc::Reply::Txn(r)) => revision_of(&r.header),
            Ok(keelson_mvcc::Reply::LeaseRevoke(r)) => revision_of(&r.header),
            _ => 0,
        };
        self.known_revision = self.known_revision.max(revision);
    }

    /// A member said that nothing was done.
    pub fn refused(&mut self, command: Bytes) {
        self.counts.refused += 1;
        self.refused.push(command);
    }

    /// A client has read. `known`: the read had to see what was known when it began.
    pub fn read(&mut self, r: &pb::RangeRequest, known: Option<Known>, answer: Result<pb::RangeResponse, Error>) {
        match known {
            Some(_) => self.counts.reads += 1,
            None => self.counts.stale_reads += 1,
        }
        let floor = known.map_or(0, |k| k.revision);
        let answer = match answer {
            Ok(answer) => answer,
            Err(Error::Compacted) if r.revision > 0 && r.revision < self.model.compacted => return,
            Err(Error::FutureRevision) if r.revision > floor => return,
            Err(error) => return fail(format!("a read at {} was refused: {error}", r.revision)),
        };
        let current = revision_of(&answer.header);
        if current < floor {
            return fail(format!("a read saw revision {current} when {floor} was known"));
        }
        match self.model.range(r, current) {
            Ok(expected) if expected == answer => {}
            expected => {
                return fail(format!(
                    "a read at {current} gave {answer:?}, and the model says {expected:?}"
                ));
            }
        }
        if known.is_some() {
            self.known_revision = self.known_revision.max(current);
        }
    }

    /// A watcher has events from `from` on.
    pub fn watched(&mut self, store: &Store, range: &KeyRange, from: i64, caught: &Caught) {
        if caught.next < from || caught.current > self.model.revision() {
            return fail(format!(
                "a watch from {from} is at {} of {}",
                caught.next, caught.current
            ));
        }
        let expected: Vec<&Change> = self
            .model
            .changes(from, caught.next)
            .filter(|c| range.contains(&c.key))
            .collect();
        let seen: Vec<&Event> = caught
            .revisions
            .iter()
            .flat_map(|r| &r.events)
            .filter(|e| range.contains(&e.kv.key))
            .collect();
        if seen.len() != expected.len() {
            return fail(format!(
                "a watch from {from} to {} has {} events where {} happened",
                caught.next,
                seen.len(),
                expected.len()
            ));
        }
        for (event, change) in seen.iter().zip(&expected) {
            let kv = (!event.delete).then(|| event.kv.clone());
            if event.kv.mod_revision != change.revision || event.kv.key != change.key || kv != change.kv {
                return fail(format!("a watch from {from} has {event:?} where {change:?} happened"));
            }
            let previous = match event.previous_kv(store) {
                Ok(previous) => previous,
                Err(e) => return fail(format!("a watch cannot read a previous value: {e}")),
            };
            let hidden = change.revision <= store.compacted();
            if previous != change.previous && !(hidden && previous.is_none()) {
                return fail(format!("a watch has {previous:?} before {change:?}"));
            }
        }
        self.counts.events += seen.len() as u64;
    }

    /// What can be said only when everything has come to its end.
    pub fn check_end(&self) {
        if let Some((_, indexes)) = self.places.iter().find(|(_, indexes)| indexes.len() > 1) {
            fail(format!("one command was applied at {indexes:?}"));
        }
        if let Some(command) = self.refused.iter().find(|command| self.places.contains_key(*command)) {
            fail(format!(
                "a command that was refused was applied at {:?}",
                self.places.get(command)
            ));
        }
    }

    /// A member that has applied everything holds what the model holds.
    pub fn check_store(&self, member: u64, store: &std::sync::Arc<Store>) {
        let all = pb::RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            ..Default::default()
        };
        let current = self.model.revision();
        match store.range(&all) {
            Ok(answer) if self.model.range(&all, current).as_ref() == Ok(&answer) => {}
            other => fail(format!("member {member} holds {other:?} in the end")),
        }
        let leases: Vec<_> = self
            .model
            .leases
            .iter()
            .map(|(id, (ttl, left))| (*id, *ttl, *left))
            .collect();
        if store.leases() != leases {
            fail(format!(
                "member {member} has the leases {:?} and not {leases:?}",
                store.leases()
            ));
        }
        for (id, ..) in leases {
            if store.lease_keys(id) != self.model.lease_keys(id) {
                fail(format!("member {member} has other keys on lease {id}"));
            }
        }
        if store.compacted() != self.model.compacted {
            fail(format!("member {member} is compacted at {}", store.compacted()));
        }
    }
}
