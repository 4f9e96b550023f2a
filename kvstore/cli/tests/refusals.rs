//! Command lines that no member can be started with: this program and a real etcd say the same of them.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A refusal takes milliseconds; this is for a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

fn real_etcd() -> PathBuf {
    PathBuf::from(std::env::var_os("ETCD").expect("ETCD names a real etcd to compare with"))
}

/// Exit code and the sentence that says why: the first line of the usage, or the error of the last log line.
fn outcome(program: &Path, args: &[String], env: &[(&str, &str)]) -> (Option<i32>, String) {
    outcome_with(program, args, env, "")
}

/// The same, with a file `etcd.yaml` in the folder that it is started in.
fn outcome_with(program: &Path, args: &[String], env: &[(&str, &str)], file: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("etcd.yaml"), file).unwrap();
    let mut child = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + END_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{} {args:?} runs on instead of refusing:\n{}",
                program.display(),
                reader.join().unwrap().unwrap()
            );
        }
        std::thread::sleep(LOOK);
    };
    let text = reader.join().unwrap().unwrap();
    (status.code(), sentence(&text))
}

fn sentence(text: &str) -> String {
    let mut told = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = line.get("level")?.as_str()?;
        let final_word = level == "fatal" || line.get("msg")? == "failed to verify flags";
        let error = line.get("error").or(line.get("environment-variable"))?;
        final_word.then(|| error.as_str().map(str::to_owned))?
    });
    told.next_back()
        .unwrap_or_else(|| text.lines().next().unwrap_or_default().to_owned())
}

/// Two free ports: for clients and for peers.
fn free_ports() -> (u16, u16) {
    let open = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (a, b) = (open(), open());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

/// Arguments with `CLIENT` and `PEER` replaced by free ports; `LISTEN` stands for a whole set of good URLs.
fn arguments(text: &str) -> Vec<String> {
    let (client, peer) = free_ports();
    let listen = "--listen-client-urls http://127.0.0.1:CLIENT --advertise-client-urls http://127.0.0.1:CLIENT \
                  --listen-peer-urls http://127.0.0.1:PEER --initial-advertise-peer-urls http://127.0.0.1:PEER";
    let text = text.replace("LISTEN", listen);
    let text = text
        .replace("CLIENT", &client.to_string())
        .replace("PEER", &peer.to_string());
    text.split_whitespace()
        .map(|word| if word == "''" { String::new() } else { word.to_owned() })
        .collect()
}

#[track_caller]
fn same(args: &str, env: &[(&str, &str)], sees: &str) {
    let args = arguments(args);
    let theirs = outcome(&real_etcd(), &args, env);
    let ours = outcome(env!("CARGO_BIN_EXE_keelson-kvstore").as_ref(), &args, env);
    assert!(theirs.1.contains(sees), "etcd says of {args:?}: {theirs:?}");
    assert_eq!(ours, theirs, "{args:?}");
}

#[test]
fn flags_that_cannot_be_read() {
    for (args, sees) in [
        ("--nope", "flag provided but not defined: -nope"),
        ("-nope=1", "flag provided but not defined: -nope"),
        ("--discovery x", "flag provided but not defined: -discovery"),
        ("--name", "flag needs an argument: -name"),
        ("---name x", "bad flag syntax: ---name"),
        ("--=x", "bad flag syntax: --=x"),
        ("extra", r#""extra" is not a valid flag"#),
        (
            "--heartbeat-interval x",
            r#"invalid value "x" for flag -heartbeat-interval: parse error"#,
        ),
        ("--heartbeat-interval -1", "parse error"),
        ("--snapshot-count 99999999999999999999", "value out of range"),
        ("--quota-backend-bytes 1x", "parse error"),
        ("--max-concurrent-streams -1", "invalid syntax"),
        ("--max-concurrent-streams 4294967296", "value out of range"),
        (
            "--grpc-keepalive-timeout 5",
            r#"invalid value "5" for flag -grpc-keepalive-timeout: parse error"#,
        ),
        (
            "--pre-vote=maybe",
            r#"invalid boolean value "maybe" for -pre-vote: parse error"#,
        ),
        ("--initial-cluster-state foo", "invalid value"),
        ("--discovery-fallback foo", "invalid value"),
        ("--v2-deprecation foo", "invalid value"),
        ("--feature-gates Foo=true", "unrecognized feature gate: Foo"),
        (
            "--feature-gates LeaseCheckpoint",
            "missing bool value for LeaseCheckpoint",
        ),
        (
            "--feature-gates LeaseCheckpoint=x",
            "invalid value of LeaseCheckpoint=x",
        ),
        (
            "--listen-peer-urls nourl",
            "URL scheme must be http, https, unix, or unixs: nourl",
        ),
        (
            "--listen-peer-urls http://127.0.0.1",
            r#"does not have the form "host:port""#,
        ),
        ("--listen-peer-urls http://127.0.0.1:1/x", "URL must not contain a path"),
        (
            "--listen-peer-urls 127.0.0.1:1",
            "first path segment in URL cannot contain colon",
        ),
        ("--advertise-client-urls http://a:x", "invalid port"),
        ("--cors foo", "URL scheme must be"),
    ] {
        same(args, &[], sees);
    }
}

#[test]
fn settings_that_do_not_fit_together() {
    for (args, sees) in [
        (
            "--listen-peer-urls http://foo:2380",
            "expected IP in URL for binding (http://foo:2380)",
        ),
        (
            "--listen-client-http-urls http://foo:1",
            "expected IP in URL for binding",
        ),
        ("--listen-metrics-urls http://foo:1", "expected IP in URL for binding"),
        (
            "--listen-client-urls http://127.0.0.1:1",
            "--advertise-client-urls is required",
        ),
        ("--listen-client-urls ''", "--advertise-client-urls is required"),
        ("--advertise-client-urls http://:1", "unexpected empty host"),
        ("--initial-advertise-peer-urls http://:1", r#"must be "host:port""#),
        ("--heartbeat-interval 0", "--heartbeat-interval must be >0"),
        ("--election-timeout 0", "--election-timeout must be >0"),
        ("--election-timeout 400", "should be at least as 5 times"),
        ("--election-timeout 60000", "is too long"),
        (
            "--discovery-srv a.b --initial-cluster x=http://a:1",
            "multiple discovery or bootstrap flags are set",
        ),
        (
            "--discovery-token x",
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        (
            "--discovery-endpoints http://a:1",
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        (
            "--discovery-endpoints a,,b --discovery-token t",
            "must not contain empty endpoints",
        ),
        ("--discovery-fallback proxy", "v2 proxy is deprecated"),
        ("--auto-compaction-mode foo", "unknown auto-compaction-mode"),
        ("--auto-compaction-mode ''", "undefined auto-compaction-mode"),
        (
            "--feature-gates LeaseCheckpointPersist=true",
            "requires enabling feature gate LeaseCheckpoint",
        ),
        (
            "--compact-hash-check-time 0",
            "--compact-hash-check-time must be >0 (set to 0s)",
        ),
        ("--compact-hash-check-time -90s", "(set to -1m30s)"),
        ("--tls-min-version TLS1.1", "unexpected TLS version"),
        (
            "--tls-min-version TLS1.3 --tls-max-version TLS1.2",
            "is greater than max version",
        ),
        (
            "--tls-min-version TLS1.3 --cipher-suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "cipher suites cannot be",
        ),
        (
            "--enable-distributed-tracing --distributed-tracing-sampling-rate 2000000",
            "sampling rate",
        ),
        (
            "--enable-distributed-tracing --distributed-tracing-sampling-rate=-1",
            "sampling rate",
        ),
        ("--config-file /nowhere/x", "open /nowhere/x: no such file or directory"),
    ] {
        same(args, &[], sees);
    }
}

#[test]
fn settings_of_the_log() {
    for (args, sees) in [
        ("--logger capnslog", "--logger=capnslog is removed in v3.5"),
        ("--logger foo", r#"unknown logger option "foo""#),
        ("--log-format foo", "unknown log format: foo"),
        ("--log-outputs default,stdout", "multi logoutput"),
        ("--enable-log-rotation", "requires a single file path"),
        (
            "--enable-log-rotation --log-outputs a.log,b.log",
            "requires a single file path",
        ),
    ] {
        same(args, &[], sees);
    }
}

#[test]
fn variables() {
    same(
        "",
        &[("ETCD_MAX_TXN_OPS", "x")],
        r#"invalid value "x" for ETCD_MAX_TXN_OPS: parse error"#,
    );
    same(
        "",
        &[("ETCD_LISTEN_PEER_URLS", "http://foo:1")],
        "expected IP in URL for binding",
    );
    same("", &[("ETCD_CONFIG_FILE", "/nowhere/x")], "open /nowhere/x");
    // etcd's names the variable in a field of its own; the sentence is in the message.
    let args = arguments("--name m");
    let ours = outcome(
        env!("CARGO_BIN_EXE_keelson-kvstore").as_ref(),
        &args,
        &[("ETCD_NAME", "n")],
    );
    let theirs = outcome(&real_etcd(), &args, &[("ETCD_NAME", "n")]);
    assert_eq!((theirs.0, theirs.1.as_str()), (Some(1), "ETCD_NAME"));
    assert_eq!(ours.0, theirs.0);
    assert!(
        ours.1
            .contains("conflicting environment variable \"ETCD_NAME\" is shadowed"),
        "{ours:?}"
    );
}

#[test]
fn the_beginning_of_a_cluster() {
    for (args, sees) in [
        (
            "LISTEN --name a --initial-cluster b=http://127.0.0.1:PEER",
            "couldn't find local name",
        ),
        (
            "LISTEN --name a --initial-cluster a=http://127.0.0.1:1",
            "--initial-cluster has a=http://127.0.0.1:1 but missing from --initial-advertise-peer-urls=",
        ),
        (
            "LISTEN --name a --initial-cluster a=http://127.0.0.1:PEER,a=http://127.0.0.1:1",
            "--initial-cluster has a=http://127.0.0.1:1 but missing from",
        ),
        (
            "LISTEN --name a --initial-cluster a=http://127.0.0.1:PEER,b=http://127.0.0.1:PEER",
            "has duplicate url",
        ),
        (
            "LISTEN --name a --initial-cluster a=nourl",
            "error setting up initial cluster: ",
        ),
        (
            "LISTEN --name a --initial-cluster a",
            "error setting up initial cluster: ",
        ),
        (
            "LISTEN --name a --auto-compaction-retention foo",
            "error parsing CompactionRetention",
        ),
        ("LISTEN --name a --cipher-suites FOO", "unexpected TLS cipher suite"),
    ] {
        same(args, &[], sees);
    }
}

#[test]
fn tls() {
    let https = "--listen-client-urls https://127.0.0.1:CLIENT --advertise-client-urls https://127.0.0.1:CLIENT \
                 --listen-peer-urls http://127.0.0.1:PEER --initial-advertise-peer-urls http://127.0.0.1:PEER \
                 --initial-cluster default=http://127.0.0.1:PEER";
    same(
        https,
        &[],
        "TLS key/cert (--cert-file, --key-file) must be provided for client url",
    );
    same(
        "LISTEN --listen-peer-urls https://127.0.0.1:PEER",
        &[],
        "KeyFile and CertFile are not presented",
    );
    same(
        "LISTEN --listen-client-http-urls http://127.0.0.1:CLIENT",
        &[],
        "cannot bind both --listen-client-urls and --listen-client-http-urls",
    );
}

#[test]
fn files() {
    for (file, sees) in [
        ("initial-cluster-state: foo\n", r#"unexpected clusterState "foo""#),
        (
            "heartbeat-interval: 0\n",
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (
            "listen-peer-urls: http://a\n",
            "unexpected error setting up listen-peer-urls: URL address does not have",
        ),
        (
            "listen-peer-urls: http://a:1\n",
            "expected IP in URL for binding (http://a:1)",
        ),
        (
            "discovery-config:\n  token: x\n",
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        ("feature-gates: Foo=true\n", "unrecognized feature gate: Foo"),
        ("auto-compaction-mode: x\n", r#"unknown auto-compaction-mode "x""#),
        (
            "compact-hash-check-time: -1000000000\n",
            "--compact-hash-check-time must be >0 (set to -1s)",
        ),
        ("log-outputs: [default, stdout]\n", "multi logoutput"),
    ] {
        let args = ["--config-file".to_owned(), "etcd.yaml".to_owned()];
        let theirs = outcome_with(&real_etcd(), &args, &[], file);
        let ours = outcome_with(env!("CARGO_BIN_EXE_keelson-kvstore").as_ref(), &args, &[], file);
        assert!(theirs.1.contains(sees), "etcd says of {file:?}: {theirs:?}");
        assert_eq!(ours, theirs, "{file:?}");
    }
}
