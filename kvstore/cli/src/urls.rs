//! URLs as etcd's flags take them: `http`, `https`, `unix` and `unixs`, with host and port, without a path but for
//! sockets. The messages are etcd's.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Peer URLs by member name, as `initial-cluster` lists them.
pub type UrlsMap = BTreeMap<String, Vec<Url>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    pub scheme: String,
    /// Host and port, as written.
    pub host: String,
    pub path: String,
    /// What stands after `unix:` when no slash follows.
    opaque: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Url {
            scheme,
            host,
            path,
            opaque,
        } = self;
        if opaque.is_empty() {
            write!(f, "{scheme}://{host}{path}")
        } else {
            write!(f, "{scheme}:{opaque}")
        }
    }
}

/// What is before the first `:` of a URL, when that is a scheme.
fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => {
                let (scheme, rest) = text.split_at(at);
                return Ok((scheme.to_ascii_lowercase(), rest.strip_prefix(':').unwrap_or(rest)));
            }
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn check_port(colon_port: &str) -> Result<(), String> {
    match colon_port.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        None if colon_port.is_empty() => Ok(()),
        _ => Err(format!("invalid port {colon_port:?} after host")),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        check_port(host.get(end + 1..).unwrap_or_default())?;
    } else if let Some(at) = host.rfind(':') {
        check_port(host.get(at..).unwrap_or_default())?;
    }
    match host
        .chars()
        .find(|c| matches!(c, ' ' | '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' | '\\'))
    {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => Ok(()),
    }
}

impl Url {
    /// One URL, trimmed; the scheme and the form of the host are checked.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let url = Url::split(text).map_err(|e| format!("parse {text:?}: {e}"))?;
        match url.scheme.as_str() {
            "http" | "https" => {
                if url.host_port().is_err() {
                    return Err(format!(r#"URL address does not have the form "host:port": {text}"#));
                }
                if !url.path.is_empty() {
                    return Err(format!("URL must not contain a path: {text}"));
                }
            }
            "unix" | "unixs" => {}
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
        }
        Ok(url)
    }

    fn split(text: &str) -> Result<Url, String> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.split('?').next().unwrap_or_default();
        let (host, path, opaque) = match rest.strip_prefix("//") {
            Some(authority) if !scheme.is_empty() || !authority.starts_with('/') => {
                let end = authority.find('/').unwrap_or(authority.len());
                let (authority, path) = authority.split_at(end);
                // A user in front of the host means nothing to anyone here.
                let host = authority.rsplit('@').next().unwrap_or_default();
                check_host(host)?;
                (host, path, "")
            }
            _ if rest.starts_with('/') => ("", rest, ""),
            _ if !scheme.is_empty() => ("", "", rest),
            _ => {
                if rest.split('/').next().unwrap_or_default().contains(':') {
                    return Err("first path segment in URL cannot contain colon".to_owned());
                }
                ("", rest, "")
            }
        };
        Ok(Url {
            scheme,
            host: host.to_owned(),
            path: path.to_owned(),
            opaque: opaque.to_owned(),
        })
    }

    /// A comma-separated list, sorted, each once.
    pub fn parse_list(text: &str) -> Result<Vec<Url>, String> {
        let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort_by_key(Url::to_string);
        urls.dedup();
        Ok(urls)
    }

    /// Host without brackets, and port.
    pub fn host_port(&self) -> Result<(&str, &str), String> {
        let host = self.host.as_str();
        let problem = |what: &str| format!("address {host}: {what} in address");
        let (name, port) = host.rsplit_once(':').ok_or_else(|| problem("missing port"))?;
        if let Some(inner) = name.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| problem("missing port"))?;
            return Ok((inner, port));
        }
        if name.contains(':') {
            return Err(problem("too many colons"));
        }
        Ok((name, port))
    }

    /// TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme.as_str(), "https" | "unixs")
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.scheme.as_str(), "unix" | "unixs")
    }

    /// Path of a unix socket: what stands where the host would be belongs to it.
    pub fn socket_path(&self) -> String {
        format!("{}{}", self.host, self.path)
    }

    /// The same address with another host.
    pub fn with_host(&self, host: &str, port: &str) -> Url {
        let host = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Url {
            scheme: self.scheme.clone(),
            host,
            path: String::new(),
            opaque: String::new(),
        }
    }
}

/// Addresses to open are numbers, or `localhost`: a name could mean another machine tomorrow.
pub fn check_bind(urls: &[Url]) -> Result<(), String> {
    for url in urls.iter().filter(|u| !u.is_unix()) {
        let (host, _) = url.host_port()?;
        if host != "localhost" && host.parse::<IpAddr>().is_err() {
            return Err(format!("expected IP in URL for binding ({url})"));
        }
    }
    Ok(())
}

/// Addresses to tell others need a host.
pub fn check_host_given(urls: &[Url]) -> Result<(), String> {
    for url in urls.iter().filter(|u| !u.is_unix()) {
        if url.host_port()?.0.is_empty() {
            return Err(format!("unexpected empty host ({url})"));
        }
    }
    Ok(())
}

pub fn join(urls: &[Url]) -> String {
    strings(urls).join(",")
}

pub fn strings(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

/// `name=url,name=url`; a name may come several times.
pub fn parse_cluster(text: &str) -> Result<UrlsMap, String> {
    let mut members = UrlsMap::new();
    for pair in text.split(',').filter(|p| !p.is_empty()) {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        members.entry(name.to_owned()).or_default().push(Url::parse(url)?);
    }
    for urls in members.values_mut() {
        urls.sort_by_key(Url::to_string);
    }
    Ok(members)
}

/// The inverse of [`parse_cluster`], sorted.
pub fn format_cluster(members: &UrlsMap) -> String {
    let pairs = members
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |u| format!("{name}={u}")));
    let mut pairs: Vec<String> = pairs.collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Url::parse_list(text).map(|urls| join(&urls));
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn lists_are_sorted_and_unique() {
        check("http://b:1,http://a:1, http://b:1", Ok("http://a:1,http://b:1"));
        check("HTTPS://[::1]:2379", Ok("https://[::1]:2379"));
        check(
            "unix:///run/etcd.sock,unixs://localhost:1",
            Ok("unix:///run/etcd.sock,unixs://localhost:1"),
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_etcds_words() {
        check("nourl", Err("URL scheme must be http, https, unix, or unixs: nourl"));
        check("", Err("URL scheme must be http, https, unix, or unixs: "));
        check(
            "localhost:1",
            Err("URL scheme must be http, https, unix, or unixs: localhost:1"),
        );
        check(
            "127.0.0.1:1",
            Err(r#"parse "127.0.0.1:1": first path segment in URL cannot contain colon"#),
        );
        check(
            "http://a",
            Err(r#"URL address does not have the form "host:port": http://a"#),
        );
        check("http://a:1/x", Err("URL must not contain a path: http://a:1/x"));
        check("http://a:x", Err(r#"parse "http://a:x": invalid port ":x" after host"#));
        check("http://[::1:1", Err(r#"parse "http://[::1:1": missing ']' in host"#));
        check("://a:1", Err(r#"parse "://a:1": missing protocol scheme"#));
    }

    #[test]
    fn a_cluster_is_read_and_written() {
        let members = parse_cluster("b=http://b:1,a=http://a:2,a=http://a:1").unwrap();
        assert_eq!(format_cluster(&members), "a=http://a:1,a=http://a:2,b=http://b:1");
        assert!(parse_cluster("a").is_err());
        assert!(parse_cluster("").unwrap().is_empty());
    }

    #[test]
    fn names_are_no_addresses_to_open() {
        let check = |text: &str| check_bind(&Url::parse_list(text).unwrap());
        assert!(check("http://localhost:1,http://[::1]:1,unix://x:1").is_ok());
        assert_eq!(
            check("http://foo:2380").unwrap_err(),
            "expected IP in URL for binding (http://foo:2380)"
        );
    }
}
