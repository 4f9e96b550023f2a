//! Why the auth store refuses; the same on every member.

/// One gRPC status each (mapped in the server).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("root user does not exist")]
    RootUserNotFound,
    #[error("root user does not have root role")]
    RootRoleNotFound,
    #[error("user name already exists")]
    UserExists,
    #[error("user name is empty")]
    UserEmpty,
    #[error("user name not found")]
    UserNotFound,
    #[error("role name already exists")]
    RoleExists,
    #[error("role name not found")]
    RoleNotFound,
    #[error("role name is empty")]
    RoleEmpty,
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    /// A password for a user that has none, or a hash that cannot be read.
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    #[error("permission not given")]
    PermissionNotGiven,
    #[error("permission denied")]
    PermissionDenied,
    #[error("role is not granted to the user")]
    RoleNotGranted,
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    #[error("authentication is not enabled")]
    NotEnabled,
    #[error("invalid auth management")]
    InvalidManagement,
    /// Something about users or roles has changed since the caller was identified.
    #[error("revision of auth store is old")]
    OldRevision,
}
