//! Long-lived requests that end at a kubelet or a pod: logs, exec, attach, port-forward, proxy.
//!
//! What it is: a way from an authorized request to one connection of its own (to a kubelet over mutual TLS, or to
//! a pod), over which the request goes on and bytes are copied until either side ends. What it is not: it speaks
//! neither WebSocket nor SPDY, runs no admission, and decides nothing about who may.
//!
//! Invariants: a body is never held whole, in either direction; the caller's credentials never leave the server;
//! the server's own certificate is shown to kubelets and to nothing else; an address that leads back into the
//! server's own machine (loopback, link-local) is never proxied to; a connection ends when its client ends.
//!
//! Files: `logs`, `remote` (exec, attach, port-forward), `proxy` with `target` (what a proxied name means), `node`
//! (where a kubelet listens), `container` (which container is meant), `upgrade`, `dial`, `tls`, `headers`.
//! A crash leaves nothing: clients see their connections cut.

mod body;
mod container;
mod dial;
mod headers;
mod logs;
mod node;
mod proxy;
mod remote;
mod target;
mod tls;
mod upgrade;

#[cfg(test)]
mod tests;

pub use tls::Error;

use crate::endpoints::Info;
use crate::objects::Objects;
use http::{Request, Response};
use keelson_client::Body;
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::status::ApiError;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Requests of this kind under way at once; each holds two sockets and a few tens of KiB.
const STREAMS_MAX: usize = 4096;

/// PEM files. They are read again when they change, so that rotated certificates need no restart.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shown to kubelets, and to nothing else.
    pub kubelet_client_cert: PathBuf,
    pub kubelet_client_key: PathBuf,
    /// Signs what kubelets show.
    pub kubelet_ca: PathBuf,
}

/// Serves the requests that it [`handles`](Streaming::handles).
pub struct Streaming {
    objects: Arc<dyn Objects>,
    tls: tls::Tls,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    may_dial: fn(IpAddr) -> bool,
}

/// What a request holds as long as it lasts.
struct Lease {
    _place: OwnedSemaphorePermit,
    stop: CancellationToken,
}

impl Streaming {
    /// `stop` cuts what is under way.
    pub fn new(options: &Options, objects: Arc<dyn Objects>, stop: CancellationToken) -> Result<Self, Error> {
        Ok(Streaming {
            objects,
            tls: tls::Tls::new(options.clone())?,
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop,
            may_dial: target::is_global_unicast,
        })
    }

    /// Whether the request is of the kinds that end at a kubelet or a pod.
    pub fn handles(&self, info: &Info) -> bool {
        info.is_resource
            && info.group.is_empty()
            && matches!(
                (info.resource.as_str(), info.subresource.as_str()),
                ("pods", "log" | "exec" | "attach" | "portforward") | ("pods" | "nodes" | "services", "proxy")
            )
    }

    /// Answers one authorized request. An upgrade is answered 101 and goes on in the background.
    pub async fn serve(&self, info: &Info, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let lease = self.lease()?;
        let call = Call { streaming: self, info };
        match (info.resource.as_str(), info.subresource.as_str()) {
            (_, "proxy") => proxy::serve(&call, request, lease).await,
            ("pods", "log") => logs::serve(&call, request, lease).await,
            ("pods", "exec" | "attach" | "portforward") => remote::serve(&call, request, lease).await,
            _ => Err(ApiError::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )),
        }
    }

    fn lease(&self) -> Result<Lease, ApiError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| ApiError::too_many_requests("too many requests, please try again later", 1))?;
        Ok(Lease {
            _place: place,
            stop: self.stop.clone(),
        })
    }
}

/// One request, and what it may look at.
struct Call<'a> {
    streaming: &'a Streaming,
    info: &'a Info,
}

impl Call<'_> {
    /// An object of the core group; 404 when there is none.
    async fn core(&self, plural: &'static str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let row = row("", "v1", plural)?;
        let found = self.streaming.objects.get(row, namespace, name).await?;
        found.ok_or_else(|| ApiError::not_found("", plural, name))
    }

    async fn pod(&self, name: &str) -> Result<Value, ApiError> {
        self.core("pods", &self.info.namespace, name).await
    }
}

fn row(group: &str, version: &str, plural: &str) -> Result<&'static Resource, ApiError> {
    resources::by_resource(group, version, plural)
        .ok_or_else(|| ApiError::internal(format!("no resource {group}/{version} {plural}")))
}

/// An error that upstream gives no reason to (metav1.StatusReasonUnknown).
fn unknown(code: u16, message: impl Into<String>) -> ApiError {
    ApiError::new(code, "", message)
}

fn unavailable(message: impl Into<String>) -> ApiError {
    ApiError::new(503, "ServiceUnavailable", message)
}
