//! One request to the client port of a member, by hand: health, metrics and the version are asked from threads.

use super::network::address;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The client port of every member.
pub(super) const CLIENT_PORT: u16 = 2379;
/// The peer port of every member.
pub(super) const PEER_PORT: u16 = 2380;
/// What is read of an answer at most.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The status and the body of an answer to GET.
pub(super) fn get(node: usize, path: &str, timeout: Duration) -> io::Result<(u16, String)> {
    let host = address(node);
    let to: SocketAddr = format!("{host}:{CLIENT_PORT}").parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut all = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut all);
    // A server may close with a reset once it has answered: what came before counts.
    if all.is_empty() {
        read?;
    }
    let text = String::from_utf8_lossy(&all);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    status.map_or_else(
        || Err(io::Error::new(io::ErrorKind::InvalidData, "no answer of HTTP")),
        |status| Ok((status, body.to_owned())),
    )
}

/// The value of a metric without labels.
pub(super) fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
