//! Spectators: one watch of every key on each member from revision 1 on. Together with the operations they tell what
//! really happened.

use super::observer::{End, Lifetime, Observer};
use super::{Env, Worker};
use crate::history::WatchStart;
use std::time::Duration;

/// How long a spectator rests before it asks again after a break.
const REST: Duration = Duration::from_millis(200);

/// A spectator for each member, until everything up to the last revision has come.
pub fn workers(env: &Env) -> Vec<Worker> {
    (1..=env.nodes())
        .map(|node| Box::pin(work(env.clone(), node)) as Worker)
        .collect()
}

async fn work(env: Env, node: usize) {
    let mut observer = Observer::new(&env, format!("spectator-{node}"), node, WatchStart::everything(1));
    observer.seen = true;
    let lifetime = Lifetime {
        deadline: None,
        until: Some(env.until()),
        ask: None,
    };
    while observer.stream(lifetime.clone()).await != End::Done {
        tokio::time::sleep(REST).await;
    }
}
