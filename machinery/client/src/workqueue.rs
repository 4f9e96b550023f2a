//! A deduplicating workqueue with delays and per-item exponential backoff (client-go `util/workqueue` semantics).
use std::hash::Hash;
use std::time::Duration;

/// Cheap to clone. An item added while it is processed is handed out again after `done`; never twice at once.
pub struct WorkQueue<T> {
    _t: std::marker::PhantomData<fn() -> T>,
}
impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        todo!()
    }
}
impl<T: Clone + Eq + Hash + Send + 'static> WorkQueue<T> {
    /// Backoff 5 ms doubled to 1000 s, as client-go's default.
    pub fn new(_name: &'static str) -> Self {
        todo!()
    }
    pub fn add(&self, _item: T) {
        todo!()
    }
    pub fn add_after(&self, _item: T, _delay: Duration) {
        todo!()
    }
    pub fn add_rate_limited(&self, _item: T) {
        todo!()
    }
    /// Clears the item's backoff.
    pub fn forget(&self, _item: &T) {
        todo!()
    }
    /// Waits for the next item; `None` after `shut_down`. The caller must call `done`.
    pub async fn get(&self) -> Option<T> {
        todo!()
    }
    pub fn done(&self, _item: &T) {
        todo!()
    }
    pub fn shut_down(&self) {
        todo!()
    }
    /// Runs `workers` tasks that call `reconcile` until shut down: an `Err` is logged and retried with
    /// backoff; `Ok(Some(d))` runs again after `d`.
    pub async fn run<F, Fut, E>(&self, _workers: usize, _reconcile: F)
    where
        F: Fn(T) -> Fut + Send + Sync + Clone + 'static,
        Fut: std::future::Future<Output = Result<Option<Duration>, E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        todo!()
    }
}
