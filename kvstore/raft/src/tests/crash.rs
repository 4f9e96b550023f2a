//! A child process is killed in the middle of its work, again and again: what it was told is there.
#![allow(clippy::unwrap_used)]
use super::{Persisted, start};
use bytes::Bytes;
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const DIR: &str = "KEELSON_RAFT_CRASH_DIR";
const KILLS: usize = 8;

/// The child: proposes for ever, and prints what was answered. Without the variable it is no test at all.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let node = start(Path::new(&dir), &Persisted::default()).await;
        let mut tasks = Vec::new();
        for worker in 0..8 {
            let node = node.clone();
            tasks.push(tokio::spawn(async move {
                for i in 0..1_000_000u64 {
                    let name = format!("{}-{worker}-{i}", std::process::id());
                    node.propose(Bytes::from(name.clone())).await.unwrap();
                    writeln!(std::io::stdout().lock(), "acked {name}").unwrap();
                }
            }));
        }
        for t in tasks {
            t.await.unwrap();
        }
    });
}

#[tokio::test]
async fn nothing_answered_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: HashSet<Bytes> = HashSet::new();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::child", "--nocapture", "--test-threads", "1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let until = 20 + kill * 37;
        let mut seen = 0;
        for line in out.lines() {
            if let Some((_, name)) = line.unwrap_or_default().split_once("acked ") {
                acked.insert(Bytes::from(name.to_owned()));
                seen += 1;
            }
            if seen == until {
                // SIGKILL; what is in the pipe by then was answered too, and is read on.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= until, "the child answered {seen} and ended");
    }
    let node = start(dir.path(), &Persisted::default()).await;
    let found: HashSet<Bytes> = node.machine().commands().into_iter().map(|(_, c)| c).collect();
    let lost: Vec<_> = acked.difference(&found).collect();
    assert!(
        lost.is_empty(),
        "lost {} of {}: {:?}",
        lost.len(),
        acked.len(),
        lost.first()
    );
}
