//! Who this member is, and how its group began: decided at its first start, kept beside the data.

use crate::Error;
use keelson_raft::{Member, Start};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;

pub const FILE: &str = "identity.json";

/// What the log of this member is told while it is empty. It is kept, so that a first start that was cut short is
/// finished by the next one, whatever that one's flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beginning {
    /// A group of this member.
    #[default]
    Alone,
    /// The group that forms itself of these.
    Form(BTreeMap<u64, Founder>),
    /// A group that is there already, and calls.
    Join,
}

/// A member of a new group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    pub name: String,
    pub peer_urls: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub member_id: u64,
    pub cluster_id: u64,
    #[serde(default)]
    pub beginning: Beginning,
}

fn context(what: &str, path: &Path, e: impl std::fmt::Display) -> Error {
    Error::Start(format!("{what} {}: {e}", path.display()))
}

impl Identity {
    /// `None`: this folder is nobody's yet.
    pub fn load(data_dir: &Path) -> Result<Option<Identity>, Error> {
        let path = data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| context("parse", &path, e)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(context("read", &path, e)),
        }
    }

    /// Durable when it returns; a half-written one is never seen.
    pub fn store(&self, data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(FILE);
        let written = || -> std::io::Result<()> {
            let fresh = path.with_extension("tmp");
            let mut file = std::fs::File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            std::fs::File::open(data_dir)?.sync_all()
        };
        written().map_err(|e| context("write", &path, e))
    }

    /// What the log is told. `this` is what a group of this member alone says of it.
    pub fn start(&self, this: &Member) -> Start {
        let member = |founder: &Founder| Member {
            name: founder.name.clone(),
            peer_urls: founder.peer_urls.clone(),
            ..Member::default()
        };
        match &self.beginning {
            Beginning::Alone => Start::Form(BTreeMap::from([(self.member_id, this.clone())])),
            Beginning::Form(founders) => Start::Form(founders.iter().map(|(id, f)| (*id, member(f))).collect()),
            Beginning::Join => Start::Join,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_identity_is_kept_and_older_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join(FILE), r#"{"member_id":3,"cluster_id":4}"#).unwrap();
        let old = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(old.beginning, Beginning::Alone);
        let founder = Founder {
            name: "a".to_owned(),
            peer_urls: vec!["http://a:1".to_owned()],
        };
        let new = Identity {
            beginning: Beginning::Form(BTreeMap::from([(u64::MAX, founder)])),
            ..old
        };
        new.store(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(new));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Identity::load(dir.path()).is_err());
    }
}
