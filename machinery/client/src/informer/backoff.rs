//! The pause between tries of a list or watch.
use rand::Rng;
use std::time::Duration;
use tokio::time::Instant;

/// client-go's reflector: 800 ms doubled to 30 s, each up to twice as long by chance; quiet for two minutes, it starts anew.
const FIRST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(30);
const RESET_AFTER: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(super) struct Backoff {
    tries: u32,
    last: Option<Instant>,
}

impl Backoff {
    pub fn next(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|t| now.duration_since(t) > RESET_AFTER) {
            self.tries = 0;
        }
        self.last = Some(now);
        let base = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        base.mul_f64(1.0 + rand::rng().random_range(0.0..1.0)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grows_within_its_bounds_and_resets() {
        let mut b = Backoff::default();
        let first = b.next();
        assert!(first >= FIRST && first <= FIRST * 2, "{first:?}");
        for _ in 0..20 {
            assert!(b.next() <= LONGEST);
        }
        assert!(b.next() == LONGEST);
        tokio::time::advance(RESET_AFTER + Duration::from_secs(1)).await;
        assert!(b.next() <= FIRST * 2);
    }
}
