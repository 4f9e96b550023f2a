//! Opening: reads every segment in order, rebuilds the log in memory, and tells a torn tail from damage.
use crate::{
    EntryId, Error, Options, Vote,
    frame::{self, FrameMeta, Header, Kind},
    log::{Log, SegmentInfo, Slot},
    scan::{Found, Scanner},
    segment::{self, Active, SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader},
};
use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) struct Recovered {
    pub log: Log,
    pub active: Active,
    pub spares: VecDeque<PathBuf>,
}

/// How the frames of one segment ended.
struct End {
    at: u64,
    sealed: bool,
    /// Why nothing was read at `at`.
    why: &'static str,
    /// Start of the batch that the last readable frame belongs to.
    last_batch: u32,
}

pub(crate) fn recover(options: &Options) -> Result<Recovered, Error> {
    let dir = &options.dir;
    let listing = segment::list(dir)?;
    let mut spares: VecDeque<PathBuf> = listing.spares.into();
    let mut log = Log::new(options.tail_bytes);
    let Some(&last_id) = listing.segments.last() else {
        let active = create_next(options, &log, 1, &mut spares)?;
        return Ok(started(log, active, spares));
    };
    let mut expected = listing.segments.first().copied().unwrap_or(last_id);
    let mut is_first = true;
    for &id in &listing.segments {
        if id != expected {
            let file = segment::segment_path(dir, expected);
            return Err(Error::Damaged {
                file,
                offset: 0,
                what: "the segment is missing between two others".into(),
            });
        }
        expected = id + 1;
        let (file, header) = open_segment(options, id)?;
        if is_first {
            restore_header(&mut log, &header);
            is_first = false;
        } else {
            check_header(&log, &file, &header)?;
        }
        let mut max_index = None;
        let end = replay(&mut log, &file, id, &mut max_index)?;
        log.segments.insert(
            id,
            SegmentInfo {
                file: file.clone(),
                max_index,
            },
        );
        if id != last_id {
            if !end.sealed {
                let what = format!("{}, and a later segment exists", end.why);
                return Err(Error::Damaged {
                    file: file.path.to_path_buf(),
                    offset: end.at,
                    what,
                });
            }
            continue;
        }
        check_start(&log, &file, listing.segments.first().copied())?;
        let active = resume(options, &log, id, &file, end, &mut spares)?;
        return Ok(started(log, active, spares));
    }
    Err(Error::Misuse("a log without segments".into()))
}

fn started(mut log: Log, active: Active, spares: VecDeque<PathBuf>) -> Recovered {
    log.segments.entry(active.id).or_insert_with(|| SegmentInfo {
        file: active.file.clone(),
        max_index: None,
    });
    Recovered { log, active, spares }
}

fn create_next(options: &Options, log: &Log, id: u64, spares: &mut VecDeque<PathBuf>) -> Result<Active, Error> {
    let state = log.state();
    let header = SegmentHeader {
        id,
        salt: 0,
        cluster_id: options.cluster_id,
        node_id: options.node_id,
        vote: state.vote,
        purged: state.purged,
    };
    segment::create(
        &options.dir,
        &*options.disk,
        header,
        options.segment_bytes,
        spares.pop_front(),
    )
}

fn open_segment(options: &Options, id: u64) -> Result<(SegmentFile, SegmentHeader), Error> {
    let path = segment::segment_path(&options.dir, id);
    let context = || format!("open segment {}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io(context(), e))?;
    let mut bytes = [0u8; SEGMENT_HEADER_BYTES];
    let damaged = |what: &str| Error::Damaged {
        file: path.clone(),
        offset: 0,
        what: what.into(),
    };
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(damaged("the file is shorter than its header"));
        }
        Err(e) => return Err(Error::io(context(), e)),
    }
    let header = SegmentHeader::decode(&path, &bytes)?;
    if header.id != id {
        return Err(damaged("the header names another segment than the file does"));
    }
    if (header.cluster_id, header.node_id) != (options.cluster_id, options.node_id) {
        return Err(Error::Foreign {
            file: path,
            cluster: options.cluster_id,
            node: options.node_id,
            found_cluster: header.cluster_id,
            found_node: header.node_id,
        });
    }
    Ok((
        SegmentFile {
            file: Arc::new(file),
            path: path.into(),
            salt: header.salt,
        },
        header,
    ))
}

fn restore_header(log: &mut Log, header: &SegmentHeader) {
    log.set_purged(header.purged);
    if let Some(vote) = header.vote {
        log.set_vote(vote);
    }
}

/// A segment's header repeats what its predecessors say; if it does not, one of them is not what it was.
fn check_header(log: &Log, file: &SegmentFile, header: &SegmentHeader) -> Result<(), Error> {
    let state = log.state();
    if state.vote == header.vote && state.purged == header.purged {
        return Ok(());
    }
    let what = format!(
        "the header's vote and purge point ({:?}, {:?}) are not those of the segments before ({:?}, {:?})",
        header.vote, header.purged, state.vote, state.purged
    );
    Err(Error::Damaged {
        file: file.path.to_path_buf(),
        offset: 0,
        what,
    })
}

fn replay(log: &mut Log, file: &SegmentFile, id: u64, max_index: &mut Option<u64>) -> Result<End, Error> {
    let mut scanner = Scanner::new(file)?;
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let mut last_batch = SEGMENT_HEADER_BYTES as u32;
    loop {
        let header = match scanner.frame_at(at)? {
            Found::Frame(h) => h,
            Found::Nothing(why) => {
                return Ok(End {
                    at,
                    sealed: false,
                    why,
                    last_batch,
                });
            }
        };
        // Batches never go backwards: a frame that says otherwise was left by a write that did not complete.
        if header.batch < last_batch {
            return Ok(End {
                at,
                sealed: false,
                why: "the frame belongs to an earlier batch",
                last_batch,
            });
        }
        last_batch = header.batch;
        let offset = at;
        at += frame::frame_bytes(header.len as usize) as u64;
        if header.kind == Kind::Seal {
            return Ok(End {
                at,
                sealed: true,
                why: "",
                last_batch,
            });
        }
        apply(log, header, id, offset, max_index).map_err(|e| Error::Damaged {
            file: file.path.to_path_buf(),
            offset,
            what: format!("the frame does not follow from those before it ({e})"),
        })?;
    }
}

fn apply(log: &mut Log, h: Header, segment: u64, offset: u64, max_index: &mut Option<u64>) -> Result<(), Error> {
    let id = EntryId {
        term: h.term,
        index: h.index,
    };
    match h.kind {
        Kind::Entry => {
            log.check_replayed(id.index)?;
            log.push(
                id,
                Slot {
                    segment: segment as u32,
                    offset: offset as u32,
                },
            );
            *max_index = (*max_index).max(Some(id.index));
        }
        Kind::Vote => log.set_vote(Vote {
            term: h.term,
            node: h.index,
            committed: h.tag & 1 != 0,
        }),
        Kind::Truncate => log.truncate_after((h.tag & 1 == 0).then_some(id))?,
        Kind::Purge => log.purge(id),
        Kind::Seal | Kind::Mark => {}
    }
    Ok(())
}

/// Segments go only below the purge point, so the log must start right after it: else files were lost at its start.
fn check_start(log: &Log, file: &SegmentFile, first_segment: Option<u64>) -> Result<(), Error> {
    let state = log.state();
    let whole = match (state.purged, state.first) {
        (Some(purged), Some(first)) => first == purged.index + 1,
        (Some(_), None) => true,
        (None, _) => first_segment == Some(1),
    };
    if whole {
        return Ok(());
    }
    let what = format!(
        "the log starts at {:?} though it is purged up to {:?}: older segments are missing",
        state.first, state.purged
    );
    Err(Error::Damaged {
        file: file.path.to_path_buf(),
        offset: 0,
        what,
    })
}

/// Decides what the end of the last segment is, and makes the log ready for more.
fn resume(
    options: &Options,
    log: &Log,
    id: u64,
    file: &SegmentFile,
    end: End,
    spares: &mut VecDeque<PathBuf>,
) -> Result<Active, Error> {
    let sync = || {
        options
            .disk
            .sync(&file.file)
            .map_err(|e| Error::io(format!("sync {}", file.path.display()), e))
    };
    if end.sealed {
        // What a killed process wrote may still be in memory only; it counts from here on.
        sync()?;
        return create_next(options, log, id + 1, spares);
    }
    let mut scanner = Scanner::new(file)?;
    let size = scanner.size();
    match scanner.latest_batch_from(end.at)? {
        // A batch that began after the unreadable place was written only because that place was durable.
        Some((at, batch)) if u64::from(batch) > end.at => {
            let what = format!("{}, and a frame of a later batch follows at offset {at}", end.why);
            Err(Error::Damaged {
                file: file.path.to_path_buf(),
                offset: end.at,
                what,
            })
        }
        // The rest of a torn batch: sealed off, so that no later frame can lead into it.
        Some(_) => {
            tracing::warn!(file = %file.path.display(), offset = end.at, "torn batch at the end of the log: cut");
            sync()?;
            seal(options, file, end.at, size, end.last_batch)?;
            create_next(options, log, id + 1, spares)
        }
        None => {
            sync()?;
            let at = end.at;
            Ok(Active {
                id,
                file: file.clone(),
                at,
                capacity: size,
                prewritten: at,
            })
        }
    }
}

fn seal(options: &Options, file: &SegmentFile, at: u64, size: u64, last_batch: u32) -> Result<(), Error> {
    let context = || format!("seal {}", file.path.display());
    let meta = FrameMeta {
        kind: Kind::Seal,
        tag: 0,
        batch: last_batch.max(at as u32),
        term: 0,
        index: 0,
    };
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, file.salt, meta, &[]);
    if at + bytes.len() as u64 > size {
        return Err(Error::Damaged {
            file: file.path.to_path_buf(),
            offset: at,
            what: "no room for a seal".into(),
        });
    }
    options
        .disk
        .write_at(&file.file, &bytes, at)
        .map_err(|e| Error::io(context(), e))?;
    options.disk.sync(&file.file).map_err(|e| Error::io(context(), e))
}

/// What reading a whole log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub state: crate::State,
    pub segments: usize,
    /// The last batch was cut short by a crash. That is no damage: it was never acknowledged.
    pub torn: bool,
}

/// Reads a log that nobody has open, every frame of it, and changes nothing: what [`crate::Wal::open`] would refuse is
/// the error.
pub fn check(options: &Options) -> Result<Checked, Error> {
    let _lock = segment::DirLock::take(&options.dir)?;
    let listing = segment::list(&options.dir)?;
    let mut log = Log::new(options.tail_bytes);
    let mut checked = Checked::default();
    let first_id = listing.segments.first().copied();
    let mut expected = first_id.unwrap_or_default();
    for (n, &id) in listing.segments.iter().enumerate() {
        if id != expected {
            return Err(Error::Damaged {
                file: segment::segment_path(&options.dir, expected),
                offset: 0,
                what: "the segment is missing between two others".into(),
            });
        }
        expected = id + 1;
        let (file, header) = open_segment(options, id)?;
        if n == 0 {
            restore_header(&mut log, &header);
        } else {
            check_header(&log, &file, &header)?;
        }
        let end = replay(&mut log, &file, id, &mut None)?;
        let last = n + 1 == listing.segments.len();
        let follows = if end.sealed {
            None
        } else {
            Scanner::new(&file)?.latest_batch_from(end.at)?
        };
        let damage = match follows {
            _ if end.sealed => None,
            _ if !last => Some(format!("{}, and a later segment exists", end.why)),
            Some((at, batch)) if u64::from(batch) > end.at => Some(format!(
                "{}, and a frame of a later batch follows at offset {at}",
                end.why
            )),
            torn => {
                checked.torn = torn.is_some();
                None
            }
        };
        if let Some(what) = damage {
            return Err(Error::Damaged {
                file: file.path.to_path_buf(),
                offset: end.at,
                what,
            });
        }
        if last {
            check_start(&log, &file, first_id)?;
        }
    }
    checked.segments = listing.segments.len();
    checked.state = log.state();
    Ok(checked)
}

/// Makes the folder, private to its owner.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::io(format!("make folder {}", dir.display()), e))
}
