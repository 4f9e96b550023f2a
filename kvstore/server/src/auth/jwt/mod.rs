//! JWTs (RFC 7519): signed by the member that got the login, checked by any member with the key alone. They name the
//! user and the auth revision, so that every change of users or roles voids them.

mod keys;
mod options;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keys::Key;
use options::JwtOptions;
use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Status;

/// Longest token looked at, bytes: far more than any key makes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

pub struct JwtTokens {
    key: Key,
    ttl: Duration,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// Times are numbers of seconds, whole or not.
#[derive(Deserialize)]
struct Claims {
    username: String,
    revision: f64,
    exp: Option<f64>,
    nbf: Option<f64>,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn read<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl JwtTokens {
    /// The options are what follows `jwt,` in etcd's `auth-token`; what is wrong with them is told in etcd's words.
    pub fn new(options: &str) -> Result<JwtTokens, String> {
        let options = JwtOptions::parse(options)?;
        Ok(JwtTokens {
            key: Key::new(options.method, &options.private, &options.public)?,
            ttl: options.ttl,
        })
    }

    pub fn sign(&self, user: &str, auth_revision: u64) -> Result<String, Status> {
        self.sign_at(user, auth_revision, now())
    }

    fn sign_at(&self, user: &str, auth_revision: u64, now: Duration) -> Result<String, Status> {
        let header = serde_json::json!({ "alg": self.key.method().name(), "typ": "JWT" });
        let exp = (now + self.ttl).as_secs();
        let claims = serde_json::json!({ "exp": exp, "revision": auth_revision, "username": user });
        let encode = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(signed.as_bytes()).map_err(Status::unknown)?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whom the token names, and at which auth revision. `None`: it is not ours, or its time is over.
    pub fn check(&self, token: &str) -> Option<(String, u64)> {
        self.check_at(token, now())
    }

    fn check_at(&self, token: &str, now: Duration) -> Option<(String, u64)> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // The method is ours to say, not the token's.
        if read::<Header>(header)?.alg != self.key.method().name() {
            return None;
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.key.verify(signed.as_bytes(), &signature) {
            return None;
        }
        let claims: Claims = read(claims)?;
        let now = now.as_secs_f64();
        let lives = claims.exp.is_none_or(|end| now < end) && claims.nbf.is_none_or(|begin| now >= begin);
        // Out of range becomes the nearest revision, of which there is none.
        lives.then_some((claims.username, claims.revision as u64))
    }
}

#[cfg(test)]
mod tests;
