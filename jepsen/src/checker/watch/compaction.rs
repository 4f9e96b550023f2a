//! Which compactions may have been done by when.

use crate::checker::Evidence;
use serde_json::Value;

/// Requests to compact, with their time; and what members say in the end.
pub(in crate::checker) struct Compactions {
    /// Time of the call and revision.
    requests: Vec<(u64, i64)>,
    /// The highest compacted revision, when it is above every request: something else compacts, at unknown times.
    untimed: Option<i64>,
}

impl Compactions {
    pub(in crate::checker) fn of(evidence: &Evidence) -> Compactions {
        let operations = evidence
            .history
            .ops
            .iter()
            .filter(|op| op.f == "compact" && !op.is_fail());
        let mut requests: Vec<(u64, i64)> = operations
            .filter_map(|op| Some((op.call_ns, revision_in(&op.value)?)))
            .collect();
        // The line of a fault is written before its request is sent.
        let faults = evidence.faults.iter().filter(|f| f.fault == "compact");
        requests.extend(faults.filter_map(|f| Some((f.time_ns, revision_in(&f.detail)?))));
        let highest = requests.iter().map(|r| r.1).max().unwrap_or(0);
        let at_end = evidence.finals.iter().map(|f| f.compact_revision).max().unwrap_or(0);
        Compactions {
            requests,
            untimed: (at_end > highest).then_some(at_end),
        }
    }

    /// Whether this revision, or a later one, may have been compacted by then.
    pub(in crate::checker) fn may_have(&self, revision: i64, time_ns: u64) -> bool {
        self.untimed.is_some_and(|u| u >= revision)
            || self
                .requests
                .iter()
                .any(|&(call_ns, r)| r >= revision && call_ns <= time_ns)
    }
}

/// A number, or `{"revision": n}`.
fn revision_in(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.get("revision")?.as_i64())
}
