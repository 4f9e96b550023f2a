//! Settings in the server's terms.

use crate::settings::{Settings, TlsSettings};
use crate::tls::{self, Side};
use crate::urls::{Url, join, strings};
use keelson_kvstore::{
    AuthOptions, AutoCompaction, ClientListener, CorruptionChecks, HttpOptions, Limits, ListenAddr, Options, Peers,
    RaftTimes, Serves, TokenKind,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);

/// Everything but the beginning of the cluster, which may have to be looked for.
pub fn build(s: &Settings, data_dir: &Path) -> Result<Options, String> {
    let mut options = Options::new(s.name.as_str(), data_dir);
    options.wal_dir = (!s.wal_dir.is_empty()).then(|| PathBuf::from(&s.wal_dir));
    options.peers = peers(s, data_dir)?;
    options.clients = clients(s, data_dir)?;
    options.http = HttpOptions {
        gateway: s.grpc_gateway,
        cors: s.cors.clone(),
        host_whitelist: s.host_whitelist.clone(),
    };
    options.advertise_client_urls = strings(&s.advertise_client_urls);
    options.force_new_cluster = s.force_new_cluster;
    options.raft = RaftTimes {
        heartbeat: Duration::from_millis(s.heartbeat_ms),
        election: Duration::from_millis(s.election_ms),
        pre_vote: s.pre_vote,
    };
    options.catchup_entries = s.snapshot_catchup_entries;
    options.snapshot_count = s.snapshot_count;
    options.strict_reconfig_check = s.strict_reconfig_check;
    options.max_learners = usize::try_from(s.max_learners).unwrap_or_default();
    options.limits = limits(s);
    options.auto_compaction = auto_compaction(s)?;
    options.auth = auth(s)?;
    options.checks = CorruptionChecks {
        initial: s.gates.enabled("InitialCorruptCheck"),
        periodic: s.corrupt_check_time.or_zero(),
        compact_hash: s
            .compact_hash_check_time
            .positive()
            .filter(|_| s.gates.enabled("CompactHashCheck")),
    };
    options.progress_interval = s.progress_interval.positive().unwrap_or(PROGRESS_INTERVAL_DEFAULT);
    options.warning_apply = s.warning_apply.or_zero();
    options.warning_unary = s.warning_unary.positive().unwrap_or(Duration::from_millis(300));
    options.lease_checkpoint = s.gates.enabled("LeaseCheckpoint");
    options.extensive_metrics = s.metrics == "extensive";
    options.unsafe_no_fsync = s.unsafe_no_fsync;
    Ok(options)
}

fn limits(s: &Settings) -> Limits {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        request_bytes: bytes(s.max_request_bytes),
        txn_ops: bytes(s.max_txn_ops),
        // None is no limit.
        concurrent_streams: if s.max_concurrent_streams == 0 {
            u32::MAX
        } else {
            s.max_concurrent_streams
        },
        // Less than zero is no limit.
        quota_bytes: u64::try_from(s.quota_bytes).unwrap_or(u64::MAX),
        keepalive_interval: s.keepalive_interval.or_zero(),
        keepalive_timeout: s.keepalive_timeout.or_zero(),
    }
}

fn auto_compaction(s: &Settings) -> Result<AutoCompaction, String> {
    let text = if s.auto_compaction_retention.is_empty() {
        "0"
    } else {
        &s.auto_compaction_retention
    };
    if let Some(number) = text.parse::<i64>().ok().filter(|n| *n >= 0) {
        return Ok(match (number, s.auto_compaction_mode.as_str()) {
            (0, _) => AutoCompaction::Off,
            (n, "revision") => AutoCompaction::Revision(n),
            (n, _) => AutoCompaction::Periodic(Duration::from_secs(n.unsigned_abs().saturating_mul(3600))),
        });
    }
    let span = crate::args::values::parse_span(text).map_err(|e| format!("error parsing CompactionRetention: {e}"))?;
    match (span.positive(), s.auto_compaction_mode.as_str()) {
        (None, _) => Ok(AutoCompaction::Off),
        (Some(period), "periodic") => Ok(AutoCompaction::Periodic(period)),
        // etcd takes the nanoseconds for revisions.
        (Some(_), _) => Err(format!(
            "--auto-compaction-retention={text} is a duration, and --auto-compaction-mode=revision wants a number of revisions"
        )),
    }
}

fn auth(s: &Settings) -> Result<AuthOptions, String> {
    let token = match s.auth_token.split_once(',').unwrap_or((&s.auth_token, "")) {
        ("simple" | "", _) => TokenKind::Simple {
            ttl: Duration::from_secs(if s.auth_token_ttl_s == 0 {
                300
            } else {
                s.auth_token_ttl_s
            }),
        },
        ("jwt", options) => TokenKind::Jwt {
            options: options.to_owned(),
        },
        _ => return Err(format!("auth: invalid auth options (--auth-token={})", s.auth_token)),
    };
    let cost = u32::try_from(s.bcrypt_cost).unwrap_or(0);
    Ok(AuthOptions {
        token,
        bcrypt_cost: if (4..=31).contains(&cost) { cost } else { 10 },
        client_cert_identity: s.client_tls.client_cert_auth,
    })
}

/// `localhost` is the address of the machine to itself.
fn listen_addr(url: &Url) -> Result<ListenAddr, String> {
    if url.is_unix() {
        return Ok(ListenAddr::Unix(PathBuf::from(url.socket_path())));
    }
    let (host, port) = url.host_port()?;
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host
            .parse()
            .map_err(|_| format!("expected IP in URL for binding ({url})"))?,
    };
    let ip = if ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        everywhere()
    } else {
        ip
    };
    let port = match port {
        "" => 0,
        _ => port
            .parse()
            .map_err(|_| format!("listen tcp: address {port}: invalid port ({url})"))?,
    };
    Ok(ListenAddr::Tcp(SocketAddr::new(ip, port)))
}

/// As Go has it, `0.0.0.0` is every address of the machine, of IPv6 too where there is any.
fn everywhere() -> IpAddr {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let has_ipv6 = !read("/proc/net/if_inet6").is_empty();
    let takes_both = read("/proc/sys/net/ipv6/bindv6only").trim() == "0";
    match has_ipv6 && takes_both {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

fn peers(s: &Settings, data_dir: &Path) -> Result<Peers, String> {
    let secure = s.listen_peer_urls.iter().filter(|u| u.is_secure()).count();
    if secure > 0 && s.peer_tls.is_empty() && !s.peer_tls.auto {
        let host = s
            .listen_peer_urls
            .iter()
            .find(|u| u.is_secure())
            .map(|u| u.host.clone());
        let host = host.unwrap_or_default();
        return Err(format!(
            "cannot listen on TLS for {host}: KeyFile and CertFile are not presented"
        ));
    }
    if secure > 0 && secure < s.listen_peer_urls.len() {
        let urls = join(&s.listen_peer_urls);
        return Err(format!(
            "--listen-peer-urls={urls} has URLs with TLS and without: all of them must be of one kind"
        ));
    }
    warn_of_ignored_tls(&s.listen_peer_urls, &s.peer_tls, Side::Peer);
    let identity = tls::identity(s, &s.peer_tls, Side::Peer, data_dir)?;
    let server_tls = if secure > 0 {
        Some(tls::server_config(s, &identity, Side::Peer)?)
    } else {
        None
    };
    Ok(Peers {
        listeners: s.listen_peer_urls.iter().map(listen_addr).collect::<Result<_, _>>()?,
        caller_check: server_tls.as_ref().and_then(|_| tls::caller_check(&identity)),
        server_tls,
        client_tls: Some(tls::client_config(s, &identity)?),
        advertise_urls: strings(&s.advertise_peer_urls),
        set_local_addr: s.gates.enabled("SetMemberLocalAddr"),
        reuse_port: s.reuse_port,
    })
}

fn warn_of_ignored_tls(urls: &[Url], tls: &TlsSettings, side: Side) {
    for url in urls.iter().filter(|u| !u.is_secure()) {
        let (plain, field, auth) = match side {
            Side::Peer => ("HTTP", "peer-url", "--peer-client-cert-auth"),
            Side::Client => ("http or unix", "client-url", "--client-cert-auth"),
        };
        if !tls.is_empty() {
            let told = format!("scheme is {plain} while key and cert files are present; ignoring key and cert files");
            crate::logs::warn(&told).with(field, url.to_string()).log();
        }
        if tls.client_cert_auth {
            let told = format!("scheme is {plain} while {auth} is enabled; ignoring client cert auth for this URL");
            crate::logs::warn(&told).with(field, url.to_string()).log();
        }
    }
}

fn clients(s: &Settings, data_dir: &Path) -> Result<Vec<ClientListener>, String> {
    let served = || s.listen_client_urls.iter().chain(&s.listen_client_http_urls);
    let every: Vec<Url> = served().cloned().collect();
    warn_of_ignored_tls(&every, &s.client_tls, Side::Client);
    let has_tls = !s.client_tls.is_empty() || s.client_tls.auto;
    if let Some(url) = served().find(|u| u.is_secure() && !has_tls) {
        return Err(format!(
            "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
        ));
    }
    if s.listen_metrics_urls.iter().any(Url::is_secure) && !has_tls {
        return Err("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url".to_owned());
    }
    let wants_tls = served().chain(&s.listen_metrics_urls).any(Url::is_secure);
    let identity = tls::identity(s, &s.client_tls, Side::Client, data_dir)?;
    let tls = if wants_tls {
        Some(tls::server_config(s, &identity, Side::Client)?)
    } else {
        None
    };
    let split = !s.listen_client_http_urls.is_empty();
    let grpc = if split { Serves::Grpc } else { Serves::All };
    let mut listeners: Vec<ClientListener> = Vec::new();
    for (urls, serves) in [
        (&s.listen_client_urls, grpc),
        (&s.listen_client_http_urls, Serves::Http),
        (&s.listen_metrics_urls, Serves::Metrics),
    ] {
        for url in urls {
            let addr = listen_addr(url)?;
            let taken = listeners.iter().find(|l| l.addr == addr && addr != any_port(&addr));
            match taken {
                Some(other) if serves == Serves::Http && other.serves == grpc => {
                    return Err(format!(
                        "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
                    ));
                }
                Some(_) => return Err(format!("cannot listen twice on the same address: {url}")),
                None => {}
            }
            let tls = tls.clone().filter(|_| url.is_secure());
            listeners.push(ClientListener {
                addr,
                tls,
                serves,
                reuse_port: s.reuse_port,
            });
        }
    }
    Ok(listeners)
}

/// The same address with port 0, which may be opened any number of times.
fn any_port(addr: &ListenAddr) -> ListenAddr {
    match addr {
        ListenAddr::Tcp(addr) => ListenAddr::Tcp(SocketAddr::new(addr.ip(), 0)),
        ListenAddr::Unix(path) => ListenAddr::Unix(path.with_file_name("")),
    }
}
