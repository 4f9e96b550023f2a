//! `keelson kube-scheduler`: the scheduler, with nothing but a kubeconfig.

use super::{flags, health};
use crate::fail::{Context, Failure, Result};
use clap::{ArgAction, Args};
use keelson_client::leader::LeaderElection;
use keelson_client::net::NetTransport;
use keelson_client::{Client, Config};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the work has to end after a signal: the Lease is given up last.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct SchedulerArgs {
    /// Kubeconfig of the API server and of who this scheduler is
    #[arg(long)]
    kubeconfig: PathBuf,
    /// A KubeSchedulerConfiguration file (`kubescheduler.config.k8s.io/v1`)
    #[arg(long)]
    config: Option<PathBuf>,
    /// Schedule only while holding the Lease
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    leader_elect: bool,
    /// How long the others wait for a leader that does not renew
    #[arg(long, default_value = "15s", value_parser = flags::duration)]
    leader_elect_lease_duration: Duration,
    /// How long a leader tries to renew before it gives up; less than the lease's duration
    #[arg(long, default_value = "10s", value_parser = flags::duration)]
    leader_elect_renew_deadline: Duration,
    /// Time between tries
    #[arg(long, default_value = "2s", value_parser = flags::duration)]
    leader_elect_retry_period: Duration,
    /// Name of the Lease
    #[arg(long, default_value = "kube-scheduler")]
    leader_elect_resource_name: String,
    /// Namespace of the Lease
    #[arg(long, default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// Address on which /healthz, /livez and /readyz are served, by TLS with a certificate of no authority
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Port of them; 0 serves none
    #[arg(long, default_value_t = 10259)]
    secure_port: u16,
}

impl SchedulerArgs {
    fn election(&self) -> Result<Option<LeaderElection>> {
        if !self.leader_elect {
            return Ok(None);
        }
        let (lease, renew, retry) = (
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        );
        // Upstream: leaderelection.NewLeaderElector.
        if lease <= renew {
            return Err(Failure::new(
                "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline",
            ));
        }
        if renew <= retry.mul_f64(1.2) || retry.is_zero() {
            return Err(Failure::new(
                "--leader-elect-renew-deadline must be greater than 1.2 times --leader-elect-retry-period, which must not be 0",
            ));
        }
        let election = LeaderElection {
            namespace: self.leader_elect_resource_namespace.clone(),
            name: self.leader_elect_resource_name.clone(),
            identity: identity(),
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
        };
        Ok(Some(election))
    }
}

/// Host name and a number of this process, which differs between two on one host and between two lives of one.
fn identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let began = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |t| t.as_nanos());
    format!("{host}_{}-{began:x}", std::process::id())
}

pub async fn run(args: SchedulerArgs) -> Result<()> {
    let election = args.election()?;
    let config = Config::from_kubeconfig_file(&args.kubeconfig).context(|| "use --kubeconfig")?;
    let transport = NetTransport::new(config).context(|| "use --kubeconfig")?;
    let client = Client::new(Arc::new(transport), "kube-scheduler");
    let options = keelson_scheduler::Options {
        leader_election: election,
        config: args.config,
        ..Default::default()
    };
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    if args.secure_port != 0 {
        health::serve(SocketAddr::new(args.bind_address, args.secure_port), stop.clone()).await?;
    }
    let work = keelson_scheduler::run(options, client, stop.clone());
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return ended.context(|| "run the scheduler"),
        stopped = crate::components::signalled() => stopped?,
    }
    stop.cancel();
    match tokio::time::timeout(STOP_TIMEOUT, work).await {
        Ok(ended) => ended.context(|| "run the scheduler"),
        Err(_) => Err(Failure::new("the scheduler did not stop in time")),
    }
}
