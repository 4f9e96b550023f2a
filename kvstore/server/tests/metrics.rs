//! `/metrics` beside a real etcd's: the same names and types, but for those that are listed here with the reason.
#![allow(clippy::unwrap_used)]

mod beside;
mod plain;

use beside::{connect, start_etcd};
use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use std::collections::BTreeMap;

/// Names of etcd that this server has not, by their beginning.
const ABSENT: &[(&str, &str)] = &[
    ("go_", "there is no Go runtime; keelson_tasks counts tasks"),
    ("etcd_server_go_version", "there is no Go runtime"),
    (
        "etcd_debugging_disk_backend_commit_",
        "phases of a bbolt commit; a RocksDB batch has none",
    ),
    (
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "the index is compacted in the same bounded slices as the store; db_compaction_pause covers both",
    ),
    (
        "etcd_debugging_snap_save_",
        "there is no snapshot beside the store: the store is the snapshot",
    ),
    (
        "etcd_snap_",
        "a snapshot that comes is installed as rows, not saved as a file",
    ),
    (
        "etcd_server_apply_duration_seconds",
        "entries are applied in batches, not one by one; backend_commit times a batch",
    ),
    (
        "etcd_server_request_duration_seconds",
        "calls are timed whole: grpc_server_handling_seconds with metrics=extensive",
    ),
    (
        "etcd_server_range_duration_seconds",
        "calls are timed whole: grpc_server_handling_seconds with metrics=extensive",
    ),
    (
        "etcd_server_feature_enabled",
        "feature gates are the program's; its settings are in its log",
    ),
];

fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    types
        .map(|l| l.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Name and labels of every sample, without the values.
fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut series: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with(name) && !l.starts_with('#'))
        .map(|l| l.rsplit_once(' ').unwrap().0)
        .collect();
    series.sort_unstable();
    series
}

fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find(|l| l.rsplit_once(' ').is_some_and(|(s, _)| s == series));
    let line = line.unwrap_or_else(|| panic!("{series} in {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// The same calls to both.
async fn use_it(url: &str) {
    let mut kv = KvClient::new(connect(url).await);
    for n in 0..5 {
        let put = pb::PutRequest {
            key: format!("k{n}").into(),
            value: "v".into(),
            ..Default::default()
        };
        kv.put(put).await.unwrap();
    }
    let delete = pb::DeleteRangeRequest {
        key: "k0".into(),
        ..Default::default()
    };
    kv.delete_range(delete).await.unwrap();
    kv.put(pb::PutRequest::default()).await.unwrap_err();
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(plain::get(url, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn names_and_types_are_those_of_a_real_etcd() {
    let etcd = start_etcd(&["--metrics", "extensive"]);
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    options.extensive_metrics = true;
    let server = Server::start(options).await.unwrap();
    let url = format!("http://{}", server.client_addr().unwrap());
    use_it(&etcd.url).await;
    use_it(&url).await;
    let theirs = plain::get(&etcd.url, "/metrics").await;
    let ours = plain::get(&url, "/metrics").await;
    assert_eq!(ours.headers["content-type"], theirs.headers["content-type"]);
    let (theirs, ours) = (theirs.body, ours.body);
    let have = families(&ours);
    let absent = |name: &str| ABSENT.iter().any(|(begin, _)| name.starts_with(begin));
    let mut wrong = Vec::new();
    for (name, kind) in families(&theirs) {
        match have.get(&name) {
            Some(ours) if *ours != kind => wrong.push(format!("{name} is a {ours}, not a {kind}")),
            None if !absent(&name) => wrong.push(format!("{name} ({kind}) is missing")),
            Some(_) if absent(&name) => wrong.push(format!("{name} is listed as absent, but is there")),
            _ => {}
        }
    }
    for name in have.keys() {
        if !families(&theirs).contains_key(name) && !name.starts_with("keelson_") {
            wrong.push(format!("{name} is not etcd's"));
        }
    }
    // Where labels and buckets are fixed, they are the same too.
    for name in [
        "etcd_disk_wal_fsync_duration_seconds",
        "etcd_disk_backend_commit_duration_seconds",
        "etcd_disk_backend_defrag_duration_seconds",
        "etcd_disk_backend_snapshot_duration_seconds",
        "etcd_mvcc_hash_duration_seconds",
        "etcd_mvcc_hash_rev_duration_seconds",
        "etcd_debugging_lease_ttl_total",
        "etcd_debugging_mvcc_db_compaction_",
        "etcd_cluster_version",
        "etcd_server_version",
        "etcd_server_healthcheck",
        "etcd_server_client_requests_total",
        "grpc_server_handled_total",
        "grpc_server_started_total",
        "promhttp_",
    ] {
        let (a, b) = (series(&theirs, name), series(&ours, name));
        if a != b {
            let only = |x: &[&str], y: &[&str]| {
                x.iter()
                    .filter(|s| !y.contains(s))
                    .take(5)
                    .map(|s| s.to_string())
                    .collect::<Vec<_>>()
            };
            wrong.push(format!(
                "{name}: only etcd {:?}, only ours {:?}",
                only(&a, &b),
                only(&b, &a)
            ));
        }
    }
    // And the counts are the same where both have done the same.
    for name in [
        "etcd_mvcc_put_total",
        "etcd_mvcc_delete_total",
        "etcd_debugging_mvcc_keys_total",
        "etcd_debugging_mvcc_current_revision",
        "etcd_server_has_leader",
        "etcd_server_is_leader",
        "etcd_server_is_learner",
        "etcd_server_health_success",
        "etcd_server_quota_backend_bytes",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#,
        r#"grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#,
        r#"grpc_server_msg_received_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#,
        r#"grpc_server_msg_sent_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#,
        r#"etcd_server_client_requests_total{client_api_version="unknown",type="unary"}"#,
    ] {
        let (a, b) = (value(&theirs, name), value(&ours, name));
        if a != b {
            wrong.push(format!("{name} is {b}, in etcd {a}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in [
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_backend_commit_duration_seconds_count",
        "etcd_network_client_grpc_received_bytes_total",
        "etcd_network_client_grpc_sent_bytes_total",
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_server_proposals_applied_total",
        "process_resident_memory_bytes",
    ] {
        assert!(value(&ours, name) > 0.0, "{name}");
    }
    server.shutdown().await;
}
