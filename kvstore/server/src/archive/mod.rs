//! The store's contents as etcd keeps them: out into a file that etcd's tools take, and in from one.
//!
//! What a snapshot holds is one state, that of the applied index at which it began; what is applied while it is
//! written is not in it. Its members are those that this member knows, as in etcd: a restore replaces them.

mod offline;
mod restore;
mod send;

pub use offline::{Verified, defragment, hash_of_folder, verify};
pub use restore::{Restore, Restored, restore};
pub(crate) use send::{SnapshotStream, open, room};

use keelson_bolt::etcd::{
    Auth, ConfState, Contents, Downgrade, HashSink, Lease, Member, RevKey, STORAGE_VERSION, Versions, write,
};
use keelson_mvcc::{Dump, Holdings, StorageError, Store};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime::Pace;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StorageError),
    #[error(transparent)]
    File(#[from] keelson_bolt::Error),
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    #[error("{0}")]
    Refused(String),
}

/// Everything but the versions of keys, in etcd's terms.
fn contents(holdings: &Holdings, members: &[pb::Member]) -> Contents {
    let compacted = (holdings.compacted >= 0).then_some(holdings.compacted);
    let ids = |learners: bool| {
        let wanted = members.iter().filter(move |m| m.is_learner == learners);
        wanted.map(|m| m.id).collect::<Vec<_>>()
    };
    Contents {
        consistent_index: holdings.applied.index,
        term: holdings.applied.term,
        conf_state: Some(ConfState {
            voters: ids(false),
            learners: ids(true),
            ..ConfState::default()
        }),
        // However far it has come here: nothing that it hides is in the file.
        scheduled_compact: compacted,
        finished_compact: compacted,
        storage_version: Some(STORAGE_VERSION.to_owned()),
        leases: holdings
            .leases
            .iter()
            .map(|&(id, ttl, remaining_ttl)| Lease { id, ttl, remaining_ttl })
            .collect(),
        alarms: holdings
            .alarms
            .iter()
            .map(|&(member_id, alarm)| pb::AlarmMember { member_id, alarm })
            .collect(),
        auth: Auth {
            enabled: holdings.auth.enabled,
            revision: holdings.auth.revision,
            users: holdings.auth.users.clone(),
            roles: holdings.auth.roles.clone(),
        },
        members: members
            .iter()
            .map(|m| Member {
                id: m.id,
                name: m.name.clone(),
                peer_urls: m.peer_ur_ls.clone(),
                client_urls: m.client_ur_ls.clone(),
                is_learner: m.is_learner,
            })
            .collect(),
        members_removed: holdings.cluster.removed.iter().copied().collect(),
        cluster_version: Some(holdings.cluster.version.clone()).filter(|v| !v.is_empty()),
        downgrade: holdings.cluster.downgrade.as_ref().map(|target| Downgrade {
            target_version: target.clone(),
            enabled: true,
        }),
    }
}

/// Rows between two looks at whether anybody still wants them, and whether others should have their turn.
const LOOK_EVERY_ROWS: u64 = 64;
/// While others write, rests take so many times as long as the work.
const RESTS: u32 = 3;

/// The store's versions as etcd's rows.
struct Rows<F> {
    dump: Dump,
    unwanted: F,
    rows: u64,
    pace: Pace,
    /// The store's revision at the last look.
    revision: i64,
}

impl Rows<fn() -> bool> {
    fn new(dump: Dump) -> Self {
        Rows {
            revision: dump.holdings.revision,
            dump,
            unwanted: || false,
            rows: 0,
            pace: Pace::resting(RESTS),
        }
    }

    /// Fails when nobody wants them any more.
    fn until<F: Fn() -> bool>(self, unwanted: F) -> Rows<F> {
        Rows {
            dump: self.dump,
            unwanted,
            rows: 0,
            pace: self.pace,
            revision: self.revision,
        }
    }
}

impl<F: Fn() -> bool> Versions for Rows<F> {
    type Error = ArchiveError;

    fn next(&mut self) -> Result<Option<(RevKey, bytes::Bytes)>, ArchiveError> {
        self.rows += 1;
        if self.rows.is_multiple_of(LOOK_EVERY_ROWS) {
            if (self.unwanted)() {
                return Err(ArchiveError::Refused("nobody takes the snapshot any more".to_owned()));
            }
            let before = std::mem::replace(&mut self.revision, self.dump.current_revision());
            self.pace.rest(self.revision == before);
        }
        let next = self.dump.next_version()?;
        Ok(next.map(|(version, record)| {
            let rev = RevKey {
                main: version.rev.main,
                sub: i64::from(version.rev.sub),
                tombstone: version.tombstone,
            };
            (rev, record)
        }))
    }
}

/// The hash of everything, as `Maintenance.Hash` gives it: that of the file which a snapshot would be, without what
/// depends on the log. It reads everything, so it is not for an async thread.
pub(crate) fn hash(store: &Arc<Store>, members: &[pb::Member]) -> Result<(u32, i64), ArchiveError> {
    let dump = store.dump();
    let revision = dump.holdings.revision;
    let contents = contents(&dump.holdings, members);
    let mut sink = HashSink::of_store();
    write(&mut sink, &contents, &mut Rows::new(dump))?;
    Ok((sink.hash(), revision))
}
