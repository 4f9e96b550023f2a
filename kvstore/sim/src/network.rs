//! The network between members: messages are bytes that arrive late, in the order of their connection or not at all.
//!
//! A call is a connection of its own, a stream is one for as long as it lives. Links are cut by direction. What is sent over
//! a cut link waits for it to heal, and the connection breaks when that takes too long, as TCP's would.

use crate::executor::{Executor, Owner, WORLD};
use crate::rng::Rng;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use keelson_proto::peer as pb;
use keelson_raft::{PeerHandler, Requests, Responses, Transport, TransportError, runtime};
use parking_lot::Mutex;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A connection whose link is cut for longer than this breaks.
const BREAK_AFTER: Duration = Duration::from_millis(800);
/// How often a waiting connection looks at its link.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Messages of one direction of a stream that may be on their way.
const IN_FLIGHT_MAX: usize = 1024;

/// How the links are at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min: Duration,
    pub delay_max: Duration,
    /// Of a thousand calls, how many are lost on their way, and how many messages of a stream break it.
    pub lost_permille: u64,
    pub breaks_permille: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Weather {
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_millis(3),
            lost_permille: 0,
            breaks_permille: 0,
        }
    }
}

/// A vote that was granted: term, voter, candidate.
type Granted = BTreeMap<(u64, u64), u64>;

/// Of a thousand votes, how many the voter does not survive, and who is told of each.
struct Mortal {
    permille: u64,
    died: mpsc::UnboundedSender<u64>,
}

struct State {
    handlers: BTreeMap<u64, (Owner, PeerHandler)>,
    /// Directions that carry nothing: from, to.
    cut: BTreeSet<(u64, u64)>,
    weather: Weather,
    /// Raised to break every connection that is older.
    era: u64,
    granted: Granted,
    mortal: Option<Mortal>,
    snapshots: u64,
}

/// Shared by all members of a simulation. It finds the executor by its thread.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

fn executor() -> Result<Rc<Executor>, TransportError> {
    crate::executor::current().ok_or_else(|| TransportError::Unreachable("the simulation is over".into()))
}

fn broken() -> TransportError {
    TransportError::Unreachable("the connection broke".into())
}

fn through_bytes<T: Message + Default>(message: &T) -> Result<T, TransportError> {
    T::decode(message.encode_to_vec().as_slice()).map_err(|e| TransportError::Refused(e.to_string()))
}

impl Default for Network {
    fn default() -> Self {
        Network {
            state: Arc::new(Mutex::new(State {
                handlers: BTreeMap::new(),
                cut: BTreeSet::new(),
                weather: Weather::default(),
                era: 0,
                granted: Granted::new(),
                mortal: None,
                snapshots: 0,
            })),
        }
    }
}

impl Network {
    pub fn connect(&self, id: u64, owner: Owner, handler: PeerHandler) {
        self.state.lock().handlers.insert(id, (owner, handler));
    }

    pub fn disconnect(&self, id: u64) {
        self.state.lock().handlers.remove(&id);
    }

    pub fn cut(&self, from: u64, to: u64) {
        self.state.lock().cut.insert((from, to));
    }

    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.weather = Weather::default();
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Every connection that is open now breaks.
    pub fn break_connections(&self) {
        self.state.lock().era += 1;
    }

    /// From now on of a thousand votes so many do not get out of the voter: it is told here that it dies.
    pub fn let_voters_die(&self, permille: u64) -> mpsc::UnboundedReceiver<u64> {
        let (died, deaths) = mpsc::unbounded_channel();
        self.state.lock().mortal = Some(Mortal { permille, died });
        deaths
    }

    /// Pieces of snapshots that were carried.
    pub fn snapshot_pieces(&self) -> u64 {
        self.state.lock().snapshots
    }

    /// One member's end of it.
    pub fn transport(&self, id: u64) -> Arc<dyn Transport> {
        Arc::new(Link {
            network: self.clone(),
            id,
        })
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.state.lock().cut.contains(&(from, to))
    }

    fn era(&self) -> u64 {
        self.state.lock().era
    }

    fn target(&self, to: u64) -> Result<(Owner, PeerHandler), TransportError> {
        let found = self.state.lock().handlers.get(&to).cloned();
        found.ok_or_else(|| TransportError::Unreachable("nobody listens there".into()))
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        let weather = self.state.lock().weather;
        let (min, max) = (weather.delay_min.as_nanos() as u64, weather.delay_max.as_nanos() as u64);
        // Mostly quick, now and then as slow as it gets.
        let max = if rng.chance(1, 8) { max } else { min + (max - min) / 4 };
        Duration::from_nanos(rng.between(min, max))
    }

    /// Waits until a message sent now would be there. It runs as the world.
    async fn carry(&self, executor: &Executor, from: u64, to: u64, era: u64) -> Result<(), TransportError> {
        let delay = self.delay(&mut executor.rng.borrow_mut());
        runtime::sleep(delay).await;
        let mut waited = Duration::ZERO;
        while self.is_cut(from, to) {
            if waited > BREAK_AFTER || self.era() != era {
                return Err(broken());
            }
            runtime::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        if self.era() == era { Ok(()) } else { Err(broken()) }
    }

    fn loses(&self, executor: &Executor) -> bool {
        let permille = self.state.lock().weather.lost_permille;
        executor.rng.borrow_mut().chance(permille, 1000)
    }

    /// A request and its answer.
    async fn call<Req, Res, F>(
        &self,
        from: u64,
        to: u64,
        request: Req,
        handle: impl FnOnce(PeerHandler, Req) -> F + Send + 'static,
    ) -> Result<Res, TransportError>
    where
        Req: Message + Default + 'static,
        Res: Message + Default + 'static,
        F: Future<Output = Result<Res, TransportError>> + Send + 'static,
    {
        let request = through_bytes(&request)?;
        let (answer, answered) = oneshot::channel();
        let network = self.clone();
        // The world carries it, whether the caller lives on or not.
        executor()?.spawn(WORLD, async move {
            let result = network.round_trip(from, to, request, handle).await;
            drop(answer.send(result));
        });
        answered.await.unwrap_or_else(|_| Err(broken()))
    }

    async fn round_trip<Req, Res, F>(
        &self,
        from: u64,
        to: u64,
        request: Req,
        handle: impl FnOnce(PeerHandler, Req) -> F + Send + 'static,
    ) -> Result<Res, TransportError>
    where
        Req: Message + Default + 'static,
        Res: Message + Default + 'static,
        F: Future<Output = Result<Res, TransportError>> + Send + 'static,
    {
        let (executor, era) = (executor()?, self.era());
        self.carry(&executor, from, to, era).await?;
        if self.loses(&executor) {
            return Err(broken());
        }
        let (owner, handler) = self.target(to)?;
        let (done, answered) = oneshot::channel();
        executor.spawn(owner, async move {
            drop(done.send(handle(handler, request).await));
        });
        let response = answered.await.unwrap_or_else(|_| Err(broken()))?;
        self.carry(&executor, to, from, era).await?;
        if self.loses(&executor) {
            return Err(broken());
        }
        through_bytes(&response)
    }

    /// Two directions of messages, each in order.
    async fn stream<Req, Res, F>(
        &self,
        from: u64,
        to: u64,
        mut requests: Requests<Req>,
        handle: impl FnOnce(PeerHandler, Requests<Req>) -> F + Send + 'static,
    ) -> Result<Responses<Res>, TransportError>
    where
        Req: Message + Default + 'static,
        Res: Message + Default + 'static,
        F: Future<Output = Result<Responses<Res>, TransportError>> + Send + 'static,
    {
        let executor = executor()?;
        let (sent, on_the_way) = mpsc::channel::<Req>(IN_FLIGHT_MAX);
        let (arrived, there) = mpsc::channel::<Req>(IN_FLIGHT_MAX);
        let (back, coming_back) = mpsc::channel::<Result<Res, TransportError>>(IN_FLIGHT_MAX);
        let (returned, here) = mpsc::channel::<Result<Res, TransportError>>(IN_FLIGHT_MAX);
        // The caller's own end: it dies with the caller.
        runtime::spawn(async move {
            while let Some(request) = requests.next().await {
                let Ok(request) = through_bytes(&request) else { return };
                if sent.send(request).await.is_err() {
                    return;
                }
            }
        });
        let (era, network) = (self.era(), self.clone());
        let broke = returned.clone();
        executor.spawn(WORLD, async move {
            if let Err(e) = network.pump(from, to, era, on_the_way, arrived).await {
                drop(broke.send(Err(e)).await);
            }
        });
        let network = self.clone();
        let broke = returned.clone();
        executor.spawn(WORLD, async move {
            let opened = network.serve(from, to, era, there, back, handle).await;
            if let Err(e) = opened {
                drop(broke.send(Err(e)).await);
            }
        });
        let network = self.clone();
        executor.spawn(WORLD, async move {
            let last = returned.clone();
            if network.pump(to, from, era, coming_back, returned).await.is_err() {
                drop(last.send(Err(broken())).await);
            }
        });
        let here = stream::unfold(here, |mut here| async move { here.recv().await.map(|r| (r, here)) });
        Ok(here.boxed())
    }

    /// The other member's end of a stream: it dies with that member.
    async fn serve<Req, Res, F>(
        &self,
        from: u64,
        to: u64,
        era: u64,
        there: mpsc::Receiver<Req>,
        back: mpsc::Sender<Result<Res, TransportError>>,
        handle: impl FnOnce(PeerHandler, Requests<Req>) -> F + Send + 'static,
    ) -> Result<(), TransportError>
    where
        Req: Message + Default + 'static,
        Res: Message + Default + 'static,
        F: Future<Output = Result<Responses<Res>, TransportError>> + Send + 'static,
    {
        let executor = executor()?;
        self.carry(&executor, from, to, era).await?;
        let (owner, handler) = self.target(to)?;
        let there = stream::unfold(there, |mut there| async move { there.recv().await.map(|r| (r, there)) }).boxed();
        executor.spawn(owner, async move {
            let mut responses = match handle(handler, there).await {
                Ok(responses) => responses,
                Err(e) => {
                    drop(back.send(Err(e)).await);
                    return;
                }
            };
            while let Some(response) = responses.next().await {
                let response = response.and_then(|r| through_bytes(&r));
                if back.send(response).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    async fn pump<T>(
        &self,
        from: u64,
        to: u64,
        era: u64,
        mut messages: mpsc::Receiver<T>,
        out: mpsc::Sender<T>,
    ) -> Result<(), TransportError> {
        let executor = executor()?;
        while let Some(message) = messages.recv().await {
            self.carry(&executor, from, to, era).await?;
            let breaks = self.state.lock().weather.breaks_permille;
            if executor.rng.borrow_mut().chance(breaks, 1000) {
                return Err(broken());
            }
            if out.send(message).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn dies_of_its_vote(&self, voter: u64) -> bool {
        let (state, Ok(executor)) = (self.state.lock(), executor()) else {
            return false;
        };
        let dies = |m: &&Mortal| executor.rng.borrow_mut().chance(m.permille, 1000);
        // Nobody listens any more when the faults are over.
        state
            .mortal
            .as_ref()
            .filter(dies)
            .is_some_and(|m| m.died.send(voter).is_ok())
    }

    /// No member votes for two candidates in one term, however often it was started again. A candidate votes for itself.
    fn note_vote(&self, voter: u64, request: &pb::VoteRequest) {
        let Some(asked) = request.ballot else { return };
        let other = self.state.lock().granted.insert((asked.term, voter), asked.node);
        if let (Some(other), Ok(executor)) = (other.filter(|other| *other != asked.node), executor()) {
            executor.fail(format!(
                "member {voter} voted for {other} and for {} in term {}",
                asked.node, asked.term
            ));
        }
    }
}

struct Link {
    network: Network,
    id: u64,
}

#[async_trait]
impl Transport for Link {
    fn set_members(&self, _: &BTreeMap<u64, Vec<String>>) {}

    async fn append(
        &self,
        to: u64,
        requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        let handle = |handler: PeerHandler, requests| async move { handler.append(requests).await };
        self.network.stream(self.id, to, requests, handle).await
    }

    async fn beat(&self, to: u64, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        let handle = |handler: PeerHandler, request| async move { handler.beat(request).await };
        self.network.call(self.id, to, request, handle).await
    }

    async fn vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        self.network.note_vote(self.id, &request);
        let network = self.network.clone();
        let handle = move |handler: PeerHandler, request: pb::VoteRequest| async move {
            let response = handler.vote(request).await?;
            if response.granted {
                network.note_vote(to, &request);
                if network.dies_of_its_vote(to) {
                    return Err(broken());
                }
            }
            Ok(response)
        };
        self.network.call(self.id, to, request, handle).await
    }

    async fn pre_vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        let handle = |handler: PeerHandler, request| async move { handler.pre_vote(request).await };
        self.network.call(self.id, to, request, handle).await
    }

    async fn snapshot(&self, to: u64, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        self.network.state.lock().snapshots += 1;
        let handle = |handler: PeerHandler, request| async move { handler.snapshot(request).await };
        self.network.call(self.id, to, request, handle).await
    }

    async fn transfer_leader(
        &self,
        to: u64,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        let handle = |handler: PeerHandler, request| async move { handler.transfer_leader(request).await };
        self.network.call(self.id, to, request, handle).await
    }

    async fn forward(
        &self,
        to: u64,
        requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        let handle = |handler: PeerHandler, requests| async move { handler.forward(requests).await };
        self.network.stream(self.id, to, requests, handle).await
    }

    async fn read_index(
        &self,
        to: u64,
        request: pb::ReadIndexRequest,
    ) -> Result<pb::ReadIndexResponse, TransportError> {
        let handle = |handler: PeerHandler, request| async move { handler.read_index(request).await };
        self.network.call(self.id, to, request, handle).await
    }
}
