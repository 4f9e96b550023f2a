//! Lists that are only appended to: the longest read of a key is the order of its writes.

use super::FINDINGS_MAX;
use super::graph::{Edge, Graph, Kind};
use super::intern::Names;
use super::txn::{Status, Step, Txn};
use crate::checker::Judgement;
use serde_json::json;
use std::collections::{HashMap, HashSet};

type List = Vec<i64>;

/// Readers of a key's last version that are set against an append which nobody read: those that were called last.
/// Were all taken, the edges could be as many as readers times appends.
const LAST_READERS_MAX: usize = 16;

/// Finds what is wrong by itself, and adds the dependencies of data to the graph.
pub(super) fn analyse(txns: &[Txn<List>], names: &Names, graph: &mut Graph, judgement: &mut Judgement) {
    let mut lists = Lists::read(txns, names);
    internal(txns, names, judgement);
    lists.writes(txns, judgement);
    lists.reads(txns, judgement);
    lists.lost_updates(txns, judgement);
    lists.edges(txns, graph);
}

/// What is known of all keys.
struct Lists<'a> {
    names: &'a Names,
    writers: HashMap<(u32, i64), usize>,
    /// Appended twice: their reads tell nothing.
    ambiguous: HashSet<(u32, i64)>,
    /// By key: the longest read and who read it.
    longest: Vec<(&'a [i64], Option<usize>)>,
    /// Reads that are no prefix of the longest: they are told of, and not used.
    odd: HashSet<(usize, u32)>,
}

impl<'a> Lists<'a> {
    fn read(txns: &'a [Txn<List>], names: &'a Names) -> Lists<'a> {
        let mut lists = Lists {
            names,
            writers: HashMap::new(),
            ambiguous: HashSet::new(),
            longest: vec![(&[], None); names.len()],
            odd: HashSet::new(),
        };
        for (at, txn) in txns.iter().enumerate() {
            for write in txn.writes() {
                if lists.writers.insert(write, at).is_some() {
                    lists.ambiguous.insert(write);
                }
            }
            for (key, seen) in txn.reads() {
                let longest = &mut lists.longest[key as usize];
                if seen.len() > longest.0.len() {
                    *longest = (seen, Some(at));
                }
            }
        }
        lists
    }

    fn name(&self, key: u32) -> &str {
        self.names.get(key).unwrap_or_default()
    }

    /// Each element is appended once; else reads do not tell who wrote what they saw.
    fn writes(&self, txns: &[Txn<List>], judgement: &mut Judgement) {
        if let Some(&(key, value)) = self.ambiguous.iter().next() {
            let times = txns.iter().flat_map(Txn::writes).filter(|w| *w == (key, value)).count();
            judgement.unknown(format!(
                "{value} is appended to {:?} by {times} transactions: they cannot be told apart",
                self.name(key)
            ));
        }
    }

    /// Each read against the writes and against the longest one.
    fn reads(&mut self, txns: &[Txn<List>], judgement: &mut Judgement) {
        let mut told = Told::default();
        for (at, txn) in txns.iter().enumerate() {
            for (key, seen) in txn.reads() {
                self.elements(txns, (at, key), seen, &mut told, judgement);
                let (longest, reader) = self.longest[key as usize];
                if !longest.starts_with(seen) {
                    self.odd.insert((at, key));
                    let other = reader.map_or(txn.op, |r| txns[r].op);
                    if told.may("incompatible-order") {
                        let message = format!(
                            "{} read {:?} as {seen:?}, {other} as {longest:?}: neither goes on from the other",
                            txn.op,
                            self.name(key)
                        );
                        judgement.fail(
                            "incompatible-order",
                            message,
                            vec![txn.op, other],
                            json!({"key": self.name(key)}),
                        );
                    }
                }
            }
        }
    }

    /// `duplicate-elements`, `garbage-read`, `G1a`, `dirty-update`, `G1b`.
    fn elements(
        &self,
        txns: &[Txn<List>],
        (at, key): (usize, u32),
        seen: &[i64],
        told: &mut Told,
        judgement: &mut Judgement,
    ) {
        let (op, name) = (txns[at].op, self.name(key));
        let detail = json!({"key": name});
        let mut before = HashSet::with_capacity(seen.len());
        let mut aborted: Option<(i64, u64)> = None;
        for &element in seen {
            if !before.insert(element) && told.may("duplicate-elements") {
                let message = format!("{op} read {name:?} as {seen:?}, with {element} twice");
                judgement.fail("duplicate-elements", message, vec![op], detail.clone());
            }
            let Some(&writer) = self.writers.get(&(key, element)) else {
                if told.once("garbage-read", (key, element)) {
                    let message = format!("{op} read {element} in {name:?}, which nobody appended");
                    judgement.fail("garbage-read", message, vec![op], detail.clone());
                }
                continue;
            };
            let write = &txns[writer];
            if write.status == Status::Failed {
                aborted = Some((element, write.op));
                if told.once("G1a", (key, element)) {
                    let message = format!(
                        "{op} read {element} in {name:?}, which {} was refused to append",
                        write.op
                    );
                    judgement.fail("G1a", message, vec![write.op, op], detail.clone());
                }
            } else if let Some((refused, by)) = aborted
                && write.is_committed()
                && told.once("dirty-update", (key, element))
            {
                let message = format!(
                    "{} appended {element} to {name:?} after {refused}, which {by} was refused to append",
                    write.op
                );
                judgement.fail("dirty-update", message, vec![by, write.op], detail.clone());
            }
        }
        if let Some(&last) = seen.last()
            && let Some(&writer) = self.writers.get(&(key, last))
            && writer != at
            && txns[writer]
                .last_write(key)
                .is_some_and(|final_write| final_write != last)
            && told.may("G1b")
        {
            let message = format!(
                "{op} read {name:?} as {seen:?}: {last} is not the last that {} appended",
                txns[writer].op
            );
            judgement.fail("G1b", message, vec![txns[writer].op, op], detail);
        }
    }

    /// Two transactions that appended to the same state of a key.
    fn lost_updates(&self, txns: &[Txn<List>], judgement: &mut Judgement) {
        let mut updates: HashMap<(u32, &[i64]), usize> = HashMap::new();
        let mut told = Told::default();
        for (at, txn) in txns.iter().enumerate().filter(|(_, t)| t.is_committed()) {
            for (key, seen) in txn.external_reads() {
                if txn.last_write(key).is_none() || self.odd.contains(&(at, key)) {
                    continue;
                }
                let Some(before) = updates.insert((key, seen), at) else {
                    continue;
                };
                if told.may("lost-update") {
                    let (first, name) = (txns[before].op, self.name(key));
                    let message = format!(
                        "{first} and {} both read {name:?} as {seen:?} and appended to that",
                        txn.op
                    );
                    judgement.fail("lost-update", message, vec![first, txn.op], json!({"key": name}));
                }
            }
        }
    }

    /// `ww` from element to element, `wr` to who read an element last, `rw` from there to who appended the next.
    fn edges(&self, txns: &[Txn<List>], graph: &mut Graph) {
        // By key, elements that may have been appended, in order, with their writers.
        let orders: Vec<Vec<(i64, usize)>> = (0..)
            .zip(&self.longest)
            .map(|(key, (list, _))| {
                list.iter()
                    .filter_map(|&e| self.effective(txns, key, e).map(|w| (e, w)))
                    .collect()
            })
            .collect();
        let mut next_of: HashMap<(u32, i64), (i64, usize)> = HashMap::new();
        for (key, order) in (0..).zip(&orders) {
            for pair in order.windows(2) {
                graph.add(
                    pair[0].1,
                    Edge::of(pair[1].1, Kind::Ww, key, Some(pair[0].0), Some(pair[1].0)),
                );
                next_of.insert((key, pair[0].0), pair[1]);
            }
        }
        let mut last_readers: Vec<Vec<usize>> = vec![Vec::new(); orders.len()];
        for (at, txn) in txns.iter().enumerate() {
            for (key, seen) in txn.reads() {
                if self.odd.contains(&(at, key)) {
                    continue;
                }
                let order = &orders[key as usize];
                let last = seen
                    .iter()
                    .rev()
                    .find_map(|&e| self.effective(txns, key, e).map(|w| (e, w)));
                let next = match last {
                    Some((element, writer)) => {
                        graph.add(writer, Edge::of(at, Kind::Wr, key, Some(element), None));
                        next_of.get(&(key, element)).copied()
                    }
                    None => order.first().copied(),
                };
                match next {
                    Some((element, writer)) => {
                        graph.add(at, Edge::of(writer, Kind::Rw, key, last.map(|l| l.0), Some(element)))
                    }
                    None => last_readers[key as usize].push(at),
                }
            }
        }
        for readers in &mut last_readers {
            readers.sort_by_key(|&r| std::cmp::Reverse(txns[r].call_ns));
            readers.dedup();
            readers.truncate(LAST_READERS_MAX);
        }
        self.unread(txns, &orders, &last_readers, graph);
    }

    /// What was appended and never read comes after all that was.
    fn unread(&self, txns: &[Txn<List>], orders: &[Vec<(i64, usize)>], last_readers: &[Vec<usize>], graph: &mut Graph) {
        let read: HashSet<(u32, i64)> = (0..)
            .zip(orders)
            .flat_map(|(key, order)| order.iter().map(move |(e, _)| (key, *e)))
            .collect();
        for (at, txn) in txns.iter().enumerate().filter(|(_, t)| t.is_committed()) {
            for (key, element) in txn.writes().filter(|w| !read.contains(w)) {
                let last = orders[key as usize].last();
                if let Some(&(value, writer)) = last {
                    graph.add(writer, Edge::of(at, Kind::Ww, key, Some(value), Some(element)));
                }
                for &reader in &last_readers[key as usize] {
                    graph.add(reader, Edge::of(at, Kind::Rw, key, last.map(|l| l.0), Some(element)));
                }
            }
        }
    }

    /// Who appended an element, unless it is not known or was refused.
    fn effective(&self, txns: &[Txn<List>], key: u32, element: i64) -> Option<usize> {
        if self.ambiguous.contains(&(key, element)) {
            return None;
        }
        self.writers
            .get(&(key, element))
            .copied()
            .filter(|&w| txns[w].status != Status::Failed)
    }
}

/// Within a transaction, reads agree with its earlier reads and appends.
fn internal(txns: &[Txn<List>], names: &Names, judgement: &mut Judgement) {
    let mut told = Told::default();
    for txn in txns.iter().filter(|t| t.is_committed()) {
        // By key: what is known of the list, and whether that is all of it.
        let mut held: HashMap<u32, (bool, List)> = HashMap::new();
        for step in &txn.steps {
            match step {
                Step::Write { key, value } => held.entry(*key).or_default().1.push(*value),
                Step::Read { key, seen: Some(seen) } => {
                    let good = match held.get(key) {
                        None => true,
                        Some((true, list)) => list == seen,
                        Some((false, tail)) => seen.ends_with(tail),
                    };
                    if !good && told.may("internal") {
                        let name = names.get(*key).unwrap_or_default();
                        let message = format!(
                            "{} read {name:?} as {seen:?}, against its own steps before: {:?}",
                            txn.op, held[key].1
                        );
                        judgement.fail("internal", message, vec![txn.op], json!({"key": name}));
                    }
                    held.insert(*key, (true, seen.clone()));
                }
                Step::Read { seen: None, .. } => {}
            }
        }
    }
}

/// What was told of already.
#[derive(Default)]
pub(super) struct Told {
    counts: HashMap<&'static str, usize>,
    of: HashSet<(&'static str, u32, i64)>,
}

impl Told {
    /// Whether another finding of this kind may be told.
    pub(super) fn may(&mut self, anomaly: &'static str) -> bool {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        *count <= FINDINGS_MAX
    }

    /// The same, and only once for an element.
    pub(super) fn once(&mut self, anomaly: &'static str, (key, element): (u32, i64)) -> bool {
        self.of.insert((anomaly, key, element)) && self.may(anomaly)
    }
}
