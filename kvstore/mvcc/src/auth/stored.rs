//! The auth store as rows of `meta`, and whole: what a snapshot carries and what is loaded at the start.

use super::{Account, Auth, FIRST_AUTH_REVISION};
use crate::state_machine::StorageError;
use crate::store::{State, Store};
use keelson_proto::authpb;
use prost::Message;

const PREFIX: &[u8] = b"auth/";
const ENABLED: &[u8] = b"auth/enabled";
const REVISION: &[u8] = b"auth/revision";
const USER_PREFIX: &[u8] = b"auth/user/";
const ROLE_PREFIX: &[u8] = b"auth/role/";

/// What all rows of the auth store begin with.
pub(crate) fn row_prefix() -> &'static [u8] {
    PREFIX
}

/// A row of `meta`: its key, and its value unless it goes.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

pub(super) fn enabled_row(enabled: bool) -> Row {
    (ENABLED.to_vec(), Some(vec![u8::from(enabled)]))
}

pub(super) fn revision_row(revision: u64) -> Row {
    (REVISION.to_vec(), Some(revision.to_le_bytes().to_vec()))
}

pub(super) fn user_row(name: &str, user: Option<&authpb::User>) -> Row {
    let key = [USER_PREFIX, name.as_bytes()].concat();
    (key, user.map(Message::encode_to_vec))
}

pub(super) fn role_row(name: &str, role: Option<&authpb::Role>) -> Row {
    let key = [ROLE_PREFIX, name.as_bytes()].concat();
    (key, role.map(Message::encode_to_vec))
}

fn text(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).map(str::to_owned).ok()
}

type KeyAndValue = (Vec<u8>, Vec<u8>);

/// The whole auth store in etcd's stored form: what its `auth`, `authUsers` and `authRoles` buckets hold.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAuth {
    pub enabled: bool,
    pub revision: u64,
    /// Sorted by name.
    pub users: Vec<authpb::User>,
    /// Sorted by name.
    pub roles: Vec<authpb::Role>,
}

impl Default for StoredAuth {
    fn default() -> Self {
        StoredAuth {
            enabled: false,
            revision: FIRST_AUTH_REVISION,
            users: Vec::new(),
            roles: Vec::new(),
        }
    }
}

impl StoredAuth {
    /// The rows of `meta` that a store with this content has: keys and values. Names that are no text are an error.
    pub fn rows(&self) -> Result<Vec<KeyAndValue>, StorageError> {
        let name_of = |name: &[u8], what: &str| {
            text(name)
                .ok_or_else(|| StorageError(format!("the name of a {what} is not UTF-8: {}", name.escape_ascii())))
        };
        let mut rows = vec![
            enabled_row(self.enabled),
            revision_row(self.revision.max(FIRST_AUTH_REVISION)),
        ];
        for user in &self.users {
            rows.push(user_row(&name_of(&user.name, "user")?, Some(user)));
        }
        for role in &self.roles {
            rows.push(role_row(&name_of(&role.name, "role")?, Some(role)));
        }
        Ok(rows
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }
}

impl Auth {
    /// Takes a row of `meta` that begins with [`row_prefix`]; false: it is damaged. After the last row comes
    /// [`Auth::loaded`].
    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.take_row(key, value).is_some()
    }

    fn take_row(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            ENABLED => {
                self.enabled = match value {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                }
            }
            REVISION => self.revision = u64::from_le_bytes(value.try_into().ok()?),
            _ => {
                if let Some(name) = key.strip_prefix(USER_PREFIX) {
                    let user = authpb::User::decode(value).ok().filter(|user| user.name == name)?;
                    let permissions = Default::default();
                    self.users.insert(text(name)?, Account { user, permissions });
                } else {
                    let name = key.strip_prefix(ROLE_PREFIX)?;
                    let role = authpb::Role::decode(value).ok().filter(|role| role.name == name)?;
                    self.roles.insert(text(name)?, role);
                }
            }
        }
        Some(())
    }

    /// All rows are there: works out what users may do.
    pub(crate) fn loaded(&mut self) {
        // Stores that etcd wrote long ago may hold roles out of order.
        for account in self.users.values_mut() {
            account.user.roles.sort_unstable();
        }
        self.merge(None);
    }

    fn stored(&self) -> StoredAuth {
        StoredAuth {
            enabled: self.enabled,
            revision: self.revision,
            users: self.users.values().map(|account| account.user.clone()).collect(),
            roles: self.roles.values().cloned().collect(),
        }
    }
}

impl State {
    /// As [`Store::stored_auth`], of a state that is locked already.
    pub fn stored_auth(&self) -> StoredAuth {
        self.auth.stored()
    }
}

impl Store {
    /// The auth store in etcd's stored form.
    pub fn stored_auth(&self) -> StoredAuth {
        self.state.read().auth.stored()
    }
}
