//! The types openraft is told to use, and how they look in the log.
use crate::Error;
use bytes::Bytes;
use keelson_wal::EntryId;
use openraft::{
    EntryPayload,
    impls::leader_id_std::LeaderId,
    type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf},
};
use serde::{Deserialize, Serialize};
use std::{any::Any, fmt, io};

/// A command, as it arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

// openraft asks for serde on everything it carries, but only our own code writes commands anywhere.
impl Serialize for Command {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(d).map(|v| Command(v.into()))
    }
}

/// The machine's answer on its way to the proposer. Its type is erased here, so that openraft is compiled once and
/// not once for every machine; `Node` knows the type again.
pub struct Reply(pub(crate) Option<Box<dyn Any + Send + Sync>>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reply")
    }
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a reply does not leave its process"))
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a reply does not leave its process"))
    }
}

/// What the group's membership says of a member, besides its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
}

openraft::declare_raft_types!(
    /// Terms as in the Raft paper: one leader a term, so that a term names its leader.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        LeaderId = LeaderId<u64, u64>,
);

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type StoredMembership = StoredMembershipOf<Types>;

// openraft counts entries from 0. Everything else counts from 1, as etcd does: the log, the state machine, the node's
// users. So 0 means "nothing" without a word more, and only these two functions know both.

pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId {
        term: id.leader_id.term,
        index: id.index.saturating_add(1),
    }
}

pub(crate) fn from_entry_id(id: EntryId) -> LogId {
    LogId::new(CommittedLeaderIdOf::<Types>::new(id.term), id.index.saturating_sub(1))
}

pub(crate) fn vote_to_wal(vote: &Vote) -> keelson_wal::Vote {
    keelson_wal::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_wal(vote: keelson_wal::Vote) -> Vote {
    if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    }
}

/// The tag of an entry in the log: what its payload is.
mod tag {
    pub const BLANK: u8 = 0;
    pub const COMMAND: u8 = 1;
    /// JSON of the membership.
    pub const MEMBERSHIP: u8 = 2;
}

pub(crate) fn entry_to_wal(entry: Entry) -> io::Result<keelson_wal::Entry> {
    let (tag, payload) = match entry.payload {
        EntryPayload::Blank => (tag::BLANK, Bytes::new()),
        EntryPayload::Normal(Command(bytes)) => (tag::COMMAND, bytes),
        EntryPayload::Membership(m) => (
            tag::MEMBERSHIP,
            serde_json::to_vec(&m).map_err(io::Error::other)?.into(),
        ),
    };
    Ok(keelson_wal::Entry {
        id: entry_id(&entry.log_id),
        tag,
        payload,
    })
}

pub(crate) fn entry_from_wal(entry: keelson_wal::Entry) -> io::Result<Entry> {
    if entry.id.index == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry has index 0"));
    }
    let payload = match entry.tag {
        tag::BLANK => EntryPayload::Blank,
        tag::COMMAND => EntryPayload::Normal(Command(entry.payload)),
        tag::MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(&entry.payload).map_err(|e| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("membership at {}: {e}", entry.id.index),
            )
        })?),
        other => {
            let what = format!(
                "entry {} has tag {other}, which this version does not know",
                entry.id.index
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    };
    Ok(Entry {
        log_id: from_entry_id(entry.id),
        payload,
    })
}

/// The blob a state machine keeps for the log: the last membership applied and where it stood.
pub(crate) fn encode_membership(m: &StoredMembership) -> io::Result<Bytes> {
    serde_json::to_vec(m).map(Bytes::from).map_err(io::Error::other)
}

pub(crate) fn decode_membership(blob: &[u8]) -> Result<StoredMembership, Error> {
    if blob.is_empty() {
        return Ok(StoredMembership::default());
    }
    serde_json::from_slice(blob).map_err(|e| Error::Fatal(format!("the stored membership is unreadable: {e}")))
}
