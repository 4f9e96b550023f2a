//! What is known of one lease.

use super::id_of;
use crate::checker::Judgement;
use crate::history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the store says of a lease that it does not have.
const NOT_FOUND: &str = "lease not found";
/// A second.
pub(super) const S: u64 = 1_000_000_000;

/// The lease lives until then.
#[derive(Clone, Copy)]
pub(super) struct Promise<'a> {
    pub op: &'a Op,
    pub until_ns: u64,
}

/// Somebody was shown that the lease had ended.
#[derive(Clone)]
pub(super) struct End {
    /// It ended before that time.
    pub by_ns: u64,
    pub op: Option<u64>,
    pub text: String,
}

/// A lease.
#[derive(Default)]
pub(super) struct Life<'a> {
    pub grant: Option<&'a Op>,
    pub ttl_s: u64,
    pub promises: Vec<Promise<'a>>,
    /// Every attempt to renew it, however it ended.
    pub attempts: Vec<&'a Op>,
    pub revokes: Vec<&'a Op>,
    /// Answers that show it alive after their call.
    pub alive: Vec<&'a Op>,
    pub ends: Vec<End>,
}

/// Takes an operation into the life of its lease; `false` when it is of another form.
pub(super) fn note<'a>(op: &'a Op, lives: &mut BTreeMap<i64, Life<'a>>) -> bool {
    if op.f == "grant" {
        let Some(answer) = op.answer() else { return true };
        let (Some(id), Some(ttl_s)) = (id_of(answer), answer.get("ttl").and_then(Value::as_u64)) else {
            return false;
        };
        let life = lives.entry(id).or_default();
        life.grant = Some(op);
        life.ttl_s = ttl_s;
        life.promises.push(Promise {
            op,
            until_ns: op.call_ns.saturating_add(ttl_s.saturating_mul(S)),
        });
        return true;
    }
    if !matches!(op.f.as_str(), "attach" | "keepalive" | "revoke" | "ttl") {
        return matches!(op.f.as_str(), "get" | "delete");
    }
    let Some(id) = id_of(&op.value) else { return false };
    let life = lives.entry(id).or_default();
    if let Outcome::Fail { error } = &op.outcome
        && error.contains(NOT_FOUND)
    {
        life.end(op, "found no lease");
        return true;
    }
    match op.f.as_str() {
        "attach" if op.is_ok() => life.alive.push(op),
        "revoke" if !op.is_fail() => life.revokes.push(op),
        "keepalive" => {
            life.attempts.push(op);
            let Some(answer) = op.answer() else { return true };
            let Some(ttl_s) = answer.get("ttl").and_then(Value::as_i64) else {
                return false;
            };
            if let Ok(ttl_s @ 1..) = u64::try_from(ttl_s) {
                life.alive.push(op);
                life.promises.push(Promise {
                    op,
                    until_ns: op.call_ns.saturating_add(ttl_s.saturating_mul(S)),
                });
            } else {
                life.end(op, "was answered TTL 0");
            }
        }
        "ttl" => {
            let Some(answer) = op.answer() else { return true };
            match answer.get("ttl").and_then(Value::as_i64) {
                Some(1..) => life.alive.push(op),
                Some(-1) => life.end(op, "was answered TTL -1"),
                Some(_) => {}
                None => return false,
            }
        }
        _ => {}
    }
    true
}

/// Reads that miss a key which was attached to one lease alone show that this has ended.
pub(super) fn note_reads<'a>(ops: &[&'a Op], deleted: &HashSet<&str>, lives: &mut BTreeMap<i64, Life<'a>>) {
    let mut attached: HashMap<&str, Vec<(&Op, i64)>> = HashMap::new();
    for op in ops.iter().filter(|op| op.f == "attach") {
        if let (Some(key), Some(id)) = (op.key.as_deref(), id_of(&op.value)) {
            attached.entry(key).or_default().push((op, id));
        }
    }
    for op in ops.iter().filter(|op| op.f == "get") {
        let Some((key, answer)) = op.key.as_deref().zip(op.answer()) else {
            continue;
        };
        let Some(attaches) = attached.get(key).filter(|_| !deleted.contains(key)) else {
            continue;
        };
        let id = attaches[0].1;
        let alone = attaches.iter().all(|&(_, other)| other == id);
        let before = attaches
            .iter()
            .any(|(attach, _)| attach.is_ok() && attach.return_ns.is_some_and(|ns| ns < op.call_ns));
        if alone && before && answer.get("value").is_some_and(Value::is_null) {
            lives.entry(id).or_default().end(op, "misses its key");
        }
    }
}

impl Life<'_> {
    fn end(&mut self, op: &Op, text: &str) {
        self.ends.push(End {
            by_ns: op.return_ns.unwrap_or(u64::MAX),
            op: Some(op.index),
            text: format!("operation {} ({}) {text}", op.index, op.f),
        });
    }

    /// It must not have ended before what was promised, unless somebody revoked it, and must not live again.
    pub(super) fn check_early(&self, id: i64, judgement: &mut Judgement) {
        let Some(end) = self.ends.iter().min_by_key(|end| end.by_ns) else {
            return;
        };
        if let Some(alive) = self.alive.iter().find(|op| op.call_ns > end.by_ns) {
            let message = format!(
                "lease {id}: {} at {} shows it ended, and operation {} ({}), called at {}, shows it alive",
                end.text,
                seconds(end.by_ns),
                alive.index,
                alive.f,
                seconds(alive.call_ns)
            );
            judgement.fail(
                "resurrected-lease",
                message,
                end.op.into_iter().chain([alive.index]).collect(),
                Value::Null,
            );
        }
        // One end may be shown before a revoke was called and another after: the first is the one that counts.
        if self.revokes.iter().any(|revoke| revoke.call_ns <= end.by_ns) {
            return;
        }
        let promised = self.promises.iter().filter(|promise| promise.op.call_ns <= end.by_ns);
        if let Some(promise) = promised
            .max_by_key(|promise| promise.until_ns)
            .filter(|promise| promise.until_ns > end.by_ns)
        {
            let message = format!(
                "lease {id}: {} at {}, and operation {} ({}), called at {}, made it live until {} at least",
                end.text,
                seconds(end.by_ns),
                promise.op.index,
                promise.op.f,
                seconds(promise.op.call_ns),
                seconds(promise.until_ns)
            );
            let ops = std::iter::once(promise.op.index).chain(end.op).collect();
            judgement.fail("early-expiry", message, ops, Value::Null);
        }
    }
}

/// For messages.
#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}
