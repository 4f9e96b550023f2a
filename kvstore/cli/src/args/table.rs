//! The flags: one row each. The command line, the variables, the help text and the file all read this table.

use crate::gates::Gates;
use crate::settings::{Settings, Span};
use crate::urls::Url;

type Field<T> = fn(&mut Settings) -> &mut T;

/// What kind of value a flag takes, and where it goes.
#[derive(Clone, Copy)]
pub enum Kind {
    Text(Field<String>),
    Bool(Field<bool>),
    Uint(Field<u64>),
    Uint32(Field<u32>),
    Int(Field<i64>),
    Span(Field<Span>),
    Urls(Field<Vec<Url>>),
    /// URLs, or `*` for all.
    Origins(Field<Vec<String>>),
    /// Sorted, each once.
    Set(Field<Vec<String>>),
    /// In the order given.
    List(Field<Vec<String>>),
    Choice(&'static [&'static str], Field<String>),
    /// Several of them, comma-separated.
    Choices(&'static [&'static str], Field<Vec<String>>),
    Gates(Field<Gates>),
    /// Flags of long ago, taken with or without a value and forgotten.
    Ignored,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Member,
    Clustering,
    Security,
    Auth,
    Monitoring,
    Logging,
    Tracing,
    Features,
    Unsafe,
    /// Not in the help text.
    Hidden,
}

/// Whether the flag does something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    Full,
    /// Accepted, with a warning that says why it has none.
    None(&'static str),
}

#[derive(Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub group: Group,
    pub kind: Kind,
    /// As the help text shows it.
    pub default: &'static str,
    pub help: &'static str,
    pub effect: Effect,
}

const fn flag(group: Group, name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        group,
        kind,
        default,
        help,
        effect: Effect::Full,
    }
}

impl Flag {
    const fn without_effect(mut self, why: &'static str) -> Flag {
        self.effect = Effect::None(why);
        self
    }
    /// Needs no value: `--flag` alone says yes.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Bool(_) | Kind::Ignored)
    }
}

const BBOLT: &str = "the store is not bbolt";
const LOG_FILES: &str = "the log keeps what it needs and no more";
const NO_V2: &str = "there is no v2 store";
const NO_PPROF: &str = "there are no Go profiles; use perf or a debugger";
const NO_TRACING: &str = "spans are not exported";

use Group::{Auth, Clustering, Features, Hidden, Logging, Member, Monitoring, Security, Tracing, Unsafe};
use Kind::{Bool, Choice, Choices, Ignored, Int, List, Origins, Set, Text, Uint, Uint32, Urls};

#[rustfmt::skip]
pub static FLAGS: &[Flag] = &[
    flag(Member, "name", Text(|s| &mut s.name), "default", "Name of this member, unique in its cluster."),
    flag(Member, "data-dir", Text(|s| &mut s.data_dir), "${name}.etcd", "Folder of the data."),
    flag(Member, "wal-dir", Text(|s| &mut s.wal_dir), "", "Folder of the log, when it has a disk of its own."),
    flag(Member, "snapshot-count", Uint(|s| &mut s.snapshot_count), "10000", "Entries applied after which the state is flushed and the log cut; below the default to the letter, from there on bytes count too."),
    flag(Member, "snapshot-catchup-entries", Uint(|s| &mut s.snapshot_catchup_entries), "5000", "Entries kept in the log for members that lag."),
    flag(Member, "heartbeat-interval", Uint(|s| &mut s.heartbeat_ms), "100", "Milliseconds between heartbeats of the leader."),
    flag(Member, "election-timeout", Uint(|s| &mut s.election_ms), "1000", "Milliseconds without a heartbeat after which a member stands for election."),
    flag(Member, "initial-election-tick-advance", Bool(|s| &mut s.initial_election_tick_advance), "true", "Stand for election sooner right after the start.").without_effect("a member that starts waits a full election timeout unless it is alone"),
    flag(Member, "listen-peer-urls", Urls(|s| &mut s.listen_peer_urls), "http://localhost:2380", "Where other members are listened to, comma-separated."),
    flag(Member, "listen-client-urls", Urls(|s| &mut s.listen_client_urls), "http://localhost:2379", "Where clients are listened to: gRPC, and HTTP unless --listen-client-http-urls has it."),
    flag(Member, "listen-client-http-urls", Urls(|s| &mut s.listen_client_http_urls), "", "Where HTTP is served, and nothing else; the other client URLs then serve gRPC only."),
    flag(Member, "max-snapshots", Uint(|s| &mut s.max_snapshots), "5", "Snapshot files to keep. Deprecated.").without_effect(LOG_FILES),
    flag(Member, "max-wals", Uint(|s| &mut s.max_wals), "5", "Log files to keep.").without_effect(LOG_FILES),
    flag(Member, "memory-mlock", Bool(|s| &mut s.memory_mlock), "false", "Keep the database's pages in memory.").without_effect(BBOLT),
    flag(Member, "quota-backend-bytes", Int(|s| &mut s.quota_bytes), "0", "Size of the data, bytes, at which writes are refused; 0 is 2 GiB, less is no limit."),
    flag(Member, "backend-bbolt-freelist-type", Text(|s| &mut s.freelist_type), "map", "Kind of bbolt's free list.").without_effect(BBOLT),
    flag(Member, "backend-batch-interval", Kind::Span(|s| &mut s.backend_batch_interval), "", "Longest time between bbolt's commits.").without_effect(BBOLT),
    flag(Member, "backend-batch-limit", Int(|s| &mut s.backend_batch_limit), "0", "Most operations between bbolt's commits.").without_effect(BBOLT),
    flag(Member, "max-txn-ops", Uint(|s| &mut s.max_txn_ops), "128", "Operations allowed in a list of a transaction."),
    flag(Member, "max-request-bytes", Uint(|s| &mut s.max_request_bytes), "1572864", "Largest request of a client, bytes."),
    flag(Member, "max-concurrent-streams", Uint32(|s| &mut s.max_concurrent_streams), "4294967295", "Calls that one connection may have open."),
    flag(Member, "grpc-keepalive-min-time", Kind::Span(|s| &mut s.keepalive_min_time), "5s", "Clients that ping more often are sent away.").without_effect("the HTTP/2 library answers pings by itself and counts none"),
    flag(Member, "grpc-keepalive-interval", Kind::Span(|s| &mut s.keepalive_interval), "2h", "Time after which a silent client is pinged; 0 never."),
    flag(Member, "grpc-keepalive-timeout", Kind::Span(|s| &mut s.keepalive_timeout), "20s", "Time that a pinged client has to answer; 0 for ever."),
    flag(Member, "socket-reuse-port", Bool(|s| &mut s.reuse_port), "false", "Open ports with SO_REUSEPORT."),
    flag(Member, "socket-reuse-address", Bool(|s| &mut s.reuse_address), "false", "Open ports with SO_REUSEADDR.").without_effect("ports are always opened with SO_REUSEADDR"),
    flag(Member, "enable-grpc-gateway", Bool(|s| &mut s.grpc_gateway), "true", "Serve the JSON gateway under /v3/."),
    flag(Member, "raft-read-timeout", Kind::Span(|s| &mut s.raft_read_timeout), "5s", "Time to wait for bytes of another member.").without_effect("connections between members are watched by HTTP/2 pings"),
    flag(Member, "raft-write-timeout", Kind::Span(|s| &mut s.raft_write_timeout), "5s", "Time to wait until another member takes bytes.").without_effect("connections between members are watched by HTTP/2 pings"),
    flag(Member, "feature-gates", Kind::Gates(|s| &mut s.gates), "", "Name=true pairs, comma-separated:"),

    flag(Clustering, "initial-advertise-peer-urls", Urls(|s| &mut s.advertise_peer_urls), "http://localhost:2380", "Where other members reach this one."),
    flag(Clustering, "initial-cluster", Text(|s| &mut s.initial_cluster), "default=http://localhost:2380", "Members of the cluster to form or to join: name=peer-url, comma-separated."),
    flag(Clustering, "initial-cluster-state", Choice(&["new", "existing"], |s| &mut s.initial_cluster_state), "new", "'new' forms a cluster, 'existing' joins one. Without meaning for a member that has data."),
    flag(Clustering, "initial-cluster-token", Text(|s| &mut s.initial_cluster_token), "etcd-cluster", "Tells clusters with the same URLs apart."),
    flag(Clustering, "advertise-client-urls", Urls(|s| &mut s.advertise_client_urls), "http://localhost:2379", "Where clients reach this member."),
    flag(Clustering, "discovery-token", Text(|s| &mut s.discovery.token), "", "Discovery: token of the cluster to form."),
    flag(Clustering, "discovery-endpoints", Set(|s| &mut s.discovery.endpoints), "", "Discovery: the etcd that keeps the list of members, comma-separated."),
    flag(Clustering, "discovery-dial-timeout", Kind::Span(|s| &mut s.discovery.dial_timeout), "2s", "Discovery: time to connect."),
    flag(Clustering, "discovery-request-timeout", Kind::Span(|s| &mut s.discovery.request_timeout), "5s", "Discovery: time for one request."),
    flag(Clustering, "discovery-keepalive-time", Kind::Span(|s| &mut s.discovery.keepalive_time), "2s", "Discovery: silence after which the server is pinged."),
    flag(Clustering, "discovery-keepalive-timeout", Kind::Span(|s| &mut s.discovery.keepalive_timeout), "6s", "Discovery: time to answer a ping."),
    flag(Clustering, "discovery-insecure-transport", Bool(|s| &mut s.discovery.insecure_transport), "true", "Discovery: no TLS."),
    flag(Clustering, "discovery-insecure-skip-tls-verify", Bool(|s| &mut s.discovery.insecure_skip_verify), "false", "Discovery: trust any certificate. For tests only."),
    flag(Clustering, "discovery-cert", Text(|s| &mut s.discovery.cert), "", "Discovery: certificate to show."),
    flag(Clustering, "discovery-key", Text(|s| &mut s.discovery.key), "", "Discovery: its key."),
    flag(Clustering, "discovery-cacert", Text(|s| &mut s.discovery.cacert), "", "Discovery: authorities to trust."),
    flag(Clustering, "discovery-user", Text(|s| &mut s.discovery.user), "", "Discovery: user, or user:password."),
    flag(Clustering, "discovery-password", Text(|s| &mut s.discovery.password), "", "Discovery: password, when --discovery-user has none."),
    flag(Clustering, "discovery-fallback", Choice(&["exit", "proxy"], |s| &mut s.discovery_fallback), "exit", "What to do when discovery fails; only 'exit' is left."),
    flag(Clustering, "discovery-srv", Text(|s| &mut s.discovery_srv), "", "DNS domain whose SRV records list the members."),
    flag(Clustering, "discovery-srv-name", Text(|s| &mut s.discovery_srv_name), "", "Suffix of the service name in those records."),
    flag(Clustering, "strict-reconfig-check", Bool(|s| &mut s.strict_reconfig_check), "true", "Refuse changes of members that would cost the quorum."),
    flag(Clustering, "pre-vote", Bool(|s| &mut s.pre_vote), "true", "Ask whether an election could be won before standing for it."),
    flag(Clustering, "auto-compaction-retention", Text(|s| &mut s.auto_compaction_retention), "0", "History kept by automatic compaction; 0 is off."),
    flag(Clustering, "auto-compaction-mode", Text(|s| &mut s.auto_compaction_mode), "periodic", "'periodic': the retention is a duration (hours without a unit); 'revision': a number of revisions."),
    flag(Clustering, "v2-deprecation", Choices(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"], |s| &mut s.v2_deprecation), "write-only", "Stage of the v2 store's removal. Deprecated; the value is not used.").without_effect(NO_V2),

    flag(Security, "cert-file", Text(|s| &mut s.client_tls.cert_file), "", "Certificate shown to clients."),
    flag(Security, "key-file", Text(|s| &mut s.client_tls.key_file), "", "Its key."),
    flag(Security, "client-cert-auth", Bool(|s| &mut s.client_tls.client_cert_auth), "false", "Clients have to show a certificate."),
    flag(Security, "client-cert-file", Text(|s| &mut s.client_tls.client_cert_file), "", "Certificate shown when this server calls itself as a client."),
    flag(Security, "client-key-file", Text(|s| &mut s.client_tls.client_key_file), "", "Its key."),
    flag(Security, "client-crl-file", Text(|s| &mut s.client_tls.crl_file), "", "Revocation list for certificates of clients."),
    flag(Security, "client-cert-allowed-hostname", List(|s| &mut s.client_tls.allowed_hostnames), "", "Names of which a client's certificate must have one, comma-separated."),
    flag(Security, "trusted-ca-file", Text(|s| &mut s.client_tls.trusted_ca_file), "", "Authorities that sign certificates of clients."),
    flag(Security, "auto-tls", Bool(|s| &mut s.client_tls.auto), "false", "Make a certificate for the client ports."),
    flag(Security, "peer-cert-file", Text(|s| &mut s.peer_tls.cert_file), "", "Certificate shown to other members."),
    flag(Security, "peer-key-file", Text(|s| &mut s.peer_tls.key_file), "", "Its key."),
    flag(Security, "peer-client-cert-auth", Bool(|s| &mut s.peer_tls.client_cert_auth), "false", "Other members have to show a certificate."),
    flag(Security, "peer-client-cert-file", Text(|s| &mut s.peer_tls.client_cert_file), "", "Certificate shown when this member calls others; --peer-cert-file by default."),
    flag(Security, "peer-client-key-file", Text(|s| &mut s.peer_tls.client_key_file), "", "Its key."),
    flag(Security, "peer-trusted-ca-file", Text(|s| &mut s.peer_tls.trusted_ca_file), "", "Authorities that sign certificates of members."),
    flag(Security, "peer-cert-allowed-cn", List(|s| &mut s.peer_tls.allowed_cns), "", "Common names of which a member's certificate must have one, comma-separated."),
    flag(Security, "peer-cert-allowed-hostname", List(|s| &mut s.peer_tls.allowed_hostnames), "", "Names of which a member's certificate must have one, comma-separated."),
    flag(Security, "peer-auto-tls", Bool(|s| &mut s.peer_tls.auto), "false", "Make a certificate for the peer ports."),
    flag(Security, "peer-skip-client-san-verification", Bool(|s| &mut s.peer_tls.skip_client_san_verify), "false", "Don't compare the names in a member's certificate with where it calls from."),
    flag(Security, "self-signed-cert-validity", Uint(|s| &mut s.self_signed_validity_years), "1", "Years that certificates made by --auto-tls and --peer-auto-tls are good for."),
    flag(Security, "peer-crl-file", Text(|s| &mut s.peer_tls.crl_file), "", "Revocation list for certificates of members."),
    flag(Security, "cipher-suites", List(|s| &mut s.cipher_suites), "", "TLS 1.2 cipher suites, comma-separated; all good ones when empty."),
    flag(Security, "cors", Origins(|s| &mut s.cors), "*", "Origins that browsers may call from, comma-separated."),
    flag(Security, "host-whitelist", Set(|s| &mut s.host_whitelist), "*", "Host names that HTTP requests without TLS may carry, comma-separated."),
    flag(Security, "tls-min-version", Text(|s| &mut s.tls_min_version), "TLS1.2", "Lowest version of TLS: TLS1.2 or TLS1.3."),
    flag(Security, "tls-max-version", Text(|s| &mut s.tls_max_version), "", "Highest version of TLS: TLS1.2 or TLS1.3; the newest when empty."),

    flag(Auth, "auth-token", Text(|s| &mut s.auth_token), "simple", "'simple', or 'jwt' with its options: jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=10m."),
    flag(Auth, "bcrypt-cost", Uint(|s| &mut s.bcrypt_cost), "10", "Cost of hashing a password, 4 to 31."),
    flag(Auth, "auth-token-ttl", Uint(|s| &mut s.auth_token_ttl_s), "300", "Seconds that a simple token lives unused."),

    flag(Monitoring, "enable-pprof", Bool(|s| &mut s.pprof), "false", "Serve Go profiles.").without_effect(NO_PPROF),
    flag(Monitoring, "metrics", Text(|s| &mut s.metrics), "basic", "'extensive' adds histograms of every call."),
    flag(Monitoring, "listen-metrics-urls", Urls(|s| &mut s.listen_metrics_urls), "", "Where /metrics and /health are served too; https takes the client ports' certificate."),

    flag(Logging, "logger", Text(|s| &mut s.log.logger), "zap", "Form of logging; only 'zap' is left."),
    flag(Logging, "log-outputs", Set(|s| &mut s.log.outputs), "default", "'stdout', 'stderr', 'systemd/journal' or files, comma-separated."),
    flag(Logging, "log-level", Text(|s| &mut s.log.level), "info", "debug, info, warn, error, panic or fatal."),
    flag(Logging, "log-format", Text(|s| &mut s.log.format), "json", "json or console."),
    flag(Logging, "enable-log-rotation", Bool(|s| &mut s.log.rotation), "false", "Rotate the one file of --log-outputs."),
    flag(Logging, "log-rotation-config-json", Text(|s| &mut s.log.rotation_json), crate::settings::LOG_ROTATION_DEFAULT, "How: megabytes a file, days and number of old ones to keep (0: all), local time in names, gzip."),
    flag(Logging, "warning-unary-request-duration", Kind::Span(|s| &mut s.warning_unary), "300ms", "Requests that take longer are logged."),

    flag(Tracing, "enable-distributed-tracing", Bool(|s| &mut s.tracing.enabled), "false", "Export spans by OpenTelemetry.").without_effect(NO_TRACING),
    flag(Tracing, "distributed-tracing-address", Text(|s| &mut s.tracing.address), "localhost:4317", "Address of the collector.").without_effect(NO_TRACING),
    flag(Tracing, "distributed-tracing-service-name", Text(|s| &mut s.tracing.service_name), "etcd", "Name of the service in spans.").without_effect(NO_TRACING),
    flag(Tracing, "distributed-tracing-instance-id", Text(|s| &mut s.tracing.instance_id), "", "Name of the instance in spans.").without_effect(NO_TRACING),
    flag(Tracing, "distributed-tracing-sampling-rate", Int(|s| &mut s.tracing.samples_per_million), "0", "Spans kept of a million.").without_effect(NO_TRACING),

    flag(Features, "corrupt-check-time", Kind::Span(|s| &mut s.corrupt_check_time), "0s", "Time between comparisons of all members' data; 0 is off."),
    flag(Features, "compact-hash-check-time", Kind::Span(|s| &mut s.compact_hash_check_time), "1m", "Time between comparisons of the hashes of compactions."),
    flag(Features, "compaction-batch-limit", Int(|s| &mut s.compaction_batch_limit), "1000", "Revisions deleted at a time by a compaction.").without_effect("compaction sets its own pace, off the path of requests"),
    flag(Features, "compaction-sleep-interval", Kind::Span(|s| &mut s.compaction_sleep_interval), "", "Pause between those.").without_effect("compaction sets its own pace, off the path of requests"),
    flag(Features, "watch-progress-notify-interval", Kind::Span(|s| &mut s.progress_interval), "10m", "Time between notes of progress to watchers that ask for them."),
    flag(Features, "warning-apply-duration", Kind::Span(|s| &mut s.warning_apply), "100ms", "Entries that take longer to apply are logged."),
    flag(Features, "bootstrap-defrag-threshold-megabytes", Uint(|s| &mut s.bootstrap_defrag_threshold_mb), "0", "Space to win for which the database is defragmented at the start.").without_effect(BBOLT),
    flag(Features, "max-learners", Int(|s| &mut s.max_learners), "1", "Learners that the cluster may have."),
    flag(Features, "downgrade-check-time", Kind::Span(|s| &mut s.downgrade_check_time), "5s", "Time between looks at a downgrade under way.").without_effect("the leader looks every four seconds, downgrade or not"),

    flag(Unsafe, "force-new-cluster", Bool(|s| &mut s.force_new_cluster), "false", "Keep the data and drop every other member."),
    flag(Unsafe, "unsafe-no-fsync", Bool(|s| &mut s.unsafe_no_fsync), "false", "Never fsync: a crash of the machine loses data."),

    flag(Hidden, "config-file", Text(|s| &mut s.config_file), "", ""),
    flag(Hidden, "version", Bool(|s| &mut s.print_version), "false", ""),
    flag(Hidden, "cluster-active-size", Ignored, "", ""),
    flag(Hidden, "cluster-remove-delay", Ignored, "", ""),
    flag(Hidden, "cluster-sync-interval", Ignored, "", ""),
    flag(Hidden, "config", Ignored, "", ""),
    flag(Hidden, "force", Ignored, "", ""),
    flag(Hidden, "max-result-buffer", Ignored, "", ""),
    flag(Hidden, "max-retry-attempts", Ignored, "", ""),
    flag(Hidden, "peer-heartbeat-interval", Ignored, "", ""),
    flag(Hidden, "peer-election-timeout", Ignored, "", ""),
    flag(Hidden, "retry-interval", Ignored, "", ""),
    flag(Hidden, "snapshot", Ignored, "", ""),
    flag(Hidden, "v", Ignored, "", ""),
    flag(Hidden, "vv", Ignored, "", ""),
    flag(Hidden, "test.coverprofile", Ignored, "", ""),
    flag(Hidden, "test.outputdir", Ignored, "", ""),
];

pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|f| f.name == name)
}
