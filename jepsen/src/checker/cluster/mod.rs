//! The cluster: what schedulers promise, for the workload `kube-bind`. [`crate::workload::kube`] tells what it records.
//!
//! A Pod that has a node keeps it until it is deleted (`double-bind`); at no revision do the Pods of a node request more
//! than it has (`overcommitted-node`); after healing nothing that fits is left without a node (`pending-pod`).

#[cfg(test)]
mod tests;

use super::replay::{Replay, Version};
use super::{Checker, Evidence, Judgement};
use crate::history::Outcome;
use crate::workload::kube::{node_in, request_of};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const WORKLOAD: &str = "kube-bind";
const PODS: &str = "/registry/pods/kube-bind/";
/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;

/// The checker `cluster`.
pub struct ClusterChecker;

/// What a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    milli: u64,
    pods: u64,
}

impl Checker for ClusterChecker {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let ops = evidence.history.of(WORKLOAD);
        if ops.is_empty() {
            return judgement;
        }
        let replay = Replay::build(evidence);
        for key in replay.keys().filter(|k| k.starts_with(PODS)) {
            one_node(&key[PODS.len()..], replay.versions(key), &replay, &mut judgement);
        }
        // With two at once nothing keeps a node from being filled twice.
        if evidence.meta.options.get("kube-schedulers").is_none_or(|v| v != "both") {
            overcommitted(evidence, &replay, &mut judgement);
        }
        for op in ops.iter().filter(|op| op.f == "settle") {
            let Outcome::Ok { value, .. } = &op.outcome else {
                continue;
            };
            judgement.count("settled", 1);
            if value["pending"].as_array().is_some_and(|p| !p.is_empty()) {
                let message = format!(
                    "after healing these have no node, and there is room: {}",
                    value["pending"]
                );
                judgement.fail("pending-pod", message, vec![op.index], json!({}));
            }
        }
        judgement
    }
}

/// Nothing takes a node from a Pod, until it is gone.
fn one_node(name: &str, versions: &[Version<'_>], replay: &Replay<'_>, judgement: &mut Judgement) {
    let mut bound: Option<(&str, Version<'_>)> = None;
    for version in versions {
        let Some(value) = version.value else {
            bound = None;
            continue;
        };
        // Another Pod of the same name has another beginning.
        bound = bound.filter(|(_, b)| b.create_revision == version.create_revision);
        let node = node_in(value);
        if let Some((before, since)) = bound {
            let told = judgement.findings.iter().filter(|f| f.anomaly == "double-bind").count();
            if node != Some(before) && told < FINDINGS_MAX {
                let message = format!(
                    "pod {name:?} was on {before} since {}, and at {} on {}",
                    since.mod_revision,
                    version.mod_revision,
                    node.unwrap_or("none")
                );
                judgement.fail(
                    "double-bind",
                    message,
                    Vec::new(),
                    json!({"pod": name, "revision": version.mod_revision}),
                );
            }
        } else if node.is_some() {
            judgement.count("bound", 1);
        }
        bound = node.map(|n| (n, bound.filter(|(b, _)| *b == n).map_or(*version, |(_, since)| since)));
    }
    debug_assert!(versions.iter().all(|v| v.mod_revision <= replay.last()));
}

/// At every revision, what the Pods of each node request together.
fn overcommitted(evidence: &Evidence, replay: &Replay<'_>, judgement: &mut Judgement) {
    let rooms = rooms(evidence);
    // A deletion that nobody was sent would be counted for ever: nothing is said after a gap.
    let end = replay.gaps().first().map_or(replay.last(), |gap| gap.0 - 1);
    if end < replay.last() {
        judgement.count("revisions-not-judged", u64::try_from(replay.last() - end).unwrap_or(0));
    }
    let mut held: BTreeMap<&str, &str> = BTreeMap::new();
    let mut full: BTreeSet<&str> = BTreeSet::new();
    for (revision, events) in replay.events_between(2, end) {
        for (key, version) in events {
            let Some(pod) = key.strip_prefix(PODS) else { continue };
            match version.value.and_then(node_in) {
                Some(node) => held.insert(pod, node),
                None => held.remove(pod),
            };
        }
        let mut used: BTreeMap<&str, Room> = BTreeMap::new();
        for (pod, node) in &held {
            let room = used.entry(node).or_insert(Room { milli: 0, pods: 0 });
            room.milli += request_of(pod).unwrap_or(0);
            room.pods += 1;
        }
        for (node, used) in &used {
            let Some(room) = rooms.get(*node) else { continue };
            let is_over = used.milli > room.milli || used.pods > room.pods;
            if !is_over {
                full.remove(node);
            } else if full.insert(node) && judgement.findings.len() < FINDINGS_MAX {
                let message = format!("at {revision} the pods on {node} request {used:?}, it has {room:?}");
                judgement.fail(
                    "overcommitted-node",
                    message,
                    Vec::new(),
                    json!({"node": node, "revision": revision}),
                );
            }
        }
    }
}

fn rooms(evidence: &Evidence) -> BTreeMap<String, Room> {
    let ops = evidence
        .history
        .ops
        .iter()
        .filter(|op| op.workload == WORKLOAD && op.f == "node" && !op.is_fail());
    ops.filter_map(|op| {
        let room = Room {
            milli: op.value["milli"].as_u64()?,
            pods: op.value["pods"].as_u64()?,
        };
        Some((op.key.clone()?, room))
    })
    .collect()
}
