//! A real etcd and its tools, for tests that move data between it and a member of ours.
#![allow(dead_code)]

#[path = "../free/mod.rs"]
pub mod free;

use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::transport::Channel;

const BOUND: Duration = Duration::from_secs(60);

fn program(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("set {variable} to what `bench/peers/build etcd` prints beside the server"))
}

/// What a tool said; it must succeed.
pub fn tool(variable: &str, args: &[&str]) -> String {
    let output = Command::new(program(variable)).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{variable} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn etcdctl(url: &str, args: &[&str]) -> String {
    tool("ETCDCTL", &[&["--endpoints", url], args].concat())
}

pub fn etcdutl(args: &[&str]) -> String {
    tool("ETCDUTL", args)
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A real etcd, killed when it goes.
pub struct Etcd {
    process: Child,
    pub url: String,
    pub peer_url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    pub fn peer_url() -> String {
        format!("http://127.0.0.1:{}", free::port())
    }

    /// On a folder that is empty, or that was made for this peer URL.
    pub fn start(data: &Path, peer_url: &str) -> Etcd {
        let url = format!("http://127.0.0.1:{}", free::port());
        let process = Command::new(program("ETCD"))
            .args(["--data-dir", text(data)])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", peer_url])
            .args(["--initial-advertise-peer-urls", peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .arg("--unsafe-no-fsync")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Etcd {
            process,
            url,
            peer_url: peer_url.to_owned(),
        }
    }
}

/// Connects when the server answers.
pub async fn connect(url: &str) -> Channel {
    let deadline = tokio::time::Instant::now() + BOUND;
    let ready = pb::RangeRequest {
        key: "ready".into(),
        ..Default::default()
    };
    loop {
        if let Ok(channel) = Channel::from_shared(url.to_owned()).unwrap().connect().await {
            // With authentication on, a refusal is an answer too.
            match KvClient::new(channel.clone()).range(ready.clone()).await {
                Err(status) if status.code() == tonic::Code::Unavailable => {}
                _ => return channel,
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "{url} does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// xorshift64*: the same sequence everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}
