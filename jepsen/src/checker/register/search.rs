//! Linearizability of each key by search, without a look at revisions.

use super::decode::{self, Answer, Call, Request};
use crate::checker::linear::{self, Bounds, Linearizable, Model, Partial, Searched};
use crate::checker::{Checker, Evidence, Judgement};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

/// Judges every key by itself: linearizability is local.
#[derive(Default)]
pub struct Search {
    pub bounds: Bounds,
}

impl Checker for Search {
    fn name(&self) -> &'static str {
        "register-linearizable"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let keys = decode::by_key(evidence, &mut judgement);
        let mut ok = 0;
        for (key, calls) in &keys {
            let calls = &written(key, calls, &mut judgement);
            let prepared = prepare(calls);
            ok += prepared.iter().filter(|call| call.return_ns.is_some()).count();
            let found = linear::search(&Register(PhantomData), &prepared, self.bounds);
            judgement.count("keys", 1);
            judgement.count("steps", found.steps);
            match &found.linearizable {
                Linearizable::Yes => {}
                Linearizable::Unknown(why) => judgement.unknown(format!("key {key}: {why}")),
                Linearizable::No => report(&mut judgement, key, &prepared, &found),
            }
        }
        super::note_emptiness(evidence, &mut judgement, ok);
        judgement
    }
}

/// Takes out what tells a value that nobody wrote: no order could explain that, and the rest is judged all the same.
fn written<'a>(key: &str, calls: &[Call<'a>], judgement: &mut Judgement) -> Vec<Call<'a>> {
    let values: HashSet<&str> = calls.iter().filter_map(|call| call.request.writes()).collect();
    let mut explained = |call: &&Call<'a>| {
        let phantom = call.saw().filter(|value| !values.contains(value));
        if let Some(value) = phantom {
            let message = format!("key {key}: {} tells {value}, which nobody wrote", call.text());
            judgement.fail("phantom-value", message, vec![call.op.index], Value::Null);
        }
        phantom.is_none()
    };
    calls.iter().filter(|call| explained(call)).copied().collect()
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell<'a> {
    Absent,
    Value(&'a str),
    /// The value of a write that never ended and that nobody saw: one is like another. That a swap from such a value
    /// was refused is not held against it.
    Unnamed,
}

/// An operation on a register.
pub(super) struct Step<'a> {
    call: Call<'a>,
    /// It never ended, and nobody saw its value.
    unnamed: bool,
}

struct Register<'a>(PhantomData<&'a str>);

impl<'a> Model for Register<'a> {
    type State = Cell<'a>;
    type Op = Step<'a>;

    fn init(&self) -> Cell<'a> {
        Cell::Absent
    }

    fn step(&self, state: &Cell<'a>, op: &Step<'a>) -> Option<Cell<'a>> {
        op.step(*state)
    }
}

fn cell(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Absent, Cell::Value)
}

/// Marks numbers of operations that are alike when they compare with the same.
const COMPARED: u64 = 1 << 63;

impl<'a> Step<'a> {
    /// The state after it. One without an answer is only taken where it changes something.
    fn step(&self, state: Cell<'a>) -> Option<Cell<'a>> {
        let written = |value| {
            if self.unnamed {
                Cell::Unnamed
            } else {
                Cell::Value(value)
            }
        };
        match (self.call.request, self.call.answer) {
            (Request::Put(value), _) => Some(written(value)),
            (_, Some(Answer::Read { value, .. })) => (cell(value) == state).then_some(state),
            (Request::Cas { from, to }, answer) => {
                let same = state == cell(from);
                match answer {
                    Some(Answer::Swapped(false)) => (!same).then_some(state),
                    _ => same.then(|| written(to)),
                }
            }
            // Of the revision only this is known here: 0 is absent, and nothing else is.
            (Request::CasMod { modified, to }, answer) => {
                let possible = (state == Cell::Absent) == (modified == 0);
                match answer {
                    Some(Answer::Swapped(false)) => (!possible || modified != 0).then_some(state),
                    _ => possible.then(|| written(to)),
                }
            }
            (Request::Delete, Some(Answer::Deleted { any: true, previous })) => {
                let fits = match previous {
                    Some(previous) => state == Cell::Value(previous),
                    None => state != Cell::Absent,
                };
                fits.then_some(Cell::Absent)
            }
            (Request::Delete, Some(_)) => (state == Cell::Absent).then_some(state),
            (Request::Delete, None) => (state != Cell::Absent).then_some(Cell::Absent),
            (Request::Get | Request::GetSerializable, _) => None,
        }
    }

    /// Which open operations it is like.
    fn alike(&self) -> u64 {
        match self.call.request {
            Request::Put(_) | Request::Get | Request::GetSerializable => 0,
            Request::Delete => 1,
            Request::CasMod { modified: 0, .. } | Request::Cas { from: None, .. } => 2,
            Request::CasMod { .. } => 3,
            Request::Cas { from: Some(from), .. } => {
                let mut hasher = DefaultHasher::new();
                from.hash(&mut hasher);
                hasher.finish() | COMPARED
            }
        }
    }
}

/// When a value was first told by an answer that had returned. What a seen cas without an end compared with was seen
/// as well.
fn first_seen<'a>(calls: &[Call<'a>]) -> HashMap<&'a str, u64> {
    let mut first_ns: HashMap<&str, u64> = HashMap::new();
    let mut told: Vec<(&str, u64)> = calls
        .iter()
        .filter_map(|call| Some((call.saw()?, call.op.return_ns?)))
        .collect();
    let open: HashMap<&str, &str> = calls
        .iter()
        .filter(|call| call.op.is_info())
        .filter_map(|call| match call.request {
            Request::Cas { from: Some(from), to } => Some((to, from)),
            _ => None,
        })
        .collect();
    while let Some((value, ns)) = told.pop() {
        let first = first_ns.entry(value).or_insert(u64::MAX);
        if ns < *first {
            *first = ns;
            told.extend(open.get(value).map(|&from| (from, ns)));
        }
    }
    first_ns
}

/// What the search is given of a key: nothing that failed, no reads without an answer, no serializable ones. A write
/// without an end whose value was seen took effect before the first answer that tells it returned.
pub(super) fn prepare<'a>(calls: &[Call<'a>]) -> Vec<linear::Call<Step<'a>>> {
    let first_seen_ns = first_seen(calls);
    let mut prepared = Vec::with_capacity(calls.len());
    for &call in calls {
        let dropped = call.op.is_fail()
            || (call.op.is_info() && call.request.is_read())
            || call.request == Request::GetSerializable;
        if dropped {
            continue;
        }
        let seen_ns = call
            .request
            .writes()
            .and_then(|value| first_seen_ns.get(value))
            .copied();
        let step = Step {
            call,
            unnamed: call.op.is_info() && seen_ns.is_none() && call.request.writes().is_some(),
        };
        prepared.push(linear::Call {
            call_ns: call.op.call_ns,
            return_ns: if call.op.is_info() {
                // A value seen before it was written cannot be explained in any case.
                seen_ns.map(|ns| ns.max(call.op.call_ns))
            } else {
                call.op.return_ns
            },
            alike: step.alike(),
            op: step,
        });
    }
    prepared
}

fn report(judgement: &mut Judgement, key: &str, calls: &[linear::Call<Step<'_>>], found: &Searched<Cell<'_>>) {
    let Some(partial) = found.partials.first() else {
        return judgement.fail(
            "non-linearizable",
            format!("key {key}: no order explains the answers"),
            Vec::new(),
            Value::Null,
        );
    };
    let stuck = partial.stuck.map(|at| &calls[at].op.call);
    let what = stuck.map_or_else(String::new, |call| {
        format!("operation {} ({})", call.op.index, call.text())
    });
    let mut ops: Vec<u64> = stuck.map(|call| call.op.index).into_iter().collect();
    ops.extend(
        partial
            .refused
            .iter()
            .map(|&at| calls[at].op.call.op.index)
            .filter(|index| !ops.contains(index))
            .collect::<Vec<_>>(),
    );
    ops.extend(
        partial
            .tail
            .iter()
            .rev()
            .take(3)
            .map(|&(at, _)| calls[at].op.call.op.index),
    );
    let message = format!(
        "key {key}: no order explains the answers: after {} operations the value is {}, and {what} cannot follow",
        partial.length,
        state_text(partial.state),
    );
    let detail = json!({
        "key": key,
        "partials": found.partials.iter().map(|partial| detail(calls, partial)).collect::<Vec<_>>(),
    });
    judgement.fail("non-linearizable", message, ops, detail);
}

fn detail(calls: &[linear::Call<Step<'_>>], partial: &Partial<Cell<'_>>) -> Value {
    let op = |at: usize| json!({"op": calls[at].op.call.op.index, "text": calls[at].op.call.text()});
    json!({
        "length": partial.length,
        "state": state_text(partial.state),
        "tail": partial.tail.iter().map(|&(at, state)| {
            let mut op = op(at);
            op["state"] = state_text(state).into();
            op
        }).collect::<Vec<_>>(),
        "stuck": partial.stuck.map(op),
        "refused": partial.refused.iter().map(|&at| op(at)).collect::<Vec<_>>(),
    })
}

fn state_text(state: Cell<'_>) -> &str {
    match state {
        Cell::Absent => "absent",
        Cell::Value(value) => value,
        Cell::Unnamed => "a value that nobody saw",
    }
}
