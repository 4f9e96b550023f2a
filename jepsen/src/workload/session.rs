//! A client of a workload: it writes down what it does, and goes on as a new process when it cannot tell what happened.

use super::{Env, Worker};
use crate::client::{Client, Error};
use crate::history::{Kind, Record};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Chance that an operation goes to another member than the client's own.
const STRAY: f64 = 0.05;
/// How much longer the gaps between operations are while clients hold back.
const CALM: f64 = 10.0;
/// Attempts at a final operation, and the rest between them.
const FINAL_TRIES: u32 = 50;
const FINAL_REST: Duration = Duration::from_millis(200);
/// Longest rest after errors that follow each other.
const REST_MAX: Duration = Duration::from_millis(800);

/// An operation that is about to be done.
#[derive(Clone, Debug)]
pub struct Call {
    f: &'static str,
    key: Option<String>,
    value: Value,
    reads_only: bool,
}

impl Call {
    /// An operation that writes.
    pub fn write(f: &'static str, value: Value) -> Call {
        Call {
            f,
            key: None,
            value,
            reads_only: false,
        }
    }

    /// An operation that changes nothing: when it fails, it certainly had no effect.
    pub fn read(f: &'static str, value: Value) -> Call {
        Call {
            reads_only: true,
            ..Call::write(f, value)
        }
    }

    #[must_use]
    pub fn key(mut self, key: &str) -> Call {
        self.key = Some(key.to_owned());
        self
    }
}

/// What an operation was answered: the value for the history, and what the client goes on with.
pub struct Answer<T> {
    pub value: Value,
    pub revision: Option<i64>,
    pub out: T,
}

/// An answer with the revision of its header.
pub fn answer<T>(value: Value, header: Option<&keelson_proto::etcdserverpb::ResponseHeader>, out: T) -> Answer<T> {
    Answer {
        value,
        revision: header.map(|header| header.revision),
        out,
    }
}

/// A worker for each client of a workload: what `work` makes of its session.
pub fn workers<F>(env: &Env, workload: &'static str, work: impl Fn(Session) -> F) -> Vec<Worker>
where
    F: Future<Output = ()> + Send + 'static,
{
    (0..env.settings.clients)
        .map(|number| Box::pin(work(Session::new(env, workload, number))) as Worker)
        .collect()
}

/// A client.
pub struct Session {
    pub env: Env,
    pub rng: StdRng,
    workload: &'static str,
    /// Number of the client within its workload, from 0.
    pub number: usize,
    home: usize,
    clients: Vec<Client>,
    process: u64,
    /// When the next operation is due.
    due: Instant,
    /// Errors since the last success.
    errors: u32,
}

impl Session {
    /// Client `number` (from 0) of a workload; it lives at one member, round robin.
    pub fn new(env: &Env, workload: &'static str, number: usize) -> Session {
        Session {
            rng: env.rng(workload, number),
            workload,
            number,
            home: number % env.nodes() + 1,
            clients: (1..=env.nodes()).map(|node| env.client(node)).collect(),
            process: env.process(),
            due: Instant::now(),
            errors: 0,
            env: env.clone(),
        }
    }

    /// Rests until the next operation is due, the more so after errors; `false` when the client should end.
    pub async fn next(&mut self) -> bool {
        // Exponentially distributed gaps: what clients do at once differs from run to run, not only with the faults.
        let mut mean = self.env.settings.clients as f64 / self.env.settings.rate;
        if self.env.is_calm() {
            mean *= CALM;
        }
        let chance: f64 = self.rng.random_range(1e-3..1.0);
        let now = Instant::now();
        self.due = (self.due + Duration::from_secs_f64(-mean * chance.ln())).max(now);
        let mut rest = self.due - now;
        if self.errors > 0 {
            let limit = REST_MAX.min(Duration::from_millis(25) * 2u32.pow(self.errors.min(8)));
            rest += limit.mul_f64(self.rng.random_range(0.5..1.0));
        }
        self.env.rest(rest).await;
        !self.env.stopped()
    }

    /// Which member the next operation goes to: mostly its own. After errors it looks elsewhere.
    fn node(&mut self) -> usize {
        let nodes = self.env.nodes();
        let stray = if self.errors > 1 { 0.5 } else { STRAY };
        if self.rng.random_bool(stray) {
            self.rng.random_range(1..=nodes)
        } else {
            self.home
        }
    }

    /// The client's own member, for what is not written down.
    pub fn client(&self) -> Client {
        self.clients[self.home - 1].clone()
    }

    /// Something that is not written down failed: the client rests before it goes on.
    pub fn failed(&mut self) {
        self.errors += 1;
    }

    /// Does an operation on some member and writes it down.
    ///
    /// # Errors
    /// What `work` ended with; it is written down already.
    pub async fn run<T, F, Work>(&mut self, call: Call, work: F) -> Result<T, Error>
    where
        F: FnOnce(Client) -> Work,
        Work: Future<Output = Result<Answer<T>, Error>>,
    {
        let node = self.node();
        self.run_on(node, call, work).await
    }

    /// Does an operation on this member, numbered from 1, and writes it down.
    ///
    /// # Errors
    /// What `work` ended with; it is written down already.
    pub async fn run_on<T, F, Work>(&mut self, node: usize, call: Call, work: F) -> Result<T, Error>
    where
        F: FnOnce(Client) -> Work,
        Work: Future<Output = Result<Answer<T>, Error>>,
    {
        let mut line = Record::new(self.workload, self.process, node, Kind::Invoke, call.f);
        line.key = call.key;
        line.value = call.value;
        self.env.recorder.op(line.clone());
        let result = work(self.clients[node - 1].clone()).await;
        line.value = Value::Null;
        let counts = &self.env.counts;
        match result {
            Ok(answer) => {
                line.kind = Kind::Ok;
                line.value = answer.value;
                line.revision = answer.revision;
                self.env.recorder.op(line);
                counts.ok.fetch_add(1, Ordering::Relaxed);
                self.errors = 0;
                Ok(answer.out)
            }
            Err(error) => {
                let definite = error.definite || call.reads_only;
                line.kind = if definite { Kind::Fail } else { Kind::Info };
                line.error = Some(error.message.clone());
                self.env.recorder.op(line);
                if definite {
                    counts.fail.fetch_add(1, Ordering::Relaxed);
                } else {
                    counts.info.fetch_add(1, Ordering::Relaxed);
                    self.process = self.env.process();
                }
                if !error.refused {
                    self.errors += 1;
                }
                Err(error)
            }
        }
    }

    /// Does an operation on this member again and again until it goes well: the cluster is healthy.
    ///
    /// # Errors
    /// A sentence with the last error, when it does not.
    pub async fn insist<T, F, Work>(&mut self, node: usize, call: impl Fn() -> Call, work: F) -> Result<T, String>
    where
        F: Fn(Client) -> Work,
        Work: Future<Output = Result<Answer<T>, Error>>,
    {
        let mut last = String::new();
        for _ in 0..FINAL_TRIES {
            match self.run_on(node, call(), &work).await {
                Ok(out) => return Ok(out),
                Err(e) => last = e.message,
            }
            tokio::time::sleep(FINAL_REST).await;
        }
        Err(format!("member {node} does not answer: {last}"))
    }
}
