//! Registers: a read tells which write it saw, and not what stood there before. The order of a key's values is put
//! together from what must be: nothing stands before the first write; a transaction that reads one value and writes
//! another puts it after; and a value that was written, or seen, before the write of another was called comes before it.

use super::append::Told;
use super::graph::{Edge, Graph, Kind};
use super::intern::Names;
use super::txn::{Status, Step, Txn};
use super::versions::{Order, Version};
use crate::checker::Judgement;
use crate::checker::replay::Replay;
use serde_json::json;
use std::collections::{HashMap, HashSet};

type Register = Option<i64>;

/// What is known of all keys.
pub(super) struct Registers {
    writers: HashMap<(u32, i64), usize>,
    /// Written twice: their reads tell nothing.
    ambiguous: HashSet<(u32, i64)>,
    /// Who read a value, by key and value.
    readers: HashMap<(u32, Register), Vec<usize>>,
}

impl Registers {
    /// Finds what is wrong by itself.
    pub(super) fn read(txns: &[Txn<Register>], names: &Names, judgement: &mut Judgement) -> Registers {
        let mut registers = Registers {
            writers: HashMap::new(),
            ambiguous: HashSet::new(),
            readers: HashMap::new(),
        };
        for (at, txn) in txns.iter().enumerate() {
            for write in txn.writes() {
                if registers.writers.insert(write, at).is_some() && registers.ambiguous.insert(write) {
                    let name = names.get(write.0).unwrap_or_default();
                    judgement.unknown(format!(
                        "{} is written to {name:?} twice: reads do not tell by whom",
                        write.1
                    ));
                }
            }
            for (key, seen) in txn.external_reads() {
                registers.readers.entry((key, *seen)).or_default().push(at);
            }
        }
        let mut told = Told::default();
        for (at, txn) in txns.iter().enumerate().filter(|(_, t)| t.is_committed()) {
            internal(txn, names, &mut told, judgement);
            for (key, seen) in txn.external_reads() {
                if let Some(value) = seen {
                    registers.one_read(txns, (at, key), *value, names, &mut told, judgement);
                }
            }
        }
        registers.lost_updates(txns, names, &mut told, judgement);
        registers
    }

    /// `garbage-read`, `G1a`, `G1b`.
    fn one_read(
        &self,
        txns: &[Txn<Register>],
        (at, key): (usize, u32),
        value: i64,
        names: &Names,
        told: &mut Told,
        judgement: &mut Judgement,
    ) {
        let (op, name) = (txns[at].op, names.get(key).unwrap_or_default());
        let detail = json!({"key": name});
        let Some(&writer) = self.writers.get(&(key, value)) else {
            if told.once("garbage-read", (key, value)) {
                judgement.fail(
                    "garbage-read",
                    format!("{op} read {value} of {name:?}, which nobody wrote"),
                    vec![op],
                    detail,
                );
            }
            return;
        };
        let write = &txns[writer];
        if write.status == Status::Failed && told.once("G1a", (key, value)) {
            let message = format!("{op} read {value} of {name:?}, which {} was refused to write", write.op);
            judgement.fail("G1a", message, vec![write.op, op], detail);
        } else if writer != at && write.last_write(key) != Some(value) && told.once("G1b", (key, value)) {
            let message = format!(
                "{op} read {value} of {name:?}, which is not the last that {} wrote",
                write.op
            );
            judgement.fail("G1b", message, vec![write.op, op], detail);
        }
    }

    /// Two transactions that both read a value and overwrote it.
    fn lost_updates(&self, txns: &[Txn<Register>], names: &Names, told: &mut Told, judgement: &mut Judgement) {
        let mut keys: Vec<_> = self.readers.keys().collect();
        keys.sort_unstable();
        for (key, seen) in keys {
            let readers = &self.readers[&(*key, *seen)];
            let updates: Vec<u64> = readers
                .iter()
                .filter(|&&r| txns[r].last_write(*key).is_some())
                .map(|&r| txns[r].op)
                .collect();
            if updates.len() > 1 && told.may("lost-update") {
                let name = names.get(*key).unwrap_or_default();
                let value = seen.map_or_else(|| "nothing".to_owned(), |v| v.to_string());
                let message = format!("{updates:?} all read {value} of {name:?} and overwrote that");
                judgement.fail("lost-update", message, updates, json!({"key": name}));
            }
        }
    }

    /// Dependencies from what can be inferred without the store's revisions.
    pub(super) fn infer(&self, txns: &[Txn<Register>], names: &Names, graph: &mut Graph, judgement: &mut Judgement) {
        let mut told = Told::default();
        for (key, versions) in self.versions(txns, names) {
            let mut order = Order::by_time(&versions);
            let by_value: HashMap<Register, usize> = versions.iter().enumerate().map(|(at, v)| (v.value, at)).collect();
            for (at, version) in versions.iter().enumerate().skip(1) {
                let Some(writer) = version.writer else { continue };
                let before = txns[writer]
                    .external_reads()
                    .find(|(k, _)| *k == key)
                    .map(|(_, seen)| *seen);
                let before = before.and_then(|seen| by_value.get(&seen).copied());
                if let Some(before) = before.filter(|b| *b != at) {
                    order.add(before, at);
                }
            }
            if let Some(circle) = order.circle() {
                if told.may("cyclic-versions") {
                    let name = names.get(key).unwrap_or_default();
                    let values: Vec<_> = circle.iter().map(|&v| versions[v].value).collect();
                    let ops = circle
                        .iter()
                        .filter_map(|&v| versions[v].writer)
                        .map(|w| txns[w].op)
                        .collect();
                    let message = format!("values of {name:?} come before each other in a circle: {values:?}");
                    judgement.fail("cyclic-versions", message, ops, json!({"key": name, "values": values}));
                }
                order.clear();
            }
            self.edges(txns, key, &versions, &order, graph);
        }
    }

    /// Dependencies from the revisions that the store answered, or that the spectators saw.
    pub(super) fn by_revision(&self, txns: &[Txn<Register>], names: &Names, replay: &Replay<'_>, graph: &mut Graph) {
        for (key, versions) in self.versions(txns, names) {
            let name = names.get(key).unwrap_or_default();
            let long = format!("wr/{name}");
            let revision_of = |version: &Version| {
                let Some(value) = version.value else { return Some(0) };
                let answered = version.writer.and_then(|w| txns[w].revision);
                let text = value.to_string();
                answered
                    .or_else(|| replay.written(name, &text))
                    .or_else(|| replay.written(&long, &text))
            };
            let mut by_revision: Vec<(i64, usize)> = versions
                .iter()
                .enumerate()
                .filter_map(|(at, v)| Some((revision_of(v)?, at)))
                .collect();
            by_revision.sort_unstable();
            let mut order = Order::new(versions.len());
            for pair in by_revision.windows(2) {
                order.add(pair[0].1, pair[1].1);
            }
            self.edges(txns, key, &versions, &order, graph);
        }
    }

    /// By key, the values that it certainly had: nothing first, then those that were acknowledged or read.
    fn versions(&self, txns: &[Txn<Register>], names: &Names) -> Vec<(u32, Vec<Version>)> {
        let mut all: Vec<(u32, Vec<Version>)> = (0..)
            .take(names.len())
            .map(|key| {
                (
                    key,
                    vec![Version {
                        value: None,
                        writer: None,
                        call_ns: 0,
                        visible_ns: Some(0),
                    }],
                )
            })
            .collect();
        let mut writes: Vec<_> = self
            .writers
            .iter()
            .filter(|(write, _)| !self.ambiguous.contains(*write))
            .collect();
        writes.sort_unstable();
        for (&(key, value), &writer) in writes {
            let txn = &txns[writer];
            let read = self.readers.get(&(key, Some(value)));
            // What a transaction overwrote itself nobody may see.
            let is_last = txn.last_write(key) == Some(value);
            if txn.status == Status::Failed || !is_last || (!txn.is_committed() && read.is_none()) {
                continue;
            }
            let seen_ns = read.into_iter().flatten().filter_map(|&r| txns[r].return_ns).min();
            let visible_ns = [txn.return_ns, seen_ns]
                .into_iter()
                .flatten()
                .min()
                .map(|v| v.max(txn.call_ns));
            all[key as usize].1.push(Version {
                value: Some(value),
                writer: Some(writer),
                call_ns: txn.call_ns,
                visible_ns,
            });
        }
        all
    }

    fn edges(&self, txns: &[Txn<Register>], key: u32, versions: &[Version], order: &Order, graph: &mut Graph) {
        for (at, version) in versions.iter().enumerate() {
            let readers = self.readers.get(&(key, version.value)).map_or(&[][..], Vec::as_slice);
            if let Some(writer) = version.writer {
                for &reader in readers {
                    graph.add(writer, Edge::of(reader, Kind::Wr, key, version.value, None));
                }
            }
            for &next in order.after(at) {
                let Some(overwriter) = versions[next].writer else {
                    continue;
                };
                if let Some(writer) = version.writer {
                    graph.add(
                        writer,
                        Edge::of(overwriter, Kind::Ww, key, version.value, versions[next].value),
                    );
                }
                for &reader in readers {
                    debug_assert!(reader < txns.len());
                    graph.add(
                        reader,
                        Edge::of(overwriter, Kind::Rw, key, version.value, versions[next].value),
                    );
                }
            }
        }
    }
}

/// Within a transaction, reads agree with its earlier steps.
fn internal(txn: &Txn<Register>, names: &Names, told: &mut Told, judgement: &mut Judgement) {
    let mut held: HashMap<u32, Register> = HashMap::new();
    for step in &txn.steps {
        match step {
            Step::Write { key, value } => {
                held.insert(*key, Some(*value));
            }
            Step::Read { key, seen: Some(seen) } => {
                let before = held.insert(*key, *seen);
                if before.is_some_and(|b| b != *seen) && told.may("internal") {
                    let name = names.get(*key).unwrap_or_default();
                    let message = format!(
                        "{} read {seen:?} of {name:?}, where its own steps before have {before:?}",
                        txn.op
                    );
                    judgement.fail("internal", message, vec![txn.op], json!({"key": name}));
                }
            }
            Step::Read { seen: None, .. } => {}
        }
    }
}
