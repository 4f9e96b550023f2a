//! Runs each component as a task of its own and starts it again, alone and with backoff, when it fails or panics.

use crate::fail::Result;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A component that ran this long starts its backoff anew.
const STEADY: Duration = Duration::from_secs(60);

/// What is known of a component.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub healthy: bool,
    pub restarts: u32,
    /// Why it last ended, if it did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[derive(Clone)]
pub struct Supervisor {
    stop: CancellationToken,
    health: Arc<Mutex<BTreeMap<&'static str, Health>>>,
    tasks: TaskTracker,
}

impl Supervisor {
    pub fn new(stop: CancellationToken) -> Self {
        Supervisor {
            stop,
            health: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    pub fn health(&self) -> BTreeMap<&'static str, Health> {
        self.health.lock().clone()
    }

    /// Keeps `component` running until the stop. Each run gets a token of its own, cancelled at the stop.
    pub fn keep<F, Fut>(&self, name: &'static str, component: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let this = self.clone();
        self.health.lock().entry(name).or_default();
        self.tasks.spawn(async move { this.run(name, component).await });
    }

    async fn run<F, Fut>(self, name: &'static str, component: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let began = Instant::now();
            let stop = self.stop.child_token();
            if let Some(h) = self.health.lock().get_mut(name) {
                h.healthy = true;
            }
            // A task of its own: a panic ends it and not the process.
            let outcome = tokio::spawn(component(stop.clone())).await;
            stop.cancel();
            if self.stop.is_cancelled() {
                return;
            }
            let why = match outcome {
                Ok(Ok(())) => "ended without being asked to".to_owned(),
                Ok(Err(e)) => e.to_string(),
                Err(e) => format!("panicked: {}", panic_text(e)),
            };
            tracing::error!(component = name, reason = %why, "component ended; starting it again");
            if began.elapsed() > STEADY {
                backoff = BACKOFF_FIRST;
            }
            if let Some(h) = self.health.lock().get_mut(name) {
                *h = Health {
                    healthy: false,
                    restarts: h.restarts.saturating_add(1),
                    message: why,
                };
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.stop.cancelled() => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits until every component has ended after the stop, or `patience` is over.
    pub async fn join(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}

fn panic_text(e: tokio::task::JoinError) -> String {
    match e.try_into_panic() {
        Ok(p) => p
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| p.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into()),
        Err(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_component_that_panics_is_started_again_and_others_go_on() {
        let stop = CancellationToken::new();
        let s = Supervisor::new(stop.clone());
        let runs = Arc::new(AtomicU32::new(0));
        let (seen, third) = (runs.clone(), Arc::new(tokio::sync::Notify::new()));
        let tell = third.clone();
        s.keep("shaky", move |stop| {
            let (n, tell) = (seen.fetch_add(1, Ordering::SeqCst), tell.clone());
            async move {
                assert!(n >= 2, "run {n}");
                tell.notify_one();
                stop.cancelled().await;
                Ok(())
            }
        });
        s.keep("steady", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        third.notified().await;
        let h = s.health();
        assert_eq!((h["shaky"].restarts, h["steady"].restarts), (2, 0));
        assert!(h["shaky"].message.contains("run 1"), "{}", h["shaky"].message);
        stop.cancel();
        assert!(s.join(Duration::from_secs(5)).await);
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
