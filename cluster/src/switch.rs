//! The in-memory way to the API server of this process, which may be restarted under its clients' feet.

use async_trait::async_trait;
use keelson_client::transport::BoxError;
use keelson_client::{Body, Transport};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a request waits for an API server that is starting.
const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// The running server, if there is one.
pub type Current = watch::Sender<Option<Arc<keelson_apiserver::Server>>>;

/// One identity's transport: each request goes to the server that runs now.
pub struct Switch {
    current: watch::Receiver<Option<Arc<keelson_apiserver::Server>>>,
    user: String,
    groups: Vec<String>,
}

impl Switch {
    pub fn transport(current: &Current, user: &str, groups: &[&str]) -> Arc<dyn Transport> {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push("system:authenticated".into());
        Arc::new(Switch {
            current: current.subscribe(),
            user: user.into(),
            groups,
        })
    }

    /// The identity of a ServiceAccount in `kube-system`.
    pub fn service_account(current: &Current, name: &str) -> Arc<dyn Transport> {
        let user = format!("system:serviceaccount:kube-system:{name}");
        Self::transport(
            current,
            &user,
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        )
    }
}

#[async_trait]
impl Transport for Switch {
    async fn send(&self, req: http::Request<Body>) -> Result<http::Response<Body>, BoxError> {
        let mut current = self.current.clone();
        let server = tokio::time::timeout(START_WAIT_MAX, current.wait_for(Option::is_some))
            .await
            .map_err(|_| "the API server is not up")??
            .clone();
        let server = server.ok_or("the API server is not up")?;
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        server.transport(&self.user, &groups).send(req).await
    }
}
