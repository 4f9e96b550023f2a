//! Three members and what befalls them: kill -9 under load, members that come back late, members that are added,
//! removed and replaced, a leader that is asked to go.

use crate::cluster::{BOUND, Cluster, Kind, client_port, client_url, eventually, peer_url};
use crate::load::Load;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// Short times, so that elections take less of the run; the ratio is etcd's.
const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

/// How many kills `kills_lose_nothing` makes when `KEELSON_KILLS` does not say.
const KILLS_DEFAULT: usize = 20;
/// A cluster that lost its leader takes writes again within this.
const RECOVERY: Duration = Duration::from_secs(15);

pub fn knob(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name}={v} is not a number"))
    })
}

/// Waits until all members hold the same: hashes of one revision, asked of each.
pub fn converged(cluster: &Cluster) {
    eventually("the same hash on all members", BOUND, || {
        let mut seen = Vec::new();
        let revisions: Vec<i64> = cluster
            .members
            .iter()
            .map(|m| {
                cluster
                    .status(m.number)
                    .and_then(|s| s["header"]["revision"].as_i64())
                    .ok_or("a member is silent")
            })
            .collect::<Result<_, _>>()?;
        if revisions.windows(2).any(|w| w[0] != w[1]) {
            return Err(format!("revisions {revisions:?}"));
        }
        for member in &cluster.members {
            let out = cluster.ctl(&[
                "--endpoints",
                &client_url(member.number),
                "endpoint",
                "hashkv",
                "-w",
                "json",
            ]);
            let all: serde_json::Value = serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())?;
            let hash = &all[0]["HashKV"];
            seen.push((hash["hash"].clone(), hash["compact_revision"].clone()));
        }
        let same = seen.windows(2).all(|w| w[0] == w[1]) && seen[0].0.is_number();
        if same {
            Ok(())
        } else {
            Err(format!("{seen:?} at {revisions:?}"))
        }
    });
}

fn start_three(flags: &[&str]) -> Cluster {
    let mut all = QUICK.to_vec();
    all.extend(flags);
    Cluster::start(Kind::Ours, 3, &all)
}

/// kill -9 in a loop, the leader two times of three, under load and under a watch.
#[test]
fn kills_lose_nothing() {
    let kills = knob("KEELSON_KILLS", KILLS_DEFAULT);
    let mut cluster = start_three(&["--snapshot-count=500", "--snapshot-catchup-entries=200"]);
    let load = Load::start(&cluster, 4, "load/");
    load.wait_acks(20, RECOVERY);
    let mut revision = 0;
    for kill in 0..kills {
        let leader = cluster.leader();
        let victim = if kill % 3 == 2 { leader % 3 + 1 } else { leader };
        let others: Vec<usize> = (1..=3).filter(|n| *n != victim).collect();
        cluster.member(victim).kill();
        // The rest goes on: writes are acknowledged without the victim.
        let acks = load.acks();
        load.wait_acks(acks + 20, RECOVERY);
        for number in others {
            if let Some(now) = cluster.status(number).and_then(|s| s["header"]["revision"].as_i64()) {
                revision = revision.max(now);
            }
        }
        cluster.spawn(victim);
        cluster.wait_member(victim);
        let back = cluster.status(victim).expect("a member that is back")["header"]["revision"]
            .as_i64()
            .unwrap();
        assert!(
            back >= revision,
            "kill {kill}: member {victim} came back at revision {back}, it was {revision}"
        );
    }
    cluster.wait_healthy();
    let report = load.finish();
    report.check();
    converged(&cluster);
    for number in 1..=3 {
        report.check_store(&cluster, number);
    }
    println!(
        "{kills} kills, {} writes acknowledged, {} unknown",
        report.acked.len(),
        report.unknown
    );
}

/// A minority is enough to stop writes, and what was acknowledged survives the loss of all.
#[test]
fn without_a_quorum_nothing_is_acknowledged() {
    let mut cluster = start_three(&[]);
    cluster.ctl_ok(&["put", "before", "1"]);
    let leader = cluster.leader();
    let survivor = leader % 3 + 1;
    for number in (1..=3).filter(|n| *n != survivor) {
        cluster.member(number).kill();
    }
    let endpoint = client_url(survivor);
    let refused = cluster.ctl(&["--endpoints", &endpoint, "--command-timeout=2s", "put", "during", "1"]);
    assert!(!refused.status.success(), "a write without a quorum was acknowledged");
    let refused = cluster.ctl(&["--endpoints", &endpoint, "--command-timeout=2s", "get", "before"]);
    assert!(
        !refused.status.success(),
        "a linearizable read without a quorum was answered"
    );
    let read = cluster.ctl_ok(&[
        "--endpoints",
        &endpoint,
        "get",
        "before",
        "--consistency=s",
        "--print-value-only",
    ]);
    assert_eq!(read.trim(), "1");
    let health = cluster.net.http(client_port(survivor), "GET", "/health", "").unwrap();
    assert_eq!(health.status, 503, "{}", health.body);
    cluster.member(survivor).kill();
    for number in 1..=3 {
        cluster.spawn(number);
    }
    cluster.wait_healthy();
    assert_eq!(cluster.ctl_ok(&["get", "before", "--print-value-only"]).trim(), "1");
    converged(&cluster);
}

/// A member that was away takes the log, and when that is gone, the state.
#[test]
fn late_members_catch_up() {
    let mut cluster = start_three(&["--snapshot-count=50", "--snapshot-catchup-entries=20"]);
    let late = cluster.leader() % 3 + 1;
    let others: Vec<String> = (1..=3).filter(|n| *n != late).map(client_url).collect();
    let others = others.join(",");
    cluster.member(late).kill();
    let load = Load::start_at(&cluster, &others, 4, "short/");
    load.wait_acks(10, BOUND);
    load.finish().check();
    cluster.spawn(late);
    cluster.wait_member(late);
    converged(&cluster);

    cluster.member(late).kill();
    let load = Load::start_at(&cluster, &others, 8, "long/");
    load.wait_acks(400, BOUND);
    let report = load.finish();
    report.check();
    let revision = cluster.status(others_first(&others)).expect("a member that answers")["header"]["revision"]
        .as_i64()
        .unwrap();
    cluster.ctl_ok(&[
        "--endpoints",
        &others,
        "compact",
        &(revision - 50).to_string(),
        "--physical",
    ]);
    cluster.spawn(late);
    cluster.wait_member(late);
    converged(&cluster);
    report.check_store(&cluster, late);
    // It takes part again: with another one away, it is needed for every write.
    let away = (1..=3).find(|n| *n != late && *n != cluster.leader()).unwrap();
    cluster.member(away).kill();
    eventually("a write that needs the late member", BOUND, || {
        let out = cluster.ctl(&["--endpoints", &client_url(late), "put", "needed", "1"]);
        if out.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    });
    cluster.spawn(away);
    cluster.wait_healthy();
    converged(&cluster);
}

fn others_first(endpoints: &str) -> usize {
    (1..=3).find(|n| endpoints.starts_with(&client_url(*n))).unwrap()
}

/// Added, removed and replaced as an operator does it, with etcdctl.
#[test]
fn members_come_and_go() {
    let mut cluster = start_three(&[]);
    let load = Load::start_at(&cluster, &format!("{},{}", client_url(1), client_url(2)), 2, "load/");
    load.wait_acks(20, BOUND);
    // A fourth one, as a learner first.
    let ctl = |cluster: &Cluster, args: &[&str]| {
        eventually(&args.join(" "), BOUND, || {
            let out = cluster.ctl(args);
            if out.status.success() {
                return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
            }
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        })
    };
    let said = ctl(
        &cluster,
        &[
            "member",
            "add",
            "m4",
            "--learner",
            &format!("--peer-urls={}", peer_url(4)),
        ],
    );
    cluster.add_with(4, "existing", &initial_cluster(&said), &QUICK);
    cluster.spawn(4);
    let id = member_id(&cluster, 4);
    eventually("the learner to be told of", BOUND, || {
        let list = cluster.ctl_ok(&["member", "list"]);
        let line = list.lines().find(|l| l.starts_with(&id)).unwrap_or_default().to_owned();
        if line.contains("started") && line.ends_with("true") {
            Ok(())
        } else {
            Err(list)
        }
    });
    ctl(&cluster, &["member", "promote", &id]);
    cluster.wait_member(4);
    // It goes again, and its process ends by itself.
    ctl(&cluster, &["member", "remove", &id]);
    cluster.member(4).wait_end(BOUND);
    cluster.members.retain(|m| m.number != 4);
    // A voter is added at once.
    let said = ctl(
        &cluster,
        &["member", "add", "m5", &format!("--peer-urls={}", peer_url(5))],
    );
    cluster.add_with(5, "existing", &initial_cluster(&said), &QUICK);
    cluster.spawn(5);
    cluster.wait_member(5);
    // The third one loses its disk and is replaced under its own address.
    cluster.member(3).kill();
    let id = member_id(&cluster, 3);
    ctl(&cluster, &["member", "remove", &id]);
    std::fs::remove_dir_all(&cluster.member(3).dir).unwrap();
    let said = ctl(
        &cluster,
        &["member", "add", "m3", &format!("--peer-urls={}", peer_url(3))],
    );
    cluster.add_with(3, "existing", &initial_cluster(&said), &QUICK);
    cluster.spawn(3);
    cluster.wait_member(3);
    // Who serves has its vote: it counts at once when another one is lost.
    cluster.member(5).kill();
    let acks = load.acks();
    load.wait_acks(acks + 20, BOUND);
    cluster.spawn(5);
    cluster.wait_member(5);
    let report = load.finish();
    report.check();
    converged(&cluster);
    for number in [1, 2, 3, 5] {
        report.check_store(&cluster, number);
    }
    assert_eq!(
        cluster
            .ctl_ok(&["member", "list"])
            .lines()
            .filter(|l| l.contains(" started,"))
            .count(),
        4
    );
}

fn initial_cluster(said: &str) -> String {
    let line = said
        .lines()
        .find_map(|l| l.strip_prefix("ETCD_INITIAL_CLUSTER="))
        .expect("member add says what to set");
    line.trim_matches('"').to_owned()
}

fn member_id(cluster: &Cluster, number: usize) -> String {
    let list = cluster.ctl_ok(&["member", "list"]);
    let line = list
        .lines()
        .find(|l| l.contains(&peer_url(number)))
        .unwrap_or_else(|| panic!("{number} in {list}"));
    line.split(',').next().unwrap().to_owned()
}

/// SIGTERM of the leader: another one leads in the next term within half a second, and the process ends cleanly.
#[test]
fn a_leader_that_is_asked_to_go_hands_over() {
    for kind in [Kind::Etcd, Kind::Ours] {
        let mut cluster = Cluster::start(kind, 3, &[]);
        cluster.ctl_ok(&["put", "a", "1"]);
        let leader = cluster.leader();
        let follower = leader % 3 + 1;
        let view = |cluster: &Cluster| {
            let answer = cluster
                .net
                .http(client_port(follower), "POST", "/v3/maintenance/status", "{}")
                .unwrap();
            let status: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let number = |v: &serde_json::Value| v.as_str().unwrap_or("0").parse::<u64>().unwrap();
            (number(&status["leader"]), number(&status["raftTerm"]))
        };
        let (old, term) = view(&cluster);
        let began = Instant::now();
        cluster.member(leader).signal(nix::sys::signal::Signal::SIGTERM);
        let (new, next) = eventually("another leader", BOUND, || {
            let (new, next) = view(&cluster);
            if new != old && new != 0 && next > term {
                Ok((new, next))
            } else {
                Err(format!("{new:x} in term {next}"))
            }
        });
        let took = began.elapsed();
        let status = cluster.member(leader).wait_end(BOUND);
        let ended = began.elapsed();
        println!("{kind:?}: {new:x} leads after {took:?}, the old one ended after {ended:?} with {status}");
        if kind == Kind::Ours {
            assert_eq!(next, term + 1);
            assert!(took < Duration::from_millis(500), "another leader only after {took:?}");
            assert!(ended < Duration::from_millis(2500), "ended only after {ended:?}");
            // A real etcd ends by the signal itself.
            assert!(status.success() || status.signal() == Some(15), "{status}");
        }
        cluster.spawn(leader);
        cluster.wait_healthy();
        converged(&cluster);
    }
}
