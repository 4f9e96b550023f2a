//! Peer URLs: what is one, and when two lists name the same member.

use http::Uri;
use std::collections::BTreeSet;

/// URLs as a member is known by: trimmed, checked and sorted. The error says what is wrong with which.
pub fn checked(urls: &[String]) -> Result<Vec<String>, String> {
    if urls.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    let mut all = urls
        .iter()
        .map(|url| check(url.trim()))
        .collect::<Result<Vec<_>, _>>()?;
    all.sort();
    Ok(all)
}

fn check(url: &str) -> Result<String, String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("URL scheme must be http, https, unix, or unixs: {url}"))?;
    match scheme {
        "unix" | "unixs" => Ok(url.to_owned()),
        "http" | "https" => {
            let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
            let has_port = uri.port().is_some() && uri.host().is_some();
            if !has_port {
                return Err(format!("URL address does not have the form \"host:port\": {url}"));
            }
            if rest.contains(['/', '?', '#']) {
                return Err(format!("URL must not contain a path: {url}"));
            }
            Ok(url.to_owned())
        }
        _ => Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
}

/// Whether two lists are the same URLs, by text or by the addresses that their hosts resolve to.
pub async fn same(left: &[String], right: &[String]) -> bool {
    let texts = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
    if texts(left) == texts(right) {
        return true;
    }
    if left.len() != right.len() {
        return false;
    }
    match (resolved(left).await, resolved(right).await) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

async fn resolved(urls: &[String]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for url in urls {
        let uri: Uri = url.parse().ok()?;
        let (host, port) = (uri.host()?.trim_matches(['[', ']']), uri.port_u16()?);
        let scheme = uri.scheme_str()?;
        let addr = tokio::net::lookup_host((host, port)).await.ok()?.min()?;
        all.insert(format!("{scheme}://{addr}"));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judge(url: &str) -> Result<Vec<String>, String> {
        checked(&[url.to_owned()])
    }

    #[test]
    fn what_is_no_peer_url_is_said() {
        assert!(checked(&[]).is_err());
        assert!(judge("127.0.0.1:2380").is_err());
        assert!(judge("ftp://127.0.0.1:2380").is_err());
        assert!(judge("http://127.0.0.1").unwrap_err().contains("host:port"));
        assert!(judge("http://127.0.0.1:2380/x").unwrap_err().contains("path"));
        assert!(judge("http://:port").is_err());
        assert_eq!(judge(" http://a:1 ").unwrap(), ["http://a:1"]);
        assert_eq!(judge("https://[::1]:2380").unwrap(), ["https://[::1]:2380"]);
        assert_eq!(judge("unix://sock").unwrap(), ["unix://sock"]);
    }

    #[tokio::test]
    async fn names_that_resolve_to_the_same_address_are_the_same() {
        let list = |url: &str| vec![url.to_owned()];
        assert!(same(&list("http://127.0.0.1:1"), &list("http://127.0.0.1:1")).await);
        assert!(same(&list("http://localhost:1"), &list("http://127.0.0.1:1")).await || cfg!(not(target_os = "linux")));
        assert!(!same(&list("http://127.0.0.1:1"), &list("http://127.0.0.1:2")).await);
        assert!(!same(&list("http://127.0.0.1:1"), &list("https://127.0.0.1:1")).await);
    }
}
