//! A client of the etcd v3 API: what the workloads, the faults and the runner ask members with.
//!
//! It talks to one member, retries nothing, and says of each error whether the request certainly did not take effect.
//! Requests and answers are the messages of [`keelson_proto`].

mod build;
mod calls;
mod error;
mod streams;

pub use build::{compare, delete, get, prefix_end, put, range, shown, step, text};
pub use error::Error;
pub use streams::{KeepAlive, Observe, Watch};

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint};

/// Largest answer that is taken, bytes: a whole store is read at once at the end of a run.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How often an idle connection is probed. etcd hangs up on clients that ask more often than every 5 s.
const PROBE_EVERY: Duration = Duration::from_secs(6);
/// A connection that answers no probe for this long is given up: its member is paused or cut off.
const PROBE_WAIT: Duration = Duration::from_secs(3);

/// How long a client waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, after the request was handed to the connection.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(1),
            request: Duration::from_secs(3),
        }
    }
}

/// A client of one member. Clones share its connection, which is made when it is needed and made again after it broke.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeouts: Timeouts,
}

struct Shared {
    url: String,
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    channel: Option<Channel>,
    /// Counts connections, so that an old failure does not end a new one.
    number: u64,
}

/// A client of the member at this URL (`http://10.77.0.1:2379`). Nothing is sent yet.
pub fn connect(url: &str, timeouts: Timeouts) -> Client {
    Client {
        shared: Arc::new(Shared {
            url: url.to_owned(),
            connection: Mutex::new(Connection::default()),
        }),
        timeouts,
    }
}

impl Client {
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The same connection with another limit for answers.
    pub fn with_request_timeout(&self, request: Duration) -> Client {
        Client {
            shared: Arc::clone(&self.shared),
            timeouts: Timeouts {
                request,
                ..self.timeouts
            },
        }
    }

    /// The connection, made if there is none. Its errors are definite: nothing was sent.
    async fn channel(&self) -> Result<(Channel, u64), Error> {
        let mut held = self.shared.connection.lock().await;
        if let Some(channel) = &held.channel {
            return Ok((channel.clone(), held.number));
        }
        let endpoint = Endpoint::from_shared(self.shared.url.clone())
            .map_err(|e| Error::not_sent(format!("parse {}: {e}", self.shared.url)))?
            .connect_timeout(self.timeouts.connect)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE_EVERY)
            .keep_alive_timeout(PROBE_WAIT)
            .keep_alive_while_idle(true);
        let connected = tokio::time::timeout(self.timeouts.connect, endpoint.connect()).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(e)) => return Err(Error::not_sent(format!("connect to {}: {}", self.url(), chain(&e)))),
            Err(_) => return Err(Error::not_sent(format!("connect to {}: timed out", self.url()))),
        };
        held.number += 1;
        held.channel = Some(channel.clone());
        Ok((channel, held.number))
    }

    /// Gives the connection up, unless it was already replaced: the next request makes a new one.
    async fn give_up(&self, number: u64) {
        let mut held = self.shared.connection.lock().await;
        if held.number == number {
            held.channel = None;
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
