//! Upkeep in small bits with rests between them, so that what is served finds the processor and the disk free.

use super::{Instant, sleep};
use std::time::Duration;

/// Rests shorter than this are put off: a sleeping thread is late by about as much.
const REST_MIN: Duration = Duration::from_millis(1);
/// However long a bit took (its thread may not have had the processor), the next one begins after this.
const REST_MAX: Duration = Duration::from_millis(50);

/// Keeps work to a share of the time.
pub struct Pace {
    /// Rest for each unit of work.
    rests: u32,
    since: Instant,
    owed: Duration,
}

impl Pace {
    /// Work takes one part of the time, and rests take so many.
    pub fn resting(rests: u32) -> Pace {
        Pace {
            rests,
            since: Instant::now(),
            owed: Duration::ZERO,
        }
    }

    /// How long to rest after the bit of work that ends now; zero while too little is owed. Nothing is owed for a bit
    /// during which `idle`: nobody was served.
    fn owes(&mut self, idle: bool) -> Duration {
        if !idle {
            self.owed += self.since.elapsed() * self.rests;
        }
        if self.owed < REST_MIN {
            return Duration::ZERO;
        }
        std::mem::take(&mut self.owed).min(REST_MAX)
    }

    /// For a thread of its own.
    pub fn rest(&mut self, idle: bool) {
        let rest = self.owes(idle);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        self.since = Instant::now();
    }

    /// For a task.
    pub async fn rest_async(&mut self) {
        let rest = self.owes(false);
        if !rest.is_zero() {
            sleep(rest).await;
        }
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worked(pace: &mut Pace, time: Duration, idle: bool) -> Duration {
        pace.since = Instant::now() - time;
        pace.owes(idle)
    }

    #[test]
    fn rests_follow_the_work_and_only_when_others_wait() {
        let mut pace = Pace::resting(3);
        assert_eq!(worked(&mut pace, Duration::from_secs(1), true), Duration::ZERO);
        let rest = worked(&mut pace, Duration::from_millis(5), false);
        assert!(rest >= Duration::from_millis(15) && rest < REST_MAX, "{rest:?}");
        assert_eq!(worked(&mut pace, Duration::from_micros(100), false), Duration::ZERO);
        let rest = worked(&mut pace, Duration::from_micros(300), false);
        assert!(
            rest >= Duration::from_micros(1200),
            "what was put off is not forgotten: {rest:?}"
        );
        assert_eq!(worked(&mut pace, Duration::from_secs(1), false), REST_MAX);
    }
}
