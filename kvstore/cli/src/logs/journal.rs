//! systemd's journal, by its datagram socket.

use crate::fail::io_text;
use crate::notice::Level;
use std::os::unix::net::UnixDatagram;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest line sent, bytes: a datagram has its limit, and a cut line is better than none.
const LINE_BYTES_MAX: usize = 64 << 10;

pub struct Journal(UnixDatagram);

impl Journal {
    pub fn open() -> Result<Journal, String> {
        let open = || {
            let socket = UnixDatagram::unbound()?;
            socket.connect(SOCKET)?;
            // A journal that is stuck must not stop the store.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let opened: std::io::Result<UnixDatagram> = open();
        opened
            .map(Journal)
            .map_err(|e| format!("dial unixgram {SOCKET}: connect: {}", io_text(&e)))
    }

    pub fn write(&self, level: Level, line: &str) -> std::io::Result<()> {
        let priority = match level {
            Level::Debug => 7,
            Level::Info => 6,
            Level::Warn => 4,
            Level::Error => 3,
            Level::Panic | Level::Fatal => 2,
        };
        let line = line.trim_end();
        let mut end = line.len().min(LINE_BYTES_MAX);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let line = line.get(..end).unwrap_or_default();
        let record = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=etcd\nMESSAGE={line}\n");
        self.0.send(record.as_bytes()).map(drop)
    }
}
