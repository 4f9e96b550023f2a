//! Tokens of ServiceAccounts, bound to their pod and renewed before they expire (upstream: pkg/kubelet/token).
use crate::Result;
use crate::pod::PodExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use keelson_client::{Api, Client};
use parking_lot::Mutex;
use std::collections::HashMap;

const EXPIRATION_SECONDS_DEFAULT: i64 = 3600;
/// A token is renewed at this share of its life, or after a day.
const RENEW_PERCENT: i64 = 80;
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Tokens kept for pods here; the oldest go first beyond it.
const TOKENS_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pod_uid: String,
    account: String,
    audience: String,
    seconds: i64,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    expires: Timestamp,
    pub renew_at: Timestamp,
}

pub struct Tokens {
    client: Client,
    known: Mutex<HashMap<Key, Token>>,
}

impl Tokens {
    pub fn new(client: Client) -> Self {
        Tokens {
            client,
            known: Mutex::default(),
        }
    }

    pub async fn get(&self, pod: &Pod, projection: &ServiceAccountTokenProjection) -> Result<Token> {
        let account = pod.spec().service_account_name.as_deref().unwrap_or("default");
        let key = Key {
            pod_uid: pod.uid().to_owned(),
            account: account.to_owned(),
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(EXPIRATION_SECONDS_DEFAULT),
        };
        let now = Timestamp::now();
        let known = self.known.lock().get(&key).cloned();
        if let Some(t) = known.as_ref().filter(|t| now < t.renew_at) {
            return Ok(t.clone());
        }
        match self.request(pod, &key, now).await {
            Ok(token) => {
                let mut known = self.known.lock();
                if known.len() >= TOKENS_MAX {
                    let oldest = known.iter().min_by_key(|(_, t)| t.expires).map(|(k, _)| k.clone());
                    oldest.and_then(|k| known.remove(&k));
                }
                known.insert(key, token.clone());
                Ok(token)
            }
            // The old one still serves; it is tried again in a minute.
            Err(e) => match known.filter(|t| now < t.expires) {
                Some(mut t) => {
                    tracing::warn!(pod = pod.full_name(), error = %e, "renew a ServiceAccount token");
                    t.renew_at = now + SignedDuration::from_secs(60);
                    Ok(t)
                }
                None => Err(e),
            },
        }
    }

    async fn request(&self, pod: &Pod, key: &Key, now: Timestamp) -> Result<Token> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: (!key.audience.is_empty())
                    .then(|| key.audience.clone())
                    .into_iter()
                    .collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(pod.name().to_owned()),
                    uid: Some(pod.uid().to_owned()),
                }),
                expiration_seconds: Some(key.seconds),
            },
            ..Default::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), pod.namespace());
        let answer: TokenRequest = api.create_subresource(&key.account, "token", &request).await?;
        let status = answer
            .status
            .unwrap_or_else(|| k8s_openapi::api::authentication::v1::TokenRequestStatus {
                expiration_timestamp: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now),
                token: String::new(),
            });
        let expires = status.expiration_timestamp.0;
        let life = SignedDuration::from_secs(expires.as_second() - now.as_second());
        let wait = SignedDuration::from_secs(life.as_secs() * RENEW_PERCENT / 100).min(AGE_MAX);
        Ok(Token {
            text: status.token,
            expires,
            renew_at: now + wait,
        })
    }

    pub fn forget(&self, pod_uid: &str) {
        self.known.lock().retain(|k, _| k.pod_uid != pod_uid);
    }
}
