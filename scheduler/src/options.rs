use keelson_client::leader::LeaderElection;
use std::path::PathBuf;

/// Settings of the scheduler; the defaults are those of kube-scheduler.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods whose `spec.schedulerName` is this are ours.
    pub scheduler_name: String,
    /// Wait for this Lease before scheduling; `None` schedules at once. The identity must differ between processes.
    pub leader_election: Option<LeaderElection>,
    /// A `kubescheduler.config.k8s.io/v1` KubeSchedulerConfiguration file.
    pub config: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            scheduler_name: "default-scheduler".to_owned(),
            leader_election: None,
            config: None,
        }
    }
}
