//! Cluster DNS over the API: Services, headless Services, pods, ExternalName, SRV and PTR; other names go upstream
//! (reference: the Kubernetes DNS-based service discovery specification, version 1.1).
//!
//! What it is not: no cache of other names, no zone files, no DNSSEC.
//!
//! Invariants: the first answer is given only after Services and EndpointSlices were read whole; nothing is held
//! beside the informers' copies.
//!
//! Entry points: [`Options`], [`run`]. It keeps nothing: a crash loses no state.

mod answer;
mod forward;
mod index;
mod names;
mod options;
mod server;
#[cfg(test)]
mod tests;

pub use options::Options;

use answer::Resolver;
use forward::Forwarder;
use hickory_proto::rr::Name;
use index::{BY_ADDRESS, BY_CLUSTER_IP, BY_NAMESPACE, BY_SERVICE, Index};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::{Api, Client, Informer, ListParams};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What ends the server before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("--cluster-domain {0:?} is not a domain name")]
    Domain(String),
    #[error("the sockets were closed")]
    Closed,
}

/// Answers on UDP and TCP until `stop`.
pub async fn run(options: Options, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let (udp, tcp) = server::bind(options.listen)
        .await
        .map_err(|e| Error::Listen(options.listen, e))?;
    let Some(resolver) = resolver(&options, client, &stop).await? else {
        return Ok(());
    };
    server::serve(udp, tcp, Arc::new(resolver), stop.clone()).await;
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(Error::Closed)
    }
}

/// Watches what answers are made of; `None` when stopped before it was read whole.
async fn resolver(options: &Options, client: Client, stop: &CancellationToken) -> Result<Option<Resolver>, Error> {
    let domain = format!("{}.", options.cluster_domain.trim_end_matches('.').to_lowercase());
    let domain = Name::from_ascii(&domain).map_err(|_| Error::Domain(options.cluster_domain.clone()))?;
    let services = Informer::<Service>::new(Api::all(client.clone()), ListParams::default())
        .with_index(BY_NAMESPACE, |s| s.metadata.namespace.iter().cloned().collect())
        .with_index(BY_CLUSTER_IP, |s| {
            index::cluster_ips(s).iter().map(ToString::to_string).collect()
        })
        .run(stop.clone());
    let slices = Informer::<EndpointSlice>::new(Api::all(client), ListParams::default())
        .with_index(BY_SERVICE, |s| index::service_of(s).into_iter().collect())
        .with_index(BY_ADDRESS, |s| {
            s.endpoints.iter().flat_map(|e| e.addresses.iter().cloned()).collect()
        })
        .run(stop.clone());
    tokio::select! {
        _ = async { tokio::join!(services.wait_synced(), slices.wait_synced()) } => {}
        () = stop.cancelled() => return Ok(None),
    }
    let index = Index {
        services: services.store(),
        slices: slices.store(),
        domain,
    };
    let forwarder = Forwarder::new(options.resolv_conf.clone(), options.listen.ip());
    Ok(Some(Resolver { index, forwarder }))
}
