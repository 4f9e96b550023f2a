//! Tells the open streams of clients that need a leader when it has been gone for long.
//!
//! New calls are refused at once; open streams cost more to open again, and wait longer, as etcd's do.

use crate::core::Core;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Election timeouts without a leader after which open streams are cancelled.
const ELECTIONS_WITHOUT_LEADER: u32 = 3;

/// Wakes once for each time that the leader was lost for long.
#[derive(Default)]
pub struct LeaderLost {
    now: Mutex<CancellationToken>,
}

impl LeaderLost {
    /// Resolves when it is lost the next time.
    pub fn wait(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let token = self.now.lock().clone();
        Box::pin(token.cancelled_owned())
    }

    fn tell(&self) {
        std::mem::take(&mut *self.now.lock()).cancel();
    }
}

/// Looks once an election timeout. Ends with `stop`.
pub async fn run(core: Arc<Core>, lost: Arc<LeaderLost>, election: Duration, stop: CancellationToken) {
    let mut without = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(election) => {}
        }
        without = if core.log.leader().is_none() { without + 1 } else { 0 };
        if without >= ELECTIONS_WITHOUT_LEADER {
            lost.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_loss_wakes_those_that_waited_then() {
        let lost = Arc::new(LeaderLost::default());
        let first = lost.clone().wait();
        lost.tell();
        first.await;
        let second = lost.clone().wait();
        tokio::select! {
            biased;
            () = second => panic!("it was lost before this one waited"),
            () = std::future::ready(()) => {}
        }
    }
}
