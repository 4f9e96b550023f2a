//! Entries written by whoever waits for them, instead of by the log's thread.
#![allow(clippy::unwrap_used)]
mod common;
use common::{append, entry, options, read_all};
use keelson_wal::{Disk, HERE_BYTES_MAX, HERE_SYNC_MAX, OsDisk, Wal};
use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
};

/// Remembers who synced. Its syncs are as quick as told: they are not the subject here.
#[derive(Default)]
struct Signed {
    by: Mutex<Vec<ThreadId>>,
    is_slow: AtomicBool,
}

impl Signed {
    fn here(&self) -> usize {
        let me = thread::current().id();
        self.by.lock().unwrap().drain(..).filter(|by| *by == me).count()
    }
}

impl Disk for Signed {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        OsDisk.write_at(file, bytes, offset)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        if self.is_slow.load(Ordering::SeqCst) {
            thread::sleep(HERE_SYNC_MAX * 4);
        }
        self.by.lock().unwrap().push(thread::current().id());
        Ok(())
    }
}

fn open(dir: &std::path::Path, disk: &Arc<Signed>) -> Wal {
    let mut o = options(dir);
    o.segment_bytes = 4 << 20;
    o.disk = disk.clone();
    Wal::open(o).unwrap()
}

/// Entries one by one, each held and then written here if the log lets us.
fn write_each(wal: &Wal, indexes: std::ops::Range<u64>, bytes: usize) {
    for index in indexes {
        let (tx, rx) = mpsc::channel();
        let done = Box::new(move |r: Result<(), _>| tx.send(r.is_ok()).unwrap());
        wal.append_held(vec![entry(1, index, bytes)], done).unwrap();
        wal.write_here();
        assert!(rx.recv().unwrap());
    }
}

/// Whether any of many entries, small and one by one, is written here: the thread may be awake for some, and quicker.
fn is_ever_here(wal: &Wal, disk: &Signed, next: &mut u64) -> bool {
    disk.here();
    (0..10_000).any(|_| {
        write_each(wal, *next..*next + 1, 10);
        *next += 1;
        disk.here() > 0
    })
}

#[test]
fn a_caller_writes_where_the_disk_is_quick_and_leaves_it_to_the_thread_where_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Signed::default());
    let wal = open(dir.path(), &disk);
    append(&wal, vec![entry(1, 1, 10)]).unwrap();
    let mut next = 2;
    assert!(is_ever_here(&wal, &disk, &mut next));
    disk.is_slow.store(true, Ordering::SeqCst);
    write_each(&wal, next..next + 10, 10);
    disk.here();
    write_each(&wal, next + 10..next + 20, 10);
    assert_eq!(disk.here(), 0, "the mean knows by now that syncs are slow");
    next += 20;
    disk.is_slow.store(false, Ordering::SeqCst);
    assert!(is_ever_here(&wal, &disk, &mut next), "and forgets it again");
    write_each(&wal, next..next + 2, HERE_BYTES_MAX + 1);
    assert_eq!(disk.here(), 0, "nobody waits for that much to be written");
    let count = read_all(&wal).len() as u64;
    assert_eq!(count, next + 1);
    wal.close();
    assert_eq!(read_all(&open(dir.path(), &disk)).len() as u64, count);
}

#[test]
fn what_is_held_is_written_when_the_log_closes_and_when_others_queue() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Signed::default());
    let wal = open(dir.path(), &disk);
    let (tx, rx) = mpsc::channel();
    let hold = |index| {
        let tx = tx.clone();
        let done = Box::new(move |r: Result<(), _>| tx.send((index, r.is_ok())).unwrap());
        wal.append_held(vec![entry(1, index, 10)], done).unwrap();
    };
    hold(1);
    append(&wal, vec![entry(1, 2, 10)]).unwrap();
    assert_eq!(rx.recv().unwrap(), (1, true));
    hold(3);
    wal.close();
    assert_eq!(rx.recv().unwrap(), (3, true));
    assert_eq!(read_all(&open(dir.path(), &disk)).len(), 3);
}
