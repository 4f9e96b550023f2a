//! A real etcd to compare with, and answers without what differs between two clusters.
#![allow(dead_code)]

#[path = "../free/mod.rs"]
pub mod free;

use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

pub const BOUND: Duration = Duration::from_secs(30);

/// What one of the two said, or why it refused.
pub type Answer = Result<String, (Code, String)>;

pub struct Etcd {
    process: Child,
    _dir: tempfile::TempDir,
    pub url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The peer that the test command builds: without it there is nothing to compare with, and that is a failure.
pub fn etcd_binary() -> PathBuf {
    let binary = std::env::var_os("ETCD").map(PathBuf::from);
    binary.expect("set ETCD to what `bench/peers/build etcd` prints")
}

pub fn start_etcd(more: &[&str]) -> Etcd {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free::port());
    let peer = format!("http://127.0.0.1:{}", free::port());
    let process = Command::new(etcd_binary())
        .args(["--data-dir", dir.path().to_str().unwrap()])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Etcd {
        process,
        _dir: dir,
        url,
    }
}

/// Waits until the member answers.
pub async fn connect(url: &str) -> Channel {
    let deadline = tokio::time::Instant::now() + BOUND;
    let probe = || pb::RangeRequest {
        key: "ready".into(),
        ..Default::default()
    };
    loop {
        match Channel::from_shared(url.to_owned()).unwrap().connect().await {
            Ok(channel) if KvClient::new(channel.clone()).range(probe()).await.is_ok() => return channel,
            _ => assert!(tokio::time::Instant::now() < deadline, "{url} does not come up"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn body<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Status> {
    answer.map(tonic::Response::into_inner)
}

/// What a client can see of an answer, without the ids that differ between clusters.
pub fn plain<T: std::fmt::Debug>(answer: Result<T, Status>) -> Answer {
    let text = |answer: T| {
        let text = format!("{answer:?}");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("cluster_id: ") {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find("revision: ").unwrap();
            rest = &rest[end..];
        }
        out.push_str(rest);
        // The term of a nested header is 0, that of an outer one depends on the elections held.
        let mut kept = String::new();
        let mut parts = out.split("raft_term: ");
        kept.push_str(parts.next().unwrap());
        for part in parts {
            kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        kept
    };
    answer.map(text).map_err(|s| (s.code(), s.message().to_owned()))
}
