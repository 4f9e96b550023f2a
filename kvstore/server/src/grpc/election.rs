//! Elections: whoever holds the oldest key below a name leads, and its value is what the leader says.

use super::Services;
use super::turns::{
    Cleanup, Follow, NO_SESSION, created_at, delete, first_created, found, get, is_delete, key, one, prefix, put,
    revision_of, through_a_client, watch_prefix,
};
use crate::auth::Caller;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_proto::v3electionpb as election;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

const NO_LEADER: &str = "election: no leader";
const NOT_LEADER: &str = "election: not leader";
const LEADER_MISSING: &str = "\"leader\" field must be provided";
/// Leaders that wait for a client that observes.
const OBSERVED_WAITING_MAX: usize = 16;

fn missing() -> Status {
    Status::unknown(LEADER_MISSING)
}

/// Gives the key up, if it is still that one.
fn resignation(key: Bytes, created: i64) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![created_at(key.clone(), created)],
        success: vec![delete(key)],
        failure: Vec::new(),
    }
}

impl Services {
    async fn campaign_for(
        &self,
        caller: Caller,
        r: election::CampaignRequest,
    ) -> Result<election::CampaignResponse, Status> {
        let lease = self.session(&caller, r.lease).await?;
        let mine = key(&r.name, lease);
        let take = pb::TxnRequest {
            compare: vec![created_at(mine.clone(), 0)],
            success: vec![put(mine.clone(), r.value.clone(), lease)],
            failure: vec![get(one(mine.clone()))],
        };
        let taken = self.core.txn(&caller, take).await?;
        let mut created = revision_of(taken.header.as_ref());
        if !taken.succeeded {
            let standing = found(&taken, 0).ok_or_else(|| Status::unknown(NOT_LEADER))?;
            created = standing.create_revision;
            if standing.value != r.value
                && let Err(error) = self
                    .proclaim_at(&caller, mine.clone(), created, lease, r.value.clone())
                    .await
            {
                let given_up = self.core.txn(&caller, resignation(mine, created)).await;
                if let Err(error) = given_up {
                    tracing::debug!(%error, "give up a campaign");
                }
                return Err(error);
            }
        }
        let waiting = Cleanup::new(self, &caller, resignation(mine.clone(), created));
        let waited = self.wait_for_elders(&caller, &prefix(&r.name), created).await;
        // A failure leaves the key to its lease; only a client that goes away takes it back.
        waiting.disarm();
        waited?;
        let leader = election::LeaderKey {
            name: r.name,
            key: mine,
            rev: created,
            lease,
        };
        Ok(election::CampaignResponse {
            header: taken.header,
            leader: Some(leader),
        })
    }

    async fn proclaim_at(
        &self,
        caller: &Caller,
        key: Bytes,
        created: i64,
        lease: i64,
        value: Bytes,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let request = pb::TxnRequest {
            compare: vec![created_at(key.clone(), created)],
            success: vec![put(key, value, lease)],
            failure: Vec::new(),
        };
        let response = self.core.txn(caller, request).await?;
        if !response.succeeded {
            return Err(Status::unknown(NOT_LEADER));
        }
        Ok(response.header)
    }

    /// Tells each leader and each thing it says, until the client is gone or the store fails.
    async fn observe_for(self, caller: Caller, name: Bytes, told: mpsc::Sender<Result<Told, Status>>) {
        let outcome = tokio::select! {
            outcome = self.tell_leaders(&caller, &name, &told) => outcome,
            () = told.closed() => Ok(()),
            () = self.stop.cancelled() => Err(crate::status::stopped()),
        };
        if let Err(error) = outcome {
            // etcd ends the stream without an error.
            tracing::debug!(%error, "an observed election ended");
        }
    }

    async fn tell_leaders(
        &self,
        caller: &Caller,
        name: &[u8],
        told: &mpsc::Sender<Result<Told, Status>>,
    ) -> Result<(), Status> {
        let prefix = prefix(name);
        loop {
            let read = self.core.range(caller, first_created(&prefix)).await?;
            let revision = revision_of(read.header.as_ref());
            let now = match read.kvs.into_iter().next() {
                Some(kv) => Some((read.header, kv)),
                None => self.first_put(caller, &prefix, revision).await?,
            };
            let Some((header, kv)) = now else { continue };
            let (leader, from) = (kv.key.clone(), revision_of(header.as_ref()) + 1);
            if told.send(Ok(Told { header, kv: Some(kv) })).await.is_err() {
                return Ok(());
            }
            let create = pb::WatchCreateRequest {
                key: leader,
                start_revision: from,
                ..Default::default()
            };
            let mut follow = Follow::open(self, caller, create);
            'leader: while let Some(response) = follow.next().await? {
                for event in response.events {
                    if is_delete(&event) {
                        break 'leader;
                    }
                    let header = response.header;
                    if told.send(Ok(Told { header, kv: event.kv })).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for a key to appear; `None`: look again.
    async fn first_put(
        &self,
        caller: &Caller,
        prefix: &[u8],
        revision: i64,
    ) -> Result<Option<(Option<pb::ResponseHeader>, KeyValue)>, Status> {
        let mut follow = Follow::open(self, caller, watch_prefix(prefix, revision));
        while let Some(response) = follow.next().await? {
            let put = response.events.into_iter().find(|e| !is_delete(e)).and_then(|e| e.kv);
            if let Some(kv) = put {
                let header = response.header.map(|h| pb::ResponseHeader {
                    revision: kv.mod_revision,
                    ..h
                });
                return Ok(Some((header, kv)));
            }
        }
        Ok(None)
    }
}

type Told = election::LeaderResponse;

#[tonic::async_trait]
impl election::election_server::Election for Services {
    type ObserveStream = BoxStream<'static, Result<Told, Status>>;

    async fn campaign(
        &self,
        r: Request<election::CampaignRequest>,
    ) -> Result<Response<election::CampaignResponse>, Status> {
        let caller = Caller::of(&r);
        let waiting = self.campaign_for(caller, r.into_inner());
        tokio::select! {
            outcome = waiting => outcome.map(Response::new).map_err(through_a_client),
            () = self.stop.cancelled() => Err(crate::status::stopped()),
        }
    }

    async fn proclaim(
        &self,
        r: Request<election::ProclaimRequest>,
    ) -> Result<Response<election::ProclaimResponse>, Status> {
        let caller = Caller::of(&r);
        let r = r.into_inner();
        let leader = r.leader.ok_or_else(missing)?;
        let lease = self.session(&caller, leader.lease).await.map_err(through_a_client)?;
        let proclaimed = self.proclaim_at(&caller, leader.key, leader.rev, lease, r.value).await;
        let header = proclaimed.map_err(through_a_client)?;
        Ok(Response::new(election::ProclaimResponse { header }))
    }

    async fn leader(&self, r: Request<election::LeaderRequest>) -> Result<Response<Told>, Status> {
        let caller = Caller::of(&r);
        self.session(&caller, NO_SESSION).await.map_err(through_a_client)?;
        let request = first_created(&prefix(&r.into_inner().name));
        let read = self.core.range(&caller, request).await.map_err(through_a_client)?;
        let kv = read.kvs.into_iter().next().ok_or_else(|| Status::unknown(NO_LEADER))?;
        Ok(Response::new(Told {
            header: read.header,
            kv: Some(kv),
        }))
    }

    async fn observe(&self, r: Request<election::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let caller = Caller::of(&r);
        let (told, leaders) = mpsc::channel(OBSERVED_WAITING_MAX);
        tokio::spawn(self.clone().observe_for(caller, r.into_inner().name, told));
        Ok(Response::new(ReceiverStream::new(leaders).boxed()))
    }

    async fn resign(&self, r: Request<election::ResignRequest>) -> Result<Response<election::ResignResponse>, Status> {
        let caller = Caller::of(&r);
        let leader = r.into_inner().leader.ok_or_else(missing)?;
        self.session(&caller, leader.lease).await.map_err(through_a_client)?;
        let request = resignation(leader.key, leader.rev);
        let resigned = self.core.txn(&caller, request).await.map_err(through_a_client)?;
        Ok(Response::new(election::ResignResponse {
            header: resigned.header,
        }))
    }
}
