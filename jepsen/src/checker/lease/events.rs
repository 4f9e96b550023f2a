//! What the sequence of states shows of leases: keys that go, go together and do not come again.

use super::PREFIX;
use super::life::{End, Life};
use crate::checker::replay::{Known, Replay, SPECTATOR};
use crate::checker::{Evidence, Judgement};
use crate::history::WatchKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Judges deletions, and notes them as ends of their leases.
pub(super) fn check(
    evidence: &Evidence,
    replay: &Replay<'_>,
    deleted: &HashSet<&str>,
    lives: &mut BTreeMap<i64, Life<'_>>,
    judgement: &mut Judgement,
) {
    let mut attached: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    // The revisions at which keys of a lease were deleted.
    let mut gone: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for key in replay
        .keys()
        .filter(|key| key.starts_with(PREFIX) && !deleted.contains(key))
    {
        for version in replay.versions(key) {
            if version.lease != 0 {
                attached.entry(version.lease).or_default().insert(key);
            }
            if version.is_deleted()
                && let Known::Known(Some(before)) = replay.at(key, version.mod_revision - 1)
                && before.lease != 0
            {
                gone.entry(before.lease).or_default().insert(version.mod_revision);
            }
        }
    }
    let shown_ns = shown(evidence);
    for (&lease, revisions) in &gone {
        let keys = &attached[&lease];
        for &revision in revisions {
            check_whole(replay, lease, keys, revision, Vec::new(), judgement);
        }
        let Some(&first) = revisions.first() else { continue };
        check_after(replay, lease, keys, first, judgement);
        if let Some(&by_ns) = shown_ns.get(&first) {
            lives.entry(lease).or_default().ends.push(End {
                by_ns,
                op: None,
                text: format!("the deletion of its keys at revision {first}, seen"),
            });
        }
    }
    for (&lease, life) in lives.iter() {
        for revoke in &life.revokes {
            let (Some(revision), Some(keys)) = (revoke.revision(), attached.get(&lease)) else {
                continue;
            };
            check_whole(replay, lease, keys, revision, vec![revoke.index], judgement);
            check_after(replay, lease, keys, revision, judgement);
        }
    }
}

/// When a revision was first shown to a spectator.
fn shown(evidence: &Evidence) -> HashMap<i64, u64> {
    let mut shown: HashMap<i64, u64> = HashMap::new();
    for (_, records) in evidence
        .watches
        .iter()
        .filter(|(client, _)| client.starts_with(SPECTATOR))
    {
        for record in records {
            if let WatchKind::Events { events, .. } = &record.what {
                for event in events {
                    let first = shown.entry(event.mod_revision).or_insert(record.time_ns);
                    *first = record.time_ns.min(*first);
                }
            }
        }
    }
    shown
}

/// No key that was attached before a revision is still there after it.
fn check_whole(
    replay: &Replay<'_>,
    lease: i64,
    keys: &BTreeSet<&str>,
    revision: i64,
    ops: Vec<u64>,
    judgement: &mut Judgement,
) {
    let of_lease = |key: &str, at: i64| {
        replay
            .at(key, at)
            .known()
            .flatten()
            .filter(|version| version.lease == lease)
    };
    let left: Vec<&str> = keys
        .iter()
        .filter(|key| of_lease(key, revision - 1).is_some() && of_lease(key, revision).is_some())
        .copied()
        .collect();
    if !left.is_empty() {
        let message = format!(
            "lease {lease} ended at revision {revision}, and its keys stay: {}",
            left.join(", ")
        );
        judgement.fail("partial-revoke", message, ops, Value::Null);
    }
}

/// Nothing is attached after the end.
fn check_after(replay: &Replay<'_>, lease: i64, keys: &BTreeSet<&str>, end: i64, judgement: &mut Judgement) {
    for key in keys {
        if let Some(late) = replay
            .versions(key)
            .iter()
            .find(|version| version.lease == lease && version.mod_revision > end)
        {
            let message = format!(
                "lease {lease} ended at revision {end}, and {key} was attached to it at revision {}",
                late.mod_revision
            );
            judgement.fail("resurrected-lease", message, Vec::new(), Value::Null);
        }
    }
}
