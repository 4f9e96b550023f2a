//! Several members: elections, replication, forwarding, snapshots, changes of members.
#![allow(clippy::unwrap_used)]
use super::network::{Cluster, PATIENCE, member, put};
use crate::{Error, Start};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

#[tokio::test]
async fn three_members_elect_one_and_hold_the_same() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let mut acked = BTreeSet::new();
    for i in 0..50 {
        acked.insert(put(cluster.node(leader), format!("a{i}")).await.unwrap());
    }
    cluster.agree(&acked).await;
    for (_, node) in cluster.running() {
        assert_eq!(node.members().voters().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(!node.is_learner());
    }
    let progress = cluster.node(leader).progress().unwrap();
    assert_eq!(progress.len(), 3);
    assert!(progress.values().all(|p| p.since_contact.is_some()));
}

#[tokio::test]
async fn followers_forward_what_is_proposed_to_them() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let mut acked = BTreeSet::new();
    let nodes: Vec<_> = cluster.running().map(|(_, n)| n.clone()).collect();
    let mut tasks = Vec::new();
    for i in 0..600 {
        let node = nodes[i % nodes.len()].clone();
        tasks.push(tokio::spawn(async move {
            let acked = put(&node, format!("f{i}")).await?;
            // Read your write: it was answered by this member's own apply.
            let found = node.machine().commands().iter().any(|(_, c)| *c == acked);
            assert!(found);
            Ok::<_, Error>(acked)
        }));
    }
    for t in tasks {
        acked.insert(t.await.unwrap().unwrap());
    }
    cluster.agree(&acked).await;
    let stats = cluster.node(cluster.follower(leader)).stats();
    assert!(stats.peers[&leader].sent_bytes > 0);
    assert_eq!(stats.proposals_pending, 0);
}

#[tokio::test]
async fn a_follower_reads_what_was_acknowledged_elsewhere() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower(leader);
    for i in 0..30 {
        let acked = put(cluster.node(leader), format!("r{i}")).await.unwrap();
        let index = cluster.node(follower).read_index().await.unwrap();
        assert!(cluster.node(follower).applied_index() >= index);
        let seen = cluster.node(follower).machine().commands();
        assert!(seen.iter().any(|(_, c)| *c == acked), "read {i} is stale");
    }
}

#[tokio::test]
async fn a_dead_leader_is_replaced() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let mut acked = BTreeSet::new();
    acked.insert(put(cluster.node(leader), "before").await.unwrap());
    let term = cluster.node(leader).term();
    cluster.kill(leader).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.node(next).term() > term);
    let follower = cluster.follower(next);
    acked.insert(put(cluster.node(follower), "after").await.unwrap());
    cluster.start(leader, Start::Join).await;
    cluster.agree(&acked).await;
}

#[tokio::test]
async fn all_of_them_restart() {
    let mut cluster = Cluster::form(3).await;
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let leader = cluster.leader().await;
        for i in 0..20 {
            acked.insert(put(cluster.node(leader), format!("{round}-{i}")).await.unwrap());
        }
        for id in 1..=3 {
            match round {
                0 => cluster.kill(id).await,
                _ => cluster.stop(id).await.unwrap(),
            }
        }
        cluster.start_all().await;
    }
    cluster.leader().await;
    cluster.agree(&acked).await;
}

#[tokio::test]
async fn a_member_that_was_away_catches_up_from_the_log() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let away = cluster.follower(leader);
    cluster.kill(away).await;
    let mut acked = BTreeSet::new();
    for i in 0..300 {
        acked.insert(put(cluster.node(leader), format!("l{i}")).await.unwrap());
    }
    cluster.start(away, Start::Join).await;
    cluster.agree(&acked).await;
    assert_eq!(cluster.node(away).stats().snapshots_received, 0);
}

/// Writes until the leader's log no longer reaches back to what `away` has.
async fn cut_the_log(cluster: &Cluster, leader: u64, acked: &mut BTreeSet<bytes::Bytes>) {
    for i in 0..400 {
        let name = format!("s{i}-{}", "x".repeat(1000));
        acked.insert(put(cluster.node(leader), name).await.unwrap());
    }
    cluster
        .wait("the log is not cut", || {
            cluster.node(leader).first_log_index().is_none_or(|first| first > 100)
        })
        .await;
}

async fn lagging(cut_inside: Option<u64>) -> (Cluster, u64) {
    let mut cluster = Cluster::of(3);
    cluster.catchup_entries = 20;
    cluster.flush_log_bytes = 32 << 10;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let away = cluster.follower(leader);
    cluster.kill(away).await;
    let mut acked = BTreeSet::new();
    cut_the_log(&cluster, leader, &mut acked).await;
    if let Some(pieces) = cut_inside {
        cluster.links.break_after_pieces(pieces);
    }
    cluster.start(away, Start::Join).await;
    cluster.agree(&acked).await;
    assert!(cluster.node(away).stats().snapshots_received > 0);
    // And it goes on from there by the log.
    let follower = cluster.follower(leader);
    acked.insert(put(cluster.node(follower), "after").await.unwrap());
    cluster.agree(&acked).await;
    (cluster, away)
}

#[tokio::test]
async fn a_member_that_lags_too_far_gets_a_snapshot() {
    let (mut cluster, away) = lagging(None).await;
    // What it was sent survives.
    cluster.kill(away).await;
    cluster.start(away, Start::Join).await;
    cluster.leader().await;
    cluster.agree(&BTreeSet::new()).await;
}

#[tokio::test]
async fn a_snapshot_that_is_cut_goes_on_where_it_was() {
    let (cluster, away) = lagging(Some(150)).await;
    let sent = cluster.links.pieces();
    let whole = cluster.node(away).machine().commands().len() as u64;
    assert!(sent > 150, "{sent} pieces");
    // Had it started over, the first 150 would have been sent again.
    assert!(sent < whole + 100, "{sent} pieces for {whole} commands");
}

#[tokio::test]
async fn one_becomes_three_becomes_five_becomes_three() {
    let mut cluster = Cluster::form(1).await;
    let mut acked = BTreeSet::new();
    acked.insert(put(cluster.node(1), "alone").await.unwrap());
    for id in 2..=5 {
        let leader = cluster.leader().await;
        cluster.start(id, Start::Join).await;
        cluster.node(leader).add_member(id, member(id), false).await.unwrap();
        cluster
            .wait("a member gets no vote", || {
                cluster.node(leader).members().members[&id].votes
            })
            .await;
        acked.insert(put(cluster.node(leader), format!("with {id}")).await.unwrap());
        cluster.agree(&acked).await;
    }
    assert_eq!(cluster.node(1).members().voters().count(), 5);
    for id in [1, 2] {
        let leader = cluster.leader().await;
        let told = tokio::spawn(cluster.node(id).failed());
        cluster.node(leader).remove_member(id).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert_eq!(told.expect("a removed member is not told").unwrap(), Error::Removed);
        drop(cluster.stop(id).await);
        let leader = cluster.leader().await;
        acked.insert(put(cluster.node(leader), format!("without {id}")).await.unwrap());
    }
    cluster.agree(&acked).await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.node(leader).members().voters().collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(
        cluster.node(leader).add_member(1, member(1), false).await,
        Err(Error::AlreadyMember(1)),
        "a removed id comes back"
    );
}

#[tokio::test]
async fn a_leader_that_is_removed_hands_over() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let told = tokio::spawn(cluster.node(leader).failed());
    cluster.node(leader).remove_member(leader).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    assert_eq!(told, Error::Removed);
    let left: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let next = cluster.leader_among(&left).await;
    put(cluster.node(next), "after").await.unwrap();
    assert_eq!(cluster.node(next).members().voters().count(), 2);
}

#[tokio::test]
async fn a_removed_member_that_was_away_is_told_by_the_others() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let away = cluster.follower(leader);
    cluster.kill(away).await;
    cluster.node(leader).remove_member(away).await.unwrap();
    cluster.start(away, Start::Join).await;
    let told = tokio::time::timeout(PATIENCE, cluster.node(away).failed())
        .await
        .unwrap();
    assert_eq!(told, Error::Removed);
    assert_eq!(cluster.node(away).propose("x".into()).await, Err(Error::Removed));
}

#[tokio::test]
async fn a_learner_is_one_until_it_is_promoted() {
    let mut cluster = Cluster::form(1).await;
    put(cluster.node(1), "alone").await.unwrap();
    cluster.start(2, Start::Join).await;
    cluster.node(1).add_member(2, member(2), true).await.unwrap();
    cluster
        .wait("the learner hears nothing", || cluster.node(2).is_learner())
        .await;
    let acked = put(cluster.node(2), "by the learner").await.unwrap();
    cluster.agree(&BTreeSet::from([acked])).await;
    assert_eq!(cluster.node(1).members().voters().collect::<Vec<_>>(), [1]);
    assert_eq!(cluster.node(1).promote_member(7).await, Err(Error::NotMember(7)));
    cluster.node(1).promote_member(2).await.unwrap();
    assert_eq!(cluster.node(1).promote_member(2).await, Err(Error::NotLearner(2)));
    cluster
        .wait("the learner does not vote", || !cluster.node(2).is_learner())
        .await;
    cluster.leader().await;
}

#[tokio::test]
async fn a_voter_that_never_came_does_not_count() {
    let cluster = Cluster::form(1).await;
    cluster.node(1).add_member(2, member(2), false).await.unwrap();
    let view = cluster.node(1).members().members[&2].clone();
    assert!(!view.votes && !view.is_learner(), "{view:?}");
    put(cluster.node(1), "alone all the same").await.unwrap();
    cluster.node(1).remove_member(2).await.unwrap();
    assert_eq!(cluster.node(1).members().members.len(), 1);
    assert_eq!(cluster.node(1).remove_member(1).await, Err(Error::LastVoter));
    assert_eq!(cluster.node(1).remove_member(9).await, Err(Error::NotMember(9)));
}

#[tokio::test]
async fn urls_change_for_everyone() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let mut moved = member(2);
    moved.peer_urls = vec!["http://elsewhere:2380".into()];
    cluster.node(leader).update_member(2, moved.clone()).await.unwrap();
    cluster
        .wait("not everyone knows", || {
            cluster
                .running()
                .all(|(_, n)| n.members().members[&2].member.peer_urls == moved.peer_urls)
        })
        .await;
    assert!(cluster.node(leader).members().members[&2].votes);
    let follower = cluster.follower(leader);
    assert_eq!(
        cluster.node(follower).update_member(2, moved).await,
        Err(Error::NotLeader { leader: Some(leader) })
    );
}

#[tokio::test]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let to = cluster.follower(leader);
    let term = cluster.node(leader).term();
    cluster.node(leader).transfer_leader(leader).await.unwrap();
    assert_eq!(cluster.node(leader).transfer_leader(9).await, Err(Error::NotVoter(9)));
    cluster.node(leader).transfer_leader(to).await.unwrap();
    assert_eq!(cluster.node(leader).leader(), Some(to));
    assert_eq!(cluster.leader().await, to);
    assert_eq!(cluster.node(to).term(), term + 1);
    assert!(matches!(
        cluster.node(leader).transfer_leader(to).await,
        Err(Error::NotLeader { .. })
    ));
    put(cluster.node(leader), "after").await.unwrap();
}

#[tokio::test]
async fn a_leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let term = cluster.node(leader).term();
    let begun = Instant::now();
    cluster.stop(leader).await.unwrap();
    let next = cluster.leader().await;
    // Without it, the others would wait an election timeout or two.
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(cluster.node(next).term(), term + 1);
}

#[tokio::test]
async fn a_lonely_survivor_becomes_a_group_of_one() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let mut acked = BTreeSet::new();
    for i in 0..20 {
        acked.insert(put(cluster.node(leader), format!("g{i}")).await.unwrap());
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for round in 0..2 {
        cluster.start(leader, Start::ForceNew).await;
        assert!(cluster.node(leader).is_leader());
        assert_eq!(cluster.node(leader).members().members.len(), 1);
        acked.insert(put(cluster.node(leader), format!("alone {round}")).await.unwrap());
        cluster.agree(&acked).await;
        cluster.kill(leader).await;
    }
    cluster.start(leader, Start::Join).await;
    cluster.agree(&acked).await;
    // It takes others in again.
    cluster.start(4, Start::Join).await;
    cluster.node(leader).add_member(4, member(4), false).await.unwrap();
    cluster.agree(&acked).await;
}

#[tokio::test]
async fn a_crash_between_a_snapshots_swap_and_the_cut_of_the_log_is_none_of_a_lost_log() {
    let mut cluster = Cluster::of(3);
    cluster.catchup_entries = 20;
    cluster.flush_log_bytes = 32 << 10;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    let away = cluster.follower(leader);
    cluster.kill(away).await;
    let mut acked = BTreeSet::new();
    cut_the_log(&cluster, leader, &mut acked).await;
    // The state was swapped, and the log was not cut.
    let state = cluster.give_state(leader, away).await;
    let refused = cluster.try_start(away, Start::Join).await.err();
    assert!(
        matches!(&refused, Some(Error::Fatal(m)) if m.contains("the log was lost")),
        "{refused:?}"
    );
    crate::mark_restored(&cluster.dir(away), &state).unwrap();
    cluster.start(away, Start::Join).await;
    cluster.agree(&acked).await;
    // The mark has done its work: a log that is lost now is told.
    cluster.kill(away).await;
    cluster.start(away, Start::Join).await;
    cluster.agree(&acked).await;
}

#[tokio::test]
async fn a_restored_state_begins_a_new_group() {
    let members = [1, 2, 3].map(|id| (id, member(id))).into();
    let mut cluster = Cluster::of(3);
    let state = keelson_mvcc::AppliedState {
        index: 70,
        term: 9,
        leader: 0,
        membership: crate::membership_blob(9, 70, &members).unwrap(),
    };
    for id in 1..=3 {
        cluster.restore(id, &state);
        cluster.start(id, Start::Form(members.clone())).await;
    }
    let leader = cluster.leader().await;
    assert!(cluster.node(leader).term() > 9);
    let acked = put(cluster.node(leader), "first").await.unwrap();
    assert!(cluster.node(leader).applied_index() > 70);
    cluster.agree(&BTreeSet::from([acked])).await;
}
