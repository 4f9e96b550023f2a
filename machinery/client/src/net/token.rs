//! The `Authorization` header.
use super::config_error;
use crate::Result;
use crate::config::{Auth, Source};
use crate::transport::BoxError;
use base64::Engine;
use http::HeaderValue;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long a token read from a file is used before the file is read again (client-go: one minute).
const TOKEN_FILE_AGE_MAX: Duration = Duration::from_secs(60);

pub(super) enum Token {
    Fixed(Option<HeaderValue>),
    File(PathBuf, Mutex<Option<(Instant, HeaderValue)>>),
}

fn secret(text: String) -> Result<HeaderValue> {
    let mut v = HeaderValue::try_from(text).map_err(|e| config_error("credentials", e))?;
    v.set_sensitive(true);
    Ok(v)
}

impl Token {
    pub fn new(auth: &Auth) -> Result<Self> {
        Ok(match auth {
            Auth::None | Auth::ClientCertificate { .. } => Token::Fixed(None),
            Auth::Token(Source::Bytes(b)) => {
                Token::Fixed(Some(secret(format!("Bearer {}", String::from_utf8_lossy(b).trim()))?))
            }
            Auth::Token(Source::File(path)) => Token::File(path.clone(), Mutex::default()),
            Auth::Basic { username, password } => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
                Token::Fixed(Some(secret(format!("Basic {pair}"))?))
            }
        })
    }

    pub async fn header(&self) -> Result<Option<HeaderValue>, BoxError> {
        let (path, cached) = match self {
            Token::Fixed(v) => return Ok(v.clone()),
            Token::File(path, cached) => (path, cached),
        };
        let last = cached.lock().clone();
        if let Some((at, v)) = &last
            && at.elapsed() < TOKEN_FILE_AGE_MAX
        {
            return Ok(Some(v.clone()));
        }
        match tokio::fs::read_to_string(path).await {
            Ok(text) if !text.trim().is_empty() => {
                let v = secret(format!("Bearer {}", text.trim()))?;
                *cached.lock() = Some((Instant::now(), v.clone()));
                Ok(Some(v))
            }
            // A token that cannot be read again may still be valid: the server decides.
            unread => match last {
                Some((_, v)) => Ok(Some(v)),
                None => Err(match unread {
                    Err(e) => format!("read token {}: {e}", path.display()).into(),
                    Ok(_) => format!("token file {} is empty", path.display()).into(),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn token_files_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let t = Token::new(&Auth::Token(Source::File(path.clone()))).unwrap();
        assert_eq!(t.header().await.unwrap().unwrap(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(t.header().await.unwrap().unwrap(), "Bearer one", "cached");
        tokio::time::advance(TOKEN_FILE_AGE_MAX).await;
        assert_eq!(t.header().await.unwrap().unwrap(), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(TOKEN_FILE_AGE_MAX).await;
        assert_eq!(
            t.header().await.unwrap().unwrap(),
            "Bearer two",
            "kept while unreadable"
        );
    }
}
