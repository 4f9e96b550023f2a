//! Changes of who is in the group, on its leader.
//!
//! One at a time. openraft changes voters by joint consensus: a first entry in which majorities of both sets decide, a
//! second that ends it. A leader that was elected in between ends it ([`Caretaker`]). A member that is to vote joins
//! without a vote; the caretaker gives it one when it is in touch and has caught up, so that no quorum ever waits for a
//! member that never came.
use crate::{
    Error, Member, Members,
    context::Context,
    node::RaftHandle,
    runtime::{self, Instant},
    types::{Types, entry_id},
    watcher::{from_fatal, stopped},
};
use openraft::{
    ChangeMembers, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    raft::ClientWriteResponse,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, watch};

/// A member that lacks no more than this many entries has caught up: it is given its vote.
pub const CAUGHT_UP_ENTRIES: u64 = 1000;

/// How far the leader knows another member to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerProgress {
    /// Everything up to here is durable there, and the same as here.
    pub matched: u64,
    /// Time since it last answered; `None` if it never has.
    pub since_contact: Option<Duration>,
}

pub(crate) struct Changes {
    raft: RaftHandle,
    context: Arc<Context>,
    turn: Mutex<()>,
}

type Answer = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

impl Changes {
    pub(crate) fn new(raft: RaftHandle, context: Arc<Context>) -> Arc<Self> {
        Arc::new(Changes {
            raft,
            context,
            turn: Mutex::new(()),
        })
    }

    /// The newest membership, applied or not: what the next change starts from.
    fn members(&self) -> Members {
        Members::of(&self.raft.server_metrics().borrow_watched().membership_config)
    }

    fn must_lead(&self) -> Result<(), Error> {
        let state = *self.context.published.leader.borrow();
        if state.is_leader {
            return Ok(());
        }
        Err(Error::not_leader(state.leader.filter(|l| *l != self.context.node_id)))
    }

    /// Makes a change when it is its turn, and again while one that somebody else began is not over.
    async fn change<F: Future<Output = Answer>>(
        &self,
        check: impl Fn(&Members) -> Result<(), Error>,
        make: impl Fn() -> F,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + self.context.timers.request();
        let Ok(_turn) = runtime::timeout_at(deadline, self.turn.lock()).await else {
            return Err(Error::ChangeInProgress);
        };
        self.must_lead()?;
        check(&self.members())?;
        loop {
            let answer = match runtime::timeout_at(deadline, make()).await {
                Ok(answer) => answer,
                Err(_) => return Err(Error::TimedOut),
            };
            let busy = match answer {
                Ok(_) => return Ok(()),
                Err(RaftError::Fatal(f)) => return Err(from_fatal(&f)),
                Err(RaftError::APIError(e)) => match e {
                    ClientWriteError::ForwardToLeader(f) => return Err(Error::not_leader(f.leader_id)),
                    ClientWriteError::LogEntryDiscarded(_) => return Err(Error::LeaderChanged),
                    ClientWriteError::PreconditionFailed(_) => true,
                    ClientWriteError::ChangeMembershipError(e) => match e {
                        ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => true,
                        ChangeMembershipError::EmptyMembership(_) => return Err(Error::LastVoter),
                        ChangeMembershipError::LearnerNotFound(e) => return Err(Error::NotMember(e.node_id)),
                        e => return Err(Error::Fatal(format!("change the members: {e}"))),
                    },
                },
            };
            if busy && Instant::now() >= deadline {
                return Err(Error::ChangeInProgress);
            }
            runtime::sleep(self.context.timers.heartbeat).await;
        }
    }

    async fn set(&self, changes: ChangeMembers<u64, Member>) -> Answer {
        self.raft.change_membership(changes, false).await
    }

    pub(crate) async fn add(&self, id: u64, member: Member, as_learner: bool) -> Result<(), Error> {
        let _growing = self.context.published.grow();
        if self.context.was_removed(id) {
            return Err(Error::AlreadyMember(id));
        }
        let check = |m: &Members| match m.members.contains_key(&id) {
            true => Err(Error::AlreadyMember(id)),
            false => Ok(()),
        };
        let node = Member {
            wants_vote: !as_learner,
            ..member
        };
        self.context.set_member(id, &node.peer_urls);
        // From now on there is somebody to time out for.
        self.raft.runtime_config().tick(true);
        self.change(check, || self.raft.add_learner(id, node.clone(), false))
            .await
    }

    pub(crate) async fn remove(&self, id: u64) -> Result<(), Error> {
        let check = |m: &Members| match m.members.get(&id) {
            None => Err(Error::NotMember(id)),
            Some(view) if view.votes && m.voters().eq([id]) => Err(Error::LastVoter),
            Some(_) => Ok(()),
        };
        self.change(check, || {
            let votes = self.members().members.get(&id).is_some_and(|m| m.votes);
            let ids = BTreeSet::from([id]);
            self.set(match votes {
                true => ChangeMembers::RemoveVoters(ids),
                false => ChangeMembers::RemoveNodes(ids),
            })
        })
        .await
    }

    pub(crate) async fn update(&self, id: u64, member: Member) -> Result<(), Error> {
        let check = |m: &Members| match m.members.contains_key(&id) {
            true => Ok(()),
            false => Err(Error::NotMember(id)),
        };
        self.change(check, || {
            let wants_vote = self.members().members.get(&id).is_some_and(|m| m.member.wants_vote);
            let node = Member {
                wants_vote,
                ..member.clone()
            };
            self.set(ChangeMembers::SetNodes(BTreeMap::from([(id, node)])))
        })
        .await
    }

    pub(crate) async fn promote(&self, id: u64) -> Result<(), Error> {
        let _growing = self.context.published.grow();
        let check = |m: &Members| match m.members.get(&id) {
            None => Err(Error::NotMember(id)),
            Some(view) if view.is_learner() => Ok(()),
            Some(_) => Err(Error::NotLearner(id)),
        };
        self.change(check, || {
            let mut node = self.members().members.remove(&id).unwrap_or_default().member;
            node.wants_vote = true;
            self.set(ChangeMembers::Batch(vec![
                ChangeMembers::SetNodes(BTreeMap::from([(id, node)])),
                ChangeMembers::AddVoterIds(BTreeSet::from([id])),
            ]))
        })
        .await
    }

    /// What the leader knows of the others; of itself, its own log.
    pub(crate) fn progress(&self) -> Result<BTreeMap<u64, PeerProgress>, Error> {
        self.must_lead()?;
        let metrics = self.raft.metrics();
        let m = metrics.borrow_watched();
        let mut all = BTreeMap::new();
        for (id, matched) in m.replication.iter().flatten() {
            let heard = m.heartbeat.iter().flatten().find(|(other, _)| *other == id);
            let matched = matched.as_ref().map_or(0, |l| entry_id(l).index);
            let since_contact = heard.and_then(|(_, at)| at.as_ref().map(|at| at.elapsed()));
            all.insert(*id, PeerProgress { matched, since_contact });
        }
        let own = PeerProgress {
            matched: m.last_log_index.map_or(0, |i| i.saturating_add(1)),
            since_contact: Some(Duration::ZERO),
        };
        all.insert(self.context.node_id, own);
        Ok(all)
    }

    /// Hands leadership to `to` and waits until it leads, or an election timeout has passed, as etcd does.
    pub(crate) async fn transfer(&self, to: u64) -> Result<(), Error> {
        let mut leader = self.context.published.leader.subscribe();
        self.must_lead()?;
        if to == self.context.node_id {
            return Ok(());
        }
        if !self.members().members.get(&to).is_some_and(|m| m.votes) {
            return Err(Error::NotVoter(to));
        }
        let transfer = async {
            // Proposals go on until it has all of the log: a transferee that lacks some would refuse.
            self.wait_until_current(to).await?;
            self.raft
                .trigger()
                .transfer_leader(to)
                .await
                .map_err(|f| from_fatal(&f))?;
            let leads = leader.wait_for(|s| s.leader == Some(to)).await;
            leads.map(|_| ()).map_err(|_| Error::Shutdown)
        };
        match runtime::timeout(self.context.timers.election, transfer).await {
            Ok(done) => done,
            Err(_) => Err(Error::TransferTimedOut),
        }
    }

    async fn wait_until_current(&self, to: u64) -> Result<(), Error> {
        let mut metrics = self.raft.metrics();
        loop {
            let current = {
                let m = metrics.borrow_and_update();
                if m.state != ServerState::Leader {
                    return Err(Error::not_leader(m.current_leader));
                }
                let matched = m.replication.as_ref().and_then(|r| r.get(&to)).and_then(|l| l.as_ref());
                // What came in this very moment is on its way to it.
                matched.is_some_and(|l| l.index.saturating_add(CAUGHT_UP_ENTRIES) >= m.last_log_index.unwrap_or(0))
            };
            if current {
                return Ok(());
            }
            metrics.changed().await.map_err(|_| Error::Shutdown)?;
        }
    }

    /// Hands over to whoever is furthest, if there is anybody. For a leader that stops.
    pub(crate) async fn hand_over(&self) {
        let Ok(progress) = self.progress() else { return };
        let voters: BTreeSet<u64> = self.members().voters().collect();
        let others = progress
            .iter()
            .filter(|(id, p)| **id != self.context.node_id && voters.contains(*id) && self.in_touch(p));
        let Some((to, _)) = others.max_by_key(|(_, p)| p.matched) else {
            return;
        };
        if let Err(error) = self.transfer(*to).await {
            tracing::warn!(%error, to = %format!("{to:x}"), "hand leadership over before the end");
        }
    }

    fn in_touch(&self, progress: &PeerProgress) -> bool {
        progress.since_contact.is_some_and(|s| s < self.context.timers.election)
    }
}

/// Does what a leader owes its group: ends a joint membership, gives votes to those who wait for one.
pub(crate) struct Caretaker(pub Arc<Changes>);

impl Caretaker {
    /// Runs until `stop` turns true. It sleeps while there is nothing to do.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let changes = &self.0;
        let mut server = changes.raft.server_metrics();
        let mut leader = changes.context.published.leader.subscribe();
        loop {
            let (joint, members) = {
                let m = server.borrow_and_update();
                let joint = m.membership_config.membership().get_joint_config().len() > 1;
                (joint, Members::of(&m.membership_config))
            };
            let leads = leader.borrow_and_update().is_leader;
            let waiting: BTreeSet<u64> = members
                .members
                .iter()
                .filter(|(_, m)| m.member.wants_vote && !m.votes)
                .map(|(id, _)| *id)
                .collect();
            let work = leads && (joint || !waiting.is_empty());
            if work {
                self.work(joint, waiting).await;
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                changed = server.changed() => if changed.is_err() { return },
                changed = leader.changed() => if changed.is_err() { return },
                () = runtime::sleep(changes.context.timers.heartbeat), if work => {}
            }
        }
    }

    async fn work(&self, joint: bool, waiting: BTreeSet<u64>) {
        let changes = &self.0;
        // A change under way ends its own joint membership, and is not waited for.
        let Ok(_turn) = changes.turn.try_lock() else { return };
        let ready = self.ready(waiting);
        if !joint && ready.is_empty() {
            return;
        }
        let _growing = changes.context.published.grow();
        let (ids, wanted) = match joint {
            true => (BTreeSet::new(), "end a change of members"),
            false => (ready, "give a member its vote"),
        };
        let made = changes.set(ChangeMembers::AddVoterIds(ids.clone()));
        match runtime::timeout(changes.context.timers.request(), made).await {
            Ok(Ok(_)) => tracing::info!(members = ?ids, "{wanted}"),
            Ok(Err(error)) => tracing::debug!(%error, "{wanted}"),
            Err(error) => tracing::debug!(%error, "{wanted}"),
        }
    }

    fn ready(&self, waiting: BTreeSet<u64>) -> BTreeSet<u64> {
        let changes = &self.0;
        let Ok(progress) = changes.progress() else {
            return BTreeSet::new();
        };
        let last = progress.get(&changes.context.node_id).map_or(0, |p| p.matched);
        let ready = waiting.into_iter().filter(|id| {
            progress
                .get(id)
                .is_some_and(|p| p.matched > 0 && p.matched + CAUGHT_UP_ENTRIES >= last && changes.in_touch(p))
        });
        ready.collect()
    }
}
