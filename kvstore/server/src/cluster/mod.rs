//! The cluster as this member knows it, and changes of its members: judged and made on the leader, asked for anywhere.
//!
//! Invariants: one change at a time; a change is judged on the state that it is made on. What is refused is refused in
//! etcd's words. A removed id never comes back.

pub mod contacts;
pub mod ids;
pub mod publish;
pub mod rules;
pub mod urls;
pub mod version;
mod view;
mod watcher;

pub use watcher::watch;

use crate::ask::{self, Messenger, Unanswered};
use crate::log::Log;
use crate::status;
use contacts::Contacts;
use keelson_mvcc::{Command, Store};
use keelson_proto::ask::{self as askpb, change_request::Change};
use keelson_proto::command::MemberRemoved;
use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Error as RaftError, Member, Members, Timers};
use rules::{Refused, Voter};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tonic::Status;

/// How often a leader is looked for again when the one asked is none (any more).
const LEADER_RETRY: Duration = Duration::from_millis(50);

pub struct Cluster {
    pub member_id: u64,
    pub store: Arc<Store>,
    pub log: Arc<dyn Log>,
    pub messenger: Arc<dyn Messenger>,
    pub contacts: Contacts,
    pub timers: Timers,
    /// `strict-reconfig-check`.
    pub strict: bool,
    pub learners_max: usize,
    /// One change at a time on the leader.
    pub changing: tokio::sync::Mutex<()>,
}

impl Cluster {
    pub fn members(&self) -> Vec<pb::Member> {
        view::members(&self.log.members(), &self.store.cluster())
    }

    /// Every member but this one.
    pub fn others(&self) -> Vec<u64> {
        let members = self.log.members();
        members.members.into_keys().filter(|id| *id != self.member_id).collect()
    }

    /// The version that all members speak; `None` until the first leader has set it.
    pub fn version(&self) -> Option<String> {
        Some(self.store.cluster().version).filter(|v| !v.is_empty())
    }

    /// The leader, once there is one.
    pub async fn leader_by(&self, deadline: Instant) -> Result<u64, Status> {
        let mut leader = self.log.watch_leader();
        let known = tokio::time::timeout_at(deadline, leader.wait_for(|s| s.leader.is_some())).await;
        match known {
            Ok(Ok(state)) => state.leader.ok_or_else(status::no_leader),
            Ok(Err(_)) => Err(status::stopped()),
            Err(_) => Err(status::no_leader()),
        }
    }

    /// Until when a call that came now is worked on.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timers.request()
    }

    pub async fn add(&self, peer_urls: &[String], is_learner: bool) -> Result<(pb::Member, Vec<pb::Member>), Status> {
        let peer_urls = urls::checked(peer_urls).map_err(|_| status::bad_member_urls())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let member = askpb::Member {
            id: ids::member_id(&peer_urls, "", Some(now.as_secs())),
            peer_urls,
            is_learner,
            ..Default::default()
        };
        let members = self.change(Change::Add(member.clone())).await?;
        Ok((view::from_ask(member), members))
    }

    pub async fn remove(&self, id: u64) -> Result<Vec<pb::Member>, Status> {
        self.change(Change::Remove(id)).await
    }

    pub async fn update(&self, id: u64, peer_urls: &[String]) -> Result<Vec<pb::Member>, Status> {
        let peer_urls = urls::checked(peer_urls).map_err(|_| status::bad_member_urls())?;
        let member = askpb::Member {
            id,
            peer_urls,
            ..Default::default()
        };
        self.change(Change::Update(member)).await
    }

    pub async fn promote(&self, id: u64) -> Result<Vec<pb::Member>, Status> {
        self.change(Change::Promote(id)).await
    }

    /// Has the leader make the change. It is sent again only when nothing was done.
    async fn change(&self, change: Change) -> Result<Vec<pb::Member>, Status> {
        let deadline = self.deadline();
        while Instant::now() < deadline {
            let question = askpb::ChangeRequest {
                change: Some(change.clone()),
            };
            let leader = self.leader_by(deadline).await?;
            let asked = async {
                if leader == self.member_id {
                    self.change_here(question).await
                } else {
                    ask::members(&*self.messenger, leader, question).await
                }
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Err(_) => break,
                Ok(Ok(done)) => {
                    self.applied(done.index, deadline).await?;
                    return Ok(done.members.into_iter().map(view::from_ask).collect());
                }
                Ok(Err(Unanswered::Refused(status))) => return Err(status),
                Ok(Err(Unanswered::NotLeader)) => tokio::time::sleep(LEADER_RETRY).await,
                Ok(Err(Unanswered::Unreachable(error))) => {
                    tracing::warn!(error, "forward a change of members to the leader");
                    return Err(status::timed_out());
                }
            }
        }
        Err(status::timed_out())
    }

    /// Whoever is answered sees the change here too.
    async fn applied(&self, index: u64, deadline: Instant) -> Result<(), Status> {
        tokio::time::timeout_at(deadline, self.log.wait_applied(index))
            .await
            .map_err(|_| status::timed_out_applying())
    }

    /// Judges and makes a change, on the leader.
    pub async fn change_here(&self, question: askpb::ChangeRequest) -> Result<askpb::ChangeResponse, Unanswered> {
        let _one = self.changing.lock().await;
        // What was decided before has to be seen, and nobody but the leader decides.
        self.log.read_index().await?;
        if !self.log.is_leader() {
            return Err(Unanswered::NotLeader);
        }
        let members = self.log.members();
        let refused = Unanswered::Refused;
        match question.change {
            Some(Change::Add(member)) => {
                self.may_add(&members, &member).map_err(refused)?;
                let node = Member {
                    peer_urls: member.peer_urls,
                    ..Member::default()
                };
                self.log.add_member(member.id, node, member.is_learner).await?;
            }
            Some(Change::Remove(id)) => {
                self.may_remove(&members, id).map_err(refused)?;
                self.remove_here(&members, id).await?;
            }
            Some(Change::Update(member)) => {
                self.may_update(&members, &member).map_err(refused)?;
                let before = members
                    .members
                    .get(&member.id)
                    .map(|m| m.member.clone())
                    .unwrap_or_default();
                let node = Member {
                    peer_urls: member.peer_urls,
                    ..before
                };
                self.log.update_member(member.id, node).await?;
            }
            Some(Change::Promote(id)) => {
                self.may_promote(&members, id).map_err(refused)?;
                self.log.promote_member(id).await?;
            }
            None => return Err(refused(Status::invalid_argument("etcdserver: no change was asked for"))),
        }
        Ok(askpb::ChangeResponse {
            members: self.members().into_iter().map(view::to_ask).collect(),
            index: self.log.applied_index(),
        })
    }

    /// A leader that is to go hands over first, and the next one removes it.
    async fn remove_here(&self, members: &Members, id: u64) -> Result<(), Unanswered> {
        if id == self.member_id {
            let others = members.voters().filter(|voter| *voter != id);
            let Some(next) = self.contacts.longest(others) else {
                return Err(Unanswered::Refused(status::unhealthy()));
            };
            self.log.transfer_leader(next).await?;
            return Err(Unanswered::NotLeader);
        }
        self.log.remove_member(id).await?;
        let removed = Command::MemberRemoved(MemberRemoved { member_id: id });
        let (_, answer) = self.log.propose(removed.encode()).await?;
        answer.map(drop).map_err(|e| Unanswered::Refused(status::refused(e)))
    }

    fn voters(&self, members: &Members) -> Vec<Voter> {
        let meta = self.store.cluster();
        let listed = view::members(members, &meta).into_iter().filter(|m| !m.is_learner);
        let voter = |m: pb::Member| Voter {
            id: m.id,
            started: !m.name.is_empty(),
            in_touch: if m.id == self.member_id {
                Some(Duration::MAX)
            } else {
                self.contacts.in_touch(m.id)
            },
        };
        listed.map(voter).collect()
    }

    fn strictly(&self, judged: Result<(), Refused>, what: &str) -> Result<(), Status> {
        let Err(refused) = judged else { return Ok(()) };
        if !self.strict {
            return Ok(());
        }
        let status = match refused {
            Refused::NotEnoughStarted => status::not_enough_started(),
            Refused::Unhealthy => status::unhealthy(),
        };
        tracing::warn!(
            "local-member-id" = %format_args!("{:x}", self.member_id),
            error = status.message(),
            "rejecting member {what} request"
        );
        Err(status)
    }

    fn was_removed(&self, id: u64) -> bool {
        self.store.cluster().removed.contains(&id)
    }

    fn url_is_taken(members: &Members, by_other_than: u64, urls: &[String]) -> bool {
        let others = members.members.iter().filter(|(id, _)| **id != by_other_than);
        others
            .flat_map(|(_, m)| &m.member.peer_urls)
            .any(|url| urls.contains(url))
    }

    fn may_add(&self, members: &Members, member: &askpb::Member) -> Result<(), Status> {
        self.strictly(rules::may_add(&self.voters(members), member.is_learner), "add")?;
        if self.was_removed(member.id) {
            return Err(status::member_not_found());
        }
        if members.members.contains_key(&member.id) {
            return Err(status::member_exists());
        }
        if Self::url_is_taken(members, member.id, &member.peer_urls) {
            return Err(status::peer_url_exists());
        }
        let learners = members.members.values().filter(|m| m.is_learner()).count();
        if member.is_learner && learners >= self.learners_max {
            return Err(status::too_many_learners());
        }
        Ok(())
    }

    fn may_remove(&self, members: &Members, id: u64) -> Result<(), Status> {
        let known = members.members.get(&id);
        if !known.is_some_and(|m| m.is_learner()) {
            self.strictly(rules::may_remove(&self.voters(members), id), "remove")?;
        }
        if known.is_none() {
            return Err(status::member_not_found());
        }
        Ok(())
    }

    fn may_update(&self, members: &Members, member: &askpb::Member) -> Result<(), Status> {
        if !members.members.contains_key(&member.id) {
            return Err(status::member_not_found());
        }
        if Self::url_is_taken(members, member.id, &member.peer_urls) {
            return Err(status::peer_url_exists());
        }
        Ok(())
    }

    fn may_promote(&self, members: &Members, id: u64) -> Result<(), Status> {
        let Some(member) = members.members.get(&id) else {
            return Err(status::member_not_found());
        };
        let matched = self.log.matched();
        let of = |id| matched.get(&id).copied().unwrap_or(0);
        if id != self.member_id && !rules::is_ready(of(id), of(self.member_id)) {
            tracing::warn!(
                "learner-matched" = of(id),
                "leader-matched" = of(self.member_id),
                "rejecting promote learner: learner is not ready"
            );
            return Err(status::learner_not_ready());
        }
        self.strictly(rules::may_promote(&self.voters(members)), "promote")?;
        if !member.is_learner() {
            return Err(status::not_learner());
        }
        Ok(())
    }

    /// Hands leadership to a voter. On the leader.
    pub async fn move_leader(&self, to: u64) -> Result<(), Status> {
        if !self.log.is_leader() {
            return Err(status::not_leader());
        }
        let members = self.log.members();
        if !members.members.get(&to).is_some_and(|m| m.votes) {
            return Err(status::bad_transferee());
        }
        if to == self.member_id {
            return Ok(());
        }
        let started = Instant::now();
        let hex = |id: u64| format!("{id:x}");
        tracing::info!(
            "local-member-id" = hex(self.member_id),
            "current-leader-member-id" = hex(self.member_id),
            "transferee-member-id" = hex(to),
            "leadership transfer starting"
        );
        self.log.transfer_leader(to).await.map_err(|e| match e {
            RaftError::TransferTimedOut => Status::unknown(format!("etcdserver: {e}")),
            other => status::raft(&other),
        })?;
        tracing::info!(
            "local-member-id" = hex(self.member_id),
            "old-leader-member-id" = hex(self.member_id),
            "new-leader-member-id" = hex(to),
            took = ?started.elapsed(),
            "leadership transfer finished"
        );
        Ok(())
    }

    /// Before a leader stops: another should lead. What cannot be done is told and no reason to stay.
    pub async fn hand_over(&self) {
        if !self.log.is_leader() {
            tracing::info!("skipped leadership transfer; local server is not leader");
            return;
        }
        let members = self.log.members();
        let others: Vec<u64> = members.voters().filter(|id| *id != self.member_id).collect();
        if others.is_empty() {
            tracing::info!("skipped leadership transfer for single voting member cluster");
            return;
        }
        // One that has just begun to lead has not greeted anybody yet, but knows who follows.
        let follows_best = || {
            let matched = self.log.matched();
            let known = others.iter().filter_map(|id| Some((*matched.get(id)?, *id)));
            known.filter(|(index, _)| *index > 0).max().map(|(_, id)| id)
        };
        match self.contacts.longest(others.iter().copied()).or_else(follows_best) {
            None => tracing::warn!("skipped leadership transfer; no voting member is in touch"),
            Some(next) => {
                if let Err(error) = self.move_leader(next).await {
                    tracing::warn!(error = error.message(), "leadership transfer failed");
                }
            }
        }
    }
}
