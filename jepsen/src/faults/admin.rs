//! What an operator asks a cluster, from a thread. Changes are made so that they can be tried again: what was asked for
//! with an unknown end is looked up before it is asked for once more.

use super::scene::until;
use crate::client::{Client, Timeouts, connect};
use crate::world::{World, WorldError, peer_url};
use keelson_proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DefragmentRequest, HashKvRequest, HashKvResponse, LeaseGrantRequest,
    LeaseRevokeRequest, Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MoveLeaderRequest, StatusRequest, StatusResponse, alarm_request::AlarmAction,
};
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    request: Duration::from_secs(2),
};
/// A defragmentation or a hash of everything may take this long.
const LONG: Duration = Duration::from_secs(20);
/// A status that takes longer is none.
const STATUS: Duration = Duration::from_millis(800);

/// A client of every member, and the threads that drive them.
pub(super) struct Admin {
    runtime: Runtime,
    clients: Vec<Client>,
}

impl Admin {
    pub(super) fn new(world: &World) -> Result<Admin, WorldError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("admin")
            .enable_all()
            .build()
            .map_err(|source: io::Error| WorldError::Io {
                doing: "start the runtime of the faults".to_owned(),
                source,
            })?;
        let clients = world
            .nodes()
            .map(|node| connect(&world.client_url(node), TIMEOUTS))
            .collect();
        Ok(Admin { runtime, clients })
    }

    fn client(&self, node: usize) -> &Client {
        &self.clients[node - 1]
    }

    fn run<T>(&self, call: impl Future<Output = Result<T, crate::client::Error>>) -> Result<T, String> {
        self.runtime.block_on(call).map_err(|e| e.to_string())
    }

    /// The first answer of any member, asked one after another; the errors of all when there is none.
    fn anybody<'a, T, F>(&'a self, call: impl Fn(&'a Client) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, crate::client::Error>>,
    {
        self.any_of(1..=self.clients.len(), call)
    }

    /// As [`Admin::anybody`], of these.
    fn any_of<'a, T, F>(
        &'a self,
        nodes: impl IntoIterator<Item = usize>,
        call: impl Fn(&'a Client) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, crate::client::Error>>,
    {
        let mut errors = Vec::new();
        for node in nodes {
            match self.run(call(self.client(node))) {
                Ok(answer) => return Ok(answer),
                Err(e) => errors.push(format!("member {node}: {e}")),
            }
        }
        Err(errors.join("; "))
    }

    /// What each member says of itself, all asked at once.
    pub(super) fn statuses(&self) -> Vec<Option<StatusResponse>> {
        let all = self.clients.iter().map(|client| async {
            let client = client.with_request_timeout(STATUS);
            client.status(StatusRequest::default()).await.ok()
        });
        self.runtime.block_on(futures::future::join_all(all))
    }

    /// The member that leads, by the newest term that any tells.
    pub(super) fn leader(&self) -> Option<usize> {
        leader(&self.statuses())
    }

    /// The newest revision that a member tells.
    pub(super) fn revision(&self) -> Option<i64> {
        self.statuses()
            .iter()
            .flatten()
            .filter_map(|s| Some(s.header.as_ref()?.revision))
            .max()
    }

    fn members(&self) -> Result<Vec<Member>, String> {
        let request = MemberListRequest { linearizable: true };
        Ok(self.anybody(|client| client.member_list(request))?.members)
    }

    /// The entry of a member in the list, by its address.
    fn find(&self, node: usize) -> Result<Option<Member>, String> {
        Ok(self
            .members()?
            .into_iter()
            .find(|m| m.peer_ur_ls.contains(&peer_url(node))))
    }

    /// Takes a member out of the cluster, unless it is out.
    pub(super) fn remove(&self, node: usize, deadline: Instant) -> Result<(), String> {
        until(deadline, || {
            let Some(member) = self.find(node)? else { return Ok(()) };
            let request = MemberRemoveRequest { id: member.id };
            self.anybody(|client| client.member_remove(request)).map(drop)?;
            Err("removed, and not yet looked up".to_owned())
        })
    }

    /// Puts a member into the cluster, unless it is in. Returns the `initial-cluster` that it starts with.
    pub(super) fn add(&self, node: usize, learner: bool, deadline: Instant) -> Result<String, String> {
        until(deadline, || {
            if self.find(node)?.is_none() {
                let request = MemberAddRequest {
                    peer_ur_ls: vec![peer_url(node)],
                    is_learner: learner,
                };
                self.anybody(|client| client.member_add(request.clone())).map(drop)?;
            }
            let members = self.members()?;
            let names = |m: &Member| {
                let node = (1..=self.clients.len()).find(|n| m.peer_ur_ls.contains(&peer_url(*n)))?;
                Some(format!("n{node}={}", peer_url(node)))
            };
            let cluster: Vec<String> = members.iter().filter_map(names).collect();
            let own = format!("={}", peer_url(node));
            if cluster.iter().any(|entry| entry.ends_with(&own)) {
                Ok(cluster.join(","))
            } else {
                Err(format!("added, and not in the list {cluster:?}"))
            }
        })
    }

    /// Makes a learner a voter; a voter stays one.
    pub(super) fn promote(&self, node: usize, deadline: Instant) -> Result<(), String> {
        until(deadline, || match self.find(node)? {
            None => Err("is not in the list".to_owned()),
            Some(member) if !member.is_learner => Ok(()),
            Some(member) => {
                let request = MemberPromoteRequest { id: member.id };
                self.anybody(|client| client.member_promote(request)).map(drop)
            }
        })
    }

    /// Hands the leadership to one of the followers, by its number among them and around. Returns from whom to whom.
    pub(super) fn move_leader(&self, choice: usize) -> Result<(usize, usize), String> {
        let statuses = self.statuses();
        let from = leader(&statuses).ok_or("nobody leads")?;
        let followers: Vec<(usize, u64)> = statuses
            .iter()
            .enumerate()
            .filter_map(|(at, status)| {
                let status = status.as_ref()?;
                let id = status.header.as_ref()?.member_id;
                (at + 1 != from && !status.is_learner).then_some((at + 1, id))
            })
            .collect();
        let (to, id) = *followers
            .get(choice % followers.len().max(1))
            .ok_or("the leader has no follower that answers")?;
        self.run(self.client(from).move_leader(MoveLeaderRequest { target_id: id }))?;
        Ok((from, to))
    }

    pub(super) fn compact(&self, revision: i64) -> Result<(), crate::client::Error> {
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        let mut last = None;
        for client in &self.clients {
            match self.runtime.block_on(client.compact(request)) {
                Ok(_) => return Ok(()),
                // Nobody else needs to be asked when the cluster has decided, or may have.
                Err(e) if !e.definite || e.is_compacted() => return Err(e),
                Err(e) => last = Some(e),
            }
        }
        last.map_or(Ok(()), Err)
    }

    pub(super) fn defragment(&self, node: usize) -> Result<(), String> {
        let client = self.client(node).with_request_timeout(LONG);
        self.run(client.defragment(DefragmentRequest {})).map(drop)
    }

    /// The hash of everything that a member holds at a revision; it reads all of it. 0 is the newest.
    pub(super) fn hash(&self, node: usize, revision: i64) -> Result<HashKvResponse, String> {
        let client = self.client(node).with_request_timeout(LONG);
        self.run(client.hash_kv(HashKvRequest { revision }))
    }

    /// Makes the log longer by some entries that change no key, by one of these: leases that are granted and revoked.
    pub(super) fn lengthen_log(&self, nodes: &[usize], entries: usize) -> Result<(), String> {
        self.any_of(nodes.iter().copied(), |client| async move {
            let pairs = (0..entries.div_ceil(2)).map(|_| async {
                let grant = client.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?;
                client.lease_revoke(LeaseRevokeRequest { id: grant.id }).await
            });
            futures::future::try_join_all(pairs).await.map(drop)
        })
    }

    /// Takes all alarms away.
    pub(super) fn disarm(&self) -> Result<(), String> {
        let request = |action: AlarmAction, member_id, alarm| AlarmRequest {
            action: action.into(),
            member_id,
            alarm,
        };
        let get = request(AlarmAction::Get, 0, AlarmType::None.into());
        for alarm in self.anybody(|client| client.alarm(get))?.alarms {
            let off = request(AlarmAction::Deactivate, alarm.member_id, alarm.alarm);
            self.anybody(|client| client.alarm(off)).map(drop)?;
        }
        Ok(())
    }
}

/// The member that leads, by the newest term that any tells.
pub(super) fn leader(statuses: &[Option<StatusResponse>]) -> Option<usize> {
    statuses
        .iter()
        .enumerate()
        .filter_map(|(at, status)| {
            let status = status.as_ref()?;
            let own = status.header.as_ref()?.member_id;
            (own != 0 && own == status.leader).then_some((status.raft_term, at + 1))
        })
        .max()
        .map(|(_, node)| node)
}
