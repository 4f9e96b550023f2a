//! Sockets: UDP and TCP on one address.

use crate::answer::Resolver;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Questions answered at once over UDP; more wait in the socket's buffer.
const UDP_IN_FLIGHT_MAX: usize = 1024;
const TCP_CONNECTIONS_MAX: usize = 256;
const TCP_IDLE: Duration = Duration::from_secs(10);
const UDP_QUERY_BYTES_MAX: usize = 4096;

pub async fn bind(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(address).await?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

/// Serves until `stop`.
pub async fn serve(udp: UdpSocket, tcp: TcpListener, resolver: Arc<Resolver>, stop: CancellationToken) {
    let ends = stop.clone();
    tokio::select! {
        () = serve_udp(udp, resolver.clone()) => {}
        () = serve_tcp(tcp, resolver, stop) => {}
        () = ends.cancelled() => {}
    }
}

async fn serve_udp(socket: UdpSocket, resolver: Arc<Resolver>) {
    let socket = Arc::new(socket);
    let slots = Arc::new(Semaphore::new(UDP_IN_FLIGHT_MAX));
    let mut buffer = vec![0; UDP_QUERY_BYTES_MAX];
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        // An error here is of an earlier answer that nobody took (ICMP), not of the socket.
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let query = buffer[..n].to_vec();
        let (socket, resolver) = (socket.clone(), resolver.clone());
        tokio::spawn(async move {
            let _slot = slot;
            if let Some(answer) = resolver.answer(&query, false).await {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((s, _)) => s,
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "take a DNS connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (resolver, stop) = (resolver.clone(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                _ = converse(stream, &resolver) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn converse(mut stream: TcpStream, resolver: &Resolver) -> std::io::Result<()> {
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await?;
            Ok::<_, std::io::Error>(query)
        };
        let Ok(query) = tokio::time::timeout(TCP_IDLE, read).await else {
            return Ok(());
        };
        let Some(answer) = resolver.answer(&query?, true).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream
            .write_all(&[length.to_be_bytes().as_slice(), &answer].concat())
            .await?;
    }
}
