//! Locks, elections, health and reflection, the same calls to a member of ours and to a real etcd.
#![allow(clippy::unwrap_used)]

mod beside;

use beside::{BOUND, connect, start_etcd};
use keelson_kvstore::{Options, Server};
use keelson_proto::v3electionpb as election;
use keelson_proto::v3electionpb::election_client::ElectionClient;
use keelson_proto::v3lockpb as lock;
use keelson_proto::v3lockpb::lock_client::LockClient;
use keelson_proto::{etcdserverpb as pb, health};
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use tonic::Status;
use tonic::transport::Channel;

/// What happened, a line each.
struct Story(Vec<String>);

impl Story {
    fn tell<T: std::fmt::Debug>(&mut self, what: &str, outcome: Result<T, Status>) {
        let told = match outcome {
            Ok(answer) => format!("{answer:?}"),
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        };
        self.0.push(format!("{what}: {told}"));
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.unwrap().revision
}

async fn grant(channel: &Channel, id: i64, ttl: i64) {
    let mut leases = LeaseClient::new(channel.clone());
    leases.lease_grant(pb::LeaseGrantRequest { id, ttl }).await.unwrap();
}

async fn revoke(channel: &Channel, id: i64) {
    let mut leases = LeaseClient::new(channel.clone());
    leases.lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap();
}

async fn keys(channel: &Channel) -> Vec<String> {
    let request = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let read = KvClient::new(channel.clone())
        .range(request)
        .await
        .unwrap()
        .into_inner();
    read.kvs
        .iter()
        .map(|kv| format!("{} {}", kv.key.escape_ascii(), kv.lease))
        .collect()
}

/// Waits until so many keys are there: those that wait for a lock have taken their place.
async fn until_keys(channel: &Channel, count: usize) {
    let waiting = async {
        while keys(channel).await.len() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.expect("the keys in time");
}

async fn locks(channel: &Channel) -> Vec<String> {
    let mut story = Story(Vec::new());
    let mut client = LockClient::new(channel.clone());
    let of = |lease| lock::LockRequest {
        name: "n".into(),
        lease,
    };
    let told = |r: Result<tonic::Response<lock::LockResponse>, Status>| {
        r.map(|r| r.into_inner())
            .map(|r| (r.key.escape_ascii().to_string(), revision(r.header)))
    };
    for id in [0xa1, 0xb2, 0xc3, 0xd4] {
        grant(channel, id, 600).await;
    }
    story.tell("first", told(client.lock(of(0xa1)).await));
    story.tell("again", told(client.lock(of(0xa1)).await));
    story.tell("no such lease", told(client.lock(of(0x99)).await));
    let waiting = client.clone();
    let wait = |lease| {
        let mut client = waiting.clone();
        tokio::spawn(async move { client.lock(of(lease)).await })
    };
    let second = wait(0xb2);
    until_keys(channel, 2).await;
    let third = wait(0xc3);
    until_keys(channel, 3).await;
    // The one in the middle goes: the third waits on for the first.
    let fourth = wait(0xd4);
    until_keys(channel, 4).await;
    revoke(channel, 0xc3).await;
    let unlock = lock::UnlockRequest { key: "n/a1".into() };
    let unlocked = client.unlock(unlock).await.map(|r| revision(r.into_inner().header));
    story.tell("unlock", unlocked);
    story.tell("second", told(second.await.unwrap()));
    revoke(channel, 0xb2).await;
    story.tell("third, its lease gone", told(third.await.unwrap()));
    story.tell("fourth", told(fourth.await.unwrap()));
    // A client that goes away leaves its place.
    grant(channel, 0xe5, 600).await;
    let gone = wait(0xe5);
    until_keys(channel, 2).await;
    gone.abort();
    until_keys(channel, 1).await;
    story.tell(
        "unlock nothing",
        client.unlock(lock::UnlockRequest::default()).await.map(drop),
    );
    story.0.extend(keys(channel).await);
    story.0
}

async fn elections(channel: &Channel) -> Vec<String> {
    let mut story = Story(Vec::new());
    let mut client = ElectionClient::new(channel.clone());
    let campaign = |lease, value: &str| election::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.to_owned().into(),
    };
    let leader = || election::LeaderRequest { name: "e".into() };
    let led = |r: Result<tonic::Response<election::LeaderResponse>, Status>| r.map(|r| r.into_inner().kv);
    for id in [0x11, 0x22] {
        grant(channel, id, 600).await;
    }
    story.tell("nobody", led(client.leader(leader()).await));
    let won = client.campaign(campaign(0x11, "one")).await.unwrap().into_inner();
    let key = won.leader.clone().unwrap();
    // etcd answers an observer only when there is a leader to tell.
    let mut observed = client.observe(leader()).await.unwrap().into_inner();
    story.tell("won", Ok((key.clone(), revision(won.header))));
    story.tell("seen", observed.message().await.map(|m| m.unwrap().kv));
    let again = client.campaign(campaign(0x11, "one again")).await;
    story.tell("again", again.map(|r| r.into_inner().leader));
    story.tell("seen", observed.message().await.map(|m| m.unwrap().kv));
    story.tell("leader", led(client.leader(leader()).await));
    let proclaim = |leader| election::ProclaimRequest {
        leader,
        value: "said".into(),
    };
    let proclaimed = client.proclaim(proclaim(Some(key.clone()))).await;
    story.tell("proclaim", proclaimed.map(|r| revision(r.into_inner().header)));
    story.tell("seen", observed.message().await.map(|m| m.unwrap().kv));
    let stale = election::LeaderKey { rev: 1, ..key.clone() };
    story.tell("stale", client.proclaim(proclaim(Some(stale.clone()))).await.map(drop));
    story.tell("none", client.proclaim(proclaim(None)).await.map(drop));
    let mut other = client.clone();
    let request = campaign(0x22, "two");
    let second = tokio::spawn(async move { other.campaign(request).await });
    let waiting = async {
        while !keys(channel).await.iter().any(|k| k.starts_with("e/22")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, waiting)
        .await
        .expect("a second candidate in time");
    let resign = |leader| election::ResignRequest { leader };
    story.tell(
        "stale resigns",
        client
            .resign(resign(Some(stale)))
            .await
            .map(|r| revision(r.into_inner().header)),
    );
    story.tell(
        "resign",
        client
            .resign(resign(Some(key.clone())))
            .await
            .map(|r| revision(r.into_inner().header)),
    );
    story.tell("second", second.await.unwrap().map(|r| r.into_inner().leader));
    story.tell("seen", observed.message().await.map(|m| m.unwrap().kv));
    story.tell("nobody resigns", client.resign(resign(None)).await.map(drop));
    revoke(channel, 0x22).await;
    story.tell("nobody", led(client.leader(leader()).await));
    story.tell("no lease", client.campaign(campaign(0x33, "x")).await.map(drop));
    story.0
}

async fn healths(channel: &Channel) -> Vec<String> {
    let mut story = Story(Vec::new());
    let mut client = health::health_client::HealthClient::new(channel.clone());
    for service in ["", "etcdserverpb.KV"] {
        let request = health::HealthCheckRequest {
            service: service.to_owned(),
        };
        story.tell(service, client.check(request.clone()).await.map(|r| r.into_inner()));
        let mut answers = client.watch(request).await.unwrap().into_inner();
        story.tell("watch", answers.message().await);
    }
    story.tell(
        "list",
        client.list(health::HealthListRequest {}).await.map(|r| r.into_inner()),
    );
    story.0
}

#[tokio::test]
async fn stories_are_those_of_a_real_etcd() {
    let etcd = start_etcd(&[]);
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    let server = Server::start(options).await.unwrap();
    let theirs = connect(&etcd.url).await;
    let ours = connect(&format!("http://{}", server.client_addr().unwrap())).await;
    let whole = async |channel: &Channel| {
        let story = async { (locks(channel).await, elections(channel).await, healths(channel).await) };
        tokio::time::timeout(BOUND * 2, story)
            .await
            .expect("the story's end in time")
    };
    let (a, b) = (whole(&theirs).await, whole(&ours).await);
    assert_eq!(a, b, "left is etcd");
    server.shutdown().await;
}
