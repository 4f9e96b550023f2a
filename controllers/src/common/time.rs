//! The time as the API keeps it: whole seconds.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

pub fn now() -> Time {
    truncate(Timestamp::now())
}

pub fn truncate(t: Timestamp) -> Time {
    Time(Timestamp::from_second(t.as_second()).unwrap_or(t))
}

/// How long from `now` until `start + seconds`; `None` once that has passed.
pub fn remaining(start: &Time, seconds: i64, now: Timestamp) -> Option<Duration> {
    let end_ms = start.0.as_millisecond().saturating_add(seconds.saturating_mul(1000));
    let left_ms = end_ms.saturating_sub(now.as_millisecond());
    u64::try_from(left_ms)
        .ok()
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
}
