//! Data on the move between a real etcd and ours: mirrors and snapshots, both ways.

use crate::cluster::{BOUND, Cluster, Kind, client_url, eventually, peer, peer_url};
use crate::etcdctl::QUICK_PASSWORDS;
use std::process::{Child, Command, Stdio};

/// Member 5 of a cluster of its own, in the network of another one, so that both can be reached from one place.
fn neighbour(of: &Cluster, kind: Kind) -> Cluster {
    let mut cluster = Cluster::empty(kind);
    cluster.net = of.net.clone();
    cluster.add_with(5, "new", &format!("m5={}", peer_url(5)), &[]);
    cluster.spawn(5);
    cluster.wait_healthy();
    cluster
}

/// Keys and values, without revisions.
fn contents(cluster: &Cluster) -> String {
    cluster.ctl_ok(&["--endpoints", &cluster.endpoints(), "get", "", "--prefix"])
}

struct Mirror(Child);

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mirror(from: &Cluster, to: &Cluster, options: &[&str]) -> Mirror {
    let mut command = Command::new(peer("ETCDCTL"));
    command
        .args(["--endpoints", &from.endpoints(), "make-mirror", &to.endpoints()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Mirror(from.net.inside(|| command.spawn()).unwrap())
}

fn mirrored(from: Kind, to: Kind) {
    let source = Cluster::start(from, 1, &[]);
    let target = neighbour(&source, to);
    for n in 0..30 {
        source.ctl_ok(&["put", &format!("app/{n:02}"), &format!("value {n}")]);
    }
    source.ctl_ok(&["put", "other", "stays"]);
    let same = |what: &str| {
        eventually(what, BOUND, || {
            let (left, right) = (contents(&source), contents(&target));
            if left == right {
                Ok(())
            } else {
                Err(format!("{left}\nbeside\n{right}"))
            }
        });
    };
    let all = mirror(&source, &target, &[]);
    same("everything is there");
    source.ctl_ok(&["put", "app/00", "changed"]);
    source.ctl_ok(&["del", "app/01"]);
    let mut txn = Command::new(peer("ETCDCTL"));
    txn.args(["txn"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = source.net.inside(|| txn.spawn()).unwrap();
    std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        b"\n\nput app/30 x\nput app/31 y\ndel app/02\n\n\n",
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    same("changes follow");
    drop(all);
    target.ctl_ok(&["--endpoints", &client_url(5), "del", "", "--prefix"]);
    let part = mirror(
        &source,
        &target,
        &["--prefix", "app/", "--dest-prefix", "copy/", "--max-txn-ops", "4"],
    );
    eventually("a part under another name", BOUND, || {
        let left = source.ctl_ok(&["get", "app/", "--prefix", "--print-value-only"]);
        let right = target.ctl_ok(&[
            "--endpoints",
            &client_url(5),
            "get",
            "copy/",
            "--prefix",
            "--print-value-only",
        ]);
        if left == right {
            Ok(())
        } else {
            Err(format!("{left}\nbeside\n{right}"))
        }
    });
    drop(part);
}

#[test]
fn a_mirror_of_ours_in_a_real_etcd() {
    mirrored(Kind::Ours, Kind::Etcd);
}

#[test]
fn a_mirror_of_a_real_etcd_in_ours() {
    mirrored(Kind::Etcd, Kind::Ours);
}

/// Data of every kind: versions, deletions, leases, a compaction, users and roles.
fn fill(cluster: &Cluster) {
    for n in 0..40 {
        cluster.ctl_ok(&["put", &format!("k/{:02}", n % 25), &format!("value {n}")]);
    }
    cluster.ctl_ok(&["del", "k/03"]);
    cluster.ctl_ok(&["compact", "20"]);
    let said = cluster.ctl_ok(&["lease", "grant", "40000"]);
    let lease = said.split_whitespace().nth(1).unwrap();
    cluster.ctl_ok(&["put", "leased", "1", "--lease", lease]);
    cluster.ctl_ok(&["user", "add", "root:rootpw"]);
    cluster.ctl_ok(&["user", "add", "alice:alicepw"]);
    cluster.ctl_ok(&["role", "add", "reader"]);
    cluster.ctl_ok(&["role", "grant-permission", "reader", "read", "k/", "--prefix"]);
    cluster.ctl_ok(&["user", "grant-role", "alice", "reader"]);
    cluster.ctl_ok(&["auth", "enable"]);
}

/// What the store holds, as root and as alice see it.
fn inventory(cluster: &Cluster, members: bool) -> String {
    let endpoints = cluster.endpoints();
    let ask = |args: &[&str]| {
        let mut all = vec!["--endpoints", endpoints.as_str()];
        all.extend(args);
        let out = cluster.ctl(&all);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        format!("{args:?}: {}\n{text}", out.status)
    };
    let root = "--user=root:rootpw";
    let mut all = vec![
        ask(&[root, "get", "", "--prefix", "-w", "json"]),
        ask(&[root, "get", "k/", "--prefix", "--rev=30", "-w", "json"]),
        ask(&[root, "get", "k/", "--prefix", "--rev=19"]),
        ask(&[root, "lease", "list"]),
        ask(&[root, "user", "list"]),
        ask(&[root, "user", "get", "alice", "--detail"]),
        ask(&[root, "role", "get", "reader"]),
        ask(&["--user=alice:alicepw", "get", "k/01"]),
        ask(&["--user=alice:alicepw", "get", "leased"]),
        ask(&["--user=alice:wrong", "get", "k/01"]),
        ask(&["get", "k/01"]),
        ask(&[root, "endpoint", "hashkv"])
            .replace(&client_url(1)[7..], "")
            .replace(&client_url(5)[7..], ""),
    ];
    if members {
        all.push(ask(&[root, "member", "list"]));
    }
    let ids = regex::Regex::new(r#""(cluster_id|member_id|raft_term)":\d+"#).unwrap();
    ids.replace_all(&all.join("\n"), r#""$1":<n>"#).into_owned()
}

/// A snapshot of one kind, restored by `etcdutl` (stock, or our own verbs), served by the other kind.
fn restored(from: Kind, by: Kind, served: Kind, options: &[&str]) -> (String, String) {
    let source = Cluster::start(from, 1, &QUICK_PASSWORDS);
    fill(&source);
    let before = inventory(&source, false);
    let file = source.dir.path().join("saved.db");
    let file = file.to_str().unwrap();
    source.ctl_ok(&["--user=root:rootpw", "snapshot", "save", file]);
    drop_members(source, |source| {
        let mut target = Cluster::empty(served);
        target.net = source.net.clone();
        let dir = target.dir.path().join("m5.data");
        let utl = match by {
            Kind::Etcd => peer("ETCDUTL"),
            Kind::Ours => Kind::Ours.binary(),
        };
        let initial = format!("m5={}", peer_url(5));
        let mut args = vec![
            "snapshot",
            "restore",
            file,
            "--data-dir",
            dir.to_str().unwrap(),
            "--name",
            "m5",
        ];
        let (url, cluster) = (peer_url(5), initial.clone());
        args.extend(["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &url]);
        args.extend(options);
        let out = source.run(&utl, &args);
        assert!(
            out.status.success(),
            "{}: {}",
            utl.display(),
            String::from_utf8_lossy(&out.stderr)
        );
        target.add_with(5, "new", &initial, &QUICK_PASSWORDS);
        target.spawn(5);
        target.wait_healthy();
        (before, inventory(&target, false))
    })
}

/// The source stays until the end: its files are in its folder.
fn drop_members<T>(mut source: Cluster, work: impl FnOnce(&Cluster) -> T) -> T {
    source.member(1).kill();
    work(&source)
}

#[test]
fn a_snapshot_of_ours_is_restored_by_stock_tools_and_served_by_a_real_etcd() {
    let (before, after) = restored(Kind::Ours, Kind::Etcd, Kind::Etcd, &[]);
    assert_eq!(before, after);
}

#[test]
fn a_snapshot_of_a_real_etcd_is_restored_and_served_by_ours() {
    let (before, after) = restored(Kind::Etcd, Kind::Ours, Kind::Ours, &[]);
    assert_eq!(before, after);
}

#[test]
fn revisions_are_bumped_and_marked_compacted_as_etcdutl_does() {
    let options = ["--bump-revision=1000", "--mark-compacted"];
    let (_, theirs) = restored(Kind::Etcd, Kind::Etcd, Kind::Etcd, &options);
    let (_, ours) = restored(Kind::Ours, Kind::Ours, Kind::Ours, &options);
    // Leases are named by chance.
    let leases = regex::Regex::new(r#""lease":\d+|\b[0-9a-f]{16}\b|, \d{6,10}, "#).unwrap();
    let plain = |text: &str| leases.replace_all(text, "<id>").into_owned();
    assert_eq!(plain(&theirs), plain(&ours));
}
