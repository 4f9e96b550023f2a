//! A connection that opens is success.
use super::Outcome;
use std::time::Duration;
use tokio::net::TcpStream;

pub async fn run(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(e)) => Outcome::Failure(format!("dial tcp {host}:{port}: {e}")),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn open_and_closed() {
        let l = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = l.local_addr().unwrap().port();
        assert_eq!(run("127.0.0.1", port, Duration::from_secs(5)).await, Outcome::Success);
        drop(l);
        assert!(matches!(
            run("127.0.0.1", port, Duration::from_secs(5)).await,
            Outcome::Failure(_)
        ));
    }
}
