//! Every answer against the states that the revisions order, O(n log n).
//!
//! The writes of a key are laid out by revision: those acknowledged say theirs; those that ended indefinitely get
//! theirs from reads that saw their value (`mod_revision`) and from spectators. What remains unplaced may have
//! happened anywhere, and excuses only what it could explain.

use super::decode::{self, Answer, Call, Request};
use super::order;
use crate::checker::{Checker, Evidence, Judgement};
use crate::history::WatchKind;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Judges by revisions.
pub struct Replay;

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "register-replay"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let keys = decode::by_key(evidence, &mut judgement);
        let watched = watched(evidence, &keys);
        for (key, calls) in &keys {
            judgement.count("keys", 1);
            let events = watched.get(key).map_or(&[][..], Vec::as_slice);
            Key::new(key, calls, events, &mut judgement).check(&mut judgement);
        }
        let all: Vec<Call<'_>> = keys.into_values().flatten().collect();
        order::check_unique(&all, &mut judgement);
        order::check_real_time(&all, &mut judgement);
        order::check_serializable(&all, &evidence.faults, &mut judgement);
        let ok = all.iter().filter(|call| call.op.is_ok()).count();
        super::note_emptiness(evidence, &mut judgement, ok);
        judgement
    }
}

/// What spectators saw of a key: revision and value, `None` for a deletion.
type Seen<'a> = (i64, Option<&'a str>);

/// What the spectators saw of these keys.
fn watched<'a>(evidence: &'a Evidence, keys: &BTreeMap<&'a str, Vec<Call<'a>>>) -> HashMap<&'a str, Vec<Seen<'a>>> {
    let mut seen: HashMap<&str, Vec<Seen<'_>>> = HashMap::new();
    for records in evidence
        .watches
        .iter()
        .filter(|(client, _)| client.starts_with("spectator"))
        .map(|(_, records)| records)
    {
        for record in records {
            let WatchKind::Events { events, .. } = &record.what else {
                continue;
            };
            for event in events {
                let short = event.key.strip_prefix("register/").unwrap_or(&event.key);
                let key = [event.key.as_str(), short]
                    .into_iter()
                    .find(|key| keys.contains_key(key));
                if let Some(key) = key {
                    let value = (!event.delete).then_some(event.value.as_str());
                    seen.entry(key).or_default().push((event.mod_revision, value));
                }
            }
        }
    }
    seen
}

/// A write with its place.
struct Write<'a> {
    /// What stands there after it; `None` is absent.
    value: Option<&'a str>,
    call: Option<Call<'a>>,
}

/// A key with its writes by revision.
struct Key<'a> {
    name: &'a str,
    calls: &'a [Call<'a>],
    writes: BTreeMap<i64, Write<'a>>,
    /// Who writes a value.
    writers: HashMap<&'a str, Call<'a>>,
    /// Revision of a value, where it is known.
    revisions: HashMap<&'a str, i64>,
    /// Indefinite ones without a place.
    unplaced: Vec<Call<'a>>,
    /// Version after each write, if nothing unplaced is between.
    versions: HashMap<i64, i64>,
}

impl<'a> Key<'a> {
    fn new(name: &'a str, calls: &'a [Call<'a>], seen: &[Seen<'a>], judgement: &mut Judgement) -> Key<'a> {
        let mut key = Key {
            name,
            calls,
            writes: BTreeMap::new(),
            writers: HashMap::new(),
            revisions: HashMap::new(),
            unplaced: Vec::new(),
            versions: HashMap::new(),
        };
        for &call in calls {
            if let Some(value) = call.request.writes()
                && key.writers.insert(value, call).is_some()
            {
                judgement.unknown(format!(
                    "key {name}: {value} is written twice, so that reads do not tell which they saw"
                ));
            }
        }
        key.place_acknowledged();
        key.place_seen(seen);
        key.note_versions();
        key
    }

    fn place_acknowledged(&mut self) {
        for &call in self.calls.iter().filter(|call| call.wrote()) {
            if let Some(revision) = call.op.revision() {
                let value = call.request.writes();
                self.writes.entry(revision).or_insert(Write {
                    value,
                    call: Some(call),
                });
                if let Some(value) = value {
                    self.revisions.entry(value).or_insert(revision);
                }
            }
        }
    }

    /// Gives those without an end a place by what reads and spectators saw.
    fn place_seen(&mut self, seen: &[Seen<'a>]) {
        let reads = self.calls.iter().filter_map(|call| match call.answer {
            Some(Answer::Read {
                value: Some(value),
                modified,
                ..
            }) => Some((modified, Some(value))),
            _ => None,
        });
        let all: Vec<Seen<'a>> = reads.chain(seen.iter().copied()).collect();
        let mut deletes: Vec<Call<'a>> = self
            .calls
            .iter()
            .filter(|c| c.op.is_info() && c.request == Request::Delete)
            .copied()
            .collect();
        for (revision, value) in all {
            match value {
                Some(value) => {
                    let Some(&call) = self.writers.get(value).filter(|call| call.op.is_info()) else {
                        continue;
                    };
                    if !self.revisions.contains_key(value) && !self.writes.contains_key(&revision) {
                        self.revisions.insert(value, revision);
                        self.writes.insert(
                            revision,
                            Write {
                                value: Some(value),
                                call: Some(call),
                            },
                        );
                    }
                }
                None if !self.writes.contains_key(&revision) => {
                    // Which of several it was does not matter: a place takes one of them.
                    if let Some(call) = deletes.pop() {
                        self.writes.insert(
                            revision,
                            Write {
                                value: None,
                                call: Some(call),
                            },
                        );
                    }
                }
                None => {}
            }
        }
        let placed: HashSet<u64> = self
            .writes
            .values()
            .filter_map(|write| write.call)
            .map(|call| call.op.index)
            .collect();
        self.unplaced = self
            .calls
            .iter()
            .filter(|c| c.op.is_info() && !c.request.is_read() && !placed.contains(&c.op.index))
            .copied()
            .collect();
    }

    fn note_versions(&mut self) {
        let mut version = 0;
        for (&revision, write) in &self.writes {
            version = if write.value.is_some() { version + 1 } else { 0 };
            self.versions.insert(revision, version);
        }
    }

    fn check(&self, judgement: &mut Judgement) {
        for call in self.calls {
            if let Some(value) = call.saw() {
                self.check_writer(call, value, judgement);
            }
            let Some(revision) = call.op.revision() else { continue };
            match (call.request, call.answer) {
                (
                    _,
                    Some(Answer::Read {
                        value: Some(value),
                        modified,
                        version,
                    }),
                ) => {
                    self.check_value(call, revision, (value, modified, version), judgement);
                }
                (_, Some(Answer::Read { value: None, .. })) => self.check_absent(call, revision, judgement),
                (Request::Cas { from, .. }, Some(Answer::Swapped(done))) => {
                    self.check_cas(call, revision, from, done, judgement);
                }
                (Request::CasMod { modified, .. }, Some(Answer::Swapped(done))) => {
                    self.check_cas_mod(call, revision, modified, done, judgement);
                }
                (_, Some(Answer::Deleted { any, previous })) => {
                    self.check_delete(call, revision, any, previous, judgement)
                }
                _ => {}
            }
        }
    }

    /// The last write up to a revision, inclusive.
    fn at(&self, revision: i64) -> Option<(i64, &Write<'a>)> {
        self.writes
            .range(..=revision)
            .next_back()
            .map(|(&revision, write)| (revision, write))
    }

    /// Whether something unplaced could have happened before an answer.
    fn may_be(&self, call: &Call<'_>, what: impl Fn(&Request<'a>) -> bool) -> bool {
        let end_ns = call.op.return_ns.unwrap_or(u64::MAX);
        self.unplaced
            .iter()
            .any(|open| open.op.call_ns <= end_ns && what(&open.request))
    }

    /// Values come from writes that may have happened, and had been called.
    fn check_writer(&self, call: &Call<'_>, value: &str, judgement: &mut Judgement) {
        let name = self.name;
        let Some(writer) = self.writers.get(value) else {
            let message = format!("key {name}: {} tells {value}, which nobody wrote", call.text());
            return judgement.fail("phantom-value", message, vec![call.op.index], Value::Null);
        };
        let ops = vec![writer.op.index, call.op.index];
        if writer.op.is_fail() || writer.answer == Some(Answer::Swapped(false)) {
            let message = format!(
                "key {name}: {} tells {value}, whose write ({}) did not take effect",
                call.text(),
                writer.text()
            );
            judgement.fail("aborted-read", message, ops, Value::Null);
        } else if call.op.return_ns.is_some_and(|end_ns| end_ns < writer.op.call_ns) {
            let message = format!("key {name}: {} tells {value} before its write was called", call.text());
            judgement.fail("future-read", message, ops, Value::Null);
        }
    }

    fn check_value(
        &self,
        call: &Call<'a>,
        revision: i64,
        (value, modified, version): (&str, i64, i64),
        judgement: &mut Judgement,
    ) {
        let name = self.name;
        let writer = self.writers.get(value);
        let mut ops = vec![call.op.index];
        ops.extend(writer.map(|writer| writer.op.index));
        let Some(&written) = self.revisions.get(value) else {
            if writer.is_some_and(|writer| writer.op.is_info()) {
                let message = format!(
                    "key {name}: {} tells a mod_revision that another write has",
                    call.text()
                );
                judgement.fail("wrong-mod-revision", message, ops, Value::Null);
            }
            return;
        };
        if modified != written || modified > revision {
            let message = format!(
                "key {name}: {} tells mod_revision {modified}, and {value} was written at {written}",
                call.text()
            );
            judgement.fail("wrong-mod-revision", message, ops.clone(), Value::Null);
        }
        if written > revision {
            let message = format!(
                "key {name}: {} at revision {revision} sees {value} of revision {written}",
                call.text()
            );
            return judgement.fail("future-read", message, ops, Value::Null);
        }
        if let Some((later, write)) = self.at(revision).filter(|&(at, _)| at > written) {
            ops.extend(write.call.map(|call| call.op.index));
            let message = format!(
                "key {name}: {} at revision {revision} sees {value} of revision {written}, and {} stood there since {later}",
                call.text(),
                write.value.unwrap_or("nothing")
            );
            return judgement.fail("stale-read", message, ops, Value::Null);
        }
        self.check_version(call, written, version, ops, judgement);
    }

    fn check_version(&self, call: &Call<'a>, written: i64, version: i64, ops: Vec<u64>, judgement: &mut Judgement) {
        let Some(&least) = self.versions.get(&written) else {
            return;
        };
        let end_ns = call.op.return_ns.unwrap_or(u64::MAX);
        let open = self.unplaced.iter().filter(|open| open.op.call_ns <= end_ns);
        let (mut most, mut deleted) = (least, false);
        for open in open {
            match open.request {
                Request::Delete => deleted = true,
                _ => most += 1,
            }
        }
        let least = if deleted { 1 } else { least };
        if !(least..=most).contains(&version) {
            let message = format!(
                "key {}: {} tells version {version}, and the write at {written} made it {least}{}",
                self.name,
                call.text(),
                if most > least {
                    format!(" to {most}")
                } else {
                    String::new()
                }
            );
            judgement.fail("wrong-version", message, ops, Value::Null);
        }
    }

    fn check_absent(&self, call: &Call<'a>, revision: i64, judgement: &mut Judgement) {
        let Some((written, write)) = self.at(revision) else {
            return;
        };
        let Some(value) = write.value else { return };
        if self.may_be(call, |open| *open == Request::Delete) {
            return;
        }
        let mut ops = vec![call.op.index];
        ops.extend(write.call.map(|call| call.op.index));
        let message = format!(
            "key {}: {} at revision {revision} misses {value}, which was written at {written}",
            self.name,
            call.text()
        );
        judgement.fail("lost-write", message, ops, Value::Null);
    }

    /// Whether the value could have been `value` at a revision, and the one that it surely was not to be otherwise.
    fn could_be(&self, call: &Call<'a>, revision: i64, value: Option<&str>) -> bool {
        let now = self.at(revision);
        if now.and_then(|(_, write)| write.value) == value {
            return true;
        }
        match value {
            None => self.may_be(call, |open| *open == Request::Delete),
            Some(value) => self.may_be(call, |open| open.writes() == Some(value)),
        }
    }

    fn check_cas(&self, call: &Call<'a>, revision: i64, from: Option<&'a str>, done: bool, judgement: &mut Judgement) {
        let before = if done { revision - 1 } else { revision };
        let (now, ops) = self.now(call, before);
        let name = self.name;
        if done && !self.could_be(call, before, from) {
            let message = format!(
                "key {name}: {} succeeded where {} stood",
                call.text(),
                now.unwrap_or("nothing")
            );
            judgement.fail("lost-update", message, ops, Value::Null);
        } else if !done && now == from && !self.may_be(call, |_| true) {
            let message = format!(
                "key {name}: {} was refused where {} stood",
                call.text(),
                now.unwrap_or("nothing")
            );
            judgement.fail("refused-update", message, ops, Value::Null);
        }
    }

    fn check_cas_mod(&self, call: &Call<'a>, revision: i64, modified: i64, done: bool, judgement: &mut Judgement) {
        let before = if done { revision - 1 } else { revision };
        let (_, ops) = self.now(call, before);
        let now = self
            .at(before)
            .filter(|(_, write)| write.value.is_some())
            .map_or(0, |(at, _)| at);
        let name = self.name;
        let excused = if modified < now {
            modified == 0 && self.may_be(call, |open| *open == Request::Delete)
        } else {
            self.may_be(call, |_| true)
        };
        if done && now != modified && !excused {
            let message = format!("key {name}: {} succeeded where mod_revision was {now}", call.text());
            judgement.fail("lost-update", message, ops, Value::Null);
        } else if !done && now == modified && !self.may_be(call, |_| true) {
            let message = format!("key {name}: {} was refused where mod_revision was {now}", call.text());
            judgement.fail("refused-update", message, ops, Value::Null);
        }
    }

    fn check_delete(
        &self,
        call: &Call<'a>,
        revision: i64,
        any: bool,
        previous: Option<&'a str>,
        judgement: &mut Judgement,
    ) {
        let before = if any { revision - 1 } else { revision };
        let (now, ops) = self.now(call, before);
        let name = self.name;
        if any && previous.is_some() && !self.could_be(call, before, previous) {
            let message = format!(
                "key {name}: {} took {} where {} stood",
                call.text(),
                previous.unwrap_or("?"),
                now.unwrap_or("nothing")
            );
            judgement.fail("wrong-prev-value", message, ops, Value::Null);
        } else if any != now.is_some() && !self.may_be(call, |_| true) {
            let message = format!("key {name}: {} where {} stood", call.text(), now.unwrap_or("nothing"));
            judgement.fail("wrong-delete-count", message, ops, Value::Null);
        }
    }

    /// The value at a revision, as far as is known, and the operations that a finding about it names.
    fn now(&self, call: &Call<'a>, revision: i64) -> (Option<&'a str>, Vec<u64>) {
        let now = self.at(revision);
        let mut ops = vec![call.op.index];
        ops.extend(now.and_then(|(_, write)| write.call).map(|call| call.op.index));
        (now.and_then(|(_, write)| write.value), ops)
    }
}
