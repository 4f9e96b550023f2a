//! Ctrl-C: the first one brings what goes on to an early end, the second ends the program at once.

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};

/// It was asked to come to an end.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        // SAFETY: `_exit` may be called in a signal handler. Members end with the process.
        unsafe { libc::_exit(super::ERROR.into()) }
    }
}

/// Listens to SIGINT and SIGTERM from now on.
pub(super) fn listen() -> std::io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but what may be done in one.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
