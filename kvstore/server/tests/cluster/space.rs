//! A store that is full, and a downgrade, on three members.

use crate::fixture::*;
use keelson_proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
use tonic::Code;

fn small(options: &mut keelson_kvstore::Options) {
    options.limits.quota_bytes = 8 << 20;
}

async fn alarms(member: &Member) -> Vec<pb::AlarmMember> {
    let answer = member.maintenance().alarm(pb::AlarmRequest::default()).await.unwrap();
    answer.into_inner().alarms
}

#[tokio::test]
async fn a_full_store_refuses_writes_everywhere_until_there_is_room_and_the_alarm_is_off() {
    let cluster = Cluster::start(3, small).await;
    let value = "v".repeat(256 << 10);
    let full = (
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded".to_owned(),
    );
    let mut written = 0;
    let refused = loop {
        match cluster.members[0].kv().put(put("k", &value)).await {
            Ok(_) => written += 1,
            Err(status) => break (status.code(), status.message().to_owned()),
        }
        assert!(written < 200, "8 MiB are full");
    };
    assert_eq!(refused, full);
    let first = cluster.members[0].id().await;
    for member in &cluster.members {
        eventually("the alarm is known everywhere", || async {
            (member.kv().put(put("small", "v")).await.err()?.code() == Code::ResourceExhausted).then_some(())
        })
        .await;
        let raised = alarms(member).await;
        assert!(raised.iter().any(|a| a.member_id == first), "{raised:?}");
        assert!(raised.iter().all(|a| a.alarm == pb::AlarmType::Nospace as i32));
        let lease = pb::LeaseGrantRequest { id: 0, ttl: 60 };
        assert_eq!(told(member.lease().lease_grant(lease).await), full);
        assert!(member.kv().range(get("k")).await.unwrap().into_inner().count == 1);
    }
    // What makes room is not refused.
    let delete = pb::DeleteRangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let deleted = cluster.members[1].kv().delete_range(delete).await.unwrap().into_inner();
    let compact = pb::CompactionRequest {
        revision: deleted.header.unwrap().revision,
        physical: true,
    };
    cluster.members[2].kv().compact(compact).await.unwrap();
    for member in &cluster.members {
        eventually("the room is given back", || async {
            member.maintenance().defragment(pb::DefragmentRequest {}).await.unwrap();
            (member.status().await.db_size < 4 << 20).then_some(())
        })
        .await;
    }
    for raised in alarms(&cluster.members[1]).await {
        let disarm = pb::AlarmRequest {
            action: AlarmAction::Deactivate as i32,
            member_id: raised.member_id,
            alarm: raised.alarm,
        };
        let answer = cluster.members[1]
            .maintenance()
            .alarm(disarm)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.alarms, [raised]);
    }
    for member in &cluster.members {
        eventually("writes go on", || async {
            member.kv().put(put("small", "v")).await.ok()
        })
        .await;
        assert_eq!(alarms(member).await, []);
    }
    cluster.stop().await;
}
