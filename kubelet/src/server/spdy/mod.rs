//! SPDY/3.1, as much of it as a client of a container runtime's streaming server needs
//! (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>).
//!
//! The servers at the other end are those of the kubelet's streaming library, in containerd and CRI-O. They
//! send nothing in reply headers, so header blocks are never inflated here; they neither grant nor honour
//! flow-control windows (a sender that waited for one would wait for ever), so TCP alone holds back. They drop
//! what arrives on a stream before they have replied to it: see [`Event::Reply`].
mod frame;
mod headers;
mod session;

pub use frame::Error;
pub use session::{Event, Reader, Writer, client};
#[cfg(test)]
pub use {frame::Frame, session::tests::FakeServer};
