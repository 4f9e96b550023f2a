//! Who writes the log: the thread that waits for it when it has nothing else to do, and the log's own when it has.
use super::{Persisted, Recorder, options};
use crate::{Disk, Node};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::Arc,
    thread::{self, ThreadId},
};

/// Remembers who synced, at once: how quick a disk has to be is the log's own test.
#[derive(Default)]
struct Signed(Mutex<Vec<ThreadId>>);

impl Signed {
    /// Syncs of this thread, and all of them, since the last look.
    fn look(&self) -> (usize, usize) {
        let by = std::mem::take(&mut *self.0.lock());
        let me = thread::current().id();
        (by.iter().filter(|by| **by == me).count(), by.len())
    }
}

impl Disk for Signed {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        self.0.lock().push(thread::current().id());
        Ok(())
    }
}

async fn propose(node: &Node<Recorder>, count: usize) {
    for _ in 0..count {
        node.propose(Bytes::from_static(b"x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_lone_proposal_is_written_where_it_waits_unless_others_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Signed::default());
    let mut options = options(dir.path());
    options.segment_bytes = 64 << 20;
    options.disk = Some(disk.clone());
    let node = Node::start_alone(options, Recorder::open(&Persisted::default()))
        .await
        .unwrap();
    disk.look();
    propose(&node, 100).await;
    let (here, all) = disk.look();
    assert_eq!(all, 100, "one sync each");
    assert!(here > 90, "{here} of {all} here");
    for _ in 0..100 {
        for _ in 0..10 {
            node.read_index().await.unwrap();
        }
        propose(&node, 1).await;
    }
    let (here, all) = disk.look();
    assert!(here < 10, "{here} of {all} here, though others read");
    node.shutdown().await.unwrap();
}
