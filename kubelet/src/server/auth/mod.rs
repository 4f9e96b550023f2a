//! Who calls, and whether they may: client certificates and bearer tokens, then a SubjectAccessReview
//! (upstream: cmd/kubelet/app/auth.go). There are no anonymous callers.
mod attributes;
mod cache;

pub use attributes::{Attributes, attributes};

use super::answer::Refusal;
use cache::Cache;
use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use keelson_client::{Api, Client};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Upstream's defaults of the webhook caches.
const TOKEN_KEPT: Duration = Duration::from_secs(120);
const ALLOWED_KEPT: Duration = Duration::from_secs(300);
const DENIED_KEPT: Duration = Duration::from_secs(30);
const TOKENS_MAX: usize = 256;
const DECISIONS_MAX: usize = 1024;
/// A ServiceAccount's token is about 1 KiB.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// One question to the API server.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The subject of a certificate that the TLS layer has verified; `None` when it names nobody.
pub fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject
        .iter_common_name()
        .next()?
        .as_str()
        .ok()
        .filter(|n| !n.is_empty())?;
    let organizations = subject.iter_organization().filter_map(|o| o.as_str().ok());
    Some(User {
        name: name.to_owned(),
        groups: organizations
            .chain(["system:authenticated"])
            .map(str::to_owned)
            .collect(),
        ..User::default()
    })
}

type Question = (User, &'static str, &'static str);

pub struct Auth {
    client: Client,
    node_name: String,
    tokens: Cache<[u8; 32], User>,
    decisions: Cache<Question, bool>,
}

impl Auth {
    pub fn new(client: Client, node_name: &str) -> Self {
        Auth {
            client,
            node_name: node_name.to_owned(),
            tokens: Cache::new(TOKENS_MAX),
            decisions: Cache::new(DECISIONS_MAX),
        }
    }

    /// Passes, or says 401, 403 or 500.
    pub async fn check(
        &self,
        certificate: Option<&User>,
        headers: &HeaderMap,
        asked: &Attributes,
    ) -> Result<(), Refusal> {
        let unauthorized = || Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized");
        let user = match certificate {
            Some(u) => u.clone(),
            None => {
                let token = bearer(headers).ok_or_else(unauthorized)?;
                self.user_of_token(token).await.ok_or_else(unauthorized)?
            }
        };
        for subresource in &asked.subresources {
            if self.may(&user, asked.verb, subresource).await? {
                return Ok(());
            }
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])",
                user.name,
                asked.verb,
                asked.subresources.join(" ")
            ),
        ))
    }

    async fn user_of_token(&self, token: &str) -> Option<User> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(u) = self.tokens.get(&key, Instant::now()) {
            return Some(u);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviews = Api::<TokenReview>::all(self.client.clone());
        let asked = tokio::time::timeout(REVIEW_TIMEOUT, reviews.create(&review)).await;
        let status = match asked {
            Ok(Ok(answer)) => answer.status?,
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "review a token");
                return None;
            }
            Err(_) => {
                tracing::warn!("review a token: the API server did not answer");
                return None;
            }
        };
        if status.authenticated != Some(true) {
            return None;
        }
        let info = status.user.unwrap_or_default();
        let user = User {
            name: info.username.filter(|n| !n.is_empty())?,
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        };
        self.tokens.put(key, user.clone(), Instant::now(), TOKEN_KEPT);
        Some(user)
    }

    async fn may(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool, Refusal> {
        let key: Question = (user.clone(), verb, subresource);
        if let Some(allowed) = self.decisions.get(&key, Instant::now()) {
            return Ok(allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node_name.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let asked = tokio::time::timeout(REVIEW_TIMEOUT, reviews.create(&review)).await;
        let failed = |why: &dyn std::fmt::Display| {
            tracing::warn!(user = user.name, verb, subresource, error = %why, "ask who may");
            let text = format!(
                "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                user.name
            );
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        };
        let answer = match asked {
            Ok(Ok(a)) => a,
            Ok(Err(e)) => return Err(failed(&e)),
            Err(_) => return Err(failed(&"the API server did not answer")),
        };
        let allowed = answer.status.is_some_and(|s| s.allowed && s.denied != Some(true));
        let keep = if allowed { ALLOWED_KEPT } else { DENIED_KEPT };
        self.decisions.put(key, allowed, Instant::now(), keep);
        Ok(allowed)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    fits.then_some(token)
}

#[cfg(test)]
mod tests;
