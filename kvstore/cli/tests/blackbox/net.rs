//! A network of its own for each cluster: the same ports everywhere, so that ids, which are computed from addresses,
//! are equal on both sides, and nothing can collide with another test or with the machine.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A network namespace with nothing but loopback. It ends with the last process in it and the last clone of this.
#[derive(Clone)]
pub struct Net {
    namespace: Arc<File>,
    /// Mounts that nobody else sees; they go with the last process too.
    mounts: Option<Arc<File>>,
}

impl Net {
    pub fn new() -> Net {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace (root is needed)");
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("run ip");
            assert!(up.success(), "ip link set lo up");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Net {
            namespace: Arc::new(made.join().unwrap()),
            mounts: None,
        }
    }

    /// The same network, and from now on mounts of its own.
    pub fn with_mounts(self) -> Net {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace (root is needed)");
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts private");
            File::open("/proc/thread-self/ns/mnt").unwrap()
        });
        Net {
            mounts: Some(Arc::new(made.join().unwrap())),
            ..self
        }
    }

    /// Runs `work` inside, on a thread of its own: processes and sockets that it starts belong to the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inner = scope.spawn(|| {
                setns(&*self.namespace, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
                if let Some(mounts) = &self.mounts {
                    unshare(CloneFlags::CLONE_FS).expect("a root of the thread's own");
                    setns(&**mounts, CloneFlags::CLONE_NEWNS).expect("enter the mount namespace");
                }
                work()
            });
            match inner.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    pub fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.inside(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
    }

    /// One request over HTTP/1.1 on a connection of its own.
    pub fn http(&self, port: u16, method: &str, path: &str, body: &str) -> std::io::Result<HttpAnswer> {
        let mut stream = self.connect(port)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut all = Vec::new();
        // A server may close with a reset once it has answered: what came before counts.
        let read = stream.read_to_end(&mut all);
        if all.is_empty() {
            read?;
        }
        let text = String::from_utf8_lossy(&all).into_owned();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let field = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let chunked = field("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        Ok(HttpAnswer {
            status: head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0),
            kind: field("content-type").unwrap_or_default(),
            body: if chunked { unchunk(rest) } else { rest.to_owned() },
        })
    }
}

pub struct HttpAnswer {
    pub status: u16,
    /// The media type.
    pub kind: String,
    pub body: String,
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let Some(chunk) = usize::from_str_radix(size.trim(), 16).ok().and_then(|n| tail.get(..n)) else {
            break;
        };
        if chunk.is_empty() {
            break;
        }
        body.push_str(chunk);
        rest = tail[chunk.len()..].trim_start_matches("\r\n");
    }
    body
}
