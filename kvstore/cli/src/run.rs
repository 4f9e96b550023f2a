//! From settings to a running member, and to its end.

use crate::args::{LoadError, Loaded, Parsed};
use crate::notice::Notice;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::urls::strings;
use crate::{args, bootstrap, logs, notify, options, signals, validate, version};
use keelson_kvstore::{Bootstrap, Server};
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Descriptors kept for the store's own files.
const DESCRIPTORS_MIN: u64 = 150;

/// Runs until a signal, or until the store fails.
pub fn main(program: &str, texts: &[String], parsed: Parsed) -> ExitCode {
    let running = {
        let mut words = vec![program.to_owned()];
        words.extend(without_secrets(texts));
        logs::info("Running: ").with("args", words)
    };
    let loaded = match load(parsed) {
        Ok(loaded) => loaded,
        Err(e) => return refuse(&running, &e.notices, &e.message),
    };
    let Loaded {
        mut settings, notices, ..
    } = loaded;
    notices.iter().for_each(logs::emit);
    running.log();
    bootstrap::substitute_defaults(&mut settings)
        .iter()
        .for_each(logs::emit);
    if settings.data_dir.is_empty() {
        settings.data_dir = format!("{}.etcd", settings.name);
        let told = logs::warn("'data-dir' was empty; using default");
        told.with("data-dir", settings.data_dir.as_str()).log();
    }
    match run(&settings) {
        Ok(End::Signal(signal)) => signals::die_of(signal),
        Ok(End::Failed(reason)) => {
            logs::fatal("the store has failed").with("error", reason).log();
            ExitCode::FAILURE
        }
        Err(e) => {
            logs::fatal("failed to start etcd").with("error", e).log();
            ExitCode::FAILURE
        }
    }
}

/// Flags whose values do not belong into a log.
const SECRETS: [&str; 2] = ["discovery-password", "discovery-user"];

fn without_secrets(texts: &[String]) -> Vec<String> {
    let mut hides = false;
    let shown = |text: &String| {
        if std::mem::take(&mut hides) {
            return "***".to_owned();
        }
        let (flag, value) = text
            .split_once('=')
            .map_or((text.as_str(), None), |(f, v)| (f, Some(v)));
        let secret = flag.starts_with('-') && SECRETS.contains(&flag.trim_start_matches('-'));
        hides = secret && value.is_none();
        match value {
            Some(_) if secret => format!("{flag}=***"),
            _ => text.clone(),
        }
    };
    texts.iter().map(shown).collect()
}

/// Settings that fit together, with logging set up by them.
fn load(parsed: Parsed) -> Result<Loaded, LoadError> {
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let mut loaded = args::load(parsed, &env)?;
    let checked = logs::init(&loaded.settings.log).and_then(|()| validate::check(&loaded));
    match checked {
        Ok(notices) => {
            loaded.notices.extend(notices);
            Ok(loaded)
        }
        Err(message) => Err(LoadError {
            message,
            notices: loaded.notices,
        }),
    }
}

fn refuse(running: &Notice, notices: &[Notice], message: &str) -> ExitCode {
    notices.iter().for_each(logs::emit);
    running.log();
    logs::warn("failed to verify flags").with("error", message).log();
    if message == validate::ADVERTISE_MISSING {
        logs::warn("advertise client URLs are not set")
            .with("error", message)
            .log();
    }
    ExitCode::FAILURE
}

enum End {
    Signal(Signal),
    Failed(String),
}

fn run(settings: &Settings) -> Result<End, String> {
    let data_dir = PathBuf::from(&settings.data_dir);
    bootstrap::refuse_etcds_folder(&data_dir)?;
    check_descriptors()?;
    warn_of_permissions(&data_dir);
    // One thread serves: work that takes the disk's time has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    runtime.block_on(serve(settings, &data_dir))
}

/// Others on the machine should not read the data.
fn warn_of_permissions(data_dir: &Path) {
    let Ok(metadata) = std::fs::metadata(data_dir) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let told = logs::warn("check file permission");
        told.with(
            "error",
            format!(
                "directory {:?} exist, but the permission is {mode:o}. The recommended permission is 700 to prevent \
                 possible unprivileged access to the data",
                data_dir.display().to_string()
            ),
        )
        .log();
    }
}

/// Takes as many descriptors as it is allowed to, as programs in Go do, and refuses too few.
fn check_descriptors() -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    let (mut limit, allowed) = limits.map_err(|e| format!("read the limit of file descriptors: {e}"))?;
    if limit < allowed && setrlimit(Resource::RLIMIT_NOFILE, allowed, allowed).is_ok() {
        limit = allowed;
    }
    match limit > DESCRIPTORS_MIN {
        true => Ok(()),
        false => Err(format!(
            "file descriptor limit of etcd process is too low; please set higher (limit: {limit}, recommended: more than \
             {DESCRIPTORS_MIN})"
        )),
    }
}

async fn serve(settings: &Settings, data_dir: &Path) -> Result<End, String> {
    let mut signals = Signals::new()?;
    let initialised = bootstrap::is_initialised(data_dir);
    if initialised {
        let told = logs::info("server has already been initialized");
        told.with("data-dir", settings.data_dir.as_str())
            .with("dir-type", "member")
            .log();
    } else {
        let told = logs::info("Initialize and start etcd server");
        told.with("data-dir", settings.data_dir.as_str())
            .with("dir-type", "empty")
            .log();
    }
    let mut options = options::build(settings, data_dir)?;
    options.bootstrap = match initialised {
        // What the flags say of the beginning means nothing to a member that has begun.
        true => bootstrap::of_initialised(settings),
        // Others may have to come first: that can take as long as they like.
        false => tokio::select! {
            found = bootstrap::find(settings) => found?,
            signal = signals.next() => return Ok(interrupted(signal)),
        },
    };
    banner(settings, &options.bootstrap, initialised, data_dir);
    let server = tokio::select! {
        started = Server::start(options) => started.map_err(|e| e.to_string())?,
        signal = signals.next() => return Ok(interrupted(signal)),
    };
    notify::ready();
    let end = tokio::select! {
        signal = signals.next() => interrupted(signal),
        reason = server.failed() => End::Failed(reason),
    };
    notify::stopping();
    let about = |message| {
        logs::info(message)
            .with("name", settings.name.as_str())
            .with("data-dir", settings.data_dir.as_str())
            .with("advertise-peer-urls", strings(&settings.advertise_peer_urls))
            .with("advertise-client-urls", strings(&settings.advertise_client_urls))
    };
    about("closing etcd server").log();
    tokio::select! {
        () = server.shutdown() => about("closed etcd server").log(),
        signal = signals.next() => {
            let told = logs::warn("received another signal; ending at once");
            told.with("signal", signals::name(signal)).log();
            return Ok(End::Signal(signal));
        }
    }
    Ok(end)
}

/// Where this member calls others from (`SetMemberLocalAddr`): its first advertised address that others can reach.
fn local_address(s: &Settings) -> String {
    if !s.gates.enabled("SetMemberLocalAddr") {
        return String::new();
    }
    let hosts = s.advertise_peer_urls.iter().filter_map(|url| url.host_port().ok());
    let mut addresses = hosts.filter_map(|(host, _)| host.parse::<IpAddr>().ok());
    let found = addresses.find(|ip| !ip.is_loopback() && !ip.is_unspecified());
    match found {
        Some(ip) => ip.to_string(),
        None => {
            let told = logs::warn("unable to set a member local address due to lack of suitable local addresses");
            told.with("advertise-peer-urls", strings(&s.advertise_peer_urls)).log();
            String::new()
        }
    }
}

fn interrupted(signal: Signal) -> End {
    let told = logs::info("received signal; shutting down");
    told.with("signal", signals::name(signal)).log();
    End::Signal(signal)
}

/// The line that says how a member was started; tools read its fields.
fn banner(s: &Settings, begin: &Bootstrap, initialised: bool, data_dir: &Path) {
    let (os, arch) = version::os_arch();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (members, token) = match begin {
        Bootstrap::Alone => (String::new(), String::new()),
        Bootstrap::New { members, token } | Bootstrap::Existing { members, token } => {
            let pairs = members
                .iter()
                .flat_map(|(name, urls)| urls.iter().map(move |u| format!("{name}={u}")));
            (pairs.collect::<Vec<_>>().join(","), token.clone())
        }
    };
    let millis =
        |ms: u64| crate::settings::Span::from_millis(i64::try_from(ms).unwrap_or(i64::MAX / 1_000_000)).to_string();
    let quota = if s.quota_bytes == 0 { 2 << 30 } else { s.quota_bytes };
    let d = &s.discovery;
    let fields = [
        ("etcd-version", json!(version::ETCD_VERSION)),
        ("git-sha", json!(version::build())),
        ("go-version", json!(version::LANGUAGE)),
        ("go-os", json!(os)),
        ("go-arch", json!(arch)),
        ("max-cpu-set", json!(cpus)),
        ("max-cpu-available", json!(cpus)),
        ("member-initialized", json!(initialised)),
        ("name", json!(s.name)),
        ("data-dir", json!(s.data_dir)),
        ("wal-dir", json!(s.wal_dir)),
        ("wal-dir-dedicated", json!(s.wal_dir)),
        ("member-dir", json!(data_dir)),
        ("force-new-cluster", json!(s.force_new_cluster)),
        ("heartbeat-interval", json!(millis(s.heartbeat_ms))),
        ("election-timeout", json!(millis(s.election_ms))),
        ("initial-election-tick-advance", json!(s.initial_election_tick_advance)),
        ("snapshot-count", json!(s.snapshot_count)),
        ("max-wals", json!(s.max_wals)),
        ("max-snapshots", json!(s.max_snapshots)),
        ("snapshot-catchup-entries", json!(s.snapshot_catchup_entries)),
        ("initial-advertise-peer-urls", json!(strings(&s.advertise_peer_urls))),
        ("listen-peer-urls", json!(strings(&s.listen_peer_urls))),
        ("advertise-client-urls", json!(strings(&s.advertise_client_urls))),
        ("listen-client-urls", json!(strings(&s.listen_client_urls))),
        ("listen-metrics-urls", json!(strings(&s.listen_metrics_urls))),
        ("local-address", json!(local_address(s))),
        ("cors", json!(s.cors)),
        ("host-whitelist", json!(s.host_whitelist)),
        ("initial-cluster", json!(members)),
        ("initial-cluster-state", json!(s.initial_cluster_state)),
        ("initial-cluster-token", json!(token)),
        ("quota-backend-bytes", json!(quota)),
        ("max-request-bytes", json!(s.max_request_bytes)),
        ("max-concurrent-streams", json!(s.max_concurrent_streams)),
        ("pre-vote", json!(s.pre_vote)),
        ("feature-gates", json!(s.gates.to_string())),
        ("initial-corrupt-check", json!(s.gates.enabled("InitialCorruptCheck"))),
        ("corrupt-check-time-interval", json!(s.corrupt_check_time.to_string())),
        (
            "compact-check-time-interval",
            json!(s.compact_hash_check_time.to_string()),
        ),
        ("auto-compaction-mode", json!(s.auto_compaction_mode)),
        ("auto-compaction-retention", json!(s.auto_compaction_retention)),
        ("discovery-token", json!(d.token)),
        ("discovery-endpoints", json!(d.endpoints.join(","))),
        ("discovery-dial-timeout", json!(d.dial_timeout.to_string())),
        ("discovery-request-timeout", json!(d.request_timeout.to_string())),
        ("discovery-keepalive-time", json!(d.keepalive_time.to_string())),
        ("discovery-keepalive-timeout", json!(d.keepalive_timeout.to_string())),
        ("discovery-insecure-transport", json!(d.insecure_transport)),
        ("discovery-insecure-skip-tls-verify", json!(d.insecure_skip_verify)),
        ("discovery-cert", json!(d.cert)),
        ("discovery-key", json!(d.key)),
        ("discovery-cacert", json!(d.cacert)),
        ("discovery-user", json!(d.user.split(':').next().unwrap_or_default())),
        ("downgrade-check-interval", json!(s.downgrade_check_time.to_string())),
        ("max-learners", json!(s.max_learners)),
        ("v2-deprecation", json!("write-only")),
    ];
    let line = logs::info("starting an etcd server");
    fields
        .into_iter()
        .fold(line, |line, (name, value)| line.with(name, value))
        .log();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_logged() {
        let texts = "--name=m -discovery-password=x --discovery-user u:p --pre-vote".split(' ');
        let texts: Vec<String> = texts.map(str::to_owned).collect();
        let shown = without_secrets(&texts).join(" ");
        assert_eq!(
            shown,
            "--name=m -discovery-password=*** --discovery-user *** --pre-vote"
        );
    }
}
