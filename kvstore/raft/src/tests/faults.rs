//! Partitions, slow and lossy links: nothing acknowledged is lost, nothing happens twice.
#![allow(clippy::unwrap_used)]
use super::network::{Cluster, put};
use crate::{Error, Start};
use std::{collections::BTreeSet, time::Duration};

#[tokio::test]
async fn a_leader_that_is_cut_off_loses_nothing_that_it_acknowledged() {
    let cluster = Cluster::form(3).await;
    let old = cluster.leader().await;
    let mut acked = BTreeSet::new();
    acked.insert(put(cluster.node(old), "before").await.unwrap());
    cluster.links.isolate(old, 1..=3);
    // Taken while it still believes that it leads; what becomes of them is open.
    let stranded: Vec<_> = (0..20)
        .map(|i| {
            let node = cluster.node(old).clone();
            tokio::spawn(async move { put(&node, format!("stranded {i}")).await })
        })
        .collect();
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    for i in 0..20 {
        acked.insert(put(cluster.node(new), format!("new {i}")).await.unwrap());
    }
    cluster
        .wait("a leader without a quorum says that it leads", || {
            cluster.node(old).leader().is_none()
        })
        .await;
    assert!(!cluster.node(old).is_leader());
    cluster.links.heal();
    let mut unknown = BTreeSet::new();
    for (i, s) in stranded.into_iter().enumerate() {
        match s.await.unwrap() {
            Ok(command) => {
                acked.insert(command);
            }
            Err(Error::LeaderChanged | Error::LeaderLost | Error::TimedOut) => {
                unknown.insert(i);
            }
            Err(e) => panic!("{e}"),
        }
    }
    cluster.leader().await;
    cluster.agree(&acked).await;
    // What failed may be there or not; `agree` has checked that nothing is there twice.
    assert!(unknown.len() <= 20);
}

#[tokio::test]
async fn a_follower_that_is_cut_off_disturbs_nobody() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let away = cluster.follower(leader);
    let term = cluster.node(leader).term();
    cluster.links.isolate(away, 1..=3);
    cluster
        .wait("it still sees a leader", || cluster.node(away).leader().is_none())
        .await;
    // Long enough for several elections of its own.
    let mut acked = BTreeSet::new();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let n = acked.len();
        acked.insert(put(cluster.node(leader), format!("w{n}")).await.unwrap());
    }
    cluster.links.heal();
    cluster.agree(&acked).await;
    assert_eq!(cluster.node(leader).term(), term, "its return forced an election");
    assert_eq!(cluster.leader().await, leader);
}

#[tokio::test]
async fn reads_are_not_answered_by_a_leader_that_was_replaced() {
    let cluster = Cluster::form(3).await;
    let old = cluster.leader().await;
    cluster.links.isolate(old, 1..=3);
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let read = {
        let node = cluster.node(old).clone();
        tokio::spawn(async move { node.read_index().await.map(|_| node.machine().commands()) })
    };
    let new = cluster.leader_among(&others).await;
    let acked = put(cluster.node(new), "newer").await.unwrap();
    cluster.links.heal();
    // Asked before the write was acknowledged, it may miss it; asked after, it may not.
    drop(read.await.unwrap());
    cluster.node(old).read_index().await.unwrap();
    let seen = cluster.node(old).machine().commands();
    assert!(seen.iter().any(|(_, c)| *c == acked));
}

#[tokio::test]
async fn without_a_quorum_proposals_time_out() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id).await;
    }
    let (write, read) = futures::join!(
        put(cluster.node(leader), "nobody hears"),
        cluster.node(leader).read_index()
    );
    assert!(matches!(write, Err(Error::TimedOut | Error::LeaderLost)), "{write:?}");
    assert_eq!(read, Err(Error::TimedOut));
    assert_eq!(cluster.node(leader).leader(), None);
    assert!(cluster.node(leader).stats().proposals_failed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lossy_links_and_dying_leaders_lose_nothing() {
    let mut cluster = Cluster::form(3).await;
    cluster.leader().await;
    cluster.links.lose_one_in(150);
    cluster.links.slow(Duration::from_millis(1));
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let nodes: Vec<_> = cluster.running().map(|(_, n)| n.clone()).collect();
        let mut tasks = Vec::new();
        for (n, node) in nodes.into_iter().enumerate() {
            for i in 0..40 {
                let node = node.clone();
                tasks.push(tokio::spawn(
                    async move { put(&node, format!("{round}-{n}-{i}")).await },
                ));
            }
        }
        let leader = cluster.running().map(|(_, n)| n.leader()).find_map(|l| l).unwrap_or(1);
        cluster.links.isolate(leader, 1..=3);
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        cluster.leader_among(&others).await;
        cluster.links.heal();
        for t in tasks {
            match t.await.unwrap() {
                Ok(command) => {
                    acked.insert(command);
                }
                Err(Error::LeaderChanged | Error::LeaderLost | Error::TimedOut) => {}
                Err(e) => panic!("{e}"),
            }
        }
        cluster.kill(leader).await;
        cluster.start(leader, Start::Join).await;
    }
    cluster.links.lose_one_in(0);
    cluster.leader().await;
    cluster.agree(&acked).await;
    assert!(acked.len() > 100, "only {} of 360 were acknowledged", acked.len());
}

#[tokio::test]
async fn another_groups_messages_are_refused() {
    let cluster = Cluster::form(1).await;
    let handler = cluster.node(1).peer_handler();
    let head = |cluster_id, to| {
        Some(keelson_proto::peer::Head {
            cluster_id,
            from: 2,
            to,
        })
    };
    for head in [head(0xbad, 1), head(0xc1, 3), None] {
        let request = keelson_proto::peer::VoteRequest {
            head,
            ..Default::default()
        };
        let answer = handler.vote(request).await;
        assert!(matches!(answer, Err(crate::TransportError::Refused(_))), "{answer:?}");
    }
    // The right group, and nothing that makes sense.
    let garbage = keelson_proto::peer::VoteRequest {
        head: head(0xc1, 1),
        ..Default::default()
    };
    assert!(handler.vote(garbage).await.is_err());
    put(cluster.node(1), "unmoved").await.unwrap();
}
