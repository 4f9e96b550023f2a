//! Lists and their pages.

use super::Told;
use super::truth::{Floor, Truth};
use crate::checker::replay::Known;
use crate::checker::watch::Compactions;
use crate::history::{Op, Outcome, Seen};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// What a list asks for.
#[derive(Debug, Deserialize)]
struct Ask {
    rv: String,
    #[serde(rename = "match")]
    matching: String,
    color: String,
    limit: usize,
    token: String,
    walk: u64,
    page: u64,
}

impl Ask {
    fn rv(&self) -> i64 {
        self.rv.parse().unwrap_or(0)
    }

    /// Whether the answer must be of exactly the revision that is asked for.
    fn is_exact(&self) -> bool {
        self.rv() > 0 && (self.matching == "Exact" || (self.limit > 0 && self.matching.is_empty()))
    }
}

/// What it is answered.
#[derive(Debug, Deserialize)]
struct Page {
    rv: i64,
    items: Vec<Seen>,
    more: bool,
    remaining: Option<i64>,
}

/// How far a walk has come.
struct Walk {
    page: u64,
    rv: i64,
    last: String,
}

pub(super) fn check(ops: &[&Op], truth: &Truth<'_>, floor: &Floor, compactions: &Compactions, told: &mut Told) {
    let mut walks: HashMap<u64, Walk> = HashMap::new();
    for op in ops.iter().filter(|op| op.f == "list") {
        let Ok(ask) = serde_json::from_value::<Ask>(op.value.clone()) else {
            told.judgement
                .unknown(format!("the list {} is not understood", op.index));
            continue;
        };
        match &op.outcome {
            Outcome::Ok { value, .. } => one(op, &ask, value, truth, floor, &mut walks, told),
            Outcome::Fail { error } if error.starts_with("410") => {
                gone(op, &ask, walks.get(&ask.walk), compactions, &truth.prefix, told);
            }
            _ => {}
        }
    }
}

fn one(
    op: &Op,
    ask: &Ask,
    answer: &Value,
    truth: &Truth<'_>,
    floor: &Floor,
    walks: &mut HashMap<u64, Walk>,
    told: &mut Told,
) {
    let Ok(page) = serde_json::from_value::<Page>(answer.clone()) else {
        told.judgement
            .unknown(format!("the answer of {} is not understood", op.index));
        return;
    };
    told.judgement.count("lists", 1);
    let before = walks.get(&ask.walk).filter(|w| ask.page > 0 && w.page + 1 == ask.page);
    revision(op, ask, &page, before, floor, &truth.prefix, told);
    if ask.page == 0 || before.is_some() {
        let after = before.map(|w| w.last.as_str());
        content(op, ask, &page, after, truth, told);
    }
    if let Some(last) = page.items.last() {
        let walk = Walk {
            page: ask.page,
            rv: page.rv,
            last: last.name.clone(),
        };
        walks.insert(ask.walk, walk);
    }
}

/// Of which revision the answer may be.
fn revision(op: &Op, ask: &Ask, page: &Page, before: Option<&Walk>, floor: &Floor, place: &str, told: &mut Told) {
    let (rv, index) = (page.rv, op.index);
    if ask.token == "consistent" {
        if let Some(walk) = before.filter(|w| w.rv != rv) {
            let message = format!(
                "page {} of walk {} is of {rv}, the page before of {}",
                ask.page, ask.walk, walk.rv
            );
            told.fail("token-left-snapshot", message, vec![index], place);
        }
        return;
    }
    let least = if ask.token == "inconsistent" || ask.rv.is_empty() {
        floor.before(op.call_ns)
    } else {
        ask.rv()
    };
    if ask.token.is_empty() && ask.is_exact() {
        if rv != ask.rv() {
            let message = format!("{index} is of {rv}, and was asked for exactly {}", ask.rv);
            told.fail("not-exact", message, vec![index], place);
        }
    } else if rv < least {
        let message = format!("{index} is of {rv}, and must not be older than {least}");
        told.fail("stale-list", message, vec![index], place);
    }
}

/// The content at the answer's revision, from where the page before ended.
fn content(op: &Op, ask: &Ask, page: &Page, after: Option<&str>, truth: &Truth<'_>, told: &mut Told) {
    let Known::Known(content) = truth.content(page.rv, &ask.color) else {
        told.judgement.count("lists-of-unknown-revisions", 1);
        return;
    };
    let rest: Vec<_> = content
        .into_iter()
        .filter(|(name, _)| after.is_none_or(|a| *name > a))
        .collect();
    let limit = if ask.limit == 0 { rest.len() } else { ask.limit };
    let expected = &rest[..limit.min(rest.len())];
    let is_same = expected.len() == page.items.len()
        && expected
            .iter()
            .zip(&page.items)
            .all(|((name, object), seen)| *name == seen.name && object.rv == seen.rv && object.is_shown_by(seen));
    if !is_same {
        let shown: Vec<_> = page.items.iter().map(|s| (s.name.as_str(), s.rv, s.v)).collect();
        let stored: Vec<_> = expected.iter().map(|(name, o)| (*name, o.rv, o.v)).collect();
        let message = format!("{} at {} shows {shown:?}, the store has {stored:?}", op.index, page.rv);
        told.fail("wrong-list", message, vec![op.index], &truth.prefix);
        return;
    }
    let left = rest.len() - expected.len();
    let counted = page
        .remaining
        .is_none_or(|r| ask.color.is_empty() && usize::try_from(r) == Ok(left));
    let is_missing = page.remaining.is_none() && ask.color.is_empty() && left > 0;
    let is_told = page.more == (left > 0) || (page.more && may_be_more(ask, page, truth));
    if !is_told || !counted || is_missing {
        let message = format!(
            "{} at {} tells of more: {}, remaining: {:?}; there are {left} more",
            op.index, page.rv, page.more, page.remaining
        );
        told.fail("wrong-remaining", message, vec![op.index], &truth.prefix);
    }
}

/// Whether a server that stopped at a full page cannot know that nothing else meets the selector: something is left, and
/// it has not looked at it. Upstream's does not, in `GetList` of `storage/etcd3/store.go`.
fn may_be_more(ask: &Ask, page: &Page, truth: &Truth<'_>) -> bool {
    if ask.color.is_empty() || page.items.len() != ask.limit {
        return false;
    }
    let (Some(last), Known::Known(all)) = (page.items.last(), truth.content(page.rv, "")) else {
        return false;
    };
    all.keys().any(|name| *name > last.name.as_str())
}

/// 410 is right only when the revision may have been compacted.
fn gone(op: &Op, ask: &Ask, walk: Option<&Walk>, compactions: &Compactions, place: &str, told: &mut Told) {
    let rv = match walk {
        Some(walk) if ask.token == "consistent" => walk.rv,
        _ if ask.is_exact() => ask.rv(),
        _ => 0,
    };
    let end_ns = op.return_ns.unwrap_or(u64::MAX);
    // At exactly the compacted revision everything can still be read.
    if rv == 0 || !compactions.may_have(rv + 1, end_ns) {
        let message = format!(
            "{} was refused as too old, and revision {rv} was not compacted: {ask:?}",
            op.index
        );
        told.fail("wrong-410", message, vec![op.index], place);
    }
}
