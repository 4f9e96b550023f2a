//! openraft's own suite for storage, over the log and the adapter. Left out is the transfer of a snapshot between two
//! stores: there a built snapshot carries its content; here it names what is on disk, and `cluster.rs` sends them.
#![allow(clippy::unwrap_used)]
use super::{Persisted, Recorder};
use crate::{
    log_store::LogStore,
    machine::{Erased, MachineAdapter, Parts, Progress},
    marker::Marker,
    types::Types,
    waiters::Waiters,
};
use keelson_wal::Wal;
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use std::sync::Arc;

struct Builder;

impl StoreBuilder<Types, LogStore, MachineAdapter, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, MachineAdapter), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let mut options = keelson_wal::Options::new(dir.path());
        options.segment_bytes = 4096;
        // Small, so that readers meet both memory and files.
        options.tail_bytes = 256;
        let wal = Wal::open(options).unwrap();
        let machine = Arc::new(Erased(Arc::new(Recorder::new(&Persisted::default(), false))));
        let marker = Arc::new(Marker::of(dir.path()));
        let parts = Parts {
            wal: wal.clone(),
            machine,
            progress: Arc::new(Progress::default()),
            waiters: Arc::new(Waiters::new(1)),
            marker: marker.clone(),
            flush_log_bytes: u64::MAX,
            flush_entries: u64::MAX,
        };
        let adapter = MachineAdapter::new(parts).unwrap();
        Ok((dir, LogStore::new(wal, marker, Arc::default()), adapter))
    }
}

type S = Suite<Types, LogStore, MachineAdapter, Builder, tempfile::TempDir>;

macro_rules! suite {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (_dir, log, machine) = Builder.build().await.unwrap();
            S::$name(log, machine).await.unwrap();
        }
    )*};
}

suite! {
    last_membership_in_log_initial
    last_membership_in_log
    last_membership_in_log_multi_step
    get_membership_initial
    get_membership_from_log_and_empty_sm
    get_membership_from_empty_log_and_sm
    get_membership_from_log_le_sm_last_applied
    get_membership_from_log_gt_sm_last_applied_1
    get_membership_from_log_gt_sm_last_applied_2
    get_initial_state_without_init
    get_initial_state_membership_from_empty_log_and_sm
    get_initial_state_membership_from_sm_inlog_is_smaller
    get_initial_state_membership_from_log_insm_is_smaller
    get_initial_state_with_state
    get_initial_state_last_log_gt_sm
    get_initial_state_last_log_lt_sm
    get_initial_state_inverted_log_order
    get_initial_state_conflict_at_same_index
    get_initial_state_log_ids
    get_initial_state_re_apply_committed
    save_vote
    get_log_entries
    limited_get_log_entries
    leader_bounded_stream
    entries_stream
    try_get_log_entry
    log_reader_reads_new_entries
    initial_logs
    get_log_state
    get_log_id
    last_id_in_log
    last_applied_state
    purge_logs_upto_0
    purge_logs_upto_5
    purge_logs_upto_20
    delete_logs_after_11
    delete_logs_after_5
    delete_logs_after_0
    delete_logs_after_none
    append_to_log
    snapshot_meta
    snapshot_meta_optional
    apply_single
    apply_multiple
}
