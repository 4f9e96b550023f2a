//! What three members make of writes, reads and leadership.

use crate::fixture::*;
use crate::logged;
use keelson_proto::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tonic::{Code, Request};

fn as_is(_: &mut keelson_kvstore::Options) {}

#[tokio::test]
async fn what_one_member_is_told_every_member_knows() {
    let cluster = Cluster::start(3, as_is).await;
    for (n, member) in cluster.members.iter().enumerate() {
        let answer = member.kv().put(put(&format!("k{n}"), "v")).await.unwrap().into_inner();
        let header = answer.header.unwrap();
        assert_eq!(header.member_id, member.id().await);
        for other in &cluster.members {
            let read = other.kv().range(get(&format!("k{n}"))).await.unwrap().into_inner();
            assert_eq!(read.count, 1);
            assert!(read.header.unwrap().revision >= header.revision);
        }
    }
    let members = cluster.members[0].members().await;
    let names: Vec<_> = members.iter().map(|m| m.name.clone()).collect();
    assert_eq!(names.len(), 3);
    assert!(["m0", "m1", "m2"].iter().all(|n| names.contains(&(*n).to_owned())));
    for member in &cluster.members {
        eventually("every member has told where clients reach it", || async {
            let members = member.members().await;
            members.iter().all(|m| m.client_ur_ls.len() == 1).then_some(())
        })
        .await;
        eventually("the cluster speaks its version", || async {
            (member.status().await.storage_version == "3.7.0").then_some(())
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_moves_and_a_stopping_one_hands_over() {
    let mut cluster = Cluster::start(3, as_is).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let target = cluster.members[follower].id().await;
    let to = |target_id| pb::MoveLeaderRequest { target_id };
    let refused = cluster.members[follower].maintenance().move_leader(to(target)).await;
    assert_eq!(
        told(refused),
        (Code::FailedPrecondition, "etcdserver: not leader".to_owned())
    );
    let refused = cluster.members[leader].maintenance().move_leader(to(7)).await;
    assert_eq!(
        told(refused),
        (Code::FailedPrecondition, "etcdserver: bad leader transferee".to_owned())
    );
    let moved = cluster.members[leader]
        .maintenance()
        .move_leader(to(target))
        .await
        .unwrap();
    assert_eq!(moved.into_inner().header, None);
    assert_eq!(cluster.leader().await, follower);

    // Everybody has to be in touch before there is somebody to hand over to.
    let term = cluster.members[leader].status().await.raft_term;
    let third = 3 - leader - follower;
    let waiting = cluster.members[third].id().await;
    eventually("the members have greeted each other", || async {
        let request = pb::MemberRemoveRequest { id: 1 };
        let answer = cluster.members[leader].cluster().member_remove(request).await;
        assert_ne!(waiting, 0);
        (answer.unwrap_err().code() == Code::NotFound).then_some(())
    })
    .await;
    let begun = Instant::now();
    cluster.members[follower].stop().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1500), "stopping took {took:?}");
    let next = cluster.leader().await;
    let status = cluster.members[next].status().await;
    assert_eq!(
        status.raft_term,
        term + 1,
        "nobody had to notice that the leader was gone"
    );
    cluster.members[next].kv().put(put("after", "v")).await.unwrap();
    cluster.restart(follower).await;
    let read = cluster.members[follower].kv().range(get("after")).await.unwrap();
    assert_eq!(read.into_inner().count, 1);
    cluster.stop().await;
}

#[tokio::test]
async fn without_a_leader_who_wants_one_is_told_at_once() {
    let mut cluster = Cluster::start(3, as_is).await;
    let leader = cluster.leader().await;
    let lonely = cluster.follower().await;
    let third = 3 - leader - lonely;
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    let create = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    sender.send(create).await.unwrap();
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(requests));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let channel = cluster.members[lonely].channel();
    let mut watch = pb::watch_client::WatchClient::new(channel)
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().unwrap().created);

    cluster.members[third].stop().await;
    cluster.members[leader].stop().await;
    let no_leader = (Code::Unavailable, "etcdserver: no leader".to_owned());
    let member = &cluster.members[lonely];
    eventually("the leader is missed", || async {
        (member.status().await.leader == 0).then_some(())
    })
    .await;
    let mut request = Request::new(put("k", "v"));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    assert_eq!(told(member.kv().put(request).await), no_leader);
    assert_eq!(member.status().await.errors, ["etcdserver: no leader"]);
    let serializable = pb::RangeRequest {
        serializable: true,
        ..get("k")
    };
    member.kv().range(serializable).await.unwrap();
    // The open stream is given more time, and then ends too.
    assert_eq!(told(watch.message().await), no_leader);
    cluster.stop().await;
}

fn slow(options: &mut keelson_kvstore::Options) {
    options.warning_apply = Duration::from_nanos(1);
    options.warning_unary = Duration::from_nanos(1);
}

#[tokio::test]
async fn what_took_long_is_told_in_etcds_fields() {
    logged::listen();
    let cluster = Cluster::start(1, slow).await;
    cluster.members[0].kv().put(put("slowly", "secret")).await.unwrap();
    let all = pb::RangeRequest {
        range_end: "t".into(),
        ..get("slowly")
    };
    cluster.members[0].kv().range(all).await.unwrap();
    cluster.members[0].members().await;
    let shown = |text: &str, fields: &[&str]| {
        let lines = logged::lines(text);
        let found = lines
            .iter()
            .find(|line| fields.iter().all(|field| line.contains(field)));
        assert!(found.is_some(), "{fields:?} in {lines:#?}");
        assert!(!found.unwrap().contains("secret"));
    };
    let applied = [
        "took=",
        "expected-duration=1ns",
        "request=put:<key:\"slowly\" value_size:6 >",
        "response=size:",
    ];
    shown("apply request took too long", &applied);
    let read = [
        "prefix=read-only range ",
        "request=key:\"slowly\" range_end:\"t\"",
        "response=range_response_count:1 size:",
    ];
    shown("apply request took too long", &read);
    let call = [
        "start time=",
        "time spent=",
        "remote=127.0.0.1:",
        "response type=/etcdserverpb.KV/Put",
        "request count=1",
        "request size=16",
        "response count=0",
        "response size=",
        "request content=key:\"slowly\" value_size:6",
    ];
    shown("request stats", &call);
    shown(
        "request stats",
        &[
            "response type=/etcdserverpb.KV/Range",
            "request count=0",
            "response count=1",
        ],
    );
    shown(
        "request stats",
        &["response type=/etcdserverpb.Cluster/MemberList", "request count=-1"],
    );
    cluster.stop().await;
}
