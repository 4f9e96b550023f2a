//! Fills an empty store from outside: what [`crate::Store::dump`] gives, or what another program has stored.
//!
//! Rows go straight to the engine, in batches; nothing is indexed, and nothing is a store until [`Load::finish`] has
//! returned. A crash before leaves a folder that holds no more than what was flushed; throw it away.

use crate::cluster;
use crate::db::{Db, Home, KeyMeta};
use crate::dump::Holdings;
use crate::leases;
use crate::meta;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::{FIRST_REVISION, Options};
use keelson_proto::command::MemberAttributes;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;

/// Bytes of rows after which a batch is written.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A store that is being filled.
pub struct Load {
    db: Db,
    batch: Vec<(Version, KeyValue)>,
    batch_bytes: usize,
    last: Rev,
}

impl Load {
    /// Makes the store. One that holds anything is refused.
    pub fn create(options: &Options) -> Result<Load, StorageError> {
        let db = Home::folder(&options.path, options.cache_bytes).open()?;
        let mut empty = true;
        db.scan(crate::db::Cf::Meta, b"", |_, _| {
            empty = false;
            Ok(false)
        })?;
        if !empty {
            return Err(StorageError(format!(
                "{} holds a store already",
                options.path.display()
            )));
        }
        Ok(Load {
            db,
            batch: Vec::new(),
            batch_bytes: 0,
            last: Rev::default(),
        })
    }

    /// The last revision that was added; 0 when there is none.
    pub fn revision(&self) -> i64 {
        self.last.main
    }

    /// Adds a version. They come in ascending order; of a deletion only the key counts.
    pub fn add(&mut self, version: Version, mut kv: KeyValue) -> Result<(), StorageError> {
        let rev = version.rev;
        if rev.main <= 0 || rev <= self.last {
            return Err(StorageError(format!(
                "revision {}.{} comes after {}.{}",
                rev.main, rev.sub, self.last.main, self.last.sub
            )));
        }
        if version.tombstone {
            kv = KeyValue {
                key: kv.key,
                mod_revision: rev.main,
                ..KeyValue::default()
            };
        }
        self.last = rev;
        self.batch_bytes += kv.encoded_len() + kv.key.len();
        self.batch.push((version, kv));
        if self.batch_bytes >= BATCH_BYTES_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let mut batch = self.db.batch()?;
        for (version, kv) in self.batch.drain(..) {
            let record = kv.encode_to_vec();
            let meta = KeyMeta {
                create: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
                bytes: u32::try_from(record.len())
                    .map_err(|_| StorageError("a record is longer than 4 GiB".to_owned()))?,
            };
            batch.add(&kv.key, version, &record, &meta);
        }
        self.batch_bytes = 0;
        self.db.write(batch)
    }

    /// Adds everything else and makes it durable. `trimmed` is the last compaction of which nothing is left among
    /// what was added (-1: none): what is between it and `compacted` goes when the store is opened.
    pub fn finish(mut self, holdings: &Holdings, trimmed: i64) -> Result<(), StorageError> {
        let told = holdings.revision;
        if told < self.last.main || told < holdings.compacted || told < FIRST_REVISION {
            return Err(StorageError(format!(
                "a store at revision {told} cannot hold revision {} and a compaction at {}",
                self.last.main, holdings.compacted
            )));
        }
        self.write()?;
        let mut batch = self.db.batch()?;
        batch.set_meta(meta::FORMAT, &meta::FORMAT_NOW);
        batch.set_meta(meta::APPLIED, &meta::encode_applied(&holdings.applied));
        batch.set_meta(meta::REVISION, &told.to_le_bytes());
        if holdings.compacted >= 0 {
            batch.set_meta(meta::COMPACTED, &holdings.compacted.to_le_bytes());
        }
        if trimmed >= 0 {
            batch.set_meta(meta::TRIMMED, &trimmed.min(holdings.compacted).to_le_bytes());
        }
        for (id, ttl, remaining_ttl) in &holdings.leases {
            let lease = leases::Lease {
                ttl: *ttl,
                remaining_ttl: *remaining_ttl,
                ..leases::Lease::default()
            };
            batch.set_meta(&leases::meta_key(*id), &lease.encode());
        }
        for (member, kind) in &holdings.alarms {
            batch.set_meta(&meta::alarm_key(*member, *kind), &[]);
        }
        for (key, value) in holdings.auth.rows()? {
            batch.set_meta(&key, &value);
        }
        let known = &holdings.cluster;
        for (id, attributes) in &known.attributes {
            let row = MemberAttributes {
                member_id: *id,
                name: attributes.name.clone(),
                client_urls: attributes.client_urls.clone(),
            };
            batch.set_meta(&cluster::member_key(*id), &row.encode_to_vec());
        }
        for id in &known.removed {
            batch.set_meta(&cluster::removed_key(*id), &[]);
        }
        if !known.version.is_empty() {
            batch.set_meta(cluster::VERSION, known.version.as_bytes());
        }
        if let Some(downgrade) = &known.downgrade {
            batch.set_meta(cluster::DOWNGRADE, downgrade.as_bytes());
        }
        self.db.write(batch)?;
        self.db.flush()
    }
}
