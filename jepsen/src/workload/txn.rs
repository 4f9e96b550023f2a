//! Transactions of reads and writes of several keys: what `append` and `wr` have in common.

use super::keys::Keys;
use keelson_proto::etcdserverpb::{RangeResponse, TxnResponse, response_op::Response};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// Most steps of a transaction.
const STEPS_MAX: usize = 4;

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read(String),
    /// Writes or appends this number, which nobody else does.
    Write(String, u64),
}

impl Step {
    pub(super) fn key(&self) -> &str {
        match self {
            Step::Read(key) | Step::Write(key, _) => key,
        }
    }
}

/// Draws a transaction: with `writes`, some of its steps may be writes, each of another key, as the store wants it.
/// `number` gives numbers that nobody has had.
pub(super) fn draw(rng: &mut StdRng, keys: &Keys, places: usize, writes: bool, number: impl Fn() -> u64) -> Vec<Step> {
    let mut written = vec![false; places];
    let count = rng.random_range(1..=STEPS_MAX);
    (0..count)
        .map(|_| {
            let place = rng.random_range(0..places);
            let key = keys.take(place);
            if writes && !written[place] && rng.random_bool(0.6) {
                written[place] = true;
                Step::Write(key, number())
            } else {
                Step::Read(key)
            }
        })
        .collect()
}

/// Whether it changes anything.
pub(super) fn writes(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Write(..)))
}

/// The steps for the history: `write` is the word for a write. `seen` are the answers to the reads, in their order;
/// none yet when it is about to be sent.
pub(super) fn lines(write: &str, steps: &[Step], seen: &[Value]) -> Value {
    let mut seen = seen.iter();
    steps
        .iter()
        .map(|step| match step {
            Step::Read(key) => json!(["r", key, seen.next()]),
            Step::Write(key, value) => json!([write, key, value]),
        })
        .collect()
}

/// The answers to the reads of a transaction, in their order.
pub(super) fn ranges(answer: &TxnResponse) -> impl Iterator<Item = &RangeResponse> {
    answer.responses.iter().filter_map(|response| match &response.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_key_is_written_once_in_a_transaction() {
        let keys = Keys::new("wr", 2, 10_000);
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let steps = draw(&mut rng, &keys, 2, true, || 7);
            let mut written: Vec<&str> = steps
                .iter()
                .filter(|s| matches!(s, Step::Write(..)))
                .map(Step::key)
                .collect();
            let all = written.len();
            written.sort_unstable();
            written.dedup();
            assert_eq!(written.len(), all);
        }
    }

    #[test]
    fn reads_are_filled_in_order() {
        let steps = [
            Step::Read("a".to_owned()),
            Step::Write("b".to_owned(), 3),
            Step::Read("b".to_owned()),
        ];
        let open = lines("append", &steps, &[]);
        assert_eq!(open, json!([["r", "a", null], ["append", "b", 3], ["r", "b", null]]));
        let filled = lines("append", &steps, &[json!([]), json!([3])]);
        assert_eq!(filled, json!([["r", "a", []], ["append", "b", 3], ["r", "b", [3]]]));
    }
}
