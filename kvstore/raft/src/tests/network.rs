//! Members in one process: messages go by function calls, over links that a test cuts, slows and breaks.
#![allow(clippy::unwrap_used)]
use super::{Persisted, Recorder};
use crate::{
    Error, Member, Node, Options, PeerHandler, Requests, Responses, Start, Timers, Transport, TransportError, runtime,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use keelson_mvcc::{AppliedState, StateMachine};
use keelson_proto::peer as pb;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    handlers: BTreeMap<u64, PeerHandler>,
    /// Directions in which nothing passes.
    cut: BTreeSet<(u64, u64)>,
    delay: Duration,
    /// Every so many messages one is lost, and with it its connection.
    drop_every: u64,
    messages: u64,
    /// Pieces of snapshots that arrived, and after how many of them the link of the sender breaks.
    pub pieces: u64,
    pub break_after_pieces: Option<u64>,
}

/// The links between all members of a test.
#[derive(Clone)]
pub struct Links {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Links {
    pub fn new() -> Self {
        Links {
            state: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub fn attach(&self, id: u64, handler: PeerHandler) {
        self.state.lock().handlers.insert(id, handler);
    }

    pub fn detach(&self, id: u64) {
        self.state.lock().handlers.remove(&id);
        self.ring();
    }

    fn ring(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Nothing passes between the two, in either direction, and what is open breaks.
    pub fn cut(&self, a: u64, b: u64) {
        self.state.lock().cut.extend([(a, b), (b, a)]);
        self.ring();
    }

    pub fn isolate(&self, id: u64, others: impl IntoIterator<Item = u64>) {
        for other in others {
            if other != id {
                self.cut(id, other);
            }
        }
    }

    pub fn heal(&self) {
        self.state.lock().cut.clear();
        self.ring();
    }

    pub fn slow(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    pub fn lose_one_in(&self, every: u64) {
        self.state.lock().drop_every = every;
    }

    /// The next snapshot's sender loses this many pieces' successor.
    pub fn break_after_pieces(&self, pieces: u64) {
        let mut state = self.state.lock();
        state.pieces = 0;
        state.break_after_pieces = Some(pieces);
    }

    pub fn pieces(&self) -> u64 {
        self.state.lock().pieces
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        let state = self.state.lock();
        state.cut.contains(&(from, to)) || !state.handlers.contains_key(&to)
    }

    /// Passes one message, or not.
    async fn pass(&self, from: u64, to: u64) -> Result<PeerHandler, TransportError> {
        let (handler, delay) = {
            let mut state = self.state.lock();
            state.messages += 1;
            let lost = state.drop_every > 0 && state.messages.is_multiple_of(state.drop_every);
            if lost || state.cut.contains(&(from, to)) {
                return Err(TransportError::Unreachable("cut".into()));
            }
            let handler = state.handlers.get(&to).cloned();
            (
                handler.ok_or_else(|| TransportError::Unreachable("down".into()))?,
                state.delay,
            )
        };
        if !delay.is_zero() {
            runtime::sleep(delay).await;
        }
        Ok(handler)
    }

    /// Returns when the two cannot reach each other.
    async fn broken(self, from: u64, to: u64) {
        let mut changed = self.changed.subscribe();
        while !self.is_cut(from, to) && !self.is_cut(to, from) {
            changed.changed().await.unwrap();
        }
    }

    async fn back<T>(&self, from: u64, to: u64, answer: Result<T, TransportError>) -> Result<T, TransportError> {
        self.pass(to, from).await?;
        answer
    }
}

pub struct Wire {
    links: Links,
    from: u64,
    /// Whose addresses it was told.
    known: Mutex<BTreeSet<u64>>,
}

impl Wire {
    async fn pass(&self, to: u64) -> Result<PeerHandler, TransportError> {
        if !self.known.lock().contains(&to) {
            return Err(TransportError::Unreachable(format!("member {to} has no address")));
        }
        self.links.pass(self.from, to).await
    }

    async fn call<T, F: Future<Output = Result<T, TransportError>>>(
        &self,
        to: u64,
        ask: impl FnOnce(PeerHandler) -> F,
    ) -> Result<T, TransportError> {
        let handler = self.pass(to).await?;
        let answer = ask(handler).await;
        self.links.back(self.from, to, answer).await
    }

    /// A stream of messages to the other side: each takes the link, and one that is lost ends it.
    fn sending<T: Send + 'static>(&self, to: u64, requests: Requests<T>) -> Requests<T> {
        let (links, from) = (self.links.clone(), self.from);
        let broken = links.clone().broken(from, to);
        stream::unfold((requests, links), move |(mut requests, links)| async move {
            let next = requests.next().await?;
            links.pass(from, to).await.ok()?;
            Some((next, (requests, links)))
        })
        .take_until(Box::pin(broken))
        .boxed()
    }

    fn receiving<T: Send + 'static>(&self, to: u64, responses: Responses<T>) -> Responses<T> {
        let (links, from) = (self.links.clone(), self.from);
        let broken = links.clone().broken(from, to);
        stream::unfold(Some((responses, links)), move |state| async move {
            let (mut responses, links) = state?;
            let next = responses.next().await?;
            match links.pass(to, from).await {
                Ok(_) => Some((next, Some((responses, links)))),
                Err(e) => Some((Err(e), None)),
            }
        })
        .take_until(Box::pin(broken))
        .chain(stream::once(std::future::ready(Err(TransportError::Unreachable(
            "broken".into(),
        )))))
        .boxed()
    }
}

#[async_trait]
impl Transport for Wire {
    fn set_members(&self, members: &BTreeMap<u64, Vec<String>>) {
        *self.known.lock() = members.keys().copied().collect();
    }

    async fn append(
        &self,
        to: u64,
        requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        let handler = self.pass(to).await?;
        let responses = handler.append(self.sending(to, requests)).await?;
        Ok(self.receiving(to, responses))
    }

    async fn forward(
        &self,
        to: u64,
        requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        let handler = self.pass(to).await?;
        let responses = handler.forward(self.sending(to, requests)).await?;
        Ok(self.receiving(to, responses))
    }

    async fn snapshot(&self, to: u64, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        let handler = self.pass(to).await?;
        let is_piece = request.piece.is_some();
        let answer = handler.snapshot(request).await;
        if is_piece {
            let mut state = self.links.state.lock();
            state.pieces += 1;
            if state.break_after_pieces == Some(state.pieces) {
                // It arrived, and the answer does not.
                state.break_after_pieces = None;
                return Err(TransportError::Unreachable("cut inside a snapshot".into()));
            }
        }
        self.links.back(self.from, to, answer).await
    }

    async fn beat(&self, to: u64, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        self.call(to, |h| async move { h.beat(request).await }).await
    }
    async fn vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        self.call(to, |h| async move { h.vote(request).await }).await
    }
    async fn pre_vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        self.call(to, |h| async move { h.pre_vote(request).await }).await
    }
    async fn transfer_leader(
        &self,
        to: u64,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        self.call(to, |h| async move { h.transfer_leader(request).await }).await
    }
    async fn read_index(
        &self,
        to: u64,
        request: pb::ReadIndexRequest,
    ) -> Result<pb::ReadIndexResponse, TransportError> {
        self.call(to, |h| async move { h.read_index(request).await }).await
    }
}

/// One member, running or not, and what its disk holds.
pub struct Host {
    dir: PathBuf,
    persisted: Persisted,
    node: Option<Node<Recorder>>,
}

/// All members of a test.
pub struct Cluster {
    pub links: Links,
    pub hosts: BTreeMap<u64, Host>,
    pub formed: BTreeSet<u64>,
    pub catchup_entries: u64,
    /// Frequent flushes, so that the log is cut.
    pub flush_log_bytes: u64,
    pub root: tempfile::TempDir,
}

pub fn member(id: u64) -> Member {
    Member {
        name: format!("m{id}"),
        peer_urls: vec![format!("http://m{id}:2380")],
        wants_vote: false,
    }
}

impl Cluster {
    pub fn of(count: u64) -> Self {
        Cluster {
            links: Links::new(),
            hosts: BTreeMap::new(),
            formed: (1..=count).collect(),
            catchup_entries: 5000,
            flush_log_bytes: 1 << 40,
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// All of them, from nothing.
    pub async fn form(count: u64) -> Self {
        let mut cluster = Self::of(count);
        cluster.start_all().await;
        cluster
    }

    pub async fn start_all(&mut self) {
        for id in self.formed.clone() {
            let members = self.formed.iter().map(|id| (*id, member(*id))).collect();
            self.start(id, Start::Form(members)).await;
        }
    }

    fn options(&self, id: u64, dir: &Path) -> Options {
        let mut o = Options::new(id, 0xc1, dir);
        o.segment_bytes = 64 << 10;
        o.flush_log_bytes = self.flush_log_bytes;
        o.catchup_entries = self.catchup_entries;
        o.member = member(id);
        // As short as a busy machine bears.
        o.timers = Timers {
            heartbeat: Duration::from_millis(40),
            election: Duration::from_millis(500),
            pre_vote: true,
        };
        o
    }

    pub async fn start(&mut self, id: u64, start: Start) {
        self.try_start(id, start).await.unwrap();
    }

    pub fn dir(&self, id: u64) -> PathBuf {
        self.root.path().join(format!("m{id}"))
    }

    fn host(&mut self, id: u64) -> &mut Host {
        let dir = self.dir(id);
        self.hosts.entry(id).or_insert_with(|| Host {
            dir,
            persisted: Persisted::default(),
            node: None,
        })
    }

    /// A folder as a restore leaves it.
    pub fn restore(&mut self, id: u64, state: &AppliedState) {
        self.host(id).persisted.lock().applied = state.clone();
        crate::mark_restored(&self.dir(id), state).unwrap();
    }

    /// One member's disk comes to hold another's state.
    pub async fn give_state(&mut self, from: u64, to: u64) -> AppliedState {
        self.node(from).machine().flush().unwrap();
        let content = self.hosts[&from].persisted.lock().clone();
        *self.hosts[&to].persisted.lock() = content.clone();
        content.applied
    }

    pub async fn try_start(&mut self, id: u64, start: Start) -> Result<(), Error> {
        self.host(id);
        let host = &self.hosts[&id];
        let wire = Arc::new(Wire {
            links: self.links.clone(),
            from: id,
            known: Mutex::default(),
        });
        let options = self.options(id, &host.dir);
        let node = Node::start(options, start, Recorder::open(&host.persisted), wire).await?;
        self.links.attach(id, node.peer_handler());
        self.host(id).node = Some(node);
        Ok(())
    }

    pub fn node(&self, id: u64) -> &Node<Recorder> {
        self.hosts[&id].node.as_ref().unwrap()
    }

    pub fn running(&self) -> impl Iterator<Item = (u64, &Node<Recorder>)> {
        self.hosts.iter().filter_map(|(id, h)| Some((*id, h.node.as_ref()?)))
    }

    /// As kill -9: what was not flushed is gone from the machine; the log keeps what it synced.
    pub async fn kill(&mut self, id: u64) {
        self.links.detach(id);
        let host = self.hosts.get_mut(&id).unwrap();
        drop(host.node.take());
        self.wait_for_lock(id).await;
    }

    pub async fn stop(&mut self, id: u64) -> Result<(), Error> {
        let node = self.hosts.get_mut(&id).unwrap().node.take().unwrap();
        let ended = node.shutdown().await;
        self.links.detach(id);
        drop(node);
        self.wait_for_lock(id).await;
        ended
    }

    async fn wait_for_lock(&self, id: u64) {
        let lock = std::fs::File::open(self.hosts[&id].dir.join("LOCK")).unwrap();
        let free = tokio::task::spawn_blocking(move || lock.lock());
        tokio::time::timeout(PATIENCE, free).await.unwrap().unwrap().unwrap();
    }

    /// A member that every one of `among` sees lead.
    pub async fn leader_among(&self, among: &[u64]) -> u64 {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let views: BTreeSet<_> = among.iter().map(|id| self.node(*id).leader()).collect();
                if let (1, Some(Some(leader))) = (views.len(), views.first())
                    && among.contains(leader)
                    && self.node(*leader).is_leader()
                {
                    return *leader;
                }
                let mut any: Vec<_> = among.iter().map(|id| self.node(*id).watch_leader()).collect();
                any.iter_mut().for_each(watch::Receiver::mark_unchanged);
                let changes = any.iter_mut().map(|w| Box::pin(w.changed()));
                // A change between the look and the subscription is found at the next heartbeat.
                let changed = futures::future::select_all(changes);
                drop(tokio::time::timeout(Duration::from_millis(40), changed).await);
            }
        });
        found.await.unwrap_or_else(|_| panic!("no leader among {among:?}"))
    }

    pub async fn leader(&self) -> u64 {
        let all: Vec<u64> = self.running().map(|(id, _)| id).collect();
        self.leader_among(&all).await
    }

    pub fn follower(&self, leader: u64) -> u64 {
        self.running().map(|(id, _)| id).find(|id| *id != leader).unwrap()
    }

    pub async fn wait(&self, what: &str, until: impl Fn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !until() {
                // What is waited for has no bell of its own; the bound is above.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Every running member holds the same commands at the same indexes, and all of `acked`.
    pub async fn agree(&self, acked: &BTreeSet<Bytes>) {
        let nodes: Vec<_> = self.running().map(|(_, n)| n).collect();
        self.wait("the members do not come to hold the same", || {
            let first = nodes[0].machine().commands();
            nodes.iter().all(|n| n.machine().commands() == first)
                && nodes.iter().all(|n| n.applied_index() == nodes[0].applied_index())
        })
        .await;
        let commands = nodes[0].machine().commands();
        let all: BTreeSet<Bytes> = commands.iter().map(|(_, c)| c.clone()).collect();
        assert_eq!(all.len(), commands.len(), "a command was applied twice");
        let lost: Vec<_> = acked.difference(&all).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
    }
}

pub async fn put(node: &Node<Recorder>, name: impl Into<String>) -> Result<Bytes, Error> {
    let command = Bytes::from(name.into());
    node.propose(command.clone()).await.map(|_| command)
}
