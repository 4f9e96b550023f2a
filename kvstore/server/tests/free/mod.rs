//! Ports for servers that tests start.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports that are handed out: below those that the kernel gives to connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Between the beginnings of processes that follow each other.
const STRIDE: u32 = 97;

/// A port that nobody has and that no connection is given: one of the kernel's choice could be taken again before it is
/// used. Each process begins elsewhere, and hands each port out once.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id().wrapping_mul(STRIDE) % u32::from(COUNT)).unwrap();
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
