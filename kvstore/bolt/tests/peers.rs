//! Beside the real tools: they read what we write, and we read what they write.
#![allow(clippy::unwrap_used)]

use keelson_bolt::etcd::{Auth, Contents, FileSink, Lease, Member, RevKey, Versions, write};
use keelson_bolt::{Error, Reader, snapshot};
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use std::path::Path;
use std::process::Command;

fn etcdutl(args: &[&str]) -> String {
    let program = std::env::var("ETCDUTL").expect("ETCDUTL names the etcdutl to compare with");
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "etcdutl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Puts of numbered keys, each third of them deleted again.
struct Made {
    next: i64,
    last: i64,
}

impl Versions for Made {
    type Error = Error;
    fn next(&mut self) -> Result<Option<(RevKey, bytes::Bytes)>, Error> {
        let main = self.next;
        if main > self.last {
            return Ok(None);
        }
        self.next += 1;
        let tombstone = main % 3 == 0;
        let kv = if tombstone {
            KeyValue {
                key: format!("key {}", main - 1).into(),
                ..KeyValue::default()
            }
        } else {
            KeyValue {
                key: format!("key {main}").into(),
                value: vec![b'x'; (main % 2000) as usize].into(),
                create_revision: main,
                mod_revision: main,
                version: 1,
                lease: 0,
            }
        };
        let rev = RevKey {
            main,
            sub: 0,
            tombstone,
        };
        Ok(Some((rev, kv.encode_to_vec().into())))
    }
}

fn contents() -> Contents {
    Contents {
        consistent_index: 9,
        term: 2,
        finished_compact: Some(7),
        storage_version: Some("3.7.0".to_owned()),
        leases: vec![Lease {
            id: 77,
            ttl: 300,
            remaining_ttl: 0,
        }],
        auth: Auth {
            revision: 1,
            ..Auth::default()
        },
        members: vec![Member {
            id: 0x8e9e_05c5_2164_694d,
            name: "default".to_owned(),
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
            is_learner: false,
        }],
        cluster_version: Some("3.7.0".to_owned()),
        ..Contents::default()
    }
}

fn write_file(path: &Path, versions: i64) {
    let mut sink = FileSink::create(std::fs::File::create(path).unwrap()).unwrap();
    let mut made = Made {
        next: 2,
        last: versions,
    };
    write(&mut sink, &contents(), &mut made).unwrap();
    sink.finish().unwrap();
}

#[test]
fn etcdutl_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    for versions in [1, 3, 50, 20_000] {
        let path = dir.path().join("db");
        write_file(&path, versions);
        let reader = Reader::open(&path).unwrap();
        reader.check().unwrap();
        assert_eq!(Contents::read(&reader).unwrap(), contents());
        let told = etcdutl(&["snapshot", "status", path.to_str().unwrap(), "-w", "json"]);
        let ours = snapshot::Status::of(&path).unwrap();
        let expected = format!(
            "{{\"hash\":{},\"revision\":{},\"totalKey\":{},\"totalSize\":{},\"version\":\"{}\"}}\n",
            ours.hash, ours.revision, ours.keys, ours.bytes, ours.version
        );
        assert_eq!(told, expected);
        assert_eq!(ours.version, "3.7.0");
    }
}

/// bbolt itself goes on writing in our file: `defrag` copies it, and a restore changes it in place.
#[test]
fn bbolt_writes_on_in_our_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let path = dir.path().join("db");
    write_file(&path, 5_000);
    let (file, data_dir) = (path.to_str().unwrap(), data.to_str().unwrap());
    etcdutl(&["snapshot", "restore", file, "--skip-hash-check", "--data-dir", data_dir]);
    let restored = data.join("member/snap/db");
    let reader = Reader::open(&restored).unwrap();
    reader.check().unwrap();
    let found = Contents::read(&reader).unwrap();
    assert_eq!((found.members.len(), found.leases), (1, contents().leases));
    assert_eq!(
        snapshot::Status::of(&restored).unwrap().keys,
        snapshot::Status::of(&path).unwrap().keys
    );
    etcdutl(&["defrag", "--data-dir", data_dir]);
    Reader::open(&restored).unwrap().check().unwrap();
}
