//! JSON text, written as Go's `encoding/json` writes it.
use base64::Engine;
use std::borrow::Cow;

/// Appends a JSON string. Bytes that are not UTF-8 become U+FFFD, as in Go.
pub(crate) fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    };
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

pub(crate) fn put_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// As Go: no fraction where there is none, an exponent only for very small and very large numbers.
/// JSON has neither NaN nor infinity; Go refuses them, and here they become null.
pub(crate) fn put_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                out.extend_from_slice(format!("{digits}e+{exponent}").as_bytes());
            }
            _ => out.extend_from_slice(text.as_bytes()),
        }
    } else {
        out.extend_from_slice(format!("{value}").as_bytes());
    }
}

pub(crate) fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let at = out.len();
    let engine = &base64::engine::general_purpose::STANDARD;
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    // The slice has exactly the room that the padded text needs.
    let written = out
        .get_mut(at..)
        .and_then(|slot| engine.encode_slice(bytes, slot).ok())
        .unwrap_or(0);
    out.truncate(at + written);
    out.push(b'"');
}

/// Standard alphabet with padding; line breaks are ignored, as in Go.
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    let engine = &base64::engine::general_purpose::STANDARD;
    if text.contains(['\r', '\n']) {
        return engine.decode(text.replace(['\r', '\n'], "")).ok();
    }
    engine.decode(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings() {
        for text in [
            "",
            "plain",
            "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}",
            "héllo ✓ 🦀",
            "\u{7f}",
        ] {
            let json = written(|o| put_string(text.as_bytes(), o));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        assert_eq!(written(|o| put_string(b"a\xffb", o)), "\"a\u{fffd}b\"");
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(written(|o| put_double(value, o)), text);
        }
    }

    #[test]
    fn base64() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"abcd"] {
            let json = written(|o| put_base64(bytes, o));
            assert_eq!(parse_base64(json.trim_matches('"')).unwrap(), bytes);
        }
        assert_eq!(parse_base64("YWJj\nZA==").unwrap(), b"abcd");
        assert!(parse_base64("YWJjZA").is_none());
    }
}
