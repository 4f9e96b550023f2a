//! SIGTERM and SIGINT: the first asks for a clean end, the second ends at once.

use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::signal::unix::{SignalKind, signal as listen};

pub struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    pub fn new() -> Result<Signals, String> {
        let failed = |e: std::io::Error| format!("listen to signals: {e}");
        Ok(Signals {
            term: listen(SignalKind::terminate()).map_err(failed)?,
            int: listen(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::SIGTERM,
            _ = self.int.recv() => Signal::SIGINT,
        }
    }
}

pub fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::SIGINT => "interrupt",
        _ => "terminated",
    }
}

/// Ends the process as the signal itself would have, as etcd does: whoever waits for it sees what it died of. The first
/// process of a container cannot be killed so, and exits with 0.
pub fn die_of(by: Signal) -> std::process::ExitCode {
    if std::process::id() != 1 {
        // SAFETY: the default action is no handler that could run anything.
        let reset = unsafe { signal(by, SigHandler::SigDfl) };
        if reset.is_ok() {
            let _ = raise(by);
        }
    }
    std::process::ExitCode::SUCCESS
}
