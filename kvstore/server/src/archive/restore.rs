//! A data folder made of a file that an etcd (3.5 to 3.7) or a member of ours has written, for one member of a new
//! cluster.
//!
//! As with etcdutl, every member of the new cluster is restored from the same file, and keeps of it the keys at their
//! revisions, leases, users and roles, alarms, and the agreed version; who was a member before is forgotten. The log
//! begins after the restored state, at an index that stands for the founding members: so whoever is added later is
//! sent the state, and cannot mistake the log for all there is.
//!
//! A crash while it is under way leaves a folder without an identity, which no member starts on.

use super::ArchiveError;
use crate::cluster::ids;
use crate::identity::{Beginning, Founder, Identity};
use keelson_bolt::etcd::{Contents, Keys, decode_record};
use keelson_bolt::{Reader, snapshot};
use keelson_mvcc::{AppliedState, ClusterMeta, FIRST_REVISION, Holdings, Load, Rev, StoredAuth, Version};
use keelson_proto::mvccpb::KeyValue;
use keelson_raft::Member;
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Term of the entries that the restored state stands for: the first that there is.
const TERM: u64 = 1;
/// The newest storage that is understood: major and minor version.
const NEWEST: (u64, u64) = (3, 7);
/// Rows that the state is written with; nothing reads it meanwhile.
const CACHE_BYTES: usize = 1 << 20;

/// What a restore makes of what.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    pub file: PathBuf,
    pub name: String,
    pub data_dir: PathBuf,
    /// Where the log goes; `None`: into the data folder.
    pub wal_dir: Option<PathBuf>,
    /// Peer URLs by name; `name` is among them.
    pub initial_cluster: BTreeMap<String, Vec<String>>,
    pub token: String,
    /// Take a file without the checksum that `snapshot save` adds, or with a wrong one.
    pub skip_hash_check: bool,
    /// Added to the last revision, which counts as compacted then: clients that have seen later ones notice.
    pub bump_revision: u64,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub member_id: u64,
    pub cluster_id: u64,
    pub revision: i64,
    pub compacted: i64,
    pub versions: u64,
    pub leases: usize,
    pub users: usize,
}

fn refused(why: impl Into<String>) -> ArchiveError {
    ArchiveError::Refused(why.into())
}

/// Restores. It reads and writes as much as there is, so it is not for an async thread.
pub fn restore(wanted: &Restore) -> Result<Restored, ArchiveError> {
    let founders = founders(wanted)?;
    let (member_id, cluster_id) = identify(wanted, &founders)?;
    if holds_files(&wanted.data_dir)? {
        return Err(refused(format!(
            "data-dir {:?} not empty or could not be read",
            wanted.data_dir
        )));
    }
    let log_dir = match &wanted.wal_dir {
        Some(dir) if dir.exists() => return Err(refused(format!("wal-dir {dir:?} exists"))),
        Some(dir) => dir.clone(),
        None => wanted.data_dir.join("log"),
    };
    check_sum(wanted)?;
    let reader = Reader::open(&wanted.file)?;
    reader.check()?;
    let contents = Contents::read(&reader)?;
    check_version(&contents)?;
    make_dir(&wanted.data_dir)?;
    let applied = begin(&founders)?;
    let mut restored = fill(wanted, &reader, contents, &applied)?;
    keelson_raft::mark_restored(&log_dir, &applied)
        .map_err(|e| ArchiveError::Io(format!("begin the log in {}", log_dir.display()), e))?;
    let identity = Identity {
        member_id,
        cluster_id,
        beginning: Beginning::Form(founders),
    };
    identity.store(&wanted.data_dir).map_err(|e| refused(e.to_string()))?;
    (restored.member_id, restored.cluster_id) = (member_id, cluster_id);
    Ok(restored)
}

fn founders(wanted: &Restore) -> Result<BTreeMap<u64, Founder>, ArchiveError> {
    let members = wanted.initial_cluster.iter().map(|(name, urls)| {
        let mut peer_urls = urls.clone();
        peer_urls.sort();
        let id = ids::member_id(&peer_urls, &wanted.token, None);
        let name = name.clone();
        (id, Founder { name, peer_urls })
    });
    let founders: BTreeMap<_, _> = members.collect();
    if founders.len() != wanted.initial_cluster.len() {
        return Err(refused("the initial cluster lists the same URLs twice"));
    }
    Ok(founders)
}

fn identify(wanted: &Restore, founders: &BTreeMap<u64, Founder>) -> Result<(u64, u64), ArchiveError> {
    let own = founders.iter().find(|(_, founder)| founder.name == wanted.name);
    let (member_id, _) = own.ok_or_else(|| {
        refused(format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            wanted.name
        ))
    })?;
    Ok((*member_id, ids::cluster_id(founders.keys().copied())))
}

fn holds_files(dir: &Path) -> Result<bool, ArchiveError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(ArchiveError::Io(format!("read {}", dir.display()), e)),
    }
}

fn make_dir(dir: &Path) -> Result<(), ArchiveError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| ArchiveError::Io(format!("create {}", dir.display()), e))
}

fn check_sum(wanted: &Restore) -> Result<(), ArchiveError> {
    if wanted.skip_hash_check {
        return Ok(());
    }
    if snapshot::check_sum(&wanted.file)? {
        return Ok(());
    }
    Err(refused("snapshot missing hash but --skip-hash-check=false"))
}

/// Files of versions to come may hold what this one would lose.
fn check_version(contents: &Contents) -> Result<(), ArchiveError> {
    let Some(version) = &contents.storage_version else {
        return Ok(());
    };
    let mut parts = version.split('.').map(|part| part.parse::<u64>());
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        return Err(refused(format!("the file's storage version {version:?} is no version")));
    };
    if (major, minor) > NEWEST || major < NEWEST.0 {
        return Err(refused(format!(
            "the file is of storage version {version}; up to {}.{} is understood",
            NEWEST.0, NEWEST.1
        )));
    }
    Ok(())
}

/// Where the restored state stands: after one entry for each founding member, as in etcd.
fn begin(founders: &BTreeMap<u64, Founder>) -> Result<AppliedState, ArchiveError> {
    let index = founders.len() as u64;
    let members: BTreeMap<u64, Member> = founders
        .iter()
        .map(|(id, founder)| {
            let member = Member {
                name: founder.name.clone(),
                peer_urls: founder.peer_urls.clone(),
                ..Member::default()
            };
            (*id, member)
        })
        .collect();
    let membership = keelson_raft::membership_blob(TERM, index, &members)
        .map_err(|e| ArchiveError::Io("describe the members".to_owned(), e))?;
    Ok(AppliedState {
        index,
        term: TERM,
        leader: 0,
        membership,
    })
}

fn fill(
    wanted: &Restore,
    reader: &Reader,
    contents: Contents,
    applied: &AppliedState,
) -> Result<Restored, ArchiveError> {
    let path = wanted.data_dir.join("state");
    make_dir(&path)?;
    let mut load = Load::create(&keelson_mvcc::Options {
        path,
        cache_bytes: CACHE_BYTES,
    })?;
    let mut versions = 0;
    for row in Keys::of(reader)?.iter() {
        let (rev, value) = row?;
        let sub = u32::try_from(rev.sub)
            .map_err(|_| refused(format!("revision {}.{} has too many changes", rev.main, rev.sub)))?;
        let version = Version {
            rev: Rev::new(rev.main, sub),
            tombstone: rev.tombstone,
        };
        load.add(version, decode_record(rev, value)?)?;
        versions += 1;
    }
    let mut compacted = contents.compacted().unwrap_or(-1);
    if wanted.bump_revision > 0 {
        compacted = bump(&mut load, wanted.bump_revision)?;
    }
    let holdings = Holdings {
        revision: load.revision().max(compacted).max(FIRST_REVISION),
        compacted,
        applied: applied.clone(),
        leases: contents.leases.iter().map(|l| (l.id, l.ttl, l.remaining_ttl)).collect(),
        alarms: contents.alarms.iter().map(|a| (a.member_id, a.alarm)).collect(),
        cluster: ClusterMeta {
            version: contents.cluster_version.unwrap_or_default(),
            downgrade: contents.downgrade.filter(|d| d.enabled).map(|d| d.target_version),
            ..ClusterMeta::default()
        },
        auth: StoredAuth {
            enabled: contents.auth.enabled,
            revision: contents.auth.revision,
            users: contents.auth.users,
            roles: contents.auth.roles,
        },
    };
    load.finish(&holdings, contents.finished_compact.unwrap_or(-1))?;
    Ok(Restored {
        revision: holdings.revision,
        compacted,
        versions,
        leases: holdings.leases.len(),
        users: holdings.auth.users.len(),
        ..Restored::default()
    })
}

/// Raises the last revision and makes it the compacted one. As in etcd it is a version of no key at all, which no
/// request can name.
fn bump(load: &mut Load, by: u64) -> Result<i64, ArchiveError> {
    let main = i64::try_from(by)
        .ok()
        .and_then(|by| load.revision().checked_add(by))
        .ok_or_else(|| refused(format!("revision {} cannot be raised by {by}", load.revision())))?;
    let version = Version {
        rev: Rev::new(main, 0),
        tombstone: false,
    };
    load.add(version, KeyValue::default())?;
    Ok(main)
}
