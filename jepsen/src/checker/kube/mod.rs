//! The Kubernetes API: what its servers promise on top of the store, for the workloads `kube-rv`, `kube-page`,
//! `kube-watch`, `kube-watchlist` and `kube-bind`. [`crate::workload::kube`] tells what they record.
//!
//! A resourceVersion is a revision of the store, so that the [`Replay`] is the truth which answers are set against.
//!
//! | promise | broken |
//! |---|---|
//! | a write with a resourceVersion directly follows it; a creation follows nothing | `precondition-ignored`, `created-over` |
//! | what was acknowledged stands in the store, what was refused does not | `lost-write`, `lost-delete`, `aborted-write` |
//! | an object is shown as it was at its resourceVersion | `wrong-object` |
//! | reads are not older than they may be | `stale-get`, `stale-list`, `stale-initial` |
//! | a list is the content at its resourceVersion, in order, page by page | `wrong-list`, `wrong-remaining` |
//! | exact lists are exact; a token stays on its snapshot | `not-exact`, `token-left-snapshot` |
//! | 410 only for what is compacted | `wrong-410` |
//! | a watch has every transition of its selector, in order, once, and as it was | `lost-event`, `unordered-event`, `duplicate-event`, `before-start-event`, `phantom-event`, `wrong-transition`, `wrong-object` |
//! | initial events are the content at one revision | `wrong-initial` |
//! | bookmarks: everything up to one was sent | `early-bookmark`, `stale-bookmark` |
//! | a set that all patch loses nothing | `lost-element`, `garbage-element` |
//! | after healing informers reach the end | `not-converged` |

mod informer;
mod initial;
mod lists;
mod reads;
mod set;
mod truth;
mod writes;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_informer;
#[cfg(test)]
mod tests_mutation;

use super::replay::Replay;
use super::watch::Compactions;
use super::{Checker, Evidence, Judgement};
use crate::history::Op;
use serde_json::json;
use std::collections::HashMap;
use truth::{Floor, Truth};

/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;
/// Workloads on ConfigMaps.
const ON_CONFIG_MAPS: [&str; 4] = ["kube-rv", "kube-page", "kube-watch", "kube-watchlist"];

/// The checker `kube`, for workloads on the Kubernetes API.
pub struct KubeChecker;

impl Checker for KubeChecker {
    fn name(&self) -> &'static str {
        "kube"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut told = Told::new(self.name());
        let replay = Replay::build(evidence);
        let compactions = Compactions::of(evidence);
        for workload in ON_CONFIG_MAPS {
            let ops = evidence.history.of(workload);
            if ops.is_empty() {
                continue;
            }
            let truth = Truth::new(&replay, &format!("/registry/configmaps/{workload}/"));
            let floor = Floor::of(&ops, &truth);
            writes::check(&ops, &truth, &mut told);
            reads::check(&ops, &truth, &floor, &mut told);
            lists::check(&ops, &truth, &floor, &compactions, &mut told);
            set::check(&ops, &mut told);
            informers(evidence, &truth, &floor, &mut told);
            converge(evidence, &ops, &truth, &mut told);
        }
        if evidence.meta.workloads.iter().any(|w| w == "kube-bind") {
            let truth = Truth::new(&replay, "/registry/pods/kube-bind/");
            informers(evidence, &truth, &Floor::default(), &mut told);
        }
        told.judgement
    }
}

/// All informers of one prefix.
fn informers(evidence: &Evidence, truth: &Truth<'_>, floor: &Floor, told: &mut Told) {
    for (client, records) in &evidence.informers {
        for stream in informer::streams(client, records) {
            if stream.start.prefix == truth.prefix {
                informer::check(&stream, truth, floor, told);
            }
        }
    }
}

/// Once the object `last` is written, each informer without a selector sees it.
fn converge(evidence: &Evidence, ops: &[&Op], truth: &Truth<'_>, told: &mut Told) {
    let Some(last) = ops
        .iter()
        .find(|op| op.f == "create" && op.key.as_deref() == Some("last") && op.is_ok())
    else {
        return;
    };
    for (client, records) in &evidence.informers {
        let streams = informer::streams(client, records);
        let follows = !streams.is_empty()
            && streams
                .iter()
                .all(|s| s.start.prefix == truth.prefix && s.start.color.is_empty());
        if follows && !streams.iter().any(|s| s.objects().any(|o| o.name == "last")) {
            let message = format!("{client} never saw the object that was written after healing");
            told.fail("not-converged", message, vec![last.index], client);
        }
    }
}

/// Findings, not too many of a kind.
pub(super) struct Told {
    pub judgement: Judgement,
    counts: HashMap<&'static str, usize>,
}

impl Told {
    pub(super) fn new(checker: &str) -> Told {
        Told {
            judgement: Judgement::new(checker),
            counts: HashMap::new(),
        }
    }

    pub(super) fn fail(&mut self, anomaly: &'static str, message: String, ops: Vec<u64>, place: &str) {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        if *count <= FINDINGS_MAX {
            self.judgement.fail(anomaly, message, ops, json!({"place": place}));
        }
    }
}
