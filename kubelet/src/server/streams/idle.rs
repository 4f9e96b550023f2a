//! Notices that nothing moves any more.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone)]
pub struct Idle {
    started: Instant,
    timeout: Duration,
    /// Milliseconds from `started` to the last movement.
    last_ms: Arc<AtomicU64>,
}

impl Idle {
    pub fn new(timeout: Duration) -> Self {
        Idle {
            started: Instant::now(),
            timeout,
            last_ms: Arc::default(),
        }
    }

    /// Something moved.
    pub fn touch(&self) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    fn deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + self.timeout
    }

    /// Returns when nothing moved for the timeout.
    pub async fn expired(&self) {
        loop {
            let deadline = self.deadline();
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_from_the_last_movement() {
        let mut idle = Idle::new(Duration::from_secs(10));
        let first = idle.deadline();
        idle.started -= Duration::from_secs(7);
        idle.clone().touch();
        assert!(idle.deadline() >= first, "seven seconds later, moved by as many");
        idle.timeout = Duration::ZERO;
        idle.expired().await;
    }
}
