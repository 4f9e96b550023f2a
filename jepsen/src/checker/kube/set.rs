//! The object `set`, to which all clients add.

use super::Told;
use crate::history::{Op, Outcome};
use std::collections::{HashMap, HashSet};

pub(super) fn check(ops: &[&Op], told: &mut Told) {
    let adds: Vec<(&Op, i64)> = ops
        .iter()
        .filter(|op| op.f == "add")
        .filter_map(|op| Some((*op, op.value.as_i64()?)))
        .collect();
    let by_element: HashMap<i64, &Op> = adds.iter().map(|(op, element)| (*element, *op)).collect();
    let mut acknowledged: Vec<(u64, i64)> = adds
        .iter()
        .filter_map(|(op, e)| op.is_ok().then_some((op.return_ns?, *e)))
        .collect();
    acknowledged.sort_unstable();
    for read in ops.iter().filter(|op| matches!(op.f.as_str(), "read" | "read-final")) {
        let Outcome::Ok { value, .. } = &read.outcome else {
            continue;
        };
        let Some(elements) = value.as_array() else { continue };
        let elements: HashSet<i64> = elements.iter().filter_map(serde_json::Value::as_i64).collect();
        told.judgement.count("set-reads", 1);
        let due = acknowledged
            .iter()
            .take_while(|(return_ns, _)| *return_ns < read.call_ns);
        let missing: Vec<i64> = due.map(|(_, e)| *e).filter(|e| !elements.contains(e)).collect();
        if let Some(first) = missing.first() {
            let message = format!(
                "{} does not show {missing:?}, which were acknowledged before",
                read.index
            );
            told.fail(
                "lost-element",
                message,
                vec![by_element[first].index, read.index],
                "set",
            );
        }
        for element in elements {
            match by_element.get(&element) {
                None => {
                    let message = format!("{} shows {element}, which nobody added", read.index);
                    told.fail("garbage-element", message, vec![read.index], "set");
                }
                Some(add) if add.is_fail() => {
                    let message = format!("{} shows {element}, which was refused", read.index);
                    told.fail("aborted-write", message, vec![add.index, read.index], "set");
                }
                Some(_) => {}
            }
        }
    }
}
