//! Services on the node, by nftables: ClusterIP, NodePort, hostPort and session affinity.
//!
//! What it is not: it runs no CNI plugin and touches no table but its own.
//!
//! Entry points: [`Options`], [`run`]. A crash leaves the rules standing; the next start replaces them whole.

mod options;

pub use options::Options;

use keelson_client::Client;
use tokio_util::sync::CancellationToken;

/// What ends the proxy before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nft: {0}")]
    Nft(String),
}

/// Keeps the node's rules in step with Services, EndpointSlices and this node's pods until `stop`.
pub async fn run(options: Options, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let _ = (options, client);
    stop.cancelled().await;
    Ok(())
}
