//! The program as people run it: started, used by a real etcdctl, ended by signals.
#![allow(clippy::unwrap_used)]

mod program;

use program::{Member, READY, Start, free_port};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_member_serves_a_real_client_and_keeps_what_it_was_told() {
    let mut member = Member::plain(&[]);
    assert_eq!(member.ctl(&["put", "a", "b"]), "OK\n");
    member.kill("-TERM");
    assert_eq!(member.end().signal(), Some(15));
    let dir = std::mem::replace(&mut member.dir, tempfile::tempdir().unwrap());
    let again = Start {
        name: "etcd",
        args: &[],
        scheme: "http",
    };
    std::fs::remove_file(dir.path().join("log")).unwrap();
    let mut member = Member::start_in(dir, &again);
    member.wait_for(READY);
    assert_eq!(member.ctl(&["get", "a"]), "a\nb\n");
    assert_eq!(member.line("starting an etcd server")["member-initialized"], true);
}

#[test]
fn a_normal_start_and_stop_logs_no_error_and_what_tools_look_for() {
    let mut member = Member::plain(&["--log-level", "debug"]);
    member.ctl(&["put", "a", "b"]);
    member.kill("-INT");
    assert_eq!(member.end().signal(), Some(2));
    for line in member.lines() {
        let level = line["level"].as_str().unwrap();
        assert!(["debug", "info", "warn"].contains(&level), "{line}");
        let ts = line["ts"].as_str().unwrap();
        assert_eq!((ts.len(), ts.as_bytes()[26]), (27, b'Z'), "{ts}");
        let caller = line["caller"].as_str().unwrap();
        assert!(caller.contains(".rs:"), "{caller}");
    }
    let banner = member.line("starting an etcd server");
    assert_eq!(banner["etcd-version"], "3.7.3");
    assert_eq!(banner["listen-client-urls"], serde_json::json!([member.client]));
    assert_eq!(
        (&banner["election-timeout"], &banner["quota-backend-bytes"]),
        (&"1s".into(), &(2_u64 << 30).into())
    );
    for message in [
        "Running: ",
        "Initialize and start etcd server",
        READY,
        "serving client traffic insecurely; this is strongly discouraged!",
        "received signal; shutting down",
        "closing etcd server",
        "closed etcd server",
    ] {
        member.line(message);
    }
}

#[test]
fn logs_go_where_they_are_sent_in_the_form_that_is_asked_for() {
    let member = {
        let mut member = Member::start(&Start {
            name: "etcd",
            args: &["--log-outputs", "a.log,stderr", "--log-format", "console"],
            scheme: "http",
        });
        member.wait_for(READY);
        member
    };
    let file = std::fs::read_to_string(member.dir.path().join("a.log")).unwrap();
    let ready = file.lines().find(|l| l.contains(READY)).unwrap();
    let columns: Vec<&str> = ready.split('\t').collect();
    assert_eq!((columns[1], columns[3]), ("info", READY), "{ready}");
    assert!(member.log().contains(ready));
}

#[test]
fn errors_end_the_process_with_a_message() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = format!("http://{}", taken.local_addr().unwrap());
    let mut member = Member::start(&Start {
        name: "etcd",
        args: &["--listen-metrics-urls", &metrics],
        scheme: "http",
    });
    assert_eq!(member.end().code(), Some(1));
    let line = member.line("failed to start etcd");
    assert_eq!(line["level"], "fatal");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
    assert!(error.to_lowercase().contains("address already in use"), "{error}");
}

#[test]
fn the_folder_of_an_etcd_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("data/member/wal")).unwrap();
    let start = Start {
        name: "etcd",
        args: &[],
        scheme: "http",
    };
    let mut member = Member::start_in(dir, &start);
    assert_eq!(member.end().code(), Some(1));
    let line = member.line("failed to start etcd");
    assert!(
        line["error"].as_str().unwrap().contains("holds the data of an etcd"),
        "{line}"
    );
    assert_eq!(std::fs::read_dir(member.dir.path().join("data")).unwrap().count(), 1);
}

#[test]
fn certificates_made_by_the_member_serve_a_real_client() {
    let mut member = Member::start(&Start {
        name: "etcd",
        args: &["--auto-tls", "--tls-min-version", "TLS1.3"],
        scheme: "https",
    });
    member.wait_for(READY);
    let cert = member.dir.path().join("data/fixtures/client/cert.pem");
    let cert = cert.to_string_lossy();
    assert_eq!(member.ctl(&["--cacert", &cert, "put", "a", "b"]), "OK\n");
    assert_eq!(member.ctl(&["--insecure-skip-tls-verify", "get", "a"]), "a\nb\n");
}

#[test]
fn a_file_sets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let file = format!(
        "name: fromfile\ndata-dir: data\nlisten-client-urls: http://127.0.0.1:{client}\n\
         advertise-client-urls: http://127.0.0.1:{client}\nlisten-peer-urls: http://127.0.0.1:{peer}\n\
         initial-advertise-peer-urls: http://127.0.0.1:{peer}\ninitial-cluster: fromfile=http://127.0.0.1:{peer}\n"
    );
    std::fs::write(dir.path().join("etcd.yaml"), file).unwrap();
    let start = Start {
        name: "etcd",
        args: &["--config-file", "etcd.yaml"],
        scheme: "http",
    };
    let mut member = Member::start_in(dir, &start);
    member.wait_for(READY);
    member.client = format!("http://127.0.0.1:{client}");
    assert!(member.ctl(&["member", "list"]).contains("fromfile"));
    member.line("loaded server configuration, other configuration command line flags");
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let program: &Path = env!("CARGO_BIN_EXE_keelson-kvstore").as_ref();
    let done = Command::new(program).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn version_and_help() {
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out.lines().next()), (Some(0), Some("etcd Version: 3.7.3")));
    assert!(out.lines().nth(1).unwrap().starts_with("Git SHA: "));
    let (code, out, usage) = run(&["-h"]);
    assert_eq!(code, Some(0));
    assert!(usage.contains("Usage:") && out.contains("--listen-client-urls 'http://localhost:2379'"));
    let (code, _, told) = run(&["grpc-proxy"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("grpc-proxy is not supported"));
}

/// Every flag that etcd's help lists is known here, with the same default.
#[test]
fn the_help_has_every_flag_of_etcd() {
    let etcd = std::env::var_os("ETCD").expect("ETCD names a real etcd to compare with");
    let theirs = Command::new(etcd).arg("--help").output().unwrap();
    let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
    let (_, ours, _) = run(&["--help"]);
    // In etcd's help, but not among its flags.
    let only_told = ["--discovery", "--discovery-proxy"];
    let flags = theirs
        .lines()
        .filter_map(|l| l.strip_prefix("  --").map(|l| format!("--{l}")));
    let mut count = 0;
    for line in flags {
        let (flag, default) = line.split_once(' ').unwrap_or((&line, ""));
        if only_told.contains(&flag) {
            continue;
        }
        count += 1;
        let mine = ours.lines().map(str::trim).find(|l| l.split(' ').next() == Some(flag));
        let mine = mine.unwrap_or_else(|| panic!("no {flag}"));
        let value = |text: &str| text.trim().trim_matches('\'').to_owned();
        // A number in words, and defaults that etcd's help leaves out.
        if default.is_empty() || flag == "--max-concurrent-streams" {
            continue;
        }
        assert_eq!(value(mine.split_once(' ').unwrap().1), value(default), "{flag}");
    }
    assert!(count > 100, "{count}");
}

#[test]
fn a_port_is_shared_when_both_ask_for_it() {
    let one = Member::plain(&["--socket-reuse-port"]);
    let two = Start {
        name: "etcd",
        args: &["--socket-reuse-port", "--listen-client-urls", &one.client],
        scheme: "http",
    };
    let mut two = Member::start(&two);
    two.wait_for(READY);
}

/// A disk that takes no more bytes, in the middle of the work.
#[test]
fn a_store_that_has_failed_ends_the_process() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // Inherited by the member: a write over the limit is then an error, as it is on a broken disk, and not a signal.
    // SAFETY: to ignore a signal runs nothing.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let mut member = Member::plain(&[]);
    assert_eq!(member.ctl(&["put", "a", "b"]), "OK\n");
    let pid = rustix::process::Pid::from_child(&member.child);
    let nothing = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, nothing).unwrap();
    member.ctl_fails(&["put", "a", "c"]);
    assert_eq!(member.end().code(), Some(1), "{}", member.log());
}

#[test]
fn a_cluster_is_found_through_another_store() {
    let known = Member::plain(&[]);
    known.ctl(&["put", "/_etcd/registry/tok/_config/size", "1"]);
    let join = |name: &str| {
        let args = [
            "--name",
            name,
            "--discovery-token",
            "tok",
            "--discovery-endpoints",
            &known.client,
        ];
        Member::start(&Start {
            name: "etcd",
            args: &args,
            scheme: "http",
        })
    };
    let mut first = join("m2");
    first.wait_for(READY);
    let banner = first.line("starting an etcd server");
    assert!(
        banner["initial-cluster"]
            .as_str()
            .unwrap()
            .starts_with("m2=http://127.0.0.1:"),
        "{banner}"
    );
    assert_eq!(banner["initial-cluster-token"], "tok");
    assert!(first.ctl(&["member", "list"]).contains("m2"));
    let mut late = join("m3");
    assert_eq!(late.end().code(), Some(1));
    assert_eq!(late.line("failed to start etcd")["error"], "discovery: cluster is full");
}

#[test]
fn waiting_for_a_cluster_is_ended_by_a_signal() {
    let known = Member::plain(&[]);
    known.ctl(&["put", "/_etcd/registry/tok/_config/size", "2"]);
    let mut waits = Member::start(&Start {
        name: "etcd",
        args: &["--discovery-token", "tok", "--discovery-endpoints", &known.client],
        scheme: "http",
    });
    waits.wait_for("found peer from discovery service");
    waits.kill("-TERM");
    assert_eq!(waits.end().signal(), Some(15));
}
