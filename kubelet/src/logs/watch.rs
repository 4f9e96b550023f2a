//! Tells when a log's directory or file changes, by inotify.
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Room for a burst of events; what they say is not looked at.
const EVENT_BYTES: usize = 4096;

pub struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Fails where the machine has no more watches to give.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let dir = path.parent().unwrap_or(path);
        let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, dir, wanted)?;
        // SAFETY: the descriptor is owned by the AsyncFd, always the same one, and closed only when that is dropped.
        let fd = unsafe { AsyncFd::register(fd)? };
        Ok(Watch { fd })
    }

    /// Returns after a change since the last call, or since the watch was made.
    pub async fn changed(&self) -> std::io::Result<()> {
        let mut buffer = [0u8; EVENT_BYTES];
        let mut seen = false;
        loop {
            let mut guard = self.fd.readable().await?;
            loop {
                match rustix::io::read(guard.get_inner(), &mut buffer) {
                    Ok(n) if n > 0 => seen = true,
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => {
                        guard.clear_ready();
                        break;
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            if seen {
                return Ok(());
            }
        }
    }
}
