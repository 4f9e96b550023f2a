//! What a request can end with, and whether it can be told that nothing happened.

use tonic::{Code, Status};

/// A request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The request certainly did not take effect, and never will.
    pub definite: bool,
    /// The server's code; `None` when it did not answer.
    pub code: Option<Code>,
    pub message: String,
    /// The client itself did not go on, since a guard did not hold.
    pub refused: bool,
    /// The connection is of no more use.
    pub(super) broken: bool,
}

impl Error {
    /// The guard of a transaction did not hold: it changed nothing.
    pub fn guard(message: &str) -> Error {
        Error {
            refused: true,
            broken: false,
            ..Error::not_sent(message.to_owned())
        }
    }

    /// Nothing was sent.
    pub fn not_sent(message: String) -> Error {
        Error {
            definite: true,
            code: None,
            message,
            refused: false,
            broken: true,
        }
    }

    /// No answer came in time: the request may be under way for as long as the network likes.
    pub fn timed_out(message: String) -> Error {
        Error {
            definite: false,
            code: None,
            message,
            refused: false,
            broken: true,
        }
    }

    /// A stream ended or an answer made no sense.
    pub fn protocol(message: String) -> Error {
        Error {
            definite: false,
            code: None,
            message,
            refused: false,
            broken: false,
        }
    }

    /// It was an error of a read: whatever became of it, nothing was changed.
    #[must_use]
    pub fn harmless(self) -> Error {
        Error { definite: true, ..self }
    }

    /// What a status tells.
    pub fn of(status: &Status) -> Error {
        if never_connected(status) {
            return Error::not_sent(status.message().to_owned());
        }
        let answered = status.source_is_server();
        Error {
            definite: answered && definite(status.code(), status.message()),
            code: answered.then(|| status.code()),
            message: if answered {
                format!("{:?}: {}", status.code(), status.message())
            } else {
                format!("broken: {}", super::chain(status))
            },
            refused: false,
            broken: !answered,
        }
    }

    /// What was asked for is compacted.
    pub fn is_compacted(&self) -> bool {
        self.code == Some(Code::OutOfRange) && self.message.ends_with("required revision has been compacted")
    }

    /// The lease is not there, or not there any more.
    pub fn is_lease_not_found(&self) -> bool {
        self.code == Some(Code::NotFound) && self.message.ends_with("requested lease not found")
    }
}

trait Origin {
    /// Whether it was sent by the server, rather than made by the transport here.
    fn source_is_server(&self) -> bool;
}

impl Origin for Status {
    fn source_is_server(&self) -> bool {
        std::error::Error::source(self).is_none()
    }
}

/// The channel could not make a connection for this request: it was not sent.
fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Whether the server's answer says that nothing happened and nothing will. Only what is known to be so is true.
fn definite(code: Code, message: &str) -> bool {
    match code {
        // Refused by the look at the request before it is proposed, or by the state machine as a whole: a transaction
        // checks all leases, keys and revisions before its first write.
        Code::InvalidArgument | Code::OutOfRange | Code::NotFound | Code::FailedPrecondition => true,
        // Refused by who asks, and by the method's absence: before anything else.
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => true,
        // A store without space, and a queue that is full, refuse before they propose; the state machine of a store
        // that ran out of space since then refuses the entry when it is applied. A message that is too large is not
        // even decoded. But the transport of a client has this code too, for an answer that is too large.
        Code::ResourceExhausted => {
            message.ends_with("mvcc: database space exceeded") || message.ends_with("too many requests")
        }
        // A store that knows it is corrupt applies nothing.
        Code::DataLoss => message.ends_with("corrupt cluster"),
        // Changes of members look at the cluster's health before they propose.
        Code::Unavailable => message.ends_with("unhealthy cluster"),
        // etcd has no code for these: the guard of a proclaim did not hold; a change would have lost the quorum.
        Code::Unknown => {
            message.ends_with("election: not leader")
                || message.ends_with("re-configuration failed due to not enough started members")
        }
        // `leader changed`, `request timed out`, `server stopped` and `no leader` come after the proposal was handed
        // on as well as before, and a new leader may hold it. The others tell nothing of the server.
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::Internal | Code::AlreadyExists | Code::Ok => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_definite() {
        let is = |code, message: &str| Error::of(&Status::new(code, message)).definite;
        assert!(is(
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted"
        ));
        assert!(is(Code::NotFound, "etcdserver: requested lease not found"));
        assert!(is(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"));
        assert!(!is(Code::ResourceExhausted, "message length too large"));
        assert!(is(Code::Unavailable, "etcdserver: unhealthy cluster"));
        for message in ["no leader", "leader changed", "request timed out", "server stopped"] {
            assert!(!is(Code::Unavailable, &format!("etcdserver: {message}")), "{message}");
        }
        assert!(!is(Code::Unknown, "raft proposal dropped"));
        assert!(!is(Code::Cancelled, ""));
        assert!(!is(Code::DeadlineExceeded, ""));
        assert!(!Error::timed_out("put".to_owned()).definite);
        assert!(Error::not_sent("connect".to_owned()).definite);
    }

    #[test]
    fn the_compacted_and_the_lost_are_told_apart() {
        let compacted = Error::of(&Status::out_of_range(
            "etcdserver: mvcc: required revision has been compacted",
        ));
        assert!(compacted.is_compacted() && !compacted.is_lease_not_found());
        let lost = Error::of(&Status::not_found("etcdserver: requested lease not found"));
        assert!(lost.is_lease_not_found() && !lost.is_compacted());
    }
}
