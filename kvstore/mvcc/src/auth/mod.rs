//! The auth store: users, roles and what they may do, replicated like the keys.
//!
//! What it is: the state behind etcd's Auth service, changed by commands of the log only, kept in rows of `meta` in
//! etcd's stored form. What it is not: it knows no tokens and checks no passwords; hashes come in ready-made.
//!
//! Invariants: a change of users, roles or of being on or off is a new auth revision, except that turning it on
//! keeps the revision. Roles of a user and permissions of a role are sorted. Permissions of a user are merged when
//! something changes, not when a request is judged.

mod error;
mod judge;
mod manage;
mod permit;
mod ranges;
mod stored;

pub use error::AuthError;
pub use manage::{AuthChange, Authenticated};
pub use stored::StoredAuth;

pub(crate) use manage::execute;
pub(crate) use permit::permit;
pub(crate) use stored::row_prefix;

use crate::command::Asker;
use keelson_proto::authpb;
use ranges::Permissions;
use std::collections::BTreeMap;

/// The user that must be there to turn authentication on, and the role that may do everything.
pub const ROOT: &str = "root";
/// The auth revision of a store in which nothing was changed.
pub const FIRST_AUTH_REVISION: u64 = 1;

/// What a request wants to do with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

#[derive(Clone, Debug)]
struct Account {
    user: authpb::User,
    /// Made of the user's roles.
    permissions: Permissions,
}

/// Users and roles, by name.
#[derive(Clone, Debug)]
pub struct Auth {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    users: BTreeMap<String, Account>,
    roles: BTreeMap<String, authpb::Role>,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            enabled: false,
            revision: FIRST_AUTH_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

fn has_role(user: &authpb::User, role: &str) -> bool {
    user.roles.iter().any(|r| r == role)
}

impl Auth {
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Option<&authpb::User> {
        self.users.get(name).map(|account| &account.user)
    }

    pub fn role(&self, name: &str) -> Option<&authpb::Role> {
        self.roles.get(name)
    }

    /// Sorted.
    pub fn user_names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Sorted.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// Whether the asker may touch every key of a range. An end of one zero byte means no end; an empty one, the key
    /// alone.
    pub fn permit_keys(&self, asker: &Asker, access: Access, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let (name, auth_revision) = match asker {
            Asker::Member => return Ok(()),
            Asker::Nobody => return Err(AuthError::UserEmpty),
            Asker::User { name, auth_revision } => (name, *auth_revision),
        };
        if auth_revision == 0 {
            return Err(AuthError::UserEmpty);
        }
        if auth_revision < self.revision {
            return Err(AuthError::OldRevision);
        }
        let account = self.users.get(name.as_ref()).ok_or(AuthError::PermissionDenied)?;
        if has_role(&account.user, ROOT) {
            return Ok(());
        }
        let allowed = match access {
            Access::Read => &account.permissions.read,
            Access::Write => &account.permissions.write,
        };
        if allowed.cover(key, range_end) {
            Ok(())
        } else {
            Err(AuthError::PermissionDenied)
        }
    }

    /// Whether the asker has the role `root`. As in etcd, the revision does not matter here.
    pub fn permit_admin(&self, asker: &Asker) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let name = match asker {
            Asker::Member => return Ok(()),
            Asker::User { name, .. } if !name.is_empty() => name,
            Asker::User { .. } | Asker::Nobody => return Err(AuthError::UserEmpty),
        };
        let account = self.users.get(name.as_ref()).ok_or(AuthError::UserNotFound)?;
        if has_role(&account.user, ROOT) {
            Ok(())
        } else {
            Err(AuthError::PermissionDenied)
        }
    }

    /// Whether the asker is anybody at all, where no more than that is wanted.
    pub fn permit_anybody(&self, asker: &Asker) -> Result<(), AuthError> {
        if self.enabled && *asker == Asker::Nobody {
            Err(AuthError::UserEmpty)
        } else {
            Ok(())
        }
    }

    /// What a read was allowed at must still hold when its answer is ready.
    pub fn still_at(&self, asker: &Asker) -> Result<(), AuthError> {
        match asker {
            Asker::User { auth_revision, .. } if *auth_revision != self.revision => Err(AuthError::OldRevision),
            _ => Ok(()),
        }
    }

    /// The hash that a login has to match, and the revision that it is of.
    pub fn password_of(&self, name: &str) -> Result<(bytes::Bytes, u64), AuthError> {
        if !self.enabled {
            return Err(AuthError::NotEnabled);
        }
        let user = self.user(name).ok_or(AuthError::Failed)?;
        if manage::has_no_password(user) {
            return Err(AuthError::NoPasswordUser);
        }
        Ok((user.password.clone(), self.revision))
    }

    /// The roles of a user: for `root`, and for the user itself.
    pub fn user_get(&self, asker: &Asker, name: &str) -> Result<Vec<String>, AuthError> {
        if let Err(refusal) = self.permit_admin(asker)
            && !matches!(asker, Asker::User { name: own, .. } if own.as_ref() == name)
        {
            return Err(refusal);
        }
        let user = self.user(name).ok_or(AuthError::UserNotFound)?;
        Ok(user.roles.clone())
    }

    /// The permissions of a role: for `root`, and for users that have the role.
    pub fn role_get(&self, asker: &Asker, name: &str) -> Result<Vec<authpb::Permission>, AuthError> {
        if let Err(refusal) = self.permit_admin(asker) {
            let own = match asker {
                Asker::User { name: own, .. } => self.user(own).is_some_and(|user| has_role(user, name)),
                Asker::Member | Asker::Nobody => false,
            };
            if !own {
                return Err(refusal);
            }
        }
        let role = self.role(name).ok_or(AuthError::RoleNotFound)?;
        if name == ROOT {
            // It needs no permissions, and is told as having all.
            return Ok(vec![authpb::Permission {
                perm_type: authpb::permission::Type::Readwrite as i32,
                key: bytes::Bytes::new(),
                range_end: bytes::Bytes::from_static(&[0]),
            }]);
        }
        Ok(role.key_permission.clone())
    }

    fn permissions_of(&self, user: &authpb::User) -> Permissions {
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        Permissions::of(roles.flat_map(|role| role.key_permission.iter()))
    }

    /// Merges the permissions of users again: of those with a role that has changed, or of all.
    fn merge(&mut self, role: Option<&str>) {
        let mut users = std::mem::take(&mut self.users);
        for account in users.values_mut() {
            if role.is_none_or(|role| has_role(&account.user, role)) {
                account.permissions = self.permissions_of(&account.user);
            }
        }
        self.users = users;
    }
}
