use std::time::Duration;

/// Default number of workers per controller; upstream uses 5 for most of its controllers.
pub const CONCURRENT_SYNCS: usize = 5;

/// Settings of the controller manager; the defaults are those of kube-controller-manager.
#[derive(Clone, Debug)]
pub struct Options {
    /// Wait for the Lease `kube-system/kube-controller-manager` before doing anything.
    pub leader_elect: bool,
    /// Holder identity in the Lease; must differ between processes.
    pub identity: String,
    /// Names of controllers to run, in the syntax of `--controllers`: `*` is all, `-name` leaves one out.
    pub controllers: Vec<String>,
    /// Pod network, e.g. `10.244.0.0/16`; when set, nodes without a `spec.podCIDR` get a /24 of it.
    pub cluster_cidr: Option<String>,
    /// PEM bundle published as ConfigMap `kube-root-ca.crt` in every namespace; empty publishes nothing.
    pub root_ca_pem: String,
    /// Workers per controller.
    pub concurrent_syncs: usize,
    /// A node whose Lease and status are older than this is Unknown (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// Terminated pods kept before pod GC deletes the oldest; 0 or less keeps all.
    pub terminated_pod_gc_threshold: i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            leader_elect: false,
            identity: String::new(),
            controllers: vec!["*".to_owned()],
            cluster_cidr: None,
            root_ca_pem: String::new(),
            concurrent_syncs: CONCURRENT_SYNCS,
            node_monitor_grace_period: Duration::from_secs(50),
            terminated_pod_gc_threshold: 12_500,
        }
    }
}

impl Options {
    /// Whether `name` is to run: an explicit entry wins over `*`.
    pub fn enabled(&self, name: &str) -> bool {
        for entry in &self.controllers {
            if entry == name {
                return true;
            }
            if entry.strip_prefix('-') == Some(name) {
                return false;
            }
        }
        self.controllers.iter().any(|e| e == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_entry_wins_over_the_star() {
        let all = Options::default();
        assert!(all.enabled("deployment-controller"));
        let some = Options {
            controllers: vec!["*".into(), "-job-controller".into()],
            ..Options::default()
        };
        assert!(!some.enabled("job-controller"));
        assert!(some.enabled("deployment-controller"));
        let one = Options {
            controllers: vec!["job-controller".into()],
            ..Options::default()
        };
        assert!(one.enabled("job-controller"));
        assert!(!one.enabled("deployment-controller"));
    }
}
