//! Who is there: every member greets every other all the time, and remembers since when each has answered without a
//! break, and which version it speaks.

use crate::ask::Messenger;
use keelson_proto::ask as pb;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

pub const GREET_EVERY: Duration = Duration::from_millis(500);
/// A busy member may be slow to answer; one that is gone refuses the connection at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of a member that answers.
#[derive(Clone, Debug)]
pub struct Contact {
    pub since: Instant,
    pub server_version: String,
}

#[derive(Default)]
pub struct Contacts {
    answering: Mutex<BTreeMap<u64, Contact>>,
}

impl Contacts {
    /// How long a member has answered without a break.
    pub fn in_touch(&self, id: u64) -> Option<Duration> {
        self.answering.lock().get(&id).map(|c| c.since.elapsed())
    }

    pub fn get(&self, id: u64) -> Option<Contact> {
        self.answering.lock().get(&id).cloned()
    }

    /// Of these members, the one that has answered longest.
    pub fn longest(&self, among: impl IntoIterator<Item = u64>) -> Option<u64> {
        let answering = self.answering.lock();
        let candidates = among.into_iter().filter_map(|id| Some((answering.get(&id)?.since, id)));
        candidates.min().map(|(_, id)| id)
    }

    /// Greets these members once, all at the same time, and forgets all others.
    pub async fn greet(&self, messenger: &dyn Messenger, members: &[u64]) {
        self.answering.lock().retain(|id, _| members.contains(id));
        let greetings = members.iter().map(|id| self.greet_one(messenger, *id));
        futures::future::join_all(greetings).await;
    }

    async fn greet_one(&self, messenger: &dyn Messenger, id: u64) {
        let asked = crate::ask::hello(messenger, id, pb::HelloRequest {});
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        let mut answering = self.answering.lock();
        let Ok(Ok(hello)) = answer else {
            if answering.remove(&id).is_some() {
                tracing::warn!("remote-peer-id" = %format_args!("{id:x}"), "lost contact with remote peer");
            }
            return;
        };
        let since = answering.get(&id).map(|c| c.since);
        if since.is_none() {
            tracing::info!("remote-peer-id" = %format_args!("{id:x}"), "peer became active");
        }
        let contact = Contact {
            since: since.unwrap_or_else(Instant::now),
            server_version: hello.server_version,
        };
        answering.insert(id, contact);
    }
}
