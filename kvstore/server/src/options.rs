//! How a member is started: everything that etcd's command line can say, in this crate's terms.

use futures::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// etcd's `max-request-bytes`.
pub const REQUEST_BYTES_DEFAULT: usize = 1_572_864;
/// What a message may be larger than the request in it.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;
/// etcd's `max-txn-ops`.
pub const TXN_OPS_DEFAULT: usize = 128;
/// etcd's.
const LEASE_CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
/// etcd's `snapshot-count`.
pub const SNAPSHOT_COUNT_DEFAULT: u64 = 10_000;
/// etcd's `watch-progress-notify-interval`.
pub const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);

/// Where a port is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// Port 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket; a file left by a dead process is replaced.
    Unix(PathBuf),
}

/// What is answered on a client listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and HTTP, told apart by the request.
    #[default]
    All,
    /// gRPC only, when `listen-client-http-urls` takes HTTP elsewhere.
    Grpc,
    /// HTTP only: the gateway, health, version, metrics.
    Http,
    /// Only metrics and health (`listen-metrics-urls`).
    Metrics,
}

/// A port for clients. Certificates reload inside the TLS configuration's own resolver and verifier.
#[derive(Clone)]
pub struct ClientListener {
    pub addr: ListenAddr,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub serves: Serves,
    /// Opened with SO_REUSEPORT (`socket-reuse-port`).
    pub reuse_port: bool,
}

/// Looks at the certificate that a member showed and at where it calls from, once the handshake is done; the error is
/// told and the connection closed.
pub type CallerCheck =
    Arc<dyn Fn(CertificateDer<'static>, IpAddr) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The ports for other members, and how they are called.
#[derive(Clone, Default)]
pub struct Peers {
    /// Empty: a single member that nobody joins.
    pub listeners: Vec<ListenAddr>,
    pub server_tls: Option<Arc<rustls::ServerConfig>>,
    pub client_tls: Option<Arc<rustls::ClientConfig>>,
    /// Called for each TLS connection of which the caller showed a certificate.
    pub caller_check: Option<CallerCheck>,
    /// What is told to others (`initial-advertise-peer-urls`), also after a restart.
    pub advertise_urls: Vec<String>,
    /// Called from the address of the listener, for clusters that check it (`SetMemberLocalAddr`).
    pub set_local_addr: bool,
    /// The ports are opened with SO_REUSEPORT (`socket-reuse-port`).
    pub reuse_port: bool,
}

/// What a member without data does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// A group of its own, with a random identity: embedded use.
    Alone,
    /// `initial-cluster-state new`: the group that `initial-cluster` lists, name to peer URLs; every member computes the
    /// same ids from it and the token.
    New {
        members: BTreeMap<String, Vec<String>>,
        token: String,
    },
    /// `initial-cluster-state existing`: asks the listed peers who is in, and waits to be told the rest.
    Existing {
        members: BTreeMap<String, Vec<String>>,
        token: String,
    },
}

/// `auto-compaction-mode` and `auto-compaction-retention`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoCompaction {
    #[default]
    Off,
    Periodic(Duration),
    Revision(i64),
}

/// `auth-token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Simple {
        ttl: Duration,
    },
    /// The text after `jwt,`: `pub-key=…,priv-key=…,sign-method=…,ttl=…`; parsed and checked when the server starts.
    Jwt {
        options: String,
    },
}

impl Default for TokenKind {
    fn default() -> Self {
        TokenKind::Simple {
            ttl: Duration::from_secs(300),
        }
    }
}

#[derive(Clone, Debug)]
pub struct AuthOptions {
    pub token: TokenKind,
    /// 4 to 31; etcd's default is 10.
    pub bcrypt_cost: u32,
    /// The common name of a client's certificate is its user when it sends no token (`client-cert-auth`).
    pub client_cert_identity: bool,
}

impl Default for AuthOptions {
    fn default() -> Self {
        AuthOptions {
            token: TokenKind::default(),
            bcrypt_cost: 10,
            client_cert_identity: false,
        }
    }
}

/// Looking for members that have come apart.
#[derive(Clone, Debug, Default)]
pub struct CorruptionChecks {
    /// Compares with the others before serving (`InitialCorruptCheck`).
    pub initial: bool,
    /// `corrupt-check-time`; zero is off.
    pub periodic: Duration,
    /// `CompactHashCheck` and its time; `None` is off.
    pub compact_hash: Option<Duration>,
}

/// Bounds on what clients may ask.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest proposal, bytes. A gRPC message may be half a MiB larger.
    pub request_bytes: usize,
    /// Operations in each list of a transaction.
    pub txn_ops: usize,
    /// Calls under way on one connection.
    pub concurrent_streams: u32,
    /// Physical size at which writes are refused; 0 is etcd's default of 2 GiB, negative values of the flag are `u64::MAX`.
    pub quota_bytes: u64,
    /// A silent client is asked for a sign of life after this long, and dropped without one.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: REQUEST_BYTES_DEFAULT,
            txn_ops: TXN_OPS_DEFAULT,
            concurrent_streams: u32::MAX,
            quota_bytes: 0,
            keepalive_interval: Duration::from_secs(7200),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Largest gRPC message received, bytes: the largest request and half a MiB, as etcd.
    pub fn message_bytes(&self) -> usize {
        self.request_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}

/// What plain HTTP and the gateway let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Serve `/v3/` (`enable-grpc-gateway`).
    pub gateway: bool,
    /// Origins that browsers may call from; `*` is all (`cors`).
    pub cors: Vec<String>,
    /// Host names that requests without TLS may carry; `*` is all (`host-whitelist`).
    pub host_whitelist: Vec<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            gateway: true,
            cors: vec!["*".to_owned()],
            host_whitelist: vec!["*".to_owned()],
        }
    }
}

/// Times of raft (`heartbeat-interval`, `election-timeout`).
#[derive(Clone, Copy, Debug)]
pub struct RaftTimes {
    pub heartbeat: Duration,
    pub election: Duration,
    pub pre_vote: bool,
}

impl Default for RaftTimes {
    fn default() -> Self {
        RaftTimes {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            pre_vote: true,
        }
    }
}

/// How a member is started. [`Options::new`] is one alone, without a port, with etcd's defaults.
#[derive(Clone)]
pub struct Options {
    pub name: String,
    pub data_dir: PathBuf,
    /// Where the log lives; beside the state when `None`.
    pub wal_dir: Option<PathBuf>,
    /// RocksDB block cache, bytes; 0 means the default of 8 MiB.
    pub cache_bytes: usize,
    pub clients: Vec<ClientListener>,
    pub http: HttpOptions,
    /// What clients are told; empty: the addresses listened on.
    pub advertise_client_urls: Vec<String>,
    pub peers: Peers,
    pub bootstrap: Bootstrap,
    /// Keeps the data and drops every other member (`force-new-cluster`).
    pub force_new_cluster: bool,
    pub raft: RaftTimes,
    /// Entries kept in the log for slow followers (`snapshot-catchup-entries`).
    pub catchup_entries: u64,
    /// Entries applied after which the state is flushed and the log cut (`snapshot-count`). Below etcd's default it is
    /// kept to exactly; from there on bytes of log count as well, and a smaller number of entries never does.
    pub snapshot_count: u64,
    pub strict_reconfig_check: bool,
    pub max_learners: usize,
    pub limits: Limits,
    pub auto_compaction: AutoCompaction,
    pub auth: AuthOptions,
    pub checks: CorruptionChecks,
    /// `watch-progress-notify-interval`.
    pub progress_interval: Duration,
    /// Applying or answering longer than this is logged; zero is off.
    pub warning_apply: Duration,
    pub warning_unary: Duration,
    /// Persist how much of long leases is left (`LeaseCheckpoint`).
    pub lease_checkpoint: bool,
    /// How often; leases that are shorter begin anew with a new leader.
    pub lease_checkpoint_interval: Duration,
    /// `metrics=extensive`: histograms per call too.
    pub extensive_metrics: bool,
    /// No fsync (`unsafe-no-fsync`): for tests only.
    pub unsafe_no_fsync: bool,
}

impl Options {
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Options {
        Options {
            name: name.into(),
            data_dir: data_dir.into(),
            wal_dir: None,
            cache_bytes: 0,
            clients: Vec::new(),
            http: HttpOptions::default(),
            advertise_client_urls: Vec::new(),
            peers: Peers::default(),
            bootstrap: Bootstrap::Alone,
            force_new_cluster: false,
            raft: RaftTimes::default(),
            catchup_entries: 5_000,
            snapshot_count: SNAPSHOT_COUNT_DEFAULT,
            strict_reconfig_check: true,
            max_learners: 1,
            limits: Limits::default(),
            auto_compaction: AutoCompaction::Off,
            auth: AuthOptions::default(),
            checks: CorruptionChecks::default(),
            progress_interval: PROGRESS_INTERVAL_DEFAULT,
            warning_apply: Duration::from_millis(100),
            warning_unary: Duration::from_millis(300),
            lease_checkpoint: false,
            lease_checkpoint_interval: LEASE_CHECKPOINT_INTERVAL_DEFAULT,
            extensive_metrics: false,
            unsafe_no_fsync: false,
        }
    }

    /// Serves clients at a TCP address too, gRPC and HTTP, with TLS if given.
    pub fn serve_at(mut self, addr: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Options {
        self.clients.push(ClientListener {
            addr: ListenAddr::Tcp(addr),
            tls,
            serves: Serves::All,
            reuse_port: false,
        });
        self
    }
}
