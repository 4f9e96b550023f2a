//! Time, tasks and chance: everything in this crate, openraft included, asks here and nowhere else.
//!
//! Normally that is tokio. A simulator may take over a thread ([`take_over`]): then tasks spawned on it, its clock and
//! its random numbers are the simulator's, work that blocks runs where it is asked for, and with the same seed
//! everything happens again in the same order. There is no cost when nobody simulates but the look at a thread-local.

mod openraft_side;
mod pace;
mod simulated;
mod task;
mod time;

pub use openraft_side::Runtime;
pub use pace::Pace;
pub use simulated::{Simulator, TakenOver, take_over};
pub use task::{JoinError, JoinHandle, spawn, spawn_aside, spawn_blocking};
pub use time::{Elapsed, Instant, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};

use rand::RngCore;

/// A random number, the simulator's if there is one.
pub fn random() -> u64 {
    match simulated::current() {
        Some(simulator) => simulator.random(),
        None => rand::rng().next_u64(),
    }
}

/// Lets everything run that is ready, sockets included.
pub async fn idle() {
    if simulated::current().is_some() {
        return yield_now().await;
    }
    tokio::task::yield_now().await;
}

/// Lets other tasks run first.
pub async fn yield_now() {
    sleep(std::time::Duration::from_nanos(1)).await;
}
