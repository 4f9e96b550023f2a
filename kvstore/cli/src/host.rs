//! What this machine is called by others: the address that its default route leaves from.

use std::net::{IpAddr, UdpSocket};

/// Nothing is ever sent there: an address of the range kept for documentation, to ask the kernel for a route.
const SOMEWHERE: &str = "192.0.2.1:9";

pub fn default_host() -> Result<IpAddr, String> {
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(SOMEWHERE)?;
        Ok(socket.local_addr()?.ip())
    };
    let found: std::io::Result<IpAddr> = ask();
    match found {
        Ok(ip) if !ip.is_unspecified() && !ip.is_loopback() => Ok(ip),
        Ok(_) => Err("could not find default host".to_owned()),
        Err(e) => Err(format!("could not find default route: {}", crate::fail::io_text(&e))),
    }
}
