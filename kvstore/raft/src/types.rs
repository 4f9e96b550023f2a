//! The types openraft is told to use, and how they look in the log.
use crate::Error;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use keelson_wal::EntryId;
use openraft::{
    EntryPayload,
    impls::leader_id_std::LeaderId,
    type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf},
};
use serde::{Deserialize, Serialize};
use std::{any::Any, collections::BTreeMap, fmt, io};

/// Who forwarded a command, and what it calls it. `life` is another number in each process, so that what the log replays
/// answers nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub node: u64,
    pub life: u64,
    pub sequence: u64,
}

/// Bytes of an origin before a forwarded command.
pub(crate) const ORIGIN_BYTES: usize = 24;

impl Origin {
    /// The command as it is forwarded, logged and replicated: with its origin before it.
    pub(crate) fn frame(self, command: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(ORIGIN_BYTES + command.len());
        out.put_u64(self.node);
        out.put_u64(self.life);
        out.put_u64(self.sequence);
        out.put_slice(command);
        out.freeze()
    }

    /// The origin and the command; `None` if there is not even room for an origin.
    pub(crate) fn split(mut framed: Bytes) -> Option<(Self, Bytes)> {
        if framed.len() < ORIGIN_BYTES {
            return None;
        }
        let origin = Origin {
            node: framed.get_u64(),
            life: framed.get_u64(),
            sequence: framed.get_u64(),
        };
        Some((origin, framed))
    }
}

/// A command, as it arrived: from this member's own user, or from a follower with its [`Origin`] before it.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    pub(crate) bytes: Bytes,
    pub(crate) forwarded: bool,
}

impl Command {
    pub(crate) fn local(bytes: Bytes) -> Self {
        Command {
            bytes,
            forwarded: false,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

// openraft asks for serde on everything it carries, but only our own code writes commands anywhere.
impl Serialize for Command {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a command is written by the log"))
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a command is read by the log"))
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

/// What the group's membership says of a member, besides its id and whether it votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub name: String,
    pub peer_urls: Vec<String>,
    /// Whoever is added to vote joins without a vote, and gets it from the leader when it is in touch and has caught up.
    pub wants_vote: bool,
}

openraft::declare_raft_types!(
    /// Terms as in the Raft paper: one leader a term, so that a term names its leader.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = crate::runtime::Runtime,
);

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
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
    /// A command with its origin before it.
    pub const FORWARDED: u8 = 3;
}

pub(crate) fn entry_to_wal(entry: Entry) -> io::Result<keelson_wal::Entry> {
    let (tag, payload) = match entry.payload {
        EntryPayload::Blank => (tag::BLANK, Bytes::new()),
        EntryPayload::Normal(c) if c.forwarded => (tag::FORWARDED, c.bytes),
        EntryPayload::Normal(c) => (tag::COMMAND, c.bytes),
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

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

pub(crate) fn entry_from_wal(entry: keelson_wal::Entry) -> io::Result<Entry> {
    if entry.id.index == 0 {
        return Err(invalid("an entry has index 0"));
    }
    let index = entry.id.index;
    let payload = match entry.tag {
        tag::BLANK => EntryPayload::Blank,
        tag::COMMAND => EntryPayload::Normal(Command::local(entry.payload)),
        tag::FORWARDED if entry.payload.len() < ORIGIN_BYTES => {
            return Err(invalid(format!("entry {index} has no room for its origin")));
        }
        tag::FORWARDED => EntryPayload::Normal(Command {
            bytes: entry.payload,
            forwarded: true,
        }),
        tag::MEMBERSHIP => EntryPayload::Membership(
            serde_json::from_slice(&entry.payload).map_err(|e| invalid(format!("membership at {index}: {e}")))?,
        ),
        other => {
            return Err(invalid(format!(
                "entry {index} has tag {other}, which this version does not know"
            )));
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

/// A membership in which everyone votes.
pub(crate) fn voters(members: &BTreeMap<u64, Member>) -> Result<Membership, Error> {
    let wanting = members.iter().map(|(id, m)| {
        let mut member = m.clone();
        member.wants_vote = true;
        (*id, member)
    });
    let nodes: BTreeMap<u64, Member> = wanting.collect();
    Membership::new(vec![members.keys().copied().collect()], nodes)
        .map_err(|e| Error::Fatal(format!("the members of a new group: {e}")))
}
