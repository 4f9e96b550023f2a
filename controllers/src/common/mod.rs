//! What controllers share: the context they run in, ownership, pods, expectations, patches.
pub mod discovery;
pub mod expectations;
pub mod hash;
pub mod owner;
pub mod pod_control;
pub mod pods;
pub mod ranking;
pub mod service_pods;
pub mod status;
pub mod taints;
pub mod time;
pub mod written;

use crate::Options;
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Client, EventRecorder, InformerFactory};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for the newer object after a conflict, unless its event comes first.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// What a controller is started with.
#[derive(Clone)]
pub struct Context {
    /// Acts as this controller's own identity.
    pub client: Client,
    pub factory: InformerFactory,
    pub options: Arc<Options>,
    pub events: EventRecorder,
}

/// Why a reconcile did not finish; it is logged and tried again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] keelson_client::Error),
    #[error("{0}")]
    Other(String),
}

/// When to look again, if not on an event.
pub type Outcome = Result<Option<Duration>, Error>;

impl Context {
    /// Works `queue` off until stopped. A conflict is no error: the newer object is on its way, and the reconcile is
    /// made again with it; neither is a namespace that goes away under a controller.
    pub async fn work<T, F, Fut>(&self, queue: &WorkQueue<T>, reconcile: F)
    where
        T: Clone + Eq + std::hash::Hash + Send + 'static,
        F: Fn(T) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let reconcile = move |item: T| {
            let attempt = reconcile(item);
            async move {
                match attempt.await {
                    Err(Error::Client(e)) if e.is_conflict() => Ok(Some(CONFLICT_PAUSE)),
                    Err(Error::Client(e)) if pod_control::namespace_terminating(&e) => Ok(None),
                    other => other,
                }
            }
        };
        queue.run(self.options.concurrent_syncs, reconcile).await;
    }
}

/// `namespace/name` of an object's metadata.
pub fn key(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(ns) if !ns.is_empty() => format!("{ns}/{name}"),
        _ => name.to_owned(),
    }
}

/// Resolves a number or a percentage of `total`; what does not parse is nothing.
pub fn scaled_value(
    value: Option<&k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>,
    total: i32,
    round_up: bool,
) -> i32 {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match value {
        None => 0,
        Some(IntOrString::Int(i)) => *i,
        Some(IntOrString::String(s)) => {
            let Some(percent) = s.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) else {
                return 0;
            };
            let scaled = percent.saturating_mul(i64::from(total));
            let v = if round_up {
                scaled.div_euclid(100) + i64::from(scaled.rem_euclid(100) != 0)
            } else {
                scaled.div_euclid(100)
            };
            i32::try_from(v).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    #[test]
    fn percentages_round_as_told() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(scaled_value(Some(&quarter), 10, true), 3);
        assert_eq!(scaled_value(Some(&quarter), 10, false), 2);
        assert_eq!(scaled_value(Some(&IntOrString::Int(7)), 10, false), 7);
        assert_eq!(scaled_value(None, 10, true), 0);
    }
}
