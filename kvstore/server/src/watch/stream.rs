//! One watch stream: requests in, answers out. Backpressure of the client stops at this stream's queue.

use super::hub::{Hub, Joined};
use super::queue::{Item, Shared};
use super::respond::{Responder, Style, matching};
use super::watchers::{Interest, Sync, Watcher};
use crate::auth::{self, Caller};
use crate::core::Core;
use crate::status;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use keelson_mvcc::{Error as Refusal, KeyRange, ReadError};
use keelson_proto::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Nobody listens any more.
#[derive(Debug)]
pub struct Gone;

/// Where a stream's answers go.
pub trait Responses: Send {
    /// Waits until there is room.
    fn send(&mut self, response: pb::WatchResponse) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Resolves when nobody listens any more.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
    /// Ends the answers.
    fn fail(&mut self, status: Status) -> impl Future<Output = ()> + Send;
    /// The same, without waiting for anybody.
    fn fail_now(&mut self, status: Status);
}

impl Responses for mpsc::Sender<Result<pb::WatchResponse, Status>> {
    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Gone> {
        mpsc::Sender::send(self, Ok(response)).await.map_err(|_| Gone)
    }

    async fn gone(&mut self) {
        self.closed().await;
    }

    async fn fail(&mut self, status: Status) {
        // Nobody listens: nobody has to be told.
        let _ = mpsc::Sender::send(self, Err(status)).await;
    }

    fn fail_now(&mut self, status: Status) {
        let _ = self.try_send(Err(status));
    }
}

/// Items sent before a request gets its turn.
const ITEMS_BETWEEN_REQUESTS: usize = 64;
/// What answers carry instead of an id where no watcher came to be.
const NO_WATCH_ID: i64 = -1;

/// Serves a stream until the client goes, storage fails or `stop`.
pub async fn run<R: Responses>(
    core: Arc<Core>,
    caller: Caller,
    requests: impl Stream<Item = pb::WatchRequest> + Send + Unpin,
    responses: R,
    stop: CancellationToken,
) {
    let (id, shared) = core.hub.open_stream();
    let period = core.progress_period();
    let mut stream = WatchStream {
        caller,
        hub: core.hub.clone(),
        core,
        id,
        shared,
        responses,
        period,
        last_lagging: -1,
    };
    tokio::select! {
        outcome = stream.serve(requests) => {
            if let Err(Ended::Failed(status)) = outcome {
                stream.responses.fail(status).await;
            }
        }
        () = stop.cancelled() => stream.responses.fail_now(status::stopped()),
    }
}

struct WatchStream<R> {
    core: Arc<Core>,
    /// Judged at each creation: a token may have ended meanwhile.
    caller: Caller,
    hub: Arc<Hub>,
    id: u64,
    shared: Arc<Shared>,
    responses: R,
    period: Duration,
    /// The watcher that had the last turn at catching up.
    last_lagging: i64,
}

impl<R> Drop for WatchStream<R> {
    fn drop(&mut self) {
        self.hub.close_stream(self.id);
    }
}

enum Ended {
    /// The client is gone.
    Gone,
    Failed(Status),
}

impl<R: Responses> WatchStream<R> {
    async fn serve(&mut self, mut requests: impl Stream<Item = pb::WatchRequest> + Send + Unpin) -> Result<(), Ended> {
        let mut open = true;
        let mut tick = Instant::now() + self.period;
        loop {
            self.send_queued().await?;
            if open && let Some(Some(request)) = requests.next().now_or_never() {
                self.handle(request).await;
                continue;
            }
            if !self.shared.queue.lock().is_empty() {
                continue;
            }
            if self.catch_up_once().await? {
                continue;
            }
            let ticking = self.shared.queue.lock().watchers.are_notified();
            tokio::select! {
                request = requests.next(), if open => match request {
                    Some(request) => self.handle(request).await,
                    // A client that has said all it wants may go on listening.
                    None => open = false,
                },
                () = self.shared.wake.notified() => {}
                () = self.responses.gone() => return Err(Ended::Gone),
                () = tokio::time::sleep_until(tick), if ticking => {
                    tick = Instant::now() + self.period;
                    self.hub.tick(self.id);
                }
            }
        }
    }

    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Ended> {
        self.responses.send(response).await.map_err(|Gone| Ended::Gone)
    }

    async fn send_events(&mut self, responses: Vec<pb::WatchResponse>) -> Result<(), Ended> {
        let metrics = self.core.metrics.clone();
        let times = &metrics.watch;
        for response in responses {
            let (begun, events) = (Instant::now(), response.events.len());
            self.send(response).await?;
            let took = begun.elapsed();
            times.events_seconds.observe_seconds(took);
            times
                .each_event_seconds
                .observe(took.as_secs_f64() / events.max(1) as f64);
            times.events_sent.add(events as u64);
        }
        Ok(())
    }

    async fn send_queued(&mut self) -> Result<(), Ended> {
        let metrics = self.core.metrics.clone();
        for _ in 0..ITEMS_BETWEEN_REQUESTS {
            let (item, style) = {
                let mut queue = self.shared.queue.lock();
                let Some(item) = queue.pop() else { return Ok(()) };
                let style = match &item {
                    Item::Events { watch_id, .. } => queue.watchers.get_mut(*watch_id).map(|w| {
                        w.quiet = false;
                        style_of(*watch_id, w)
                    }),
                    _ => None,
                };
                (item, style)
            };
            match item {
                Item::Control(response) => {
                    let _timed = metrics.watch.control_seconds.time();
                    self.send(*response).await?;
                }
                Item::Progress { watch_id, revision } => {
                    let _timed = metrics.watch.progress_seconds.time();
                    let header = Some(self.core.header(revision));
                    let response = pb::WatchResponse {
                        header,
                        watch_id,
                        ..Default::default()
                    };
                    self.send(response).await?;
                }
                Item::Events {
                    revision, positions, ..
                } => {
                    let Some(style) = style else { continue };
                    let header = self.core.header(revision.revision);
                    let store = self.hub.store.clone();
                    let mut responder = Responder::new(&store, style);
                    let events = positions.iter().filter_map(|at| revision.events.get(*at as usize));
                    responder
                        .add(events, &header)
                        .map_err(|e| Ended::Failed(status::storage(&e)))?;
                    responder.finish(&header);
                    let responses = responder.responses;
                    self.send_events(responses).await?;
                }
            }
        }
        Ok(())
    }

    /// One slice for one watcher that is behind; false when none is.
    async fn catch_up_once(&mut self) -> Result<bool, Ended> {
        let (id, interest, style, from) = {
            let queue = self.shared.queue.lock();
            let Some(id) = queue.watchers.next_lagging(self.last_lagging) else {
                return Ok(false);
            };
            let Some(watcher) = queue.watchers.get(id) else {
                return Ok(false);
            };
            let Sync::Lagging { from } = watcher.sync() else {
                return Ok(false);
            };
            (id, watcher.interest.clone(), style_of(id, watcher), from)
        };
        self.last_lagging = id;
        let caught = match self.hub.store.catch_up(&interest.range, from) {
            Ok(caught) => caught,
            Err(ReadError::Refused(Refusal::Compacted)) => {
                self.cancel_compacted(id);
                return Ok(true);
            }
            Err(error) => return Err(Ended::Failed(status::read(error))),
        };
        let header = self.core.header(caught.current);
        let mut responder = Responder::new(&self.hub.store, style);
        for revision in &caught.revisions {
            let events = matching(revision, &interest);
            responder
                .add(events, &header)
                .map_err(|e| Ended::Failed(status::storage(&e)))?;
        }
        responder.finish(&header);
        let responses = responder.responses;
        {
            let watchers = &mut self.shared.queue.lock().watchers;
            if let Some(watcher) = watchers.get_mut(id) {
                watcher.quiet &= responses.is_empty();
            }
            watchers.set_sync(id, Sync::Lagging { from: caught.next });
        }
        self.send_events(responses).await?;
        if caught.next > caught.current && self.hub.rejoin(self.id, id, caught.next) == Joined::Synced {
            tracing::trace!(stream = self.id, watcher = id, from = caught.next, "caught up");
        }
        tokio::task::yield_now().await;
        Ok(true)
    }

    fn cancel_compacted(&self, watch_id: i64) {
        // etcd's header has no revision here.
        let header = Some(self.core.header(0));
        let compact_revision = self.hub.store.compacted();
        let response = pb::WatchResponse {
            header,
            watch_id,
            canceled: true,
            compact_revision,
            ..Default::default()
        };
        self.hub
            .remove(self.id, watch_id, |_| Item::Control(Box::new(response)));
    }

    async fn handle(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => {
                let watch_id = cancel.watch_id;
                let core = self.core.clone();
                self.hub.remove(self.id, watch_id, |revision| {
                    let header = Some(core.header(revision));
                    let response = pb::WatchResponse {
                        header,
                        watch_id,
                        canceled: true,
                        ..Default::default()
                    };
                    Item::Control(Box::new(response))
                });
            }
            Some(RequestUnion::ProgressRequest(_)) => self.hub.request_progress(self.id),
            None => {}
        }
    }

    fn refuse(&self, reason: &str) {
        let response = pb::WatchResponse {
            header: self.core.current_header(),
            watch_id: NO_WATCH_ID,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        self.shared.queue.lock().push(Item::Control(Box::new(response)));
    }

    async fn create(&self, request: pb::WatchCreateRequest) {
        let key = if request.key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            request.key
        };
        if request.start_revision < 0 {
            return self.refuse("etcdserver: mvcc: required revision has been compacted");
        }
        if let Err(status) = self.core.require_range(&self.caller, &key, &request.range_end).await {
            return self.refuse(&auth::refusal_reason(&status));
        }
        let range = KeyRange::new(key, request.range_end);
        if range.is_empty() {
            return self.refuse("mvcc: watcher range is empty");
        }
        let watch_id = {
            let mut queue = self.shared.queue.lock();
            let mut id = request.watch_id;
            if id == 0 {
                while queue.watchers.contains(queue.next_id) {
                    queue.next_id += 1;
                }
                id = queue.next_id;
                queue.next_id += 1;
            } else if queue.watchers.contains(id) {
                drop(queue);
                return self.refuse("mvcc: duplicate watch ID provided on the WatchStream");
            }
            id
        };
        let filtered = |kind: FilterType| request.filters.contains(&(kind as i32));
        let interest = Interest {
            range: Arc::new(range.detached()),
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
        };
        let watcher = Watcher::new(interest, request.prev_kv, request.fragment, request.progress_notify);
        let core = self.core.clone();
        self.hub
            .add(self.id, watch_id, watcher, request.start_revision, |revision| {
                let header = Some(core.header(revision));
                let response = pb::WatchResponse {
                    header,
                    watch_id,
                    created: true,
                    ..Default::default()
                };
                Item::Control(Box::new(response))
            });
    }
}

fn style_of(watch_id: i64, watcher: &Watcher) -> Style {
    Style {
        watch_id,
        prev_kv: watcher.prev_kv,
        fragment: watcher.fragment,
    }
}
