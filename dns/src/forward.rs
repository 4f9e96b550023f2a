//! Questions that are not the cluster's go to the servers of resolv.conf, as they came.

use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Questions under way at once; more are refused.
const IN_FLIGHT_MAX: usize = 512;
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// How often the file's time of change is looked at, when there are questions at all.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 65_535;

pub struct Forwarder {
    path: PathBuf,
    /// Our own addresses: asking ourselves would loop.
    own: IpAddr,
    servers: Mutex<Servers>,
    in_flight: Semaphore,
}

#[derive(Default)]
struct Servers {
    list: Vec<SocketAddr>,
    checked: Option<Instant>,
    modified: Option<SystemTime>,
}

fn parse(text: &str, own: IpAddr) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver"))
        .filter_map(|l| l.trim().split('%').next()?.parse::<IpAddr>().ok())
        .filter(|ip| *ip != own)
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

impl Forwarder {
    pub fn new(path: PathBuf, own: IpAddr) -> Self {
        Forwarder {
            path,
            own,
            servers: Mutex::default(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let mut s = self.servers.lock();
        if s.checked.is_none_or(|at| at.elapsed() > CHECK_EVERY) {
            s.checked = Some(Instant::now());
            let modified = std::fs::metadata(&self.path).and_then(|m| m.modified()).ok();
            if modified != s.modified || modified.is_none() {
                s.modified = modified;
                s.list = std::fs::read_to_string(&self.path)
                    .map(|t| parse(&t, self.own))
                    .unwrap_or_default();
            }
        }
        s.list.clone()
    }

    /// The answer to `query`, with its id; `None` when no server gave one in time.
    pub async fn ask(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let _permit = self.in_flight.try_acquire().ok()?;
        let asked_id = query.get(..2)?.to_owned();
        // An id of our own and a port of the kernel's choice: an answer is hard to forge.
        let mut query = query.to_owned();
        let id = rand::random::<u16>().to_be_bytes();
        query.get_mut(..2)?.copy_from_slice(&id);
        for _ in 0..ROUNDS {
            for server in self.servers() {
                let attempt = async {
                    if tcp {
                        over_tcp(server, &query).await
                    } else {
                        over_udp(server, &query).await
                    }
                };
                let Ok(Ok(mut answer)) = tokio::time::timeout(TRY_TIMEOUT, attempt).await else {
                    continue;
                };
                if answer.get(..2) == Some(id.as_slice()) {
                    answer.get_mut(..2)?.copy_from_slice(&asked_id);
                    return Some(answer);
                }
            }
        }
        None
    }
}

async fn over_udp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel drops what comes from elsewhere.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if buffer.get(..2) == query.get(..2) {
            buffer.truncate(n);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream
        .write_all(&[length.to_be_bytes().as_slice(), query].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_servers_and_never_ourselves() {
        let text = "# a comment\nsearch x\nnameserver 192.0.2.1\n nameserver 10.244.0.2\nnameserver fe80::1%eth0\nnameserver nonsense\n";
        let found = parse(text, [10, 244, 0, 2].into());
        assert_eq!(
            found,
            ["192.0.2.1:53".parse(), "[fe80::1]:53".parse()].map(|a| a.unwrap_or_else(|_| panic!("an address")))
        );
    }
}
