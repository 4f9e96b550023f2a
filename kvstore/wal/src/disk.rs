//! What decides about durability, behind a trait so that tests can make it fail and a simulator can take it over.
use crate::inline::InlineWriter;
use std::{
    fs::File,
    hash::{BuildHasher, Hasher},
    io,
    os::unix::fs::FileExt,
};

pub trait Disk: Send + Sync + 'static {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;

    /// A number that is different each time. It need not be secret.
    fn random(&self) -> u32 {
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u32(0);
        hasher.finish() as u32
    }

    /// Who drives the log's writer: given back, a thread of its own. A simulator keeps it, and then takes steps when it
    /// likes; nothing is written but in its steps.
    fn drive(&self, writer: InlineWriter) -> Option<InlineWriter> {
        Some(writer)
    }

    /// The log is being closed in order: the writer that [`Disk::drive`] kept has to come to its end before this returns.
    fn closing(&self) {}

    /// There is work for the writer that [`Disk::drive`] kept. Called under the log's lock: it only takes a note.
    fn queued(&self) {}
}

/// The machine's own disk.
#[derive(Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
