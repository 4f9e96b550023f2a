//! Who calls, and whether they may: client certificates or tokens, and the API server's word (KEP-2862 for the
//! finer subresources).
use crate::{Error, Result};
use http::{HeaderMap, Method};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use keelson_client::{Api, Client};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use x509_parser::prelude::{FromDer, X509Certificate};

const CACHE_ENTRIES_MAX: usize = 1024;
const TOKEN_TTL: Duration = Duration::from_secs(60);
const ALLOWED_TTL: Duration = Duration::from_secs(60);
/// A right that was just given should not wait long.
const DENIED_TTL: Duration = Duration::from_secs(5);

/// The certificate that the TLS layer has verified.
#[derive(Clone)]
pub struct PeerCertificate(pub Option<CertificateDer<'static>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

pub enum Denied {
    Unauthenticated,
    Forbidden(String),
    Failed(Error),
}

type Cache<K, V> = Mutex<HashMap<K, (V, Instant)>>;

pub struct Authorizer {
    client: Client,
    node: String,
    tokens: Cache<[u8; 32], Option<User>>,
    answers: Cache<(User, &'static str, &'static str), bool>,
}

impl Authorizer {
    pub fn new(client: Client, node: &str) -> Self {
        Authorizer {
            client,
            node: node.to_owned(),
            tokens: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// Returns the caller when the API server lets them do this.
    pub async fn check(
        &self,
        peer: &PeerCertificate,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<User, Denied> {
        let user = match self.authenticate(peer, headers).await.map_err(Denied::Failed)? {
            Some(u) => u,
            None => return Err(Denied::Unauthenticated),
        };
        let verb = verb(method);
        let mut asked = Vec::new();
        for subresource in subresources(path) {
            if self.allowed(&user, verb, subresource).await.map_err(Denied::Failed)? {
                return Ok(user);
            }
            asked.push(*subresource);
        }
        Err(Denied::Forbidden(format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
            user.name,
            asked.join(" ")
        )))
    }

    async fn authenticate(&self, peer: &PeerCertificate, headers: &HeaderMap) -> Result<Option<User>> {
        if let Some(user) = peer.0.as_ref().and_then(user_of) {
            return Ok(Some(user));
        }
        let header = headers.get(http::header::AUTHORIZATION).and_then(|h| h.to_str().ok());
        let Some(token) = header
            .and_then(|h| h.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|t| !t.is_empty())
        else {
            return Ok(None);
        };
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = get(&self.tokens, &key) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: None,
            },
            ..Default::default()
        };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&review).await?;
        let status = answer.status.unwrap_or_default();
        let user = status
            .user
            .filter(|_| status.authenticated == Some(true))
            .map(|u| User {
                name: u.username.unwrap_or_default(),
                uid: u.uid.unwrap_or_default(),
                groups: u.groups.unwrap_or_default(),
            });
        let ttl = if user.is_some() { TOKEN_TTL } else { DENIED_TTL };
        put(&self.tokens, key, user.clone(), ttl);
        Ok(user)
    }

    async fn allowed(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool> {
        let key = (user.clone(), verb, subresource);
        if let Some(known) = get(&self.answers, &key) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: (!user.uid.is_empty()).then(|| user.uid.clone()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&review)
            .await?;
        let allowed = answer.status.is_some_and(|s| s.allowed);
        put(
            &self.answers,
            key,
            allowed,
            if allowed { ALLOWED_TTL } else { DENIED_TTL },
        );
        Ok(allowed)
    }
}

fn get<K: std::hash::Hash + Eq, V: Clone>(cache: &Cache<K, V>, key: &K) -> Option<V> {
    let cache = cache.lock();
    let (value, until) = cache.get(key)?;
    (Instant::now() < *until).then(|| value.clone())
}

fn put<K: std::hash::Hash + Eq, V>(cache: &Cache<K, V>, key: K, value: V, ttl: Duration) {
    let mut cache = cache.lock();
    let now = Instant::now();
    if cache.len() >= CACHE_ENTRIES_MAX {
        cache.retain(|_, (_, until)| now < *until);
    }
    if cache.len() >= CACHE_ENTRIES_MAX {
        cache.clear();
    }
    cache.insert(key, (value, now + ttl));
}

/// CN is the user, each O a group.
fn user_of(cert: &CertificateDer<'static>) -> Option<User> {
    let (_, cert) = X509Certificate::from_der(cert).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok().map(str::to_owned))
        .collect();
    groups.push("system:authenticated".to_owned());
    Some(User {
        name,
        uid: String::new(),
        groups,
    })
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// Any one of them is enough; the finer one is asked first.
fn subresources(path: &str) -> &'static [&'static str] {
    let below = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    if below("/stats") {
        &["stats"]
    } else if below("/metrics") {
        &["metrics"]
    } else if below("/logs") {
        &["log"]
    } else if below("/healthz") {
        &["healthz", "proxy"]
    } else if below("/pods") || below("/runningpods") {
        &["pods", "proxy"]
    } else {
        &["proxy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        assert_eq!(subresources("/metrics/resource"), ["metrics"]);
        assert_eq!(subresources("/metricsx"), ["proxy"]);
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/exec/a/b/c"), ["proxy"]);
        assert_eq!(verb(&Method::POST), "create");
    }
}
