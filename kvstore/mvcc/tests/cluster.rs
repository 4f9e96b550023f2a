//! What the log says of the cluster outlives the process.
#![allow(clippy::unwrap_used)]

mod common;

use keelson_mvcc::{Attributes, Command, LogEntry, Options, Reply, StateMachine, Store};
use keelson_proto::command::{ClusterVersion, MemberAttributes, MemberRemoved};
use keelson_proto::etcdserverpb as pb;
use std::sync::Arc;

fn open(dir: &tempfile::TempDir) -> Arc<Store> {
    let options = Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    };
    Store::open(&options).unwrap()
}

fn apply(store: &Store, command: Command) {
    let entry = LogEntry {
        index: store.applied_state().index + 1,
        term: 1,
        leader: 1,
        command: command.encode(),
        membership: None,
    };
    assert_eq!(store.apply(&[entry]).unwrap(), [Ok(Reply::Done)]);
}

fn attributes(id: u64, name: &str) -> Command {
    Command::MemberAttributes(MemberAttributes {
        member_id: id,
        name: name.to_owned(),
        client_urls: vec![format!("http://{name}:2379")],
    })
}

fn downgrade(target: Option<&str>) -> Command {
    Command::Downgrade(pb::DowngradeInfo {
        enabled: target.is_some(),
        target_version: target.unwrap_or_default().to_owned(),
    })
}

#[test]
fn attributes_versions_and_removals_are_there_after_a_restart() {
    let dir = common::tempdir();
    let store = open(&dir);
    apply(&store, attributes(1, "a"));
    apply(&store, attributes(2, "b"));
    apply(&store, attributes(1, "c"));
    apply(&store, Command::MemberRemoved(MemberRemoved { member_id: 2 }));
    let version = "3.7.0".to_owned();
    apply(&store, Command::ClusterVersion(ClusterVersion { version }));
    apply(&store, downgrade(Some("3.6.0")));
    let before = store.cluster();
    store.flush().unwrap();
    drop(store);

    let store = open(&dir);
    let cluster = store.cluster();
    assert_eq!(cluster, before);
    let expected = Attributes {
        name: "c".to_owned(),
        client_urls: vec!["http://c:2379".to_owned()],
    };
    assert_eq!(cluster.attributes.into_iter().collect::<Vec<_>>(), [(1, expected)]);
    assert_eq!(cluster.removed.into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(cluster.version, "3.7.0");
    assert_eq!(cluster.downgrade.as_deref(), Some("3.6.0"));

    apply(&store, downgrade(None));
    apply(&store, attributes(2, "b"));
    store.flush().unwrap();
    drop(store);
    let cluster = open(&dir).cluster();
    assert_eq!(cluster.downgrade, None);
    assert!(!cluster.attributes.contains_key(&2), "a removed member came back");
}
