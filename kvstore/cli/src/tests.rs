//! Command lines, variables and files, to options or a message.
#![allow(clippy::unwrap_used)]

use crate::args::{self, Loaded, UsageError};
use crate::{bootstrap, options, validate};
use keelson_kvstore::{AutoCompaction, Bootstrap, ListenAddr, Options, Serves, TokenKind};
use std::time::Duration;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |word: String| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
    words(text).into_iter().map(pair).collect()
}

/// What a start would do, up to the opening of ports. `file`, when not empty, is given by `--config-file`.
fn load(args: &str, env: &str, file: &str) -> Result<Loaded, String> {
    let mut args = words(args);
    let dir = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        let path = dir.path().join("etcd.yaml");
        std::fs::write(&path, file).unwrap();
        args.push(format!("--config-file={}", path.display()));
    }
    let parsed = args::parse(&args).map_err(|e| match e {
        UsageError::Help => "help".to_owned(),
        UsageError::Flag(e) | UsageError::Argument(e) => e,
    })?;
    let mut loaded = args::load(parsed, &pairs(env)).map_err(|e| e.message)?;
    loaded.notices.extend(validate::check(&loaded)?);
    Ok(loaded)
}

fn check(args: &str, env: &str, file: &str) -> Result<Options, String> {
    let mut loaded = load(args, env, file)?;
    bootstrap::substitute_defaults(&mut loaded.settings);
    let dir = tempfile::tempdir().unwrap();
    let mut options = options::build(&loaded.settings, dir.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    options.bootstrap = runtime.block_on(bootstrap::find(&loaded.settings))?;
    Ok(options)
}

#[track_caller]
fn refused(args: &str, env: &str, file: &str, message: &str) {
    let found = check(args, env, file).map(|_| "accepted").unwrap_err();
    assert_eq!(found, message, "{args} {env} {file}");
}

fn warnings(args: &str) -> Vec<String> {
    let told = load(args, "", "").unwrap().notices;
    told.into_iter()
        .map(|n| {
            n.fields
                .iter()
                .fold(n.message, |text, (name, value)| format!("{text} {name}={value}"))
        })
        .collect()
}

fn tcp(text: &str) -> ListenAddr {
    ListenAddr::Tcp(text.parse().unwrap())
}

fn members(options: &Options) -> String {
    match &options.bootstrap {
        Bootstrap::Alone => "alone".to_owned(),
        Bootstrap::New { members, token } => format!("new {members:?} {token}"),
        Bootstrap::Existing { members, token } => format!("existing {members:?} {token}"),
    }
}

#[test]
fn nothing_said_is_etcds_defaults() {
    let o = check("", "", "").unwrap();
    assert_eq!(o.name, "default");
    assert_eq!(
        members(&o),
        r#"new {"default": ["http://localhost:2380"]} etcd-cluster"#
    );
    assert_eq!(o.clients.first().unwrap().addr, tcp("127.0.0.1:2379"));
    assert_eq!(o.clients.first().unwrap().serves, Serves::All);
    assert_eq!(o.advertise_client_urls, ["http://localhost:2379"]);
    assert_eq!(o.peers.listeners, [tcp("127.0.0.1:2380")]);
    assert_eq!(o.peers.advertise_urls, ["http://localhost:2380"]);
    assert_eq!(
        (o.snapshot_count, o.catchup_entries, o.max_learners),
        (10_000, 5_000, 1)
    );
    assert_eq!(
        (
            o.raft.heartbeat.as_millis(),
            o.raft.election.as_millis(),
            o.raft.pre_vote
        ),
        (100, 1000, true)
    );
    assert_eq!(
        (o.limits.request_bytes, o.limits.txn_ops, o.limits.concurrent_streams),
        (1_572_864, 128, u32::MAX)
    );
    assert_eq!((o.limits.quota_bytes, o.auto_compaction), (0, AutoCompaction::Off));
    assert_eq!(o.progress_interval, Duration::from_secs(600));
    assert_eq!((o.warning_apply.as_millis(), o.warning_unary.as_millis()), (100, 300));
    assert_eq!(
        (o.checks.initial, o.checks.periodic, o.checks.compact_hash),
        (false, Duration::ZERO, None)
    );
    assert!(o.strict_reconfig_check && !o.force_new_cluster && !o.unsafe_no_fsync && !o.extensive_metrics);
    assert!(o.wal_dir.is_none() && o.http.gateway);
}

#[test]
fn every_form_of_a_flag_is_read() {
    for args in [
        "--name m --pre-vote=false --max-txn-ops 5",
        "-name=m -pre-vote=f -max-txn-ops=5",
        "--name m -pre-vote=0 --max-txn-ops 0x5 --",
        "--name x --max-txn-ops 7 --name m --pre-vote=FALSE --max-txn-ops 5",
    ] {
        let o = check(args, "", "").unwrap();
        assert_eq!(
            (o.name.as_str(), o.raft.pre_vote, o.limits.txn_ops),
            ("m", false, 5),
            "{args}"
        );
    }
}

#[test]
fn kubeadms_flags_are_taken() {
    let o = check(
        "--advertise-client-urls=https://10.0.0.1:2379 --data-dir=/var/lib/etcd --feature-gates=InitialCorruptCheck=true \
         --initial-advertise-peer-urls=http://10.0.0.1:2380 --initial-cluster=cp=http://10.0.0.1:2380 \
         --listen-client-urls=http://127.0.0.1:2379,http://10.0.0.1:2379 --listen-metrics-urls=http://127.0.0.1:2381 \
         --listen-peer-urls=http://10.0.0.1:2380 --name=cp --snapshot-count=10000 --watch-progress-notify-interval=5s",
        "",
        "",
    )
    .unwrap();
    assert!(o.checks.initial);
    assert_eq!(o.progress_interval, Duration::from_secs(5));
    let metrics = o.clients.last().unwrap();
    assert_eq!(
        (&metrics.addr, metrics.serves),
        (&tcp("127.0.0.1:2381"), Serves::Metrics)
    );
    assert_eq!(o.clients.len(), 3);
}

#[test]
fn variables_stand_in_for_flags() {
    let o = check(
        "--name m",
        "ETCD_SNAPSHOT_COUNT=7 ETCD_PRE_VOTE=false ETCD_DATA_DIR=",
        "",
    )
    .unwrap();
    assert_eq!((o.snapshot_count, o.raft.pre_vote), (7, false));
    refused(
        "--name m",
        "ETCD_NAME=n",
        "",
        "conflicting environment variable \"ETCD_NAME\" is shadowed by corresponding command-line flag (either unset \
         environment variable or disable flag)",
    );
    refused(
        "",
        "ETCD_MAX_TXN_OPS=x",
        "",
        r#"invalid value "x" for ETCD_MAX_TXN_OPS: parse error"#,
    );
    let loaded = load("", "ETCD_FOO=1 ETCD_DISCOVERY_PASSWORD=secret", "").unwrap();
    let told = format!("{:?}", loaded.notices);
    assert!(
        told.contains("unrecognized environment variable") && told.contains("ETCD_FOO=1"),
        "{told}"
    );
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_file_is_read_instead_of_flags_and_variables() {
    let o = check("--name flag --max-txn-ops 9", "ETCD_SNAPSHOT_COUNT=7", "name: file\n").unwrap();
    assert_eq!(
        (o.name.as_str(), o.limits.txn_ops, o.snapshot_count),
        ("file", 128, 10_000)
    );
    refused("", "", "nme: x\n", r#"unknown key "nme" in the configuration file"#);
    refused(
        "",
        "",
        "initial-cluster-state: foo\n",
        r#"unexpected clusterState "foo""#,
    );
    refused(
        "--config-file /nowhere/x",
        "",
        "",
        "open /nowhere/x: no such file or directory",
    );
}

#[test]
fn addresses_are_filled_in_as_etcd_does() {
    let o = check("--name m --initial-advertise-peer-urls http://10.0.0.1:7", "", "").unwrap();
    assert_eq!(members(&o), r#"new {"m": ["http://10.0.0.1:7"]} etcd-cluster"#);
    let o = check("--name m --listen-peer-urls http://0.0.0.0:7", "", "").unwrap();
    match crate::host::default_host() {
        Ok(ip) => assert_eq!(o.peers.advertise_urls, [format!("http://{ip}:7")]),
        Err(_) => assert_eq!(o.peers.advertise_urls, ["http://localhost:2380"]),
    }
    let o = check(
        "--listen-client-urls unix:///s --advertise-client-urls unix:///s",
        "",
        "",
    )
    .unwrap();
    assert_eq!(o.clients.first().unwrap().addr, ListenAddr::Unix("/s".into()));
    let o = check(
        "--listen-client-http-urls http://127.0.0.1:4 --listen-client-urls http://[::1]:3 --advertise-client-urls http://x:3",
        "",
        "",
    )
    .unwrap();
    let served: Vec<_> = o.clients.iter().map(|c| (c.addr.clone(), c.serves)).collect();
    assert_eq!(
        served,
        [(tcp("[::1]:3"), Serves::Grpc), (tcp("127.0.0.1:4"), Serves::Http)]
    );
}

#[test]
fn values_become_options() {
    let o = |args: &str| check(args, "", "").unwrap();
    let compaction = |args: &str| o(args).auto_compaction;
    assert_eq!(
        compaction("--auto-compaction-retention 2"),
        AutoCompaction::Periodic(Duration::from_secs(7200))
    );
    assert_eq!(
        compaction("--auto-compaction-retention 5m"),
        AutoCompaction::Periodic(Duration::from_secs(300))
    );
    assert_eq!(
        compaction("--auto-compaction-mode revision --auto-compaction-retention 1000"),
        AutoCompaction::Revision(1000)
    );
    assert_eq!(o("--quota-backend-bytes=-1").limits.quota_bytes, u64::MAX);
    assert_eq!(
        o("--initial-cluster-state existing").bootstrap,
        Bootstrap::Existing {
            members: [("default".to_owned(), vec!["http://localhost:2380".to_owned()])].into(),
            token: "etcd-cluster".to_owned(),
        }
    );
    let jwt = TokenKind::Jwt {
        options: "pub-key=a,sign-method=RS256".to_owned(),
    };
    assert_eq!(o("--auth-token jwt,pub-key=a,sign-method=RS256").auth.token, jwt);
    let simple = TokenKind::Simple {
        ttl: Duration::from_secs(9),
    };
    assert_eq!(o("--auth-token-ttl 9").auth.token, simple);
    assert_eq!(o("--bcrypt-cost 3").auth.bcrypt_cost, 10);
    assert_eq!(
        o("--feature-gates CompactHashCheck=true").checks.compact_hash,
        Some(Duration::from_secs(60))
    );
    assert!(o("--feature-gates AllAlpha=true,LeaseCheckpoint=true").lease_checkpoint);
    assert_eq!(o("--host-whitelist b,a,b").http.host_whitelist, ["a", "b"]);
    assert_eq!(
        o("--cors http://b:1,http://a:1").http.cors,
        ["http://a:1", "http://b:1"]
    );
}

#[test]
fn what_does_nothing_here_is_told() {
    let told = warnings(
        "--backend-batch-limit 5 --enable-pprof --max-snapshots 3 --feature-gates PriorityRequest=true --name m",
    );
    for expected in [
        "flag has no effect flag=\"--backend-batch-limit\" reason=\"the store is not bbolt\"",
        "flag has no effect flag=\"--enable-pprof\"",
        "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        "feature gate has no effect feature-gate=\"PriorityRequest\"",
    ] {
        assert!(told.iter().any(|t| t.starts_with(expected)), "{expected}: {told:#?}");
    }
    // Nothing but the advice about ports, when nothing is wrong.
    assert_eq!(warnings("--name m").len(), 1);
}

#[test]
fn contradictions_of_tls_are_refused() {
    let base = "--listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379";
    for (args, message) in [
        (
            "",
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:2379 with HTTPS scheme",
        ),
        (
            "--cert-file a",
            "KeyFile and CertFile must both be present[key: , cert: a]",
        ),
        (
            "--cert-file /no/a --key-file /no/b",
            "open /no/a: no such file or directory",
        ),
        (
            "--auto-tls --self-signed-cert-validity 0",
            "selfSignedCertValidity is invalid,it should be greater than 0 (and at \
          most 1000 years; --self-signed-cert-validity=0)",
        ),
        ("--auto-tls --cipher-suites FOO", r#"unexpected TLS cipher suite "FOO""#),
    ] {
        refused(&format!("{base} {args}"), "", "", message);
    }
    refused(
        "--peer-cert-allowed-cn a --peer-cert-allowed-hostname b,c",
        "",
        "",
        r#"AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], hostnames=["b", "c"])"#,
    );
    refused(
        "--listen-peer-urls https://127.0.0.1:2380",
        "",
        "",
        "cannot listen on TLS for 127.0.0.1:2380: KeyFile and CertFile are not presented",
    );
}
