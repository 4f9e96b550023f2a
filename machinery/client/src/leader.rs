//! Leader election by Lease, compatible with client-go's `leaderelection`.
//!
//! Invariant: a leader holds the Lease only while it has renewed it within `renew_deadline`, counted from before the
//! request that renewed it was sent, on its own monotonic clock; clocks of other machines are never compared. A
//! process that stood still for longer holds it no more when it goes on: client-go gives it another `renew_deadline`
//! then, in which two lead.
use crate::{Api, Client, Error, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Candidates wait `retry_period` times 1 to 2.2 (client-go's `JitterFactor` of 1.2).
const JITTER_MAX: f64 = 1.2;

#[derive(Clone, Debug)]
pub struct LeaderElection {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

/// What the work of a leader knows of its leadership. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Leadership {
    lost: CancellationToken,
    /// When it ends unless it is renewed; `None` is never.
    until: Option<Arc<Mutex<Instant>>>,
}

impl Leadership {
    /// One that ends only with `stop`: of a process that leads without an election.
    pub fn unopposed(stop: CancellationToken) -> Self {
        Leadership {
            lost: stop,
            until: None,
        }
    }

    fn until(at: Instant, lost: CancellationToken) -> Self {
        Leadership {
            lost,
            until: Some(Arc::new(Mutex::new(at))),
        }
    }

    /// Cancelled when it is lost, and when the work should stop.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether it is held now. The token is cancelled by a task, which may run late: what must not be done by two is
    /// done only after this said yes.
    pub fn holds(&self) -> bool {
        !self.lost.is_cancelled() && self.end().is_none_or(|end| Instant::now() < end)
    }

    fn end(&self) -> Option<Instant> {
        self.until.as_ref().map(|u| *u.lock())
    }

    fn extend(&self, end: Instant) {
        if let Some(u) = &self.until {
            *u.lock() = end;
        }
    }
}

#[derive(PartialEq)]
enum End {
    Finished,
    Stopped,
    Lost,
}

/// What this candidate last saw, and when, by its own clock.
struct Observed {
    lease: Option<Lease>,
    at: Instant,
}

impl LeaderElection {
    /// With the timing of upstream's components: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        LeaderElection {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Waits to lead, then runs `lead`, which should end when its leadership is lost; returns after that, or when
    /// `stop` is cancelled (the Lease is released).
    pub async fn run<F, Fut>(&self, client: Client, stop: CancellationToken, lead: F)
    where
        F: FnOnce(Leadership) -> Fut + Send,
        Fut: std::future::Future<Output = ()> + Send,
    {
        let api: Api<Lease> = Api::namespaced(client, &self.namespace);
        let mut seen = Observed {
            lease: None,
            at: Instant::now(),
        };
        let acquire = async {
            loop {
                let sent = Instant::now();
                if self.attempt(&api, &mut seen).await {
                    return sent;
                }
                let jitter = rand::rng().random_range(0.0..JITTER_MAX);
                tokio::time::sleep(self.retry_period.mul_f64(1.0 + jitter)).await;
            }
        };
        let sent = tokio::select! {
            () = stop.cancelled() => return,
            sent = acquire => sent,
        };
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        let leading = Leadership::until(sent + self.renew_deadline, stop.child_token());
        let work = lead(leading.clone());
        tokio::pin!(work);
        let end = tokio::select! {
            () = &mut work => End::Finished,
            () = stop.cancelled() => End::Stopped,
            () = self.renew(&api, &mut seen, &leading) => End::Lost,
        };
        leading.lost.cancel();
        if end == End::Lost {
            tracing::error!(lease = self.name, "leadership is lost");
        }
        // The work ends before the Lease is released, so that never two do it.
        if end != End::Finished {
            work.await;
        }
        if end != End::Lost {
            self.release(&api, &seen).await;
        }
    }

    /// Renews until that has not succeeded for `renew_deadline`, or another is seen to hold the Lease.
    async fn renew(&self, api: &Api<Lease>, seen: &mut Observed, leading: &Leadership) {
        loop {
            let end = leading.end().unwrap_or_else(Instant::now);
            let round = async {
                tokio::time::sleep(self.retry_period).await;
                loop {
                    let sent = Instant::now();
                    if self.attempt(api, seen).await {
                        return Some(sent);
                    }
                    if !self.is_leader(seen) {
                        return None;
                    }
                    tokio::time::sleep(self.retry_period).await;
                }
            };
            match tokio::time::timeout_at(end, round).await {
                Ok(Some(sent)) => leading.extend(sent + self.renew_deadline),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn is_leader(&self, seen: &Observed) -> bool {
        holder(seen.lease.as_ref()) == self.identity
    }

    /// One try to take or keep the Lease.
    async fn attempt(&self, api: &Api<Lease>, seen: &mut Observed) -> bool {
        match self.try_acquire_or_renew(api, seen).await {
            Ok(held) => held,
            Err(e) => {
                tracing::debug!(lease = self.name, error = %e, "lease was not taken");
                false
            }
        }
    }

    async fn try_acquire_or_renew(&self, api: &Api<Lease>, seen: &mut Observed) -> Result<bool> {
        // The leader writes at once over what it last wrote; only a conflict makes it read.
        if self.is_leader(seen)
            && let Some(lease) = seen.lease.clone()
            && seen.at.elapsed() < self.lease_duration
        {
            match self.write(api, lease, seen).await {
                Ok(()) => return Ok(true),
                Err(e) if e.is_transport() => return Err(e),
                Err(_) => {}
            }
        }
        let Some(current) = api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..Default::default()
                },
                spec: Some(self.record(None)),
            };
            let created = api.create(&lease).await?;
            seen.set(created);
            return Ok(true);
        };
        if seen.lease.as_ref().and_then(|l| l.spec.as_ref()) != current.spec.as_ref() {
            seen.set(current.clone());
        }
        let duration = current
            .spec
            .as_ref()
            .and_then(|s| s.lease_duration_seconds)
            .unwrap_or(0);
        let valid = seen.at.elapsed() < Duration::from_secs(u64::try_from(duration).unwrap_or(0));
        if !holder(Some(&current)).is_empty() && valid && !self.is_leader(seen) {
            return Ok(false);
        }
        self.write(api, current, seen).await?;
        Ok(true)
    }

    async fn write(&self, api: &Api<Lease>, mut lease: Lease, seen: &mut Observed) -> Result<()> {
        lease.spec = Some(self.record(lease.spec.as_ref()));
        let written = api.replace(&self.name, &lease).await?;
        seen.set(written);
        Ok(())
    }

    /// The record this candidate writes over `old`.
    fn record(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = now();
        let same = old.is_some_and(|o| o.holder_identity.as_deref() == Some(&*self.identity));
        let transitions = old.and_then(|o| o.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: old
                .filter(|_| same)
                .and_then(|o| o.acquire_time.clone())
                .or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if same || old.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..old.cloned().unwrap_or_default()
        }
    }

    /// Gives the Lease up, so that the next candidate need not wait for it to expire.
    async fn release(&self, api: &Api<Lease>, seen: &Observed) {
        if !self.is_leader(seen) {
            return;
        }
        let give_up = async {
            let mut lease = api.get(&self.name).await?;
            if holder(Some(&lease)) != self.identity {
                return Ok(());
            }
            let old = lease.spec.take().unwrap_or_default();
            lease.spec = Some(LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                renew_time: Some(now()),
                acquire_time: Some(now()),
                lease_transitions: old.lease_transitions,
                ..Default::default()
            });
            api.replace(&self.name, &lease).await?;
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(self.renew_deadline, give_up).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(lease = self.name, error = %e, "lease was not released"),
            Err(_) => tracing::warn!(lease = self.name, "lease was not released in time"),
        }
    }
}

impl Observed {
    fn set(&mut self, lease: Lease) {
        self.lease = Some(lease);
        self.at = Instant::now();
    }
}

fn holder(lease: Option<&Lease>) -> &str {
    lease
        .and_then(|l| l.spec.as_ref()?.holder_identity.as_deref())
        .unwrap_or("")
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake::{Exchange, Fake};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";

    fn lease(holder: &str, renewed: &str) -> Value {
        json!({"metadata": {"name": "x", "namespace": "kube-system", "resourceVersion": "1"}, "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": renewed, "acquireTime": "2020-01-01T00:00:00.000000Z"}})
    }

    struct Rig {
        fake: Fake,
        stop: CancellationToken,
        leading: Arc<AtomicU32>,
        leadership: Arc<Mutex<Option<Leadership>>>,
        task: tokio::task::JoinHandle<()>,
    }

    fn rig() -> Rig {
        let (fake, stop, leading) = (Fake::new(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (client, token, flag) = (fake.client(), stop.clone(), leading.clone());
        let leadership: Arc<Mutex<Option<Leadership>>> = Arc::default();
        let held = leadership.clone();
        let task = tokio::spawn(async move {
            let e = LeaderElection::new("kube-system", "x", "me");
            let lead = |l: Leadership| async move {
                flag.store(1, Ordering::SeqCst);
                held.lock().replace(l.clone());
                l.lost().cancelled().await;
                flag.store(2, Ordering::SeqCst);
            };
            e.run(client, token, lead).await;
        });
        Rig {
            fake,
            stop,
            leading,
            leadership,
            task,
        }
    }

    fn accept(e: Exchange) -> Value {
        let body = e.json();
        e.answer(200, body.clone());
        body
    }

    #[tokio::test(start_paused = true)]
    async fn creates_renews_and_releases() {
        let r = rig();
        r.fake.next().await.status(404, "NotFound");
        let create = r.fake.next().await;
        assert_eq!(create.method, "POST");
        let first = accept(create);
        assert_eq!(first["spec"]["holderIdentity"], "me");
        assert_eq!(first["spec"]["leaseTransitions"], 0);
        let renew = r.fake.next().await;
        assert_eq!((renew.method.as_str(), renew.path.as_str()), ("PUT", PATH));
        let second = accept(renew);
        assert_eq!(second["spec"]["acquireTime"], first["spec"]["acquireTime"]);
        assert_eq!(r.leading.load(Ordering::SeqCst), 1);
        r.stop.cancel();
        let get = r.fake.next().await;
        assert_eq!(get.method, "GET");
        assert_eq!(r.leading.load(Ordering::SeqCst), 2, "the work ends before the release");
        get.answer(200, second);
        let released = accept(r.fake.next().await);
        assert_eq!(released["spec"]["holderIdentity"], "");
        assert_eq!(released["spec"]["leaseDurationSeconds"], 1);
        r.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn takes_over_only_when_the_lease_has_not_moved_for_its_duration() {
        let r = rig();
        let start = Instant::now();
        // The holder's clock says long ago: only our own waiting counts.
        let mut renewed = 0;
        let takeover = loop {
            let q = r.fake.next().await;
            if q.method == "PUT" {
                break q;
            }
            let at = if start.elapsed().as_secs() < 20 {
                renewed += 1;
                format!("2020-01-01T00:00:{renewed:02}.000000Z")
            } else {
                "2020-01-01T00:01:00.000000Z".to_owned()
            };
            q.answer(200, lease("other", &at));
        };
        assert!(start.elapsed().as_secs() >= 35, "{:?}", start.elapsed());
        let body = accept(takeover);
        assert_eq!(body["spec"]["holderIdentity"], "me");
        assert_eq!(body["spec"]["leaseTransitions"], 4);
        assert_ne!(body["spec"]["acquireTime"], "2020-01-01T00:00:00.000000Z");
    }

    #[tokio::test(start_paused = true)]
    async fn stops_the_work_when_it_cannot_renew() {
        let r = rig();
        r.fake.next().await.status(404, "NotFound");
        accept(r.fake.next().await);
        let start = Instant::now();
        let deny = async {
            loop {
                r.fake.next().await.fail("connection refused");
            }
        };
        tokio::select! {
            () = deny => {}
            done = r.task => done.unwrap(),
        }
        assert_eq!(r.leading.load(Ordering::SeqCst), 2);
        let spent = start.elapsed().as_secs();
        assert!(
            (9..=10).contains(&spent),
            "given up after {spent} s, before the lease of 15 s expires"
        );
    }

    /// A process that stood still while another took the Lease must not go on for a while as if nothing were.
    #[tokio::test(start_paused = true)]
    async fn a_leader_that_stood_still_leads_no_more() {
        let r = rig();
        r.fake.next().await.status(404, "NotFound");
        accept(r.fake.next().await);
        accept(r.fake.next().await);
        let leadership = r.leadership.lock().clone().unwrap();
        assert!(leadership.holds());
        // Time goes on, and nothing of this process runs.
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(!leadership.holds(), "before any of its tasks has run");
        tokio::select! {
            done = r.task => done.unwrap(),
            q = r.fake.next() => panic!("{} {}", q.method, q.path),
        }
        assert_eq!(r.leading.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_sees_another_gives_up_at_once() {
        let r = rig();
        r.fake.next().await.status(404, "NotFound");
        accept(r.fake.next().await);
        let renewed = Instant::now();
        r.fake.next().await.status(409, "Conflict");
        r.fake
            .next()
            .await
            .answer(200, lease("other", "2020-01-01T00:00:00.000000Z"));
        r.task.await.unwrap();
        assert_eq!(r.leading.load(Ordering::SeqCst), 2);
        assert!(renewed.elapsed() < Duration::from_secs(5), "{:?}", renewed.elapsed());
    }
}
