//! The one place where causes become gRPC statuses, with etcd's codes and words (`rpctypes/error.go`).

use keelson_mvcc::{Error as Refusal, ReadError, StorageError};
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
pub fn stopped() -> Status {
    etcd(Code::Unavailable, "server stopped")
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
        Refusal::Malformed => etcd(Code::InvalidArgument, &error.to_string()),
        Refusal::Storage => etcd(Code::Internal, &error.to_string()),
    }
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
        RaftError::NotLeader { .. } => etcd(Code::Unavailable, "leader changed"),
        RaftError::Unavailable => etcd(Code::Unavailable, "no leader"),
        RaftError::TooManyPending => etcd(Code::ResourceExhausted, "too many requests"),
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
