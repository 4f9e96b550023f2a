//! A register per key, judged twice: [`Replay`] trusts revisions and holds every answer against the states that they
//! order; [`Search`] ignores them and looks for an order by itself. A bug in the one is no bug in the other.

mod decode;
mod order;
mod replay;
mod search;
#[cfg(test)]
mod tests;

pub use replay::Replay;
pub use search::Search;

use super::{Evidence, Judgement};

/// Name of the workload.
pub const WORKLOAD: &str = "register";

/// A run that was to do this workload and has no operation that succeeded tells nothing.
fn note_emptiness(evidence: &Evidence, judgement: &mut Judgement, ok: usize) {
    judgement.count("ok operations", ok as u64);
    if ok == 0 && evidence.meta.workloads.iter().any(|name| name == WORKLOAD) {
        judgement.unknown("no operation of the register workload succeeded".to_owned());
    }
}
