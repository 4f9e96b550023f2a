//! Verbs over a folder or a file that no server has open: `hashkv`, `defrag`, `verify`, and `migrate`, which has
//! nothing to do.

use super::flags::{self, Flag, switch, value};
use super::outcome::{Failure, Outcome};
use super::print::{self, Cell};
use super::snapshot::check_file;
use keelson_bolt::snapshot::HistoryHash;
use keelson_kvstore::archive;
use std::path::Path;

const HASHKV: &[Flag] = &[value("rev"), value("write-out")];
const DEFRAG: &[Flag] = &[value("data-dir"), value("write-out")];
const VERIFY: &[Flag] = &[value("data-dir"), value("wal-dir")];
const MIGRATE: &[Flag] = &[value("data-dir"), value("target-version"), switch("force")];

/// Of a file of etcd's, or of a data folder of ours.
pub fn hashkv(args: &[String]) -> Outcome {
    let given = flags::parse(args, HASHKV).map_err(Failure::Error)?;
    let path = Path::new(given.only_argument("hashkv").map_err(Failure::Arguments)?);
    let revision: i64 = given.number("rev").map_err(Failure::Error)?;
    let hashed = if path.is_dir() {
        let hashed = archive::hash_of_folder(path, revision).map_err(Failure::error)?;
        HistoryHash {
            hash: hashed.hash,
            revision: hashed.revision,
            compacted: hashed.compacted,
        }
    } else {
        check_file(path)?;
        HistoryHash::of(path, revision).map_err(Failure::error)?
    };
    let cells = [
        Cell {
            title: "hash",
            shown: hashed.hash.to_string(),
            key: "hash",
            json: hashed.hash.into(),
            field: "Hash",
        },
        Cell {
            title: "hash revision",
            shown: hashed.revision.to_string(),
            key: "hashRevision",
            json: hashed.revision.into(),
            field: "Hash revision",
        },
        Cell {
            title: "compact revision",
            shown: hashed.compacted.to_string(),
            key: "compactRevision",
            json: hashed.compacted.into(),
            field: "Compact revision",
        },
    ];
    print::print(given.or("write-out", "simple"), &cells)
        .ok_or_else(|| Failure::Feature("unsupported output format".to_owned()))
}

fn data_dir(given: &flags::Given) -> Result<&Path, Failure> {
    let dir = given
        .text("data-dir")
        .ok_or_else(|| Failure::Error("required flag(s) \"data-dir\" not set".to_owned()))?;
    Ok(Path::new(dir))
}

pub fn defrag(args: &[String]) -> Outcome {
    let given = flags::parse(args, DEFRAG).map_err(Failure::Error)?;
    let dir = data_dir(&given)?;
    archive::defragment(dir)
        .map(|()| String::new())
        .map_err(|e| Failure::Error(format!("Failed to defragment etcd data[{}] ({e})", dir.display())))
}

pub fn migrate(args: &[String]) -> Outcome {
    flags::parse(args, MIGRATE).map_err(Failure::Error)?;
    Err(Failure::Error(
        "migrate changes the schema of etcd's own data folders, and there is none here: to move to another version of etcd, \
         save a snapshot and restore it there with its etcdutl"
            .to_owned(),
    ))
}

pub fn verify(args: &[String]) -> Outcome {
    let given = flags::parse(args, VERIFY).map_err(Failure::Error)?;
    let dir = data_dir(&given)?;
    let found = archive::verify(dir, given.text("wal-dir").map(Path::new)).map_err(Failure::error)?;
    let (state, log) = (&found.state, &found.log);
    let or_none = |n: Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let report = format!(
        "member {:x} of cluster {:x}\n\
         state: revision {}, compacted at {}, {} versions of {} keys, {} leases, applied up to {} of term {}\n\
         log: {} segments, entries {} to {}, purged up to {}{}{}",
        found.member_id,
        found.cluster_id,
        state.revision,
        state.compacted,
        state.versions,
        state.live_keys,
        state.leases,
        state.applied.index,
        state.applied.term,
        log.segments,
        or_none(log.first),
        or_none(log.last.map(|(index, _)| index)),
        or_none(log.purged),
        if log.torn {
            ", its last batch torn by a crash"
        } else {
            ""
        },
        if log.installing {
            ", a state is being put in"
        } else {
            ""
        },
    );
    if found.problems.is_empty() {
        return Ok(format!("{report}\nnothing is wrong"));
    }
    println!("{report}");
    Err(Failure::Error(found.problems.join("\nError: ")))
}
