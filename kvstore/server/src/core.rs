//! What every service stands on: the store, the log, and the requests as both the socket and the embedder make them.

use crate::lease::Lessor;
use crate::log::Log;
use crate::quota::Quota;
use crate::watch::Hub;
use crate::{check, status};
use bytes::Bytes;
use keelson_mvcc::{Command, ReadError, Reply, Store, range, txn};
use keelson_proto::etcdserverpb as pb;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tonic::Status;

/// Largest proposal, bytes: etcd's `max-request-bytes`.
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// Largest gRPC message received, bytes: the request and half a MiB.
pub const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + (512 << 10);
/// What this server says it is: the API it speaks.
pub const VERSION: &str = "3.7.3";
pub const STORAGE_VERSION: &str = "3.7.0";
/// etcd's `watch-progress-notify-interval`.
pub const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Keys read before other tasks get a turn.
const READ_SLICE_KEYS: usize = 512;

pub struct Core {
    pub name: String,
    pub store: Arc<Store>,
    pub log: Arc<dyn Log>,
    pub lessor: Arc<Lessor>,
    pub hub: Arc<Hub>,
    pub quota: Quota,
    pub cluster_id: u64,
    pub member_id: u64,
    /// Where clients reach this member; set once it listens.
    pub client_urls: std::sync::OnceLock<Vec<String>>,
    /// How often watchers that ask for it are told of progress.
    pub progress_interval: Duration,
    /// Rung after each compaction.
    pub compacted: Notify,
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
    fn complete(&self, header: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
        Some(self.header(header.map_or(0, |h| h.revision)))
    }

    /// Everything acknowledged before this call will be seen by reads after it.
    pub async fn barrier(&self) -> Result<(), Status> {
        self.log.read_index().await.map(drop).map_err(|e| status::raft(&e))
    }

    async fn propose(&self, command: Command) -> Result<Reply, Status> {
        let encoded: Bytes = command.encode();
        if encoded.len() > REQUEST_BYTES_MAX {
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

    /// Work that takes the disk's time, away from the threads that serve.
    pub async fn on_the_side<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|_| status::stopped())?.map_err(status::read)
    }

    pub async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        check::range(&r)?;
        if !r.serializable {
            self.barrier().await?;
        }
        let mut cursor = self.store.cursor(&r).map_err(status::refused)?;
        let mut left = range::keys_to_read(&r);
        let mut kvs = Vec::new();
        while !cursor.is_done() && left > 0 {
            if !kvs.is_empty() {
                tokio::task::yield_now().await;
            }
            let slice = cursor
                .next(left.min(READ_SLICE_KEYS))
                .map_err(|e| status::storage(&e))?;
            left -= slice.len();
            kvs.extend(slice);
        }
        let mut response = range::assemble(&r, kvs, cursor.count, cursor.revision);
        response.header = self.complete(response.header);
        Ok(response)
    }

    pub async fn put(&self, r: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        check::put(&r)?;
        match self.propose(Command::Put(r)).await? {
            Reply::Put(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(unexpected_reply()),
        }
    }

    pub async fn delete_range(&self, r: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Status> {
        check::delete_range(&r)?;
        match self.propose(Command::DeleteRange(r)).await? {
            Reply::DeleteRange(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(unexpected_reply()),
        }
    }

    pub async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        check::txn(&r)?;
        let mut response = if txn::is_readonly(&r) {
            if !txn::is_serializable(&r) {
                self.barrier().await?;
            }
            self.store.txn_read(&r).map_err(status::read)?
        } else {
            match self.propose(Command::Txn(r)).await? {
                Reply::Txn(response) => response,
                _ => return Err(unexpected_reply()),
            }
        };
        response.header = self.complete(response.header);
        Ok(response)
    }

    pub async fn compact(&self, r: pb::CompactionRequest) -> Result<pb::CompactionResponse, Status> {
        let (revision, physical) = (r.revision, r.physical);
        let Reply::Compact(mut response) = self.propose(Command::Compact(r)).await? else {
            return Err(unexpected_reply());
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

    pub async fn lease_grant(&self, mut r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
        while r.id == 0 {
            // Positive, as etcd chooses them.
            r.id = rand::random::<i64>() & i64::MAX;
        }
        match self.propose(Command::LeaseGrant(r)).await? {
            Reply::LeaseGrant(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(unexpected_reply()),
        }
    }

    pub async fn lease_revoke(&self, r: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Status> {
        match self.propose(Command::LeaseRevoke(r)).await? {
            Reply::LeaseRevoke(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(unexpected_reply()),
        }
    }

    /// A TTL of 0 in the answer: there is no such lease.
    pub async fn lease_keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        // The header is from before: a keepalive never seems to have succeeded after the lease was revoked.
        let header = self.current_header();
        self.barrier().await?;
        let ttl = self.lessor.renew(id).unwrap_or(0);
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }

    pub async fn lease_time_to_live(
        &self,
        r: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        self.barrier().await?;
        let mut response = pb::LeaseTimeToLiveResponse {
            header: self.current_header(),
            id: r.id,
            ttl: -1,
            ..Default::default()
        };
        let found = self.store.lease_ttl(r.id).zip(self.lessor.remaining_seconds(r.id));
        if let Some(((granted, _), remaining)) = found {
            response.granted_ttl = granted;
            response.ttl = remaining;
            if r.keys {
                response.keys = self.store.lease_keys(r.id);
            }
        }
        Ok(response)
    }

    pub async fn lease_leases(&self) -> Result<pb::LeaseLeasesResponse, Status> {
        self.barrier().await?;
        let leases = self
            .store
            .leases()
            .into_iter()
            .map(|(id, _, _)| pb::LeaseStatus { id })
            .collect();
        Ok(pb::LeaseLeasesResponse {
            header: self.current_header(),
            leases,
        })
    }

    pub async fn alarm(&self, r: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
        use pb::alarm_request::AlarmAction;
        let action = AlarmAction::try_from(r.action)
            .map_err(|_| Status::invalid_argument("etcdserver: unknown alarm action"))?;
        if action == AlarmAction::Get {
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
        self.quota.remeasure();
        match self.propose(Command::Alarm(r)).await? {
            Reply::Alarm(mut response) => {
                response.header = self.complete(response.header);
                Ok(response)
            }
            _ => Err(unexpected_reply()),
        }
    }

    pub fn member_status(&self) -> Result<pb::StatusResponse, Status> {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let errors = self.store.alarms().into_iter().map(|(member, kind)| {
            let kind = pb::AlarmType::try_from(kind).unwrap_or(pb::AlarmType::None);
            format!("memberID:{member} alarm:{}", kind.as_str_name())
        });
        let size = self.store.physical_bytes().map_err(|e| status::storage(&e))?;
        let live = self.store.live_bytes().map_err(|e| status::storage(&e))?.min(size);
        let leader = self.log.leader();
        let no_leader = leader.is_none().then(|| "etcdserver: no leader".to_owned());
        Ok(pb::StatusResponse {
            header: self.current_header(),
            version: VERSION.to_owned(),
            db_size: bytes(size),
            leader: leader.unwrap_or(0),
            raft_index: self.log.committed_index(),
            raft_term: self.log.term(),
            raft_applied_index: self.log.applied_index(),
            errors: errors.chain(no_leader).collect(),
            db_size_in_use: bytes(live),
            is_learner: false,
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: bytes(self.quota.bytes_max),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        })
    }

    pub fn members(&self) -> Vec<pb::Member> {
        vec![pb::Member {
            id: self.member_id,
            name: self.name.clone(),
            peer_ur_ls: Vec::new(),
            client_ur_ls: self.client_urls.get().cloned().unwrap_or_default(),
            is_learner: false,
        }]
    }
}

fn unexpected_reply() -> Status {
    Status::internal("etcdserver: the answer is of another kind than the request")
}
