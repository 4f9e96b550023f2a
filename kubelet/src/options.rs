//! How a node agent is started.
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What the agent holds back from pods for the system and for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
}

/// Disk thresholds of image garbage collection, in percent of the image filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGc {
    /// Collection starts above this use.
    pub high_percent: u8,
    /// and goes on until below this one.
    pub low_percent: u8,
    /// Images younger than this are never removed.
    pub age_min: Duration,
}

impl Default for ImageGc {
    fn default() -> Self {
        ImageGc {
            high_percent: 85,
            low_percent: 80,
            age_min: Duration::from_secs(120),
        }
    }
}

/// How one node agent runs. Paths are absolute; PEM files are made by whoever composes the cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    pub node_ip: IpAddr,
    /// `kubernetes.io/hostname`; the node's name where empty.
    pub hostname: String,
    /// Unix socket of the container runtime, with or without `unix://`.
    pub cri_endpoint: String,
    /// Pod directories live under `<root_dir>/pods`.
    pub root_dir: PathBuf,
    pub pod_logs_dir: PathBuf,
    /// Put on the Node when it has none; empty leaves it to others.
    pub pod_cidr: String,
    /// Address of cluster DNS; `None` gives every pod the node's resolver.
    pub cluster_dns: Option<IpAddr>,
    pub cluster_domain: String,
    /// Cgroup (cgroupfs notation, e.g. `/keelson`) under which `kubepods` is made; `/` is the root.
    pub cgroup_parent: String,
    /// Where the HTTPS server listens.
    pub listen: SocketAddr,
    /// The port told to the API server; the bound one where `None`.
    pub advertise_port: Option<u16>,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    /// CA of client certificates that the HTTPS server accepts.
    pub client_ca: PathBuf,
    /// Labels put on the Node at registration, beside the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Image of sandboxes: never collected.
    pub pause_image: String,
    pub reserved: Reserved,
    pub image_gc: ImageGc,
    pub pods_max: u32,
    pub container_log_bytes_max: u64,
    pub container_log_files_max: u32,
    /// The resolver file given to pods with dnsPolicy Default, and the source of upstream servers.
    pub resolv_conf: PathBuf,
    /// Host and port in `KUBERNETES_SERVICE_*` come from the Service `default/kubernetes`.
    pub sync_frequency: Duration,
}

impl Options {
    /// Options with upstream's defaults for everything that has one.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr, cri_endpoint: impl Into<String>) -> Self {
        Options {
            node_name: node_name.into(),
            node_ip,
            hostname: String::new(),
            cri_endpoint: cri_endpoint.into(),
            root_dir: PathBuf::from("/var/lib/kubelet"),
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            pod_cidr: String::new(),
            cluster_dns: None,
            cluster_domain: "cluster.local".to_owned(),
            cgroup_parent: "/".to_owned(),
            listen: SocketAddr::from(([0, 0, 0, 0], 10250)),
            advertise_port: None,
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            client_ca: PathBuf::new(),
            labels: BTreeMap::new(),
            pause_image: "registry.k8s.io/pause:3.10.1".to_owned(),
            reserved: Reserved::default(),
            image_gc: ImageGc::default(),
            pods_max: 110,
            container_log_bytes_max: 10 << 20,
            container_log_files_max: 5,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            sync_frequency: Duration::from_secs(60),
        }
    }
}
