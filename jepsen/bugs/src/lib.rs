//! The seeded bugs: the names of the faults that the consistency tests must catch, and the switch that turns one on.
//!
//! What it is: a list of names, and under the feature `seeded` a look at the variable `KEELSON_BUG`. The crates of the
//! datastore and the apiserver ask [`on`] at the places where a bug is planted, each behind a feature `seeded-bugs` of
//! its own. What it is not: no bug lives here.
//!
//! Invariants: a program without debug assertions cannot contain a bug, since the feature does not compile there; a
//! process has at most one; a name that nobody knows ends the process, so that no run passes for want of its bug.

#[cfg(all(feature = "seeded", not(debug_assertions)))]
compile_error!("the feature `seeded` plants bugs: it is for tests, and needs debug assertions");

/// The variable that names the bug of a process.
pub const VARIABLE: &str = "KEELSON_BUG";

macro_rules! bugs {
    ($($bug:ident $name:literal $what:literal)*) => {
        /// A fault that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug),*];

            /// What `KEELSON_BUG` and `keelson-jepsen gate --bug` call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)*
                }
            }

            /// What the program does wrong, in a sentence.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Bug::$bug => $what,)*
                }
            }
        }
    };
}

bugs! {
    AckBeforeFsync "ack-before-fsync"
        "A write is acknowledged when it is in the page cache: the log is synced once in many batches."
    VoteNotPersisted "vote-not-persisted"
        "Term and vote are kept in memory only: a restarted member votes again in a term that it has voted in."
    ReadWithoutQuorum "read-without-quorum"
        "A member that takes itself for the leader answers linearizable reads without asking a quorum."
    GuardBeforeApply "guard-before-apply"
        "The guards of a transaction are judged when it is proposed, not when it is applied."
    EventLostOnCompaction "event-lost-on-compaction"
        "A watch that starts below the compacted revision goes on above it, where it should be cancelled."
    DuplicateAfterReconnect "duplicate-after-reconnect"
        "A watch that resumes is sent the revision before the one that it asked for, once more."
    TxnEventsSplit "txn-events-split"
        "The events of one transaction come in several responses."
    EarlyProgressNotify "early-progress-notify"
        "A progress notification overtakes events that the client has yet to be sent."
    CompactionOffByOne "compaction-off-by-one"
        "Compaction takes the versions that are seen at the compacted revision itself."
    RevisionRewindsAfterCrash "revision-rewinds-after-crash"
        "The revision is stored as it was before a batch: a restarted member counts some revisions twice."
    LeaseOnWallClock "lease-on-wall-clock"
        "Leases are timed by the wall clock, which may jump."
    LockWithoutLeaseCheck "lock-without-lease-check"
        "A lock that was waited for is granted without a look whether the waiter's lease still exists."
    SnapshotInstallSkipsWatchers "snapshot-install-skips-watchers"
        "Watchers of a member that is sent a snapshot are not told what it skipped."
    ResourceVersionIgnored "resource-version-ignored"
        "An update with a resourceVersion is written over whatever is there."
    StaleList "stale-list"
        "A list that has to be consistent is answered from the watch cache as it is."
    CacheSkipsEvent "cache-skips-event"
        "A watch of the apiserver that starts in the past misses the first change after its start."
}

impl Bug {
    /// The bug with this name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Whether this bug is planted in this process: `KEELSON_BUG` names it. A name that no bug has ends the process.
#[cfg(feature = "seeded")]
pub fn on(bug: Bug) -> bool {
    planted() == Some(bug)
}

/// The bug of this process. Programs ask at their start, so that a wrong name ends them at once and a right one stands
/// in their log.
#[cfg(feature = "seeded")]
pub fn planted() -> Option<Bug> {
    static PLANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| {
        let name = std::env::var_os(VARIABLE)?;
        let name = name.to_string_lossy();
        let Some(bug) = Bug::named(&name) else {
            eprintln!("{VARIABLE}={name}: there is no such bug; {}", known());
            std::process::exit(EXIT_UNKNOWN);
        };
        eprintln!(
            "{VARIABLE}={name}: this program is wrong on purpose: {}",
            bug.description()
        );
        Some(bug)
    })
}

/// How a process ends that was told a bug that does not exist.
#[cfg(feature = "seeded")]
const EXIT_UNKNOWN: i32 = 64;

#[cfg(feature = "seeded")]
fn known() -> String {
    let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    format!("known are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(*bug));
            assert!(bug.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        }
        assert_eq!(Bug::named("none-such"), None);
    }
}
