//! `snapshot save`, `snapshot status`, `snapshot restore`.

use super::flags::{self, Flag, switch, value};
use super::outcome::{Failure, Outcome};
use super::print::{self, Cell};
use super::save;
use crate::urls;
use keelson_bolt::snapshot::Status;
use keelson_kvstore::archive::{Restore, restore};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const RESTORE: &[Flag] = &[
    value("data-dir"),
    value("wal-dir"),
    value("name"),
    value("initial-cluster"),
    value("initial-cluster-token"),
    value("initial-advertise-peer-urls"),
    value("initial-memory-map-size"),
    value("bump-revision"),
    switch("skip-hash-check"),
    switch("mark-compacted"),
    value("write-out"),
];
const STATUS: &[Flag] = &[value("write-out")];
const NAME_DEFAULT: &str = "default";
const PEER_URL_DEFAULT: &str = "http://localhost:2380";
const TOKEN_DEFAULT: &str = "etcd-cluster";

pub fn run(args: &[String]) -> Outcome {
    match args.split_first() {
        Some((verb, rest)) if verb == "save" => save::run(rest),
        Some((verb, rest)) if verb == "status" => status(rest),
        Some((verb, rest)) if verb == "restore" => restored(rest),
        Some((verb, _)) => Err(Failure::Arguments(format!(
            "unknown command {verb:?} for \"snapshot\": it is save, status or restore"
        ))),
        None => Err(Failure::Arguments(
            "snapshot needs a command: save, status or restore".to_owned(),
        )),
    }
}

/// What is in the way of reading a file, in etcd's words where it has any.
pub fn check_file(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Failure::Error(format!("{} is no file", path.display()))),
        Err(e) => Err(Failure::Error(format!(
            "stat {}: {}",
            path.display(),
            crate::fail::io_text(&e)
        ))),
    }
}

fn status(args: &[String]) -> Outcome {
    let given = flags::parse(args, STATUS).map_err(Failure::Error)?;
    let path = given.only_argument("snapshot status").map_err(Failure::Arguments)?;
    check_file(Path::new(path))?;
    let status = Status::of(Path::new(path)).map_err(Failure::error)?;
    let cells = [
        Cell {
            title: "hash",
            shown: format!("{:x}", status.hash),
            key: "hash",
            json: status.hash.into(),
            field: "Hash",
        },
        Cell {
            title: "revision",
            shown: status.revision.to_string(),
            key: "revision",
            json: status.revision.into(),
            field: "Revision",
        },
        Cell {
            title: "total keys",
            shown: status.keys.to_string(),
            key: "totalKey",
            json: status.keys.into(),
            field: "Keys",
        },
        Cell {
            title: "total size",
            shown: print::bytes(status.bytes),
            key: "totalSize",
            json: status.bytes.into(),
            field: "Size",
        },
        Cell {
            title: "version",
            shown: status.version.clone(),
            key: "version",
            json: status.version.into(),
            field: "Version",
        },
    ];
    print::print(given.or("write-out", "simple"), &cells)
        .ok_or_else(|| Failure::Feature("unsupported output format".to_owned()))
}

/// The members of the new cluster, and whether this one tells others what the list says of it.
fn cluster(listed: &str, name: &str, advertised: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let members = urls::parse_cluster(listed)?;
    let own = members
        .get(name)
        .ok_or_else(|| format!("couldn't find local name {name:?} in the initial cluster configuration"))?;
    let mut own = urls::strings(own);
    let mut told = urls::strings(&urls::Url::parse_list(advertised)?);
    own.sort();
    told.sort();
    if own != told {
        let pairs: Vec<_> = own.iter().map(|url| format!("{name}={url}")).collect();
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            pairs.join(","),
            told.join(",")
        ));
    }
    let members = members.iter().map(|(name, list)| (name.clone(), urls::strings(list)));
    Ok(members.collect())
}

fn restored(args: &[String]) -> Outcome {
    let given = flags::parse(args, RESTORE).map_err(Failure::Error)?;
    let path = given.only_argument("snapshot restore").map_err(Failure::Arguments)?;
    let bump_revision: u64 = given.number("bump-revision").map_err(Failure::Error)?;
    let mark_compacted = given.is_on("mark-compacted").map_err(Failure::Error)?;
    if (bump_revision > 0) != mark_compacted {
        return Err(Failure::Arguments(
            "--mark-compacted required if --revision-bump > 0".to_owned(),
        ));
    }
    if given.text("initial-memory-map-size").is_some() {
        eprintln!("warning: --initial-memory-map-size has no effect: the store maps no files");
    }
    let name = given.or("name", NAME_DEFAULT);
    let listed = format!("{NAME_DEFAULT}={PEER_URL_DEFAULT}");
    let initial_cluster = cluster(
        given.or("initial-cluster", &listed),
        name,
        given.or("initial-advertise-peer-urls", PEER_URL_DEFAULT),
    )
    .map_err(Failure::Error)?;
    check_file(Path::new(path))?;
    let data_dir = given.text("data-dir").filter(|dir| !dir.is_empty());
    let wanted = Restore {
        file: PathBuf::from(path),
        name: name.to_owned(),
        data_dir: data_dir.map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from),
        wal_dir: given.text("wal-dir").filter(|dir| !dir.is_empty()).map(PathBuf::from),
        initial_cluster,
        token: given.or("initial-cluster-token", TOKEN_DEFAULT).to_owned(),
        skip_hash_check: given.is_on("skip-hash-check").map_err(Failure::Error)?,
        bump_revision,
    };
    let done = restore(&wanted).map_err(Failure::error)?;
    Ok(format!(
        "restored {} into {}: member {:x} of cluster {:x}, revision {}, compacted at {}, {} versions, {} leases, {} users",
        wanted.file.display(),
        wanted.data_dir.display(),
        done.member_id,
        done.cluster_id,
        done.revision,
        done.compacted,
        done.versions,
        done.leases,
        done.users
    ))
}
