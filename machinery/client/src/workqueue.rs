//! A deduplicating workqueue with delays and per-item exponential backoff (client-go `util/workqueue` semantics).
//!
//! Invariants: an item is in the queue at most once; it is handed to one worker at a time; an item added
//! while it is processed is handed out again after `done`. Nothing here spawns a task or a timer: workers
//! that wait sleep until the earliest delayed item is due. The queue holds each distinct item once, so its
//! bound is the number of objects that exist.
use futures::FutureExt;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First and longest backoff of a failing item, as client-go's default rate limiter.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// Cheap to clone. An item added while it is processed is handed out again after `done`; never twice at once.
pub struct WorkQueue<T> {
    inner: Arc<Inner<T>>,
}
impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        WorkQueue {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Items to be processed: those in `queue`, and those added while being processed.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    /// When a delayed item is due. `due` may hold stale entries; this map decides.
    delayed: HashMap<T, Instant>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    due_items: HashMap<u64, T>,
    sequence: u64,
    failures: HashMap<T, u32>,
    shut_down: bool,
}

impl<T: Clone + Eq + Hash> State<T> {
    /// True when a worker has to be woken.
    fn add(&mut self, item: T) -> bool {
        if self.shut_down || !self.dirty.insert(item.clone()) {
            return false;
        }
        if self.processing.contains(&item) {
            return false;
        }
        self.queue.push_back(item);
        true
    }

    /// Moves what is due into the queue and returns when the next delayed item will be.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&Reverse((at, sequence))) = self.due.peek() {
            let item = self.due_items.get(&sequence);
            let live = item.is_some_and(|i| self.delayed.get(i) == Some(&at));
            if live && at > now {
                return Some(at);
            }
            self.due.pop();
            if let Some(item) = self.due_items.remove(&sequence)
                && live
            {
                self.delayed.remove(&item);
                self.add(item);
            }
        }
        None
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> WorkQueue<T> {
    /// Backoff 5 ms doubled to 1000 s, as client-go's default.
    pub fn new(name: &'static str) -> Self {
        WorkQueue {
            inner: Arc::new(Inner {
                name,
                state: Mutex::new(State {
                    queue: VecDeque::new(),
                    dirty: HashSet::new(),
                    processing: HashSet::new(),
                    delayed: HashMap::new(),
                    due: BinaryHeap::new(),
                    due_items: HashMap::new(),
                    sequence: 0,
                    failures: HashMap::new(),
                    shut_down: false,
                }),
                wake: Notify::new(),
            }),
        }
    }
    pub fn add(&self, item: T) {
        if self.inner.state.lock().add(item) {
            self.inner.wake.notify_one();
        }
    }
    /// Adds the item when `delay` has passed; of several delays for one item the earliest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let at = Instant::now() + delay;
        {
            let mut s = self.inner.state.lock();
            if s.shut_down || s.delayed.get(&item).is_some_and(|&earlier| earlier <= at) {
                return;
            }
            s.delayed.insert(item.clone(), at);
            s.sequence += 1;
            let sequence = s.sequence;
            s.due.push(Reverse((at, sequence)));
            s.due_items.insert(sequence, item);
        }
        // A waiting worker may have to wake earlier than it planned.
        self.inner.wake.notify_one();
    }
    pub fn add_rate_limited(&self, item: T) {
        let delay = {
            let mut s = self.inner.state.lock();
            let failures = s.failures.entry(item.clone()).or_insert(0);
            let delay = BACKOFF_MIN
                .saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX))
                .min(BACKOFF_MAX);
            *failures = (*failures + 1).min(31);
            delay
        };
        self.add_after(item, delay);
    }
    /// Clears the item's backoff.
    pub fn forget(&self, item: &T) {
        self.inner.state.lock().failures.remove(item);
    }
    /// How often the item was added rate-limited since it was last forgotten.
    pub fn failures(&self, item: &T) -> u32 {
        self.inner.state.lock().failures.get(item).copied().unwrap_or(0)
    }
    /// Items that wait for a worker, delayed ones not counted.
    pub fn len(&self) -> usize {
        self.inner.state.lock().queue.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Waits for the next item; `None` after `shut_down`. The caller must call `done`.
    pub async fn get(&self) -> Option<T> {
        loop {
            let next = {
                let mut s = self.inner.state.lock();
                if s.shut_down {
                    // The next waiter must see it too.
                    self.inner.wake.notify_one();
                    return None;
                }
                let next = s.promote(Instant::now());
                if let Some(item) = s.queue.pop_front() {
                    s.dirty.remove(&item);
                    s.processing.insert(item.clone());
                    if !s.queue.is_empty() || next.is_some() {
                        self.inner.wake.notify_one();
                    }
                    return Some(item);
                }
                next
            };
            match next {
                None => self.inner.wake.notified().await,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.inner.wake.notified()).await;
                }
            }
        }
    }
    pub fn done(&self, item: &T) {
        let mut s = self.inner.state.lock();
        s.processing.remove(item);
        if s.dirty.contains(item) {
            s.queue.push_back(item.clone());
            self.inner.wake.notify_one();
        }
    }
    /// Wakes every worker with `None`. What still waits is dropped: work is level-triggered and comes
    /// again with the next start.
    pub fn shut_down(&self) {
        let mut s = self.inner.state.lock();
        s.shut_down = true;
        s.queue.clear();
        s.dirty.clear();
        s.delayed.clear();
        s.due.clear();
        s.due_items.clear();
        drop(s);
        self.inner.wake.notify_waiters();
        self.inner.wake.notify_one();
    }
    /// Runs `workers` tasks that call `reconcile` until shut down: an `Err` is logged and retried with
    /// backoff; `Ok(Some(d))` runs again after `d`. A panic counts as an error. Dropping the future
    /// aborts the workers.
    pub async fn run<F, Fut, E>(&self, workers: usize, reconcile: F)
    where
        F: Fn(T) -> Fut + Send + Sync + Clone + 'static,
        Fut: std::future::Future<Output = Result<Option<Duration>, E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers.max(1) {
            let (queue, reconcile) = (self.clone(), reconcile.clone());
            tasks.spawn(async move {
                while let Some(item) = queue.get().await {
                    let (call, copy) = (reconcile.clone(), item.clone());
                    let attempt = AssertUnwindSafe(async move { call(copy).await });
                    let outcome = attempt.catch_unwind().await;
                    queue.settle(item, outcome);
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    fn settle<E: std::fmt::Display>(&self, item: T, outcome: std::thread::Result<Result<Option<Duration>, E>>) {
        match outcome {
            Ok(Ok(again)) => {
                self.forget(&item);
                if let Some(delay) = again {
                    self.add_after(item.clone(), delay);
                }
            }
            Ok(Err(e)) => {
                let failures = self.failures(&item);
                tracing::warn!(queue = self.inner.name, failures, error = %e, "reconcile failed; it will be retried");
                self.add_rate_limited(item.clone());
            }
            Err(_) => {
                tracing::error!(queue = self.inner.name, "reconcile panicked; it will be retried");
                self.add_rate_limited(item.clone());
            }
        }
        self.done(&item);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Whether an item is there now.
    fn ready(q: &WorkQueue<&'static str>) -> Option<&'static str> {
        q.get().now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn deduplicates_and_never_hands_out_twice() {
        let q = WorkQueue::new("t");
        q.add("a");
        q.add("b");
        q.add("a");
        assert_eq!(ready(&q), Some("a"));
        q.add("a");
        q.add("a");
        assert_eq!(ready(&q), Some("b"));
        assert_eq!(ready(&q), None, "a is being processed");
        q.done(&"a");
        assert_eq!(ready(&q), Some("a"));
        q.done(&"a");
        q.done(&"b");
        assert_eq!(ready(&q), None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_keep_the_earliest() {
        let q = WorkQueue::new("t");
        let start = Instant::now();
        q.add_after("late", Duration::from_secs(60));
        q.add_after("a", Duration::from_secs(10));
        q.add_after("a", Duration::from_secs(30));
        q.add_after("a", Duration::from_secs(5));
        assert_eq!(q.get().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        q.done(&"a");
        assert_eq!(q.get().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 60);
        assert_eq!(ready(&q), None, "the later delays of `a` are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_worker_hears_of_an_earlier_delay() {
        let q = WorkQueue::new("t");
        q.add_after("late", Duration::from_secs(60));
        let waiter = tokio::spawn({
            let q = q.clone();
            async move { q.get().await }
        });
        tokio::task::yield_now().await;
        q.add_after("soon", Duration::from_secs(1));
        assert_eq!(waiter.await.unwrap(), Some("soon"));
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_until_forgotten() {
        let q = WorkQueue::new("t");
        for want in [5u64, 10, 20, 40] {
            let start = Instant::now();
            q.add_rate_limited("a");
            assert_eq!(q.get().await, Some("a"));
            assert_eq!(start.elapsed().as_millis() as u64, want);
            q.done(&"a");
        }
        for _ in 0..60 {
            q.add_rate_limited("b");
        }
        let start = Instant::now();
        assert_eq!(q.get().await, Some("b"));
        assert_eq!(start.elapsed().as_millis(), 5, "the earliest of the delays counts");
        q.done(&"b");
        q.add_rate_limited("b");
        assert_eq!(q.get().await, Some("b"));
        assert_eq!(start.elapsed().as_secs(), 1000, "never more than the longest");
        q.forget(&"a");
        assert_eq!(q.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn run_retries_errors_and_panics_and_stops() {
        let q: WorkQueue<u32> = WorkQueue::new("t");
        let calls = Arc::new(AtomicU32::new(0));
        q.add(7);
        let (queue, seen) = (q.clone(), calls.clone());
        q.run(3, move |_| {
            let (queue, n) = (queue.clone(), seen.fetch_add(1, Ordering::SeqCst));
            async move {
                match n {
                    0 => Err("no".to_owned()),
                    1 => panic!("boom"),
                    2 => Ok(Some(Duration::from_secs(3))),
                    _ => {
                        queue.shut_down();
                        Ok(None)
                    }
                }
            }
        })
        .await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
        assert_eq!(q.get().await, None);
        q.add(1);
        assert_eq!(q.len(), 0);
    }
}
