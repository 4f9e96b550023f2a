//! From a request's credentials to a user: client certificate, then bearer token, then anonymous
//! (upstream: apiserver/pkg/authentication/request/union).
use super::static_tokens::StaticTokens;
use super::tokens::Tokens;
use super::{Authenticator, UserInfo};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use keelson_machinery::status::ApiError;
use std::sync::Arc;

pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
/// Browsers cannot set headers on a WebSocket: the token travels as a subprotocol.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

pub struct Authentication {
    tokens: Arc<Tokens>,
    users: StaticTokens,
}

impl Authentication {
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Authentication {
            tokens,
            users: StaticTokens::default(),
        }
    }

    /// Knows the users of a token file too; they are looked at first, as upstream does.
    #[must_use]
    pub fn with_static_tokens(self, users: StaticTokens) -> Self {
        Authentication { users, ..self }
    }
}

pub fn anonymous() -> UserInfo {
    UserInfo {
        name: ANONYMOUS.into(),
        groups: vec![UNAUTHENTICATED.into()],
        ..UserInfo::default()
    }
}

/// Adds the group of everybody who is somebody.
pub fn authenticated(mut user: UserInfo) -> UserInfo {
    let marked = [AUTHENTICATED, UNAUTHENTICATED];
    if !user.groups.iter().any(|g| marked.contains(&g.as_str())) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

enum Credential {
    None,
    Token(String),
    Broken,
}

fn bearer(headers: &HeaderMap) -> Credential {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let Ok(value) = value.to_str() else {
            return Credential::Broken;
        };
        let mut parts = value.trim().splitn(2, ' ');
        let scheme = parts.next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") {
            return match parts.next().map(str::trim) {
                Some(t) if !t.is_empty() => Credential::Token(t.to_owned()),
                _ => Credential::None,
            };
        }
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    for p in protocols.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')) {
        if let Some(encoded) = p.trim().strip_prefix(PROTOCOL_PREFIX) {
            let token = URL_SAFE_NO_PAD
                .decode(encoded)
                .ok()
                .and_then(|b| String::from_utf8(b).ok());
            return token.map_or(Credential::Broken, Credential::Token);
        }
    }
    Credential::None
}

/// The WebSocket subprotocols to pass on: without the one that carried the token.
pub fn without_token_protocol(value: &str) -> String {
    let kept = value
        .split(',')
        .map(str::trim)
        .filter(|p| !p.starts_with(PROTOCOL_PREFIX));
    kept.collect::<Vec<_>>().join(", ")
}

#[async_trait::async_trait]
impl Authenticator for Authentication {
    async fn authenticate(&self, peer: Option<&UserInfo>, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
        if let Some(user) = peer {
            return Ok(authenticated(user.clone()));
        }
        match bearer(headers) {
            Credential::None => Ok(anonymous()),
            Credential::Broken => Err(ApiError::unauthorized()),
            Credential::Token(t) => {
                if let Some(user) = self.users.user(&t) {
                    return Ok(authenticated(user));
                }
                match self.tokens.verify(&t, &[]).await? {
                    Some(v) => Ok(authenticated(v.user)),
                    None => Err(ApiError::unauthorized()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::objects::memory::Memory;
    use serde_json::json;

    #[tokio::test]
    async fn certificate_token_or_anonymous() {
        let m = Memory::default();
        m.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "bot", "namespace": "a", "uid": "u"}}),
        );
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let tokens = Arc::new(Tokens::new(pem.as_bytes(), "https://x", Arc::new(m)).unwrap());
        let token = tokens.request("a", "bot", &json!({})).await.unwrap()["status"]["token"]
            .as_str()
            .unwrap()
            .to_owned();
        let users = StaticTokens::parse("secret,joe,7,dev").unwrap();
        let a = Authentication::new(tokens).with_static_tokens(users);
        let mut h = HeaderMap::new();
        assert_eq!(a.authenticate(None, &h).await.unwrap(), anonymous());
        let jane = UserInfo {
            name: "jane".into(),
            ..UserInfo::default()
        };
        assert_eq!(a.authenticate(Some(&jane), &h).await.unwrap().groups, [AUTHENTICATED]);

        h.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let user = a.authenticate(None, &h).await.unwrap();
        assert_eq!(user.name, "system:serviceaccount:a:bot");
        assert!(user.groups.iter().any(|g| g == AUTHENTICATED));
        h.insert(AUTHORIZATION, "Bearer secret".parse().unwrap());
        assert_eq!(a.authenticate(None, &h).await.unwrap().groups, ["dev", AUTHENTICATED]);
        h.insert(AUTHORIZATION, "Bearer nonsense".parse().unwrap());
        assert_eq!(a.authenticate(None, &h).await.unwrap_err().code, 401);

        h.remove(AUTHORIZATION);
        let protocol = format!("v5.channel.k8s.io, {PROTOCOL_PREFIX}{}", URL_SAFE_NO_PAD.encode(&token));
        assert_eq!(without_token_protocol(&protocol), "v5.channel.k8s.io");
        h.insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        assert_eq!(
            a.authenticate(None, &h).await.unwrap().name,
            "system:serviceaccount:a:bot"
        );
    }
}
