//! Transactions: whether they can have run one after another, in an order that agrees with their times.
//!
//! The method is that of Elle (Kingsbury and Alvaro, 2020): objects are chosen so that a read tells which write it saw
//! and, for lists, every write before it. From that follow dependencies between transactions: `ww` (one overwrote the
//! other), `wr` (one read what the other wrote), `rw` (one read what the other then overwrote), and those of time:
//! `process` (one came before the other in its process) and `realtime` (one had returned before the other was called).
//! A cycle of dependencies has no order; its kind names the anomaly.
//!
//! | cycle of | name |
//! |---|---|
//! | ww | `G0` |
//! | ww, wr | `G1c` |
//! | exactly one rw, else ww, wr | `G-single` |
//! | several rw | `G2-item` |
//!
//! A name ends in `-process` or `-realtime` when such an edge is needed to close the cycle. Besides these, what is wrong
//! by itself: `internal`, `G1a`, `G1b`, `dirty-update`, `lost-update`, `incompatible-order`, `duplicate-elements`,
//! `garbage-read`, `cyclic-versions`. And where the store answered a revision, and spectators saw what it holds:
//! `lost-write`, `wrong-read`.

mod append;
mod cycle;
mod graph;
mod intern;
mod revisions;
mod time;
mod txn;
mod versions;
mod wr;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests_append;
#[cfg(test)]
mod tests_graph;
#[cfg(test)]
mod tests_wr;

use super::replay::Replay;
use super::{Checker, Evidence, Judgement};
use cycle::Cycle;
use graph::{Edge, Graph, Kind};
use intern::Names;
use serde_json::{Value, json};
use txn::{Status, Txn};

/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;

/// The checker `elle-append`, for the workload `append`.
pub struct ElleAppend;

/// The checker `elle-wr`, for the workload `wr`.
pub struct ElleWr;

impl Checker for ElleAppend {
    fn name(&self) -> &'static str {
        "elle-append"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let mut names = Names::default();
        let Some(txns) = prepare(txn::appends(&evidence.history.of("append"), &mut names), &mut judgement) else {
            return judgement;
        };
        revisions::check(&txns, &names, &Replay::build(evidence), &mut judgement);
        let mut graph = Graph::new(txns.len());
        append::analyse(&txns, &names, &mut graph, &mut judgement);
        time::edges(&txns, &mut graph);
        tell_cycles(&txns, &names, &graph, "reads", &mut judgement);
        judgement
    }
}

impl Checker for ElleWr {
    fn name(&self) -> &'static str {
        "elle-wr"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let mut names = Names::default();
        let Some(txns) = prepare(txn::registers(&evidence.history.of("wr"), &mut names), &mut judgement) else {
            return judgement;
        };
        let replay = Replay::build(evidence);
        revisions::check(&txns, &names, &replay, &mut judgement);
        let registers = wr::Registers::read(&txns, &names, &mut judgement);
        let mut graph = Graph::new(txns.len());
        registers.infer(&txns, &names, &mut graph, &mut judgement);
        time::edges(&txns, &mut graph);
        tell_cycles(&txns, &names, &graph, "inference", &mut judgement);
        if judgement.findings.is_empty() {
            // Only now the order that the store itself tells: what it proves is as good, but rests on the revisions.
            let mut graph = Graph::new(txns.len());
            registers.by_revision(&txns, &names, &replay, &mut graph);
            time::edges(&txns, &mut graph);
            tell_cycles(&txns, &names, &graph, "revisions", &mut judgement);
        }
        judgement
    }
}

/// Counts, and stops where there is nothing to judge.
fn prepare<S>(read: (Vec<Txn<S>>, Vec<String>), judgement: &mut Judgement) -> Option<Vec<Txn<S>>> {
    let (txns, not_understood) = read;
    for why in not_understood.into_iter().take(FINDINGS_MAX) {
        judgement.unknown(why);
    }
    for txn in &txns {
        let name = match txn.status {
            Status::Committed => "txns-ok",
            Status::Failed => "txns-failed",
            Status::Indefinite => "txns-indefinite",
        };
        judgement.count(name, 1);
    }
    (!txns.is_empty()).then_some(txns)
}

/// Finds cycles and tells of them.
fn tell_cycles<S>(txns: &[Txn<S>], names: &Names, graph: &Graph, evidence: &str, judgement: &mut Judgement) {
    judgement.count("edges", graph.len() as u64);
    for cycle in cycle::search(graph, FINDINGS_MAX) {
        let (message, ops, detail) = tell(txns, names, &cycle, evidence);
        judgement.fail(&cycle.name, message, ops, detail);
    }
}

fn tell<S>(txns: &[Txn<S>], names: &Names, cycle: &Cycle, evidence: &str) -> (String, Vec<u64>, Value) {
    let ops: Vec<u64> = cycle.edges.iter().map(|(from, _)| txns[*from as usize].op).collect();
    let steps: Vec<(u64, &Edge, String)> = cycle
        .edges
        .iter()
        .map(|(from, edge)| {
            let from = &txns[*from as usize];
            (from.op, edge, why(from, &txns[edge.to as usize], names, edge))
        })
        .collect();
    let told: Vec<&str> = steps.iter().map(|(_, _, text)| text.as_str()).collect();
    let detail: Vec<Value> = steps
        .iter()
        .map(|(op, edge, text)| json!({"op": op, "edge": edge.kind.name(), "key": names.get(edge.key), "text": text}))
        .collect();
    let message = format!(
        "{} transactions depend on each other in a circle: {}",
        ops.len(),
        told.join("; ")
    );
    (message, ops, json!({"cycle": detail, "evidence": evidence}))
}

/// An edge in words.
fn why<S>(from: &Txn<S>, to: &Txn<S>, names: &Names, edge: &Edge) -> String {
    let key = names.get(edge.key).unwrap_or_default();
    let value = edge.value.map_or_else(|| "nothing".to_owned(), |v| v.to_string());
    let next = edge.next.map_or_else(|| "something".to_owned(), |v| v.to_string());
    let (a, b) = (from.op, to.op);
    match edge.kind {
        Kind::Ww => format!("{a} wrote {value} to {key:?}, after which {b} wrote {next}"),
        Kind::Wr => format!("{a} wrote {value} to {key:?}, which {b} read"),
        Kind::Rw => format!("{a} read {key:?} with {value} last, before {b} wrote {next}"),
        Kind::Process => format!("{a} came before {b} in process {}", from.process),
        Kind::Realtime => {
            let between_ns = from.return_ns.map_or(0, |r| to.call_ns.saturating_sub(r));
            format!(
                "{a} had returned {}.{:03} ms before {b} was called",
                between_ns / 1_000_000,
                between_ns / 1000 % 1000
            )
        }
    }
}
