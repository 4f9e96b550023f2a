//! Everything that etcd stores besides the versions of keys.

use super::bucket;
use super::keys::RevKey;
use super::meta::{ConfState, Downgrade, MemberRow};
use crate::walk::{Element, Value};
use crate::{Error, Reader};
use bytes::{Buf, Bytes};
use keelson_proto::authpb::{Role, User};
use keelson_proto::etcdserverpb::AlarmMember;
use prost::Message;
use serde::de::DeserializeOwned;

/// Rows of one of the small buckets. Leases are the only ones that come in numbers.
const ROWS_MAX: usize = 16 << 20;

/// A lease as etcd stores it (server/lease/leasepb).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Lease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// As granted, seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// As checkpointed, seconds; 0 when never.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

/// The store of users and roles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    pub enabled: bool,
    /// Counts changes from 1; 0 in files of which etcd never opened the auth store.
    pub revision: u64,
    pub users: Vec<User>,
    pub roles: Vec<Role>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub is_learner: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// The log index that the file stands at.
    pub consistent_index: u64,
    pub term: u64,
    pub conf_state: Option<ConfState>,
    /// A compaction that was asked for, and the last one that was carried out.
    pub scheduled_compact: Option<i64>,
    pub finished_compact: Option<i64>,
    /// Absent before 3.6.
    pub storage_version: Option<String>,
    pub leases: Vec<Lease>,
    pub alarms: Vec<AlarmMember>,
    pub auth: Auth,
    pub members: Vec<Member>,
    /// Ids that must not come back.
    pub members_removed: Vec<u64>,
    pub cluster_version: Option<String>,
    pub downgrade: Option<Downgrade>,
}

fn damaged(bucket: &[u8], key: &[u8], why: impl std::fmt::Display) -> Error {
    Error::damaged(format!(
        "bucket {}, row {}: {why}",
        bucket.escape_ascii(),
        key.escape_ascii()
    ))
}

/// Visits the rows of a bucket; a bucket that is not there has none.
fn each(
    reader: &Reader,
    name: &'static [u8],
    mut visit: impl FnMut(Bytes, Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(bucket) = reader.bucket(name)? else {
        return Ok(());
    };
    for (n, element) in bucket.iter().enumerate() {
        let Element { key, value } = element?;
        if n >= ROWS_MAX {
            return Err(Error::Refused(format!(
                "bucket {} has more than {ROWS_MAX} rows",
                name.escape_ascii()
            )));
        }
        match value {
            Value::Bytes(value) => visit(key, value)?,
            Value::Bucket(_) => return Err(damaged(name, &key, "it is a bucket")),
        }
    }
    Ok(())
}

fn number(bucket: &[u8], key: &[u8], mut value: Bytes) -> Result<u64, Error> {
    if value.len() != 8 {
        return Err(damaged(bucket, key, "it is no number"));
    }
    Ok(value.get_u64())
}

fn text(bucket: &[u8], key: &[u8], value: &[u8]) -> Result<String, Error> {
    String::from_utf8(value.to_vec()).map_err(|e| damaged(bucket, key, e))
}

fn json<T: DeserializeOwned>(bucket: &[u8], key: &[u8], value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|e| damaged(bucket, key, e))
}

fn message<T: Message + Default>(bucket: &[u8], key: &[u8], value: Bytes) -> Result<T, Error> {
    T::decode(value).map_err(|e| damaged(bucket, key, e))
}

fn member_id(bucket: &[u8], key: &[u8]) -> Result<u64, Error> {
    let hex = std::str::from_utf8(key).map_err(|e| damaged(bucket, key, e))?;
    u64::from_str_radix(hex, 16).map_err(|e| damaged(bucket, key, e))
}

fn revision(bucket: &[u8], key: &[u8], value: &[u8]) -> Result<i64, Error> {
    let rev = RevKey::decode(value).ok_or_else(|| damaged(bucket, key, "it is no revision"))?;
    Ok(rev.main)
}

impl Contents {
    pub fn read(reader: &Reader) -> Result<Contents, Error> {
        let mut it = Contents::default();
        it.read_meta(reader)?;
        it.read_cluster(reader)?;
        it.read_auth(reader)?;
        each(reader, bucket::LEASE, |key, value| {
            let lease: Lease = message(bucket::LEASE, &key, value)?;
            it.leases.push(lease);
            Ok(())
        })?;
        each(reader, bucket::ALARM, |key, _| {
            it.alarms.push(message(bucket::ALARM, &key, key.clone())?);
            Ok(())
        })?;
        Ok(it)
    }

    fn read_meta(&mut self, reader: &Reader) -> Result<(), Error> {
        const B: &[u8] = bucket::META;
        each(reader, B, |key, value| {
            match key.as_ref() {
                b"consistent_index" => self.consistent_index = number(B, &key, value)?,
                b"term" => self.term = number(B, &key, value)?,
                b"confState" => self.conf_state = Some(json(B, &key, &value)?),
                b"scheduledCompactRev" => self.scheduled_compact = Some(revision(B, &key, &value)?),
                b"finishedCompactRev" => self.finished_compact = Some(revision(B, &key, &value)?),
                b"storageVersion" => self.storage_version = Some(text(B, &key, &value)?),
                // Rows of a version to come are of no use to this one.
                _ => {}
            }
            Ok(())
        })
    }

    fn read_cluster(&mut self, reader: &Reader) -> Result<(), Error> {
        each(reader, bucket::CLUSTER, |key, value| {
            match key.as_ref() {
                b"clusterVersion" => self.cluster_version = Some(text(bucket::CLUSTER, &key, &value)?),
                b"downgrade" => self.downgrade = Some(json(bucket::CLUSTER, &key, &value)?),
                _ => {}
            }
            Ok(())
        })?;
        each(reader, bucket::MEMBERS, |key, value| {
            let row: MemberRow = json(bucket::MEMBERS, &key, &value)?;
            self.members.push(Member {
                id: member_id(bucket::MEMBERS, &key)?,
                name: row.name,
                peer_urls: row.peer_urls,
                client_urls: row.client_urls,
                is_learner: row.is_learner,
            });
            Ok(())
        })?;
        each(reader, bucket::MEMBERS_REMOVED, |key, _| {
            self.members_removed.push(member_id(bucket::MEMBERS_REMOVED, &key)?);
            Ok(())
        })
    }

    fn read_auth(&mut self, reader: &Reader) -> Result<(), Error> {
        each(reader, bucket::AUTH, |key, value| {
            match key.as_ref() {
                b"authEnabled" => self.auth.enabled = value.as_ref() == [1],
                b"authRevision" => self.auth.revision = number(bucket::AUTH, &key, value)?,
                _ => {}
            }
            Ok(())
        })?;
        each(reader, bucket::AUTH_USERS, |key, value| {
            self.auth.users.push(message(bucket::AUTH_USERS, &key, value)?);
            Ok(())
        })?;
        each(reader, bucket::AUTH_ROLES, |key, value| {
            self.auth.roles.push(message(bucket::AUTH_ROLES, &key, value)?);
            Ok(())
        })
    }

    /// The revision below which an etcd that opens the file answers nothing: what was asked for counts, as it goes
    /// on with an interrupted compaction at its start.
    pub fn compacted(&self) -> Option<i64> {
        self.finished_compact.max(self.scheduled_compact)
    }
}
