//! The one error of this crate.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a call can fail with. `Api` carries the server's own `metav1.Status`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.message.as_deref().unwrap_or("unknown API error"))]
    Api(Box<Status>),
    #[error("transport: {0}")]
    Transport(String),
    #[error("decode {what}: {source}")]
    Decode { what: String, source: serde_json::Error },
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// HTTP code of the server's answer; 0 when there was none.
    pub fn code(&self) -> u16 {
        match self {
            Error::Api(s) => s.code.unwrap_or(0) as u16,
            _ => 0,
        }
    }
    /// `metav1.StatusReason`, e.g. `NotFound`; empty when there was none.
    pub fn reason(&self) -> &str {
        match self {
            Error::Api(s) => s.reason.as_deref().unwrap_or(""),
            _ => "",
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }
    pub fn is_already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }
    pub fn is_gone(&self) -> bool {
        self.code() == 410
    }
    pub fn is_forbidden(&self) -> bool {
        self.code() == 403
    }
    pub fn is_invalid(&self) -> bool {
        self.reason() == "Invalid"
    }
    /// True when no answer came: the server may be down, or starting.
    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Transport(_))
    }
    /// How long the server asked to wait before the same request may be sent again.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        let Error::Api(s) = self else { return None };
        let code = s.code.unwrap_or(0);
        let seconds = s.details.as_ref()?.retry_after_seconds?;
        (code == 429 || code >= 500).then(|| std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }
}
