//! How fast the log makes entries durable: one waiting writer at a time, and 256 of them.
//!
//! `cargo bench -p keelson-wal` (a folder as argument, or the system's temporary one). No harness: what counts is the
//! disk, and a plain count over a few seconds says it best.
use bytes::Bytes;
use keelson_wal::{Entry, EntryId, Options, Wal};
use std::{
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

const PAYLOAD_BYTES: usize = 1024;
const SPAN: Duration = Duration::from_secs(3);

fn run(dir: PathBuf, outstanding: usize) -> Result<(), Box<dyn std::error::Error>> {
    let wal = Wal::open(Options::new(dir))?;
    let payload = Bytes::from(vec![7u8; PAYLOAD_BYTES]);
    let (tx, rx) = mpsc::channel();
    let begun = Instant::now();
    let mut sent = 0u64;
    let mut done = 0u64;
    while begun.elapsed() < SPAN || done < sent {
        while begun.elapsed() < SPAN && ((sent - done) as usize) < outstanding {
            let tx = tx.clone();
            let entry = Entry {
                id: EntryId { term: 1, index: sent },
                tag: 0,
                payload: payload.clone(),
            };
            wal.append(vec![entry], Box::new(move |r| drop(tx.send(r))))?;
            sent += 1;
        }
        if done < sent {
            rx.recv()??;
            done += 1;
        }
        done += rx.try_iter().count() as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let stats = wal.stats();
    println!(
        "{outstanding:>4} outstanding: {:>8.0} entries/s, {:>6.0} syncs/s, {:>5.1} entries a sync, {:>6.1} MB/s",
        done as f64 / seconds,
        stats.syncs as f64 / seconds,
        done as f64 / stats.syncs as f64,
        (done as f64 * PAYLOAD_BYTES as f64) / seconds / 1e6,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args()
        .nth(1)
        .filter(|a| !a.starts_with('-'))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for outstanding in [1, 256] {
        let dir = root.join(format!("keelson-wal-bench-{}-{outstanding}", std::process::id()));
        let result = run(dir.clone(), outstanding);
        std::fs::remove_dir_all(&dir)?;
        result?;
    }
    Ok(())
}
