//! Writers and a watcher that go on through faults: the Go client's `-load`, and what it says of every write.

use crate::cluster::{BOUND, Cluster, client_url, wait_child};
use crate::goclient::program;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    report: Arc<Mutex<Report>>,
    reader: Option<JoinHandle<()>>,
    prefix: String,
}

/// What came of the writes.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Acknowledged keys and their revisions.
    pub acked: BTreeMap<String, i64>,
    /// Writes that may have happened or not.
    pub unknown: usize,
    /// What must never be.
    pub wrong: Vec<String>,
    /// The last line of the program: it was done.
    ended: bool,
    prefix: String,
}

impl Load {
    pub fn start(cluster: &Cluster, writers: usize, prefix: &str) -> Load {
        Load::start_at(cluster, &cluster.endpoints(), writers, prefix)
    }

    pub fn start_at(cluster: &Cluster, endpoints: &str, writers: usize, prefix: &str) -> Load {
        let mut command = Command::new(program());
        command
            .args([
                "-endpoints",
                endpoints,
                "-load",
                &writers.to_string(),
                "-prefix",
                prefix,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = cluster.net.inside(|| command.spawn()).unwrap();
        let report = Arc::new(Mutex::new(Report {
            prefix: prefix.to_owned(),
            ..Report::default()
        }));
        let (to, out) = (report.clone(), child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                to.lock().unwrap().take(&line);
            }
        });
        Load {
            stdin: child.stdin.take(),
            child,
            report,
            reader: Some(reader),
            prefix: prefix.to_owned(),
        }
    }

    pub fn acks(&self) -> usize {
        self.report.lock().unwrap().acked.len()
    }

    pub fn wait_acks(&self, count: usize, bound: Duration) {
        let deadline = Instant::now() + bound;
        while self.acks() < count {
            assert!(
                Instant::now() < deadline,
                "{}: {} writes within {bound:?}, not {count}",
                self.prefix,
                self.acks()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the writers, waits until the watcher has seen the last write.
    pub fn finish(mut self) -> Report {
        drop(self.stdin.take());
        let ended = wait_child(&mut self.child, 2 * BOUND);
        assert!(ended.is_some_and(|s| s.success()), "the load does not end: {ended:?}");
        self.reader.take().unwrap().join().unwrap();
        self.report.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Report {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ack", key, revision] => {
                self.acked.insert((*key).to_owned(), revision.parse().unwrap());
            }
            ["unknown", ..] => self.unknown += 1,
            ["end", ..] => self.ended = true,
            _ => self.wrong.push(line.to_owned()),
        }
    }

    /// No answer went back, no event was lost, repeated or out of order.
    pub fn check(&self) {
        assert!(self.ended, "the load did not come to its end");
        let shown: Vec<&String> = self.wrong.iter().take(20).collect();
        assert!(
            self.wrong.is_empty(),
            "{} things that must not be: {shown:#?}",
            self.wrong.len()
        );
        assert!(!self.acked.is_empty(), "nothing was acknowledged");
        let mut revisions: Vec<i64> = self.acked.values().copied().collect();
        revisions.sort_unstable();
        revisions.dedup();
        assert_eq!(revisions.len(), self.acked.len(), "two writes share a revision");
    }

    /// Every acknowledged write is in the store of this member, at the revision that was told.
    pub fn check_store(&self, cluster: &Cluster, number: usize) {
        let out = cluster.ctl_ok(&[
            "--endpoints",
            &client_url(number),
            "get",
            &self.prefix,
            "--prefix",
            "--keys-only",
            "--consistency=s",
            "-w",
            "json",
        ]);
        let all: serde_json::Value = serde_json::from_str(&out).unwrap();
        let mut held = BTreeMap::new();
        for kv in all["kvs"].as_array().map(Vec::as_slice).unwrap_or_default() {
            held.insert(
                base64(kv["key"].as_str().unwrap()),
                kv["mod_revision"].as_i64().unwrap(),
            );
        }
        let lost: Vec<_> = self
            .acked
            .iter()
            .filter(|(key, revision)| held.get(*key) != Some(revision))
            .take(20)
            .collect();
        assert!(
            lost.is_empty(),
            "member {number} has lost or moved acknowledged writes: {lost:?}"
        );
    }
}

fn base64(text: &str) -> String {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}
