//! Clocks and timers.
use super::simulated::{self, Simulator};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::Pin,
    rc::Rc,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

/// Waits shorter than this only let others run: tokio's timers count in milliseconds, and openraft asks for a
/// microsecond where it means "whatever else is ready first".
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

/// A moment by this thread's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(tokio::time::Instant);

/// Where simulated time begins. A year of room, so that subtraction never runs out.
fn epoch() -> tokio::time::Instant {
    static EPOCH: OnceLock<tokio::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| tokio::time::Instant::now() + Duration::from_secs(365 * 24 * 3600))
}

impl Instant {
    pub fn now() -> Self {
        match simulated::current() {
            Some(simulator) => Instant(epoch() + simulator.now()),
            None => Instant(tokio::time::Instant::now()),
        }
    }

    /// Zero for a moment that is yet to come.
    pub fn elapsed(&self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    fn simulated(self) -> Duration {
        self.0.saturating_duration_since(epoch())
    }
}

impl openraft::Instant for Instant {
    fn now() -> Self {
        Instant::now()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Instant(self.0 + rhs)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        self.0 += rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Instant(self.0 - rhs)
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.0.saturating_duration_since(rhs.0)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, rhs: Duration) {
        self.0 -= rhs;
    }
}

pin_project! {
    #[project = Projected]
    enum Kind {
        Tokio { #[pin] sleep: tokio::time::Sleep },
        Yield { done: bool },
        Simulated { deadline: Duration },
    }
}

pin_project! {
    /// Ready when its time has come.
    pub struct Sleep {
        #[pin]
        kind: Kind,
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().kind.project() {
            Projected::Tokio { sleep } => sleep.poll(cx),
            Projected::Yield { done } => {
                if std::mem::replace(done, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Projected::Simulated { deadline } => match simulated::current() {
                Some(simulator) => poll_simulated(&simulator, *deadline, cx),
                // Its simulator is gone, and with it the time.
                None => Poll::Pending,
            },
        }
    }
}

fn poll_simulated(simulator: &Rc<dyn Simulator>, deadline: Duration, cx: &Context<'_>) -> Poll<()> {
    if simulator.now() >= deadline {
        return Poll::Ready(());
    }
    simulator.wake_at(deadline, cx.waker().clone());
    Poll::Pending
}

pub fn sleep(duration: Duration) -> Sleep {
    let kind = match simulated::current() {
        Some(simulator) => Kind::Simulated {
            deadline: simulator.now().saturating_add(duration),
        },
        None if duration < SHORTEST_SLEEP => Kind::Yield { done: false },
        None => Kind::Tokio {
            sleep: tokio::time::sleep(duration),
        },
    };
    Sleep { kind }
}

pub fn sleep_until(deadline: Instant) -> Sleep {
    if simulated::current().is_some() {
        let deadline = deadline.simulated();
        return Sleep {
            kind: Kind::Simulated { deadline },
        };
    }
    sleep(deadline.saturating_duration_since(Instant::now()))
}

/// The time ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time ran out")
    }
}

impl std::error::Error for Elapsed {}

pin_project! {
    /// A future with a bound on its time.
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll(cx).map(|()| Err(Elapsed))
    }
}

pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep(duration),
    }
}

pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep_until(deadline),
    }
}
