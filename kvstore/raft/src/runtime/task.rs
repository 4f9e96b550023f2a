//! Tasks.
use super::simulated;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// Resolves to what the task returned. Dropping it leaves the task running.
pub struct JoinHandle<T>(Kind<T>);

enum Kind<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Simulated(oneshot::Receiver<T>),
}

/// The task panicked, or its runtime went away first.
#[derive(Debug)]
pub struct JoinError(Option<tokio::task::JoinError>);

impl JoinError {
    pub fn is_panic(&self) -> bool {
        self.0.as_ref().is_some_and(tokio::task::JoinError::is_panic)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(e) => e.fmt(f),
            None => f.write_str("the task was given up"),
        }
    }
}

impl std::error::Error for JoinError {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Kind::Tokio(handle) => Pin::new(handle).poll(cx).map_err(|e| JoinError(Some(e))),
            Kind::Simulated(result) => Pin::new(result).poll(cx).map_err(|_| JoinError(None)),
        }
    }
}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(simulator) = simulated::current() else {
        return JoinHandle(Kind::Tokio(tokio::spawn(future)));
    };
    let (tx, rx) = oneshot::channel();
    simulator.spawn(Box::pin(async move {
        // Nobody may be waiting.
        drop(tx.send(future.await));
    }));
    JoinHandle(Kind::Simulated(rx))
}

/// Work that blocks on the disk. A simulator runs it at once: its disk answers at once.
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if simulated::current().is_none() {
        return JoinHandle(Kind::Tokio(tokio::task::spawn_blocking(work)));
    }
    let (tx, rx) = oneshot::channel();
    drop(tx.send(work()));
    JoinHandle(Kind::Simulated(rx))
}

/// How much nicer than the threads that serve ([`nice(2)`](https://man7.org/linux/man-pages/man2/nice.2.html)): where
/// both have as much to do as they can, upkeep gets a tenth of a core.
const ASIDE_NICENESS: i32 = 10;
const NICENESS_MAX: i32 = 19;

/// Lowers the priority of the calling thread; of it alone, on Linux. Where that is refused the work is done as well,
/// only more noticeably.
fn step_aside() {
    let lowered = rustix::process::getpriority_process(None).and_then(|niceness| {
        let niceness = (niceness + ASIDE_NICENESS).min(NICENESS_MAX);
        rustix::process::setpriority_process(None, niceness)
    });
    if let Err(error) = lowered {
        tracing::debug!(%error, "lower a thread's priority");
    }
}

/// Upkeep: work that takes long, that nobody's request waits for, and that should not be felt by those that do. It
/// has a thread of its own and a low priority, so it must hold no lock for longer than a moment. A runtime that ends
/// waits for it. A simulator runs it at once.
pub fn spawn_aside<F, T>(name: &str, work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if simulated::current().is_some() {
        return spawn_blocking(work);
    }
    let name = name.to_owned();
    // A thread that has stepped aside may not be allowed to step back: none of the runtime's does.
    spawn_blocking(move || {
        let mut work = Some(work);
        let outcome = std::thread::scope(|scope| {
            let aside = || {
                step_aside();
                work.take().map(|work| work())
            };
            let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, aside);
            thread.ok().and_then(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
        match (outcome, work) {
            (Some(outcome), _) => outcome,
            // There was no thread to be had.
            (None, Some(work)) => work(),
            (None, None) => unreachable!("the work was done and has left nothing"),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn work_aside_has_a_lower_priority_and_an_answer() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let here = niceness();
        let aside = spawn_aside("aside", niceness).await.unwrap();
        assert_eq!(aside, (here + ASIDE_NICENESS).min(NICENESS_MAX));
        assert_eq!(niceness(), here);
    }
}
