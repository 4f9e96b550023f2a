//! A log without a log, for unit tests: commands go straight to the state machine.

use crate::ask::Nobody;
use crate::identity::{Beginning, Identity};
use crate::lease::Lessor;
use crate::log::Log;
use crate::server::Parts;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_mvcc::{LogEntry, Response, StateMachine, Store};
use keelson_raft::{Error as RaftError, LeaderState, Member, MemberView, Members, Stats};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub struct DirectLog {
    store: Arc<Store>,
    applying: Mutex<()>,
    leader: watch::Sender<LeaderState>,
    members: watch::Sender<Arc<Members>>,
}

impl DirectLog {
    pub fn new(store: Arc<Store>) -> Self {
        let alone = MemberView {
            member: Member::default(),
            votes: true,
        };
        let members = Members {
            index: 1,
            members: BTreeMap::from([(1, alone)]),
            joint: false,
        };
        DirectLog {
            members: watch::Sender::new(Arc::new(members)),
            store,
            applying: Mutex::new(()),
            leader: watch::Sender::new(LeaderState {
                term: 1,
                leader: Some(1),
                is_leader: true,
            }),
        }
    }
}

impl DirectLog {
    /// As a member that is cut off.
    pub fn lose_leader(&self) {
        self.leader.send_modify(|state| {
            state.leader = None;
            state.is_leader = false;
        });
    }

    /// A member of a cluster of its own over this log.
    pub fn parts(store: Arc<Store>) -> Parts {
        let metrics = Arc::new(crate::metrics::Metrics::new(true).unwrap());
        let lessor = Lessor::start(&store, Duration::ZERO, Duration::MAX, metrics.clone());
        Parts {
            identity: Identity {
                member_id: 1,
                cluster_id: 2,
                beginning: Beginning::Alone,
            },
            log: Arc::new(DirectLog::new(store.clone())),
            store,
            lessor,
            messenger: Arc::new(Nobody),
            metrics,
            compacted: Arc::default(),
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
        self.leader.borrow().leader
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
    fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        self.leader.subscribe()
    }
    fn members(&self) -> Members {
        Members::clone(&self.members.borrow())
    }
    fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.subscribe()
    }
    /// A command is applied before it is answered.
    async fn wait_applied(&self, _: u64) {}
    fn is_learner(&self) -> bool {
        false
    }
    fn matched(&self) -> BTreeMap<u64, u64> {
        BTreeMap::from([(1, self.applied_index())])
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
    async fn add_member(&self, _: u64, _: Member, _: bool) -> Result<(), RaftError> {
        Err(RaftError::Unsupported("members of a log without a log"))
    }
    async fn remove_member(&self, _: u64) -> Result<(), RaftError> {
        Err(RaftError::Unsupported("members of a log without a log"))
    }
    async fn update_member(&self, _: u64, _: Member) -> Result<(), RaftError> {
        Err(RaftError::Unsupported("members of a log without a log"))
    }
    async fn promote_member(&self, _: u64) -> Result<(), RaftError> {
        Err(RaftError::Unsupported("members of a log without a log"))
    }
    async fn transfer_leader(&self, _: u64) -> Result<(), RaftError> {
        Err(RaftError::Unsupported("members of a log without a log"))
    }
    async fn failed(&self) -> RaftError {
        std::future::pending().await
    }
    async fn shutdown(&self) -> Result<(), RaftError> {
        self.store.flush().map_err(|e| RaftError::Fatal(e.to_string()))
    }
}
