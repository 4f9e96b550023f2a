//! Watches: the past from memory, then what comes, until the timeout or until the client is too slow.
use super::object::Encodings;
use super::options::{self, Read, Start};
use super::select::Selection;
use super::state::{Objects, Watcher};
use super::{Cacher, EventType, WatchEvent, WatchOptions};
use crate::storage::Revision;
use keelson_machinery::status::ApiError;
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait for one client; one more, and its watch is closed.
const QUEUE_MAX: usize = 1_000;
/// A watch without timeout lasts this long to twice as long (upstream: minRequestTimeout).
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

type Receiver = mpsc::Receiver<WatchEvent>;

impl Cacher {
    /// The events of one watch. The channel closes at the timeout, at the server's stop, when the cache had
    /// to be loaded anew, and when the client fell behind.
    pub async fn watch(self: &Arc<Self>, o: WatchOptions) -> Result<Receiver, ApiError> {
        let start = options::watch(&o)?;
        let selection = Arc::new(Selection::new(
            self.resource,
            &o.namespace,
            o.labels.clone(),
            o.fields.clone(),
        ));
        loop {
            let begun = match start {
                Start::After(revision) => {
                    self.loaded().await?;
                    self.attach(&o, &selection, revision, Vec::new())
                }
                Start::Now => {
                    let (_, revision) = self.at_least(Read::Newest).await?;
                    self.attach(&o, &selection, revision, Vec::new())
                }
                Start::Initial { read, bookmark } => {
                    let (objects, revision) = self.at_least(read).await?;
                    let first = initial(&objects, revision, &selection, bookmark);
                    self.attach(&o, &selection, revision, first)
                }
            };
            match begun {
                Attached::Yes(receiver) => return Ok(receiver),
                // It moved on past what was read: read again, unless the client named the revision.
                Attached::TooOld(oldest) => {
                    if let Start::After(revision) = start {
                        return Ok(refused(revision, oldest));
                    }
                }
                Attached::NotLoaded => {}
            }
        }
    }

    async fn at_least(self: &Arc<Self>, read: Read) -> Result<(Objects, Revision), ApiError> {
        let lag = || ApiError::timeout("Timeout: the watch cache lags behind", 1);
        self.view(read).await?.ok_or_else(lag)
    }

    /// Queues `first` and the changes since `after`, and joins the watchers, without a gap between.
    fn attach(
        self: &Arc<Self>,
        o: &WatchOptions,
        selection: &Arc<Selection>,
        after: Revision,
        first: Vec<WatchEvent>,
    ) -> Attached {
        let mut state = self.state.lock();
        if state.revision == 0 {
            return Attached::NotLoaded;
        }
        if after < state.oldest {
            return Attached::TooOld(state.oldest);
        }
        // What is known already fits whatever it is; the limit is on what comes while the client reads.
        let (sender, receiver) = mpsc::channel(QUEUE_MAX + first.len() + state.changes_after(after));
        for event in first {
            let _ = sender.try_send(event);
        }
        let gone = CancellationToken::new();
        let watcher = Watcher {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            selection: selection.clone(),
            sender: sender.clone(),
            bookmarks: o.allow_bookmarks,
            after,
            _gone: gone.clone().drop_guard(),
        };
        let id = watcher.id;
        state.replay(&watcher);
        state.watch(watcher);
        drop(state);
        let timeout = match o.timeout {
            Duration::ZERO => TIMEOUT_MIN.mul_f64(rand::rng().random_range(1.0..2.0)),
            given => given,
        };
        tokio::spawn(
            self.clone()
                .attend(id, selection.clone(), sender, gone, timeout, o.allow_bookmarks),
        );
        Attached::Yes(receiver)
    }

    /// Ends a watch in time.
    async fn attend(
        self: Arc<Self>,
        id: u64,
        selection: Arc<Selection>,
        sender: mpsc::Sender<WatchEvent>,
        gone: CancellationToken,
        timeout: Duration,
        bookmarks: bool,
    ) {
        let end = tokio::time::Instant::now() + timeout;
        let early = end - self.timing.last_bookmark.min(timeout);
        let over = async {
            if bookmarks {
                tokio::time::sleep_until(early).await;
                self.state.lock().bookmark_one(id);
            }
            tokio::time::sleep_until(end).await;
        };
        tokio::select! {
            () = gone.cancelled() => return,
            () = sender.closed() => {}
            () = self.stop.cancelled() => {}
            () = over => {}
        }
        self.state.lock().forget(id, &selection);
    }
}

enum Attached {
    Yes(Receiver),
    TooOld(Revision),
    NotLoaded,
}

fn initial(objects: &Objects, revision: Revision, selection: &Selection, bookmark: bool) -> Vec<WatchEvent> {
    let (start, end) = (selection.prefix.clone(), selection.end());
    let mut events: Vec<_> = objects
        .range(start..end)
        .filter(|(_, o)| selection.matches(o))
        .map(|(_, o)| WatchEvent::Object {
            kind: EventType::Added,
            object: o.clone(),
            encodings: Arc::new(Encodings::default()),
        })
        .collect();
    if bookmark {
        events.push(WatchEvent::Bookmark {
            revision,
            initial_events_end: true,
        });
    }
    events
}

/// A watch that says why it is none (upstream: cacher's errWatcher).
fn refused(asked: Revision, oldest: Revision) -> Receiver {
    let (sender, receiver) = mpsc::channel(1);
    let e = ApiError::gone(format!("too old resource version: {asked} ({oldest})"));
    let _ = sender.try_send(WatchEvent::Error(e));
    receiver
}
