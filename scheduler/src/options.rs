use std::path::PathBuf;

/// Settings of the scheduler; the defaults are those of kube-scheduler.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods whose `spec.schedulerName` is this are ours.
    pub scheduler_name: String,
    /// Wait for the Lease `kube-system/kube-scheduler` before scheduling.
    pub leader_elect: bool,
    /// Holder identity in the Lease; must differ between processes.
    pub identity: String,
    /// A `kubescheduler.config.k8s.io/v1` KubeSchedulerConfiguration file.
    pub config: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            scheduler_name: "default-scheduler".to_owned(),
            leader_elect: false,
            identity: String::new(),
            config: None,
        }
    }
}
