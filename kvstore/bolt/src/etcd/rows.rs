//! etcd's contents as rows, bucket by bucket in the order of their names: into a file, or into a hash.

use super::bucket;
use super::contents::{Contents, Lease};
use super::keys::{RevKey, Versions};
use super::meta::MemberRow;
use crate::tree::{Root, Tree};
use crate::{Error, Writer};
use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use prost::Message;
use std::fs::File;

/// Where rows go. Buckets come in ascending order, and so do the rows of each.
pub trait Sink {
    fn bucket(&mut self, name: &'static [u8]) -> Result<(), Error>;
    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error>;
}

/// A bbolt file.
pub struct FileSink {
    writer: Writer,
    under_way: Option<(&'static [u8], Tree)>,
    done: Vec<(Vec<u8>, Root)>,
}

impl FileSink {
    pub fn create(file: File) -> Result<FileSink, Error> {
        Ok(FileSink {
            writer: Writer::create(file)?,
            under_way: None,
            done: Vec::new(),
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some((name, tree)) = self.under_way.take() {
            self.done.push((name.to_vec(), tree.finish(&mut self.writer)?));
        }
        Ok(())
    }

    /// Makes the file whole; it is not synced.
    pub fn finish(mut self) -> Result<File, Error> {
        self.close()?;
        self.writer.finish(self.done)
    }
}

impl Sink for FileSink {
    fn bucket(&mut self, name: &'static [u8]) -> Result<(), Error> {
        self.close()?;
        self.under_way = Some((name, Tree::new()));
        Ok(())
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match &mut self.under_way {
            Some((_, tree)) => tree.put(&mut self.writer, key, value),
            None => Err(Error::Misuse("a row without a bucket".to_owned())),
        }
    }
}

static CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The hash of a whole store, as `Maintenance.Hash` and `etcdutl snapshot status` compute it: CRC-32C over the names
/// of the buckets and their rows.
pub struct HashSink {
    digest: Digest<'static, u32, Table<16>>,
    in_meta: bool,
    skip_log: bool,
}

impl HashSink {
    /// Everything, as `snapshot status` hashes a file.
    pub fn of_file() -> HashSink {
        HashSink {
            digest: CASTAGNOLI.digest(),
            in_meta: false,
            skip_log: false,
        }
    }

    /// Without what depends on the log, as members hash their store: they may stand at different entries.
    pub fn of_store() -> HashSink {
        HashSink {
            skip_log: true,
            ..HashSink::of_file()
        }
    }

    /// Any bucket's name; of files that are read there may be others than etcd's.
    pub fn name(&mut self, name: &[u8]) {
        self.in_meta = name == bucket::META;
        self.digest.update(name);
    }

    pub fn hash(self) -> u32 {
        self.digest.finalize()
    }
}

impl Sink for HashSink {
    fn bucket(&mut self, name: &'static [u8]) -> Result<(), Error> {
        self.name(name);
        Ok(())
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let of_log = self.in_meta && matches!(key, b"term" | b"consistent_index" | b"storageVersion");
        if !(self.skip_log && of_log) {
            self.digest.update(key);
            self.digest.update(value);
        }
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Misuse(format!("encode a row: {e}")))
}

fn write_sorted(sink: &mut impl Sink, name: &'static [u8], mut rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Error> {
    sink.bucket(name)?;
    rows.sort();
    rows.dedup_by(|a, b| a.0 == b.0);
    rows.iter().try_for_each(|(key, value)| sink.row(key, value))
}

fn lease_row(lease: &Lease) -> (Vec<u8>, Vec<u8>) {
    (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec())
}

fn write_auth(sink: &mut impl Sink, contents: &Contents) -> Result<(), Error> {
    let auth = &contents.auth;
    let switches = vec![
        (b"authEnabled".to_vec(), vec![u8::from(auth.enabled)]),
        (b"authRevision".to_vec(), auth.revision.to_be_bytes().to_vec()),
    ];
    write_sorted(sink, bucket::AUTH, switches)?;
    let roles = auth.roles.iter().map(|r| (r.name.to_vec(), r.encode_to_vec()));
    write_sorted(sink, bucket::AUTH_ROLES, roles.collect())?;
    let users = auth.users.iter().map(|u| (u.name.to_vec(), u.encode_to_vec()));
    write_sorted(sink, bucket::AUTH_USERS, users.collect())
}

fn write_cluster(sink: &mut impl Sink, contents: &Contents) -> Result<(), Error> {
    let mut rows = Vec::new();
    if let Some(version) = &contents.cluster_version {
        rows.push((b"clusterVersion".to_vec(), version.as_bytes().to_vec()));
    }
    if let Some(downgrade) = &contents.downgrade {
        rows.push((b"downgrade".to_vec(), json(downgrade)?));
    }
    write_sorted(sink, bucket::CLUSTER, rows)
}

fn write_members(sink: &mut impl Sink, contents: &Contents) -> Result<(), Error> {
    let mut rows = Vec::new();
    for member in &contents.members {
        let row = MemberRow {
            id: member.id,
            peer_urls: member.peer_urls.clone(),
            is_learner: member.is_learner,
            name: member.name.clone(),
            client_urls: member.client_urls.clone(),
        };
        rows.push((format!("{:x}", member.id).into_bytes(), json(&row)?));
    }
    write_sorted(sink, bucket::MEMBERS, rows)?;
    let removed = contents
        .members_removed
        .iter()
        .map(|id| (format!("{id:x}").into_bytes(), b"removed".to_vec()));
    write_sorted(sink, bucket::MEMBERS_REMOVED, removed.collect())
}

fn write_meta(sink: &mut impl Sink, contents: &Contents) -> Result<(), Error> {
    let number = |n: u64| n.to_be_bytes().to_vec();
    let revision = |main: i64| {
        RevKey {
            main,
            ..RevKey::default()
        }
        .encode()
    };
    let mut rows = vec![(b"consistent_index".to_vec(), number(contents.consistent_index))];
    if contents.term > 0 {
        rows.push((b"term".to_vec(), number(contents.term)));
    }
    if let Some(conf) = &contents.conf_state {
        rows.push((b"confState".to_vec(), json(conf)?));
    }
    if let Some(rev) = contents.scheduled_compact {
        rows.push((b"scheduledCompactRev".to_vec(), revision(rev)));
    }
    if let Some(rev) = contents.finished_compact {
        rows.push((b"finishedCompactRev".to_vec(), revision(rev)));
    }
    if let Some(version) = &contents.storage_version {
        rows.push((b"storageVersion".to_vec(), version.as_bytes().to_vec()));
    }
    write_sorted(sink, bucket::META, rows)
}

/// Everything, in order.
pub fn write<V: Versions>(sink: &mut impl Sink, contents: &Contents, versions: &mut V) -> Result<(), V::Error>
where
    V::Error: From<Error>,
{
    let alarms = contents.alarms.iter().map(|a| (a.encode_to_vec(), Vec::new()));
    write_sorted(sink, bucket::ALARM, alarms.collect())?;
    write_auth(sink, contents)?;
    write_cluster(sink, contents)?;
    sink.bucket(bucket::KEY)?;
    while let Some((rev, record)) = versions.next()? {
        sink.row(&rev.encode(), &record)?;
    }
    write_sorted(sink, bucket::LEASE, contents.leases.iter().map(lease_row).collect())?;
    write_members(sink, contents)?;
    Ok(write_meta(sink, contents)?)
}
