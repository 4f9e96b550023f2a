//! Processes that are killed or paused, by a plan, and that nothing of a world is left.
#![allow(clippy::unwrap_used)]

use crate::stage::{BOUND, Stage, named, target, told};
use keelson_jepsen::faults::{Fault, Kind, Victims};
use keelson_jepsen::history::Phase;
use keelson_jepsen::world::{Skew, State, Target};

#[test]
fn the_killed_are_down_the_paused_silent_and_all_come_again() {
    let stage = Stage::set(&[Kind::Kill, Kind::Pause], &[]);
    stage.put(1, "key", "value").unwrap();
    let records = stage.play([
        (Fault::Kill(Victims::Leader), 1500),
        (Fault::Pause(Victims::Nodes(vec![1, 2])), 3000),
        (Fault::PowerLoss(Victims::Nodes(vec![1, 2, 3])), 100),
    ]);
    for fault in ["kill", "pause", "power-loss"] {
        for phase in [Phase::Begin, Phase::End] {
            assert_eq!(
                named(&records, phase, fault).len(),
                1,
                "{fault} {phase:?}\n{}",
                told(&records)
            );
        }
    }
    assert!(
        !named(&records, Phase::Effect, "leader-change").is_empty(),
        "{}",
        told(&records)
    );
    assert!(!named(&records, Phase::Effect, "status").is_empty());
    assert_eq!(stage.get(1, "key").unwrap().as_deref(), Some("value"));
}

#[test]
fn nothing_of_a_world_is_left() {
    let stage = Stage::set(&[Kind::SlowDisk, Kind::Delay], &[]);
    let world = &stage.world;
    world.pause(1).unwrap();
    assert_eq!(world.state(1), State::Paused);
    assert!(world.health(1).is_err());
    let scratch = world.scratch().to_owned();
    world.stop().unwrap();
    drop(stage);
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    assert!(!mounts.contains(scratch.to_str().unwrap()), "{mounts}");
    // The same thread can have another one.
    let again = Stage::set(&[], &[]);
    again.world.wait_healthy(BOUND).unwrap();
}

/// Go asks the kernel for the time, past the shim.
#[test]
fn a_member_of_ours_believes_in_its_wrong_clock() {
    if !matches!(target(), Target::Keelson(_)) {
        return;
    }
    let stage = Stage::set(&[Kind::Clock], &[]);
    let world = &stage.world;
    let tomorrow = Skew {
        offset_ms: 86_400_000,
        ..Skew::default()
    };
    world.skew(1, tomorrow).unwrap();
    // What it says when it starts has the time.
    world.kill(1);
    world.start_member(1).unwrap();
    world.wait_healthy(BOUND).unwrap();
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(23);
    let log = std::fs::read_to_string(world.log(1)).unwrap();
    let said = log.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["ts"].as_str()?.parse::<jiff::Timestamp>().ok()
    });
    assert!(said.clone().any(|time| time > later), "{:?}", said.max());
}
