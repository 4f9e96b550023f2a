//! [`Transport`] over the network: TLS, HTTP/2 where the server speaks it, HTTP/1.1 where it does not and for upgrades.
//!
//! Invariants: a request is sent again only if the connection reports that it never left; a connection
//! that failed is never picked again; certificates and tokens in files are read anew, so rotation needs no restart.
mod body;
mod connect;
mod token;

use crate::config::Config;
use crate::transport::{Body, BoxError, Transport};
use crate::{Error, Result};
use async_trait::async_trait;
use body::{Guarded, Keep};
use connect::{Connected, Target};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, header};
use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Streams put on one HTTP/2 connection before a second is opened: kube-apiserver allows 100.
const STREAMS_PER_CONNECTION_MAX: usize = 90;
/// Idle HTTP/1.1 connections kept.
const IDLE_HTTP1_MAX: usize = 4;
/// Connections tried for one request that never left.
const SEND_TRIES_MAX: u32 = 3;

type H2 = http2::SendRequest<Body>;
type H1 = http1::SendRequest<Body>;

struct Shared {
    sender: H2,
    streams: Arc<AtomicUsize>,
}

/// Connects at the first request, and again when a connection is lost.
pub struct NetTransport {
    target: Target,
    token: token::Token,
    h2: Mutex<Vec<Shared>>,
    h1: Arc<Mutex<Vec<H1>>>,
    /// Held while dialing, so that a burst of requests opens one connection and not one each.
    dialing: tokio::sync::Mutex<()>,
}

enum Lease {
    H2(H2, Keep),
    H1(H1),
}

impl NetTransport {
    pub fn new(config: Config) -> Result<Self> {
        Ok(NetTransport {
            token: token::Token::new(&config.auth)?,
            target: Target::new(config)?,
            h2: Mutex::default(),
            h1: Arc::default(),
            dialing: tokio::sync::Mutex::default(),
        })
    }

    /// A place on a live HTTP/2 connection, counted until the answer's body is gone.
    fn shared(&self) -> Option<Lease> {
        let mut all = self.h2.lock();
        all.retain(|c| !c.sender.is_closed());
        let c = all
            .iter()
            .find(|c| c.streams.load(Ordering::Relaxed) < STREAMS_PER_CONNECTION_MAX)?;
        Some(Lease::H2(c.sender.clone(), Keep::stream(&c.streams)))
    }

    async fn lease(&self) -> Result<Lease, BoxError> {
        if let Some(l) = self.shared() {
            return Ok(l);
        }
        while let Some(mut idle) = { self.h1.lock().pop() } {
            if idle.ready().await.is_ok() {
                return Ok(Lease::H1(idle));
            }
        }
        let _one = self.dialing.lock().await;
        // Another request may have connected while this one waited.
        if let Some(l) = self.shared() {
            return Ok(l);
        }
        Ok(match self.target.connect(false).await? {
            Connected::H1(s) => Lease::H1(s),
            Connected::H2(sender) => {
                let streams = Arc::new(AtomicUsize::new(0));
                let keep = Keep::stream(&streams);
                self.h2.lock().push(Shared {
                    sender: sender.clone(),
                    streams,
                });
                Lease::H2(sender, keep)
            }
        })
    }

    /// HTTP/2 carries scheme and authority in the URI, HTTP/1.1 the path alone and a `Host`.
    fn address(&self, req: &mut http::Request<Body>, http2: bool) -> Result<(), BoxError> {
        let mut parts = http::uri::Parts::default();
        let own = req.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        parts.path_and_query = Some(
            if self.target.prefix.is_empty() || own.starts_with(&self.target.prefix) {
                PathAndQuery::try_from(own)?
            } else {
                PathAndQuery::try_from(format!("{}{own}", self.target.prefix))?
            },
        );
        if http2 {
            parts.scheme = Some(Scheme::HTTPS);
            parts.authority = Some(Authority::try_from(self.target.authority.as_str())?);
            req.headers_mut().remove(header::HOST);
        } else {
            let host = HeaderValue::from_str(&self.target.authority)?;
            req.headers_mut().insert(header::HOST, host);
        }
        *req.uri_mut() = http::Uri::from_parts(parts)?;
        Ok(())
    }

    async fn upgrade(&self, mut req: http::Request<Body>) -> Result<http::Response<Body>, BoxError> {
        self.address(&mut req, false)?;
        match self.target.connect(true).await? {
            Connected::H1(mut sender) => {
                let answer = sender.send_request(req).await?;
                Ok(answer.map(|b| Guarded::boxed(b, Keep::connection(sender))))
            }
            Connected::H2(_) => Err("the server took HTTP/2 where HTTP/1.1 was asked".into()),
        }
    }
}

#[async_trait]
impl Transport for NetTransport {
    async fn send(&self, mut req: http::Request<Body>) -> Result<http::Response<Body>, BoxError> {
        if !req.headers().contains_key(header::AUTHORIZATION)
            && let Some(v) = self.token.header().await?
        {
            req.headers_mut().insert(header::AUTHORIZATION, v);
        }
        if req.headers().contains_key(header::UPGRADE) {
            return self.upgrade(req).await;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match self.lease().await? {
                Lease::H2(mut sender, keep) => {
                    self.address(&mut req, true)?;
                    match sender.try_send_request(req).await {
                        Ok(r) => return Ok(r.map(|b| Guarded::boxed(b, keep))),
                        Err(e) => e,
                    }
                }
                Lease::H1(mut sender) => {
                    self.address(&mut req, false)?;
                    match sender.try_send_request(req).await {
                        Ok(r) => {
                            let keep = Keep::idle(sender, &self.h1);
                            return Ok(r.map(|b| Guarded::boxed(b, keep)));
                        }
                        Err(e) => e,
                    }
                }
            };
            let mut failed = failed;
            match failed.take_message() {
                Some(unsent) if tries < SEND_TRIES_MAX => req = unsent,
                _ => return Err(failed.into_error().into()),
            }
        }
    }
}

fn config_error(what: &str, e: impl std::fmt::Display) -> Error {
    Error::Config(format!("{what}: {e}"))
}

#[cfg(test)]
mod tests;
