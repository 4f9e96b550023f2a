//! Peer links that can be slow or stuck: in each member's namespace what it sends to a peer's port is redirected to a
//! proxy of the runner's, which hands the bytes on when it is time. Order is kept, as TCP keeps it.

use super::command::run;
use super::error::{Doing, WorldError};
use super::http::PEER_PORT;
use super::network::{Namespace, address};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use rand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// The proxy of the link to node N listens at this port plus N.
const PORT_BASE: u16 = 23_800;
/// Packets with this mark are the proxies' own, and are not redirected.
const MARK: u32 = 0x6b;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that are on their way in one direction of a connection at most: more are not read from the sender.
const PIECES_MAX: usize = 1024;
/// How long a proxy tries to reach a peer.
const CONNECT: Duration = Duration::from_secs(5);

/// How bytes travel in one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    pub delay: Duration,
    /// Up to this much is added, drawn for each piece.
    pub jitter: Duration,
    /// Nothing arrives until this is taken away; then all of it does.
    pub stuck: bool,
}

type Paces = BTreeMap<(usize, usize), watch::Sender<Pace>>;

/// The proxies of all links. They end when this goes.
#[derive(Debug)]
pub(super) struct Links {
    paces: Arc<Paces>,
    proxies: Vec<Proxy>,
}

#[derive(Debug)]
struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    /// Starts a proxy for every pair of members; before the members are started.
    pub(super) fn make(nodes: &[(usize, Namespace)]) -> Result<Links, WorldError> {
        let numbers: Vec<usize> = nodes.iter().map(|(n, _)| *n).collect();
        let mut paces = Paces::new();
        for &from in &numbers {
            for &to in numbers.iter().filter(|&&to| to != from) {
                paces.insert((from, to), watch::channel(Pace::default()).0);
            }
        }
        let mut links = Links {
            paces: Arc::new(paces),
            proxies: Vec::new(),
        };
        for (from, namespace) in nodes {
            let peers: Vec<usize> = numbers.iter().copied().filter(|to| to != from).collect();
            let table = redirects(&peers);
            namespace.inside(|| run("nft", &["-f", "-"], &table))??;
            links
                .proxies
                .push(Proxy::start(*from, peers, namespace.clone(), links.paces.clone())?);
        }
        Ok(links)
    }

    /// Sets how bytes travel from one member to another.
    pub(super) fn set(&self, from: usize, to: usize, pace: Pace) {
        if let Some(sender) = self.paces.get(&(from, to)) {
            sender.send_replace(pace);
        }
    }

    pub(super) fn clear(&self) {
        for sender in self.paces.values() {
            sender.send_replace(Pace::default());
        }
    }
}

fn redirects(peers: &[usize]) -> String {
    let mut rules = String::new();
    for &to in peers {
        // Writing to a string does not fail.
        let _ = writeln!(
            rules,
            "    ip daddr {} tcp dport {PEER_PORT} meta mark != {MARK} redirect to :{}",
            address(to),
            port(to)
        );
    }
    format!("table inet links {{\n  chain out {{\n    type nat hook output priority -100\n{rules}  }}\n}}\n")
}

fn port(to: usize) -> u16 {
    // Nodes are few.
    PORT_BASE + u16::try_from(to).unwrap_or_default()
}

impl Proxy {
    fn start(from: usize, peers: Vec<usize>, namespace: Namespace, paces: Arc<Paces>) -> Result<Proxy, WorldError> {
        let (stop, stopped) = oneshot::channel();
        let (ready, wait) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("links-{from}"))
            .spawn(move || {
                let inside = || -> std::io::Result<_> {
                    setns(&*namespace.file(), CloneFlags::CLONE_NEWNET)?;
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    let listeners = runtime.block_on(listen(&peers))?;
                    Ok((runtime, listeners))
                };
                let (runtime, listeners) = match inside() {
                    Ok(made) => made,
                    Err(e) => {
                        // Whoever waits for it is there, or has given up.
                        let _ = ready.send(Err(e));
                        return;
                    }
                };
                let _ = ready.send(Ok(()));
                runtime.block_on(async move {
                    for (to, listener) in listeners {
                        tokio::spawn(serve(listener, from, to, paces.clone()));
                    }
                    // Both a word and the end of whoever could say it.
                    let _ = stopped.await;
                });
            })
            .doing(|| "start a thread".to_owned())?;
        let proxy = Proxy {
            stop: Some(stop),
            thread: Some(thread),
        };
        match wait.recv() {
            Ok(result) => result.doing(|| format!("start the proxies of member {from}"))?,
            Err(_) => return Err(WorldError::Unavailable(format!("the proxies of member {from} ended"))),
        }
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It panicked: there is nothing left to end.
            let _ = thread.join();
        }
    }
}

async fn listen(peers: &[usize]) -> std::io::Result<Vec<(usize, TcpListener)>> {
    let mut all = Vec::new();
    for &to in peers {
        all.push((to, TcpListener::bind((Ipv4Addr::LOCALHOST, port(to))).await?));
    }
    Ok(all)
}

async fn serve(listener: TcpListener, from: usize, to: usize, paces: Arc<Paces>) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                let (there, back) = (paces.get(&(from, to)), paces.get(&(to, from)));
                if let (Some(there), Some(back)) = (there, back) {
                    tokio::spawn(carry(near, to, there.subscribe(), back.subscribe()));
                }
            }
            // Too many open files, or a connection that was given up meanwhile.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection. When the peer cannot be reached it is closed, which is what the sender sees of it.
async fn carry(near: TcpStream, to: usize, there: watch::Receiver<Pace>, back: watch::Receiver<Pace>) {
    let Ok(Ok(far)) = tokio::time::timeout(CONNECT, reach(to)).await else {
        return;
    };
    // Without it small messages wait for more.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    // Either end that breaks takes the other with it.
    tokio::select! {
        () = pump(near_in, far_out, there) => {}
        () = pump(far_in, near_out, back) => {}
    }
}

async fn reach(to: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    let address: SocketAddr = format!("{}:{PEER_PORT}", address(to))
        .parse()
        .map_err(std::io::Error::other)?;
    socket.connect(address).await
}

/// Carries bytes in one direction until either end closes.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pace: watch::Receiver<Pace>) {
    let (send, mut queue) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let mut writer_pace = pace.clone();
    let reader = async move {
        let mut piece = vec![0; PIECE_BYTES];
        let mut latest = Instant::now();
        while let Ok(n @ 1..) = from.read(&mut piece).await {
            let now = *pace.borrow();
            let jitter = now.jitter.mul_f64(rand::rng().random());
            // One that was sent later does not arrive sooner.
            latest = latest.max(Instant::now() + now.delay + jitter);
            if send.send((latest, piece[..n].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writer = async move {
        while let Some((due, bytes)) = queue.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            // The sender of paces ends with the proxy.
            if writer_pace.wait_for(|p| !p.stuck).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reader, writer);
}
