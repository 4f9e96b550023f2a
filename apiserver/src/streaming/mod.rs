//! Long-lived requests that end at a kubelet or a pod: logs, exec, attach, port-forward, proxy.
use crate::auth::UserInfo;
use crate::endpoints::Info;
use crate::registry::Registry;
use http::{Request, Response};
use keelson_client::Body;
use keelson_machinery::{resources::Resource, status::ApiError};
use std::path::PathBuf;
use std::sync::Arc;

pub struct Options {
    pub kubelet_client_cert: PathBuf,
    pub kubelet_client_key: PathBuf,
    pub kubelet_ca: PathBuf,
}

pub struct Streaming;

impl Streaming {
    pub fn new(_options: Options) -> Result<Self, String> {
        Ok(Streaming)
    }
    pub fn handles(&self, _info: &Info) -> bool {
        false
    }
    pub async fn serve(
        &self,
        _registry: &Arc<Registry>,
        _resource: &'static Resource,
        _info: &Info,
        _user: &UserInfo,
        _request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        Err(ApiError::new(501, "NotImplemented", "streaming"))
    }
}
