//! Whether settings fit together: before anything is opened, in etcd's order and words.

use crate::args::{Effect, FLAGS, Loaded};
use crate::gates;
use crate::notice::{Level, Notice};
use crate::settings::{NAME_DEFAULT, Settings};
use crate::urls::{check_bind, check_host_given, join};

/// Longest election timeout, milliseconds.
const ELECTION_MS_MAX: u64 = 50_000;
/// Longest name that is taken, bytes: it is written to every member.
const NAME_BYTES_MAX: usize = 4096;
/// Larger requests work, and hold up the others, bytes.
const REQUEST_BYTES_RECOMMENDED: u64 = 10 << 20;
const SAMPLES_MAX: i64 = 1_000_000;

/// Checks, and says what may be surprising.
pub fn check(loaded: &Loaded) -> Result<Vec<Notice>, String> {
    let s = &loaded.settings;
    let mut notices = Vec::new();
    if s.discovery_fallback == "proxy" {
        return Err(r#"v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy""#.to_owned());
    }
    urls(s, &mut notices)?;
    bootstrap(s)?;
    times(s)?;
    if s.advertise_client_urls.is_empty() {
        return Err(ADVERTISE_MISSING.to_owned());
    }
    match s.auto_compaction_mode.as_str() {
        "periodic" | "revision" => {}
        "" => return Err("undefined auto-compaction-mode".to_owned()),
        other => return Err(format!("unknown auto-compaction-mode {other:?}")),
    }
    if s.tracing.enabled && !(0..=SAMPLES_MAX).contains(&s.tracing.samples_per_million) {
        let bound = if s.tracing.samples_per_million < 0 {
            "positive"
        } else {
            "less than 1000000"
        };
        return Err(format!(
            "distributed tracing configurition is not valid: (tracing sampling rate must be {bound})"
        ));
    }
    gates(s, &mut notices)?;
    if s.compact_hash_check_time.positive().is_none() {
        return Err(format!(
            "--compact-hash-check-time must be >0 (set to {})",
            s.compact_hash_check_time
        ));
    }
    name(s, &mut notices)?;
    tls_versions(s)?;
    limits(s, &mut notices)?;
    without_effect(loaded, &mut notices);
    Ok(notices)
}

pub const ADVERTISE_MISSING: &str = "--advertise-client-urls is required when --listen-client-urls is set explicitly";

fn urls(s: &Settings, notices: &mut Vec<Notice>) -> Result<(), String> {
    check_bind(&s.listen_peer_urls)?;
    check_bind(&s.listen_client_urls)?;
    check_bind(&s.listen_client_http_urls)?;
    if s.listen_client_http_urls.is_empty() {
        let told = "Running http and grpc server on single port. This is not recommended for production.";
        notices.push(Notice::new(Level::Warn, told));
    }
    check_bind(&s.listen_metrics_urls)?;
    check_host_given(&s.advertise_peer_urls).map_err(|e| {
        let urls = join(&s.advertise_peer_urls);
        format!(r#"--initial-advertise-peer-urls {urls:?} must be "host:port" ({e})"#)
    })?;
    check_host_given(&s.advertise_client_urls).map_err(|e| {
        let urls = join(&s.advertise_client_urls);
        format!(
            "--advertise-client-urls {urls:?} must be in the format \"host:port\", \"unix:/path/to/socket\" or \
             \"unixs:/path/to/socket\" ({e})"
        )
    })
}

fn bootstrap(s: &Settings) -> Result<(), String> {
    if !matches!(s.initial_cluster_state.as_str(), "new" | "existing") {
        return Err(format!("unexpected clusterState {:?}", s.initial_cluster_state));
    }
    let ways = [
        !s.initial_cluster.is_empty(),
        !s.discovery_srv.is_empty(),
        !s.discovery.endpoints.is_empty(),
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                    \"discovery-endpoints\" or \"discovery-srv\""
                .to_owned(),
        );
    }
    if s.discovery.token.is_empty() != s.discovery.endpoints.is_empty() {
        return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
    }
    if s.discovery.endpoints.iter().any(|e| e.trim().is_empty()) {
        return Err("--discovery-endpoints must not contain empty endpoints".to_owned());
    }
    Ok(())
}

fn times(s: &Settings) -> Result<(), String> {
    let (heartbeat, election) = (s.heartbeat_ms, s.election_ms);
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".to_owned());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".to_owned());
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > ELECTION_MS_MAX {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {ELECTION_MS_MAX}ms"
        ));
    }
    Ok(())
}

fn gates(s: &Settings, notices: &mut Vec<Notice>) -> Result<(), String> {
    let (checkpoint, persist) = (
        s.gates.enabled("LeaseCheckpoint"),
        s.gates.enabled("LeaseCheckpointPersist"),
    );
    if persist && !checkpoint {
        return Err(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint".into(),
        );
    }
    if checkpoint && !persist {
        let told = "Detected that checkpointing is enabled without persistence. Consider enabling feature gate \
                    LeaseCheckpointPersist";
        notices.push(Notice::new(Level::Warn, told));
    }
    for (gate, why) in gates::WITHOUT_EFFECT {
        if s.gates.is_set(gate) {
            let notice = Notice::new(Level::Warn, "feature gate has no effect");
            notices.push(notice.with("feature-gate", gate).with("reason", why));
        }
    }
    Ok(())
}

fn name(s: &Settings, notices: &mut Vec<Notice>) -> Result<(), String> {
    if s.name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "--name has {} bytes, more than the {NAME_BYTES_MAX} allowed",
            s.name.len()
        ));
    }
    if s.name == NAME_DEFAULT {
        let told = "it isn't recommended to use default name, please set a value for --name. Note that etcd might run \
                    into issue when multiple members have the same default name";
        notices.push(Notice::new(Level::Warn, told).with("name", s.name.as_str()));
    }
    Ok(())
}

fn tls_versions(s: &Settings) -> Result<(), String> {
    let version = |text: &str| match text {
        "" => Ok(0),
        "TLS1.2" => Ok(2),
        "TLS1.3" => Ok(3),
        _ => Err(format!(
            "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
        )),
    };
    let (min, max) = (version(&s.tls_min_version)?, version(&s.tls_max_version)?);
    if max != 0 && min > max {
        return Err(format!(
            "min version ({}) is greater than max version ({})",
            s.tls_min_version, s.tls_max_version
        ));
    }
    if min == 3 && !s.cipher_suites.is_empty() {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    Ok(())
}

/// What etcd takes and then cannot work with.
fn limits(s: &Settings, notices: &mut Vec<Notice>) -> Result<(), String> {
    for (flag, value) in [
        ("--max-request-bytes", s.max_request_bytes),
        ("--max-txn-ops", s.max_txn_ops),
    ] {
        if value == 0 || usize::try_from(value).is_err() {
            return Err(format!("{flag} must be >0 (set to {value})"));
        }
    }
    if s.max_request_bytes > REQUEST_BYTES_RECOMMENDED {
        let notice = Notice::new(Level::Warn, "exceeded recommended request limit");
        notices.push(
            notice
                .with("max-request-bytes", s.max_request_bytes)
                .with("recommended-request-bytes", REQUEST_BYTES_RECOMMENDED),
        );
    }
    if s.max_learners < 0 {
        return Err(format!(
            "--max-learners must not be negative (set to {})",
            s.max_learners
        ));
    }
    Ok(())
}

/// Flags that were given and do nothing here.
fn without_effect(loaded: &Loaded, notices: &mut Vec<Notice>) {
    for flag in FLAGS.iter().filter(|flag| loaded.given.contains(flag.name)) {
        let told = match flag.name {
            "max-snapshots" => Some("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
            "v2-deprecation" => Some(
                "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, \
                 ignoring user input.",
            ),
            _ => None,
        };
        if let Some(told) = told {
            notices.push(Notice::new(Level::Warn, told));
        }
        if let Effect::None(why) = flag.effect {
            let notice = Notice::new(Level::Warn, "flag has no effect");
            notices.push(notice.with("flag", format!("--{}", flag.name)).with("reason", why));
        }
    }
    if loaded.given.contains("bcrypt-cost") && !(4..=31).contains(&loaded.settings.bcrypt_cost) {
        let notice = Notice::new(Level::Warn, "use default bcrypt cost instead of the invalid given cost");
        notices.push(
            notice
                .with("min-cost", 4)
                .with("max-cost", 31)
                .with("default-cost", 10)
                .with("given-cost", loaded.settings.bcrypt_cost),
        );
    }
}
