//! Finding the other members of a new cluster, when `initial-cluster` is not written down: from DNS ([`srv`]) or from
//! a store that is there already ([`store`]). Both come to what `initial-cluster` would have said.

pub mod srv;
pub mod store;

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("error querying DNS SRV records for _{service} {reason}")]
    Dns { service: String, reason: String },
    #[error("bootstrap at {found} from DNS for {service} has scheme mismatch with expected peer {expected}")]
    SchemeMismatch {
        found: String,
        service: String,
        expected: String,
    },
    #[error("discovery: no endpoint was given")]
    NoEndpoint,
    #[error("discovery: {0}")]
    Endpoint(String),
    #[error("discovery: size key is bad")]
    BadSize,
    #[error("discovery: size key not found")]
    SizeNotFound,
    #[error("discovery: cluster is full")]
    Full,
    #[error("discovery: invalid peer URL")]
    InvalidUrl,
    #[error("discovery: too many retries")]
    TooManyRetries,
}
