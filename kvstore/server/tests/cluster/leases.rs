//! Leases are the leader's, whoever is asked.

use crate::fixture::*;
use keelson_proto::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tokio_stream::wrappers::ReceiverStream;

fn as_is(_: &mut keelson_kvstore::Options) {}

async fn keep_alive(member: &Member, id: i64) -> pb::LeaseKeepAliveResponse {
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(pb::LeaseKeepAliveRequest { id }).await.unwrap();
    let answers = member
        .lease()
        .lease_keep_alive(ReceiverStream::new(requests))
        .await
        .unwrap();
    answers.into_inner().message().await.unwrap().unwrap()
}

async fn remaining(member: &Member, id: i64) -> i64 {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    let answer = member.lease().lease_time_to_live(request).await.unwrap().into_inner();
    answer.ttl
}

#[tokio::test]
async fn leases_are_granted_renewed_and_asked_for_on_any_member() {
    let cluster = Cluster::start(3, as_is).await;
    for (n, member) in (1..).zip(&cluster.members) {
        let request = pb::LeaseGrantRequest { id: n, ttl: 60 };
        assert_eq!(member.lease().lease_grant(request).await.unwrap().into_inner().ttl, 60);
        for other in &cluster.members {
            assert_eq!(keep_alive(other, n).await.ttl, 60);
            assert!((58..=61).contains(&remaining(other, n).await));
            assert_eq!(keep_alive(other, 99).await.ttl, 0);
            assert_eq!(remaining(other, 99).await, -1);
        }
    }
    let short = pb::LeaseGrantRequest { id: 7, ttl: 0 };
    let granted = cluster.members[0]
        .lease()
        .lease_grant(short)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(granted.ttl, 2);
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_leader_gives_leases_their_time_again_and_ends_them() {
    let mut cluster = Cluster::start(3, as_is).await;
    let leader = cluster.leader().await;
    let survivor = cluster.follower().await;
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    cluster.members[leader].lease().lease_grant(grant(1, 5)).await.unwrap();
    cluster.members[leader]
        .lease()
        .lease_grant(grant(2, 100))
        .await
        .unwrap();
    let attached = pb::PutRequest {
        lease: 1,
        ..put("on-lease", "v")
    };
    cluster.members[leader].kv().put(attached).await.unwrap();
    eventually("some of the long lease is gone", || async {
        (remaining(&cluster.members[survivor], 2).await <= 98).then_some(())
    })
    .await;
    cluster.members[leader].stop().await;
    cluster.leader().await;
    let again = Instant::now();
    assert!(remaining(&cluster.members[survivor], 2).await >= 99);
    eventually("the short lease ends", || async {
        let read = cluster.members[survivor].kv().range(get("on-lease")).await.unwrap();
        (read.into_inner().count == 0).then_some(())
    })
    .await;
    assert!(
        again.elapsed() > Duration::from_secs(3),
        "its time began again with the new leader"
    );
    assert_eq!(remaining(&cluster.members[survivor], 1).await, -1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_kept_alive_outlives_its_leader_and_ends_when_left_alone() {
    const TTL: i64 = 3;
    let mut cluster = Cluster::start(3, as_is).await;
    let leader = cluster.leader().await;
    let (keeper, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let grant = pb::LeaseGrantRequest { id: 1, ttl: TTL };
    cluster.members[keeper].lease().lease_grant(grant).await.unwrap();
    let attached = pb::PutRequest {
        lease: 1,
        ..put("on-lease", "v")
    };
    cluster.members[keeper].kv().put(attached).await.unwrap();
    cluster.members[other].kv().range(get("on-lease")).await.unwrap();
    let begun = Instant::now();
    let whole = Duration::from_secs(TTL as u64);
    let mut last_renewal = begun;
    let mut killed = false;
    // Two lives of the lease after the old leader is gone.
    while begun.elapsed() < whole * 3 {
        if !killed && begun.elapsed() > Duration::from_secs(1) {
            cluster.members[leader].kill();
            killed = true;
        }
        let asked = Instant::now();
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(pb::LeaseKeepAliveRequest { id: 1 }).await.unwrap();
        let mut client = cluster.members[keeper].lease();
        let answers = client.lease_keep_alive(ReceiverStream::new(requests));
        // Between two leaders it may fail. It must never say that the lease is gone.
        if let Ok(Some(answer)) = async { answers.await?.into_inner().message().await }.await {
            assert_eq!(answer.ttl, TTL);
            last_renewal = asked;
            let left = remaining(&cluster.members[other], 1).await;
            assert!((1..=TTL + 1).contains(&left), "{left} s are left");
        }
        for member in [keeper, other] {
            let serializable = pb::RangeRequest {
                serializable: true,
                ..get("on-lease")
            };
            let read = cluster.members[member].kv().range(serializable).await.unwrap();
            assert_eq!(read.into_inner().count, 1, "{:?} after the grant", begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(last_renewal.elapsed() < whole, "a new leader renews");
    eventually("the lease ends", || async {
        let read = cluster.members[other].kv().range(get("on-lease")).await.unwrap();
        (read.into_inner().count == 0).then_some(())
    })
    .await;
    let lived = last_renewal.elapsed();
    assert!(lived >= whole && lived < whole * 3, "{lived:?} after its last renewal");
    for member in [keeper, other] {
        assert_eq!(remaining(&cluster.members[member], 1).await, -1);
        assert_eq!(keep_alive(&cluster.members[member], 1).await.ttl, 0);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_left_of_a_lease_is_known_to_the_next_leader_if_it_was_written_down() {
    let mut cluster = Cluster::start(3, |options| {
        options.lease_checkpoint = true;
        options.lease_checkpoint_interval = Duration::from_secs(1);
    })
    .await;
    let leader = cluster.leader().await;
    let survivor = cluster.follower().await;
    let grant = pb::LeaseGrantRequest { id: 1, ttl: 60 };
    cluster.members[leader].lease().lease_grant(grant).await.unwrap();
    let before = eventually("some of it is gone", || async {
        let left = remaining(&cluster.members[survivor], 1).await;
        (left <= 56).then_some(left)
    })
    .await;
    cluster.members[leader].kill();
    let after = eventually("a new leader knows it", || async {
        let request = pb::LeaseTimeToLiveRequest { id: 1, keys: false };
        let answer = cluster.members[survivor].lease().lease_time_to_live(request).await;
        answer.ok().map(|a| a.into_inner().ttl)
    })
    .await;
    // The last second before, and an election timeout on top.
    assert!(after <= before + 3, "{after} s after {before} s");
    // Renewed, it has all of its time, and the one after hears of that too.
    assert_eq!(keep_alive(&cluster.members[survivor], 1).await.ttl, 60);
    assert!(remaining(&cluster.members[survivor], 1).await >= 58);
    cluster.stop().await;
}
