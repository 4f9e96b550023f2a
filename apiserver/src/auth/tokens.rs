//! ServiceAccount tokens: made for TokenRequests, bound to objects, and checked against those objects as
//! they are now (upstream: pkg/serviceaccount, KEP-1205; legacy secret tokens are not supported).
use super::UserInfo;
use super::keys::{self, Keys};
use crate::objects::Objects;
use jsonwebtoken::{Header, Validation};
use keelson_machinery::{
    resources,
    status::{ApiError, FieldError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// A deleted object keeps its tokens alive for this long, as upstream's leeway.
const LEEWAY_SECONDS: i64 = 60;
const LIFETIME_SECONDS_MIN: i64 = 600;
const LIFETIME_SECONDS_MAX: i64 = 1 << 32;
const LIFETIME_SECONDS_DEFAULT: i64 = 3600;
/// Upstream's admission asks for 3607 seconds; such a token works for a year, and warns after the hour.
pub const WARN_ONLY_LIFETIME_SECONDS: i64 = 3607;
const EXTENDED_LIFETIME_SECONDS: i64 = 365 * 24 * 3600;
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Ref {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
}

#[derive(Serialize, Deserialize, Debug)]
struct Kubernetes {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Ref>,
    serviceaccount: Ref,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Serialize, Deserialize, Debug)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
    nbf: i64,
    sub: String,
}

/// Who a valid token is, and for which audiences it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub user: UserInfo,
    pub audiences: Vec<String>,
}

/// Makes and checks tokens.
pub struct Tokens {
    keys: Keys,
    issuer: String,
    /// Audiences of the API server itself.
    audiences: Vec<String>,
    objects: Arc<dyn Objects>,
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn reference(o: &Value) -> Ref {
    Ref {
        name: text(&o["metadata"]["name"]).to_owned(),
        uid: text(&o["metadata"]["uid"]).to_owned(),
    }
}

impl Tokens {
    pub fn new(key_pem: &[u8], issuer: &str, objects: Arc<dyn Objects>) -> Result<Self, keys::Error> {
        Ok(Tokens {
            keys: Keys::from_pem(key_pem)?,
            issuer: issuer.to_owned(),
            audiences: vec![issuer.to_owned()],
            objects,
        })
    }

    /// `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0).
    pub fn openid_configuration(&self) -> Value {
        let mut algorithms: Vec<String> = self
            .keys
            .verifiers
            .iter()
            .map(|v| format!("{:?}", v.algorithm))
            .collect();
        algorithms.sort();
        algorithms.dedup();
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// `/openid/v1/jwks`
    pub fn jwks(&self) -> Value {
        self.keys.jwks()
    }

    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    async fn get(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let r = resources::by_resource("", "v1", plural)
            .ok_or_else(|| ApiError::internal(format!("no such resource: {plural}")))?;
        self.objects.get(r, namespace, name).await
    }

    async fn must_get(&self, plural: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        self.get(plural, namespace, name)
            .await?
            .ok_or_else(|| ApiError::not_found("", plural, name))
    }

    /// POST to `serviceaccounts/{name}/token`: answers with the TokenRequest, its status filled in.
    pub async fn request(&self, namespace: &str, name: &str, body: &Value) -> Result<Value, ApiError> {
        let mut out = body.clone();
        out["apiVersion"] = "authentication.k8s.io/v1".into();
        out["kind"] = "TokenRequest".into();
        let invalid = |errors: &[FieldError]| ApiError::invalid("authentication.k8s.io", "TokenRequest", "", errors);
        for (key, mine, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
            let said = text(&body["metadata"][key]);
            if !said.is_empty() && said != mine {
                return Err(invalid(&[FieldError::invalid(
                    format!("metadata.{key}"),
                    &said.into(),
                    &format!("must match the service account {what} if specified"),
                )]));
            }
        }
        let account = self.must_get("serviceaccounts", namespace, name).await?;
        let spec = &body["spec"];
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(LIFETIME_SECONDS_DEFAULT);
        let limit = match seconds {
            s if s < LIFETIME_SECONDS_MIN => Some("may not specify a duration less than 10 minutes"),
            s if s > LIFETIME_SECONDS_MAX => Some("may not specify a duration larger than 2^32 seconds"),
            _ => None,
        };
        if let Some(why) = limit {
            return Err(invalid(&[FieldError::invalid(
                "spec.expirationSeconds",
                &seconds.into(),
                why,
            )]));
        }
        let mut audiences: Vec<String> = spec["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        if audiences.is_empty() {
            audiences.clone_from(&self.audiences);
        }
        let mut claims = Kubernetes {
            namespace: namespace.to_owned(),
            serviceaccount: reference(&account),
            pod: None,
            node: None,
            secret: None,
            warnafter: None,
        };
        self.bind(&spec["boundObjectRef"], name, &mut claims).await?;
        let now = jiff::Timestamp::now().as_second();
        let ours = audiences.iter().all(|a| self.audiences.contains(a));
        let mut lifetime = seconds;
        if claims.pod.is_some() && seconds == WARN_ONLY_LIFETIME_SECONDS && ours {
            claims.warnafter = Some(now + seconds);
            lifetime = EXTENDED_LIFETIME_SECONDS;
        }
        let claims = Claims {
            exp: now + lifetime,
            iat: now,
            nbf: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: audiences.clone(),
            kubernetes: claims,
        };
        let mut header = Header::new(self.keys.algorithm);
        header.typ = None;
        header.kid = Some(self.keys.id.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.keys.signer)
            .map_err(|e| ApiError::internal(format!("failed to generate token: {e}")))?;
        let time = |s: i64| {
            jiff::Timestamp::from_second(s)
                .map(|t| t.to_string())
                .unwrap_or_default()
        };
        out["metadata"] = json!({
            "name": name, "namespace": namespace, "uid": account["metadata"]["uid"], "creationTimestamp": time(now),
        });
        out["spec"] = json!({
            "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec["boundObjectRef"],
        });
        out["status"] = json!({"token": token, "expirationTimestamp": time(now + seconds)});
        Ok(out)
    }

    async fn bind(&self, to: &Value, account: &str, claims: &mut Kubernetes) -> Result<(), ApiError> {
        if to.is_null() {
            return Ok(());
        }
        let (kind, name) = (text(&to["kind"]), text(&to["name"]));
        let (plural, namespace) = match (text(&to["apiVersion"]), kind) {
            ("v1", "Pod") => ("pods", claims.namespace.as_str()),
            ("v1", "Secret") => ("secrets", claims.namespace.as_str()),
            ("v1", "Node") => ("nodes", ""),
            (version, kind) => {
                let (group, version) = version.split_once('/').unwrap_or(("", version));
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let object = self.must_get(plural, namespace, name).await?;
        let bound = reference(&object);
        let asked = text(&to["uid"]);
        if !asked.is_empty() && asked != bound.uid {
            return Err(ApiError::conflict(
                "",
                kind,
                name,
                &format!(
                    "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        match plural {
            "secrets" => claims.secret = Some(bound),
            "nodes" => claims.node = Some(bound),
            _ => {
                if text(&object["spec"]["serviceAccountName"]) != account {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                let node = text(&object["spec"]["nodeName"]);
                if !node.is_empty() {
                    claims.node = Some(match self.get("nodes", "", node).await? {
                        Some(n) => reference(&n),
                        None => Ref {
                            name: node.to_owned(),
                            uid: String::new(),
                        },
                    });
                }
                claims.pod = Some(bound);
            }
        }
        Ok(())
    }

    /// Checks a token: signature, issuer, times, and that all it is bound to is still there. `audiences` are
    /// those of the asker; empty: the API server's. `None`: not a token of ours.
    pub async fn verify(&self, token: &str, audiences: &[String]) -> Result<Option<Verified>, ApiError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(ApiError::unauthorized());
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return Ok(None);
        };
        let candidates = self
            .keys
            .verifiers
            .iter()
            .filter(|k| k.algorithm == header.alg && header.kid.as_ref().is_none_or(|kid| *kid == k.id));
        let claims = candidates
            .filter_map(|k| {
                let mut v = Validation::new(k.algorithm);
                v.set_issuer(&[&self.issuer]);
                v.set_required_spec_claims(&["exp", "iss"]);
                v.validate_nbf = true;
                v.validate_aud = false;
                v.leeway = 60;
                jsonwebtoken::decode::<Claims>(token, &k.key, &v).ok()
            })
            .next();
        let Some(claims) = claims.map(|d| d.claims) else {
            return Ok(None);
        };
        let wanted = if audiences.is_empty() {
            &self.audiences
        } else {
            audiences
        };
        let common: Vec<String> = claims.aud.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if common.is_empty() {
            return Ok(None);
        }
        Ok(self.still_bound(&claims).await?.then(|| Verified {
            user: user_of(&claims),
            audiences: common,
        }))
    }

    async fn still_bound(&self, claims: &Claims) -> Result<bool, ApiError> {
        let k = &claims.kubernetes;
        if claims.sub != format!("system:serviceaccount:{}:{}", k.namespace, k.serviceaccount.name) {
            return Ok(false);
        }
        // A pod-bound token only tells its node; it does not depend on it.
        let node = k.node.as_ref().filter(|_| k.pod.is_none());
        let bound = [
            ("serviceaccounts", k.namespace.as_str(), Some(&k.serviceaccount)),
            ("secrets", k.namespace.as_str(), k.secret.as_ref()),
            ("pods", k.namespace.as_str(), k.pod.as_ref()),
            ("nodes", "", node),
        ];
        for (plural, namespace, reference) in bound {
            let Some(r) = reference else { continue };
            let Some(object) = self.get(plural, namespace, &r.name).await? else {
                return Ok(false);
            };
            if text(&object["metadata"]["uid"]) != r.uid {
                return Ok(false);
            }
            let deleted: Option<jiff::Timestamp> = object["metadata"]["deletionTimestamp"]
                .as_str()
                .and_then(|t| t.parse().ok());
            if deleted.is_some_and(|t| t.as_second() + LEEWAY_SECONDS < jiff::Timestamp::now().as_second()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn user_of(c: &Claims) -> UserInfo {
    let k = &c.kubernetes;
    let mut user = UserInfo {
        name: c.sub.clone(),
        uid: k.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{}", k.namespace),
        ],
        ..UserInfo::default()
    };
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra
                .insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if !c.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", c.jti));
    }
    for (what, r) in [("pod", &k.pod), ("node", &k.node)] {
        if let Some(r) = r {
            extra(&format!("{what}-name"), &r.name);
            extra(&format!("{what}-uid"), &r.uid);
        }
    }
    user
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::objects::memory::Memory;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

    fn tokens(objects: &Arc<Memory>) -> Tokens {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        Tokens::new(pem.as_bytes(), ISSUER, objects.clone()).unwrap()
    }

    fn objects() -> Arc<Memory> {
        let m = Memory::default();
        m.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "bot", "namespace": "a", "uid": "sa-1"}}),
        );
        m.put(
            "",
            "pods",
            json!({"metadata": {"name": "p", "namespace": "a", "uid": "pod-1"},
                "spec": {"serviceAccountName": "bot", "nodeName": "n"}}),
        );
        m.put("", "nodes", json!({"metadata": {"name": "n", "uid": "node-1"}}));
        Arc::new(m)
    }

    fn bound() -> Value {
        json!({"spec": {"expirationSeconds": 3607,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-1"}}})
    }

    #[tokio::test]
    async fn a_bound_token_lives_as_long_as_its_pod() {
        let objects = objects();
        let t = tokens(&objects);
        let answer = t.request("a", "bot", &bound()).await.unwrap();
        let token = answer["status"]["token"].as_str().unwrap();
        let v = t.verify(token, &[]).await.unwrap().unwrap();
        assert_eq!(v.user.name, "system:serviceaccount:a:bot");
        assert_eq!(v.user.uid, "sa-1");
        assert_eq!(v.user.groups, ["system:serviceaccounts", "system:serviceaccounts:a"]);
        assert_eq!(v.user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(v.user.extra["authentication.kubernetes.io/node-uid"], ["node-1"]);
        assert_eq!(t.verify(token, &["vault".into()]).await.unwrap(), None);

        objects.delete("", "pods", "a", "p");
        assert_eq!(t.verify(token, &[]).await.unwrap(), None);
        objects.put(
            "",
            "pods",
            json!({"metadata": {"name": "p", "namespace": "a", "uid": "pod-2"}}),
        );
        assert_eq!(t.verify(token, &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn foreign_and_broken_tokens_are_nobody() {
        let objects = objects();
        let (ours, theirs) = (tokens(&objects), tokens(&objects));
        let answer = theirs.request("a", "bot", &json!({"spec": {}})).await.unwrap();
        let token = answer["status"]["token"].as_str().unwrap();
        assert_eq!(ours.verify(token, &[]).await.unwrap(), None);
        assert_eq!(ours.verify("a.b.c", &[]).await.unwrap(), None);
        assert!(theirs.verify(token, &[]).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn wrong_requests() {
        let t = tokens(&objects());
        let short = t
            .request("a", "bot", &json!({"spec": {"expirationSeconds": 5}}))
            .await
            .unwrap_err();
        assert_eq!(short.code, 422);
        assert!(
            short
                .message
                .contains("may not specify a duration less than 10 minutes")
        );
        assert_eq!(t.request("a", "nobody", &json!({})).await.unwrap_err().code, 404);
        let mut other = bound();
        other["spec"]["boundObjectRef"]["uid"] = "x".into();
        assert_eq!(t.request("a", "bot", &other).await.unwrap_err().code, 409);
    }

    #[tokio::test]
    async fn discovery_documents() {
        let t = tokens(&objects());
        assert_eq!(t.jwks()["keys"][0]["crv"], "P-256");
        assert_eq!(t.openid_configuration()["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    }
}
