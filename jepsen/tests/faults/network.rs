//! Networks: what is cut does not arrive, and only that; what is slow is late.
#![allow(clippy::unwrap_used)]

use crate::stage::{BOUND, Stage, eventually};
use keelson_jepsen::faults::Kind;
use keelson_jepsen::world::{End, Flow, Pace, address};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const FAULT: u64 = 1;

#[test]
fn a_member_without_peers_answers_nothing_and_the_others_do() {
    let stage = Stage::set(&[Kind::Partition], &[]);
    let cut: Vec<Flow> = [1, 2]
        .iter()
        .flat_map(|n| Flow::between(End::Node(3), End::Node(*n)))
        .collect();
    stage.world.drop_packets(FAULT, &cut, 100).unwrap();
    eventually("a write through the majority", || stage.put(1, "key", "value"));
    let alone = stage.get(3, "key");
    assert!(alone.is_err(), "{alone:?}");
    stage.world.drop_packets(FAULT, &[], 0).unwrap();
    eventually("a read through the member that was alone", || stage.get(3, "key"));
}

#[test]
fn one_way_is_one_way() {
    let stage = Stage::set(&[Kind::ClientPartition], &[]);
    stage.put(1, "before", "the connection is there").unwrap();
    let answers = Flow {
        from: End::Node(1),
        to: End::Clients,
    };
    stage.world.drop_packets(FAULT, &[answers], 100).unwrap();
    let unanswered = stage.put(1, "out", "value");
    assert!(unanswered.is_err(), "{unanswered:?}");
    let arrived = stage.get(2, "out").unwrap();
    assert_eq!(arrived.as_deref(), Some("value"), "the request was cut, not the answer");
    stage.world.drop_packets(FAULT, &[], 0).unwrap();
    eventually("a connection again", || stage.put(1, "between", "value"));
    let requests = Flow {
        from: End::Clients,
        to: End::Node(1),
    };
    stage.world.drop_packets(FAULT, &[requests], 100).unwrap();
    let unheard = stage.put(1, "in", "value");
    assert!(unheard.is_err(), "{unheard:?}");
    assert_eq!(stage.get(2, "in").unwrap(), None);
}

#[test]
fn some_packets_are_lost() {
    let stage = Stage::set(&[Kind::Loss], &[]);
    let to: SocketAddr = format!("{}:2379", address(1)).parse().unwrap();
    // A lost packet is sent again after a second.
    let connects = || TcpStream::connect_timeout(&to, Duration::from_millis(700)).is_ok();
    assert!((0..5).any(|_| connects()));
    stage
        .world
        .drop_packets(FAULT, &Flow::between(End::Clients, End::Node(1)), 50)
        .unwrap();
    let made = (0..20).filter(|_| connects()).count();
    assert!(made < 20, "nothing was lost");
    stage.world.mend_network().unwrap();
    stage.world.wait_healthy(BOUND).unwrap();
}

#[test]
fn peer_links_are_late_or_stuck_and_quick_again() {
    let stage = Stage::set(&[Kind::Delay, Kind::Blackhole], &[]);
    let world = &stage.world;
    let all = |pace: Pace| {
        for from in world.nodes() {
            for to in world.nodes().filter(|to| *to != from) {
                world.pace(from, to, pace).unwrap();
            }
        }
    };
    stage.put(1, "key", "value").unwrap();
    all(Pace {
        delay: Duration::from_millis(300),
        ..Pace::default()
    });
    // To a follower and back; or no leader stays one.
    let late = stage.put(1, "key", "value");
    assert!(
        late.as_ref().map_or(true, |took| *took >= Duration::from_millis(600)),
        "{late:?}"
    );
    all(Pace {
        stuck: true,
        ..Pace::default()
    });
    let stuck = stage.put(1, "key", "value");
    assert!(stuck.is_err(), "{stuck:?}");
    all(Pace::default());
    eventually("a quick write again", || match stage.put(1, "key", "value") {
        Ok(took) if took < Duration::from_millis(600) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
