//! How members reach each other, as this crate sees it: messages in, messages out. Sockets, TLS and a simulator's network
//! are behind [`Transport`]; the other end hands what it receives to [`PeerHandler`](crate::PeerHandler).
use async_trait::async_trait;
use futures::stream::BoxStream;
use keelson_proto::peer as pb;
use std::collections::BTreeMap;

/// Why a message did not get its answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    /// Nobody answers there, or the connection broke. The message may have arrived.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The other side says that the sender was removed from the group.
    #[error("the member was removed from the group")]
    Removed,
    /// The other side is of another group, is another member, or does not understand.
    #[error("refused: {0}")]
    Refused(String),
    #[error("timed out")]
    TimedOut,
}

pub type Requests<T> = BoxStream<'static, T>;
pub type Responses<T> = BoxStream<'static, Result<T, TransportError>>;

/// Calls to other members, by id. Each call is dropped when its caller no longer waits.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The peer URLs of every member, this one among them: told at the start and whenever they change. Connections to
    /// URLs that are no longer listed end.
    fn set_members(&self, members: &BTreeMap<u64, Vec<String>>);

    /// Replication: answers in the order of the requests, while more requests are on their way.
    async fn append(
        &self,
        to: u64,
        requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError>;
    /// A heartbeat. It must not wait behind what [`Transport::append`] sends.
    async fn beat(&self, to: u64, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError>;
    async fn vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError>;
    async fn pre_vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError>;
    async fn snapshot(&self, to: u64, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError>;
    async fn transfer_leader(
        &self,
        to: u64,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError>;
    async fn forward(
        &self,
        to: u64,
        requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError>;
    async fn read_index(&self, to: u64, request: pb::ReadIndexRequest)
    -> Result<pb::ReadIndexResponse, TransportError>;
}

/// For a member that is alone and stays so: it reaches nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransport;

fn nobody<T>() -> Result<T, TransportError> {
    Err(TransportError::Unreachable("this member has no peers".into()))
}

#[async_trait]
impl Transport for NoTransport {
    fn set_members(&self, _: &BTreeMap<u64, Vec<String>>) {}
    async fn append(
        &self,
        _: u64,
        _: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        nobody()
    }
    async fn beat(&self, _: u64, _: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        nobody()
    }
    async fn vote(&self, _: u64, _: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        nobody()
    }
    async fn pre_vote(&self, _: u64, _: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        nobody()
    }
    async fn snapshot(&self, _: u64, _: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        nobody()
    }
    async fn transfer_leader(
        &self,
        _: u64,
        _: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        nobody()
    }
    async fn forward(
        &self,
        _: u64,
        _: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        nobody()
    }
    async fn read_index(&self, _: u64, _: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, TransportError> {
        nobody()
    }
}
