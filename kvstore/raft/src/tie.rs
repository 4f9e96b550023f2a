//! A stream of requests that ends with whoever reads its answers.
//!
//! A transport may go on reading the requests of a call whose answers nobody wants any more: HTTP/2 keeps both directions
//! of a call apart. openraft's requests to a peer are drawn from a state that the next call to this peer shares, so what
//! a call that was given up goes on drawing is missing in the next.
//!
//! The requests are dropped at once, not when the transport looks at them again, as with `futures::stream::abortable`: a
//! transport that waits for room may not look again, and while one waits for a request openraft's state is locked.

use futures::{Stream, StreamExt, stream, stream::BoxStream};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Poll, Waker},
};

struct Input<T> {
    stream: Option<BoxStream<'static, T>>,
    /// Who waits for the next one.
    waiting: Option<Waker>,
}

/// When it is dropped, the stream is too, at once, and whoever reads it is told its end.
pub(crate) struct Tie<T>(Arc<Mutex<Input<T>>>);

impl<T> Drop for Tie<T> {
    fn drop(&mut self) {
        let (stream, waiting) = {
            let mut input = self.0.lock();
            (input.stream.take(), input.waiting.take())
        };
        drop(stream);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// The same stream, and what it is tied to.
pub(crate) fn tied<T: Send + 'static>(
    stream: BoxStream<'static, T>,
) -> (impl Stream<Item = T> + Send + Unpin + 'static, Tie<T>) {
    let input = Arc::new(Mutex::new(Input {
        stream: Some(stream),
        waiting: None,
    }));
    let tie = Tie(input.clone());
    let reading = stream::poll_fn(move |context| {
        let mut input = input.lock();
        let Some(stream) = &mut input.stream else {
            return Poll::Ready(None);
        };
        let next = stream.poll_next_unpin(context);
        match next {
            Poll::Pending => input.waiting = Some(context.waker().clone()),
            Poll::Ready(None) => input.stream = None,
            Poll::Ready(Some(_)) => {}
        }
        next
    });
    (reading, tie)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::time::Duration;

    /// Tells when it is gone.
    fn endless(gone: Arc<()>) -> BoxStream<'static, u64> {
        let numbers = stream::iter(0..2).chain(stream::pending());
        numbers
            .inspect(move |_| assert_eq!(Arc::strong_count(&gone), 2))
            .boxed()
    }

    #[tokio::test]
    async fn it_ends_at_once_for_whoever_waits() {
        let gone = Arc::new(());
        let (mut reading, tie) = tied(endless(gone.clone()));
        assert_eq!(reading.next().await, Some(0));
        assert_eq!(reading.next().await, Some(1));
        let reader = tokio::spawn(async move { reading.next().await });
        tokio::task::yield_now().await;
        drop(tie);
        // Not when the reader looks next: now.
        assert_eq!(Arc::strong_count(&gone), 1);
        let end = runtime::timeout(Duration::from_secs(10), reader).await;
        assert_eq!(end.expect("the reader is told").expect("it does not panic"), None);
    }

    #[tokio::test]
    async fn it_passes_everything_on_while_it_is_tied() {
        let (reading, _tie) = tied(stream::iter(0..100).boxed());
        assert_eq!(reading.collect::<Vec<_>>().await, (0..100).collect::<Vec<_>>());
    }
}
