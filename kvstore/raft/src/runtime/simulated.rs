//! The place where a simulator takes a thread over.
use futures::future::BoxFuture;
use std::{cell::RefCell, rc::Rc, task::Waker, time::Duration};

/// What a simulator gives in tokio's place. It is used from its own thread only.
pub trait Simulator {
    /// Runs the task later, on this thread. A panic in it is the simulator's to report.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// Simulated time since the simulation began; it never goes back.
    fn now(&self) -> Duration;
    /// Wakes when [`Simulator::now`] has reached the deadline. Called again with another waker when the sleeper moves;
    /// waking the older one too is harmless.
    fn wake_at(&self, deadline: Duration, waker: Waker);
    /// The next number of the seed.
    fn random(&self) -> u64;
}

thread_local! {
    static SIMULATOR: RefCell<Option<Rc<dyn Simulator>>> = const { RefCell::new(None) };
}

/// Gives the thread back when it goes.
#[must_use]
pub struct TakenOver {
    before: Option<Rc<dyn Simulator>>,
}

impl Drop for TakenOver {
    fn drop(&mut self) {
        let before = self.before.take();
        // A thread that is ending has nothing left to give back.
        let _ = SIMULATOR.try_with(|s| s.replace(before));
    }
}

/// From now on this thread's tasks, clock and random numbers are the simulator's. Several may nest, as when a
/// simulation gives each of its members a clock of its own while it polls that member's tasks.
pub fn take_over(simulator: Rc<dyn Simulator>) -> TakenOver {
    TakenOver {
        before: SIMULATOR.with(|s| s.replace(Some(simulator))),
    }
}

pub(super) fn current() -> Option<Rc<dyn Simulator>> {
    SIMULATOR.try_with(|s| s.borrow().clone()).ok().flatten()
}
