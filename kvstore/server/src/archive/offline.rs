//! What can be done to a data folder that no member has open.

use super::ArchiveError;
use crate::identity::Identity;
use keelson_mvcc::{Hashed, ReadError, Store};
use keelson_raft::LogReport;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CACHE_BYTES: usize = 8 << 20;

/// Whether an entry of a data folder is a state: after one came from another member, its name has a number.
fn is_state(name: &std::ffi::OsStr) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("state")) else {
        return false;
    };
    rest.is_empty()
        || rest
            .strip_prefix('.')
            .is_some_and(|number| number.parse::<u64>().is_ok())
}

fn state_of(data_dir: &Path) -> Result<keelson_mvcc::Options, ArchiveError> {
    let entries =
        std::fs::read_dir(data_dir).map_err(|e| ArchiveError::Io(format!("read {}", data_dir.display()), e))?;
    // Opening would make one.
    if !entries.flatten().any(|entry| is_state(&entry.file_name())) {
        return Err(ArchiveError::Refused(format!(
            "{} is no data folder: it has no folder `state`",
            data_dir.display()
        )));
    }
    Ok(keelson_mvcc::Options {
        path: data_dir.join("state"),
        cache_bytes: CACHE_BYTES,
    })
}

fn open(data_dir: &Path) -> Result<Arc<Store>, ArchiveError> {
    Ok(Store::open(&state_of(data_dir)?)?)
}

/// The hash of the history of keys up to a revision; 0 is the last one.
pub fn hash_of_folder(data_dir: &Path, revision: i64) -> Result<Hashed, ArchiveError> {
    open(data_dir)?.hash(revision).map_err(|e| match e {
        ReadError::Refused(e) => ArchiveError::Refused(e.to_string()),
        ReadError::Storage(e) => e.into(),
    })
}

/// Gives back the space of what was deleted.
pub fn defragment(data_dir: &Path) -> Result<(), ArchiveError> {
    Ok(open(data_dir)?.reclaim()?)
}

/// What a folder was found to hold.
#[derive(Clone, Debug)]
pub struct Verified {
    pub member_id: u64,
    pub cluster_id: u64,
    pub state: keelson_mvcc::Verified,
    pub log: LogReport,
    /// Everything that is wrong, in sentences; empty: nothing.
    pub problems: Vec<String>,
}

/// Reads all of a folder, state and log, and compares what they say of each other. Nothing is changed. What keeps it
/// from being read at all is an error.
pub fn verify(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Verified, ArchiveError> {
    let identity = Identity::load(data_dir).map_err(|e| ArchiveError::Refused(e.to_string()))?;
    let identity = identity.ok_or_else(|| {
        ArchiveError::Refused(format!(
            "{} does not say whose data it is: {} is missing",
            data_dir.display(),
            crate::identity::FILE
        ))
    })?;
    let log_dir: PathBuf = wal_dir.map_or_else(|| data_dir.join("log"), Path::to_owned);
    let state = keelson_mvcc::verify(&state_of(data_dir)?)?;
    let mut problems = state.problems.clone();
    let options = keelson_raft::Options::new(identity.member_id, identity.cluster_id, &log_dir);
    let log = keelson_raft::verify_log(&options, &state.applied);
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            problems.push(format!("log: {error}"));
            LogReport::default()
        }
    };
    Ok(Verified {
        member_id: identity.member_id,
        cluster_id: identity.cluster_id,
        state,
        log,
        problems,
    })
}
