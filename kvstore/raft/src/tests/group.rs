//! One member: proposals, reads, restarts, purges, failures.
#![allow(clippy::unwrap_used)]
use super::{Persisted, Recorder, command, copy_log, options, start};
use crate::{APPLY_GAP_MAX, COMMAND_BYTES_MAX, Disk, Error, Node};
use bytes::Bytes;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

#[tokio::test]
async fn a_new_group_leads_at_once_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    assert!(node.is_leader());
    assert_eq!(node.leader(), Some(1));
    assert_eq!(node.voters(), [1]);
    let (first, answer) = node.propose(command(0)).await.unwrap();
    assert_eq!(answer, 1);
    let (second, answer) = node.propose(command(1)).await.unwrap();
    assert_eq!((second, answer), (first + 1, 2));
    assert_eq!(node.read_index().await.unwrap(), second);
    assert!(node.committed_index() >= node.applied_index());
    assert_eq!(node.machine().commands(), [(first, command(0)), (second, command(1))]);
    node.shutdown().await.unwrap();
    assert_eq!(node.propose(command(2)).await.unwrap_err(), Error::Shutdown);
    assert_eq!(node.read_index().await.unwrap_err(), Error::Shutdown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proposals_share_syncs_and_batches() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    let before = node.log_stats().syncs;
    let mut tasks = Vec::new();
    for i in 0..2000 {
        let node = node.clone();
        tasks.push(tokio::spawn(async move { node.propose(command(i)).await.unwrap().0 }));
    }
    let mut indexes = Vec::new();
    for t in tasks {
        indexes.push(t.await.unwrap());
    }
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 2000);
    let syncs = node.log_stats().syncs - before;
    assert!(syncs < 1000, "{syncs} syncs for 2000 proposals");
    assert!(*node.machine().largest_batch.lock() > 1);
}

#[tokio::test]
async fn a_restart_replays_what_the_machine_had_not_flushed() {
    let root = tempfile::tempdir().unwrap();
    let persisted = Persisted::default();
    let mut dir = root.path().join("0");
    let mut expected = Vec::new();
    let mut term = 0;
    for round in 0..5u64 {
        let node = start(&dir, &persisted).await;
        assert_eq!(node.machine().commands(), expected, "round {round}");
        assert!(node.term() > term);
        term = node.term();
        for i in 0..20 {
            let c = command(round * 100 + i);
            let (index, _) = node.propose(c.clone()).await.unwrap();
            expected.push((index, c));
        }
        if round % 2 == 0 {
            node.shutdown().await.unwrap();
        } else {
            // As after kill -9: only the files are left, and the machine's unflushed part is gone.
            let next = root.path().join(format!("{}", round + 1));
            copy_log(&dir, &next);
            dir = next;
        }
    }
}

#[tokio::test]
async fn dropping_every_handle_frees_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    node.propose(command(1)).await.unwrap();
    drop(node);
    // The lock of the folder is free when the last task has let go of the log.
    let lock = File::open(dir.path().join("LOCK")).unwrap();
    let free = tokio::task::spawn_blocking(move || lock.lock());
    tokio::time::timeout(Duration::from_secs(10), free)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    assert_eq!(node.machine().commands().len(), 1);
}

#[tokio::test]
async fn the_log_is_purged_below_what_is_flushed_and_no_further() {
    let root = tempfile::tempdir().unwrap();
    let (dir, copy) = (root.path().join("live"), root.path().join("copy"));
    let persisted = Persisted::default();
    let mut o = options(&dir);
    o.segment_bytes = 8 << 10;
    o.flush_log_bytes = 16 << 10;
    let node = Node::start_alone(o.clone(), Recorder::open(&persisted)).await.unwrap();
    let big = Bytes::from(vec![7u8; 1000]);
    for _ in 0..400 {
        node.propose(big.clone()).await.unwrap();
        // Were an entry gone that is not flushed, no restart could bring it back.
        let durable = persisted.lock().applied.index;
        let first = node.first_log_index().unwrap_or(durable + 1);
        assert!(first <= durable + 1, "first {first}, durable {durable}");
    }
    assert!(*node.machine().flushes.lock() > 5);
    assert!(node.first_log_index().is_none_or(|first| first > 100));
    assert!(node.log_stats().segments < 30, "{:?}", node.log_stats());
    // A crash between flush and purge, or after: both leave a state and a log that fit.
    copy_log(&dir, &copy);
    let state = Arc::new(parking_lot::Mutex::new(persisted.lock().clone()));
    drop(node);
    let mut again = o;
    again.dir = copy;
    let node = Node::start_alone(again, Recorder::open(&state)).await.unwrap();
    assert_eq!(node.machine().commands().len(), 400);
}

#[tokio::test]
async fn a_lost_log_or_a_lost_state_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let persisted = Persisted::default();
    let mut o = options(&dir);
    o.segment_bytes = 8 << 10;
    o.flush_log_bytes = 8 << 10;
    let node = Node::start_alone(o.clone(), Recorder::open(&persisted)).await.unwrap();
    for _ in 0..50 {
        node.propose(Bytes::from(vec![7u8; 1000])).await.unwrap();
    }
    node.shutdown().await.unwrap();
    let lost_state = Node::start_alone(o.clone(), Recorder::open(&Persisted::default()))
        .await
        .err();
    assert!(
        matches!(&lost_state, Some(Error::Fatal(m)) if m.contains("the state was lost")),
        "{lost_state:?}"
    );
    let mut empty = o.clone();
    empty.dir = root.path().join("empty");
    let lost_log = Node::start_alone(empty, Recorder::open(&persisted)).await.err();
    assert!(
        matches!(&lost_log, Some(Error::Fatal(m)) if m.contains("the log was lost")),
        "{lost_log:?}"
    );
    // And a start that failed leaves the folder free for the right one.
    Node::start_alone(o, Recorder::open(&persisted)).await.unwrap();
}

struct Switch(AtomicBool);

impl Disk for Switch {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        file.sync_data()
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Switch(AtomicBool::new(false)));
    let mut o = options(dir.path());
    o.disk = Some(disk.clone());
    let node = Node::start_alone(o, Recorder::open(&Persisted::default()))
        .await
        .unwrap();
    node.propose(command(1)).await.unwrap();
    let failed = tokio::spawn(node.failed());
    disk.0.store(true, Ordering::SeqCst);
    let refused = node.propose(command(2)).await.unwrap_err();
    assert!(matches!(refused, Error::Fatal(_)), "{refused:?}");
    let told = tokio::time::timeout(Duration::from_secs(10), failed)
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(&told, Error::Fatal(m) if m.contains("the disk is gone")),
        "{told:?}"
    );
    assert!(!node.is_leader());
    assert!(matches!(node.propose(command(3)).await, Err(Error::Fatal(_))));
    assert!(matches!(node.read_index().await, Err(Error::Fatal(_))));
    assert_eq!(node.machine().commands().len(), 1, "what is not durable is not applied");
}

#[tokio::test]
async fn limits_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    let too_large = node
        .propose(Bytes::from(vec![0; COMMAND_BYTES_MAX + 1]))
        .await
        .unwrap_err();
    assert!(matches!(too_large, Error::TooLarge { .. }));
    // Five proposals of 15 MiB are more than may be under way at once.
    let big = Bytes::from(vec![0; 15 << 20]);
    let all = futures::future::join_all((0..5).map(|_| node.propose(big.clone()))).await;
    assert_eq!(
        all.iter().filter(|r| matches!(r, Err(Error::TooManyPending))).count(),
        1
    );
    assert_eq!(all.iter().filter(|r| r.is_ok()).count(), 4);
    node.propose(command(1)).await.unwrap();
}

#[tokio::test]
async fn reads_that_ask_the_core_share_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    let (index, _) = node.propose(command(1)).await.unwrap();
    node.forget_that_reads_are_local();
    let all = futures::future::join_all((0..200).map(|_| node.read_index())).await;
    assert!(all.iter().all(|r| *r.as_ref().unwrap() >= index), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[allow(
    clippy::await_holding_lock,
    reason = "the gate is meant to stay shut while the test waits"
)]
async fn proposals_are_refused_while_applying_falls_behind() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    let gate = node.machine().gate.lock();
    let tasks: Vec<_> = (0..APPLY_GAP_MAX + 100)
        .map(|i| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(command(i)).await })
        })
        .collect();
    let begun = Instant::now();
    while node.committed_index() - node.applied_index() <= APPLY_GAP_MAX {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "commits do not go on without applies"
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(node.propose(command(0)).await.unwrap_err(), Error::TooManyPending);
    drop(gate);
    for t in tasks {
        // The last of them may have come too late; none may be left without an answer.
        let answer = t.await.unwrap();
        assert!(matches!(answer, Ok(_) | Err(Error::TooManyPending)), "{answer:?}");
    }
    node.propose(command(0)).await.unwrap();
}

#[tokio::test]
async fn an_idle_node_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &Persisted::default()).await;
    node.propose(command(1)).await.unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::task::yield_now().await;
    let before = metrics.worker_park_count(0);
    // Three heartbeats' time: a timer that ran would have woken the runtime each fifth of one.
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
        .await
        .unwrap_err();
    let woken = metrics.worker_park_count(0) - before;
    assert!(woken <= 4, "woken {woken} times");
    assert!(node.is_leader());
}

#[tokio::test]
async fn a_start_waits_for_no_timer() {
    let dir = tempfile::tempdir().unwrap();
    let persisted = Persisted::default();
    for _ in 0..2 {
        let begun = Instant::now();
        let node = start(dir.path(), &persisted).await;
        let took = begun.elapsed();
        // An election timeout is a second; the bound leaves room for a slow disk.
        assert!(took < Duration::from_millis(500), "{took:?}");
        node.shutdown().await.unwrap();
    }
}
