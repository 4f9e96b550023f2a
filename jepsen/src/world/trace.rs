//! System calls that fail, lie or take long: strace is attached to a running member and changes what it is told.

use super::error::WorldError;
use super::member::Member;
use super::process::{LOOK, Launch, Process, Spawner};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// It attaches to every thread within this time.
const ATTACH: Duration = Duration::from_secs(10);
/// It lets go within this time.
const DETACH: Duration = Duration::from_secs(5);
const SYNCS: &str = "fsync,fdatasync";

/// What happens to `fsync` and `fdatasync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// They fail with EIO, and nothing is synced.
    Fail,
    /// They say that they have synced, and have not.
    Lie,
    /// They take this much longer.
    Slow(Duration),
}

impl SyncFault {
    fn injection(self) -> String {
        match self {
            SyncFault::Fail => format!("inject={SYNCS}:error=EIO"),
            SyncFault::Lie => format!("inject={SYNCS}:retval=0"),
            SyncFault::Slow(by) => format!("inject={SYNCS}:delay_enter={}us", by.as_micros()),
        }
    }
}

/// Attaches strace to a member that runs; it stays until [`detach`] or the member's end.
pub(super) fn attach(member: &mut Member, fault: SyncFault, spawner: &Spawner, logs: &Path) -> Result<(), WorldError> {
    detach(member);
    let Some(pid) = member.process.as_ref().map(Process::pid) else {
        return Err(member.error("is not running"));
    };
    let injection = fault.injection();
    let launch = Launch::new(Path::new("strace"), &logs.join("strace")).args([
        "-f",
        "-qq",
        "-p",
        &pid.to_string(),
        "-e",
        &format!("trace={SYNCS}"),
        "-e",
        &injection,
    ]);
    let mut tracer = spawner.start(launch)?;
    let deadline = Instant::now() + ATTACH;
    while !traced(pid.as_raw()) {
        if tracer.ended().is_some() || Instant::now() > deadline {
            return Err(member.error(format!("strace does not attach; see {}", logs.join("strace").display())));
        }
        std::thread::sleep(LOOK);
    }
    member.tracer = Some(tracer);
    Ok(())
}

/// Every thread has a tracer. A thread that ends meanwhile needs none.
fn traced(pid: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| {
        std::fs::read_to_string(task.path().join("status")).map_or(true, |status| {
            status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"))
                .is_some_and(|tracer| tracer.trim() != "0")
        })
    })
}

/// Lets strace go; the member runs on.
pub(super) fn detach(member: &mut Member) {
    if let Some(mut tracer) = member.tracer.take() {
        // On this signal it undoes what it is in the middle of. One that has ended has done so.
        let _ = tracer.signal(Signal::SIGTERM);
        tracer.wait(DETACH);
    }
}
