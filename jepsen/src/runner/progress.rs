//! What the terminal shows while a run goes on.

use crate::client::Client;
use crate::workload::Env;
use keelson_proto::etcdserverpb::StatusRequest;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How often the line is written on a terminal, and elsewhere.
const EVERY_TERMINAL: Duration = Duration::from_secs(1);
const EVERY_LOG: Duration = Duration::from_secs(10);
/// How long a member may take to say who leads.
const LEADER_WAIT: Duration = Duration::from_millis(500);

/// Shows phases, rates, faults and the leader. Clones show the same line.
#[derive(Clone)]
pub(super) struct Progress {
    quiet: bool,
    terminal: bool,
    shared: Arc<Mutex<Shown>>,
}

struct Shown {
    began: Instant,
    phase: String,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Progress {
        Progress {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            shared: Arc::new(Mutex::new(Shown {
                began: Instant::now(),
                phase: String::new(),
            })),
        }
    }

    pub(super) fn phase(&self, name: &str) {
        let mut shown = self.lock();
        name.clone_into(&mut shown.phase);
        let line = format!("{:>6.1}s  {name}", shown.began.elapsed().as_secs_f64());
        drop(shown);
        self.print(&line, true);
    }

    /// Writes a line every now and then, until the runtime ends.
    pub(super) fn follow(&self, runtime: &Runtime, env: &Env) {
        if !self.quiet {
            runtime.spawn(follow(self.clone(), env.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays, or on a terminal one that the next takes the place of.
    fn print(&self, line: &str, stays: bool) {
        if self.quiet {
            return;
        }
        let mut out = std::io::stderr().lock();
        // A terminal that is gone is no reason to end a run.
        let _ = match (self.terminal, stays) {
            (true, true) => writeln!(out, "\r\x1b[2K{line}"),
            (true, false) => write!(out, "\r\x1b[2K{line}"),
            (false, _) => writeln!(out, "{line}"),
        };
        let _ = out.flush();
    }
}

async fn follow(progress: Progress, env: Env) {
    let every = if progress.terminal { EVERY_TERMINAL } else { EVERY_LOG };
    let clients: Vec<Client> = (1..=env.nodes())
        .map(|node| env.client(node).with_request_timeout(LEADER_WAIT))
        .collect();
    let mut before = (Instant::now(), 0);
    loop {
        tokio::time::sleep(every).await;
        let leader = leader(&clients).await;
        let ok = env.counts.ok.load(Ordering::Relaxed);
        let now = Instant::now();
        let rate = (ok - before.1) as f64 / (now - before.0).as_secs_f64();
        before = (now, ok);
        let line = {
            let shown = progress.lock();
            format!(
                "{:>6.1}s  {}: {rate:.0} ops/s ({ok} ok, {} fail, {} info), leader {leader}{}",
                shown.began.elapsed().as_secs_f64(),
                shown.phase,
                env.counts.fail.load(Ordering::Relaxed),
                env.counts.info.load(Ordering::Relaxed),
                env.recorder
                    .lasting()
                    .iter()
                    .fold(String::new(), |all, fault| format!("{all}, {fault}")),
            )
        };
        progress.print(&line, false);
    }
}

/// Who leads, of those that answer and say so of themselves.
async fn leader(clients: &[Client]) -> String {
    let asked = futures::future::join_all(clients.iter().map(|client| client.status(StatusRequest {}))).await;
    let leaders: Vec<String> = asked
        .into_iter()
        .enumerate()
        .filter_map(|(at, answer)| {
            let status = answer.ok()?;
            let own = status.header.as_ref()?.member_id;
            (status.leader == own).then(|| (at + 1).to_string())
        })
        .collect();
    if leaders.is_empty() {
        "none".to_owned()
    } else {
        leaders.join("+")
    }
}
