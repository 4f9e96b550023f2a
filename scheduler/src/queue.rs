//! The pods that wait for a node.
//!
//! A waiting pod is in exactly one part: active (ordered by priority, then by age), backoff (until a time),
//! unschedulable (until an event that may help, or for at most [`UNSCHEDULABLE_MAX`]), gated (until its gates
//! go). A pod popped is in flight until [`Queue::done`] or [`Queue::retry`]; events meanwhile are kept, so
//! that none is missed between the snapshot and the return of the pod. Only those since it was popped count for it:
//! what came before, while others were in flight, its snapshot has.
//!
//! The queue knows no clock: time comes in with each call.
use crate::framework::{ClusterEvent, PodInfo};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a pod stays unschedulable without any event before it is tried all the same (upstream: 5 minutes).
pub const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(5 * 60);
/// Events kept for pods in flight; past it they count as one that may help every pod.
const IN_FLIGHT_EVENTS_MAX: usize = 1024;

/// Decides for a pod and the plugins that refused it whether an event may help.
pub type Hint<'a> = &'a dyn Fn(&PodInfo, &BTreeSet<&'static str>, &ClusterEvent) -> bool;

#[derive(Clone, Debug)]
pub struct QueuedPod {
    pub info: Arc<PodInfo>,
    pub attempts: u32,
    /// Plugins that refused it last; empty after an error.
    pub refused_by: BTreeSet<&'static str>,
    /// When it first came, for the order among equals.
    pub since: Instant,
    /// End of its last attempt, where backoff starts.
    tried: Option<Instant>,
    /// Set when the last attempt ended in an error rather than a refusal.
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Active,
    Backoff(Instant),
    Unschedulable(Instant),
    Gated,
    InFlight,
}

struct Entry {
    pod: QueuedPod,
    part: Part,
    sequence: u64,
    /// How many events there had been when it was popped.
    events_before: u64,
}

type Key = Arc<str>;

pub struct Queue {
    entries: HashMap<Key, Entry>,
    active: BTreeSet<(std::cmp::Reverse<i32>, Instant, u64, Key)>,
    backoff: BTreeSet<(Instant, u64, Key)>,
    unschedulable: BTreeSet<(Instant, u64, Key)>,
    in_flight: usize,
    events: Vec<ClusterEvent>,
    /// How many events were forgotten, all of them older than those in `events`.
    events_forgotten: u64,
    sequence: u64,
    backoff_initial: Duration,
    backoff_max: Duration,
}

impl Queue {
    pub fn new(backoff_initial: Duration, backoff_max: Duration) -> Self {
        Queue {
            entries: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            in_flight: 0,
            events: Vec::new(),
            events_forgotten: 0,
            sequence: 0,
            backoff_initial,
            backoff_max,
        }
    }

    fn backoff_of(&self, pod: &QueuedPod) -> Duration {
        let doublings = pod.attempts.saturating_sub(1).min(16);
        (self.backoff_initial * 2u32.pow(doublings)).min(self.backoff_max)
    }

    fn leave(&mut self, key: &Key) {
        let Some(e) = self.entries.get(key) else {
            return;
        };
        match e.part {
            Part::Active => {
                self.active.remove(&(
                    std::cmp::Reverse(e.pod.info.priority()),
                    e.pod.since,
                    e.sequence,
                    key.clone(),
                ));
            }
            Part::Backoff(at) => {
                self.backoff.remove(&(at, e.sequence, key.clone()));
            }
            Part::Unschedulable(at) => {
                self.unschedulable.remove(&(at, e.sequence, key.clone()));
            }
            Part::InFlight => self.end_flight(),
            Part::Gated => {}
        }
    }

    fn end_flight(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.forget_events();
        }
    }

    fn forget_events(&mut self) {
        self.events_forgotten += self.events.len() as u64;
        self.events.clear();
    }

    /// The events since `before` of them.
    fn events_since(&self, before: u64) -> &[ClusterEvent] {
        let kept = before.saturating_sub(self.events_forgotten);
        let from = usize::try_from(kept).unwrap_or(usize::MAX).min(self.events.len());
        &self.events[from..]
    }

    fn enter(&mut self, key: Key, pod: QueuedPod, part: Part) {
        self.sequence += 1;
        let sequence = self.sequence;
        match part {
            Part::Active => {
                self.active
                    .insert((std::cmp::Reverse(pod.info.priority()), pod.since, sequence, key.clone()));
            }
            Part::Backoff(at) => {
                self.backoff.insert((at, sequence, key.clone()));
            }
            Part::Unschedulable(at) => {
                self.unschedulable.insert((at, sequence, key.clone()));
            }
            Part::InFlight => self.in_flight += 1,
            Part::Gated => {}
        }
        let entry = Entry {
            pod,
            part,
            sequence,
            events_before: self.events_forgotten + self.events.len() as u64,
        };
        self.entries.insert(key, entry);
    }

    /// Active, or backoff when its time is not over.
    fn wake(&mut self, key: Key, pod: QueuedPod, now: Instant) {
        let until = pod.tried.map(|t| t + self.backoff_of(&pod));
        match until {
            Some(until) if until > now => self.enter(key, pod, Part::Backoff(until)),
            _ => self.enter(key, pod, Part::Active),
        }
    }

    /// A pod that wants a node came. `gated` keeps it aside.
    pub fn add(&mut self, info: Arc<PodInfo>, gated: bool, now: Instant) {
        let key = info.key.clone();
        self.leave(&key);
        let pod = QueuedPod {
            info,
            attempts: 0,
            refused_by: BTreeSet::new(),
            since: now,
            tried: None,
            failed: false,
        };
        self.enter(key, pod, if gated { Part::Gated } else { Part::Active });
    }

    /// A waiting pod changed; `matters` when the change may make it fit.
    pub fn update(&mut self, info: Arc<PodInfo>, gated: bool, matters: bool, now: Instant) {
        let key = info.key.clone();
        let Some(e) = self.entries.get_mut(&key) else {
            return self.add(info, gated, now);
        };
        let same = e.pod.info.uid() == info.uid();
        if !same {
            return self.add(info, gated, now);
        }
        if e.part == Part::InFlight {
            e.pod.info = info;
            if matters {
                self.events.push(ClusterEvent::Unknown);
            }
            return;
        }
        let was = e.part;
        let mut pod = e.pod.clone();
        self.leave(&key);
        pod.info = info;
        match was {
            _ if gated => self.enter(key, pod, Part::Gated),
            Part::Gated => self.enter(key, pod, Part::Active),
            Part::Unschedulable(_) if matters => self.wake(key, pod, now),
            part => self.enter(key, pod, part),
        }
    }

    /// A pod in flight changed: if it comes back, it comes back as it is now.
    pub fn refresh_in_flight(&mut self, info: Arc<PodInfo>) {
        if let Some(e) = self.entries.get_mut(&info.key)
            && e.part == Part::InFlight
            && e.pod.info.uid() == info.uid()
        {
            e.pod.info = info;
        }
    }

    pub fn remove(&mut self, key: &str) {
        if let Some((key, _)) = self.entries.get_key_value(key).map(|(k, e)| (k.clone(), e.part)) {
            self.leave(&key);
            self.entries.remove(&key);
        }
    }

    /// Takes the next pod. When none is active, one that was refused need not sit out its backoff.
    pub fn pop(&mut self, now: Instant) -> Option<QueuedPod> {
        self.tick(now);
        let key = match self.active.first() {
            Some((_, _, _, key)) => key.clone(),
            None => self
                .backoff
                .iter()
                .map(|(_, _, k)| k)
                .find(|k| self.entries.get(*k).is_some_and(|e| !e.pod.failed))?
                .clone(),
        };
        let mut pod = self.entries.get(&key)?.pod.clone();
        self.leave(&key);
        pod.attempts += 1;
        self.enter(key, pod.clone(), Part::InFlight);
        Some(pod)
    }

    /// Moves what has waited long enough.
    fn tick(&mut self, now: Instant) {
        while let Some((_, _, key)) = self.backoff.first().filter(|(at, _, _)| *at <= now).cloned() {
            self.activate(&key);
        }
        while let Some((_, _, key)) = self.unschedulable.first().filter(|(at, _, _)| *at <= now).cloned() {
            self.activate(&key);
        }
    }

    fn activate(&mut self, key: &Key) {
        if let Some(pod) = self.entries.get(key).map(|e| e.pod.clone()) {
            self.leave(key);
            self.enter(key.clone(), pod, Part::Active);
        }
    }

    /// When [`Queue::pop`] will have something that it does not have now, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let b = self.backoff.first().map(|(at, _, _)| *at);
        let u = self.unschedulable.first().map(|(at, _, _)| *at);
        b.into_iter().chain(u).min()
    }

    /// The pod in flight has its node, or is no longer wanted.
    pub fn done(&mut self, pod: &QueuedPod) {
        if self.is_in_flight(pod) {
            self.remove(&pod.info.key);
        }
    }

    fn is_in_flight(&self, pod: &QueuedPod) -> bool {
        self.entries
            .get(&pod.info.key)
            .is_some_and(|e| e.part == Part::InFlight && e.pod.info.uid() == pod.info.uid())
    }

    /// The pod in flight was refused by `refused_by`, or the attempt failed (`None`): it waits. Returns false
    /// when it is gone or replaced meanwhile.
    pub fn retry(
        &mut self,
        pod: &QueuedPod,
        refused_by: Option<BTreeSet<&'static str>>,
        now: Instant,
        hint: Hint<'_>,
    ) -> bool {
        if !self.is_in_flight(pod) {
            return false;
        }
        let key = pod.info.key.clone();
        let Some((mut pod, before)) = self.entries.get(&key).map(|e| (e.pod.clone(), e.events_before)) else {
            return false;
        };
        pod.tried = Some(now);
        pod.failed = refused_by.is_none();
        pod.refused_by = refused_by.unwrap_or_default();
        let mut since = self.events_since(before).iter();
        let helped = !pod.failed && since.any(|e| hint(&pod.info, &pod.refused_by, e));
        self.leave(&key);
        if pod.failed || helped {
            self.wake(key, pod, now);
        } else {
            self.enter(key, pod, Part::Unschedulable(now + UNSCHEDULABLE_MAX));
        }
        true
    }

    /// Something happened: wakes the pods that it may help, and no other.
    pub fn on_event(&mut self, event: ClusterEvent, now: Instant, hint: Hint<'_>) {
        let woken: Vec<Key> = self
            .unschedulable
            .iter()
            .filter_map(|(_, _, k)| {
                let e = self.entries.get(k)?;
                hint(&e.pod.info, &e.pod.refused_by, &event).then(|| k.clone())
            })
            .collect();
        for key in woken {
            if let Some(pod) = self.entries.get(&key).map(|e| e.pod.clone()) {
                self.leave(&key);
                self.wake(key, pod, now);
            }
        }
        if self.in_flight > 0 {
            if self.events.len() >= IN_FLIGHT_EVENTS_MAX {
                // The one that stands for all is the newest, so that it counts for everybody.
                self.forget_events();
                self.events.push(ClusterEvent::Unknown);
            } else {
                self.events.push(event);
            }
        }
    }

    /// Sizes of active, backoff, unschedulable and in flight.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (
            self.active.len(),
            self.backoff.len(),
            self.unschedulable.len(),
            self.in_flight,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let p = json!({"metadata": {"namespace": "d", "name": name, "uid": name}, "spec": {"containers": [], "priority": priority}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(p).unwrap())))
    }
    fn queue() -> Queue {
        Queue::new(Duration::from_secs(1), Duration::from_secs(10))
    }
    fn fit() -> Option<BTreeSet<&'static str>> {
        Some(BTreeSet::from(["Fit"]))
    }
    const NEVER: Hint<'static> = &|_, _, _| false;
    const ALWAYS: Hint<'static> = &|_, _, _| true;

    #[test]
    fn priority_then_age() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        q.add(pod("b", 0), false, t + Duration::from_millis(1));
        q.add(pod("c", 5), false, t + Duration::from_millis(2));
        let mut names = Vec::new();
        while let Some(p) = q.pop(t) {
            names.push(p.info.name().to_owned());
            q.done(&p);
        }
        assert_eq!(names, ["c", "a", "b"]);
    }

    #[test]
    fn a_refused_pod_waits_for_an_event_and_then_for_its_backoff() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        let p = q.pop(t).unwrap();
        assert!(q.retry(&p, fit(), t, NEVER));
        assert!(q.pop(t + Duration::from_secs(60)).is_none());
        q.on_event(ClusterEvent::Unknown, t + Duration::from_millis(10), NEVER);
        assert_eq!(q.sizes(), (0, 0, 1, 0));
        q.on_event(ClusterEvent::Unknown, t + Duration::from_millis(10), ALWAYS);
        assert_eq!(q.sizes(), (0, 1, 0, 0));
        assert_eq!(q.next_deadline(), Some(t + Duration::from_secs(1)));
        assert_eq!(q.pop(t + Duration::from_secs(1)).unwrap().attempts, 2);
    }

    #[test]
    fn a_failed_attempt_backs_off_from_one_to_ten_seconds() {
        let (mut q, mut t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let p = q.pop(t).unwrap();
            q.retry(&p, None, t, NEVER);
            assert!(q.pop(t).is_none());
            let at = q.next_deadline().unwrap();
            waits.push((at - t).as_secs());
            t = at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn an_event_during_the_attempt_is_not_missed() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        let p = q.pop(t).unwrap();
        q.on_event(ClusterEvent::Unknown, t, ALWAYS);
        q.retry(&p, fit(), t, ALWAYS);
        assert_eq!(q.sizes(), (0, 1, 0, 0));
    }

    #[test]
    fn an_event_before_the_attempt_does_not_wake_the_pod_again_and_again() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 5), false, t);
        let binding = q.pop(t).unwrap();
        q.on_event(ClusterEvent::Unknown, t, ALWAYS);
        q.add(pod("b", 0), false, t);
        let refused = q.pop(t).unwrap();
        q.retry(&refused, fit(), t, ALWAYS);
        assert_eq!(q.sizes(), (0, 0, 1, 1), "its snapshot had seen the event");
        assert!(q.pop(t).is_none());
        // One that is told while it is in flight wakes it, however many were forgotten for their number.
        q.on_event(ClusterEvent::Unknown, t, ALWAYS);
        let again = q.pop(t).unwrap();
        for _ in 0..2 * IN_FLIGHT_EVENTS_MAX {
            q.on_event(ClusterEvent::Unknown, t, ALWAYS);
        }
        q.retry(&again, fit(), t, ALWAYS);
        assert_eq!(q.sizes(), (0, 1, 0, 1));
        q.done(&binding);
    }

    #[test]
    fn a_pod_deleted_in_flight_does_not_come_back() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        let p = q.pop(t).unwrap();
        q.remove("d/a");
        assert!(!q.retry(&p, None, t, NEVER));
        assert_eq!(q.sizes(), (0, 0, 0, 0));
    }

    #[test]
    fn a_gated_pod_enters_when_its_gates_go() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), true, t);
        assert!(q.pop(t).is_none());
        q.update(pod("a", 0), false, true, t);
        assert_eq!(q.pop(t).unwrap().info.name(), "a");
    }

    #[test]
    fn nothing_stays_unschedulable_for_ever() {
        let (mut q, t) = (queue(), Instant::now());
        q.add(pod("a", 0), false, t);
        let p = q.pop(t).unwrap();
        q.retry(&p, fit(), t, NEVER);
        assert_eq!(q.next_deadline(), Some(t + UNSCHEDULABLE_MAX));
        assert!(q.pop(t + UNSCHEDULABLE_MAX).is_some());
    }
}
