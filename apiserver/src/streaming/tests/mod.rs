//! The streaming requests against a kubelet of the test's own, over mutual TLS.
#![allow(clippy::unwrap_used)]

mod bed;
mod logs;
mod proxy;
mod remote;
