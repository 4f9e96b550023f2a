//! The writer driven step by step, as a simulator does.
#![allow(clippy::unwrap_used)]
mod common;
use common::{entry, options, read_all};
use keelson_wal::{Disk, InlineWriter, OsDisk, Step, Wal};
use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

#[derive(Default)]
struct Manual {
    writer: Mutex<Option<InlineWriter>>,
    queued: AtomicUsize,
    failing: AtomicBool,
}

impl Manual {
    fn step(&self) -> Step {
        self.writer.lock().unwrap().as_mut().unwrap().step()
    }
}

impl Disk for Manual {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        OsDisk.write_at(file, bytes, offset)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("told to fail"));
        }
        OsDisk.sync(file)
    }
    fn random(&self) -> u32 {
        7
    }
    fn drive(&self, writer: InlineWriter) -> Option<InlineWriter> {
        *self.writer.lock().unwrap() = Some(writer);
        None
    }
    fn queued(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }
}

fn open(dir: &std::path::Path, disk: &Arc<Manual>) -> Wal {
    let mut o = options(dir);
    o.disk = disk.clone();
    Wal::open(o).unwrap()
}

type Answers = Arc<Mutex<Vec<(u64, bool)>>>;

fn append(wal: &Wal, index: u64, answers: &Answers) {
    let answers = answers.clone();
    let done = Box::new(move |r: Result<(), _>| answers.lock().unwrap().push((index, r.is_ok())));
    wal.append(vec![entry(1, index, 100)], done).unwrap();
}

#[test]
fn nothing_is_written_but_in_steps_and_a_dropped_writer_is_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, answers) = (Arc::new(Manual::default()), Answers::default());
    let wal = open(dir.path(), &disk);
    assert_eq!(disk.step(), Step::Idle);
    append(&wal, 1, &answers);
    append(&wal, 2, &answers);
    assert_eq!(disk.queued.load(Ordering::SeqCst), 2);
    assert!(answers.lock().unwrap().is_empty());
    assert_eq!(disk.step(), Step::Wrote);
    assert_eq!(*answers.lock().unwrap(), [(1, true), (2, true)]);
    assert_eq!(disk.step(), Step::Idle);
    append(&wal, 3, &answers);
    assert_eq!(read_all(&wal).len(), 3, "readable before it is durable");
    *disk.writer.lock().unwrap() = None;
    drop(wal);
    assert_eq!(answers.lock().unwrap().len(), 2, "a crash answers nobody");
    let wal = open(dir.path(), &disk);
    assert_eq!(read_all(&wal).len(), 2);
    append(&wal, 3, &answers);
    wal.close();
    assert_eq!([disk.step(), disk.step()], [Step::Wrote, Step::Ended]);
    drop(wal);
    assert_eq!(read_all(&open(dir.path(), &disk)).len(), 3);
}

#[test]
fn what_is_durable_is_told_and_a_barrier_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, answers) = (Arc::new(Manual::default()), Answers::default());
    let wal = open(dir.path(), &disk);
    append(&wal, 1, &answers);
    assert!(!wal.is_durable(1));
    let passed = Arc::new(AtomicBool::new(false));
    let of_barrier = passed.clone();
    wal.barrier(Box::new(move |r| of_barrier.store(r.is_ok(), Ordering::SeqCst)))
        .unwrap();
    assert!(!passed.load(Ordering::SeqCst));
    assert_eq!(disk.step(), Step::Wrote);
    assert!(wal.is_durable(1) && passed.load(Ordering::SeqCst));
    // Another entry in its place is not.
    let nobody = || Box::new(|_: Result<(), _>| ());
    wal.truncate_after(None, nobody()).unwrap();
    append(&wal, 1, &answers);
    assert!(!wal.is_durable(1));
    assert_eq!(disk.step(), Step::Wrote);
    assert!(wal.is_durable(1));
}

#[test]
fn a_failed_sync_ends_the_steps_and_answers_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, answers) = (Arc::new(Manual::default()), Answers::default());
    let wal = open(dir.path(), &disk);
    append(&wal, 1, &answers);
    disk.failing.store(true, Ordering::SeqCst);
    assert_eq!(disk.step(), Step::Ended);
    assert_eq!(*answers.lock().unwrap(), [(1, false)]);
    assert_eq!(disk.step(), Step::Ended);
    assert!(wal.append(vec![entry(1, 2, 1)], Box::new(|_| ())).is_err());
}
