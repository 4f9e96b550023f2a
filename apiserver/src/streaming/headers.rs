//! Which headers travel (RFC 9110 section 7.6.1; upstream: apimachinery/pkg/util/proxy).

use crate::auth::authenticate::without_token_protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers about one connection. `Upgrade` and `Connection` are kept by who upgrades.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Whether the request asks to leave HTTP.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let asks = |v: &HeaderValue| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("upgrade"));
    headers.contains_key(header::UPGRADE) && headers.get_all(header::CONNECTION).iter().any(asks)
}

/// Drops what is about one connection: the standard ones, and those that `Connection` names.
pub(super) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| HeaderName::try_from(n.trim()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Drops what says who is asking: it is for this server and for nobody behind it.
pub(super) fn drop_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|n| {
            let n = n.as_str();
            n.starts_with("impersonate-") || n.starts_with("x-remote-")
        })
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
    drop_bearer_protocols(headers);
}

/// A browser's WebSocket carries its token among the subprotocols.
fn drop_bearer_protocols(headers: &mut HeaderMap) {
    let offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let kept: Vec<String> = offered.map(without_token_protocol).filter(|p| !p.is_empty()).collect();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    for v in kept.iter().filter_map(|p| HeaderValue::from_str(p).ok()) {
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, v);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut m = HeaderMap::new();
        for (k, v) in pairs {
            m.append(HeaderName::try_from(*k).unwrap(), v.parse().unwrap());
        }
        m
    }
    fn names(m: &HeaderMap) -> Vec<&str> {
        m.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_is_about_a_connection_stays_on_it() {
        let mut m = map(&[
            ("Connection", "close, X-Mine"),
            ("X-Mine", "1"),
            ("TE", "trailers"),
            ("Accept", "a"),
        ]);
        drop_hop_by_hop(&mut m);
        assert_eq!(names(&m), ["accept"]);
    }

    #[test]
    fn credentials_stay_here() {
        let mut m = map(&[
            ("Authorization", "Bearer x"),
            ("Impersonate-User", "a"),
            ("Impersonate-Extra-scopes", "a"),
            ("X-Remote-User", "a"),
            ("X-Remote-Extra-a", "a"),
            ("Cookie", "mine=1"),
            (
                "Sec-WebSocket-Protocol",
                "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io",
            ),
        ]);
        drop_credentials(&mut m);
        assert_eq!(names(&m), ["cookie", "sec-websocket-protocol"]);
        assert_eq!(m["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert!(is_upgrade(&map(&[
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket")
        ])));
        assert!(!is_upgrade(&map(&[("Connection", "keep-alive"), ("Upgrade", "h2c")])));
        assert!(!is_upgrade(&map(&[("Connection", "Upgrade")])));
    }
}
