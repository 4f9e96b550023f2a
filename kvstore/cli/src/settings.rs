//! Everything that can be set, with etcd's names and defaults. Filled by flags and variables, or by a file; says nothing
//! about whether the values fit together: `validate` does.

use crate::gates::Gates;
use crate::urls::Url;
use std::time::Duration;

pub const NAME_DEFAULT: &str = "default";
pub const PEER_URL_DEFAULT: &str = "http://localhost:2380";
pub const CLIENT_URL_DEFAULT: &str = "http://localhost:2379";
pub const INITIAL_CLUSTER_DEFAULT: &str = "default=http://localhost:2380";
pub const LOG_OUTPUT_DEFAULT: &str = "default";
pub const LOG_ROTATION_DEFAULT: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;

/// A span of time as flags say it: it may be negative, and some settings read a negative one as "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub nanos: i64,
}

impl Span {
    pub const fn from_millis(ms: i64) -> Span {
        Span { nanos: ms * 1_000_000 }
    }
    pub const fn from_secs(s: i64) -> Span {
        Span::from_millis(s * 1000)
    }
    /// `None` for zero and less.
    pub fn positive(self) -> Option<Duration> {
        u64::try_from(self.nanos)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_nanos)
    }
    pub fn or_zero(self) -> Duration {
        self.positive().unwrap_or(Duration::ZERO)
    }
}

/// Files and rules of TLS, for the client ports or for the peer ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub cert_file: String,
    pub key_file: String,
    /// Shown when this member is the one that calls; `cert_file` when empty.
    pub client_cert_file: String,
    pub client_key_file: String,
    pub trusted_ca_file: String,
    pub client_cert_auth: bool,
    pub crl_file: String,
    pub allowed_cns: Vec<String>,
    pub allowed_hostnames: Vec<String>,
    /// Certificates made by this member itself.
    pub auto: bool,
    /// The names in a caller's certificate are not compared with where it calls from.
    pub skip_client_san_verify: bool,
}

impl TlsSettings {
    /// No certificate of its own: nothing to serve with.
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_empty() && self.key_file.is_empty()
    }
}

/// Bootstrap through another etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    pub token: String,
    pub endpoints: Vec<String>,
    pub dial_timeout: Span,
    pub request_timeout: Span,
    pub keepalive_time: Span,
    pub keepalive_timeout: Span,
    pub insecure_transport: bool,
    pub insecure_skip_verify: bool,
    pub cert: String,
    pub key: String,
    pub cacert: String,
    pub user: String,
    pub password: String,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        DiscoverySettings {
            token: String::new(),
            endpoints: Vec::new(),
            dial_timeout: Span::from_secs(2),
            request_timeout: Span::from_secs(5),
            keepalive_time: Span::from_secs(2),
            keepalive_timeout: Span::from_secs(6),
            insecure_transport: true,
            insecure_skip_verify: false,
            cert: String::new(),
            key: String::new(),
            cacert: String::new(),
            user: String::new(),
            password: String::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub logger: String,
    pub level: String,
    pub format: String,
    pub outputs: Vec<String>,
    pub rotation: bool,
    pub rotation_json: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            logger: "zap".to_owned(),
            level: "info".to_owned(),
            format: "json".to_owned(),
            outputs: vec![LOG_OUTPUT_DEFAULT.to_owned()],
            rotation: false,
            rotation_json: LOG_ROTATION_DEFAULT.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracingSettings {
    pub enabled: bool,
    pub address: String,
    pub service_name: String,
    pub instance_id: String,
    pub samples_per_million: i64,
}

/// What was asked for. Times without a unit in their name are [`Span`]s; `*_ms` are milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub name: String,
    /// Empty: `NAME.etcd`.
    pub data_dir: String,
    pub wal_dir: String,
    pub snapshot_count: u64,
    pub snapshot_catchup_entries: u64,
    pub max_snapshots: u64,
    pub max_wals: u64,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    pub initial_election_tick_advance: bool,
    pub quota_bytes: i64,
    pub freelist_type: String,
    pub backend_batch_interval: Span,
    pub backend_batch_limit: i64,
    pub max_txn_ops: u64,
    pub max_request_bytes: u64,
    pub max_concurrent_streams: u32,
    pub keepalive_min_time: Span,
    pub keepalive_interval: Span,
    pub keepalive_timeout: Span,
    pub reuse_port: bool,
    pub reuse_address: bool,
    pub grpc_gateway: bool,
    pub raft_read_timeout: Span,
    pub raft_write_timeout: Span,
    pub gates: Gates,
    pub listen_peer_urls: Vec<Url>,
    pub listen_client_urls: Vec<Url>,
    pub listen_client_http_urls: Vec<Url>,
    pub listen_metrics_urls: Vec<Url>,
    pub advertise_peer_urls: Vec<Url>,
    pub advertise_client_urls: Vec<Url>,
    pub initial_cluster: String,
    pub initial_cluster_state: String,
    pub initial_cluster_token: String,
    pub discovery: DiscoverySettings,
    pub discovery_fallback: String,
    pub discovery_srv: String,
    pub discovery_srv_name: String,
    pub strict_reconfig_check: bool,
    pub pre_vote: bool,
    pub auto_compaction_mode: String,
    pub auto_compaction_retention: String,
    pub v2_deprecation: Vec<String>,
    pub client_tls: TlsSettings,
    pub peer_tls: TlsSettings,
    pub self_signed_validity_years: u64,
    pub cipher_suites: Vec<String>,
    pub cors: Vec<String>,
    pub host_whitelist: Vec<String>,
    pub tls_min_version: String,
    pub tls_max_version: String,
    pub auth_token: String,
    pub bcrypt_cost: u64,
    pub auth_token_ttl_s: u64,
    pub pprof: bool,
    pub metrics: String,
    pub log: LogSettings,
    pub warning_unary: Span,
    pub warning_apply: Span,
    pub tracing: TracingSettings,
    pub corrupt_check_time: Span,
    pub compact_hash_check_time: Span,
    pub compaction_batch_limit: i64,
    pub compaction_sleep_interval: Span,
    pub progress_interval: Span,
    pub downgrade_check_time: Span,
    pub memory_mlock: bool,
    pub bootstrap_defrag_threshold_mb: u64,
    pub max_learners: i64,
    pub force_new_cluster: bool,
    pub unsafe_no_fsync: bool,
    pub config_file: String,
    pub print_version: bool,
}

fn one(url: &str) -> Vec<Url> {
    Url::parse(url).into_iter().collect()
}

impl Default for Settings {
    fn default() -> Self {
        let every = || vec!["*".to_owned()];
        Settings {
            name: NAME_DEFAULT.to_owned(),
            data_dir: String::new(),
            wal_dir: String::new(),
            snapshot_count: 10_000,
            snapshot_catchup_entries: 5_000,
            max_snapshots: 5,
            max_wals: 5,
            heartbeat_ms: 100,
            election_ms: 1000,
            initial_election_tick_advance: true,
            quota_bytes: 0,
            freelist_type: String::new(),
            backend_batch_interval: Span::default(),
            backend_batch_limit: 0,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            max_concurrent_streams: u32::MAX,
            keepalive_min_time: Span::from_secs(5),
            keepalive_interval: Span::from_secs(7200),
            keepalive_timeout: Span::from_secs(20),
            reuse_port: false,
            reuse_address: false,
            grpc_gateway: true,
            raft_read_timeout: Span::from_secs(5),
            raft_write_timeout: Span::from_secs(5),
            gates: Gates::default(),
            listen_peer_urls: one(PEER_URL_DEFAULT),
            listen_client_urls: one(CLIENT_URL_DEFAULT),
            listen_client_http_urls: Vec::new(),
            listen_metrics_urls: Vec::new(),
            advertise_peer_urls: one(PEER_URL_DEFAULT),
            advertise_client_urls: one(CLIENT_URL_DEFAULT),
            initial_cluster: INITIAL_CLUSTER_DEFAULT.to_owned(),
            initial_cluster_state: "new".to_owned(),
            initial_cluster_token: "etcd-cluster".to_owned(),
            discovery: DiscoverySettings::default(),
            discovery_fallback: "exit".to_owned(),
            discovery_srv: String::new(),
            discovery_srv_name: String::new(),
            strict_reconfig_check: true,
            pre_vote: true,
            auto_compaction_mode: "periodic".to_owned(),
            auto_compaction_retention: "0".to_owned(),
            v2_deprecation: Vec::new(),
            client_tls: TlsSettings::default(),
            peer_tls: TlsSettings::default(),
            self_signed_validity_years: 1,
            cipher_suites: Vec::new(),
            cors: every(),
            host_whitelist: every(),
            tls_min_version: "TLS1.2".to_owned(),
            tls_max_version: String::new(),
            auth_token: "simple".to_owned(),
            bcrypt_cost: 10,
            auth_token_ttl_s: 300,
            pprof: false,
            metrics: "basic".to_owned(),
            log: LogSettings::default(),
            warning_unary: Span::from_millis(300),
            warning_apply: Span::from_millis(100),
            tracing: TracingSettings {
                address: "localhost:4317".to_owned(),
                service_name: "etcd".to_owned(),
                ..TracingSettings::default()
            },
            corrupt_check_time: Span::default(),
            compact_hash_check_time: Span::from_secs(60),
            compaction_batch_limit: 0,
            compaction_sleep_interval: Span::default(),
            progress_interval: Span::default(),
            downgrade_check_time: Span::from_secs(5),
            memory_mlock: false,
            bootstrap_defrag_threshold_mb: 0,
            max_learners: 1,
            force_new_cluster: false,
            unsafe_no_fsync: false,
            config_file: String::new(),
            print_version: false,
        }
    }
}

impl Settings {
    /// The cluster of this member alone, as `initial-cluster` would say it.
    pub fn cluster_of_one(&self, name: &str) -> String {
        let name = if name.is_empty() { NAME_DEFAULT } else { name };
        let pairs: Vec<String> = self
            .advertise_peer_urls
            .iter()
            .map(|url| format!("{name}={url}"))
            .collect();
        pairs.join(",")
    }
}
