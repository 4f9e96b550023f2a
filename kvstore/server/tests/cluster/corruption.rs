//! One of three members holds another value than the others, in a form that nothing but a comparison finds.

use crate::fixture::*;
use crate::logged;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

const EVERY: Duration = Duration::from_millis(300);

fn as_is(_: &mut keelson_kvstore::Options) {}

fn initial(options: &mut keelson_kvstore::Options) {
    options.checks.initial = true;
}

fn periodic(options: &mut keelson_kvstore::Options) {
    options.checks.periodic = EVERY;
}

fn at_compactions(options: &mut keelson_kvstore::Options) {
    options.checks.compact_hash = Some(EVERY);
}

/// Gives every version of a key another value, in the rows of a store that is closed.
fn damage(state: &Path, key: &str, value: &'static [u8]) {
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf(&options, state, ["meta", "key", "data"]).unwrap();
    let data = db.cf_handle("data").unwrap();
    let mut without_log = rocksdb::WriteOptions::default();
    without_log.disable_wal(true);
    let mut changed = 0;
    for row in db.iterator_cf(data, rocksdb::IteratorMode::Start) {
        let (at, record) = row.unwrap();
        let mut kv = KeyValue::decode(record.as_ref()).unwrap();
        if kv.key == key.as_bytes() {
            kv.value = value.into();
            db.put_cf_opt(data, at, kv.encode_to_vec(), &without_log).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0, "{key} is not there");
    db.flush_cf(data).unwrap();
}

/// Three members, one of which is stopped and damaged; which, and its id.
async fn damaged(tune: fn(&mut keelson_kvstore::Options)) -> (Cluster, usize, u64) {
    logged::listen();
    let mut cluster = Cluster::start(3, tune).await;
    for n in 0..5 {
        cluster.members[0]
            .kv()
            .put(put(&format!("k{n}"), "right"))
            .await
            .unwrap();
    }
    let at = cluster.follower().await;
    let id = cluster.members[at].id().await;
    // A linearizable read there: it has applied everything.
    cluster.members[at].kv().range(get("k4")).await.unwrap();
    let state = cluster.root.path().join(&cluster.members[at].place.name).join("state");
    cluster.members[at].stop().await;
    damage(&state, "k3", b"wrong");
    (cluster, at, id)
}

async fn value(member: &Member, key: &str) -> Vec<u8> {
    let read = member.kv().range(get(key)).await.unwrap().into_inner();
    read.kvs[0].value.to_vec()
}

async fn alarms(member: &Member) -> Vec<(u64, i32)> {
    let answer = member.maintenance().alarm(pb::AlarmRequest::default()).await.unwrap();
    let alarms = answer.into_inner().alarms.into_iter();
    alarms.map(|a| (a.member_id, a.alarm)).collect()
}

/// The alarm is raised for that member and no other; writes end, and reads go on.
async fn found(cluster: &Cluster, at: usize, id: u64) {
    let raised = eventually("the alarm is raised", || async {
        let alarms = alarms(&cluster.members[0]).await;
        (!alarms.is_empty()).then_some(alarms)
    })
    .await;
    assert_eq!(raised, [(id, pb::AlarmType::Corrupt as i32)]);
    let corrupt = (Code::DataLoss, "etcdserver: corrupt cluster".to_owned());
    for (n, member) in cluster.members.iter().enumerate() {
        let answer = eventually("the alarm is known everywhere", || async {
            member.kv().put(put("k", "v")).await.err()
        })
        .await;
        assert_eq!((answer.code(), answer.message().to_owned()), corrupt);
        let lease = pb::LeaseGrantRequest { id: 0, ttl: 60 };
        assert_eq!(told(member.lease().lease_grant(lease).await), corrupt);
        let expected: &[u8] = if n == at { b"wrong" } else { b"right" };
        assert_eq!(value(member, "k3").await, expected);
        let shown = format!("memberID:{id} alarm:CORRUPT");
        assert!(
            member.status().await.errors.contains(&shown),
            "{:?}",
            member.status().await.errors
        );
    }
}

/// How a member that is started again says that it is not served.
async fn refusal(cluster: &mut Cluster, at: usize) -> String {
    match cluster.try_restart(at).await {
        Err(refused) => refused.to_string(),
        Ok(()) => panic!("served, although: {:#?}", logged::lines("hash")),
    }
}

#[tokio::test]
async fn a_damaged_member_refuses_to_start_and_a_healthy_one_does_not() {
    let (mut cluster, at, id) = damaged(as_is).await;
    cluster.tune = initial;
    let refused = refusal(&mut cluster, at).await;
    assert!(
        refused.contains(&format!("{id:x} found data inconsistency with peers")),
        "{refused}"
    );
    let failed = logged::lines("checkInitialHashKV failed");
    assert!(
        failed.iter().any(|line| line.contains(&format!("{id:x}"))),
        "{failed:?}"
    );
    let healthy = (0..3).find(|n| *n != at).unwrap();
    // With the third gone, its own quorum has to be there again.
    cluster.tune = as_is;
    cluster.restart(at).await;
    cluster.members[healthy].stop().await;
    cluster.tune = initial;
    let refused = refusal(&mut cluster, healthy).await;
    assert!(
        refused.contains("found data inconsistency with peers"),
        "etcd too: {refused}"
    );
    cluster.members[at].stop().await;
    cluster.restart(healthy).await;
    assert_eq!(value(&cluster.members[healthy], "k3").await, b"right");
    assert!(alarms(&cluster.members[healthy]).await.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn from_time_to_time_the_leader_finds_who_differs() {
    let (mut cluster, at, id) = damaged(periodic).await;
    cluster.restart(at).await;
    found(&cluster, at, id).await;
    cluster.stop().await;
}

#[tokio::test]
async fn at_a_compaction_the_leader_finds_who_differs() {
    let (mut cluster, at, id) = damaged(at_compactions).await;
    cluster.restart(at).await;
    let compact = |revision| pb::CompactionRequest {
        revision,
        physical: true,
    };
    let leader = cluster.leader().await;
    cluster.members[leader].kv().compact(compact(6)).await.unwrap();
    found(&cluster, at, id).await;
    let leader = cluster.members[leader].id().await;
    let mismatch = logged::lines("Detected compaction hash mismatch");
    let from_leader = mismatch
        .iter()
        .find(|line| line.contains(&format!("{leader:x}")))
        .unwrap();
    assert!(from_leader.contains(&format!("{id:x}")), "{from_leader}");
    assert!(from_leader.contains("leader-revision=6"), "{from_leader}");
    eventually("the check is over", || async {
        let over = logged::lines("finished compaction hash check");
        over.iter()
            .any(|line| line.contains("number-of-hashes-checked=1"))
            .then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn members_with_the_same_data_pass_every_check() {
    fn all(options: &mut keelson_kvstore::Options) {
        initial(options);
        periodic(options);
        at_compactions(options);
    }
    logged::listen();
    let mut cluster = Cluster::start(3, all).await;
    for n in 0..8 {
        cluster.members[0].kv().put(put("k", &n.to_string())).await.unwrap();
    }
    let leader = cluster.leader().await;
    for revision in [3, 7] {
        let compact = pb::CompactionRequest {
            revision,
            physical: true,
        };
        cluster.members[leader].kv().compact(compact).await.unwrap();
    }
    eventually("the whole cluster is checked at its last compaction", || async {
        let checked = logged::lines("successfully checked hash on whole cluster");
        let this = |line: &&String| line.contains("revision=7") && line.contains("compactRevision=3");
        checked.iter().find(this).map(drop)
    })
    .await;
    let away = cluster.follower().await;
    cluster.members[away].stop().await;
    cluster.restart(away).await;
    assert!(alarms(&cluster.members[away]).await.is_empty());
    cluster.stop().await;
}
