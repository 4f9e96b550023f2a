//! Torn tails are cut, damage is refused, failed syncs are final.
#![allow(clippy::unwrap_used)]
mod common;
use common::{append, copy_dir, entry, options, read_all, wait};
use keelson_wal::{Disk, EntryId, Error, OsDisk, Wal};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const SEGMENT_HEADER: u64 = 128;

fn segment(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.wal"))
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut b = [0u8];
    file.read_exact_at(&mut b, offset).unwrap();
    file.write_all_at(&[b[0] ^ 0x10], offset).unwrap();
}

/// One entry a batch, so that each proves the one before it durable. Returns each batch's end.
fn filled(dir: &Path, count: u64, size: usize) -> Vec<u64> {
    let wal = Wal::open(options(dir)).unwrap();
    let mut at = SEGMENT_HEADER;
    let mut ends = Vec::new();
    for i in 0..count {
        append(&wal, vec![entry(1, i, size)]).unwrap();
        at += 32 + size.next_multiple_of(8) as u64;
        ends.push(at);
    }
    ends
}

#[test]
fn every_flipped_byte_before_the_last_batch_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    let ends = filled(&good, 4, 24);
    // The last batch on disk is the mark that an orderly end writes: every entry is covered.
    for offset in 0..ends[3] {
        let bad = root.path().join(format!("bad{offset}"));
        copy_dir(&good, &bad);
        flip(&segment(&bad, 1), offset);
        let found = Wal::open(options(&bad)).err();
        assert!(
            matches!(found, Some(Error::Damaged { .. } | Error::Version { .. })),
            "a flip at {offset} gave {found:?}"
        );
    }
}

#[test]
fn the_message_names_file_offset_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let ends = filled(root.path(), 4, 24);
    flip(&segment(root.path(), 1), ends[0] + 40);
    let message = Wal::open(options(root.path())).err().unwrap().to_string();
    assert!(message.contains("0000000000000001.wal"), "{message}");
    assert!(message.contains(&format!("offset {}", ends[0])), "{message}");
    assert!(message.contains("restore this member from a snapshot"), "{message}");
}

#[test]
fn a_tail_torn_anywhere_is_cut_and_the_log_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let wal = Wal::open(options(&whole)).unwrap();
    append(&wal, vec![entry(1, 0, 24)]).unwrap();
    append(&wal, vec![entry(1, 1, 24), entry(1, 2, 24), entry(1, 3, 24)]).unwrap();
    let batch = SEGMENT_HEADER + 56;
    for torn_at in batch..batch + 3 * 56 {
        let dir = root.path().join(format!("t{torn_at}"));
        copy_dir(&whole, &dir);
        let file = OpenOptions::new().write(true).open(segment(&dir, 1)).unwrap();
        file.write_all_at(&[0u8; 400], torn_at).unwrap();
        let kept = 1 + (torn_at - batch) / 56;
        let wal = Wal::open(options(&dir)).unwrap();
        // Padding of zeros cannot be told from its loss, so one more may be whole.
        let found = read_all(&wal).len() as u64;
        assert_eq!(found, kept, "torn at {torn_at}");
        append(&wal, vec![entry(2, found, 24)]).unwrap();
        drop(wal);
        let wal = Wal::open(options(&dir)).unwrap();
        assert_eq!(read_all(&wal).len() as u64, found + 1);
    }
}

#[test]
fn a_hole_in_a_torn_batch_does_not_come_back() {
    // The first page of a batch is lost and a later one is not: the later frames are readable but must not be read.
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let wal = Wal::open(options(&dir)).unwrap();
    append(&wal, vec![entry(1, 0, 24)]).unwrap();
    append(&wal, vec![entry(1, 1, 24), entry(1, 2, 24), entry(1, 3, 24)]).unwrap();
    let torn = root.path().join("torn");
    copy_dir(&dir, &torn);
    let file = OpenOptions::new().write(true).open(segment(&torn, 1)).unwrap();
    file.write_all_at(&[0u8; 56], SEGMENT_HEADER + 56).unwrap();
    let wal = Wal::open(options(&torn)).unwrap();
    assert_eq!(read_all(&wal), vec![entry(1, 0, 24)]);
    append(&wal, vec![entry(1, 1, 24)]).unwrap();
    drop(wal);
    let wal = Wal::open(options(&torn)).unwrap();
    assert_eq!(read_all(&wal), vec![entry(1, 0, 24), entry(1, 1, 24)]);
}

#[test]
fn damage_in_an_older_segment_and_a_missing_segment_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    filled(&good, 40, 500);
    assert!(segment(&good, 3).exists());
    let bad = root.path().join("bad");
    copy_dir(&good, &bad);
    flip(&segment(&bad, 1), 3000);
    assert!(matches!(Wal::open(options(&bad)), Err(Error::Damaged { .. })));
    for lost in [1, 2] {
        let dir = root.path().join(format!("lost{lost}"));
        copy_dir(&good, &dir);
        std::fs::remove_file(segment(&dir, lost)).unwrap();
        assert!(
            matches!(Wal::open(options(&dir)), Err(Error::Damaged { .. })),
            "segment {lost}"
        );
    }
}

#[test]
fn purged_segments_are_recycled_and_their_old_frames_stay_dead() {
    let root = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(root.path())).unwrap();
    for i in 0..200u64 {
        append(&wal, vec![entry(1, i, 500)]).unwrap();
        if i >= 4 {
            wait(|done| wal.purge(EntryId { term: 1, index: i - 4 }, done)).unwrap();
        }
    }
    let stats = wal.stats();
    assert!(stats.recycled_segments > 10, "{stats:?}");
    assert!(stats.segments <= 3, "{stats:?}");
    drop(wal);
    let wal = Wal::open(options(root.path())).unwrap();
    let expected: Vec<_> = (196..200).map(|i| entry(1, i, 500)).collect();
    assert_eq!(read_all(&wal), expected);
}

/// Fails the sync whose number is set.
struct Failing {
    at: u64,
    seen: AtomicU64,
}

impl Disk for Failing {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        OsDisk.write_at(file, bytes, offset)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
            return Err(io::Error::other("the disk is gone"));
        }
        OsDisk.sync(file)
    }
}

#[test]
fn a_failed_sync_is_final() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path());
    let disk = Arc::new(Failing {
        at: 1,
        seen: AtomicU64::new(0),
    });
    o.disk = disk.clone();
    let wal = Wal::open(o).unwrap();
    append(&wal, vec![entry(1, 0, 8)]).unwrap();
    let failed = append(&wal, vec![entry(1, 1, 8)]).err();
    assert!(
        matches!(&failed, Some(Error::Poisoned(m)) if m.contains("the disk is gone")),
        "{failed:?}"
    );
    assert!(matches!(append(&wal, vec![entry(1, 2, 8)]), Err(Error::Poisoned(_))));
    assert_eq!(disk.seen.load(Ordering::SeqCst), 2, "never tried again");
}

#[test]
fn a_second_process_and_another_members_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(root.path())).unwrap();
    assert!(matches!(Wal::open(options(root.path())), Err(Error::Locked { .. })));
    drop(wal);
    let mut o = options(root.path());
    o.node_id = 7;
    assert!(matches!(Wal::open(o), Err(Error::Foreign { .. })));
}

#[test]
fn holes_and_truncation_below_the_purge_point_are_misuse() {
    let root = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(root.path())).unwrap();
    append(&wal, (0..10).map(|i| entry(1, i, 8)).collect()).unwrap();
    assert!(matches!(append(&wal, vec![entry(1, 11, 8)]), Err(Error::Misuse(_))));
    wait(|done| wal.purge(EntryId { term: 1, index: 5 }, done)).unwrap();
    let low = Some(EntryId { term: 1, index: 3 });
    assert!(matches!(
        wait(|done| wal.truncate_after(low, done)),
        Err(Error::Misuse(_))
    ));
    assert_eq!(read_all(&wal).len(), 4);
}

#[test]
fn callbacks_come_in_order_and_share_syncs() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path());
    o.segment_bytes = 1 << 20;
    let wal = Wal::open(o).unwrap();
    let (tx, rx) = std::sync::mpsc::channel();
    for i in 0..2000u64 {
        let tx = tx.clone();
        wal.append(
            vec![entry(1, i, 16)],
            Box::new(move |r| tx.send((i, r.is_ok())).unwrap()),
        )
        .unwrap();
    }
    drop(tx);
    let seen: Vec<_> = rx.iter().collect();
    assert_eq!(seen, (0..2000).map(|i| (i, true)).collect::<Vec<_>>());
    assert!(wal.stats().syncs < 2000, "{:?}", wal.stats());
}
