//! Disks: what a power loss takes, what a full one refuses, how slow a slow one is, what syncs say.
#![allow(clippy::unwrap_used)]

use crate::stage::{BOUND, Stage, eventually};
use keelson_jepsen::faults::Kind;
use keelson_jepsen::world::{DiskRate, State, SyncFault};
use std::io::Write;
use std::time::Duration;

#[test]
fn a_power_loss_takes_what_was_not_synced_and_leaves_what_was() {
    let stage = Stage::set(&[Kind::PowerLoss], &[]);
    let world = &stage.world;
    let data = world.data(1);
    let (kept, lost) = (data.join("kept"), data.join("lost"));
    let mut file = std::fs::File::create(&kept).unwrap();
    file.write_all(&[7; 10_000]).unwrap();
    file.sync_all().unwrap();
    std::fs::File::open(&data).unwrap().sync_all().unwrap();
    file.write_all(&[8; 10_000]).unwrap();
    std::fs::write(&lost, [9; 10_000]).unwrap();
    drop(file);
    let loss = world.power_loss(1).unwrap();
    assert_eq!(world.state(1), State::Down);
    assert_eq!(std::fs::read(&kept).unwrap(), [7; 10_000]);
    assert!(!lost.exists(), "a file that was never synced has survived");
    assert!(loss.bytes >= 20_000 && loss.files >= 2, "{loss:?}");
    world.start_member(1).unwrap();
    world.wait_healthy(BOUND).unwrap();
}

#[test]
fn a_sync_that_lies_leaves_less_on_the_disk_than_was_promised() {
    let stage = Stage::set(&[Kind::FsyncLie], &[]);
    stage.world.sync_fault(1, Some(SyncFault::Lie)).unwrap();
    for number in 0..20 {
        stage.put(2, &format!("key{number}"), &"v".repeat(10_000)).unwrap();
    }
    // The member has it, or a snapshot of it, in its log.
    eventually("the last write at the member that lies", || {
        match stage.get(1, "key19")? {
            Some(_) => Ok(()),
            None => Err("not there".to_owned()),
        }
    });
    let loss = stage.world.power_loss(1).unwrap();
    assert!(loss.bytes > 100_000, "{loss:?}");
}

#[test]
fn a_full_disk_has_no_room_until_it_is_freed() {
    let stage = Stage::set(&[Kind::DiskFull], &[]);
    let world = &stage.world;
    let file = world.data(1).join("more");
    world.fill_disk(1).unwrap();
    let refused = std::fs::write(&file, vec![1; 1 << 20]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    world.free_disk(1).unwrap();
    std::fs::write(&file, vec![1; 1 << 20]).unwrap();
    world.start_member(1).unwrap();
    world.wait_healthy(BOUND).unwrap();
}

#[test]
fn slow_disks_and_slow_syncs_delay_writes_until_they_are_quick_again() {
    let stage = Stage::set(&[Kind::SlowDisk, Kind::FsyncSlow], &[]);
    let world = &stage.world;
    let value = "v".repeat(300_000);
    let quick = |what: &str| {
        eventually(what, || match stage.put(1, "key", &value) {
            Ok(took) if took < Duration::from_secs(1) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    quick("a quick write before");
    let rate = DiskRate {
        bytes_per_s: 150_000,
        writes_per_s: 0,
    };
    for node in world.nodes() {
        world.slow_disk(node, Some(rate)).unwrap();
    }
    // Refused for its slowness is slow too.
    let slow = stage.put(1, "key", &value);
    assert!(
        slow.as_ref().map_or(true, |took| *took > Duration::from_secs(1)),
        "{slow:?}"
    );
    for node in world.nodes() {
        world.slow_disk(node, None).unwrap();
    }
    quick("a quick write after");
    for node in world.nodes() {
        let slow = SyncFault::Slow(Duration::from_millis(600));
        world.sync_fault(node, Some(slow)).unwrap();
    }
    let slow = stage.put(1, "key", "v");
    assert!(
        slow.as_ref().map_or(true, |took| *took >= Duration::from_millis(600)),
        "{slow:?}"
    );
    for node in world.nodes() {
        world.sync_fault(node, None).unwrap();
    }
    quick("a quick write at last");
}

#[test]
fn a_member_whose_sync_fails_does_not_go_on() {
    let stage = Stage::set(&[Kind::FsyncError], &[]);
    let world = &stage.world;
    world.sync_fault(1, Some(SyncFault::Fail)).unwrap();
    eventually("the end of the member", || {
        let written = stage.put(2, "key", "value");
        match world.state(1) {
            State::Ended(_) => Ok(()),
            other => Err(format!("{other:?}, {written:?}")),
        }
    });
    world.start_member(1).unwrap();
    world.wait_healthy(BOUND).unwrap();
}
