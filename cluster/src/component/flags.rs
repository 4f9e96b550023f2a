//! Values of flags in the forms that Go's flags have.

use std::time::Duration;

/// Units of Go's `time.ParseDuration`, in nanoseconds; longer names before those that end them.
const UNITS: [(&str, f64); 6] = [
    ("ms", 1e6),
    ("us", 1e3),
    ("ns", 1.0),
    ("h", 3600e9),
    ("m", 60e9),
    ("s", 1e9),
];

/// `1h30m`, `15s`, `1.5s`, `500ms`; not negative.
///
/// # Errors
/// In Go's words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0.0);
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let (unit, length) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(bad)?;
        nanos += number * length;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(nanos / 1e9).map_err(|_| bad())
}

/// `30000-32767`, both included.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').ok_or("expected hyphen-separated port range")?;
    let port = |t: &str| t.parse::<u16>().map_err(|e| format!("{t:?}: {e}"));
    match (port(first)?, port(last)?) {
        (a, b) if a <= b => Ok((a, b)),
        _ => Err("the first port is above the last".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, ms) in [
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("1m0.5s", 60_500),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "15", "s", "-1s", "1x", "1..5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!(port_range("30000-32767"), Ok((30000, 32767)));
        for text in ["30000", "2-1", "a-b", "1-70000"] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }
}
