//! What a load asks and what it makes of answers, and the calls that a connection has outstanding.

use std::collections::VecDeque;
use std::time::Instant;

const MESSAGE_HEADER_BYTES: usize = 5;

/// The next call.
#[derive(Default)]
pub struct Call {
    /// Another method than the plan's.
    pub path: Option<&'static str>,
    /// Comes back with the answer.
    pub tag: u64,
}

/// A source of calls that may look at their answers.
pub trait Calls {
    /// Whether answers are handed to `answered`.
    const LOOKS: bool = true;
    /// Whether each of the outstanding calls is a stream that stays open: a message, its answer, the next message.
    const STREAMS: bool = false;
    /// Writes the n-th request's message.
    fn next(&mut self, n: u64, out: &mut Vec<u8>) -> Call;
    /// Looks at an answer's message; false counts it as a failure.
    fn answered(&mut self, _tag: u64, _message: &[u8]) -> bool {
        true
    }
    /// The call ended without an answer, or with one that is a failure.
    fn failed(&mut self, _tag: u64) {}
}

/// Calls of one method whose answers are not looked at.
pub struct Simple<F>(pub F);

impl<F: FnMut(u64, &mut Vec<u8>)> Calls for Simple<F> {
    const LOOKS: bool = false;
    fn next(&mut self, n: u64, out: &mut Vec<u8>) -> Call {
        (self.0)(n, out);
        Call::default()
    }
}

/// A call that has no answer yet.
pub struct Under {
    pub since: Instant,
    pub tag: u64,
    pub good: bool,
    /// What came of a message that is not whole.
    partial: Vec<u8>,
    /// The rest of it is only counted off once it was handed on.
    whole: bool,
}

impl Under {
    /// The answer's message, once it is whole. Only the first one of a turn is handed on: calls that look have one.
    pub fn message<'a>(&'a mut self, bytes: &'a [u8]) -> Option<(&'a [u8], Instant, u64)> {
        if self.whole {
            self.partial.clear();
            self.whole = false;
        }
        let source = if self.partial.is_empty() {
            if length(bytes).is_none_or(|l| bytes.len() < l) {
                self.partial.extend_from_slice(bytes);
                return None;
            }
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            if length(&self.partial).is_none_or(|l| self.partial.len() < l) {
                return None;
            }
            self.whole = true;
            &self.partial
        };
        let end = length(source)?;
        Some((source.get(MESSAGE_HEADER_BYTES..end)?, self.since, self.tag))
    }
}

/// How long the message that begins here is, with its header.
fn length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(1..MESSAGE_HEADER_BYTES)?;
    Some(MESSAGE_HEADER_BYTES + u32::from_be_bytes(header.try_into().ok()?) as usize)
}

/// The outstanding calls of a connection. Streams are numbered in steps of two and answered about in order, so that a
/// queue from the oldest on finds each by its number.
#[derive(Default)]
pub struct Window {
    oldest: u32,
    calls: VecDeque<Option<Under>>,
    open: usize,
}

impl Window {
    pub fn open(&self) -> usize {
        self.open
    }

    fn at(&self, stream: u32) -> Option<usize> {
        Some(stream.checked_sub(self.oldest)? as usize / 2)
    }

    /// Streams are added in the order of their numbers.
    pub fn add(&mut self, stream: u32, since: Instant, tag: u64) {
        if self.calls.is_empty() {
            self.oldest = stream;
        }
        self.open += 1;
        self.calls.push_back(Some(Under {
            since,
            tag,
            good: false,
            partial: Vec::new(),
            whole: false,
        }));
    }

    pub fn get_mut(&mut self, stream: u32) -> Option<&mut Under> {
        let at = self.at(stream)?;
        self.calls.get_mut(at)?.as_mut()
    }

    /// Another message of the same stream has left.
    pub fn renew(&mut self, stream: u32, since: Instant, tag: u64) {
        if let Some(call) = self.get_mut(stream) {
            (call.since, call.tag) = (since, tag);
        }
    }

    pub fn remove(&mut self, stream: u32) -> Option<Under> {
        let at = self.at(stream)?;
        let call = self.calls.get_mut(at)?.take()?;
        self.open -= 1;
        while self.calls.front().is_some_and(Option::is_none) {
            self.calls.pop_front();
            self.oldest += 2;
        }
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_stream_until_they_are_removed() {
        let (now, mut window) = (Instant::now(), Window::default());
        for stream in [1, 3, 5, 7] {
            window.add(stream, now, u64::from(stream));
        }
        assert_eq!(window.remove(3).map(|c| c.tag), Some(3));
        assert!(window.remove(3).is_none());
        assert_eq!(window.remove(1).map(|c| c.tag), Some(1));
        assert_eq!(window.get_mut(5).map(|c| c.tag), Some(5));
        assert!(window.get_mut(1).is_none() && window.get_mut(9).is_none());
        window.add(9, now, 9);
        assert_eq!((window.open(), window.remove(9).map(|c| c.tag)), (3, Some(9)));
        for stream in [7, 5] {
            assert!(window.remove(stream).is_some());
        }
        window.add(11, now, 11);
        assert_eq!((window.open(), window.get_mut(11).map(|c| c.tag)), (1, Some(11)));
    }

    #[test]
    fn messages_are_whole_however_they_come() {
        let mut window = Window::default();
        window.add(1, Instant::now(), 7);
        let call = window.get_mut(1).unwrap();
        let bytes = [0, 0, 0, 0, 3, b'a', b'b', b'c'];
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert!(call.message(head).is_none());
            assert_eq!(call.message(tail).unwrap().0, b"abc");
        }
        assert_eq!(call.message(&bytes).unwrap().0, b"abc");
    }
}
