//! The sending end: where every member is, and calls to it.

use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX, from_status};
use crate::ask::Messenger;
use crate::dial::{self, Caller};
use crate::{ListenAddr, Peers};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use keelson_proto::peer as pb;
use keelson_proto::peer::peer_client::PeerClient;
use keelson_raft::{Requests, Responses, Transport, TransportError};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

type Client = PeerClient<Channel>;

/// The ways to one URL of a member.
struct Way {
    /// Heartbeats, votes, questions.
    quick: Client,
    /// Entries, commands, snapshots.
    bulk: Client,
}

struct Member {
    urls: Vec<String>,
    ways: Vec<Way>,
    /// The one that is used now.
    at: AtomicUsize,
}

/// Every other member of the group.
pub struct Members {
    cluster_id: u64,
    own_id: u64,
    caller: Caller,
    members: RwLock<BTreeMap<u64, Arc<Member>>>,
}

/// The address that calls come from, if that was asked for: the first listener's that is one.
fn local_addr(peers: &Peers) -> Option<IpAddr> {
    if !peers.set_local_addr {
        return None;
    }
    let addresses = peers.listeners.iter().filter_map(|listener| match listener {
        ListenAddr::Tcp(addr) => Some(addr.ip()),
        ListenAddr::Unix(_) => None,
    });
    let mut usable = addresses.filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    usable.next()
}

impl Members {
    /// A connection that takes longer than an election is no use.
    pub fn new(cluster_id: u64, own_id: u64, peers: &Peers, election: Duration) -> Arc<Members> {
        Arc::new(Members {
            cluster_id,
            own_id,
            caller: Caller {
                tls: peers.client_tls.clone(),
                local: local_addr(peers),
                connect_timeout: election.max(Duration::from_secs(1)),
            },
            members: RwLock::default(),
        })
    }

    fn member(&self, urls: &[String]) -> Member {
        let client = |url: &String| {
            let tuned = dial::channel_with(url, &self.caller, |endpoint| {
                endpoint
                    .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                    .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                    .keep_alive_while_idle(true)
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            });
            let client = |channel| {
                PeerClient::new(channel)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX)
            };
            tuned.map(client)
        };
        let mut ways = Vec::new();
        for url in urls {
            match (client(url), client(url)) {
                (Ok(quick), Ok(bulk)) => ways.push(Way { quick, bulk }),
                (Err(error), _) | (_, Err(error)) => tracing::warn!(url, error, "a peer URL cannot be used"),
            }
        }
        Member {
            urls: urls.to_vec(),
            ways,
            at: AtomicUsize::new(0),
        }
    }

    fn head(&self, to: u64) -> pb::Head {
        pb::Head {
            cluster_id: self.cluster_id,
            from: self.own_id,
            to,
        }
    }

    /// The way that is used now.
    fn way(&self, to: u64, bulk: bool) -> Result<Going, TransportError> {
        let member = self.members.read().get(&to).cloned();
        let member = member.ok_or_else(|| TransportError::Unreachable(format!("member {to:x} has no address")))?;
        let at = member.at.load(Ordering::Relaxed);
        let way = at.checked_rem(member.ways.len()).and_then(|at| member.ways.get(at));
        let way = way.ok_or_else(|| TransportError::Unreachable(format!("member {to:x} has no usable URL")))?;
        let client = if bulk { way.bulk.clone() } else { way.quick.clone() };
        Ok(Going { client, member, at })
    }
}

/// A call that is about to be made on one way; the next takes the next way if nobody answers there.
struct Going {
    client: Client,
    member: Arc<Member>,
    at: usize,
}

impl Going {
    fn ended<T>(self, outcome: Result<tonic::Response<T>, Status>) -> Result<T, TransportError> {
        outcome.map(tonic::Response::into_inner).map_err(|status| {
            if status.code() == Code::Unavailable {
                // Whoever failed at the same time moves on once, not twice.
                let next = self.at.wrapping_add(1);
                let at = &self.member.at;
                let _ = at.compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            from_status(&status)
        })
    }
}

macro_rules! call {
    ($self:ident, $to:ident, $bulk:literal, $name:ident($request:expr)) => {{
        let mut going = $self.way($to, $bulk)?;
        let outcome = going.client.$name($request).await;
        going.ended(outcome)
    }};
}

/// A stream with a name of its own: the compiler cannot see through the boxed one inside the calls' futures.
struct Outgoing<T>(Requests<T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_next_unpin(cx)
    }
}

fn responses<T: Send + 'static>(answers: Streaming<T>) -> Responses<T> {
    answers.map(|answer| answer.map_err(|s| from_status(&s))).boxed()
}

#[async_trait]
impl Transport for Members {
    fn set_members(&self, told: &BTreeMap<u64, Vec<String>>) {
        let mut members = self.members.write();
        members.retain(|id, member| told.get(id).is_some_and(|urls| *urls == member.urls));
        for (id, urls) in told {
            if *id != self.own_id && !members.contains_key(id) {
                members.insert(*id, Arc::new(self.member(urls)));
            }
        }
    }

    async fn append(
        &self,
        to: u64,
        requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        call!(self, to, true, append(Outgoing(requests))).map(responses)
    }

    async fn forward(
        &self,
        to: u64,
        requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        call!(self, to, true, forward(Outgoing(requests))).map(responses)
    }

    async fn snapshot(&self, to: u64, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        call!(self, to, true, snapshot(request))
    }

    async fn beat(&self, to: u64, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        call!(self, to, false, beat(request))
    }

    async fn vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        call!(self, to, false, vote(request))
    }

    async fn pre_vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        call!(self, to, false, pre_vote(request))
    }

    async fn transfer_leader(
        &self,
        to: u64,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        call!(self, to, false, transfer_leader(request))
    }

    async fn read_index(
        &self,
        to: u64,
        request: pb::ReadIndexRequest,
    ) -> Result<pb::ReadIndexResponse, TransportError> {
        call!(self, to, false, read_index(request))
    }
}

#[async_trait]
impl Messenger for Members {
    async fn ask(&self, to: u64, subject: &'static str, body: Bytes) -> Result<Bytes, String> {
        let request = pb::AskRequest {
            head: Some(self.head(to)),
            subject: subject.to_owned(),
            body,
        };
        let asked = async { call!(self, to, false, ask(request)) };
        asked.await.map(|a| a.body).map_err(|e: TransportError| e.to_string())
    }
}
