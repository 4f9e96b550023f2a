//! RFC 3339 as Kubernetes writes it: seconds for Time, microseconds for MicroTime, always UTC `Z`.
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::strtime;

/// `metav1.Time`: what is finer than a second is cut off.
pub fn format(t: Timestamp) -> String {
    strtime::format("%Y-%m-%dT%H:%M:%SZ", floor(t)).unwrap_or_else(|_| t.to_string())
}
/// `metav1.MicroTime`
pub fn format_micro(t: Timestamp) -> String {
    strtime::format("%Y-%m-%dT%H:%M:%S%.6fZ", t).unwrap_or_else(|_| t.to_string())
}
/// Any RFC 3339 time, of any zone.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    text.parse::<Timestamp>()
        .map_err(|e| format!("parsing time {text:?}: {e}"))
}
/// The time of `metav1.Time` parts; `None` outside the years that can be written.
pub fn from_parts(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Timestamp::new(seconds, nanos).ok()
}

fn floor(t: Timestamp) -> Timestamp {
    let below = i64::from(t.subsec_nanosecond() < 0);
    Timestamp::from_second(t.as_second() - below).unwrap_or(t)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_and_reads() {
        let t = parse("2026-11-21T07:00:42.987654321+02:00").unwrap();
        assert_eq!(format(t), "2026-11-21T05:00:42Z");
        assert_eq!(format_micro(t), "2026-11-21T05:00:42.987654Z");
        assert_eq!(format(parse("1969-12-31T23:59:59.5Z").unwrap()), "1969-12-31T23:59:59Z");
        assert_eq!(format_micro(from_parts(0, 0).unwrap()), "1970-01-01T00:00:00.000000Z");
        assert!(parse("yesterday").is_err());
        assert!(parse("2026-11-21").is_err());
    }
}
