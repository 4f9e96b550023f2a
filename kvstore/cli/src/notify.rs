//! Tells systemd that the member serves (`Type=notify`).

use crate::logs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where systemd wants to hear it; not set by anyone else.
const VARIABLE: &str = "NOTIFY_SOCKET";

fn send(path: &str, state: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

pub fn ready() {
    logs::info("notifying init daemon").log();
    let told = std::env::var(VARIABLE).map_or(Ok(()), |path| send(&path, "READY=1"));
    match told {
        Ok(()) => logs::info("successfully notified init daemon").log(),
        Err(e) => logs::warn("failed to notify systemd for readiness")
            .with("error", e.to_string())
            .log(),
    }
}

pub fn stopping() {
    // A manager that cannot be told finds out.
    let _ = std::env::var(VARIABLE).map(|path| send(&path, "STOPPING=1"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(address: &SocketAddr, path: &str) {
        let manager = UnixDatagram::bind_addr(address).unwrap();
        send(path, "READY=1").unwrap();
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(heard.get(..length).unwrap(), b"READY=1");
    }

    #[test]
    fn the_manager_hears_it_at_a_path_and_at_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        check(&SocketAddr::from_pathname(&path).unwrap(), &path.to_string_lossy());
        let name = path.to_string_lossy().replace('/', "-");
        check(&SocketAddr::from_abstract_name(&name).unwrap(), &format!("@{name}"));
        assert!(send("/nowhere/x", "READY=1").is_err());
    }
}
