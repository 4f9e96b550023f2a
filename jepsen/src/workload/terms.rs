//! Terms: every member is asked all the time whom it takes for the leader, and in which term.
//!
//! `status` null → `{"term", "leader", "member"}`: ids as text, since JSON numbers are not wide enough; the leader `"0"`
//! where there is none.

use super::{Call, Env, Session, Worker, Workload, answer};
use crate::client;
use futures::future::BoxFuture;
use keelson_proto::etcdserverpb::StatusRequest;
use serde_json::{Value, json};

/// The workload `terms`.
pub struct Terms;

impl Workload for Terms {
    fn name(&self) -> &'static str {
        "terms"
    }

    fn about(&self) -> &'static str {
        "who leads, in which term, as each member says"
    }

    fn clients(&self) -> usize {
        3
    }

    fn rate(&self) -> f64 {
        30.0
    }

    /// One write, beside the history: without any, spectators would have nothing to see.
    fn setup<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            let done = env.client(1).put(client::put("terms/begun", "yes")).await;
            done.map(drop).map_err(|e| e.message)
        })
    }

    /// One a member, whatever is set.
    fn workers(&self, env: &Env) -> Vec<Worker> {
        (0..env.nodes())
            .map(|number| Box::pin(work(Session::new(env, self.name(), number))) as Worker)
            .collect()
    }
}

async fn work(mut session: Session) {
    let node = session.number + 1;
    while session.next().await {
        let asked = session.run_on(node, Call::read("status", Value::Null), async |client| {
            let status = client.status(StatusRequest {}).await?;
            let member = status.header.as_ref().map_or(0, |header| header.member_id);
            let value = json!({
                "term": status.raft_term,
                "leader": status.leader.to_string(),
                "member": member.to_string(),
            });
            Ok(answer(value, status.header.as_ref(), ()))
        });
        // It is written down; the next one is asked all the same.
        let _ = asked.await;
    }
}
