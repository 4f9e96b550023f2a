//! Real etcds, several of them as one cluster.

use crate::fixture::*;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use std::process::{Child, Command, Stdio};
use tonic::transport::Channel;

pub struct Etcds {
    processes: Vec<Child>,
    _root: tempfile::TempDir,
    pub channels: Vec<Channel>,

    pub peer_urls: Vec<String>,
}

impl Drop for Etcds {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Etcds {
    /// All of them up. Without the binary there is nothing to compare with, and that is a failure.
    pub async fn start(size: usize) -> Etcds {
        let binary = std::env::var_os("ETCD").expect("set ETCD to what `bench/peers/build etcd` prints");
        let root = tempfile::tempdir().unwrap();
        let urls = || (0..size).map(|_| free_url()).collect::<Vec<_>>();
        let (client_urls, peer_urls) = (urls(), urls());
        let listed: Vec<String> = peer_urls
            .iter()
            .enumerate()
            .map(|(n, url)| format!("e{n}={url}"))
            .collect();
        let listed = listed.join(",");
        let start = |n: usize| {
            let name = format!("e{n}");
            Command::new(&binary)
                .args(["--name", &name, "--unsafe-no-fsync", "--initial-cluster", &listed])
                .arg("--data-dir")
                .arg(root.path().join(&name))
                .args([
                    "--listen-client-urls",
                    &client_urls[n],
                    "--advertise-client-urls",
                    &client_urls[n],
                ])
                .args([
                    "--listen-peer-urls",
                    &peer_urls[n],
                    "--initial-advertise-peer-urls",
                    &peer_urls[n],
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut etcds = Etcds {
            processes: (0..size).map(start).collect(),
            _root: root,
            channels: Vec::new(),

            peer_urls,
        };
        for url in client_urls {
            let channel = eventually("an etcd answers", || async {
                let channel = Channel::from_shared(url.clone()).unwrap().connect().await.ok()?;
                KvClient::new(channel.clone()).range(get("ready")).await.ok()?;
                Some(channel)
            })
            .await;
            etcds.channels.push(channel);
        }
        etcds
    }
}
