//! The one place where causes become gRPC statuses, with etcd's codes and words (`rpctypes/error.go`).

use keelson_mvcc::{AuthError, Error as Refusal, ReadError, StorageError};
use keelson_raft::Error as RaftError;
use tonic::{Code, Status};

fn etcd(code: Code, message: &str) -> Status {
    Status::new(code, format!("etcdserver: {message}"))
}

pub fn empty_key() -> Status {
    etcd(Code::InvalidArgument, "key is not provided")
}
pub fn key_not_found() -> Status {
    etcd(Code::InvalidArgument, "key not found")
}
pub fn value_provided() -> Status {
    etcd(Code::InvalidArgument, "value is provided")
}
pub fn lease_provided() -> Status {
    etcd(Code::InvalidArgument, "lease is provided")
}
pub fn too_many_ops() -> Status {
    etcd(Code::InvalidArgument, "too many operations in txn request")
}
pub fn duplicate_key() -> Status {
    etcd(Code::InvalidArgument, "duplicate key given in txn request")
}
pub fn invalid_sort_option() -> Status {
    etcd(Code::InvalidArgument, "invalid sort option")
}
pub fn request_too_large() -> Status {
    etcd(Code::InvalidArgument, "request is too large")
}
pub fn no_space() -> Status {
    etcd(Code::ResourceExhausted, "mvcc: database space exceeded")
}
pub fn not_for_learners() -> Status {
    etcd(Code::FailedPrecondition, "rpc not supported for learner")
}
pub fn too_many_requests() -> Status {
    etcd(Code::ResourceExhausted, "too many requests")
}
pub fn stopped() -> Status {
    etcd(Code::Unavailable, "server stopped")
}
pub fn no_leader() -> Status {
    etcd(Code::Unavailable, "no leader")
}
pub fn not_leader() -> Status {
    etcd(Code::FailedPrecondition, "not leader")
}
pub fn timed_out() -> Status {
    etcd(Code::Unavailable, "request timed out")
}
pub fn timed_out_applying() -> Status {
    etcd(
        Code::Unavailable,
        "request timed out, waiting for the applied index took too long",
    )
}
pub fn invalid_client_version() -> Status {
    etcd(Code::InvalidArgument, "invalid client api version")
}
pub fn bad_member_urls() -> Status {
    etcd(Code::InvalidArgument, "given member URLs are invalid")
}
pub fn member_not_found() -> Status {
    etcd(Code::NotFound, "member not found")
}
pub fn member_exists() -> Status {
    etcd(Code::FailedPrecondition, "member ID already exist")
}
pub fn peer_url_exists() -> Status {
    etcd(Code::FailedPrecondition, "Peer URLs already exists")
}
pub fn too_many_learners() -> Status {
    etcd(Code::FailedPrecondition, "too many learner members in cluster")
}
pub fn not_learner() -> Status {
    etcd(Code::FailedPrecondition, "can only promote a learner member")
}
pub fn learner_not_ready() -> Status {
    etcd(
        Code::FailedPrecondition,
        "can only promote a learner member which is in sync with leader",
    )
}
pub fn unhealthy() -> Status {
    etcd(Code::Unavailable, "unhealthy cluster")
}
/// etcd forgets this one's code on the way out.
pub fn not_enough_started() -> Status {
    etcd(
        Code::Unknown,
        "re-configuration failed due to not enough started members",
    )
}
pub fn bad_transferee() -> Status {
    etcd(Code::FailedPrecondition, "bad leader transferee")
}
pub fn bad_downgrade_format() -> Status {
    etcd(Code::InvalidArgument, "wrong downgrade target version format")
}
pub fn bad_downgrade_target() -> Status {
    etcd(Code::InvalidArgument, "invalid downgrade target version")
}
pub fn downgrade_in_progress() -> Status {
    etcd(Code::FailedPrecondition, "cluster has a downgrade job in progress")
}
pub fn no_cluster_version() -> Status {
    etcd(Code::FailedPrecondition, "cluster version not found during downgrade")
}
pub fn unknown_method() -> Status {
    etcd(Code::Unknown, "unknown method")
}

/// What etcd has and this server does not yet.
pub fn not_implemented(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: {what} is not implemented"))
}

pub fn refused(error: Refusal) -> Status {
    match error {
        Refusal::Compacted | Refusal::FutureRevision | Refusal::LeaseTtlTooLarge => {
            etcd(Code::OutOfRange, &error.to_string())
        }
        Refusal::NoSpace => no_space(),
        Refusal::Corrupt => etcd(Code::DataLoss, &error.to_string()),
        Refusal::KeyNotFound => key_not_found(),
        Refusal::LeaseNotFound => etcd(Code::NotFound, &error.to_string()),
        Refusal::LeaseExists => etcd(Code::FailedPrecondition, &error.to_string()),
        Refusal::Auth(error) => auth(error),
        Refusal::Malformed => etcd(Code::InvalidArgument, &error.to_string()),
        Refusal::Storage => etcd(Code::Internal, &error.to_string()),
    }
}

pub fn auth(error: AuthError) -> Status {
    let code = match error {
        AuthError::RootUserNotFound
        | AuthError::RootRoleNotFound
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::Failed
        | AuthError::PermissionNotGiven
        | AuthError::InvalidManagement
        | AuthError::OldRevision => Code::InvalidArgument,
        AuthError::PermissionDenied => Code::PermissionDenied,
        // etcd has no status for it, and lets its own error through.
        AuthError::NoPasswordUser => return Status::unknown(format!("auth: {error}")),
    };
    etcd(code, &error.to_string())
}

/// The log answers a command with its own kind; anything else is a mistake of this program.
pub fn unexpected_reply() -> Status {
    Status::internal("etcdserver: the answer is of another kind than the request")
}

pub fn storage(error: &StorageError) -> Status {
    tracing::error!(%error, "reading the store failed");
    etcd(Code::Internal, "storage failed")
}

pub fn read(error: ReadError) -> Status {
    match error {
        ReadError::Refused(error) => refused(error),
        ReadError::Storage(error) => storage(&error),
    }
}

pub fn raft(error: &RaftError) -> Status {
    match error {
        RaftError::NotLeader { .. } | RaftError::LeaderChanged => etcd(Code::Unavailable, "leader changed"),
        RaftError::TimedOut | RaftError::LeaderLost | RaftError::TransferTimedOut => {
            etcd(Code::Unavailable, &error.to_string())
        }
        RaftError::NotMember(_) => etcd(Code::NotFound, "member not found"),
        RaftError::AlreadyMember(_) => etcd(Code::FailedPrecondition, "member ID already exist"),
        RaftError::NotLearner(_) => etcd(Code::FailedPrecondition, "can only promote a learner member"),
        RaftError::NotVoter(_) => etcd(Code::FailedPrecondition, "bad leader transferee"),
        RaftError::ChangeInProgress => etcd(Code::Unavailable, "unhealthy cluster"),
        RaftError::LastVoter => {
            Status::unknown("etcdserver: re-configuration failed due to not enough started members")
        }
        RaftError::Removed => stopped(),
        RaftError::Unavailable => etcd(Code::Unavailable, "no leader"),
        RaftError::TooManyPending => too_many_requests(),
        RaftError::TooLarge { .. } => request_too_large(),
        RaftError::Shutdown => stopped(),
        RaftError::Unsupported(what) => not_implemented(what),
        RaftError::Fatal(reason) => {
            tracing::error!(reason, "the log has failed");
            stopped()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_and_words_are_etcds() {
        let check = |status: Status, code: Code, message: &str| {
            assert_eq!((status.code(), status.message()), (code, message));
        };
        let r = |e: Refusal| refused(e);
        check(
            r(Refusal::Compacted),
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        );
        let future = "etcdserver: mvcc: required revision is a future revision";
        check(r(Refusal::FutureRevision), Code::OutOfRange, future);
        check(
            r(Refusal::NoSpace),
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        check(r(Refusal::Corrupt), Code::DataLoss, "etcdserver: corrupt cluster");
        check(
            r(Refusal::KeyNotFound),
            Code::InvalidArgument,
            "etcdserver: key not found",
        );
        check(
            r(Refusal::LeaseNotFound),
            Code::NotFound,
            "etcdserver: requested lease not found",
        );
        check(
            r(Refusal::LeaseExists),
            Code::FailedPrecondition,
            "etcdserver: lease already exists",
        );
        check(
            r(Refusal::LeaseTtlTooLarge),
            Code::OutOfRange,
            "etcdserver: too large lease TTL",
        );
        check(
            raft(&RaftError::Unavailable),
            Code::Unavailable,
            "etcdserver: no leader",
        );
        check(
            raft(&RaftError::Shutdown),
            Code::Unavailable,
            "etcdserver: server stopped",
        );
    }
}
