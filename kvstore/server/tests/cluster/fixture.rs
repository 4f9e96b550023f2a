//! Starting, stopping and asking members.

#[path = "../free/mod.rs"]
mod free;

use keelson_kvstore::{Bootstrap, ListenAddr, Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::Channel;

/// Nothing that these tests wait for takes longer.
pub const LONG: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);

/// Waits for what is true sooner or later.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited too long until {what}");
        tokio::time::sleep(LOOK).await;
    }
}

pub fn free_url() -> String {
    format!("http://127.0.0.1:{}", free::port())
}

/// What a member is started with.
pub struct Place {
    pub name: String,
    pub peer_url: String,
}

pub struct Member {
    pub place: Place,
    pub server: Option<Server>,
    channel: Option<Channel>,
    /// What it runs on, apart from the others: a process, nearly.
    runtime: Option<Runtime>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Member {
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel())
    }
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel())
    }
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel())
    }
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }
    pub fn channel(&self) -> Channel {
        self.channel.clone().unwrap()
    }
    pub async fn status(&self) -> pb::StatusResponse {
        self.maintenance()
            .status(pb::StatusRequest {})
            .await
            .unwrap()
            .into_inner()
    }
    pub async fn id(&self) -> u64 {
        self.status().await.header.unwrap().member_id
    }
    pub async fn members(&self) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        self.cluster().member_list(request).await.unwrap().into_inner().members
    }
    pub async fn stop(&mut self) {
        self.channel = None;
        if let Some(server) = self.server.take()
            && let Some(runtime) = &self.runtime
        {
            runtime.spawn(server.shutdown()).await.unwrap();
        }
    }
    /// Without a word to anybody. It cannot come back: its files stay open.
    pub fn kill(&mut self) {
        self.channel = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.server = None;
    }
}

pub struct Cluster {
    pub members: Vec<Member>,
    pub root: TempDir,
    listed: BTreeMap<String, Vec<String>>,
    /// Changes what every member is started with.
    pub tune: fn(&mut Options),
}

impl Cluster {
    /// All started, and one of them leads.
    pub async fn start(size: usize, tune: fn(&mut Options)) -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..size).map(|n| format!("m{n}")).collect();
        let listed: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), vec![free_url()])).collect();
        let mut cluster = Cluster {
            members: Vec::new(),
            root,
            listed: listed.clone(),
            tune,
        };
        let bootstrap = Bootstrap::New {
            members: listed,
            token: "test".to_owned(),
        };
        let starts = names.iter().map(|name| cluster.open(name, bootstrap.clone()));
        cluster.members = futures::future::join_all(starts)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        cluster.leader().await;
        cluster
    }

    fn options(&self, name: &str, bootstrap: Bootstrap) -> Options {
        let url = self.listed[name][0].clone();
        let addr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let mut options = Options::new(name, self.root.path().join(name));
        options = options.serve_at("127.0.0.1:0".parse().unwrap(), None);
        options.bootstrap = bootstrap;
        options.peers.listeners = vec![ListenAddr::Tcp(addr)];
        options.peers.advertise_urls = vec![url];
        (self.tune)(&mut options);
        options
    }

    async fn open(&self, name: &str, bootstrap: Bootstrap) -> Result<Member, keelson_kvstore::Error> {
        let options = self.options(name, bootstrap);
        let place = Place {
            name: name.to_owned(),
            peer_url: self.listed[name][0].clone(),
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let started = runtime.spawn(Server::start(options)).await.unwrap();
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let url = format!("http://{}", server.client_addr().unwrap());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Ok(Member {
            place,
            server: Some(server),
            channel: Some(channel),
            runtime: Some(runtime),
        })
    }

    /// A member that was stopped, from its data: what it is told of the cluster no longer matters.
    pub async fn restart(&mut self, at: usize) {
        self.try_restart(at).await.unwrap();
    }

    pub async fn try_restart(&mut self, at: usize) -> Result<(), keelson_kvstore::Error> {
        let name = self.members[at].place.name.clone();
        self.members[at] = self.open(&name, Bootstrap::Alone).await?;
        Ok(())
    }

    /// Names a place for one more member.
    pub fn invite(&mut self, name: &str) -> String {
        let url = free_url();
        self.listed.insert(name.to_owned(), vec![url.clone()]);
        url
    }

    /// Starts one that was added before.
    pub async fn join(&self, name: &str) -> Result<Member, keelson_kvstore::Error> {
        let bootstrap = Bootstrap::Existing {
            members: self.listed.clone(),
            token: "test".to_owned(),
        };
        self.open(name, bootstrap).await
    }

    /// Which of the running members leads, when all of them agree.
    pub async fn leader(&self) -> usize {
        eventually("all agree on a leader", || async {
            let mut leaders = Vec::new();
            for member in self.members.iter().filter(|m| m.server.is_some()) {
                leaders.push(member.status().await.leader);
            }
            leaders.dedup();
            let [leader] = leaders.as_slice() else { return None };
            for (at, member) in self.members.iter().enumerate() {
                if member.server.is_some() && member.id().await == *leader {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    /// Some member that runs and does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        let running = |at: &usize| self.members[*at].server.is_some() && *at != leader;
        (0..self.members.len()).find(running).unwrap()
    }

    pub async fn stop(mut self) {
        futures::future::join_all(self.members.iter_mut().map(Member::stop)).await;
    }
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

pub fn told<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (tonic::Code, String) {
    let status = outcome.unwrap_err();
    (status.code(), status.message().to_owned())
}
