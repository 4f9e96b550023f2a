//! A file beside the log that says: the state may stand beyond the end of the log, because a snapshot of that place is
//! being put in.
//!
//! Without it a state beyond the log means that the log was lost, and the member must not start. It is written before a
//! snapshot is swapped in and goes when the log was cut to go on after it; a restored data folder begins with it.
use crate::{Error, Member, types::encode_membership};
use bytes::Bytes;
use keelson_mvcc::AppliedState;
use keelson_wal::EntryId;
use openraft::StoredMembership;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

const NAME: &str = "INSTALLING";

pub(crate) struct Marker {
    dir: PathBuf,
}

impl Marker {
    pub(crate) fn of(dir: &Path) -> Self {
        Marker { dir: dir.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    pub(crate) fn get(&self) -> Result<Option<EntryId>, Error> {
        let text = match fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::Fatal(format!("read {}: {e}", self.path().display()))),
        };
        let parsed = text.trim().split_once(' ').and_then(|(term, index)| {
            Some(EntryId {
                term: term.parse().ok()?,
                index: index.parse().ok()?,
            })
        });
        // The file is renamed into place when it is whole, so anything else is damage.
        parsed.map(Some).ok_or_else(|| {
            Error::Fatal(format!(
                "{} is damaged: remove it if the log is whole",
                self.path().display()
            ))
        })
    }

    pub(crate) fn set(&self, id: EntryId) -> io::Result<()> {
        let fresh = self.dir.join(format!("{NAME}.new"));
        let mut file = File::create(&fresh)?;
        writeln!(file, "{} {}", id.term, id.index)?;
        file.sync_all()?;
        fs::rename(&fresh, self.path())?;
        File::open(&self.dir)?.sync_all()
    }

    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            // Should it come back after a power cut, it names a place that the log has passed: harmless.
            _ => Ok(()),
        }
    }
}

/// Prepares the folder of the log for a state that was restored from elsewhere: the log begins after it. The folder must
/// hold no log yet; every member of the new group is prepared with the same state.
pub fn mark_restored(log_dir: &Path, state: &AppliedState) -> io::Result<()> {
    fs::create_dir_all(log_dir)?;
    Marker::of(log_dir).set(EntryId {
        term: state.term,
        index: state.index,
    })
}

/// [`AppliedState::membership`] of a state that was made elsewhere: these members, all of them voters.
pub fn membership_blob(term: u64, index: u64, members: &BTreeMap<u64, Member>) -> io::Result<Bytes> {
    let membership = crate::types::voters(members).map_err(io::Error::other)?;
    let at = crate::types::from_entry_id(EntryId { term, index });
    encode_membership(&StoredMembership::new(Some(at), membership))
}
