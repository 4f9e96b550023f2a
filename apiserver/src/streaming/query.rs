//! Query strings (`application/x-www-form-urlencoded`).
use std::fmt::Write;

/// Decoded pairs in order.
pub fn parse(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k), decode(v))
        })
        .collect()
}

fn decode(s: &str) -> String {
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        i += 1;
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = bytes.get(i..i + 2).and_then(|h| std::str::from_utf8(h).ok());
                match pair.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(v) => {
                        out.push(v);
                        i += 2;
                    }
                    None => out.push(b'%'),
                }
            }
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode(s: &str, out: &mut String) {
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(b));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
}

/// `?a=b&c=d`, or nothing.
pub fn format(pairs: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (k, v) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        encode(k, &mut out);
        out.push('=');
        encode(v, &mut out);
    }
    out
}

pub fn get<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(k, v)| k == key && !v.is_empty());
    found.map(|(_, v)| v.as_str())
}

/// Booleans as upstream's conversion reads them: present and neither `false` nor `0`.
pub fn flag(pairs: &[(String, String)], key: &str, default: bool) -> bool {
    let found = pairs.iter().find(|(k, _)| k == key);
    found.map_or(default, |(_, v)| {
        !matches!(v.to_ascii_lowercase().as_str(), "false" | "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let pairs = parse("command=sh&command=-c&command=echo+a%26b%zz&tty=1&stdin=false");
        assert_eq!(pairs[2].1, "echo a&b%zz");
        assert!(flag(&pairs, "tty", false));
        assert!(!flag(&pairs, "stdin", true));
        assert!(flag(&pairs, "stdout", true));
        assert_eq!(get(&pairs, "command"), Some("sh"));
        assert_eq!(get(&pairs, "none"), None);
        assert_eq!(format(&[("a", "b c".into()), ("d", "é".into())]), "?a=b%20c&d=%C3%A9");
        assert_eq!(format(&[]), "");
    }
}
