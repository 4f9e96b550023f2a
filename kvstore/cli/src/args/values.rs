//! Values of flags as Go's flag package reads them: numbers with a base prefix, truth in six spellings, durations.

use crate::settings::Span;

pub const PARSE_ERROR: &str = "parse error";
pub const RANGE_ERROR: &str = "value out of range";

pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn split_base(digits: &str) -> (u32, &str) {
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let rest = digits.get(2..).unwrap_or_default();
    match lower.as_deref() {
        Some("0x") => (16, rest),
        Some("0o") => (8, rest),
        Some("0b") => (2, rest),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..).unwrap_or_default()),
        _ => (10, digits),
    }
}

fn magnitude(digits: &str) -> Result<u64, &'static str> {
    let (base, digits) = split_base(digits);
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(PARSE_ERROR);
    }
    u64::from_str_radix(&digits, base).map_err(|_| RANGE_ERROR)
}

pub fn parse_uint(text: &str) -> Result<u64, &'static str> {
    magnitude(text)
}

pub fn parse_int(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = i128::from(magnitude(digits)?);
    i64::try_from(if negative { -value } else { value }).map_err(|_| RANGE_ERROR)
}

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
];

/// `1h30m`, `-1.5s`, `0`; the error is the one that Go's `time` gives.
pub fn parse_span(text: &str) -> Result<Span, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, text.get(1..).unwrap_or_default()),
        Some(b'+') => (1.0, text.get(1..).unwrap_or_default()),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(Span::default());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
        nanos += number * scale.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        rest = after;
    }
    // 2^63 nanoseconds are 292 years.
    if nanos >= 9.2e18 {
        return Err(invalid());
    }
    #[allow(clippy::cast_possible_truncation)]
    let nanos = (sign * nanos).round() as i64;
    Ok(Span { nanos })
}

fn with_fraction(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

impl std::fmt::Display for Span {
    /// As Go writes it: `1m0s`, `1.5s`, `100ms`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.nanos.unsigned_abs();
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", with_fraction(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", with_fraction(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = with_fraction(nanos % 60_000_000_000, 1_000_000_000);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, minutes) => write!(f, "{minutes}m{seconds}s"),
                    (hours, minutes) => write!(f, "{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_go_does() {
        for (text, written) in [
            ("0", "0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("2h", "2h0m0s"),
            ("-300ms", "-300ms"),
            ("1h1m1.001s", "1h1m1.001s"),
            ("1500us", "1.5ms"),
            (".5s", "500ms"),
        ] {
            assert_eq!(parse_span(text).unwrap().to_string(), written, "{text}");
        }
        let error = |text| parse_span(text).unwrap_err();
        assert_eq!(error("foo"), r#"time: invalid duration "foo""#);
        assert_eq!(error("5"), r#"time: missing unit in duration "5""#);
        assert_eq!(error("5x"), r#"time: unknown unit "x" in duration "5x""#);
        assert_eq!(error(""), r#"time: invalid duration """#);
        assert!(parse_span("99999999h").is_err());
    }

    #[test]
    fn numbers_have_bases_and_bounds() {
        assert_eq!(parse_uint("0x10"), Ok(16));
        assert_eq!(parse_uint("010"), Ok(8));
        assert_eq!(parse_uint("1_000"), Ok(1000));
        assert_eq!(parse_uint("-1"), Err(PARSE_ERROR));
        assert_eq!(parse_uint("18446744073709551616"), Err(RANGE_ERROR));
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_int("9223372036854775808"), Err(RANGE_ERROR));
    }
}
