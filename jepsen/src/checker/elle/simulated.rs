//! Good histories for tests: a store that does one transaction after another, at a moment between call and return, for
//! concurrent processes, some of whose transactions are refused or end indefinitely.

use crate::checker::golden::Dice;
use crate::history::{Op, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seed: u64,
    pub txns: usize,
    pub processes: u64,
    pub keys: u64,
    pub steps_max: u64,
    /// How long a transaction may take before and after its moment; one is done every 10.
    pub spread_ns: u64,
    /// Lists, else registers.
    pub is_append: bool,
}

impl Shape {
    pub fn small(seed: u64, is_append: bool) -> Shape {
        Shape {
            seed,
            txns: 120,
            processes: 5,
            keys: 3,
            steps_max: 4,
            spread_ns: 40,
            is_append,
        }
    }
}

/// The operations, in the order of their moments; `index` is the position.
pub fn simulate(shape: Shape) -> Vec<Op> {
    let mut dice = Dice::new(shape.seed);
    let mut state: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut free_at = vec![0u64; shape.processes as usize];
    let mut number: Vec<u64> = (0..shape.processes).collect();
    let mut next_value: BTreeMap<String, i64> = BTreeMap::new();
    let mut moment_ns = 1000;
    let mut revision = 1;
    let mut ops = Vec::new();
    for index in 0..shape.txns as u64 {
        moment_ns += 10;
        let mut process = dice.below(shape.processes) as usize;
        if free_at[process] >= moment_ns {
            process = (0..free_at.len()).min_by_key(|&p| free_at[p]).expect("there are some");
            moment_ns = moment_ns.max(free_at[process] + 10);
        }
        let call_ns = (free_at[process] + 1).max(moment_ns.saturating_sub(dice.below(shape.spread_ns)));
        let return_ns = moment_ns + 1 + dice.below(shape.spread_ns);
        let steps = draw_steps(shape, &mut dice, &mut next_value);
        let ending = dice.below(20);
        let takes_effect = ending > 1;
        let answer = if takes_effect {
            apply(shape, &mut state, &steps)
        } else {
            Value::Null
        };
        let writes = steps.iter().any(|s| s[0] != "r");
        if takes_effect && writes {
            revision += 1;
        }
        let outcome = match ending {
            0 => Outcome::Fail {
                error: "refused".to_owned(),
            },
            1 | 2 => Outcome::Info {
                error: "timeout".to_owned(),
            },
            _ => Outcome::Ok {
                value: answer,
                revision: Some(revision),
            },
        };
        let is_info = matches!(outcome, Outcome::Info { .. });
        ops.push(Op {
            index,
            process: number[process],
            node: 1,
            workload: if shape.is_append { "append" } else { "wr" }.to_owned(),
            f: "txn".to_owned(),
            key: None,
            value: Value::Array(steps),
            call_ns,
            return_ns: (!is_info).then_some(return_ns),
            outcome,
        });
        free_at[process] = return_ns;
        if is_info {
            number[process] += shape.processes;
        }
    }
    ops
}

fn draw_steps(shape: Shape, dice: &mut Dice, next_value: &mut BTreeMap<String, i64>) -> Vec<Value> {
    let count = 1 + dice.below(shape.steps_max);
    let mut steps: Vec<Value> = Vec::new();
    for _ in 0..count {
        let key = format!("k{}", dice.below(shape.keys));
        let is_write = dice.below(2) == 0;
        // The store takes one write of a key in a transaction.
        let again = !shape.is_append && steps.iter().any(|s| s[0] == "w" && s[1] == key.as_str());
        if is_write && !again {
            let value = next_value.entry(key.clone()).or_default();
            *value += 1;
            steps.push(json!([if shape.is_append { "append" } else { "w" }, key, *value]));
        } else {
            steps.push(json!(["r", key, null]));
        }
    }
    steps
}

fn apply(shape: Shape, state: &mut BTreeMap<String, Vec<i64>>, steps: &[Value]) -> Value {
    let mut answer = steps.to_vec();
    for step in &mut answer {
        let list = state.entry(step[1].as_str().expect("a key").to_owned()).or_default();
        if step[0] == "r" {
            step[2] = if shape.is_append {
                json!(list)
            } else {
                json!(list.last())
            };
        } else {
            list.push(step[2].as_i64().expect("a number"));
        }
    }
    Value::Array(answer)
}

/// The answer of an operation, to be changed.
pub fn answer_mut(op: &mut Op) -> Option<&mut Vec<Value>> {
    match &mut op.outcome {
        Outcome::Ok { value, .. } => value.as_array_mut(),
        _ => None,
    }
}
