//! What every service stands on: the store, the log, and the requests as both the socket and the embedder make them.

use crate::auth::{Authenticator, Caller};
use crate::cluster::Cluster;
use crate::lease::{Forwarder, Lessor};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pieces::{IN_PIECES_BYTES_MIN, RangeAnswer, RangePieces};
use crate::quota::Quota;
use crate::slow::SlowApplies;
use crate::watch::Hub;
use crate::{Limits, check, status};
use bytes::Bytes;
use keelson_mvcc::{Asker, Command, Cursor, ReadError, Reading, Reply, Store, range, txn};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::{LeaderState, runtime};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tonic::Status;

/// What this server says it is: the API it speaks.
pub const VERSION: &str = "3.7.3";
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Keys read before other tasks get a turn.
const READ_SLICE_KEYS: usize = 512;

pub struct Core {
    pub auth: Authenticator,
    pub name: String,
    pub store: Arc<Store>,
    pub log: Arc<dyn Log>,
    pub lessor: Arc<Lessor>,
    pub hub: Arc<Hub>,
    pub quota: Quota,
    pub metrics: Arc<Metrics>,
    /// `client-cert-auth`: a client without a token is who its certificate names.
    pub certificates_are_users: bool,
    pub cluster: Cluster,
    /// Renewals on their way to the leader.
    pub forwarder: Forwarder,
    /// What is left of long leases is written down (`LeaseCheckpoint`).
    pub lease_checkpoint: bool,
    /// Reads that take long are told.
    pub slow: SlowApplies,
    pub limits: Limits,
    pub cluster_id: u64,
    pub member_id: u64,
    /// Where clients reach this member; set once it listens.
    pub client_urls: std::sync::OnceLock<Vec<String>>,
    /// How often watchers that ask for it are told of progress.
    pub progress_interval: Duration,
    /// Room for snapshots that clients take.
    pub snapshots: Arc<tokio::sync::Semaphore>,
    /// Rung after each compaction.
    pub compacted: Arc<Notify>,
    /// The last compaction that is physically finished.
    pub trimmed: watch::Sender<i64>,
    /// Why this member can go on no longer.
    pub failure: watch::Sender<Option<String>>,
}

impl Core {
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the store has failed");
        self.failure.send_replace(Some(reason));
    }

    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.log.term(),
        }
    }

    /// The interval and up to a tenth more, so that streams opened together do not all tick together.
    pub fn progress_period(&self) -> Duration {
        let interval = self.progress_interval.max(PROGRESS_INTERVAL_MIN);
        interval + interval.mul_f64(rand::random_range(0.0..0.1))
    }

    /// A header of now.
    pub fn current_header(&self) -> Option<pb::ResponseHeader> {
        Some(self.header(self.store.revision()))
    }

    /// Adds to a header from the store what the store does not know.
    pub(crate) fn complete(&self, header: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
        Some(self.header(header.map_or(0, |h| h.revision)))
    }

    /// Everything acknowledged before this call will be seen by reads after it.
    pub async fn barrier(&self) -> Result<(), Status> {
        self.log.read_index().await.map(drop).map_err(|e| status::raft(&e))
    }

    pub async fn propose(&self, caller: &Caller, command: Command) -> Result<Reply, Status> {
        let asker = self.require_command(caller, &command).await?;
        let encoded: Bytes = command.encode_for(&asker);
        if encoded.len() > self.limits.request_bytes {
            return Err(status::request_too_large());
        }
        if !self
            .quota
            .has_room(&command, encoded.len())
            .map_err(|e| status::storage(&e))?
        {
            self.raise_nospace().await;
            return Err(status::no_space());
        }
        let (_, answer) = self.log.propose(encoded).await.map_err(|e| status::raft(&e))?;
        answer.map_err(status::refused)
    }

    async fn raise_nospace(&self) {
        let alarm = pb::AlarmType::Nospace as i32;
        if self.store.alarms().contains(&(self.member_id, alarm)) {
            return;
        }
        tracing::warn!(
            quota_bytes = self.quota.bytes_max,
            "the store has reached its quota: alarm NOSPACE"
        );
        let action = pb::alarm_request::AlarmAction::Activate as i32;
        let command = Command::Alarm(pb::AlarmRequest {
            action,
            member_id: self.member_id,
            alarm,
        });
        if let Err(error) = self.log.propose(command.encode()).await {
            tracing::warn!(%error, "raise the alarm NOSPACE");
        }
    }

    /// Upkeep, away from the threads that serve and at a lower priority than theirs.
    pub async fn on_the_side<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = self.store.clone();
        let done = runtime::spawn_aside("upkeep", move || work(&store)).await;
        done.map_err(|_| status::stopped())?.map_err(status::read)
    }

    /// What comes before every read of a range; who reads it.
    async fn may_range(&self, caller: &Caller, r: &pb::RangeRequest) -> Result<Asker, Status> {
        check::range(r)?;
        if !r.serializable {
            if self.log.is_learner() {
                return Err(status::not_for_learners());
            }
            self.barrier().await?;
        }
        self.require_range(caller, &r.key, &r.range_end).await
    }

    pub async fn range(&self, caller: &Caller, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let asker = self.may_range(caller, &r).await?;
        let begun = Instant::now();
        let cursor = self.store.cursor(&r).map_err(status::refused)?;
        self.range_whole(&asker, begun, r, cursor).await
    }

    /// The same, for whoever can send a large answer without having it whole.
    pub async fn range_in_pieces(
        self: &Arc<Self>,
        caller: &Caller,
        r: pb::RangeRequest,
    ) -> Result<RangeAnswer, Status> {
        let asker = self.may_range(caller, &r).await?;
        let begun = Instant::now();
        match self.store.read(&r, IN_PIECES_BYTES_MIN).map_err(status::refused)? {
            Reading::Cursor(cursor) => self.range_whole(&asker, begun, r, cursor).await.map(RangeAnswer::Whole),
            Reading::Pieces(listing) => {
                RangePieces::new(self.clone(), asker, r, listing).map(|pieces| RangeAnswer::Pieces(Box::new(pieces)))
            }
        }
    }

    async fn range_whole(
        &self,
        asker: &Asker,
        begun: Instant,
        r: pb::RangeRequest,
        mut cursor: Cursor,
    ) -> Result<pb::RangeResponse, Status> {
        let mut left = range::keys_to_read(&r);
        let mut kvs = Vec::new();
        while !cursor.is_done() && left > 0 {
            if !kvs.is_empty() {
                tokio::task::yield_now().await;
            }
            let slice = cursor.next(left.min(READ_SLICE_KEYS)).map_err(status::read)?;
            left -= slice.len();
            kvs.extend(slice);
        }
        self.still_allowed(asker)?;
        let mut response = range::assemble(&r, kvs, cursor.count, cursor.revision);
        self.slow.tell_range(begun, &r, &response);
        response.header = self.complete(response.header);
        Ok(response)
    }

    pub async fn put(&self, caller: &Caller, r: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        check::put(&r)?;
        match self.propose(caller, Command::Put(r)).await? {
            Reply::Put(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(status::unexpected_reply()),
        }
    }

    pub async fn delete_range(
        &self,
        caller: &Caller,
        r: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        check::delete_range(&r)?;
        match self.propose(caller, Command::DeleteRange(r)).await? {
            Reply::DeleteRange(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(status::unexpected_reply()),
        }
    }

    pub async fn txn(&self, caller: &Caller, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        check::txn(&r, self.limits.txn_ops)?;
        let mut response = if txn::is_readonly(&r) {
            if !txn::is_serializable(&r) {
                self.barrier().await?;
            }
            let asker = self.identify(caller).await?;
            self.store.permit_txn(&asker, &r).map_err(status::auth)?;
            let begun = Instant::now();
            let response = self.store.txn_read(&r).map_err(status::read)?;
            self.slow.tell_txn(begun, &r, &response);
            self.still_allowed(&asker)?;
            response
        } else {
            self.propose_txn(caller, r).await?
        };
        response.header = self.complete(response.header);
        Ok(response)
    }

    async fn propose_txn(&self, caller: &Caller, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        #[cfg(feature = "seeded-bugs")]
        if seeded!(GuardBeforeApply) {
            let (decided, succeeded) = self.store.decided(&r).map_err(status::read)?;
            return match self.propose(caller, Command::Txn(decided)).await? {
                Reply::Txn(response) => Ok(pb::TxnResponse { succeeded, ..response }),
                _ => Err(status::unexpected_reply()),
            };
        }
        match self.propose(caller, Command::Txn(r)).await? {
            Reply::Txn(response) => Ok(response),
            _ => Err(status::unexpected_reply()),
        }
    }

    pub async fn compact(&self, caller: &Caller, r: pb::CompactionRequest) -> Result<pb::CompactionResponse, Status> {
        self.require_admin(caller).await?;
        let (revision, physical) = (r.revision, r.physical);
        let Reply::Compact(mut response) = self.propose(caller, Command::Compact(r)).await? else {
            return Err(status::unexpected_reply());
        };
        self.compacted.notify_one();
        self.quota.remeasure();
        if physical {
            let mut trimmed = self.trimmed.subscribe();
            trimmed
                .wait_for(|done| *done >= revision)
                .await
                .map_err(|_| status::stopped())?;
        }
        response.header = self.complete(response.header);
        Ok(response)
    }

    pub async fn alarm(&self, caller: &Caller, r: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
        use pb::alarm_request::AlarmAction;
        let action = AlarmAction::try_from(r.action)
            .map_err(|_| Status::invalid_argument("etcdserver: unknown alarm action"))?;
        if action == AlarmAction::Get {
            self.require_anybody(caller).await?;
            self.barrier().await?;
            let wanted = |kind: i32| r.alarm == pb::AlarmType::None as i32 || kind == r.alarm;
            let alarms = self.store.alarms().into_iter().filter(|(_, kind)| wanted(*kind));
            let alarms = alarms
                .map(|(member_id, alarm)| pb::AlarmMember { member_id, alarm })
                .collect();
            return Ok(pb::AlarmResponse {
                header: self.current_header(),
                alarms,
            });
        }
        self.require_admin(caller).await?;
        self.quota.remeasure();
        match self.propose(caller, Command::Alarm(r)).await? {
            Reply::Alarm(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(status::unexpected_reply()),
        }
    }

    pub fn member_status(&self) -> Result<pb::StatusResponse, Status> {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let alarms = self.store.alarms().into_iter().map(|(member, kind)| {
            let kind = pb::AlarmType::try_from(kind).unwrap_or(pb::AlarmType::None);
            format!("memberID:{member} alarm:{}", kind.as_str_name())
        });
        let size = self.store.physical_bytes().map_err(|e| status::storage(&e))?;
        let live = self.store.live_bytes().map_err(|e| status::storage(&e))?.min(size);
        // Both of one moment: a leader belongs to its term.
        let LeaderState { leader, term, .. } = *self.log.watch_leader().borrow();
        let no_leader = leader.is_none().then(|| "etcdserver: no leader".to_owned());
        let meta = self.store.cluster();
        Ok(pb::StatusResponse {
            header: self.current_header(),
            version: VERSION.to_owned(),
            db_size: bytes(size),
            leader: leader.unwrap_or(0),
            raft_index: self.log.committed_index(),
            raft_term: term,
            raft_applied_index: self.log.applied_index(),
            errors: no_leader.into_iter().chain(alarms).collect(),
            db_size_in_use: bytes(live),
            is_learner: self.log.is_learner(),
            storage_version: meta.version,
            db_size_quota: bytes(self.quota.bytes_max),
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: meta.downgrade.is_some(),
                target_version: meta.downgrade.unwrap_or_default(),
            }),
        })
    }
}
