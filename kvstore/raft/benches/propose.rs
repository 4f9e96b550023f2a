//! Proposals a second through the whole path (core, log, sync, apply, answer) over a machine that does nothing, with 1
//! and 256 outstanding; linearizable reads; and the time from open to leader.
//!
//! `cargo bench -p keelson-raft` (a folder as argument, or the system's temporary one).
use bytes::Bytes;
use keelson_mvcc::{AppliedState, LogEntry, StateMachine, state_machine::StorageError};
use keelson_raft::{Node, Options};
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const SPAN: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Nothing(Mutex<AppliedState>);

impl StateMachine for Nothing {
    type Response = ();
    fn applied_state(&self) -> AppliedState {
        self.0.lock().clone()
    }
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<()>, StorageError> {
        let mut state = self.0.lock();
        for e in entries {
            state.index = e.index;
            state.term = e.term;
            if let Some(m) = &e.membership {
                state.membership = m.clone();
            }
        }
        Ok(vec![(); entries.len()])
    }
    fn durable_index(&self) -> Result<u64, StorageError> {
        Ok(self.0.lock().index)
    }
    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

async fn run(dir: &Path, outstanding: usize) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let machine = Arc::new(Nothing::default());
    let node = Node::start_alone(Options::new(1, 1, dir), machine.clone()).await?;
    let fresh = begun.elapsed();
    let before = node.log_stats().syncs;
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..outstanding {
        let node = node.clone();
        tasks.push(tokio::spawn(async move {
            let payload = Bytes::from(vec![7u8; 512]);
            let mut count = 0u64;
            while begun.elapsed() < SPAN {
                node.propose(payload.clone()).await?;
                count += 1;
            }
            Ok::<u64, keelson_raft::Error>(count)
        }));
    }
    let mut count = 0;
    for t in tasks {
        count += t.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let syncs = node.log_stats().syncs - before;
    let begun = Instant::now();
    for _ in 0..100_000 {
        node.read_index().await?;
    }
    let read = begun.elapsed() / 100_000;
    node.shutdown().await?;
    drop(node);
    let begun = Instant::now();
    let node = Node::start_alone(Options::new(1, 1, dir), machine).await?;
    println!(
        "{outstanding:>4} outstanding: {:>7.0} proposals/s, {:>6.0} syncs/s; a read {read:?}; fresh start {fresh:?}, \
         restart {:?}",
        count as f64 / seconds,
        syncs as f64 / seconds,
        begun.elapsed()
    );
    node.shutdown().await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args()
        .nth(1)
        .filter(|a| !a.starts_with('-'))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for threads in [0, 2] {
        let mut builder = match threads {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if threads > 0 {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build()?;
        println!(
            "{}",
            if threads == 0 {
                "current-thread runtime"
            } else {
                "multi-thread runtime"
            }
        );
        for outstanding in [1, 256] {
            let dir = root.join(format!(
                "keelson-raft-bench-{}-{threads}-{outstanding}",
                std::process::id()
            ));
            let result = runtime.block_on(run(&dir, outstanding));
            std::fs::remove_dir_all(&dir)?;
            result?;
        }
    }
    Ok(())
}
