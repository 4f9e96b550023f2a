//! Counts of health checks.

use super::instruments::{Counter, Gauge};
use super::page::{Page, float};
use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Default)]
struct Outcomes {
    last: Gauge,
    good: Counter,
    bad: Counter,
}

/// Of `/health`, and of each check of `/livez` and `/readyz`.
#[derive(Default)]
pub struct HealthCounts {
    successes: Counter,
    failures: Counter,
    /// By set and check: there are five.
    checks: Mutex<BTreeMap<(&'static str, &'static str), Outcomes>>,
}

impl HealthCounts {
    pub fn count_whole(&self, good: bool) {
        if good { &self.successes } else { &self.failures }.inc();
    }

    pub fn count(&self, set: &'static str, check: &'static str, good: bool) {
        let mut checks = self.checks.lock();
        let outcomes = checks.entry((set, check)).or_default();
        outcomes.last.set(i64::from(good));
        if good { &outcomes.good } else { &outcomes.bad }.inc();
    }

    pub fn write(&self, page: &mut Page) {
        page.counter("etcd_server_health_failures", self.failures.get());
        page.counter("etcd_server_health_success", self.successes.get());
        let checks = self.checks.lock();
        if checks.is_empty() {
            return;
        }
        page.family("etcd_server_healthcheck", "gauge");
        for ((set, check), outcomes) in checks.iter() {
            let last = if outcomes.last.get() > 0 { 1.0 } else { 0.0 };
            page.sample("etcd_server_healthcheck", &[("name", check), ("type", set)], last);
        }
        page.family("etcd_server_healthchecks_total", "counter");
        for ((set, check), outcomes) in checks.iter() {
            for (status, counter) in [("error", &outcomes.bad), ("success", &outcomes.good)] {
                if counter.get() > 0 {
                    let labels = [("name", *check), ("status", status), ("type", *set)];
                    page.sample("etcd_server_healthchecks_total", &labels, float(counter.get()));
                }
            }
        }
    }
}
