//! What clients ask of leases: grants and revocations through the log, the rest of the leader's book.

use super::Renewal;
use crate::ask::{self, Unanswered};
use crate::auth::Caller;
use crate::core::Core;
use crate::status;
use keelson_mvcc::{Access, Command, Reply};
use keelson_proto::{ask as askpb, etcdserverpb as pb};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// Between two tries to reach the leader.
const LEADER_RETRY: Duration = Duration::from_millis(50);
/// How long a renewal waits for an expired lease to be gone.
const REVOCATION_LOOK: Duration = Duration::from_millis(500);

impl Core {
    /// The shortest TTL granted, seconds: one and a half election timeouts, rounded up.
    fn lease_ttl_min(&self) -> i64 {
        let ttl = self.cluster.timers.election.mul_f64(1.5);
        let up = ttl + Duration::from_nanos(999_999_999);
        i64::try_from(up.as_secs()).unwrap_or(1).max(1)
    }

    pub async fn lease_grant(
        &self,
        caller: &Caller,
        mut r: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, Status> {
        while r.id == 0 {
            // Positive, as etcd chooses them.
            r.id = rand::random::<i64>() & i64::MAX;
        }
        r.ttl = r.ttl.max(self.lease_ttl_min());
        self.require_anybody(caller).await?;
        match self.propose(caller, Command::LeaseGrant(r)).await? {
            Reply::LeaseGrant(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(status::unexpected_reply()),
        }
    }

    pub async fn lease_revoke(
        &self,
        caller: &Caller,
        r: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, Status> {
        self.require_anybody(caller).await?;
        match self.propose(caller, Command::LeaseRevoke(r)).await? {
            Reply::LeaseRevoke(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(status::unexpected_reply()),
        }
    }

    /// A TTL of 0 in the answer: there is no such lease.
    pub async fn lease_keep_alive(&self, caller: &Caller, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        // The header is from before: a keepalive never seems to have succeeded after the lease was revoked.
        let header = self.current_header();
        let asker = self.require_anybody(caller).await?;
        if self.store.auth_enabled() {
            // Whose keys hang on the lease has to be of now.
            self.barrier().await?;
            self.require_lease(&asker, Access::Write, id)?;
        }
        if self.log.is_leader() {
            match self.renew_here(askpb::KeepAliveRequest { ids: vec![id] }).await {
                Ok(answer) => {
                    let ttl = answer.ttls.first().copied().unwrap_or(0);
                    return Ok(pb::LeaseKeepAliveResponse { header, id, ttl });
                }
                Err(Unanswered::Refused(status)) => return Err(status),
                Err(Unanswered::NotLeader | Unanswered::Unreachable(_)) => {}
            }
        }
        let ttl = self.forwarder.renew(id).await?;
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }

    /// Renews on the leader, wherever that is. Trying again does no harm, so it goes on until the leader answers.
    pub async fn renew(&self, ids: Vec<i64>) -> Result<Vec<i64>, Status> {
        let question = askpb::KeepAliveRequest { ids };
        let deadline = self.cluster.deadline();
        while Instant::now() < deadline {
            let leader = self.cluster.leader_by(deadline).await?;
            let asked = async {
                if leader == self.member_id {
                    self.renew_here(question.clone()).await
                } else {
                    ask::keepalive(&*self.cluster.messenger, leader, question.clone()).await
                }
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Err(_) => break,
                Ok(Ok(answer)) => return Ok(answer.ttls),
                Ok(Err(Unanswered::Refused(status))) => return Err(status),
                Ok(Err(Unanswered::NotLeader | Unanswered::Unreachable(_))) => {
                    tokio::time::sleep(LEADER_RETRY).await;
                }
            }
        }
        Err(status::timed_out())
    }

    /// Confirms once that this member leads, and renews all of them.
    pub async fn renew_here(&self, question: askpb::KeepAliveRequest) -> Result<askpb::KeepAliveResponse, Unanswered> {
        self.lead_leases().await?;
        if self.lease_checkpoint {
            self.forget_remainders(&question.ids).await?;
        }
        let mut ttls = Vec::with_capacity(question.ids.len());
        for id in question.ids {
            ttls.push(self.renew_one(id).await?);
        }
        Ok(askpb::KeepAliveResponse { ttls })
    }

    /// After this the book is the one of a term that this member leads right now.
    async fn lead_leases(&self) -> Result<(), Unanswered> {
        self.log.read_index().await?;
        let state = *self.log.watch_leader().borrow();
        if !state.is_leader {
            return Err(Unanswered::NotLeader);
        }
        self.lessor.lead(state.term, &self.store);
        Ok(())
    }

    async fn renew_one(&self, id: i64) -> Result<i64, Unanswered> {
        loop {
            let revoked = self.lessor.revoked.notified();
            let known = self.store.lease_ttl(id).is_some();
            match self.lessor.renew(id) {
                Renewal::Renewed(ttl) if known => return Ok(ttl),
                // Granted or revoked an instant ago: the store is right.
                Renewal::Renewed(_) => return Ok(0),
                Renewal::Unknown => return Ok(0),
                Renewal::Expired if !known => return Ok(0),
                Renewal::Expired => {
                    // It is gone only when the log says so: another leader might still let it live.
                    let _ = tokio::time::timeout(REVOCATION_LOOK, revoked).await;
                    if !self.log.is_leader() {
                        return Err(Unanswered::NotLeader);
                    }
                }
            }
        }
    }

    /// A renewed lease has its whole TTL again, also for the next leader.
    async fn forget_remainders(&self, ids: &[i64]) -> Result<(), Unanswered> {
        let shortened = |id: &&i64| self.store.lease_ttl(**id).is_some_and(|(_, remaining)| remaining > 0);
        let checkpoints: Vec<_> = ids
            .iter()
            .filter(shortened)
            .map(|id| pb::LeaseCheckpoint {
                id: *id,
                remaining_ttl: 0,
            })
            .collect();
        if !checkpoints.is_empty() {
            let command = Command::LeaseCheckpoint(pb::LeaseCheckpointRequest { checkpoints });
            let (_, answer) = self.log.propose(command.encode()).await?;
            answer.map_err(|e| Unanswered::Refused(status::refused(e)))?;
        }
        Ok(())
    }

    pub async fn lease_time_to_live(
        &self,
        caller: &Caller,
        r: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        let asker = self.require_anybody(caller).await?;
        if r.keys {
            self.barrier().await?;
            self.require_lease(&asker, Access::Read, r.id)?;
        }
        let found = self.time_to_live(r.id).await?;
        let mut response = pb::LeaseTimeToLiveResponse {
            id: r.id,
            ttl: found.remaining,
            granted_ttl: found.granted,
            ..Default::default()
        };
        if r.keys && found.remaining >= 0 {
            response.keys = self.store.lease_keys(r.id);
        }
        if r.keys {
            self.still_allowed(&asker)?;
        }
        response.header = self.current_header();
        Ok(response)
    }

    async fn time_to_live(&self, id: i64) -> Result<askpb::TimeToLiveResponse, Status> {
        let question = askpb::TimeToLiveRequest { id };
        let deadline = self.cluster.deadline();
        while Instant::now() < deadline {
            let leader = self.cluster.leader_by(deadline).await?;
            let asked = async {
                if leader == self.member_id {
                    self.time_to_live_here(question).await
                } else {
                    ask::ttl(&*self.cluster.messenger, leader, question).await
                }
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Err(_) => break,
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Unanswered::Refused(status))) => return Err(status),
                Ok(Err(Unanswered::NotLeader | Unanswered::Unreachable(_))) => {
                    tokio::time::sleep(LEADER_RETRY).await;
                }
            }
        }
        Err(status::timed_out())
    }

    pub async fn time_to_live_here(
        &self,
        question: askpb::TimeToLiveRequest,
    ) -> Result<askpb::TimeToLiveResponse, Unanswered> {
        self.lead_leases().await?;
        let id = question.id;
        let found = self.store.lease_ttl(id).zip(self.lessor.remaining_seconds(id));
        Ok(match found {
            Some(((granted, _), remaining)) => askpb::TimeToLiveResponse { remaining, granted },
            None => askpb::TimeToLiveResponse {
                remaining: -1,
                granted: 0,
            },
        })
    }

    /// As this member has applied them, like etcd's.
    pub async fn lease_leases(&self, caller: &Caller) -> Result<pb::LeaseLeasesResponse, Status> {
        let asker = self.require_anybody(caller).await?;
        if self.store.auth_enabled() {
            self.store.permit_all_leases(&asker).map_err(status::auth)?;
        }
        let leases = self.store.leases().into_iter();
        let leases = leases.map(|(id, _, _)| pb::LeaseStatus { id }).collect();
        self.still_allowed(&asker)?;
        Ok(pb::LeaseLeasesResponse {
            header: self.current_header(),
            leases,
        })
    }
}
