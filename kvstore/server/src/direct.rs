//! A log without a log, for unit tests: commands go straight to the state machine.

use crate::log::Log;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_mvcc::{LogEntry, Response, StateMachine, Store};
use keelson_raft::Error as RaftError;
use parking_lot::Mutex;
use std::sync::Arc;

pub struct DirectLog {
    store: Arc<Store>,
    applying: Mutex<()>,
}

impl DirectLog {
    pub fn new(store: Arc<Store>) -> Self {
        DirectLog {
            store,
            applying: Mutex::new(()),
        }
    }
}

#[async_trait]
impl Log for DirectLog {
    async fn propose(&self, command: Bytes) -> Result<(u64, Response), RaftError> {
        let _one_at_a_time = self.applying.lock();
        let index = self.store.applied_state().index + 1;
        let entry = LogEntry {
            index,
            term: 1,
            leader: 1,
            command,
            membership: None,
        };
        let answers = self
            .store
            .apply(&[entry])
            .map_err(|e| RaftError::Fatal(e.to_string()))?;
        let answer = answers
            .into_iter()
            .next()
            .ok_or_else(|| RaftError::Fatal("no answer".to_owned()))?;
        Ok((index, answer))
    }
    async fn read_index(&self) -> Result<u64, RaftError> {
        Ok(self.applied_index())
    }
    fn leader(&self) -> Option<u64> {
        Some(1)
    }
    fn is_leader(&self) -> bool {
        true
    }
    fn term(&self) -> u64 {
        1
    }
    fn applied_index(&self) -> u64 {
        self.store.applied_state().index
    }
    fn committed_index(&self) -> u64 {
        self.applied_index()
    }
    async fn failed(&self) -> RaftError {
        std::future::pending().await
    }
    async fn shutdown(&self) -> Result<(), RaftError> {
        self.store.flush().map_err(|e| RaftError::Fatal(e.to_string()))
    }
}
