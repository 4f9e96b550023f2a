//! Writes the page: what was counted, and what the member knows at this moment.

use super::instruments::InFlight;
use super::page::{Page, float};
use super::{Metrics, peers, process};
use crate::core::{Core, VERSION};
use crate::facts;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use std::sync::Arc;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

pub async fn serve(State(core): State<Arc<Core>>) -> Response {
    let metrics = core.metrics.clone();
    let _in_flight = InFlight::enter(&metrics.scrapes);
    // It asks the kernel and RocksDB: not on a thread that serves.
    let page = tokio::task::spawn_blocking(move || {
        let mut page = Page::default();
        member(&core, &mut page);
        store(&core, &mut page);
        watches(&core, &mut page);
        counted(&core.metrics, &mut page);
        peers::write(&core, &mut page);
        page
    });
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let Ok(mut page) = page.await else {
        return http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    page.gauge("keelson_tasks", float(tasks as u64));
    page.gauge(
        "promhttp_metric_handler_requests_in_flight",
        signed(metrics.scrapes.get()),
    );
    page.family("promhttp_metric_handler_requests_total", "counter");
    for (code, count) in [("200", metrics.scraped.get()), ("500", 0), ("503", 0)] {
        page.sample(
            "promhttp_metric_handler_requests_total",
            &[("code", code)],
            float(count),
        );
    }
    metrics.scraped.inc();
    ([(CONTENT_TYPE, TEXT_FORMAT)], page.into_text()).into_response()
}

fn signed(count: i64) -> f64 {
    count as f64
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

/// Who and what this member is.
fn member(core: &Core, page: &mut Page) {
    let log = &core.log;
    let (cluster_version, _) = facts::versions(core);
    if let Some((minor, _)) = cluster_version.rsplit_once('.') {
        page.family("etcd_cluster_version", "gauge");
        page.sample("etcd_cluster_version", &[("cluster_version", minor)], 1.0);
    }
    page.family("etcd_server_version", "gauge");
    page.sample("etcd_server_version", &[("server_version", VERSION)], 1.0);
    let id = format!("{:x}", core.member_id);
    page.family("etcd_server_id", "gauge");
    page.sample("etcd_server_id", &[("server_id", &id)], 1.0);
    page.gauge("etcd_server_has_leader", flag(log.leader().is_some()));
    page.gauge("etcd_server_is_leader", flag(log.is_leader()));
    page.gauge("etcd_server_is_learner", flag(facts::is_learner(core)));
    page.gauge("etcd_server_proposals_committed_total", float(log.committed_index()));
    page.gauge("etcd_server_proposals_applied_total", float(log.applied_index()));
    page.gauge("etcd_server_quota_backend_bytes", float(core.quota.bytes_max));
    page.family("etcd_network_known_peers", "gauge");
    for member in facts::member_ids(core) {
        let remote = format!("{member:x}");
        page.sample("etcd_network_known_peers", &[("Local", &id), ("Remote", &remote)], 1.0);
    }
    page.gauge(
        "etcd_debugging_auth_revision",
        float(core.store.with_auth(|auth| auth.revision())),
    );
    process::write(page);
}

fn store(core: &Core, page: &mut Page) {
    let store = &core.store;
    page.gauge("etcd_debugging_mvcc_current_revision", signed(store.revision()));
    page.gauge("etcd_debugging_mvcc_compact_revision", signed(store.compacted()));
    page.gauge("etcd_debugging_mvcc_keys_total", float(store.live_keys() as u64));
    match (store.physical_bytes(), store.live_bytes()) {
        (Ok(size), Ok(live)) => {
            page.gauge("etcd_mvcc_db_total_size_in_bytes", float(size));
            page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", float(live.min(size)));
        }
        (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "measure the store"),
    }
    page.gauge(
        "etcd_mvcc_db_open_read_transactions",
        float(store.open_readers() as u64),
    );
    let counts = store.counts();
    page.counter("etcd_mvcc_put_total", counts.puts);
    page.counter("etcd_mvcc_delete_total", counts.deletes);
    page.counter("etcd_mvcc_txn_total", counts.txns);
    page.counter("etcd_mvcc_range_total", counts.ranges);
    page.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", float(counts.put_bytes));
    page.counter("etcd_debugging_mvcc_db_compaction_keys_total", counts.trimmed_versions);
}

fn watches(core: &Core, page: &mut Page) {
    let census = core.hub.census();
    page.gauge("etcd_debugging_mvcc_watch_stream_total", float(census.streams as u64));
    page.gauge("etcd_debugging_mvcc_watcher_total", float(census.watchers as u64));
    page.gauge("etcd_debugging_mvcc_slow_watcher_total", float(census.lagging as u64));
    page.gauge(
        "etcd_debugging_mvcc_pending_events_total",
        float(census.events_waiting as u64),
    );
}

fn counted(metrics: &Metrics, page: &mut Page) {
    metrics.calls.write(page);
    metrics.health.write(page);
    page.histogram("etcd_disk_wal_fsync_duration_seconds", &metrics.log.sync_seconds);
    page.histogram("etcd_disk_wal_write_duration_seconds", &metrics.log.write_seconds);
    page.gauge(
        "etcd_disk_wal_write_bytes_total",
        float(metrics.log.written_bytes.get()),
    );
    let raft = &metrics.raft;
    page.gauge("etcd_server_proposals_pending", signed(raft.proposals_pending.get()));
    page.counter("etcd_server_proposals_failed_total", raft.proposals_failed.get());
    page.counter("etcd_server_read_indexes_failed_total", raft.read_indexes_failed.get());
    page.counter("etcd_server_slow_read_indexes_total", raft.read_indexes_slow.get());
    page.counter("etcd_server_slow_apply_total", raft.applies_slow.get());
    page.counter("etcd_server_leader_changes_seen_total", raft.leader_changes.get());
    page.counter("etcd_server_learner_promote_successes", raft.learners_promoted.get());
    page.gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        signed(raft.snapshots_applying.get()),
    );
    let leases = &metrics.leases;
    page.counter("etcd_debugging_lease_granted_total", leases.granted.get());
    page.counter("etcd_debugging_lease_renewed_total", leases.renewed.get());
    page.counter("etcd_debugging_lease_revoked_total", leases.revoked.get());
    page.counter("etcd_debugging_server_lease_expired_total", leases.expired.get());
    page.histogram("etcd_debugging_lease_ttl_total", &leases.ttl_seconds);
    let watch = &metrics.watch;
    page.counter("etcd_debugging_mvcc_events_total", watch.events_sent.get());
    let loops = "etcd_debugging_server_watch_send_loop";
    page.histogram(
        &format!("{loops}_control_stream_duration_seconds"),
        &watch.control_seconds,
    );
    page.histogram(&format!("{loops}_progress_duration_seconds"), &watch.progress_seconds);
    page.histogram(&format!("{loops}_watch_stream_duration_seconds"), &watch.events_seconds);
    let each = format!("{loops}_watch_stream_duration_per_event_seconds");
    page.histogram(&each, &watch.each_event_seconds);
    let store = &metrics.store;
    page.histogram("etcd_disk_backend_commit_duration_seconds", &store.commit_seconds);
    page.histogram("etcd_disk_backend_defrag_duration_seconds", &store.defragment_seconds);
    page.gauge("etcd_disk_defrag_inflight", signed(store.defragmenting.get()));
    page.histogram("etcd_disk_backend_snapshot_duration_seconds", &store.snapshot_seconds);
    page.histogram("etcd_mvcc_hash_duration_seconds", &store.hash_seconds);
    page.histogram("etcd_mvcc_hash_rev_duration_seconds", &store.hash_revision_seconds);
    let compaction = "etcd_debugging_mvcc_db_compaction";
    page.histogram(
        &format!("{compaction}_total_duration_milliseconds"),
        &store.compaction_ms,
    );
    page.histogram(
        &format!("{compaction}_pause_duration_milliseconds"),
        &store.compaction_pause_ms,
    );
    page.gauge(&format!("{compaction}_last"), signed(store.compaction_last.get()));
    always_zero(page);
}

/// A plain etcd shows them too, though nothing counts in them: the old store's and the proxy's.
fn always_zero(page: &mut Page) {
    page.counter("etcd_debugging_store_expires_total", 0);
    page.counter("etcd_debugging_store_watch_requests_total", 0);
    page.gauge("etcd_debugging_store_watchers", 0.0);
    page.gauge("etcd_grpc_proxy_cache_hits_total", 0.0);
    page.gauge("etcd_grpc_proxy_cache_keys_total", 0.0);
    page.gauge("etcd_grpc_proxy_cache_misses_total", 0.0);
    page.counter("etcd_grpc_proxy_events_coalescing_total", 0);
    page.gauge("etcd_grpc_proxy_watchers_coalescing_total", 0.0);
}
