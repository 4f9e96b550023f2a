//! One watch stream: requests in, answers out. Backpressure of the client stops at this stream's queue.

use super::hub::{Hub, Joined};
use super::queue::{Interest, Item, Shared, Sync, Watcher};
use super::respond::{Responder, Style, matching};
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

pub type Responses = mpsc::Sender<Result<pb::WatchResponse, Status>>;

/// Items sent before a request gets its turn.
const ITEMS_BETWEEN_REQUESTS: usize = 64;
/// What answers carry instead of an id where no watcher came to be.
const NO_WATCH_ID: i64 = -1;

/// Serves a stream until the client goes, storage fails or `stop`.
pub async fn run(
    core: Arc<Core>,
    requests: impl Stream<Item = pb::WatchRequest> + Send + Unpin,
    responses: Responses,
    stop: CancellationToken,
) {
    let (id, shared) = core.hub.open_stream();
    let period = core.progress_period();
    let mut stream = WatchStream {
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
                let _ = stream.responses.send(Err(status)).await;
            }
        }
        () = stop.cancelled() => {
            let _ = stream.responses.try_send(Err(status::stopped()));
        }
    }
}

struct WatchStream {
    core: Arc<Core>,
    hub: Arc<Hub>,
    id: u64,
    shared: Arc<Shared>,
    responses: Responses,
    period: Duration,
    /// The watcher that had the last turn at catching up.
    last_lagging: i64,
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.hub.close_stream(self.id);
    }
}

enum Ended {
    /// The client is gone.
    Gone,
    Failed(Status),
}

impl WatchStream {
    async fn serve(&mut self, mut requests: impl Stream<Item = pb::WatchRequest> + Send + Unpin) -> Result<(), Ended> {
        let mut open = true;
        let mut tick = Instant::now() + self.period;
        loop {
            self.send_queued().await?;
            if open && let Some(Some(request)) = requests.next().now_or_never() {
                self.handle(request);
                continue;
            }
            if !self.shared.queue.lock().is_empty() {
                continue;
            }
            if self.catch_up_once().await? {
                continue;
            }
            let ticking = self.shared.queue.lock().watchers.values().any(|w| w.progress_notify);
            tokio::select! {
                request = requests.next(), if open => match request {
                    Some(request) => self.handle(request),
                    // A client that has said all it wants may go on listening.
                    None => open = false,
                },
                () = self.shared.wake.notified() => {}
                () = self.responses.closed() => return Err(Ended::Gone),
                () = tokio::time::sleep_until(tick), if ticking => {
                    tick = Instant::now() + self.period;
                    self.hub.tick(self.id);
                }
            }
        }
    }

    async fn send(&self, response: pb::WatchResponse) -> Result<(), Ended> {
        self.responses.send(Ok(response)).await.map_err(|_| Ended::Gone)
    }

    async fn send_queued(&mut self) -> Result<(), Ended> {
        for _ in 0..ITEMS_BETWEEN_REQUESTS {
            let (item, style) = {
                let mut queue = self.shared.queue.lock();
                let Some(item) = queue.pop() else { return Ok(()) };
                let style = match &item {
                    Item::Events { watch_id, .. } => queue.watchers.get_mut(watch_id).map(|w| {
                        w.quiet = false;
                        style_of(*watch_id, w)
                    }),
                    _ => None,
                };
                (item, style)
            };
            match item {
                Item::Control(response) => self.send(*response).await?,
                Item::Progress { watch_id, revision } => {
                    let header = Some(self.core.header(revision));
                    self.send(pb::WatchResponse {
                        header,
                        watch_id,
                        ..Default::default()
                    })
                    .await?;
                }
                Item::Events {
                    revision, positions, ..
                } => {
                    let Some(style) = style else { continue };
                    let header = self.core.header(revision.revision);
                    let mut responder = Responder::new(&self.hub.store, style);
                    let events = positions.iter().filter_map(|at| revision.events.get(*at as usize));
                    responder
                        .add(events, &header)
                        .map_err(|e| Ended::Failed(status::storage(&e)))?;
                    responder.finish(&header);
                    for response in responder.responses {
                        self.send(response).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One slice for one watcher that is behind; false when none is.
    async fn catch_up_once(&mut self) -> Result<bool, Ended> {
        let (id, interest, style, from) = {
            let queue = self.shared.queue.lock();
            let Some(id) = queue.next_lagging(self.last_lagging) else {
                return Ok(false);
            };
            match queue.watchers.get(&id) {
                Some(
                    w @ Watcher {
                        interest,
                        sync: Sync::Lagging { from },
                        ..
                    },
                ) => (id, interest.clone(), style_of(id, w), *from),
                _ => return Ok(false),
            }
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
        if let Some(watcher) = self.shared.queue.lock().watchers.get_mut(&id) {
            watcher.quiet &= responses.is_empty();
            watcher.sync = Sync::Lagging { from: caught.next };
        }
        for response in responses {
            self.send(response).await?;
        }
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

    fn handle(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
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

    fn create(&self, request: pb::WatchCreateRequest) {
        let key = if request.key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            request.key
        };
        if request.start_revision < 0 {
            return self.refuse("etcdserver: mvcc: required revision has been compacted");
        }
        let range = KeyRange::new(key, request.range_end);
        if range.is_empty() {
            return self.refuse("mvcc: watcher range is empty");
        }
        let watch_id = {
            let mut queue = self.shared.queue.lock();
            let mut id = request.watch_id;
            if id == 0 {
                while queue.watchers.contains_key(&queue.next_id) {
                    queue.next_id += 1;
                }
                id = queue.next_id;
                queue.next_id += 1;
            } else if queue.watchers.contains_key(&id) {
                drop(queue);
                return self.refuse("mvcc: duplicate watch ID provided on the WatchStream");
            }
            id
        };
        let filtered = |kind: FilterType| request.filters.contains(&(kind as i32));
        let watcher = Watcher {
            interest: Interest {
                range,
                no_put: filtered(FilterType::Noput),
                no_delete: filtered(FilterType::Nodelete),
            },
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            quiet: true,
            sync: Sync::Synced { from: 0 },
        };
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
