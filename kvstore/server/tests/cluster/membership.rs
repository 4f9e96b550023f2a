//! Members come, are promoted, change their place, and go.

use crate::fixture::*;
use keelson_proto::etcdserverpb as pb;
use tonic::Code;

fn as_is(_: &mut keelson_kvstore::Options) {}

fn add(url: &str, is_learner: bool) -> pb::MemberAddRequest {
    pb::MemberAddRequest {
        peer_ur_ls: vec![url.to_owned()],
        is_learner,
    }
}

#[tokio::test]
async fn a_single_member_grows_to_three_by_way_of_learners() {
    let mut cluster = Cluster::start(1, as_is).await;
    cluster.members[0].kv().put(put("k", "v")).await.unwrap();
    for name in ["l1", "l2"] {
        let url = cluster.invite(name);
        let member = eventually("a learner may be added", || async {
            let added = cluster.members[0].cluster().member_add(add(&url, true)).await;
            added.ok().and_then(|a| a.into_inner().member)
        })
        .await;
        let id = member.id;
        let promote = || pb::MemberPromoteRequest { id };
        let early = cluster.members[0].cluster().member_promote(promote()).await;
        let not_ready = "etcdserver: can only promote a learner member which is in sync with leader";
        assert_eq!(told(early), (Code::FailedPrecondition, not_ready.to_owned()));
        let second = cluster.members[0]
            .cluster()
            .member_add(add("http://127.0.0.1:1", true))
            .await;
        let too_many = "etcdserver: too many learner members in cluster";
        assert_eq!(told(second), (Code::FailedPrecondition, too_many.to_owned()));

        let learner = cluster.join(name).await.unwrap();
        assert_eq!(learner.id().await, id);
        let refused = told(learner.kv().put(put("k", "w")).await);
        let not_here = "etcdserver: rpc not supported for learner";
        assert_eq!(refused, (Code::FailedPrecondition, not_here.to_owned()));
        assert_eq!(told(learner.kv().range(get("k")).await).1, not_here);
        let serializable = pb::RangeRequest {
            serializable: true,
            ..get("k")
        };
        eventually("the learner has caught up", || async {
            let read = learner.kv().range(serializable.clone()).await.unwrap();
            (read.into_inner().count == 1).then_some(())
        })
        .await;
        assert!(learner.status().await.is_learner);
        eventually("the learner can be promoted", || async {
            let promoted = cluster.members[0].cluster().member_promote(promote()).await.ok()?;
            let members = promoted.into_inner().members;
            assert!(members.iter().all(|m| !m.is_learner));
            Some(())
        })
        .await;
        eventually("the voter serves", || async {
            learner.kv().put(put("k", "w")).await.ok()
        })
        .await;
        let again = told(cluster.members[0].cluster().member_promote(promote()).await);
        assert_eq!(again.1, "etcdserver: can only promote a learner member");
        cluster.members.push(learner);
    }
    cluster.leader().await;
    assert_eq!(cluster.members[2].members().await.len(), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn changes_are_judged_as_etcd_judges_them() {
    let mut cluster = Cluster::start(3, as_is).await;
    let follower = cluster.follower().await;
    let mut client = cluster.members[follower].cluster();
    let urls: Vec<_> = cluster.members.iter().map(|m| m.place.peer_url.clone()).collect();
    let url = |n: usize| urls[n].clone();
    let unhealthy = (Code::Unavailable, "etcdserver: unhealthy cluster".to_owned());
    // Everybody has only just come.
    assert_eq!(
        told(client.member_add(add("http://127.0.0.1:1", false)).await),
        unhealthy
    );
    let bad = told(client.member_add(add("127.0.0.1:1", false)).await);
    assert_eq!(
        bad,
        (
            Code::InvalidArgument,
            "etcdserver: given member URLs are invalid".to_owned()
        )
    );
    let unknown = told(client.member_remove(pb::MemberRemoveRequest { id: 1 }).await);
    assert_eq!(unknown, (Code::NotFound, "etcdserver: member not found".to_owned()));
    let unknown = told(client.member_promote(pb::MemberPromoteRequest { id: 1 }).await);
    assert_eq!(unknown.1, "etcdserver: member not found");
    let taken = eventually("the members are healthy", || async {
        let refused = told(
            cluster.members[follower]
                .cluster()
                .member_add(add(&url(0), false))
                .await,
        );
        (refused.0 != Code::Unavailable).then_some(refused)
    })
    .await;
    let exists = (
        Code::FailedPrecondition,
        "etcdserver: Peer URLs already exists".to_owned(),
    );
    assert_eq!(taken, exists);
    let update = pb::MemberUpdateRequest {
        id: cluster.members[0].id().await,
        peer_ur_ls: vec![url(1)],
    };
    assert_eq!(told(client.member_update(update).await), exists);

    // A member that is gone may be removed, and then no other.
    let gone = (0..3).find(|n| *n != follower).unwrap();
    let gone_id = cluster.members[gone].id().await;
    cluster.members[gone].stop().await;
    cluster.leader().await;
    let left = 3 - gone - follower;
    let left_id = cluster.members[left].id().await;
    // Asked with what is refused either way: a removal that came before the loss is noticed would succeed.
    eventually("the loss is noticed", || async {
        let again = add(&url(follower), false);
        let refused = told(cluster.members[follower].cluster().member_add(again).await);
        (refused == unhealthy).then_some(())
    })
    .await;
    let request = pb::MemberRemoveRequest { id: left_id };
    let refused = told(cluster.members[follower].cluster().member_remove(request).await);
    assert_eq!(refused, unhealthy);
    // A new leader takes everybody for present until it has missed them.
    let removed = eventually("the one that is gone is removed", || async {
        let request = pb::MemberRemoveRequest { id: gone_id };
        let answer = cluster.members[follower].cluster().member_remove(request).await;
        match answer {
            Ok(removed) => Some(removed.into_inner()),
            Err(refused) => {
                assert_eq!(told::<()>(Err(refused)), unhealthy);
                None
            }
        }
    })
    .await;
    assert_eq!(removed.members.len(), 2);
    eventually("the others go on", || async {
        cluster.members[left].kv().put(put("k", "v")).await.ok()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_that_is_removed_hands_over_and_ends() {
    let mut cluster = Cluster::start(3, as_is).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let id = cluster.members[leader].id().await;
    eventually("the leader may be removed", || async {
        let request = pb::MemberRemoveRequest { id };
        cluster.members[follower].cluster().member_remove(request).await.ok()
    })
    .await;
    let ended = cluster.members[leader].server.as_ref().unwrap().failed();
    let reason = tokio::time::timeout(LONG, ended).await.unwrap();
    assert!(
        reason.contains("the member has been permanently removed from the cluster"),
        "{reason}"
    );
    cluster.members[leader].stop().await;
    let next = cluster.leader().await;
    cluster.members[next].kv().put(put("k", "v")).await.unwrap();
    assert_eq!(cluster.members[next].members().await.len(), 2);
    cluster.stop().await;
}
