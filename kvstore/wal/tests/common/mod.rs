//! Helpers of the log's tests: calls that wait, entries that differ, copies of a folder as a crash leaves it.
#![allow(clippy::unwrap_used, dead_code)]
use bytes::Bytes;
use keelson_wal::{Entry, EntryId, Error, Options, Vote, Wal};
use std::{path::Path, sync::mpsc};

pub fn options(dir: &Path) -> Options {
    let mut o = Options::new(dir);
    o.segment_bytes = 4096;
    o.tail_bytes = 512;
    o
}

pub fn entry(term: u64, index: u64, size: usize) -> Entry {
    let byte = (index as u8).wrapping_mul(31).wrapping_add(term as u8);
    Entry {
        id: EntryId { term, index },
        tag: (index % 3) as u8,
        payload: Bytes::from(vec![byte; size]),
    }
}

/// Makes a change and waits until it is durable.
pub fn wait(f: impl FnOnce(keelson_wal::Callback) -> Result<(), Error>) -> Result<(), Error> {
    let (tx, rx) = mpsc::channel();
    f(Box::new(move |r| tx.send(r).unwrap()))?;
    rx.recv().unwrap()
}

pub fn append(wal: &Wal, entries: Vec<Entry>) -> Result<(), Error> {
    wait(|done| wal.append(entries, done))
}

pub fn vote(wal: &Wal, term: u64) -> Result<(), Error> {
    wait(|done| {
        wal.save_vote(
            Vote {
                term,
                node: 1,
                committed: term.is_multiple_of(2),
            },
            done,
        )
    })
}

pub fn read_all(wal: &Wal) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    let mut next = 0;
    loop {
        let part = wal.read(next, u64::MAX, 700).unwrap();
        let Some(last) = part.last() else { return out };
        next = last.id.index + 1;
        out.extend(part);
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for f in std::fs::read_dir(from).unwrap() {
        let f = f.unwrap();
        if f.file_name() != "LOCK" {
            std::fs::copy(f.path(), to.join(f.file_name())).unwrap();
        }
    }
}
