//! Changes of users, roles and of being on or off, executed as the log orders them (etcd's `auth/store.go` says what
//! is refused, and in which order).

use super::ranges::is_sensible;
use super::stored::{Row, enabled_row, revision_row, role_row, user_row};
use super::{Account, Auth, AuthError, ROOT, has_role};
use crate::command::Command;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use keelson_proto::authpb;
use keelson_proto::command::Authenticate;
use keelson_proto::etcdserverpb as pb;

/// Told to whoever keeps tokens, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// A checked password became a token. Without a token there is nothing to keep.
    Authenticated { user: String, token: String },
    /// The user is gone or has another password: its tokens are void.
    UserChanged { user: String },
    /// Authentication is off, or the whole store was replaced: all tokens are void.
    Reset,
}

/// The answer to a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticated {
    /// Complete, if the command brought the beginning of one.
    pub token: String,
    /// The auth revision that the login holds at.
    pub auth_revision: u64,
}

/// What a command has done.
#[derive(Default)]
pub(crate) struct Done {
    /// For `meta`.
    pub rows: Vec<Row>,
    pub change: Option<AuthChange>,
    pub authenticated: Option<Authenticated>,
}

impl From<Vec<Row>> for Done {
    fn from(rows: Vec<Row>) -> Self {
        Done {
            rows,
            ..Done::default()
        }
    }
}

/// Executes a command of the auth store; `None`: it is not one. `index` is the log's.
pub(crate) fn execute(auth: &mut Auth, command: &Command, index: u64) -> Option<Result<Done, AuthError>> {
    let rows = match command {
        Command::AuthEnable(_) => enable(auth),
        Command::AuthDisable(_) => return Some(Ok(disable(auth))),
        Command::AuthAuthenticate(r) => return Some(authenticate(auth, r, index)),
        Command::AuthUserAdd(r) => user_add(auth, r),
        Command::AuthUserDelete(r) => return Some(user_delete(auth, r)),
        Command::AuthUserChangePassword(r) => return Some(user_change_password(auth, r)),
        Command::AuthUserGrantRole(r) => user_grant_role(auth, r),
        Command::AuthUserRevokeRole(r) => user_revoke_role(auth, r),
        Command::AuthRoleAdd(r) => role_add(auth, r),
        Command::AuthRoleDelete(r) => role_delete(auth, r),
        Command::AuthRoleGrantPermission(r) => role_grant_permission(auth, r),
        Command::AuthRoleRevokePermission(r) => role_revoke_permission(auth, r),
        _ => return None,
    };
    Some(rows.map(Done::from))
}

impl Auth {
    fn next_revision(&mut self) -> Row {
        self.revision += 1;
        revision_row(self.revision)
    }

    fn account(&mut self, name: &str) -> Result<&mut Account, AuthError> {
        self.users.get_mut(name).ok_or(AuthError::UserNotFound)
    }

    /// The rows of a changed user, whose permissions are merged again.
    fn user_changed(&mut self, name: &str) -> Vec<Row> {
        let revision = self.next_revision();
        let permissions = self.user(name).map(|user| self.permissions_of(user));
        if let Some((account, permissions)) = self.users.get_mut(name).zip(permissions) {
            account.permissions = permissions;
        }
        vec![user_row(name, self.user(name)), revision]
    }

    fn role_changed(&mut self, name: &str) -> Vec<Row> {
        let revision = self.next_revision();
        self.merge(Some(name));
        vec![role_row(name, self.role(name)), revision]
    }
}

fn enable(auth: &mut Auth) -> Result<Vec<Row>, AuthError> {
    if auth.enabled {
        return Ok(Vec::new());
    }
    let root = auth.user(ROOT).ok_or(AuthError::RootUserNotFound)?;
    if !has_role(root, ROOT) {
        return Err(AuthError::RootRoleNotFound);
    }
    auth.enabled = true;
    Ok(vec![enabled_row(true)])
}

fn disable(auth: &mut Auth) -> Done {
    if !auth.enabled {
        return Done::default();
    }
    auth.enabled = false;
    Done {
        rows: vec![enabled_row(false), auth.next_revision()],
        change: Some(AuthChange::Reset),
        authenticated: None,
    }
}

/// The password was checked before the command was logged; it may have become stale since, which the member that
/// asked sees from the revision.
fn authenticate(auth: &Auth, r: &Authenticate, index: u64) -> Result<Done, AuthError> {
    if !auth.enabled {
        return Err(AuthError::NotEnabled);
    }
    let user = auth.user(&r.name).ok_or(AuthError::Failed)?;
    if has_no_password(user) {
        return Err(AuthError::Failed);
    }
    let mut done = Done::default();
    let mut authenticated = Authenticated {
        token: String::new(),
        auth_revision: auth.revision,
    };
    if !r.simple_token.is_empty() {
        authenticated.token = format!("{}.{index}", r.simple_token);
        done.change = Some(AuthChange::Authenticated {
            user: r.name.clone(),
            token: authenticated.token.clone(),
        });
    }
    done.authenticated = Some(authenticated);
    Ok(done)
}

pub(super) fn has_no_password(user: &authpb::User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}

/// A hash as it is in a command: base64, read as leniently as Go reads it. A bare password is never logged.
fn hash(password: &str, hashed: &str) -> Result<Bytes, AuthError> {
    if !password.is_empty() && hashed.is_empty() {
        return Err(AuthError::NoPasswordUser);
    }
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let text = hashed.replace(['\r', '\n'], "");
    let decoded = GeneralPurpose::new(&STANDARD, lenient).decode(text);
    decoded.map(Bytes::from).map_err(|_| AuthError::NoPasswordUser)
}

fn user_add(auth: &mut Auth, r: &pb::AuthUserAddRequest) -> Result<Vec<Row>, AuthError> {
    if r.name.is_empty() {
        return Err(AuthError::UserEmpty);
    }
    if auth.users.contains_key(&r.name) {
        return Err(AuthError::UserExists);
    }
    let options = r.options.unwrap_or_default();
    let password = if options.no_password {
        Bytes::new()
    } else {
        hash(&r.password, &r.hashed_password)?
    };
    let user = authpb::User {
        name: r.name.clone().into(),
        password,
        roles: Vec::new(),
        options: Some(options),
    };
    let permissions = Default::default();
    auth.users.insert(r.name.clone(), Account { user, permissions });
    Ok(auth.user_changed(&r.name))
}

fn user_delete(auth: &mut Auth, r: &pb::AuthUserDeleteRequest) -> Result<Done, AuthError> {
    if auth.enabled && r.name == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    auth.users.remove(&r.name).ok_or(AuthError::UserNotFound)?;
    Ok(Done {
        rows: vec![user_row(&r.name, None), auth.next_revision()],
        change: Some(AuthChange::UserChanged { user: r.name.clone() }),
        authenticated: None,
    })
}

fn user_change_password(auth: &mut Auth, r: &pb::AuthUserChangePasswordRequest) -> Result<Done, AuthError> {
    let user = &mut auth.account(&r.name)?.user;
    user.password = if has_no_password(user) {
        Bytes::new()
    } else {
        hash(&r.password, &r.hashed_password)?
    };
    Ok(Done {
        rows: auth.user_changed(&r.name),
        change: Some(AuthChange::UserChanged { user: r.name.clone() }),
        authenticated: None,
    })
}

fn user_grant_role(auth: &mut Auth, r: &pb::AuthUserGrantRoleRequest) -> Result<Vec<Row>, AuthError> {
    let user = auth.user(&r.user).ok_or(AuthError::UserNotFound)?;
    // The role `root` can be had without ever being made.
    if r.role != ROOT && !auth.roles.contains_key(&r.role) {
        return Err(AuthError::RoleNotFound);
    }
    if has_role(user, &r.role) {
        return Ok(Vec::new());
    }
    let roles = &mut auth.account(&r.user)?.user.roles;
    roles.push(r.role.clone());
    roles.sort_unstable();
    Ok(auth.user_changed(&r.user))
}

fn user_revoke_role(auth: &mut Auth, r: &pb::AuthUserRevokeRoleRequest) -> Result<Vec<Row>, AuthError> {
    if auth.enabled && r.name == ROOT && r.role == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    let user = &mut auth.account(&r.name)?.user;
    if !has_role(user, &r.role) {
        return Err(AuthError::RoleNotGranted);
    }
    user.roles.retain(|role| *role != r.role);
    Ok(auth.user_changed(&r.name))
}

fn role_add(auth: &mut Auth, r: &pb::AuthRoleAddRequest) -> Result<Vec<Row>, AuthError> {
    if r.name.is_empty() {
        return Err(AuthError::RoleEmpty);
    }
    if auth.roles.contains_key(&r.name) {
        return Err(AuthError::RoleExists);
    }
    let role = authpb::Role {
        name: r.name.clone().into(),
        key_permission: Vec::new(),
    };
    auth.roles.insert(r.name.clone(), role);
    Ok(auth.role_changed(&r.name))
}

fn role_delete(auth: &mut Auth, r: &pb::AuthRoleDeleteRequest) -> Result<Vec<Row>, AuthError> {
    if auth.enabled && r.role == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    auth.roles.remove(&r.role).ok_or(AuthError::RoleNotFound)?;
    let mut rows = vec![role_row(&r.role, None)];
    for (name, account) in &mut auth.users {
        if has_role(&account.user, &r.role) {
            account.user.roles.retain(|role| *role != r.role);
            rows.push(user_row(name, Some(&account.user)));
        }
    }
    auth.merge(None);
    rows.push(auth.next_revision());
    Ok(rows)
}

fn role_grant_permission(auth: &mut Auth, r: &pb::AuthRoleGrantPermissionRequest) -> Result<Vec<Row>, AuthError> {
    let granted = r.perm.as_ref().ok_or(AuthError::PermissionNotGiven)?;
    if !is_sensible(&granted.key, &granted.range_end) {
        return Err(AuthError::InvalidManagement);
    }
    let role = auth.roles.get_mut(&r.name).ok_or(AuthError::RoleNotFound)?;
    let permissions = &mut role.key_permission;
    // As in etcd, only the first permission on a key can be changed; one on another range of it is added.
    let at = permissions.partition_point(|p| p.key < granted.key);
    match permissions.get_mut(at) {
        Some(p) if p.key == granted.key && p.range_end == granted.range_end => p.perm_type = granted.perm_type,
        _ => {
            permissions.push(granted.clone());
            permissions.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }
    Ok(auth.role_changed(&r.name))
}

fn role_revoke_permission(auth: &mut Auth, r: &pb::AuthRoleRevokePermissionRequest) -> Result<Vec<Row>, AuthError> {
    let role = auth.roles.get_mut(&r.role).ok_or(AuthError::RoleNotFound)?;
    let before = role.key_permission.len();
    role.key_permission
        .retain(|p| p.key != r.key || p.range_end != r.range_end);
    if role.key_permission.len() == before {
        return Err(AuthError::PermissionNotGranted);
    }
    Ok(auth.role_changed(&r.role))
}
