//! Composes one member: store, log, hub, lessor, trimmer, client port.

use crate::ask::Messenger;
use crate::auth::Authenticator;
use crate::cluster::contacts::Contacts;
use crate::cluster::{self, Cluster};
use crate::core::Core;
use crate::grpc::leader::LeaderLost;
use crate::grpc::{self, Services};
use crate::identity::Identity;
use crate::kv::Kv;
use crate::lease::{self, Forwarder, Lessor};
use crate::listener::{Audience, Bound, ConnectionLimits};
use crate::log::Log;
use crate::metrics::{self, MeteredLog, Metrics};
use crate::options::SNAPSHOT_COUNT_DEFAULT;
use crate::quota::Quota;
use crate::slow::{SlowApplies, WatchedStore};
use crate::watch::Hub;
use crate::{AutoCompaction, Error, Options, Serves, auto_compact, bootstrap, corrupt, http, listener, peer, trim};
use keelson_mvcc::{CACHE_BYTES_DEFAULT, Store};
use keelson_raft::{Member, Node, Start, Timers};
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long calls under way may keep the store open after the log was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stopping leader waits for the next one.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member waits for its cluster before it serves what needs no leader.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_LOOK: Duration = Duration::from_millis(2);

/// A running member. Dropping it stops nothing: call [`Server::shutdown`].
pub struct Server {
    pub(crate) core: Arc<Core>,
    client_addr: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn start_error(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Start(format!("{what}: {error}"))
}

fn make_private_dir(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| start_error(&format!("create {}", path.display()), e))
}

/// What a member is before it serves.
pub(crate) struct Parts {
    pub identity: Identity,
    pub store: Arc<Store>,
    pub lessor: Arc<Lessor>,
    pub log: Arc<dyn Log>,
    pub messenger: Arc<dyn Messenger>,
    pub metrics: Arc<Metrics>,
    pub compacted: Arc<Notify>,
}

impl Server {
    /// Opens or creates the data folder, recovers, and serves. Returns when ready for requests, or, when the cluster has
    /// no leader for long, ready for those that need none.
    pub async fn start(options: Options) -> Result<Server, Error> {
        make_private_dir(&options.data_dir)?;
        let (identity, is_new) = bootstrap::identity(&options).await?;
        // Taken first, so that a port in use is told before anything is opened.
        let mut listeners = Vec::new();
        for wanted in &options.clients {
            listeners.push(Bound::open(wanted.clone()).await?);
        }
        let peer_ports = peer::open(&options.peers).await?;
        if is_new {
            // Only now: a start that fails on a port in use may be tried again with other flags.
            identity.store(&options.data_dir)?;
        }
        let metrics = Arc::new(Metrics::new(options.extensive_metrics).map_err(Error::Start)?);
        let store = open_store(&options)?;
        metrics.time_commits(&store);
        refuse_removed(&identity, &store, &options)?;
        // Before the log is replayed: a lease granted or revoked there has to be seen.
        let lessor = Lessor::start(
            &store,
            options.raft.election,
            options.lease_checkpoint_interval,
            metrics.clone(),
        );
        let mut raft = raft_options(&options, &identity, &store);
        raft.disk = Some(metrics.log_disk(options.unsafe_no_fsync));
        let start = if options.force_new_cluster {
            Start::ForceNew
        } else {
            identity.start(&raft.member)
        };
        let members = peer::Members::new(
            identity.cluster_id,
            identity.member_id,
            &options.peers,
            options.raft.election,
        );
        let compacted = Arc::new(Notify::new());
        let machine = Arc::new(WatchedStore {
            store: store.clone(),
            compacted: compacted.clone(),
            slow: slow_applies(&options, &metrics),
        });
        let node = Node::start(raft, start, machine, members.clone())
            .await
            .map_err(|e| start_error("start the log", e))?;
        let handler = node.peer_handler();
        let parts = Parts {
            identity,
            store,
            lessor,
            log: Arc::new(node),
            messenger: members,
            metrics,
            compacted,
        };
        let mut server = Self::assemble(&options, parts)?;
        // Before anything waits for the others: they wait for this one.
        let Server { core, tasks, stop, .. } = &server;
        peer::serve(peer_ports, &options.peers, core, handler, tasks, stop);
        // One that never had any data has none to compare.
        let check = options.checks.initial && !is_new;
        if let Err(error) = server.serve(options, listeners, check).await {
            server.shutdown().await;
            return Err(error);
        }
        Ok(server)
    }

    /// Puts a member together and starts what it does of its own accord. It serves nobody yet.
    pub(crate) fn assemble(options: &Options, parts: Parts) -> Result<Server, Error> {
        let Parts {
            identity,
            store,
            lessor,
            log,
            messenger,
            metrics,
            compacted,
        } = parts;
        let log: Arc<dyn Log> = Arc::new(MeteredLog {
            log,
            metrics: metrics.clone(),
        });
        let auth = Authenticator::start(&options.auth, &store)?;
        let bell = Arc::new(Notify::new());
        let (forwarder, renewals) = Forwarder::new();
        let cluster = Cluster {
            member_id: identity.member_id,
            store: store.clone(),
            log: log.clone(),
            messenger,
            contacts: Contacts::default(),
            timers: timers(options),
            strict: options.strict_reconfig_check,
            learners_max: options.max_learners,
            changing: tokio::sync::Mutex::new(()),
        };
        let slow = slow_applies(options, &metrics);
        let core = Arc::new(Core {
            auth,
            name: options.name.clone(),
            hub: Hub::new(store.clone(), &bell),
            quota: Quota::new(store.clone(), options.limits.quota_bytes),
            trimmed: watch::Sender::new(store.trimmed()),
            store,
            log,
            lessor,
            metrics,
            certificates_are_users: options.auth.client_cert_identity,
            cluster,
            forwarder,
            lease_checkpoint: options.lease_checkpoint,
            slow,
            limits: options.limits.clone(),
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            client_urls: OnceLock::new(),
            progress_interval: options.progress_interval,
            snapshots: crate::archive::room(),
            compacted,
            failure: watch::Sender::new(None),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(core.hub.clone().run(bell, stop.clone()));
        tasks.spawn(lease::run(core.clone(), stop.clone()));
        tasks.spawn(lease::forward(Arc::downgrade(&core), renewals, stop.clone()));
        tasks.spawn(trim::run(core.clone(), stop.clone()));
        tasks.spawn(watch_log(core.clone(), stop.clone()));
        let counting = metrics::count_leaders(core.log.clone(), core.metrics.clone(), stop.clone());
        tasks.spawn(counting);
        tasks.spawn(cluster::watch(core.clone(), stop.clone()));
        Ok(Server {
            core,
            client_addr: None,
            stop,
            tasks,
        })
    }

    /// Checks, publishes, and opens the client ports.
    async fn serve(&mut self, options: Options, listeners: Vec<Bound>, check: bool) -> Result<(), Error> {
        let core = &self.core;
        if check && let Err(error) = core.check_at_start().await {
            tracing::error!(error, "checkInitialHashKV failed");
            return Err(Error::Start(error));
        }
        let urls = if options.advertise_client_urls.is_empty() {
            listeners.iter().map(Bound::url).collect()
        } else {
            options.advertise_client_urls.clone()
        };
        let _ = core.client_urls.set(urls.clone());
        self.join_in(urls).await;
        self.look_after(&options);
        let lost = Arc::new(LeaderLost::default());
        let losing = grpc::leader::run(
            self.core.clone(),
            lost.clone(),
            options.raft.election,
            self.stop.clone(),
        );
        self.tasks.spawn(losing);
        let services = Services {
            core: self.core.clone(),
            stop: self.stop.clone(),
            warning_unary: options.warning_unary,
        };
        let around = grpc::Surroundings {
            limits: &options.limits,
            warning_unary: options.warning_unary,
            lost,
        };
        let direct = grpc::Direct::new(&services, &around)?;
        let grpc = grpc::router(services, &around);
        let routers = http::routers(grpc, direct, &self.core, &options.http, &options.limits);
        let limits = ConnectionLimits::new(&options.limits);
        tracing::info!("ready to serve client requests");
        for bound in listeners {
            self.client_addr = self.client_addr.or_else(|| bound.tcp_addr());
            announce(&bound);
            let service = routers.on(bound.wanted.serves);
            self.tasks.spawn(listener::run(
                bound,
                service,
                limits,
                Audience::Clients,
                self.stop.clone(),
            ));
        }
        Ok(())
    }

    /// Tells the cluster of this member. A cluster without a leader is not waited for forever.
    async fn join_in(&self, urls: Vec<String>) {
        let core = self.core.clone();
        let told = async move {
            cluster::publish::publish(&core, &urls).await;
            cluster::publish::wait_for_vote(&core).await;
            cluster::version::set_if_needed(&core).await;
        };
        let stop = self.stop.clone();
        let telling = self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = told => {}
            }
        });
        if tokio::time::timeout(READY_TIMEOUT, telling).await.is_err() {
            tracing::warn!("timed out waiting for the ready notification");
        }
    }

    /// What the leader does from time to time.
    fn look_after(&self, options: &Options) {
        let (core, stop) = (&self.core, &self.stop);
        self.tasks.spawn(cluster::version::keep(core.clone(), stop.clone()));
        if options.auto_compaction != AutoCompaction::Off {
            let compaction = auto_compact::run(core.clone(), options.auto_compaction, stop.clone());
            self.tasks.spawn(compaction);
        }
        let checks = &options.checks;
        if !checks.periodic.is_zero() {
            self.tasks
                .spawn(corrupt::run_periodic(core.clone(), checks.periodic, stop.clone()));
        }
        if let Some(interval) = checks.compact_hash.filter(|i| !i.is_zero()) {
            self.tasks
                .spawn(corrupt::run_at_compactions(core.clone(), interval, stop.clone()));
        }
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub fn kv(&self) -> Kv {
        Kv {
            core: Arc::downgrade(&self.core),
            stop: self.stop.clone(),
        }
    }

    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Resolves when the store has failed (damage, failed fsync) and must be restarted; carries the reason.
    pub async fn failed(&self) -> String {
        let mut failure = self.core.failure.subscribe();
        // The guard must not live across the wait below, or the future could not move between threads.
        let reason = failure
            .wait_for(Option::is_some)
            .await
            .map(|r| r.clone().unwrap_or_default());
        match reason {
            Ok(reason) => reason,
            // The sender lives in `core`, which lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands leadership over, ends streams and connections, then the log, and returns when the files are closed: the
    /// folder can be opened again.
    pub async fn shutdown(self) {
        if tokio::time::timeout(HAND_OVER_TIMEOUT, self.core.cluster.hand_over())
            .await
            .is_err()
        {
            tracing::warn!("leadership transfer took too long");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.core.log.shutdown().await {
            tracing::warn!(%error, "close the log");
        }
        let store = Arc::downgrade(&self.core.store);
        drop(self);
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, async {
            while store.strong_count() > 0 {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
        });
        if closed.await.is_err() {
            tracing::warn!("a call under way keeps the store open");
        }
    }
}

fn slow_applies(options: &Options, metrics: &Arc<Metrics>) -> SlowApplies {
    SlowApplies {
        limit: options.warning_apply,
        metrics: metrics.clone(),
    }
}

fn timers(options: &Options) -> Timers {
    Timers {
        heartbeat: options.raft.heartbeat,
        election: options.raft.election,
        pre_vote: options.raft.pre_vote,
    }
}

/// Whoever asks for less than etcd's default gets it exactly. That default itself would flush small files: how long a
/// replay takes is bounded by bytes already. More is asked for by those who want few flushes.
fn flush_entries(snapshot_count: u64, own: u64) -> u64 {
    if snapshot_count < SNAPSHOT_COUNT_DEFAULT {
        snapshot_count
    } else {
        own.max(snapshot_count)
    }
}

fn raft_options(options: &Options, identity: &Identity, store: &Arc<Store>) -> keelson_raft::Options {
    let dir = options.wal_dir.clone().unwrap_or_else(|| options.data_dir.join("log"));
    let mut raft = keelson_raft::Options::new(identity.member_id, identity.cluster_id, dir);
    raft.timers = timers(options);
    raft.catchup_entries = options.catchup_entries;
    raft.flush_entries = flush_entries(options.snapshot_count, raft.flush_entries);
    raft.member = Member {
        name: options.name.clone(),
        peer_urls: options.peers.advertise_urls.clone(),
        ..Member::default()
    };
    let store = Arc::downgrade(store);
    let was_removed = move |id| store.upgrade().is_some_and(|store| store.was_removed(id));
    raft.was_removed = Some(Arc::new(was_removed));
    raft
}

/// Nobody would talk to a member that its cluster has removed.
fn refuse_removed(identity: &Identity, store: &Store, options: &Options) -> Result<(), Error> {
    if options.force_new_cluster || !store.was_removed(identity.member_id) {
        return Ok(());
    }
    Err(Error::Start(format!(
        "the member has been permanently removed from the cluster: {:x} cannot come back. Empty {} and add it again as a \
         new member",
        identity.member_id,
        options.data_dir.display()
    )))
}

fn open_store(options: &Options) -> Result<Arc<Store>, Error> {
    let cache_bytes = if options.cache_bytes == 0 {
        CACHE_BYTES_DEFAULT
    } else {
        options.cache_bytes
    };
    let path = options.data_dir.join("state");
    make_private_dir(&path)?;
    Store::open(&keelson_mvcc::Options { path, cache_bytes }).map_err(|e| start_error("open the store", e))
}

/// In etcd's words, which tools look for.
fn announce(bound: &Bound) {
    let address = bound.place();
    let traffic = match bound.wanted.serves {
        Serves::All => "grpc+http",
        Serves::Grpc => "grpc",
        Serves::Http => "http",
        Serves::Metrics => {
            tracing::info!(address = bound.url(), "serving metrics");
            return;
        }
    };
    if bound.wanted.tls.is_some() {
        tracing::info!(traffic, address, "serving client traffic securely");
    } else {
        tracing::info!(
            traffic,
            address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
}

async fn watch_log(core: Arc<Core>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        error = core.log.failed() => core.fail(error.to_string()),
    }
}
