//! `sign-method=,pub-key=,priv-key=,ttl=`, in any order; the keys are paths.

use super::keys::Method;
use std::collections::BTreeMap;
use std::time::Duration;

const TTL_DEFAULT: Duration = Duration::from_secs(300);
/// Largest key file, bytes.
const KEY_BYTES_MAX: u64 = 1 << 20;
const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

pub struct JwtOptions {
    pub method: Method,
    pub ttl: Duration,
    /// What is in the files; empty without one.
    pub private: Vec<u8>,
    pub public: Vec<u8>,
}

impl JwtOptions {
    pub fn parse(text: &str) -> Result<JwtOptions, String> {
        Self::parse_or_say(text).map_err(|problem| {
            tracing::error!(error = problem, "problem loading JWT options");
            "auth: invalid auth options".to_owned()
        })
    }

    fn parse_or_say(text: &str) -> Result<JwtOptions, String> {
        let mut options = BTreeMap::new();
        for option in text.split(',').filter(|_| !text.is_empty()) {
            let pair = option.split_once('=').filter(|(_, value)| !value.contains('='));
            let (name, value) = pair.ok_or_else(|| format!("invalid token option: {option:?}"))?;
            if options.insert(name, value).is_some() {
                return Err(format!("invalid token option: {name:?} is given twice"));
            }
        }
        let unknown: Vec<_> = options.keys().filter(|name| !KNOWN.contains(name)).collect();
        if !unknown.is_empty() {
            tracing::warn!(keys = ?unknown, "unknown JWT options");
        }
        let given = |name| options.get(name).copied().unwrap_or_default();
        let ttl = match given("ttl") {
            "" => TTL_DEFAULT,
            text => go_duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))?,
        };
        let (public, private) = (read_key(given("pub-key"))?, read_key(given("priv-key"))?);
        let method = Method::named(given("sign-method")).ok_or("auth: invalid auth signature method")?;
        Ok(JwtOptions {
            method,
            ttl,
            private,
            public,
        })
    }
}

fn read_key(path: &str) -> Result<Vec<u8>, String> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let told = |e: std::io::Error| format!("open {path}: {e}");
    if std::fs::metadata(path).map_err(told)?.len() > KEY_BYTES_MAX {
        return Err(format!("open {path}: larger than {KEY_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(told)
}

/// A duration as Go writes them: numbers with units, from hours to nanoseconds. A negative one is over at once.
fn go_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = behind;
    }
    Some(if negative { Duration::ZERO } else { total })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_gos() {
        let seconds = |text| go_duration(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("10m"), Some(600.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1.5s"), Some(1.5));
        assert_eq!(seconds("250ms"), Some(0.25));
        assert_eq!(
            (seconds("0"), seconds("-5m"), seconds("+2s")),
            (Some(0.0), Some(0.0), Some(2.0))
        );
        for wrong in ["", "x", "5", "-", "m", "5x", "1..2s", ".s", "5 m", "1e400h"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
