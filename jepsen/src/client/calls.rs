//! The calls with one request and one answer.

use super::{ANSWER_BYTES_MAX, Client, Error};
use keelson_proto::etcdserverpb::{
    cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, *,
};
use keelson_proto::v3electionpb::{self, election_client::ElectionClient};
use keelson_proto::v3lockpb::{self, lock_client::LockClient};
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Response, Status};

macro_rules! calls {
    ($($(#[$about:meta])* $name:ident($request:ty) -> $answer:ty = $stub:ident.$method:ident;)*) => {
        impl Client {
            $(
                $(#[$about])*
                ///
                /// # Errors
                /// [`Error`] says whether it certainly did not take effect.
                pub async fn $name(&self, request: $request) -> Result<$answer, Error> {
                    self.call(stringify!($name), |channel| async move {
                        $stub::new(channel)
                            .max_decoding_message_size(ANSWER_BYTES_MAX)
                            .$method(request)
                            .await
                    })
                    .await
                }
            )*
        }
    };
}

calls! {
    /// KV.Range.
    range(RangeRequest) -> RangeResponse = KvClient.range;
    /// KV.Put.
    put(PutRequest) -> PutResponse = KvClient.put;
    /// KV.DeleteRange.
    delete_range(DeleteRangeRequest) -> DeleteRangeResponse = KvClient.delete_range;
    /// KV.Txn.
    txn(TxnRequest) -> TxnResponse = KvClient.txn;
    /// KV.Compact.
    compact(CompactionRequest) -> CompactionResponse = KvClient.compact;

    /// Lease.LeaseGrant.
    lease_grant(LeaseGrantRequest) -> LeaseGrantResponse = LeaseClient.lease_grant;
    /// Lease.LeaseRevoke.
    lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse = LeaseClient.lease_revoke;
    /// Lease.LeaseTimeToLive.
    lease_ttl(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse = LeaseClient.lease_time_to_live;
    /// Lease.LeaseLeases.
    leases(LeaseLeasesRequest) -> LeaseLeasesResponse = LeaseClient.lease_leases;

    /// Lock.Lock: waits until the lock is held, for as long as the request timeout.
    lock(v3lockpb::LockRequest) -> v3lockpb::LockResponse = LockClient.lock;
    /// Lock.Unlock.
    unlock(v3lockpb::UnlockRequest) -> v3lockpb::UnlockResponse = LockClient.unlock;

    /// Election.Campaign: waits until elected, for as long as the request timeout.
    campaign(v3electionpb::CampaignRequest) -> v3electionpb::CampaignResponse = ElectionClient.campaign;
    /// Election.Proclaim.
    proclaim(v3electionpb::ProclaimRequest) -> v3electionpb::ProclaimResponse = ElectionClient.proclaim;
    /// Election.Leader.
    leader(v3electionpb::LeaderRequest) -> v3electionpb::LeaderResponse = ElectionClient.leader;
    /// Election.Resign.
    resign(v3electionpb::ResignRequest) -> v3electionpb::ResignResponse = ElectionClient.resign;

    /// Cluster.MemberList.
    member_list(MemberListRequest) -> MemberListResponse = ClusterClient.member_list;
    /// Cluster.MemberAdd.
    member_add(MemberAddRequest) -> MemberAddResponse = ClusterClient.member_add;
    /// Cluster.MemberRemove.
    member_remove(MemberRemoveRequest) -> MemberRemoveResponse = ClusterClient.member_remove;
    /// Cluster.MemberUpdate.
    member_update(MemberUpdateRequest) -> MemberUpdateResponse = ClusterClient.member_update;
    /// Cluster.MemberPromote.
    member_promote(MemberPromoteRequest) -> MemberPromoteResponse = ClusterClient.member_promote;

    /// Maintenance.Status.
    status(StatusRequest) -> StatusResponse = MaintenanceClient.status;
    /// Maintenance.MoveLeader: only the leader does it.
    move_leader(MoveLeaderRequest) -> MoveLeaderResponse = MaintenanceClient.move_leader;
    /// Maintenance.Defragment.
    defragment(DefragmentRequest) -> DefragmentResponse = MaintenanceClient.defragment;
    /// Maintenance.HashKV.
    hash_kv(HashKvRequest) -> HashKvResponse = MaintenanceClient.hash_kv;
    /// Maintenance.Alarm.
    alarm(AlarmRequest) -> AlarmResponse = MaintenanceClient.alarm;
}

impl Client {
    /// Makes a call over the connection within the limit of time.
    async fn call<T, F, Answer>(&self, name: &str, make: F) -> Result<T, Error>
    where
        F: FnOnce(Channel) -> Answer,
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let (channel, number) = self.channel().await?;
        let answer = tokio::time::timeout(self.timeouts.request, make(channel)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Error::of(&status),
            Err(_) => Error::timed_out(format!(
                "{name}: no answer within {} ms",
                self.timeouts.request.as_millis()
            )),
        };
        if error.broken {
            self.give_up(number).await;
        }
        Err(error)
    }

    /// One keepalive of a lease over a stream of its own; the answer's TTL is 0 when the lease is gone.
    ///
    /// # Errors
    /// [`Error`]; an indefinite one may have renewed the lease.
    pub async fn lease_keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let mut stream = self.keep_alive(id).await?;
        stream.next().await
    }

    /// The limit of time for an answer.
    pub(super) fn limit(&self) -> std::time::Duration {
        self.timeouts.request
    }

    /// Opens a stream within the limit of time.
    pub(super) async fn open<T, F, Answer>(&self, name: &str, make: F) -> Result<T, Error>
    where
        F: FnOnce(Channel) -> Answer,
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        self.call(name, make).await
    }
}
