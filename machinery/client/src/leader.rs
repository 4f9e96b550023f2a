//! Leader election by Lease, compatible with client-go's `leaderelection`.
use crate::Client;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub struct LeaderElection {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaderElection {
    /// Waits to lead, then runs `lead` with a token that is cancelled when leadership is lost; returns
    /// after that, or when `stop` is cancelled (the Lease is released).
    pub async fn run<F, Fut>(&self, _client: Client, _stop: CancellationToken, _lead: F)
    where
        F: FnOnce(CancellationToken) -> Fut + Send,
        Fut: std::future::Future<Output = ()> + Send,
    {
        todo!()
    }
}
