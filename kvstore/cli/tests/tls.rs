//! TLS as a real etcdctl meets it: who is let in, renewal while the member runs, revocation.
#![allow(clippy::unwrap_used)]

mod program;

use program::certificates::{Form, Place};
use program::{Member, READY, Start, free_port};

/// The flags of etcdctl for a certificate of the folder.
trait Flags {
    fn as_user(&self, authority: &str, user: &str, args: &[&str]) -> Vec<String>;
}

impl Flags for Place {
    fn as_user(&self, authority: &str, user: &str, args: &[&str]) -> Vec<String> {
        let mut all = vec!["--cacert".to_owned(), self.text(&format!("{authority}.pem"))];
        if !user.is_empty() {
            all.extend(["--cert".to_owned(), self.text(&format!("{user}.crt"))]);
            all.extend(["--key".to_owned(), self.text(&format!("{user}.key"))]);
        }
        all.extend(args.iter().map(|a| (*a).to_owned()));
        all
    }
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn start(place: &Place, extra: &[&str]) -> Member {
    let (cert, key, ca) = (
        place.text("server.crt"),
        place.text("server.key"),
        place.text("trusted.pem"),
    );
    let mut args = vec![
        "--cert-file",
        &cert,
        "--key-file",
        &key,
        "--trusted-ca-file",
        &ca,
        "--client-cert-auth",
    ];
    args.extend(extra);
    let mut member = Member::start(&Start {
        name: "etcd",
        args: &args,
        scheme: "https",
    });
    member.wait_for(READY);
    member
}

#[test]
fn clients_are_let_in_by_certificates_that_may_change() {
    let place = Place::new();
    let (first, second) = (place.authority("first"), place.authority("second"));
    place.put("trusted.pem", first.pem());
    place.issue(&first, "server", "server", 1, &["127.0.0.1"]);
    place.issue(&first, "alice", "alice", 2, &[]);
    place.issue(&second, "bob", "bob", 3, &[]);
    place.revoke(&first, &[77], Form::Der);
    let crl = place.text("crl");
    let mut member = start(&place, &["--client-crl-file", &crl]);
    let put = |member: &Member, ca: &str, user: &str| member.ctl(&strs(&place.as_user(ca, user, &["put", "a", "b"])));
    let fails = |member: &Member, ca: &str, user: &str| {
        member.ctl_fails(&strs(&place.as_user(ca, user, &["put", "a", "b"])));
    };
    assert_eq!(put(&member, "first", "alice"), "OK\n");
    fails(&member, "first", "");
    fails(&member, "first", "bob");
    member.wait_for("rejected connection on client endpoint");
    // Another authority, another certificate of the server, without a restart.
    place.put("trusted.pem", first.pem() + &second.pem());
    assert_eq!(put(&member, "first", "bob"), "OK\n");
    place.issue(&second, "server", "server", 4, &["127.0.0.1"]);
    assert_eq!(put(&member, "second", "bob"), "OK\n");
    fails(&member, "first", "bob");
    // Revoked, and pardoned.
    place.revoke(&first, &[77, 2], Form::Der);
    fails(&member, "second", "alice");
    assert_eq!(put(&member, "second", "bob"), "OK\n");
    member.wait_for("transport: certificate serial 02 revoked");
    place.revoke(&first, &[77], Form::Der);
    assert_eq!(put(&member, "second", "alice"), "OK\n");
}

#[test]
fn only_certificates_with_a_name_of_the_list_are_let_in() {
    let place = Place::new();
    let authority = place.authority("trusted");
    place.issue(&authority, "server", "server", 1, &["127.0.0.1"]);
    place.issue(&authority, "alice", "alice", 2, &["alice.example.org"]);
    place.issue(&authority, "bob", "bob", 3, &["bob.example.org"]);
    let mut member = start(
        &place,
        &["--client-cert-allowed-hostname", "carol.example.org,alice.example.org"],
    );
    let args = |user: &str| place.as_user("trusted", user, &["put", "a", "b"]);
    assert_eq!(member.ctl(&strs(&args("alice"))), "OK\n");
    member.ctl_fails(&strs(&args("bob")));
    member.wait_for("client certificate authentication failed");
}

#[test]
fn the_common_name_is_the_user() {
    let place = Place::new();
    let authority = place.authority("trusted");
    place.issue(&authority, "server", "", 1, &["127.0.0.1"]);
    place.issue(&authority, "root", "root", 2, &[]);
    place.issue(&authority, "nobody", "nobody", 3, &[]);
    let member = start(&place, &[]);
    let ctl = |user: &str, args: &[&str]| member.ctl(&strs(&place.as_user("trusted", user, args)));
    ctl("root", &["user", "add", "root:secret"]);
    ctl("root", &["user", "grant-role", "root", "root"]);
    ctl("root", &["auth", "enable"]);
    assert_eq!(ctl("root", &["put", "a", "b"]), "OK\n");
    let told = member.ctl_fails(&strs(&place.as_user("trusted", "nobody", &["put", "a", "c"])));
    assert!(
        told.contains("permission denied") || told.contains("user name not found"),
        "{told}"
    );
}

/// Three members whose peer ports speak TLS; `flags` are of each.
fn three(flags: &[&str]) -> Vec<Member> {
    let names = ["m1", "m2", "m3"];
    let urls = names.map(|_| format!("https://127.0.0.1:{}", free_port()));
    let cluster: Vec<String> = names
        .iter()
        .zip(&urls)
        .map(|(name, url)| format!("{name}={url}"))
        .collect();
    let cluster = cluster.join(",");
    let start = |(name, url): (&&str, &String)| {
        let mut args = vec![
            "--name",
            name,
            "--listen-peer-urls",
            url,
            "--initial-advertise-peer-urls",
            url,
        ];
        args.extend(["--initial-cluster", &cluster]);
        args.extend(flags);
        Member::start(&Start {
            name: "etcd",
            args: &args,
            scheme: "http",
        })
    };
    let mut members: Vec<Member> = names.iter().zip(&urls).map(start).collect();
    members.iter_mut().for_each(|member| member.wait_for(READY));
    members
}

#[track_caller]
fn work_together(members: &[Member]) {
    for (at, member) in members.iter().enumerate() {
        assert_eq!(member.ctl(&["put", "k", &at.to_string()]), "OK\n");
        for other in members {
            assert_eq!(other.ctl(&["get", "k"]), format!("k\n{at}\n"));
        }
    }
}

#[test]
fn members_with_certificates_of_one_authority_work_together() {
    let place = Place::new();
    let authority = place.authority("trusted");
    place.issue(&authority, "server", "member", 1, &["127.0.0.1", "localhost"]);
    let (cert, key, ca) = (
        place.text("server.crt"),
        place.text("server.key"),
        place.text("trusted.pem"),
    );
    let mut flags = vec![
        "--peer-cert-file",
        &cert,
        "--peer-key-file",
        &key,
        "--peer-trusted-ca-file",
        &ca,
    ];
    flags.extend(["--peer-client-cert-auth", "--peer-cert-allowed-cn", "other,member"]);
    let members = three(&flags);
    work_together(&members);
}

#[test]
fn members_that_make_their_own_certificates_work_together() {
    let members = three(&["--peer-auto-tls"]);
    work_together(&members);
}
