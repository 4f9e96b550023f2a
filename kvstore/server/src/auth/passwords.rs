//! bcrypt, off the threads that serve: one hash takes tens of milliseconds of a core, on purpose.

use crate::status;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::Status;

/// What bcrypt can do, as powers of two of its rounds; anything else becomes etcd's default.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
const COST_DEFAULT: u32 = 10;
/// bcrypt looks at no more of a password, bytes.
const PASSWORD_BYTES_MAX: usize = 72;

pub struct Passwords {
    cost: u32,
    /// Hashes under way at once: as many as there are cores, so that logins do not take them all from each other.
    slots: Arc<Semaphore>,
}

impl Passwords {
    pub fn new(cost: u32) -> Self {
        let cost = if COSTS.contains(&cost) {
            cost
        } else {
            tracing::warn!(
                "min-cost" = COSTS.start(),
                "max-cost" = COSTS.end(),
                "default-cost" = COST_DEFAULT,
                "given-cost" = cost,
                "use default bcrypt cost instead of the invalid given cost"
            );
            COST_DEFAULT
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords {
            cost,
            slots: Arc::new(Semaphore::new(cores)),
        }
    }

    async fn on_the_side<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| status::stopped())?;
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        done.await.map_err(|_| status::stopped())
    }

    /// The hash as commands carry it.
    pub async fn hash(&self, password: String) -> Result<String, Status> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Status::unknown("bcrypt: password length exceeds 72 bytes"));
        }
        let cost = self.cost;
        let hashed = self
            .on_the_side(move || bcrypt::hash_with_result(password, cost))
            .await?;
        let hashed = hashed.map_err(|e| Status::unknown(format!("bcrypt: {e}")))?;
        // The version that Go writes: stores move between the two.
        Ok(BASE64_STANDARD.encode(hashed.format_for_version(bcrypt::Version::TwoA)))
    }

    /// Whether the password is the one that was hashed. A hash that cannot be read is nobody's.
    pub async fn matches(&self, password: String, hash: Bytes) -> Result<bool, Status> {
        let check =
            move || std::str::from_utf8(&hash).is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false));
        self.on_the_side(check).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn hashes_are_gos() {
        let passwords = Passwords::new(4);
        let hash = BASE64_STANDARD
            .decode(passwords.hash("secret".to_owned()).await.unwrap())
            .unwrap();
        assert!(hash.starts_with(b"$2a$04$"), "{}", hash.escape_ascii());
        let hash = Bytes::from(hash);
        let is = async |password: &str| passwords.matches(password.to_owned(), hash.clone()).await.unwrap();
        assert!(is("secret").await && !is("Secret").await && !is("").await);
        // Of golang.org/x/crypto/bcrypt, for "allmine".
        let theirs = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        assert!(passwords.matches("allmine".to_owned(), theirs.into()).await.unwrap());
        assert!(!passwords.matches("x".to_owned(), "no hash".into()).await.unwrap());
        let long = passwords.hash("x".repeat(73)).await.unwrap_err();
        assert_eq!(
            (long.code(), long.message()),
            (tonic::Code::Unknown, "bcrypt: password length exceeds 72 bytes")
        );
        assert_eq!(Passwords::new(3).cost, 10);
    }
}
