//! What the log says of the cluster beside who is in it: members' names and client URLs, ids that must never come
//! back, and the versions that were agreed on. Who is in it is the log's own membership, not kept here.

use keelson_proto::command::MemberAttributes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

pub const VERSION: &[u8] = b"cluster_version";
pub const DOWNGRADE: &[u8] = b"downgrade";
const MEMBER_PREFIX: &[u8] = b"member/";
const REMOVED_PREFIX: &[u8] = b"removed/";

/// What a member has published of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub name: String,
    pub client_urls: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMeta {
    /// Of members that have started; by id.
    pub attributes: BTreeMap<u64, Attributes>,
    pub removed: BTreeSet<u64>,
    /// The version that all members speak; empty until the first leader has set it.
    pub version: String,
    /// Where a downgrade under way leads.
    pub downgrade: Option<String>,
}

pub fn member_key(id: u64) -> Vec<u8> {
    [MEMBER_PREFIX, &id.to_be_bytes()].concat()
}

pub fn removed_key(id: u64) -> Vec<u8> {
    [REMOVED_PREFIX, &id.to_be_bytes()].concat()
}

fn id(key: &[u8], prefix: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(prefix)?.try_into().ok()?))
}

impl ClusterMeta {
    /// Takes a row of `meta` if it is one of these; false: it is something else.
    pub fn load(&mut self, key: &[u8], value: &[u8]) -> bool {
        let text = || String::from_utf8(value.to_vec()).ok();
        if key == VERSION {
            return text().map(|v| self.version = v).is_some();
        }
        if key == DOWNGRADE {
            return text().map(|v| self.downgrade = Some(v)).is_some();
        }
        if let Some(id) = id(key, REMOVED_PREFIX) {
            return self.removed.insert(id);
        }
        let Some((id, row)) = id(key, MEMBER_PREFIX).zip(MemberAttributes::decode(value).ok()) else {
            return false;
        };
        let attributes = Attributes {
            name: row.name,
            client_urls: row.client_urls,
        };
        self.attributes.insert(id, attributes);
        true
    }
}
