//! Data of a real etcd in a member of ours, and back: keys at their revisions, leases, users, compactions.
#![allow(clippy::unwrap_used)]

mod peers;

use keelson_kvstore::archive::{Restore, Restored, restore, verify};
use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use peers::{Etcd, etcdctl, etcdutl, text};
use std::collections::BTreeMap;
use std::path::Path;
use tonic::transport::Channel;

const ROOT: &str = "root:secret";

fn wanted(file: &Path, data_dir: &Path) -> Restore {
    let peer_url = "http://localhost:2380".to_owned();
    Restore {
        file: file.to_owned(),
        name: "default".to_owned(),
        data_dir: data_dir.to_owned(),
        initial_cluster: BTreeMap::from([("default".to_owned(), vec![peer_url])]),
        token: "etcd-cluster".to_owned(),
        ..Restore::default()
    }
}

/// Restores for a member of ours, which must find nothing wrong with it.
fn restored(wanted: &Restore) -> Restored {
    let done = restore(wanted).unwrap();
    let found = verify(&wanted.data_dir, None).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!((found.member_id, found.cluster_id), (done.member_id, done.cluster_id));
    done
}

async fn serve(data_dir: &Path) -> (Server, String) {
    let options = Options::new("default", data_dir).serve_at(([127, 0, 0, 1], 0).into(), None);
    let server = Server::start(options).await.unwrap();
    let url = format!("http://{}", server.client_addr().unwrap());
    (server, url)
}

/// A history with something of everything. Authentication comes last, where it is wanted.
fn fill(url: &str, auth: bool) {
    for n in 0..12 {
        etcdctl(url, &["put", &format!("key{}", n % 5), &format!("value {n}")]);
    }
    etcdctl(url, &["del", "key1"]);
    let granted = etcdctl(url, &["lease", "grant", "9000"]);
    let lease = granted.split(' ').nth(1).unwrap().to_owned();
    etcdctl(url, &["put", "leased", "1", "--lease", &lease]);
    etcdctl(url, &["compact", "9", "--physical"]);
    etcdctl(url, &["del", "key2"]);
    if auth {
        etcdctl(url, &["user", "add", ROOT]);
        etcdctl(url, &["user", "grant-role", "root", "root"]);
        etcdctl(url, &["role", "add", "reader"]);
        etcdctl(url, &["role", "grant-permission", "reader", "read", "key", "kez"]);
        etcdctl(url, &["user", "add", "alice:pw"]);
        etcdctl(url, &["user", "grant-role", "alice", "reader"]);
        etcdctl(url, &["auth", "enable"]);
    }
}

/// What `etcdctl` prints of all that is the same wherever the data is.
fn shown(url: &str, user: &[&str]) -> Vec<String> {
    let ask = |args: &[&str]| etcdctl(url, &[user, args].concat());
    let masked = |json: String| {
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        // Cluster, member and term are the server's own.
        let header = value["header"].as_object_mut().unwrap();
        header.retain(|name, _| name == "revision");
        value.to_string()
    };
    let mut all = vec![masked(ask(&["get", "", "--prefix", "-w", "json"]))];
    for revision in ["9", "11", "13", "14", "15"] {
        all.push(masked(ask(&["get", "", "--prefix", "--rev", revision, "-w", "json"])));
    }
    let leases = ask(&["lease", "list"]);
    let lease = leases.lines().nth(1).unwrap().to_owned();
    let ttl: serde_json::Value =
        serde_json::from_str(&ask(&["lease", "timetolive", &lease, "--keys", "-w", "json"])).unwrap();
    all.push(format!("{leases} {} {}", ttl["granted-ttl"], ttl["keys"]));
    all
}

fn users(url: &str, user: &[&str]) -> Vec<String> {
    let ask = |args: &[&str]| etcdctl(url, &[user, args].concat());
    [
        "user list",
        "role list",
        "role get reader",
        "user get alice",
        "auth status",
    ]
    .map(|command| ask(&command.split(' ').collect::<Vec<_>>()))
    .to_vec()
}

async fn hash(channel: &Channel, revision: i64) -> (u32, i64, i64) {
    let asked = MaintenanceClient::new(channel.clone())
        .hash_kv(pb::HashKvRequest { revision })
        .await;
    let hashed = asked.unwrap().into_inner();
    (hashed.hash, hashed.compact_revision, hashed.hash_revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_data_moves_in_and_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&dir.path().join("etcd"), &Etcd::peer_url());
    let theirs = peers::connect(&etcd.url).await;
    fill(&etcd.url, false);
    let file = dir.path().join("one.db");
    etcdctl(&etcd.url, &["snapshot", "save", text(&file)]);
    let data_dir = dir.path().join("ours");
    let done = restored(&wanted(&file, &data_dir));
    assert_eq!((done.revision, done.compacted, done.leases), (16, 9, 1));
    // A plain etcd with the same flags has the same ids.
    assert_eq!(format!("{:x}", done.member_id), "8e9e05c52164694d");
    assert_eq!(format!("{:x}", done.cluster_id), "cdf818194e3a8c32");

    let (server, url) = serve(&data_dir).await;
    let ours = peers::connect(&url).await;
    assert_eq!(shown(&url, &[]), shown(&etcd.url, &[]));
    for revision in [0, 10, 12, 16] {
        assert_eq!(hash(&ours, revision).await, hash(&theirs, revision).await, "{revision}");
    }
    let below = etcd_refusal(&ours, 8).await;
    assert_eq!(below, etcd_refusal(&theirs, 8).await);
    for url in [&url, &etcd.url] {
        etcdctl(url, &["put", "after", "1"]);
        etcdctl(url, &["compact", "14", "--physical"]);
    }
    for revision in [0, 14, 15, 17] {
        assert_eq!(hash(&ours, revision).await, hash(&theirs, revision).await, "{revision}");
    }

    // Back, through our own snapshot.
    let second = dir.path().join("two.db");
    etcdctl(&url, &["snapshot", "save", text(&second)]);
    let again = etcd_from(&second, &dir.path().join("back"));
    let third = peers::connect(&again.url).await;
    for revision in [0, 15, 17] {
        assert_eq!(hash(&third, revision).await, hash(&ours, revision).await, "{revision}");
    }
    // What was restored outlives a restart.
    server.shutdown().await;
    let (server, url) = serve(&data_dir).await;
    let ours = peers::connect(&url).await;
    assert_eq!(hash(&ours, 0).await, hash(&third, 0).await);
    server.shutdown().await;
    let found = verify(&data_dir, None).unwrap();
    assert!(found.problems.is_empty() && !found.log.installing, "{found:?}");
}

/// A real etcd on what etcdutl makes of a file.
fn etcd_from(file: &Path, data_dir: &Path) -> Etcd {
    let peer_url = Etcd::peer_url();
    etcdutl(&[
        "snapshot",
        "restore",
        text(file),
        "--data-dir",
        text(data_dir),
        "--initial-cluster",
        &format!("default={peer_url}"),
        "--initial-advertise-peer-urls",
        &peer_url,
    ]);
    Etcd::start(data_dir, &peer_url)
}

async fn etcd_refusal(channel: &Channel, revision: i64) -> String {
    let range = pb::RangeRequest {
        key: "key0".into(),
        revision,
        ..Default::default()
    };
    let refused = KvClient::new(channel.clone()).range(range).await.unwrap_err();
    format!("{:?} {}", refused.code(), refused.message())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_roles_move_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&dir.path().join("etcd"), &Etcd::peer_url());
    peers::connect(&etcd.url).await;
    fill(&etcd.url, true);
    let root = ["--user", ROOT];
    let file = dir.path().join("one.db");
    etcdctl(&etcd.url, &["--user", ROOT, "snapshot", "save", text(&file)]);
    let data_dir = dir.path().join("ours");
    assert_eq!(restored(&wanted(&file, &data_dir)).users, 2);
    let (server, url) = serve(&data_dir).await;
    peers::connect(&url).await;
    assert_eq!(shown(&url, &root), shown(&etcd.url, &root));
    assert_eq!(users(&url, &root), users(&etcd.url, &root));
    assert_eq!(
        etcdctl(&url, &["--user", "alice:pw", "get", "key0"]),
        "key0\nvalue 10\n"
    );

    let second = dir.path().join("two.db");
    etcdctl(&url, &["--user", ROOT, "snapshot", "save", text(&second)]);
    server.shutdown().await;
    let again = etcd_from(&second, &dir.path().join("back"));
    peers::connect(&again.url).await;
    assert_eq!(shown(&again.url, &root), shown(&etcd.url, &root));
    assert_eq!(users(&again.url, &root), users(&etcd.url, &root));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_revision_is_as_etcdutls() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&dir.path().join("etcd"), &Etcd::peer_url());
    peers::connect(&etcd.url).await;
    fill(&etcd.url, false);
    let file = dir.path().join("one.db");
    etcdctl(&etcd.url, &["snapshot", "save", text(&file)]);
    drop(etcd);
    let raised = Restore {
        bump_revision: 1000,
        ..wanted(&file, &dir.path().join("ours"))
    };
    let done = restored(&raised);
    assert_eq!((done.revision, done.compacted), (1016, 1016));
    let peer_url = Etcd::peer_url();
    let other = dir.path().join("theirs");
    etcdutl(&[
        "snapshot",
        "restore",
        text(&file),
        "--bump-revision",
        "1000",
        "--mark-compacted",
        "--data-dir",
        text(&other),
        "--initial-cluster",
        &format!("default={peer_url}"),
        "--initial-advertise-peer-urls",
        &peer_url,
    ]);
    let etcd = Etcd::start(&other, &peer_url);
    let theirs = peers::connect(&etcd.url).await;
    let (server, url) = serve(&raised.data_dir).await;
    let ours = peers::connect(&url).await;
    for round in 0..2 {
        let all = ["get", "", "--prefix", "-w", "fields"];
        let plain = |text: String| {
            let kept = text.lines().filter(|l| !l.contains("ID\"") && !l.contains("RaftTerm"));
            kept.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(plain(etcdctl(&url, &all)), plain(etcdctl(&etcd.url, &all)));
        for revision in [0, 1016] {
            assert_eq!(hash(&ours, revision).await, hash(&theirs, revision).await, "{revision}");
        }
        for revision in [16, 1015] {
            assert_eq!(
                etcd_refusal(&ours, revision).await,
                etcd_refusal(&theirs, revision).await
            );
        }
        if round == 0 {
            for url in [&url, &etcd.url] {
                assert_eq!(etcdctl(url, &["put", "after", "1"]), "OK\n");
            }
        }
    }
    server.shutdown().await;
}

#[test]
fn what_cannot_be_restored_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    let refusal = |wanted: &Restore| restore(wanted).unwrap_err().to_string();
    let plain = wanted(&file, &dir.path().join("data"));
    assert!(refusal(&plain).contains("open"));
    std::fs::write(&file, vec![7; 8192]).unwrap();
    assert_eq!(refusal(&plain), "snapshot missing hash but --skip-hash-check=false");
    std::fs::write(&file, vec![7; 8192 + 32]).unwrap();
    assert_eq!(
        refusal(&plain),
        "the file is damaged: its SHA-256 is not the one at its end"
    );
    let unchecked = Restore {
        skip_hash_check: true,
        ..plain.clone()
    };
    assert_eq!(
        refusal(&unchecked),
        "the file is damaged: it does not begin as a bbolt file does"
    );
    let stranger = Restore {
        name: "other".to_owned(),
        ..plain.clone()
    };
    assert!(refusal(&stranger).contains("couldn't find local name \"other\""));
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let log_taken = Restore {
        wal_dir: Some(taken.clone()),
        ..plain.clone()
    };
    assert!(refusal(&log_taken).contains("exists"));
    std::fs::write(taken.join("file"), "").unwrap();
    let folder_taken = Restore {
        data_dir: taken,
        ..plain
    };
    assert!(refusal(&folder_taken).contains("not empty"));
}

/// A cluster of three, each restored from the same file: they elect a leader, agree, and a newcomer could not mistake
/// the log for all there is.
#[test]
fn folders_for_three_members_agree() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    let sink = keelson_bolt::etcd::FileSink::create(std::fs::File::create(&file).unwrap()).unwrap();
    write_sample(sink);
    let urls = |n: u16| vec![format!("http://127.0.0.1:{n}")];
    let initial_cluster = BTreeMap::from([("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| (name.to_owned(), urls(n))));
    let mut seen = Vec::new();
    for name in ["a", "b", "c"] {
        let wanted = Restore {
            name: name.to_owned(),
            initial_cluster: initial_cluster.clone(),
            skip_hash_check: true,
            ..wanted(&file, &dir.path().join(name))
        };
        let done = restored(&wanted);
        let found = verify(&wanted.data_dir, None).unwrap();
        assert_eq!((found.state.applied.index, found.state.applied.term), (3, 1));
        seen.push((done.cluster_id, done.revision, found.state.applied.membership));
        assert!(found.log.installing);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

fn write_sample(mut sink: keelson_bolt::etcd::FileSink) {
    struct None_;
    impl keelson_bolt::etcd::Versions for None_ {
        type Error = keelson_bolt::Error;
        fn next(&mut self) -> Result<Option<(keelson_bolt::etcd::RevKey, bytes::Bytes)>, keelson_bolt::Error> {
            Ok(None)
        }
    }
    keelson_bolt::etcd::write(&mut sink, &Default::default(), &mut None_).unwrap();
    sink.finish().unwrap();
}
