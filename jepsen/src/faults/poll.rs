//! What becomes of the cluster: roles, terms and revisions every second, snapshots that are installed, members that end
//! by themselves.

use super::admin::leader;
use super::scene::Scene;
use crate::history::Phase;
use crate::world::State;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often members are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether it is time to end.
const LOOK: Duration = Duration::from_millis(50);
/// What is read of a log at once.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// What a member's log says when it has installed a snapshot: ours, etcd's.
const INSTALLED: &[&str] = &["installed a snapshot", "\"applied snapshot\""];
/// What it says when the program is wrong.
const PANICS: &[&str] = &["panicked at", "panic: ", "\"level\":\"panic\""];

pub(super) struct Poller {
    scene: Arc<Scene>,
    /// How far each log was read.
    read: BTreeMap<usize, u64>,
    leader: Option<(usize, u64)>,
    compacted: i64,
}

impl Poller {
    pub(super) fn new(scene: Arc<Scene>) -> Poller {
        Poller {
            scene,
            read: BTreeMap::new(),
            leader: None,
            compacted: 0,
        }
    }

    /// Goes on until it is told to end.
    pub(super) fn run(mut self, end: &AtomicBool) {
        while !end.load(Ordering::Acquire) {
            self.look();
            let mut waited = Duration::ZERO;
            while waited < EVERY && !end.load(Ordering::Acquire) {
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
        }
        // What was written since the last time.
        self.look();
    }

    fn effect(&self, what: &str, nodes: &[usize], detail: Value) {
        self.scene.record(0, Phase::Effect, what, nodes, detail);
    }

    fn look(&mut self) {
        let scene = Arc::clone(&self.scene);
        for node in scene.world.nodes() {
            self.ends(node);
            self.log(node);
        }
        let statuses = scene.admin.statuses();
        for (at, status) in statuses.iter().enumerate() {
            let Some(status) = status else { continue };
            let header = status.header.unwrap_or_default();
            let role = match status.leader {
                _ if status.is_learner => "learner",
                0 => "none",
                id if id == header.member_id => "leader",
                _ => "follower",
            };
            let detail = json!({
                "role": role,
                "term": status.raft_term,
                "revision": header.revision,
                "index": status.raft_index,
                "applied": status.raft_applied_index,
                "errors": status.errors,
            });
            self.effect("status", &[at + 1], detail);
        }
        if let Some(now) = leader(&statuses) {
            let term = statuses[now - 1].as_ref().map_or(0, |s| s.raft_term);
            if self.leader.is_some_and(|before| before != (now, term)) {
                let detail = json!({"from": self.leader.map(|l| l.0), "to": now, "term": term});
                self.effect("leader-change", &[now], detail);
            }
            self.leader = Some((now, term));
            self.compaction(now);
        }
    }

    /// Compactions by whomever, as the leader measures them.
    fn compaction(&mut self, leader: usize) {
        let Ok(page) = self.scene.world.metrics(leader) else {
            return;
        };
        let compacted = page.value("etcd_debugging_mvcc_compact_revision").unwrap_or_default() as i64;
        if compacted > self.compacted {
            self.compacted = compacted;
            self.effect("compacted", &[leader], json!({"revision": compacted}));
        }
    }

    /// A member that ended by itself is written down, and started again unless a fault does so.
    fn ends(&mut self, node: usize) {
        let scene = &self.scene;
        let expected = scene.is_fragile(node) || scene.is_ward(node);
        let exits = scene.world.take_exits(node);
        for status in &exits {
            let detail = json!({
                "status": status.to_string(), "expected": expected, "log": scene.world.log_tail(node),
            });
            self.effect("ended", &[node], detail);
        }
        // Not at once: whoever it belongs to comes first.
        if exits.is_empty() && !expected && matches!(scene.world.state(node), State::Ended(_)) {
            match scene.start_free(node) {
                Ok(true) => self.effect("started-again", &[node], Value::Null),
                Ok(false) => {}
                Err(e) => self.effect("start-failed", &[node], json!({"error": e.to_string()})),
            }
        }
    }

    /// What a log has told since.
    fn log(&mut self, node: usize) {
        let from = self.read.entry(node).or_default();
        let Ok(text) = read_from(&self.scene.world.log(node), *from) else {
            return;
        };
        // The last line may not be whole yet.
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        *from += whole as u64;
        let text = String::from_utf8_lossy(&text[..whole]).into_owned();
        let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
        for line in text.lines() {
            if has(line, INSTALLED) {
                self.effect("snapshot-install", &[node], Value::Null);
            } else if has(line, PANICS) {
                let expected = self.scene.is_fragile(node) || self.scene.is_ward(node);
                self.effect("panic", &[node], json!({"line": line, "expected": expected}));
            }
        }
    }
}

fn read_from(path: &std::path::Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}
