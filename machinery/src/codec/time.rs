//! Times between RFC 3339 text and seconds with nanoseconds, as `metav1.Time` and `metav1.MicroTime`.

/// Go's zero time, which is JSON `null` and an empty message.
pub(crate) const ZERO_SECONDS: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, beyond which RFC 3339 has no text.
const LAST_SECONDS: i64 = 253_402_300_799;

/// Seconds and nanoseconds of RFC 3339 text, with any offset and fraction.
pub(crate) fn parse(text: &str) -> Option<(i64, u32)> {
    let b = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = b.get(range)?;
        part.iter()
            .try_fold(0_i64, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| b.get(at).is_some_and(|c| wanted.contains(c));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"T") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0_u32;
    if is(at, b".,") {
        at += 1;
        let start = at;
        let mut scale = 100_000_000;
        while let Some(c) = b.get(at).filter(|c| c.is_ascii_digit()) {
            nanos += u32::from(c - b'0') * scale;
            scale /= 10;
            at += 1;
        }
        if at == start {
            return None;
        }
    }
    let offset = if is(at, b"Z") {
        at += 1;
        0
    } else {
        let sign = if is(at, b"+") {
            1
        } else if is(at, b"-") {
            -1
        } else {
            return None;
        };
        let (hours, minutes) = (digits(at + 1..at + 3)?, digits(at + 4..at + 6)?);
        if !is(at + 3, b":") || hours > 23 || minutes > 59 {
            return None;
        }
        at += 6;
        sign * (hours * 3600 + minutes * 60)
    };
    if at != b.len() {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, nanos))
}

/// Appends RFC 3339 text in UTC, with six digits of fraction when `micros` is given.
/// False (and nothing is written) where the time has no such text.
pub(crate) fn format(seconds: i64, micros: Option<u32>, out: &mut Vec<u8>) -> bool {
    if !(ZERO_SECONDS..=LAST_SECONDS).contains(&seconds) {
        return false;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let mut put = |value: i64, width: u32, after: u8| {
        for place in (0..width).rev() {
            out.push(b'0' + (value / 10_i64.pow(place) % 10) as u8);
        }
        out.push(after);
    };
    put(year, 4, b'-');
    put(month, 2, b'-');
    put(day, 2, b'T');
    put(rest / 3600, 2, b':');
    put(rest / 60 % 60, 2, b':');
    match micros {
        Some(micros) => {
            put(rest % 60, 2, b'.');
            put(i64::from(micros), 6, b'Z');
        }
        None => put(rest % 60, 2, b'Z'),
    }
    true
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}
fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"): years begin in March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Go's `time.Duration.String`, e.g. `1m0.5s`.
pub(crate) fn format_duration(nanos: i64) -> String {
    let n = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64| {
        let rest = value % unit;
        if rest == 0 {
            return format!("{}", value / unit);
        }
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{}.{}", value / unit, digits.trim_end_matches('0'))
    };
    match n {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(n, 1_000_000)),
        _ => {
            let (hours, minutes) = (n / 3_600_000_000_000, n / 60_000_000_000 % 60);
            let seconds = fraction(n % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}
/// Go's `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut nanos = whole.checked_mul(unit)?;
        let mut scale = unit;
        for digit in part.chars() {
            scale /= 10;
            nanos = nanos.checked_add(i64::from(digit.to_digit(10)?) * scale)?;
        }
        total = total.checked_add(nanos)?;
        rest = tail;
    }
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(seconds: i64, micros: Option<u32>) -> String {
        let mut out = Vec::new();
        assert!(format(seconds, micros, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(
            parse("2024-02-29T12:34:56.789+02:00"),
            Some((1_709_202_896, 789_000_000))
        );
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some((ZERO_SECONDS, 0)));
        assert_eq!(text(1_709_202_896, None), "2024-02-29T10:34:56Z");
        assert_eq!(text(1_709_202_896, Some(42)), "2024-02-29T10:34:56.000042Z");
        assert_eq!(text(LAST_SECONDS, None), "9999-12-31T23:59:59Z");
        assert!(!format(LAST_SECONDS + 1, None, &mut Vec::new()));
        for day in (-700_000..2_900_000).step_by(97) {
            let seconds = day * 86_400 + 3_723;
            assert_eq!(parse(&text(seconds, None)), Some((seconds, 0)));
        }
        for bad in [
            "",
            "2024",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (nanos, text) in [
            (0, "0s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (1_500_000_000, "1.5s"),
            (1_500_000, "1.5ms"),
            (-2_000, "-2µs"),
            (7, "7ns"),
        ] {
            assert_eq!(format_duration(nanos), text);
            assert_eq!(parse_duration(text), Some(nanos));
        }
        assert_eq!(parse_duration("1"), None);
        assert_eq!(parse_duration("1x"), None);
        assert_eq!(parse_duration("999999999h"), None);
    }
}
