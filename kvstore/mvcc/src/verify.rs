//! Reads a store that nobody has open, all of it, and compares its rows with each other.
//!
//! RocksDB checks the checksum of every block on the way. Nothing is changed.

use crate::db::{Cf, Home};
use crate::revision::Version;
use crate::state_machine::{AppliedState, StorageError};
use crate::store::{Options, State, decode_record};
use bytes::Bytes;
use keelson_proto::mvccpb::KeyValue;

/// Problems that are told; more are counted.
const PROBLEMS_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub applied: AppliedState,
    pub revision: i64,
    pub compacted: i64,
    /// The compaction whose versions are all gone.
    pub trimmed: i64,
    pub versions: u64,
    pub live_keys: usize,
    pub leases: usize,
    /// Sentences; empty: nothing is wrong.
    pub problems: Vec<String>,
}

struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    fn tell(&mut self, problem: String) {
        if self.told.len() < PROBLEMS_MAX {
            self.told.push(problem);
        } else {
            self.more += 1;
        }
    }
}

/// What cannot be read at all is an error; what does not fit together is among the problems.
pub fn verify(options: &Options) -> Result<Verified, StorageError> {
    let db = Home::folder(&options.path, options.cache_bytes).open_to_read()?;
    let (state, trimmed) = State::load(&db)?;
    let mut problems = Problems {
        told: Vec::new(),
        more: 0,
    };
    let (mut versions, mut rows) = (0u64, 0u64);
    db.scan_all(Cf::Key, |_, _| {
        rows += 1;
        Ok(())
    })?;
    db.scan(Cf::Data, b"", |key, value| {
        versions += 1;
        let Some(version) = Version::from_data_key(key) else {
            problems.tell(format!("`data` has a row {} that is no revision", key.escape_ascii()));
            return Ok(true);
        };
        let at = format!("revision {}.{}", version.rev.main, version.rev.sub);
        match decode_record(Bytes::copy_from_slice(value)) {
            Ok(kv) => check(&state, version, &kv, |what| problems.tell(format!("{at}: {what}"))),
            Err(error) => problems.tell(format!("{at}: {error}")),
        }
        Ok(true)
    })?;
    if versions != rows {
        problems.tell(format!("`data` has {versions} rows and `key` has {rows}"));
    }
    if problems.more > 0 {
        problems.told.push(format!("and {} more", problems.more));
    }
    Ok(Verified {
        applied: state.applied,
        revision: state.revision,
        compacted: state.compacted,
        trimmed,
        versions,
        live_keys: state.index.live(),
        leases: state.leases.iter().count(),
        problems: problems.told,
    })
}

fn check(state: &State, version: Version, kv: &KeyValue, mut problem: impl FnMut(&str)) {
    let main = version.rev.main;
    if main > state.revision {
        problem("it is above the store's revision");
    }
    // A revision that was raised at a restore is of no key.
    let of_no_key = kv.key.is_empty() && kv.mod_revision == 0;
    if kv.mod_revision != main && !of_no_key {
        problem("its record is of another revision");
    }
    let Some(entry) = state.index.get(&kv.key) else {
        return problem("its key has no row in `key`");
    };
    if entry.at(main) != Some(version) {
        problem("its key's rows in `key` do not name it");
    }
    if entry.latest() == version && kv.lease != 0 && state.leases.get(kv.lease).is_none() {
        problem("its key hangs on a lease that is not there");
    }
}
