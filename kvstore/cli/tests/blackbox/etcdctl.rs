//! etcdctl and etcdutl, every command and option: the scripts in `tests/scripts`, against one member and against three,
//! beside a real etcd that is asked the same.

use crate::cluster::{Cluster, Kind};
use crate::compare::same_script;

/// Hashing a password as often as usual takes seconds in a build that is not optimized.
pub const QUICK_PASSWORDS: [&str; 1] = ["--bcrypt-cost=4"];

macro_rules! scripts {
    ($($name:ident: $script:literal, $size:literal;)*) => {
        $(#[test]
        fn $name() {
            same_script($script, $size, &QUICK_PASSWORDS);
        })*
    };
}

scripts! {
    kv_one: "kv", 1;
    kv_three: "kv", 3;
    watch_one: "watch", 1;
    watch_three: "watch", 3;
    lease_one: "lease", 1;
    lease_three: "lease", 3;
    auth_one: "auth", 1;
    auth_three: "auth", 3;
    endpoints_one: "endpoints", 1;
    endpoints_three: "endpoints", 3;
    maintenance_one: "maintenance", 1;
    maintenance_three: "maintenance", 3;
    locks_one: "locks", 1;
    locks_three: "locks", 3;
    members_one: "members-one", 1;
    members_three: "members-three", 3;
    http_one: "http", 1;
    http_three: "http", 3;
}

/// etcdctl's own measures. How fast a busy machine is says nothing; that nothing fails does.
#[test]
fn checks_of_performance() {
    let cluster = Cluster::start(Kind::Ours, 3, &[]);
    for (check, wanted) in [("datascale", "Approximate system memory used"), ("perf", "Throughput")] {
        let out = cluster.ctl(&[
            "--command-timeout=60s",
            "check",
            check,
            "--load=s",
            "--auto-compact",
            "--auto-defrag",
        ]);
        let text = String::from_utf8_lossy(&out.stdout);
        println!("{text}");
        assert!(text.contains(wanted), "check {check}: {text}");
        for bad in ["too many errors", "ERROR(", "Could not", "Cleanup failed"] {
            assert!(!text.contains(bad), "check {check}: {text}");
        }
    }
}
