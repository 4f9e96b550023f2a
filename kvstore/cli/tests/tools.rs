//! The verbs beside etcdutl's: the same file, the same words.
#![allow(clippy::unwrap_used)]

mod program;

use program::Member;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

fn ours(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_keelson-kvstore"), args)
}

fn etcdutl(args: &[&str]) -> Output {
    run(std::env::var_os("ETCDUTL").expect("ETCDUTL names a real etcdutl"), args)
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The last line of what went wrong, and the exit code.
fn refusal(output: &Output) -> (String, Option<i32>) {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    (text.lines().last().unwrap_or_default().to_owned(), output.status.code())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running member with some history, saved by our own `snapshot save`.
fn saved(dir: &Path) -> (Member, PathBuf) {
    let member = Member::plain(&[]);
    let ctl = |args: &[&str]| {
        out(&run(
            program::etcdctl(),
            &[&["--endpoints", &member.client], args].concat(),
        ))
    };
    for n in 0..20 {
        ctl(&["put", &format!("k{}", n % 7), &"v".repeat(n * 50)]);
    }
    ctl(&["del", "k3"]);
    ctl(&["compact", "8", "--physical"]);
    ctl(&["lease", "grant", "1000"]);
    let file = dir.join("s.db");
    let told = out(&ours(&["snapshot", "save", text(&file), "--endpoints", &member.client]));
    assert_eq!(
        told,
        format!("Snapshot saved at {}\nServer version 3.7.0\n", file.display())
    );
    (member, file)
}

#[test]
fn files_are_described_as_etcdutl_does() {
    let dir = tempfile::tempdir().unwrap();
    let (member, file) = saved(dir.path());
    for format in ["simple", "table", "json", "fields"] {
        let args = ["snapshot", "status", text(&file), "-w", format];
        assert_eq!(out(&ours(&args)), out(&etcdutl(&args)), "{format}");
        // etcdutl's hashkv opens a file for writing, and may compact it: it gets its own.
        let copy = dir.path().join("copy.db");
        std::fs::copy(&file, &copy).unwrap();
        for rev in ["0", "8", "10", "22"] {
            let ours = ours(&["hashkv", text(&file), "--rev", rev, "-w", format]);
            let theirs = etcdutl(&["hashkv", text(&copy), "--rev", rev, "-w", format]);
            assert_eq!(out(&ours), out(&theirs), "{format} {rev}");
        }
    }
    for args in [
        ["snapshot", "status"].as_slice(),
        &["snapshot", "status", "/nonexistent"],
        &["snapshot", "status", text(&file), "-w", "xml"],
        &["hashkv", text(&file), "--rev", "3"],
        &["hashkv", text(&file), "--rev", "99"],
        &["snapshot", "restore", text(&file), "--bump-revision", "5"],
        &["snapshot", "restore", text(&file), "--name", "x"],
        &["snapshot", "restore", text(&file), "--data-dir", text(dir.path())],
    ] {
        assert_eq!(refusal(&ours(args)), refusal(&etcdutl(args)), "{args:?}");
    }
    drop(member);
}

#[test]
fn a_folder_is_restored_checked_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let (member, file) = saved(dir.path());
    drop(member);
    let data = dir.path().join("data");
    let told = out(&ours(&[
        "snapshot",
        "restore",
        text(&file),
        "--data-dir",
        text(&data),
        "--initial-memory-map-size=1",
    ]));
    assert!(
        told.contains("revision 22, compacted at 8") && told.contains("1 leases"),
        "{told}"
    );
    let verified = out(&ours(&["verify", "--data-dir", text(&data)]));
    assert!(verified.ends_with("nothing is wrong\n"), "{verified}");
    let hash = out(&ours(&["hashkv", text(&file)]));
    assert_eq!(out(&ours(&["hashkv", text(&data)])), hash);
    assert_eq!(out(&ours(&["defrag", "--data-dir", text(&data)])), "");
    assert_eq!(out(&ours(&["hashkv", text(&data)])), hash);
    let again = ours(&["snapshot", "restore", text(&file), "--data-dir", text(&data)]);
    assert!(refusal(&again).0.contains("not empty"));
    let (why, code) = refusal(&ours(&[
        "migrate",
        "--data-dir",
        text(&data),
        "--target-version",
        "3.6",
    ]));
    assert!(why.contains("snapshot") && code == Some(1), "{why}");
}

/// A member on a restored folder, or on an empty one that joins.
fn member(dir: &Path, name: &str, peer: &str, cluster: &str, extra: &[&str]) -> (Killed, String) {
    let client = format!("http://127.0.0.1:{}", program::free_port());
    let data = dir.join(name);
    let child = Command::new(env!("CARGO_BIN_EXE_keelson-kvstore"))
        .args(["--name", name, "--data-dir", text(&data)])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", cluster])
        .args(extra)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    (Killed(child), client)
}

struct Killed(std::process::Child);

impl Killed {
    fn end(mut self) {
        drop(run("kill", &[&self.0.id().to_string()]));
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Hashes of the members, once all of them answer and agree on the revision.
fn hashes(clients: &[String]) -> Vec<String> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        let asked = run(
            program::etcdctl(),
            &["--endpoints", &clients.join(","), "endpoint", "hashkv"],
        );
        let told = String::from_utf8_lossy(&asked.stdout).into_owned();
        let hashes: Vec<_> = told
            .lines()
            .filter_map(|line| Some(line.split_once(", ")?.1.to_owned()))
            .collect();
        if asked.status.success() && hashes.len() == clients.len() && hashes.windows(2).all(|pair| pair[0] == pair[1]) {
            return hashes;
        }
        assert!(std::time::Instant::now() < deadline, "{told}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn three_are_restored_from_one_file_and_a_fourth_is_sent_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let (lone, file) = saved(dir.path());
    drop(lone);
    let peers: Vec<_> = (0..4)
        .map(|_| format!("http://127.0.0.1:{}", program::free_port()))
        .collect();
    let pairs: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(&peers)
        .map(|(name, url)| format!("{name}={url}"))
        .collect();
    let cluster = pairs.join(",");
    let (mut members, mut clients) = (Vec::new(), Vec::new());
    for (name, peer) in ["a", "b", "c"].iter().zip(&peers) {
        let data = dir.path().join(name);
        out(&ours(&[
            "snapshot",
            "restore",
            text(&file),
            "--name",
            name,
            "--data-dir",
            text(&data),
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            peer,
        ]));
        let (process, client) = member(dir.path(), name, peer, &cluster, &[]);
        members.push(process);
        clients.push(client);
    }
    hashes(&clients);
    let ctl = |args: &[&str]| {
        out(&run(
            program::etcdctl(),
            &[&["--endpoints", &clients.join(",")], args].concat(),
        ))
    };
    assert_eq!(ctl(&["put", "after", "1"]), "OK\n");
    let before = hashes(&clients);
    // Members must have been in touch for a while before another may come.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let add = [
        "--endpoints",
        &clients.join(","),
        "member",
        "add",
        "d",
        "--peer-urls",
        &peers[3],
    ];
    while !run(program::etcdctl(), &add).status.success() {
        assert!(std::time::Instant::now() < deadline, "no member can be added");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let wider = format!("{cluster},d={}", peers[3]);
    let (process, client) = member(
        dir.path(),
        "d",
        &peers[3],
        &wider,
        &["--initial-cluster-state", "existing"],
    );
    members.push(process);
    clients.push(client);
    assert_eq!(hashes(&clients)[3], before[0], "the newcomer has what was restored");
    members.into_iter().for_each(Killed::end);
    for name in ["a", "b", "c", "d"] {
        let verified = out(&ours(&["verify", "--data-dir", text(&dir.path().join(name))]));
        assert!(verified.ends_with("nothing is wrong\n"), "{verified}");
    }
}

#[test]
fn damage_is_found_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (member, file) = saved(dir.path());
    drop(member);
    let bytes = std::fs::read(&file).unwrap();
    let broken = dir.path().join("broken.db");
    // Every kind of blow: at the front, in the middle, at the end, and a cut.
    for at in [0, 20, 4096 * 3 + 5, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x55;
        std::fs::write(&broken, bad).unwrap();
        let (why, code) = refusal(&ours(&["snapshot", "restore", text(&broken), "--data-dir", "never"]));
        assert!(why.contains("SHA-256") && code == Some(1), "{at}: {why}");
    }
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let (why, _) = refusal(&ours(&["snapshot", "status", text(&broken)]));
    assert!(why.contains("damaged"), "{why}");
    assert!(!Path::new("never").exists());

    let data = dir.path().join("data");
    out(&ours(&["snapshot", "restore", text(&file), "--data-dir", text(&data)]));
    let tables = std::fs::read_dir(data.join("state"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let table = tables
        .filter(|path| path.extension().is_some_and(|e| e == "sst"))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    // In the first block: the end of a table holds what is read when it is opened.
    bytes[64] ^= 0x55;
    std::fs::write(&table, bytes).unwrap();
    let (why, code) = refusal(&ours(&["verify", "--data-dir", text(&data)]));
    assert!(code == Some(1) && why.contains("orruption"), "{why}");
    std::fs::remove_file(data.join("identity.json")).unwrap();
    let (why, _) = refusal(&ours(&["verify", "--data-dir", text(&data)]));
    assert!(why.contains("identity.json is missing"), "{why}");
}
