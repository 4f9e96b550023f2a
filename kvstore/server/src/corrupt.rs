//! Looking for members that have come apart: before serving, from time to time, and at compactions. Data is compared by
//! its hash at one revision; only hashes of the same revision and the same compaction are comparable.

use crate::ask::{self, Unanswered};
use crate::core::Core;
use crate::status;
use keelson_mvcc::{Command, Hashed};
use keelson_proto::{ask as askpb, etcdserverpb as pb};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What another member answered.
struct Peer {
    id: u64,
    answer: Result<askpb::HashResponse, String>,
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

impl Core {
    async fn hash_at(&self, revision: i64) -> Result<Hashed, Status> {
        self.on_the_side(move |store| store.hash(revision)).await
    }

    /// For another member.
    pub async fn hash_here(&self, question: askpb::HashRequest) -> Result<askpb::HashResponse, Unanswered> {
        let hashed = self.hash_at(question.revision).await.map_err(Unanswered::Refused)?;
        Ok(askpb::HashResponse {
            hash: hashed.hash,
            compact_revision: hashed.compacted,
            hash_revision: hashed.revision,
            revision: self.store.revision(),
        })
    }

    async fn hashes_of_others(&self, revision: i64) -> Vec<Peer> {
        let asked = self.cluster.others().into_iter().map(|id| self.hash_of(id, revision));
        futures::future::join_all(asked).await
    }

    async fn hash_of(&self, id: u64, revision: i64) -> Peer {
        let asked = ask::hash(&*self.cluster.messenger, id, askpb::HashRequest { revision });
        let answer = match tokio::time::timeout(self.cluster.timers.request(), asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Unanswered::Refused(status))) => Err(status.message().to_owned()),
            Ok(Err(Unanswered::Unreachable(error))) => Err(error),
            Ok(Err(Unanswered::NotLeader)) => Err("refused".to_owned()),
            Err(_) => Err(status::timed_out().message().to_owned()),
        };
        Peer { id, answer }
    }

    async fn raise_corrupt(&self, id: u64) {
        let command = Command::Alarm(pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate as i32,
            member_id: id,
            alarm: pb::AlarmType::Corrupt as i32,
        });
        if let Err(error) = self.log.propose(command.encode()).await {
            tracing::warn!("member-id" = hex(id), %error, "raise the alarm CORRUPT");
        }
    }

    /// Before anything is served: this member's data against the others'. Those that do not answer are not waited for.
    pub async fn check_at_start(&self) -> Result<(), String> {
        tracing::info!(
            "local-member-id" = hex(self.member_id),
            timeout = ?self.cluster.timers.request(),
            "starting initial corruption check"
        );
        let own = self.hash_at(0).await;
        let own = own.map_err(|e| format!("{:x} failed to fetch hash ({})", self.member_id, e.message()))?;
        let mut differ = 0;
        for peer in self.hashes_of_others(own.revision).await {
            match peer.answer {
                Ok(theirs) if theirs.hash == own.hash => {}
                Ok(theirs) => {
                    let comparable = theirs.compact_revision == own.compacted;
                    differ += usize::from(comparable);
                    let what = if comparable { "hash" } else { "compact revision" };
                    tracing::warn!(
                        "local-member-id" = hex(self.member_id),
                        "local-member-revision" = own.revision,
                        "local-member-compact-revision" = own.compacted,
                        "local-member-hash" = own.hash,
                        "remote-peer-id" = hex(peer.id),
                        "remote-peer-revision" = theirs.revision,
                        "remote-peer-compact-revision" = theirs.compact_revision,
                        "remote-peer-hash" = theirs.hash,
                        "found different {what} values from remote peer"
                    );
                }
                Err(error) => tracing::warn!(
                    "local-member-id" = hex(self.member_id),
                    "remote-peer-id" = hex(peer.id),
                    error,
                    "cannot fetch hash from remote peer"
                ),
            }
        }
        if differ > 0 {
            return Err(format!("{:x} found data inconsistency with peers", self.member_id));
        }
        tracing::info!(
            "local-member-id" = hex(self.member_id),
            "initial corruption checking passed; no corruption"
        );
        Ok(())
    }

    /// On the leader: the newest revision, with everybody.
    async fn check_now(&self) -> Result<(), Status> {
        let before = self.hash_at(0).await?;
        let peers = self.hashes_of_others(before.revision).await;
        self.barrier().await?;
        let after = self.hash_at(0).await?;
        let (revision, compacted) = (self.store.revision(), after.compacted);
        let mut suspects = Vec::new();
        let same_view = after.revision == before.revision && after.compacted == before.compacted;
        if same_view && after.hash != before.hash {
            tracing::warn!(
                "revision-1" = before.revision,
                "compact-revision-1" = before.compacted,
                "hash-1" = before.hash,
                "revision-2" = after.revision,
                "compact-revision-2" = after.compacted,
                "hash-2" = after.hash,
                "found hash mismatch"
            );
            suspects.push(self.member_id);
        }
        let mut checked = 0;
        for peer in &peers {
            let Ok(theirs) = &peer.answer else { continue };
            checked += 1;
            let follower = hex(peer.id);
            if theirs.revision > revision {
                tracing::warn!(
                    "leader-revision" = revision,
                    "follower-revision" = theirs.revision,
                    "follower-peer-id" = follower,
                    "revision from follower must be less than or equal to leader's"
                );
                suspects.push(peer.id);
            } else if theirs.compact_revision > compacted {
                tracing::warn!(
                    "leader-compact-revision" = compacted,
                    "follower-compact-revision" = theirs.compact_revision,
                    "follower-peer-id" = follower,
                    "compact revision from follower must be less than or equal to leader's"
                );
                suspects.push(peer.id);
            } else if theirs.compact_revision == before.compacted && theirs.hash != before.hash {
                tracing::warn!(
                    "leader-compact-revision" = compacted,
                    "leader-hash" = before.hash,
                    "follower-compact-revision" = theirs.compact_revision,
                    "follower-hash" = theirs.hash,
                    "follower-peer-id" = follower,
                    "same compact revision then hashes must match"
                );
                suspects.push(peer.id);
            }
        }
        // One alarm stops the cluster; who else is wrong is in the log.
        if let Some(first) = suspects.first() {
            self.raise_corrupt(*first).await;
        }
        tracing::info!("number-of-peers-checked" = checked, "finished peer corruption check");
        Ok(())
    }

    /// On the leader: the newest compaction whose hash everybody can be asked for. `checked` is the last one that was
    /// found good. A compaction that is not finished everywhere is passed over; its turn comes again.
    async fn check_compactions(&self, checked: &mut i64) {
        tracing::info!(
            "local-member-id" = hex(self.member_id),
            timeout = ?self.cluster.timers.request(),
            "starting compact hash check"
        );
        let kept = self.store.compaction_hashes();
        let unchecked = kept.into_iter().rev().filter(|kept| kept.revision > *checked);
        let mut hashes = 0;
        for own in unchecked.collect::<Vec<_>>() {
            hashes += 1;
            let peers = self.hashes_of_others(own.revision).await;
            if peers.is_empty() {
                continue;
            }
            match self.compare(own, &peers).await {
                Compared::Same => *checked = (*checked).max(own.revision),
                Compared::Different => {}
                Compared::NotByAll => continue,
            }
            break;
        }
        tracing::info!("number-of-hashes-checked" = hashes, "finished compaction hash check");
    }

    /// Raises the alarm for those that differ from the majority.
    async fn compare(&self, own: Hashed, peers: &[Peer]) -> Compared {
        let mut members: BTreeMap<u32, Vec<u64>> = BTreeMap::from([(own.hash, vec![self.member_id])]);
        let mut compared = 0;
        for peer in peers {
            let skipped = match &peer.answer {
                Err(_) => "no response".to_owned(),
                Ok(theirs) if theirs.compact_revision != own.compacted => format!(
                    "the peer's CompactRevision {} doesn't match leader's CompactRevision {}",
                    theirs.compact_revision, own.compacted
                ),
                Ok(theirs) => {
                    compared += 1;
                    members.entry(theirs.hash).or_default().push(peer.id);
                    continue;
                }
            };
            tracing::warn!(
                "number-of-peers" = peers.len(),
                "leader-id" = hex(self.member_id),
                "peer-id" = hex(peer.id),
                reason = skipped,
                "Skipped peer's hash"
            );
        }
        if members.len() == 1 {
            return all_the_same(own, compared, peers.len());
        }
        let quorum = peers.len().div_ceil(2) + 1;
        let majority = members
            .iter()
            .find(|(_, ids)| ids.len() >= quorum)
            .map(|(hash, _)| *hash);
        let differ: Vec<u64> = match majority {
            Some(majority) => members
                .iter()
                .filter(|(hash, _)| **hash != majority)
                .flat_map(|(_, ids)| ids.clone())
                .collect(),
            // Nobody knows who is right: the whole cluster is under suspicion.
            None => vec![0],
        };
        if majority.is_none() {
            tracing::error!(
                "leader-id" = hex(self.member_id),
                "leader-revision" = own.revision,
                "leader-compact-revision" = own.compacted,
                "leader-hash" = own.hash,
                "Detected compaction hash mismatch but cannot identify the corrupted members, so intentionally set the \
                 memberID as 0"
            );
        }
        tracing::error!(
            "leader-id" = hex(self.member_id),
            "leader-revision" = own.revision,
            "leader-compact-revision" = own.compacted,
            "leader-hash" = own.hash,
            "peer-ids" = ?differ.iter().map(|id| hex(*id)).collect::<Vec<_>>(),
            "quorum-exist" = majority.is_some(),
            "Detected compaction hash mismatch"
        );
        for id in differ {
            self.raise_corrupt(id).await;
        }
        Compared::Different
    }
}

/// What came of one compaction.
enum Compared {
    Same,
    Different,
    /// Some could not be asked, and the others have the same.
    NotByAll,
}

fn all_the_same(own: Hashed, compared: usize, peers: usize) -> Compared {
    if compared == peers {
        tracing::info!(
            "number-of-peers-checked" = compared,
            revision = own.revision,
            compactRevision = own.compacted,
            "successfully checked hash on whole cluster"
        );
        Compared::Same
    } else {
        tracing::warn!(
            "number-of-peers-checked" = compared,
            "number-of-peers" = peers,
            revision = own.revision,
            compactRevision = own.compacted,
            "skipped revision in compaction hash check; was not able to check all peers"
        );
        Compared::NotByAll
    }
}

/// `corrupt-check-time`, on the leader. Ends with `stop`.
pub async fn run_periodic(core: Arc<Core>, interval: Duration, stop: CancellationToken) {
    tracing::info!(
        "local-member-id" = hex(core.member_id),
        ?interval,
        "enabled corruption checking"
    );
    let work = async {
        loop {
            tokio::time::sleep(interval).await;
            if core.log.is_leader()
                && let Err(error) = core.check_now().await
            {
                tracing::warn!(error = error.message(), "failed to check hash KV");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// `compact-hash-check-time`, on the leader. Ends with `stop`.
pub async fn run_at_compactions(core: Arc<Core>, interval: Duration, stop: CancellationToken) {
    let work = async {
        let mut checked = -1;
        loop {
            tokio::time::sleep(interval).await;
            if core.log.is_leader() {
                core.check_compactions(&mut checked).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
