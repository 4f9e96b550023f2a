//! What a request is about, from its method and path (upstream: apiserver/pkg/endpoints/request/requestinfo.go).

use crate::auth::{Attributes, UserInfo};
use http::Method;
use std::borrow::Cow;

/// Query parameters, decoded; the first value of a name counts, but for those that repeat.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        Query(
            text.split('&')
                .filter(|p| !p.is_empty())
                .map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    (unescape(k, true), unescape(v, true))
                })
                .collect(),
        )
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// Go's idea of a true boolean parameter: present and neither `false` nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// Percent-decoding; `+` is a space in queries only.
pub fn unescape(text: &str, plus: bool) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let b = text.as_bytes();
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while let Some(&c) = b.get(i) {
        let code = b
            .get(i + 1..i + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (c, code) {
            (b'%', Some(v)) => {
                out.push(v);
                i += 3;
                continue;
            }
            (b'+', _) if plus => out.push(b' '),
            _ => out.push(c),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A parsed request line.
#[derive(Clone, Debug, Default)]
pub struct Info {
    pub path: String,
    pub query: Query,
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// get, list, watch, create, update, patch, delete, deletecollection, or the method in lower case.
    pub verb: String,
}

/// Subresources that swallow the rest of the path.
const WITH_PATH: [&str; 1] = ["proxy"];

impl Info {
    pub fn parse(method: &Method, uri: &http::Uri) -> Self {
        let path = uri.path().to_owned();
        let mut info = Info {
            query: Query::parse(uri.query().unwrap_or("")),
            verb: method.as_str().to_ascii_lowercase(),
            path,
            ..Info::default()
        };
        let path = info.path.clone();
        let mut parts: Vec<Cow<'_, str>> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| unescape(p, false).into())
            .collect();
        let prefix = match parts.first().map(AsRef::as_ref) {
            Some("api") if parts.len() >= 3 => 1,
            Some("apis") if parts.len() >= 4 => 2,
            _ => return info,
        };
        info.group = if prefix == 2 {
            parts[1].to_string()
        } else {
            String::new()
        };
        info.version = parts[prefix].to_string();
        parts.drain(..=prefix);
        info.is_resource = true;
        let mut watch = false;
        if parts.first().is_some_and(|p| p == "watch") && parts.len() > 1 {
            watch = true;
            parts.remove(0);
        }
        // `/namespaces/x` is the object itself; `/namespaces/x/pods` is in it.
        if parts.first().is_some_and(|p| p == "namespaces") && parts.len() >= 2 {
            info.namespace = parts[1].to_string();
            let own = parts.len() == 2 || (parts.len() == 3 && matches!(parts[2].as_ref(), "status" | "finalize"));
            if !own {
                parts.drain(..2);
            }
        }
        let mut rest = parts.into_iter().map(Cow::into_owned);
        info.resource = rest.next().unwrap_or_default();
        info.name = rest.next().unwrap_or_default();
        info.subresource = rest.next().unwrap_or_default();
        if !WITH_PATH.contains(&info.subresource.as_str()) && rest.next().is_some() {
            // Deeper than anything that is served.
            info.is_resource = false;
        }
        info.verb = match *method {
            Method::GET | Method::HEAD => {
                let watched = watch || (info.query.flag("watch") && info.subresource.is_empty());
                match (watched, info.name.is_empty()) {
                    (true, true) => "watch",
                    (true, false) if watch => "watch",
                    (_, true) => "list",
                    _ => "get",
                }
            }
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if info.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        // A list or watch of one name is authorized as that object's.
        if matches!(info.verb.as_str(), "list" | "watch")
            && info.name.is_empty()
            && let Some(name) = info.query.get("fieldSelector").and_then(single_name)
        {
            info.name = name;
        }
        info
    }

    pub fn attributes(&self, user: UserInfo) -> Attributes {
        Attributes {
            user,
            verb: self.verb.clone(),
            namespace: self.namespace.clone(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            name: self.name.clone(),
            is_resource: self.is_resource,
            path: self.path.clone(),
        }
    }
}

fn single_name(selector: &str) -> Option<String> {
    let parsed = keelson_machinery::labels::FieldSelector::parse(selector).ok()?;
    parsed
        .terms
        .iter()
        .find(|(path, equal, v)| path == "metadata.name" && *equal && !v.is_empty())
        .map(|(_, _, v)| v.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_and_methods_become_verbs_and_resources() {
        let cases = [
            ("GET", "/api/v1/pods", "list pods ns= name= sub="),
            ("GET", "/api/v1/namespaces/a/pods/b", "get pods ns=a name=b sub="),
            ("GET", "/api/v1/namespaces/a", "get namespaces ns=a name=a sub="),
            ("GET", "/api/v1/namespaces", "list namespaces ns= name= sub="),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "update namespaces ns=a name=a sub=finalize",
            ),
            (
                "GET",
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "get deployments ns=a name=b sub=scale",
            ),
            ("GET", "/api/v1/pods?watch=true", "watch pods ns= name= sub="),
            ("GET", "/api/v1/pods?watch=false", "list pods ns= name= sub="),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch pods ns=a name= sub="),
            (
                "GET",
                "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Db",
                "watch pods ns=a name=b sub=",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                "deletecollection pods ns=a name= sub=",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/binding",
                "create pods ns=a name=b sub=binding",
            ),
            ("GET", "/healthz", "get  ns= name= sub="),
            ("GET", "/apis/apps/v1", "get  ns= name= sub="),
        ];
        for (method, uri, expected) in cases {
            let i = Info::parse(&method.parse().unwrap(), &uri.parse().unwrap());
            let text = format!(
                "{} {} ns={} name={} sub={}",
                i.verb, i.resource, i.namespace, i.name, i.subresource
            );
            assert_eq!(text, expected, "{method} {uri}");
        }
        let i = Info::parse(
            &Method::GET,
            &"/api/v1/namespaces/a/services/http:b:80/proxy/x/%20y?z=1"
                .parse()
                .unwrap(),
        );
        assert_eq!((i.subresource.as_str(), i.is_resource), ("proxy", true));
    }
}
