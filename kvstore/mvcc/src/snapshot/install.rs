//! The receiver's side.

use super::chunk::{Parts, Position};
use crate::auth::AuthChange;
use crate::db::Staged;
use crate::leases::{LeaseChange, Leases};
use crate::state_machine::{AppliedState, SnapshotWriter, StorageError};
use crate::store::{State, Store};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub struct Install {
    store: Arc<Store>,
    staged: Staged,
    /// Which of this store's installations it is: the last one begun counts.
    number: u64,
    at: Position,
    /// Index and term of the snapshot, once its first chunk is here.
    of: Option<(u64, u64)>,
    complete: bool,
}

impl Install {
    pub fn begin(store: Arc<Store>) -> Result<Install, StorageError> {
        let number = store.installing.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Install {
            staged: store.home.stage(number)?,
            store,
            number,
            at: Position::default(),
            of: None,
            complete: false,
        })
    }

    fn check_turn(&self) -> Result<(), StorageError> {
        if self.store.installing.load(Ordering::Acquire) != self.number {
            return Err(StorageError("another snapshot has taken this one's place".to_owned()));
        }
        Ok(())
    }

    fn check(&self, parts: &Parts) -> Result<(), StorageError> {
        self.check_turn()?;
        if self.complete {
            return Err(StorageError("the snapshot was complete, and more comes".to_owned()));
        }
        if self.of.is_some_and(|of| of != (parts.index, parts.term)) {
            return Err(StorageError("a piece of another snapshot comes".to_owned()));
        }
        if parts.begins != self.at {
            return Err(StorageError(format!(
                "a piece of the snapshot comes that begins after {} rows, where {} are here",
                parts.begins.rows, self.at.rows
            )));
        }
        Ok(())
    }

    fn swap(self) -> Result<AppliedState, StorageError> {
        let store = self.store.clone();
        // Everything that can be wrong with what was received is found before anything changes.
        let (mut new, trimmed) = State::load(self.staged.db())?;
        if self.of != Some((new.applied.index, new.applied.term)) {
            return Err(StorageError(format!(
                "a snapshot of {:?} holds the state after {} of term {}",
                self.of, new.applied.index, new.applied.term
            )));
        }
        let applied = new.applied.clone();
        let mut progress = store.trimming.lock();
        self.check_turn()?;
        let mut state = store.state.write();
        if applied.index < state.applied.index || new.revision < state.revision {
            return Err(StorageError(format!(
                "a snapshot of entry {} and revision {} comes where {} and {} are applied",
                applied.index, new.revision, state.applied.index, state.revision
            )));
        }
        // Should this fail half way, the folder may already hold the new state while memory has the old one: the
        // error ends the process, as every error of the storage does.
        let db = self.staged.commit(&store.home)?;
        let before = store.db.swap(db);
        before.retire();
        new.generation = state.generation + 1;
        let old = std::mem::replace(&mut *state, new);
        *progress = Default::default();
        store.trimmed.store(trimmed, Ordering::Release);
        store.expose(&state);
        // Still under the lock, as in apply: whoever sees the revision finds that its events are elsewhere.
        store.ring.reset(state.revision);
        if let Some(observer) = store.lease_observer.get() {
            changes(&old.leases, &state.leases).into_iter().for_each(observer);
        }
        if let Some(observer) = store.auth_observer.get() {
            observer(AuthChange::Reset);
        }
        drop(state);
        drop(progress);
        drop(old);
        Ok(applied)
    }
}

/// What turns the one set of leases into the other, for whoever keeps their time.
fn changes(old: &Leases, new: &Leases) -> Vec<LeaseChange> {
    let kept = |id: i64, ttl: i64, other: &Leases| other.get(id).is_some_and(|lease| lease.ttl == ttl);
    let mut revoked: Vec<_> = old
        .iter()
        .filter(|(id, lease)| !kept(*id, lease.ttl, new))
        .map(|(id, _)| id)
        .collect();
    let mut granted: Vec<_> = new
        .iter()
        .filter(|(id, lease)| !kept(*id, lease.ttl, old))
        .map(|(id, lease)| (id, lease.ttl))
        .collect();
    revoked.sort_unstable();
    granted.sort_unstable();
    let revoked = revoked.into_iter().map(|id| LeaseChange::Revoked { id });
    let granted = granted
        .into_iter()
        .map(|(id, ttl_seconds)| LeaseChange::Granted { id, ttl_seconds });
    revoked.chain(granted).collect()
}

impl SnapshotWriter for Install {
    fn add(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        let parts = Parts::decode(chunk)?;
        self.check(&parts)?;
        let db = self.staged.db();
        let mut batch = db.batch()?;
        for row in &parts.rows {
            batch.put(row.cf, &row.key, &row.value);
        }
        db.write(batch)?;
        self.of = Some((parts.index, parts.term));
        self.at = parts.ends;
        self.complete = parts.last;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<AppliedState, StorageError> {
        if !self.complete {
            return Err(StorageError(format!(
                "the snapshot ends early, after {} rows",
                self.at.rows
            )));
        }
        self.swap()
    }
}
