//! What probes found, by container id.
use k8s_openapi::api::core::v1::{Container, Probe};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }
    pub fn of(self, c: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => c.startup_probe.as_ref(),
            Kind::Readiness => c.readiness_probe.as_ref(),
            Kind::Liveness => c.liveness_probe.as_ref(),
        }
    }
}

/// `None` where a probe has decided nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub started: Option<bool>,
    pub ready: Option<bool>,
    pub live: Option<bool>,
}

#[derive(Clone)]
pub struct ProbeResults {
    /// Called with a pod's uid when something of it changed.
    pub wake: Arc<dyn Fn(&str) + Send + Sync>,
    known: Arc<Mutex<HashMap<String, watch::Sender<Health>>>>,
}

impl ProbeResults {
    pub fn new(wake: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        ProbeResults {
            wake,
            known: Arc::default(),
        }
    }
    pub fn get(&self, container_id: &str) -> Health {
        self.known
            .lock()
            .get(container_id)
            .map(|h| *h.borrow())
            .unwrap_or_default()
    }
    /// Returns whether that was news.
    pub fn set(&self, container_id: &str, kind: Kind, ok: bool) -> bool {
        self.change(
            container_id,
            |h| match kind {
                Kind::Startup => &mut h.started,
                Kind::Readiness => &mut h.ready,
                Kind::Liveness => &mut h.live,
            },
            ok,
        )
    }
    fn change(&self, container_id: &str, field: impl Fn(&mut Health) -> &mut Option<bool>, ok: bool) -> bool {
        let mut known = self.known.lock();
        let sender = known
            .entry(container_id.to_owned())
            .or_insert_with(|| watch::channel(Health::default()).0);
        sender.send_if_modified(|h| {
            let f = field(h);
            let news = *f != Some(ok);
            *f = Some(ok);
            news
        })
    }
    pub async fn wait_started(&self, container_id: &str) {
        let mut receiver = {
            let mut known = self.known.lock();
            let sender = known
                .entry(container_id.to_owned())
                .or_insert_with(|| watch::channel(Health::default()).0);
            sender.subscribe()
        };
        if receiver.wait_for(|h| h.started == Some(true)).await.is_err() {
            // The container was forgotten: its probes are about to end.
            std::future::pending::<()>().await;
        }
    }
    pub fn forget(&self, container_id: &str) {
        self.known.lock().remove(container_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_once() {
        let r = ProbeResults::new(Arc::new(|_| {}));
        assert!(r.set("a", Kind::Startup, true));
        assert!(!r.set("a", Kind::Startup, true));
        r.wait_started("a").await;
        assert!(r.set("a", Kind::Readiness, false));
        assert_eq!(r.get("a").ready, Some(false));
        r.forget("a");
        assert_eq!(r.get("a"), Health::default());
    }
}
