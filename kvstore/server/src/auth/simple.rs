//! Simple tokens: random letters and the log index of the login that made them. Every member keeps all of them in
//! memory, as the log hands them out; a restart forgets them, and clients log in again.
//!
//! It is told the time with each call and knows no clock: times are durations since any fixed moment.

use ahash::AHashMap;
use keelson_mvcc::AuthChange;
use parking_lot::RwLock;
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Random letters in a token.
const TOKEN_LETTERS: usize = 16;
/// Tokens kept. When there would be more, those that would end first go, an eighth at a time.
const TOKENS_MAX: usize = 100_000;

struct Token {
    user: Arc<str>,
    /// Milliseconds; every use moves it.
    ends: AtomicU64,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub struct SimpleTokens {
    ttl_milliseconds: u64,
    tokens: RwLock<AHashMap<String, Token>>,
}

impl SimpleTokens {
    pub fn new(ttl: Duration) -> Self {
        SimpleTokens {
            ttl_milliseconds: milliseconds(ttl),
            tokens: RwLock::default(),
        }
    }

    /// What the log index is added to.
    pub fn random_letters() -> String {
        let mut random = rand::rng();
        let letter = |_| {
            LETTERS
                .get(random.random_range(0..LETTERS.len()))
                .copied()
                .unwrap_or(b'a')
        };
        (0..TOKEN_LETTERS).map(letter).map(char::from).collect()
    }

    /// Whose token it is, which starts its time again. `None`: nobody's, or no more.
    pub fn user_of(&self, token: &str, now: Duration) -> Option<Arc<str>> {
        let now = milliseconds(now);
        let tokens = self.tokens.read();
        let found = tokens.get(token)?;
        if found.ends.load(Ordering::Relaxed) <= now {
            return None;
        }
        found
            .ends
            .store(now.saturating_add(self.ttl_milliseconds), Ordering::Relaxed);
        Some(found.user.clone())
    }

    /// The log index in a token; `None`: it has not the form of one.
    pub fn index_of(token: &str) -> Option<u64> {
        let (_, index) = token.split_once('.')?;
        index.bytes().all(|b| b.is_ascii_digit()).then(|| index.parse().ok())?
    }

    /// Follows the log. Quick: apply waits.
    pub fn observe(&self, change: AuthChange, now: Duration) {
        let mut tokens = self.tokens.write();
        match change {
            AuthChange::Authenticated { user, token } => {
                let now = milliseconds(now);
                if tokens.len() >= TOKENS_MAX {
                    make_room(&mut tokens, now);
                }
                let ends = now.saturating_add(self.ttl_milliseconds).into();
                let user = user.into();
                tokens.insert(token, Token { user, ends });
            }
            AuthChange::UserChanged { user } => tokens.retain(|_, token| *token.user != *user),
            AuthChange::Reset => tokens.clear(),
        }
    }
}

fn make_room(tokens: &mut AHashMap<String, Token>, now: u64) {
    let ends = |token: &Token| token.ends.load(Ordering::Relaxed);
    tokens.retain(|_, token| ends(token) > now);
    if tokens.len() < TOKENS_MAX {
        return;
    }
    let mut all: Vec<u64> = tokens.values().map(ends).collect();
    let (_, bound, _) = all.select_nth_unstable(TOKENS_MAX / 8);
    let bound = *bound;
    tokens.retain(|_, token| ends(token) > bound);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn login(tokens: &SimpleTokens, user: &str, token: &str, now: Duration) {
        let (user, token) = (user.to_owned(), token.to_owned());
        tokens.observe(AuthChange::Authenticated { user, token }, now);
    }

    #[test]
    fn every_use_starts_the_time_again() {
        let tokens = SimpleTokens::new(at(10));
        login(&tokens, "alice", "a.1", at(0));
        for now in [9, 18, 27] {
            assert_eq!(&*tokens.user_of("a.1", at(now)).unwrap(), "alice");
        }
        assert_eq!(tokens.user_of("a.1", at(37)), None);
        assert_eq!(tokens.user_of("a.2", at(1)), None);
    }

    #[test]
    fn a_changed_user_and_a_reset_void_tokens() {
        let tokens = SimpleTokens::new(at(10));
        login(&tokens, "alice", "a.1", at(0));
        login(&tokens, "alice", "a.2", at(0));
        login(&tokens, "bob", "b.3", at(0));
        let user = "alice".to_owned();
        tokens.observe(AuthChange::UserChanged { user }, at(1));
        let known = |token| tokens.user_of(token, at(1)).is_some();
        assert_eq!((known("a.1"), known("a.2"), known("b.3")), (false, false, true));
        tokens.observe(AuthChange::Reset, at(1));
        assert!(!known("b.3"));
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let tokens = SimpleTokens::new(at(1_000));
        for n in 0..TOKENS_MAX {
            login(&tokens, "u", &format!("t.{n}"), at(n as u64 / 10_000));
        }
        login(&tokens, "u", "last.1", at(100));
        let kept = tokens.tokens.read().len();
        assert!(kept <= TOKENS_MAX && kept > TOKENS_MAX / 2, "{kept}");
        let known = |token| tokens.user_of(token, at(100)).is_some();
        assert!(!known("t.0") && known("t.99999") && known("last.1"));
        login(&tokens, "u", "later.1", at(5_000));
        let known = |token| tokens.user_of(token, at(5_000)).is_some();
        assert!(!known("last.1") && known("later.1"));
    }

    #[test]
    fn a_token_ends_in_an_index() {
        assert_eq!(SimpleTokens::index_of("abc.17"), Some(17));
        for other in [
            "",
            "abc",
            "abc.",
            "abc.x",
            "abc.-1",
            "abc.+1",
            "a.1.2",
            "abc.99999999999999999999999",
        ] {
            assert_eq!(SimpleTokens::index_of(other), None, "{other}");
        }
        let letters = SimpleTokens::random_letters();
        assert!(letters.len() == 16 && letters.bytes().all(|b| b.is_ascii_alphabetic()));
        assert_ne!(letters, SimpleTokens::random_letters());
    }
}
