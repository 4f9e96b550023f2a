//! What a member does about the others as long as it runs: it greets them.

use super::contacts::GREET_EVERY;
use crate::core::Core;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Ends with `stop`. A member alone only waits for another to be added.
pub async fn watch(core: Arc<Core>, stop: CancellationToken) {
    let cluster = &core.cluster;
    let mut members = cluster.log.watch_members();
    loop {
        members.mark_unchanged();
        let others = cluster.others();
        let round = async {
            if others.is_empty() {
                // It fails when the log has ended, and `stop` is then not far.
                if members.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                return;
            }
            cluster.contacts.greet(&*cluster.messenger, &others).await;
            tokio::time::sleep(GREET_EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}
