use crate::{Body, Result, Transport};
use std::sync::Arc;

/// A cheap handle on one API server under one identity.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) user_agent: Arc<str>,
}

impl Client {
    /// `user_agent` names the component, e.g. `keelson-scheduler`; it is also the field manager.
    pub fn new(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        Client {
            transport,
            user_agent: user_agent.into(),
        }
    }
    /// Over HTTP/2 and TLS, from a kubeconfig's bytes (current context).
    pub fn from_kubeconfig(_yaml: &str, _user_agent: &str) -> Result<Self> {
        todo!()
    }
    /// One raw exchange; a status outside 2xx becomes `Error::Api` with the decoded Status.
    pub async fn request(&self, _req: http::Request<Body>) -> Result<http::Response<Body>> {
        todo!()
    }
    /// One exchange with JSON in and out.
    pub async fn json<T: serde::de::DeserializeOwned>(
        &self,
        _method: http::Method,
        _path_and_query: &str,
        _body: Option<Vec<u8>>,
    ) -> Result<T> {
        todo!()
    }
}
