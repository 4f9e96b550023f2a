//! Concurrent clients of a simulated store: calls, effects and returns of several processes, interleaved at random.

use super::Store;
use crate::history::{Op, Outcome};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// What a process asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub f: &'static str,
    pub key: Option<String>,
    pub value: Value,
}

/// How a history is made.
pub(crate) struct Schedule {
    pub workload: &'static str,
    pub seed: u64,
    pub processes: usize,
    pub ops: usize,
    /// Operations of a thousand that have an indefinite end; half of them take effect, at any later time.
    pub info_permille: u32,
    /// Operations of a thousand that certainly fail.
    pub fail_permille: u32,
    /// Time between two steps of the schedule.
    pub step_ns: u64,
}

/// Where a process is with its operation.
enum Stage {
    Idle,
    Called(usize),
    Done(usize, Value, Option<i64>),
}

impl Schedule {
    pub(crate) fn new(workload: &'static str, seed: u64) -> Schedule {
        Schedule {
            workload,
            seed,
            processes: 4,
            ops: 60,
            info_permille: 40,
            fail_permille: 40,
            step_ns: 1_000_000,
        }
    }

    /// Runs it. `next` draws what process number so-and-so asks; `apply` does it in one step and tells answer and
    /// revision, or `None` when the store refuses it without effect.
    pub(crate) fn run(
        &self,
        store: &mut Store,
        mut next: impl FnMut(&mut StdRng, u64) -> Request,
        mut apply: impl FnMut(&mut Store, &mut StdRng, &Request) -> Option<(Value, Option<i64>)>,
    ) -> Vec<Op> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut ops: Vec<Op> = Vec::new();
        let mut requests: Vec<Request> = Vec::new();
        let mut stages: Vec<Stage> = (0..self.processes).map(|_| Stage::Idle).collect();
        let mut names: Vec<u64> = (0..self.processes as u64).collect();
        let mut retired = self.processes as u64;
        let mut lingering: Vec<usize> = Vec::new();
        let mut lines = 0_u64;
        loop {
            store.now_ns += self.step_ns;
            if !lingering.is_empty() && rng.random_ratio(1, 20) {
                let late = lingering.swap_remove(rng.random_range(0..lingering.len()));
                apply(store, &mut rng, &requests[late]);
            }
            let busy = stages.iter().any(|stage| !matches!(stage, Stage::Idle));
            if ops.len() >= self.ops && !busy {
                break;
            }
            let who = rng.random_range(0..self.processes);
            match std::mem::replace(&mut stages[who], Stage::Idle) {
                Stage::Idle if ops.len() < self.ops => {
                    let request = next(&mut rng, names[who]);
                    ops.push(Op {
                        index: lines,
                        process: names[who],
                        node: 1 + who % 3,
                        workload: self.workload.to_owned(),
                        f: request.f.to_owned(),
                        key: request.key.clone(),
                        value: request.value.clone(),
                        call_ns: store.now_ns,
                        return_ns: None,
                        outcome: Outcome::Info {
                            error: "timeout".to_owned(),
                        },
                    });
                    requests.push(request);
                    lines += 1;
                    stages[who] = Stage::Called(ops.len() - 1);
                }
                Stage::Idle => {}
                Stage::Called(at) => {
                    let luck = rng.random_range(0..1000);
                    if luck < self.info_permille {
                        if rng.random() {
                            lingering.push(at);
                        }
                        names[who] = retired;
                        retired += 1;
                        lines += 1;
                    } else if luck < self.info_permille + self.fail_permille {
                        fail(&mut ops[at], "unavailable", store.now_ns);
                        lines += 1;
                    } else if let Some((value, revision)) = apply(store, &mut rng, &requests[at]) {
                        stages[who] = Stage::Done(at, value, revision);
                    } else {
                        fail(&mut ops[at], "refused", store.now_ns);
                        lines += 1;
                    }
                }
                Stage::Done(at, value, revision) => {
                    ops[at].outcome = Outcome::Ok { value, revision };
                    ops[at].return_ns = Some(store.now_ns);
                    lines += 1;
                }
            }
        }
        ops
    }
}

fn fail(op: &mut Op, error: &str, now_ns: u64) {
    op.outcome = Outcome::Fail {
        error: error.to_owned(),
    };
    op.return_ns = Some(now_ns);
}
