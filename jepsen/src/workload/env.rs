//! What the clients of a run share.

use crate::client::{self, Client, Timeouts};
use crate::history::Recorder;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What the clients of a workload are to be like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub clients: usize,
    /// Operations a second of all of them together.
    pub rate: f64,
    /// How long the faulted phase lasts.
    pub time: Duration,
}

/// What a client needs. Clones share everything but the settings.
#[derive(Clone)]
pub struct Env {
    pub recorder: Arc<Recorder>,
    pub settings: Settings,
    pub seed: u64,
    /// Members' client URLs; the first is that of member 1.
    pub urls: Arc<Vec<String>>,
    pub timeouts: Timeouts,
    pub counts: Arc<Counts>,
    pub seen: Arc<Seen>,
    /// The API servers, where the run has them.
    pub kube: Option<super::kube::Access>,
    processes: Arc<AtomicU64>,
    calm: Arc<AtomicBool>,
    stop: watch::Receiver<bool>,
    until: Until,
}

/// The last revision of the run, once it is known; then observers end when they have been sent everything up to it.
pub type Until = watch::Receiver<Option<i64>>;

/// Operations so far, by their end.
#[derive(Debug, Default)]
pub struct Counts {
    pub ok: AtomicU64,
    pub fail: AtomicU64,
    pub info: AtomicU64,
}

/// How far the spectators have come: the highest revision that each has been sent.
#[derive(Debug)]
pub struct Seen(Vec<AtomicI64>);

impl Seen {
    pub fn new(nodes: usize) -> Seen {
        Seen((0..nodes).map(|_| AtomicI64::new(0)).collect())
    }

    /// The spectator of this member, numbered from 1, was sent everything up to here.
    pub fn note(&self, node: usize, revision: i64) {
        if let Some(seen) = self.0.get(node.wrapping_sub(1)) {
            seen.fetch_max(revision, Ordering::Relaxed);
        }
    }

    /// How far the spectator of this member has come.
    pub fn of(&self, node: usize) -> i64 {
        self.0
            .get(node.wrapping_sub(1))
            .map_or(0, |seen| seen.load(Ordering::Relaxed))
    }

    /// How far the foremost spectator has come: what is above must not be compacted, or nobody can tell later what
    /// happened there.
    pub fn foremost(&self) -> i64 {
        self.0
            .iter()
            .map(|seen| seen.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0)
    }
}

impl Env {
    pub fn new(
        recorder: Arc<Recorder>,
        seed: u64,
        urls: Vec<String>,
        timeouts: Timeouts,
        settings: Settings,
        stop: watch::Receiver<bool>,
        until: Until,
    ) -> Env {
        Env {
            recorder,
            settings,
            seed,
            seen: Arc::new(Seen::new(urls.len())),
            kube: None,
            urls: Arc::new(urls),
            timeouts,
            counts: Arc::new(Counts::default()),
            processes: Arc::new(AtomicU64::new(1)),
            calm: Arc::new(AtomicBool::new(false)),
            stop,
            until,
        }
    }

    /// The same with other settings.
    pub fn with(&self, settings: Settings) -> Env {
        Env {
            settings,
            ..self.clone()
        }
    }

    pub fn nodes(&self) -> usize {
        self.urls.len()
    }

    /// A connection of its own to this member, numbered from 1.
    pub fn client(&self, node: usize) -> Client {
        client::connect(&self.urls[node - 1], self.timeouts)
    }

    /// A process number that nobody has had.
    pub fn process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// The chance of one client: always the same for the same seed, whatever others do.
    pub fn rng(&self, workload: &str, client: usize) -> StdRng {
        StdRng::seed_from_u64(mix(self.seed, workload, client as u64))
    }

    /// Whether clients hold back: members that were away are to catch up.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Has all clients hold back, or go on as before.
    pub fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Tells the last revision of the run, once it is known.
    pub fn until(&self) -> Until {
        self.until.clone()
    }

    /// Whether clients should end.
    pub fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits this long, or until clients should end.
    pub async fn rest(&self, time: Duration) {
        let mut stop = self.stop.clone();
        // An error means that the runner is gone, which is an end as well.
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Waits until clients should end.
    pub async fn until_stopped(&self) {
        let mut stop = self.stop.clone();
        // An error means that the runner is gone, which is an end as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// A seed out of a seed, a name and a number (FNV-1a, then the finalizer of splitmix64).
fn mix(seed: u64, name: &str, number: u64) -> u64 {
    let bytes = seed
        .to_le_bytes()
        .into_iter()
        .chain(name.bytes())
        .chain(number.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_own_chance_and_always_the_same() {
        assert_eq!(mix(7, "register", 1), mix(7, "register", 1));
        assert_ne!(mix(7, "register", 1), mix(7, "register", 2));
        assert_ne!(mix(7, "register", 1), mix(8, "register", 1));
        assert_ne!(mix(7, "register", 1), mix(7, "append", 1));
    }

    #[test]
    fn the_foremost_spectator_counts() {
        let seen = Seen::new(3);
        seen.note(2, 9);
        seen.note(2, 4);
        seen.note(7, 100);
        assert_eq!((seen.foremost(), seen.of(1), seen.of(2)), (9, 0, 9));
    }
}
