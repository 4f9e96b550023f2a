use crate::agent::Agent;
use crate::pods::Pods;
use crate::{Options, Result};
use std::net::SocketAddr;
use std::sync::Arc;

pub struct Listener {
    a: SocketAddr,
}
impl Listener {
    pub fn local_addr(&self) -> SocketAddr {
        self.a
    }
    pub async fn run(self, _agent: Arc<Agent>, _pods: Pods) {}
}
pub async fn bind(options: &Options) -> Result<Listener> {
    Ok(Listener { a: options.listen })
}
