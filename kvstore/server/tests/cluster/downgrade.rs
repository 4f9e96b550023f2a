//! Downgrades of three members, beside a real etcd's three.

use crate::etcds::Etcds;
use crate::fixture::*;
use keelson_proto::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;
use pb::maintenance_client::MaintenanceClient;
use tonic::transport::Channel;

fn as_is(_: &mut keelson_kvstore::Options) {}

async fn status(channel: &Channel) -> pb::StatusResponse {
    let mut client = MaintenanceClient::new(channel.clone());
    client.status(pb::StatusRequest {}).await.unwrap().into_inner()
}

/// What is asked, of which member, and what it answered, without what differs between clusters.
async fn ask(members: &[Channel], at: usize, action: DowngradeAction, version: &str) -> String {
    let request = pb::DowngradeRequest {
        action: action as i32,
        version: version.to_owned(),
    };
    let mut client = MaintenanceClient::new(members[at].clone());
    let answer = match client.downgrade(request).await {
        Ok(answer) => format!("version {}", answer.into_inner().version),
        Err(status) => format!("{:?} {}", status.code(), status.message()),
    };
    format!("{action:?} {version:?} at {at}: {answer}")
}

async fn settled(members: &[Channel], version: &str, downgrading: bool) -> String {
    eventually("every member speaks the version", || async {
        for member in members {
            let status = status(member).await;
            let enabled = status.downgrade_info.as_ref().is_some_and(|d| d.enabled);
            if status.storage_version != version || enabled != downgrading {
                return None;
            }
        }
        Some(())
    })
    .await;
    let info = status(&members[0]).await.downgrade_info;
    format!("{version}: {info:?}")
}

async fn story(members: &[Channel]) -> Vec<String> {
    use DowngradeAction::{Cancel, Enable, Validate};
    let mut said = vec![settled(members, "3.7.0", false).await];
    for version in [
        "", "garbage", "3.7", "3.7.0", "3.8", "3.5", "3.5.0", "2.6", "4.6", "3.6", "3.6.0", "3.6.9",
    ] {
        said.push(ask(members, 0, Validate, version).await);
    }
    said.push(ask(members, 1, Cancel, "").await);
    said.push(ask(members, 1, Enable, "3.5.0").await);
    said.push(ask(members, 2, Enable, "3.6.0").await);
    said.push(ask(members, 0, Enable, "3.6.0").await);
    said.push(ask(members, 1, Validate, "3.6.0").await);
    said.push(settled(members, "3.6.0", true).await);
    for version in ["3.6.0", "3.5.0", "3.7.0"] {
        said.push(ask(members, 2, Validate, version).await);
        said.push(ask(members, 2, Enable, version).await);
    }
    said.push(ask(members, 0, Cancel, "").await);
    said.push(settled(members, "3.7.0", false).await);
    said
}

#[tokio::test]
async fn a_downgrade_of_three_members_goes_as_a_real_etcds() {
    let cluster = Cluster::start(3, as_is).await;
    let ours: Vec<Channel> = cluster.members.iter().map(Member::channel).collect();
    let etcds = Etcds::start(3).await;
    let (theirs, ours) = tokio::join!(story(&etcds.channels), story(&ours));
    assert_eq!(ours, theirs, "right is etcd");
    cluster.stop().await;
}
