//! A member tells the cluster, through the log, its name and where clients reach it.

use crate::core::Core;
use keelson_mvcc::{Attributes, Command};
use keelson_proto::command::MemberAttributes;
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts, while there is no leader or no way to it.
const RETRY: Duration = Duration::from_millis(100);

/// Tries until it is in the log. What the log says already is not said again.
pub async fn publish(core: &Arc<Core>, client_urls: &[String]) {
    let cluster = &core.cluster;
    let wanted = Attributes {
        name: core.name.clone(),
        client_urls: client_urls.to_vec(),
    };
    let command = Command::MemberAttributes(MemberAttributes {
        member_id: core.member_id,
        name: wanted.name.clone(),
        client_urls: wanted.client_urls.clone(),
    });
    let told = || core.store.cluster().attributes.get(&core.member_id) == Some(&wanted);
    while !told() {
        let outcome = cluster.log.propose(command.encode()).await;
        match outcome {
            Ok((_, Ok(_))) if told() => break,
            // Not in yet, or out again.
            Ok(_) => {}
            Err(error) => tracing::warn!(
                "local-member-id" = %format_args!("{:x}", core.member_id),
                %error,
                "failed to publish local member to cluster through raft"
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
    tracing::info!(
        "local-member-id" = %format_args!("{:x}", core.member_id),
        "local-member-attributes" = ?wanted,
        "cluster-id" = %format_args!("{:x}", core.cluster_id),
        "published local member to cluster through raft"
    );
}

/// Waits until a member that is to vote does so. Who adds a member and sees it serve counts on it when the next one is
/// lost; in etcd it would have its vote since it was added.
pub async fn wait_for_vote(core: &Arc<Core>) {
    let mut members = core.cluster.log.watch_members();
    let settled = members.wait_for(|all| {
        let own = all.members.get(&core.member_id);
        own.is_some_and(|own| own.is_learner() || own.votes && !all.joint)
    });
    // The log is gone: nothing is waited for any more.
    drop(settled.await);
}
