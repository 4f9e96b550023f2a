//! Log entries: an envelope around the request as it arrived.

use bytes::Bytes;
use keelson_proto::command::{Command as Envelope, command::Kind};
use keelson_proto::etcdserverpb as pb;
use prost::Message;

/// What the log can carry.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    Alarm(pb::AlarmRequest),
}

impl Command {
    pub fn encode(&self) -> Bytes {
        let (kind, payload) = match self {
            Command::Put(r) => (Kind::Put, r.encode_to_vec()),
            Command::DeleteRange(r) => (Kind::DeleteRange, r.encode_to_vec()),
            Command::Txn(r) => (Kind::Txn, r.encode_to_vec()),
            Command::Compact(r) => (Kind::Compact, r.encode_to_vec()),
            Command::LeaseGrant(r) => (Kind::LeaseGrant, r.encode_to_vec()),
            Command::LeaseRevoke(r) => (Kind::LeaseRevoke, r.encode_to_vec()),
            Command::LeaseCheckpoint(r) => (Kind::LeaseCheckpoint, r.encode_to_vec()),
            Command::Alarm(r) => (Kind::Alarm, r.encode_to_vec()),
        };
        Envelope {
            kind: kind as i32,
            payload: payload.into(),
        }
        .encode_to_vec()
        .into()
    }

    /// Keys and values of the result are slices of `entry`.
    pub fn decode(entry: Bytes) -> Result<Command, prost::DecodeError> {
        let envelope = Envelope::decode(entry)?;
        let payload = envelope.payload;
        let kind = Kind::try_from(envelope.kind).unwrap_or(Kind::Unknown);
        Ok(match kind {
            Kind::Put => Command::Put(Message::decode(payload)?),
            Kind::DeleteRange => Command::DeleteRange(Message::decode(payload)?),
            Kind::Txn => Command::Txn(Message::decode(payload)?),
            Kind::Compact => Command::Compact(Message::decode(payload)?),
            Kind::LeaseGrant => Command::LeaseGrant(Message::decode(payload)?),
            Kind::LeaseRevoke => Command::LeaseRevoke(Message::decode(payload)?),
            Kind::LeaseCheckpoint => Command::LeaseCheckpoint(Message::decode(payload)?),
            Kind::Alarm => Command::Alarm(Message::decode(payload)?),
            #[allow(deprecated)]
            Kind::Unknown => return Err(prost::DecodeError::new("unknown kind of command")),
        })
    }
}
