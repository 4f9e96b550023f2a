//! Continue tokens (upstream: apiserver/pkg/storage/continue.go): base64 of JSON with the revision of the
//! first page and the key, relative to the list's prefix, at which the next one starts.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keelson_machinery::status::ApiError;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";
/// Longest token that is looked at, bytes: two names and some JSON.
const LENGTH_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    start: String,
}

/// `last` is the last key of this page; `revision` -1 continues at whatever is newest then.
pub(super) fn encode(prefix: &[u8], last: &[u8], revision: i64) -> String {
    let relative = last.strip_prefix(prefix).unwrap_or(last);
    encode_start(&format!("{}\0", String::from_utf8_lossy(relative)), revision)
}

fn encode_start(start: &str, revision: i64) -> String {
    let token = Token {
        v: VERSION.into(),
        rv: revision,
        start: start.into(),
    };
    let json = serde_json::to_vec(&token).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// The start key, and the revision: positive, or -1.
pub(super) fn decode(token: &str, prefix: &[u8]) -> Result<(Vec<u8>, i64), ApiError> {
    let bad = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
    if token.len() > LENGTH_MAX {
        return Err(bad("it is too long"));
    }
    // Upstream's tokens have no padding; some clients add it.
    let json = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|e| bad(&e.to_string()))?;
    let t: Token = serde_json::from_slice(&json).map_err(|e| bad(&e.to_string()))?;
    if t.v != VERSION {
        return Err(bad(&format!(
            "server does not recognize this encoded version {:?}",
            t.v
        )));
    }
    if t.rv == 0 || t.rv < -1 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if t.start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // A token is the client's: it must not lead out of the list that was authorized.
    if t.start.starts_with('/')
        || t.start
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(bad(&t.start));
    }
    let mut key = prefix.to_vec();
    key.extend_from_slice(t.start.as_bytes());
    Ok((key, t.rv))
}

/// The token with which a client may go on after its revision was compacted.
pub(super) fn inconsistent(start: &[u8], prefix: &[u8]) -> String {
    let relative = start.strip_prefix(prefix).unwrap_or(start);
    encode_start(&String::from_utf8_lossy(relative), -1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_return_what_they_carry() {
        let token = encode(b"/registry/pods/", b"/registry/pods/ns/a", 42);
        let json = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert_eq!(json, br#"{"v":"meta.k8s.io/v1","rv":42,"start":"ns/a\u0000"}"#);
        assert_eq!(
            decode(&token, b"/registry/pods/").unwrap(),
            (b"/registry/pods/ns/a\0".to_vec(), 42)
        );
    }

    #[test]
    fn tokens_do_not_lead_out_of_their_list() {
        for start in ["../secrets/x", "/x", "a//b", "a/../b", ""] {
            let code = decode(&encode_start(start, 1), b"/registry/pods/ns/").unwrap_err().code;
            assert_eq!(code, 400, "{start:?}");
        }
        assert_eq!(decode("!", b"/").unwrap_err().code, 400);
        assert_eq!(decode(&encode_start("a", 0), b"/").unwrap_err().code, 400);
    }
}
