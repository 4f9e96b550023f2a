//! Who this member is: chosen at its first start, kept beside the data.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write};
use std::path::Path;

const FILE: &str = "identity.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub member_id: u64,
    pub cluster_id: u64,
}

impl Identity {
    /// Reads the identity, or makes one and writes it durably: a half-written one is never seen.
    pub fn load_or_create(data_dir: &Path) -> Result<Identity, Error> {
        let path = data_dir.join(FILE);
        let context = |what: &str, e: &dyn std::fmt::Display| Error::Start(format!("{what} {}: {e}", path.display()));
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| context("parse", &e)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let identity = Identity {
                    member_id: rand::random::<u64>() | 1,
                    cluster_id: rand::random::<u64>() | 1,
                };
                identity.write(data_dir, &path).map_err(|e| context("write", &e))?;
                Ok(identity)
            }
            Err(e) => Err(context("read", &e)),
        }
    }

    fn write(&self, data_dir: &Path, path: &Path) -> std::io::Result<()> {
        let fresh = path.with_extension("tmp");
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        std::fs::File::open(data_dir)?.sync_all()
    }
}
