//! What the agent can fail with.

/// Errors that reach the caller of [`crate::Kubelet::start`], or that callers inside branch on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option makes no sense: a sentence for the user.
    #[error("{0}")]
    Config(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// The container runtime's answer.
    #[error("rpc error: code = {:?} desc = {}", .0.code(), .0.message())]
    Cri(Box<tonic::Status>),
    #[error(transparent)]
    Api(#[from] keelson_client::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
    /// The runtime says that there is no such thing.
    pub fn is_cri_not_found(&self) -> bool {
        matches!(self, Error::Cri(s) if s.code() == tonic::Code::NotFound)
    }
}

impl From<tonic::Status> for Error {
    fn from(s: tonic::Status) -> Self {
        Error::Cri(Box::new(s))
    }
}
