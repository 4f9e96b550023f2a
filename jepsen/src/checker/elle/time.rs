//! Dependencies of time.

use super::graph::{Edge, Graph, Kind};
use super::txn::{Status, Txn};
use std::collections::HashMap;

/// Adds `process` and `realtime` edges between transactions that may have taken effect.
///
/// For `realtime`, only from those that had returned and that nothing that came after had also returned: the others
/// follow. There are at most as many of these as there are processes, so edges are linear in the history.
pub(super) fn edges<S>(txns: &[Txn<S>], graph: &mut Graph) {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum What {
        // At the same moment calls come first: such operations are concurrent.
        Call,
        Return,
    }
    let mut moments: Vec<(u64, What, usize)> = Vec::with_capacity(2 * txns.len());
    for (at, txn) in txns.iter().enumerate().filter(|(_, t)| t.status != Status::Failed) {
        moments.push((txn.call_ns, What::Call, at));
        if let Some(return_ns) = txn.return_ns {
            moments.push((return_ns, What::Return, at));
        }
    }
    moments.sort_unstable();
    let mut latest: Vec<(usize, u64)> = Vec::new();
    let mut of_process: HashMap<u64, usize> = HashMap::new();
    for (time_ns, what, at) in moments {
        match what {
            What::Call => {
                for &(before, _) in &latest {
                    add(graph, before, at, Kind::Realtime);
                }
                if let Some(before) = of_process.insert(txns[at].process, at) {
                    add(graph, before, at, Kind::Process);
                }
            }
            What::Return => {
                latest.retain(|&(_, returned_ns)| returned_ns >= txns[at].call_ns);
                latest.push((at, time_ns));
            }
        }
    }
}

fn add(graph: &mut Graph, from: usize, to: usize, kind: Kind) {
    graph.add(from, Edge::of_order(to, kind));
}
