//! `/livez` and `/readyz`: a set of checks each, together or one by one below the path, in etcd's words.

use super::answer::{method_not_allowed, plain_error, text};
use super::health::{no_alarm, read};
use super::query;
use crate::core::Core;
use crate::facts;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode, Uri};
use keelson_proto::etcdserverpb as pb;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    pub const fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, core: &Core) -> Result<(), String> {
        match self {
            Check::DataCorruption => no_alarm(core, pb::AlarmType::Corrupt),
            Check::SerializableRead => read(core, true).await,
            Check::LinearizableRead => read(core, false).await,
            Check::NonLearner if facts::is_learner(core) => Err("not supported for learner".to_owned()),
            Check::NonLearner => Ok(()),
        }
    }
}

/// A path and what it checks.
#[derive(Clone, Copy)]
struct Set {
    name: &'static str,
    checks: &'static [Check],
}

const LIVEZ: Set = Set {
    name: "livez",
    checks: &[Check::SerializableRead],
};

const READYZ: Set = Set {
    name: "readyz",
    checks: &[
        Check::DataCorruption,
        Check::SerializableRead,
        Check::LinearizableRead,
        Check::NonLearner,
    ],
};

pub fn routes() -> Router<Arc<Core>> {
    let mut router = Router::new();
    for set in [LIVEZ, READYZ] {
        let all = move |core: State<Arc<Core>>, method: Method, uri: Uri| serve(core, method, uri, set, set.checks);
        router = router.route(&format!("/{}", set.name), any(all));
        for (at, check) in set.checks.iter().enumerate() {
            let only = set.checks.get(at..=at).unwrap_or_default();
            let one = move |core: State<Arc<Core>>, method: Method, uri: Uri| serve(core, method, uri, set, only);
            router = router.route(&format!("/{}/{}", set.name, check.name()), any(one));
        }
    }
    router
}

async fn serve(
    State(core): State<Arc<Core>>,
    method: Method,
    uri: Uri,
    set: Set,
    checks: &'static [Check],
) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    // Only the whole set can be thinned out.
    let thinned = if checks.len() == set.checks.len() {
        query::all(&uri, "exclude")
    } else {
        Vec::new()
    };
    let mut report = String::new();
    let mut failed = false;
    for check in checks.iter().filter(|c| !thinned.iter().any(|t| t == c.name())) {
        let outcome = check.run(&core).await;
        core.metrics.health.count(set.name, check.name(), outcome.is_ok());
        match outcome {
            Ok(()) => report.push_str(&format!("[+]{} ok\n", check.name())),
            Err(error) => {
                failed = true;
                report.push_str(&format!("[-]{} failed: {error}\n", check.name()));
            }
        }
    }
    if failed {
        tracing::warn!(path = uri.path(), reason = report, "Health check error");
        return plain_error(StatusCode::SERVICE_UNAVAILABLE, &report);
    }
    let mut body = if query::has(&uri, "verbose") {
        report
    } else {
        String::new()
    };
    body.push_str("ok\n");
    let mut headers = HeaderMap::new();
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    text(headers, body)
}
