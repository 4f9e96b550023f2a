//! How much of the log is kept, and what becomes of a member that needs more.

use crate::fixture::*;
use crate::logged;

fn few(options: &mut keelson_kvstore::Options) {
    options.snapshot_count = 50;
    options.catchup_entries = 50;
}

#[tokio::test]
async fn a_small_snapshot_count_cuts_the_log_and_one_that_was_away_gets_a_snapshot() {
    logged::listen();
    let mut cluster = Cluster::start(3, few).await;
    let leader = cluster.leader().await;
    let away = cluster.follower().await;
    cluster.members[away].stop().await;
    for n in 0..300 {
        let key = format!("k{n}");
        cluster.members[leader].kv().put(put(&key, "v")).await.unwrap();
    }
    assert_eq!(logged::lines("installed a snapshot").len(), 0);
    cluster.restart(away).await;
    eventually("the member has everything", || async {
        let all = keelson_proto::etcdserverpb::RangeRequest {
            range_end: "l".into(),
            ..get("k")
        };
        let read = cluster.members[away].kv().range(all).await.ok()?;
        (read.into_inner().count == 300).then_some(())
    })
    .await;
    let installed = logged::lines("installed a snapshot");
    assert!(!installed.is_empty());
    cluster.stop().await;
}
