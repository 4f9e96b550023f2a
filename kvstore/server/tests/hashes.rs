//! HashKV of a member of ours and of a real etcd with the same history: the same values, before and after compactions.
#![allow(clippy::unwrap_used)]

mod peers;

use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request;
use peers::Random;
use tonic::transport::Channel;

/// One history, told to both.
struct Both {
    ours: Channel,
    etcd: Channel,
    random: Random,
    leases: Vec<i64>,
}

fn key(random: &mut Random) -> bytes::Bytes {
    format!("key/{:02}", random.below(20)).into()
}

impl Both {
    fn channels(&self) -> [Channel; 2] {
        [self.ours.clone(), self.etcd.clone()]
    }

    async fn put(&mut self) {
        let lease = match self.random.below(3) {
            0 if !self.leases.is_empty() => self.leases[self.random.below(self.leases.len() as u64) as usize],
            _ => 0,
        };
        let put = pb::PutRequest {
            key: key(&mut self.random),
            value: vec![b'v'; self.random.below(300) as usize].into(),
            lease,
            ..Default::default()
        };
        for channel in self.channels() {
            KvClient::new(channel).put(put.clone()).await.unwrap();
        }
    }

    async fn delete(&mut self, everything: bool) {
        let delete = pb::DeleteRangeRequest {
            key: if everything { "\0".into() } else { key(&mut self.random) },
            range_end: if everything || self.random.below(3) == 0 {
                "\0".into()
            } else {
                bytes::Bytes::new()
            },
            ..Default::default()
        };
        for channel in self.channels() {
            KvClient::new(channel).delete_range(delete.clone()).await.unwrap();
        }
    }

    async fn txn(&mut self) {
        let first = self.random.below(10);
        let put = |n: u64| {
            Request::RequestPut(pb::PutRequest {
                key: format!("key/{n:02}").into(),
                value: "txn".into(),
                ..Default::default()
            })
        };
        let delete = |n: u64| {
            Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: format!("key/{n:02}").into(),
                ..Default::default()
            })
        };
        let ops = [put(first), delete(first + 1), put(first + 2), delete(first + 3)];
        let txn = pb::TxnRequest {
            success: ops.into_iter().map(|r| pb::RequestOp { request: Some(r) }).collect(),
            ..Default::default()
        };
        for channel in self.channels() {
            KvClient::new(channel).txn(txn.clone()).await.unwrap();
        }
    }

    async fn lease(&mut self) {
        if self.leases.len() > 3 {
            let id = self.leases.remove(0);
            for channel in self.channels() {
                let revoke = pb::LeaseRevokeRequest { id };
                LeaseClient::new(channel).lease_revoke(revoke).await.unwrap();
            }
            return;
        }
        let id = self.random.below(1 << 40) as i64 + 1;
        for channel in self.channels() {
            let grant = pb::LeaseGrantRequest { id, ttl: 10_000 };
            LeaseClient::new(channel).lease_grant(grant).await.unwrap();
        }
        self.leases.push(id);
    }

    /// A hash of both, equal but for the header; an error is one of both.
    async fn hash(&self, revision: i64) -> Result<(u32, i64, i64), String> {
        let mut answers = Vec::new();
        for channel in self.channels() {
            let answer = MaintenanceClient::new(channel)
                .hash_kv(pb::HashKvRequest { revision })
                .await;
            answers.push(
                answer
                    .map_err(|s| format!("{:?} {}", s.code(), s.message()))
                    .map(|answer| {
                        let answer = answer.into_inner();
                        let revision = answer.header.unwrap().revision;
                        (answer.hash, answer.compact_revision, answer.hash_revision, revision)
                    }),
            );
        }
        assert_eq!(answers[0], answers[1], "ours and etcd's hash at {revision}");
        let (hash, compacted, at, _) = answers.remove(0)?;
        Ok((hash, compacted, at))
    }

    async fn revision(&self) -> i64 {
        let status = MaintenanceClient::new(self.ours.clone())
            .status(pb::StatusRequest {})
            .await;
        status.unwrap().into_inner().header.unwrap().revision
    }

    async fn compact(&self, revision: i64) {
        for channel in self.channels() {
            let compaction = pb::CompactionRequest {
                revision,
                physical: true,
            };
            KvClient::new(channel).compact(compaction).await.unwrap();
        }
    }

    /// Everything that may be asked, compared.
    async fn compare(&self, compacted: &[i64]) {
        let current = self.revision().await;
        let mut asked = vec![-1, 0, 1, current, current + 1, current - 1];
        asked.extend(compacted.iter().flat_map(|c| [*c - 1, *c, *c + 1]));
        for revision in asked {
            let _ = self.hash(revision).await;
        }
    }
}

#[tokio::test]
async fn hashes_are_etcds() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = peers::Etcd::start(&dir.path().join("etcd"), &peers::Etcd::peer_url());
    let options = Options::new("ours", dir.path().join("ours")).serve_at(([127, 0, 0, 1], 0).into(), None);
    let server = Server::start(options).await.unwrap();
    let ours = format!("http://{}", server.client_addr().unwrap());
    let mut both = Both {
        ours: peers::connect(&ours).await,
        etcd: peers::connect(&etcd.url).await,
        random: Random::new(0x6a5b),
        leases: Vec::new(),
    };
    let mut compacted = Vec::new();
    both.compare(&compacted).await;
    for round in 0..30 {
        for _ in 0..20 {
            match both.random.below(12) {
                0..=6 => both.put().await,
                7 | 8 => both.delete(false).await,
                9 | 10 => both.txn().await,
                _ => both.lease().await,
            }
        }
        // Nothing left: what is hashed then is another rule.
        if round % 5 == 4 {
            both.delete(true).await;
        }
        both.compare(&compacted).await;
        let current = both.revision().await;
        let last = compacted.last().copied().unwrap_or(0);
        let at = match round % 5 {
            4 => current,
            3 => last + 1,
            _ => last + 1 + both.random.below((current - last) as u64) as i64,
        };
        if at > last && at <= current {
            both.compact(at).await;
            compacted.push(at);
        }
        both.compare(&compacted).await;
    }
    // More compactions than hashes are kept.
    assert!(compacted.len() > 12, "{compacted:?}");
    assert!(both.hash(compacted[0]).await.unwrap_err().contains("compacted"));
    server.shutdown().await;
}
