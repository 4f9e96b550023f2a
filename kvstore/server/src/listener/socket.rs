//! Where connections come from: TCP ports and unix sockets, and one stream type over both, with TLS or without.

use crate::{ClientListener, Error, ListenAddr};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Opens a port; an address in TIME_WAIT is no obstacle, and with `reuse_port` neither is another listener like it.
pub fn listen_tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A port that is open but not served yet.
pub struct Bound {
    listener: Listener,
    pub wanted: ClientListener,
}

enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// The name of a unix socket; it goes with its listener, unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "remove the unix socket");
        }
    }
}

impl Bound {
    /// Opens the port, so that one in use is told before anything else starts.
    pub async fn open(wanted: ClientListener) -> Result<Bound, Error> {
        let failed = |place: String, e: io::Error| Error::Start(format!("listen on {place}: {e}"));
        let listener = match &wanted.addr {
            ListenAddr::Tcp(addr) => {
                let listener = listen_tcp(*addr, wanted.reuse_port).map_err(|e| failed(addr.to_string(), e))?;
                let bound = listener.local_addr().map_err(|e| failed(addr.to_string(), e))?;
                Listener::Tcp(listener, bound)
            }
            ListenAddr::Unix(path) => bind_unix(path)
                .await
                .map_err(|e| failed(path.display().to_string(), e))?,
        };
        Ok(Bound { listener, wanted })
    }

    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(_, addr) => Some(*addr),
            Listener::Unix(..) => None,
        }
    }

    /// The address as log lines tell it.
    pub fn place(&self) -> String {
        match &self.listener {
            Listener::Tcp(_, addr) => addr.to_string(),
            Listener::Unix(_, file) => file.path.display().to_string(),
        }
    }

    /// The URL that clients use, in etcd's schemes.
    pub fn url(&self) -> String {
        let scheme = match (&self.listener, self.wanted.tls.is_some()) {
            (Listener::Tcp(..), false) => "http",
            (Listener::Tcp(..), true) => "https",
            (Listener::Unix(..), false) => "unix",
            (Listener::Unix(..), true) => "unixs",
        };
        format!("{scheme}://{}", self.place())
    }

    /// The next connection and its address in words.
    pub async fn accept(&self) -> io::Result<(Socket, String)> {
        match &self.listener {
            Listener::Tcp(listener, _) => {
                let (socket, peer) = listener.accept().await?;
                // Small answers are not to wait for more.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "set TCP_NODELAY");
                }
                Ok((Socket::Tcp(socket), peer.to_string()))
            }
            // Its peers have no address.
            Listener::Unix(listener, _) => listener.accept().await.map(|(s, _)| (Socket::Unix(s), "@".to_owned())),
        }
    }
}

/// Replaces a socket that nobody listens on any more. A live one is in use, and a file of another kind is not ours.
async fn bind_unix(path: &Path) -> io::Result<Listener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket is in its place",
            ));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(e) => return Err(e),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    let file = SocketFile {
        path: path.to_owned(),
        inode,
    };
    Ok(Listener::Unix(listener, file))
}

/// A connection before TLS.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Where the other end is; a unix socket has no address.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Socket::Tcp(socket) => socket.peer_addr().ok().map(|addr| addr.ip()),
            Socket::Unix(_) => None,
        }
    }
}

/// A connection as HTTP sees it.
pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

macro_rules! delegate_io {
    ($name:ident: $($variant:ident),*) => {
        impl AsyncRead for $name {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($name::$variant(io) => Pin::new(io).poll_read(cx, buf),)* }
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($name::$variant(io) => Pin::new(io).poll_write(cx, buf),)* }
            }
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($name::$variant(io) => Pin::new(io).poll_write_vectored(cx, bufs),)* }
            }
            fn is_write_vectored(&self) -> bool {
                match self { $($name::$variant(io) => io.is_write_vectored(),)* }
            }
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($name::$variant(io) => Pin::new(io).poll_flush(cx),)* }
            }
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($name::$variant(io) => Pin::new(io).poll_shutdown(cx),)* }
            }
        }
    };
}

delegate_io!(Socket: Tcp, Unix);
delegate_io!(Stream: Plain, Tls);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(path: &Path) -> ClientListener {
        ClientListener {
            addr: ListenAddr::Unix(path.to_owned()),
            tls: None,
            serves: crate::Serves::All,
            reuse_port: false,
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // Left by a process that was killed: the name stays, nobody listens.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = Bound::open(wanted(&path)).await.unwrap();
        assert_eq!(bound.url(), format!("unix://{}", path.display()));
        let second = Bound::open(wanted(&path)).await.err().unwrap().to_string();
        assert!(second.contains("in use"), "{second}");
        drop(bound);
        assert!(!path.exists(), "the name goes with the listener");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(Bound::open(wanted(&path)).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    }
}
