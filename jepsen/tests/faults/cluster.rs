//! Who is a member, who leads, what is compacted, and members that are replaced.
#![allow(clippy::unwrap_used)]

use crate::stage::{Stage, named, told};
use keelson_jepsen::faults::{Fault, Kind, Return, Victims};
use keelson_jepsen::history::Phase;

#[test]
fn members_are_replaced_as_voters_and_as_learners() {
    let stage = Stage::set(&[Kind::Churn], &[]);
    stage.put(1, "key", "value").unwrap();
    let churn = |node, how| Fault::Churn {
        victims: Victims::Nodes(vec![node]),
        how,
    };
    let records = stage.play([(churn(1, Return::Voter), 6000), (churn(2, Return::Learner), 100)]);
    assert_eq!(
        named(&records, Phase::Effect, "replaced").len(),
        2,
        "{}",
        told(&records)
    );
    for node in 1..=3 {
        assert_eq!(stage.get(node, "key").unwrap().as_deref(), Some("value"));
    }
}

#[test]
fn a_member_that_was_away_for_too_long_is_sent_a_snapshot() {
    let stage = Stage::set(
        &[Kind::Snapshot],
        &["--snapshot-count=300", "--snapshot-catchup-entries=50"],
    );
    // The first, whom an operator would ask first.
    let records = stage.play([(Fault::Snapshot { node: 1 }, 20_000)]);
    let ends = named(&records, Phase::End, "snapshot");
    assert_eq!(ends[0].detail["far"], true, "{}", told(&records));
    let installed = named(&records, Phase::Effect, "snapshot-install");
    assert!(installed.iter().any(|r| r.nodes == [1]), "{}", told(&records));
}

#[test]
fn the_leadership_moves_the_past_is_compacted_and_the_store_defragmented() {
    let stage = Stage::set(&[Kind::Leader, Kind::Compact, Kind::Defrag], &[]);
    for number in 0..20 {
        stage.put(1, "key", &number.to_string()).unwrap();
    }
    let compact = Fault::Compact {
        every_ms: 100,
        behind_max: 3,
        seed: 1,
    };
    let records = stage.play([
        (compact, 1500),
        (Fault::Leader { choice: 0 }, 1500),
        (Fault::Defrag(Victims::Nodes(vec![2])), 100),
    ]);
    let moved = named(&records, Phase::Once, "leader");
    assert_eq!(moved.len(), 1, "{}", told(&records));
    let changes = named(&records, Phase::Effect, "leader-change");
    assert!(
        changes.iter().any(|c| c.detail["to"] == moved[0].detail["to"]),
        "{}",
        told(&records)
    );
    assert!(
        !named(&records, Phase::Effect, "compaction").is_empty(),
        "{}",
        told(&records)
    );
    assert!(
        !named(&records, Phase::Effect, "compacted").is_empty(),
        "{}",
        told(&records)
    );
    let defragmented = named(&records, Phase::End, "defrag");
    assert!(defragmented[0].detail["error"].is_null(), "{}", told(&records));
}

#[test]
fn flipped_bits_are_noticed_or_harmless_and_a_member_that_lost_its_mind_is_replaced() {
    let stage = Stage::set(&[Kind::BitFlip, Kind::FsyncLie], &[]);
    for number in 0..50 {
        stage.put(1, &format!("key{number}"), &"v".repeat(1000)).unwrap();
    }
    let flip = Fault::BitFlip {
        node: 2,
        flips: 8,
        seed: 1,
    };
    let records = stage.play([(flip, 100), (Fault::FsyncLie { node: 3 }, 1000)]);
    let told_of = |name: &str| named(&records, Phase::Effect, name).len();
    assert_eq!(
        told_of("flips-noticed") + told_of("flips-harmless"),
        1,
        "{}",
        told(&records)
    );
    assert_eq!(told_of("bytes-lost"), 1, "{}", told(&records));
    for node in 1..=3 {
        assert!(stage.get(node, "key49").unwrap().is_some());
    }
}
