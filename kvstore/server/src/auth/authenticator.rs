//! Tells who a caller is, and makes tokens of logins.

use super::caller::{Caller, Credentials};
use super::jwt::JwtTokens;
use super::passwords::Passwords;
use super::simple::SimpleTokens;
use crate::core::Core;
use crate::{AuthOptions, Error, TokenKind, status};
use keelson_mvcc::{Access, Asker, Auth, Authenticated, Command, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// How long a token lives when nothing sensible is said: etcd's.
const TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(300);

enum Tokens {
    Simple {
        tokens: Arc<SimpleTokens>,
        /// The moment that their times count from.
        origin: Instant,
    },
    Jwt(JwtTokens),
}

/// What of authentication is this member's own.
pub struct Authenticator {
    tokens: Tokens,
    pub(super) passwords: Passwords,
    /// Without a token, the common name of a client's certificate is its user.
    certificates: bool,
}

impl Authenticator {
    /// Follows the store's logins from now on: those of the log that was replayed are over.
    pub fn start(options: &AuthOptions, store: &Store) -> Result<Authenticator, Error> {
        let tokens = match &options.token {
            TokenKind::Simple { ttl } => {
                let ttl = if ttl.is_zero() { TOKEN_TTL_DEFAULT } else { *ttl };
                let tokens = Arc::new(SimpleTokens::new(ttl));
                let (observer, origin) = (tokens.clone(), Instant::now());
                store.on_auth_change(move |change| observer.observe(change, origin.elapsed()));
                Tokens::Simple { tokens, origin }
            }
            TokenKind::Jwt { options } => Tokens::Jwt(JwtTokens::new(options).map_err(Error::Start)?),
        };
        Ok(Authenticator {
            tokens,
            passwords: Passwords::new(options.bcrypt_cost),
            certificates: options.client_cert_identity,
        })
    }

    /// The beginning of a token for the log to complete; empty when tokens are made otherwise.
    pub(super) fn token_prefix(&self) -> String {
        match &self.tokens {
            Tokens::Simple { .. } => SimpleTokens::random_letters(),
            Tokens::Jwt(_) => String::new(),
        }
    }

    /// The token of a login that the log has confirmed.
    pub(super) fn token_of(&self, user: &str, login: Authenticated) -> Result<String, Status> {
        match &self.tokens {
            Tokens::Simple { .. } => Ok(login.token),
            Tokens::Jwt(tokens) => tokens.sign(user, login.auth_revision),
        }
    }
}

fn invalid_token() -> Status {
    Status::unauthenticated("etcdserver: invalid auth token")
}

impl Core {
    /// Who the caller is. Nobody is nobody, whatever it shows, while authentication is off.
    pub async fn identify(&self, caller: &Caller) -> Result<Asker, Status> {
        let credentials = match caller {
            Caller::Member => return Ok(Asker::Member),
            Caller::Client(_) if !self.store.auth_enabled() => return Ok(Asker::Nobody),
            Caller::Client(credentials) => credentials,
        };
        match &credentials.token {
            Some(token) => self.owner_of(token).await,
            None => Ok(self.named_by_certificate(credentials)),
        }
    }

    async fn owner_of(&self, token: &str) -> Result<Asker, Status> {
        let user = match &self.auth.tokens {
            Tokens::Simple { tokens, origin } => {
                let mut user = tokens.user_of(token, origin.elapsed());
                if user.is_none() {
                    let index = SimpleTokens::index_of(token).ok_or_else(invalid_token)?;
                    if index > self.log.applied_index() {
                        // Given by another member a moment ago, perhaps: after the barrier it is here.
                        self.barrier().await?;
                        user = tokens.user_of(token, origin.elapsed());
                    }
                }
                user
            }
            Tokens::Jwt(tokens) => {
                let (user, auth_revision) = tokens.check(token).ok_or_else(invalid_token)?;
                let name = user.into();
                return Ok(Asker::User { name, auth_revision });
            }
        };
        Ok(Asker::User {
            name: user.ok_or_else(invalid_token)?,
            auth_revision: self.store.with_auth(Auth::revision),
        })
    }

    fn named_by_certificate(&self, credentials: &Credentials) -> Asker {
        match &credentials.certificate {
            Some(certificate) if self.auth.certificates => Asker::User {
                name: certificate.common_name().unwrap_or_default().into(),
                auth_revision: self.store.with_auth(Auth::revision),
            },
            _ => Asker::Nobody,
        }
    }

    /// For what only `root` may do.
    pub async fn require_admin(&self, caller: &Caller) -> Result<Asker, Status> {
        let asker = self.identify(caller).await?;
        let judged = self.store.with_auth(|auth| auth.permit_admin(&asker));
        judged.map_err(status::auth)?;
        Ok(asker)
    }

    /// For what every user may do.
    pub async fn require_anybody(&self, caller: &Caller) -> Result<Asker, Status> {
        let asker = self.identify(caller).await?;
        let judged = self.store.with_auth(|auth| auth.permit_anybody(&asker));
        judged.map_err(status::auth)?;
        Ok(asker)
    }

    /// For a read of a range, behind its barrier. What it has read must pass [`Core::still_allowed`].
    pub async fn require_range(&self, caller: &Caller, key: &[u8], range_end: &[u8]) -> Result<Asker, Status> {
        let asker = self.identify(caller).await?;
        if self.store.auth_enabled() {
            let judged = self
                .store
                .with_auth(|auth| auth.permit_keys(&asker, Access::Read, key, range_end));
            judged.map_err(status::auth)?;
        }
        Ok(asker)
    }

    /// Nothing has changed since the asker was allowed to read what is about to be answered.
    pub fn still_allowed(&self, asker: &Asker) -> Result<(), Status> {
        match asker {
            Asker::User { .. } => self.store.with_auth(|auth| auth.still_at(asker)).map_err(status::auth),
            Asker::Member | Asker::Nobody => Ok(()),
        }
    }

    /// Who asks for a command. One that this member would refuse is judged again behind a barrier, and does not
    /// reach the log if it is still refused: strangers write nothing.
    pub(crate) async fn require_command(&self, caller: &Caller, command: &Command) -> Result<Asker, Status> {
        let asker = self.identify(caller).await?;
        if !self.store.auth_enabled() || self.store.permit_command(&asker, command).is_ok() {
            return Ok(asker);
        }
        self.barrier().await?;
        let asker = self.identify(caller).await?;
        self.store.permit_command(&asker, command).map_err(status::auth)?;
        Ok(asker)
    }

    /// For what is done to the keys on a lease.
    pub(crate) fn require_lease(&self, asker: &Asker, access: Access, id: i64) -> Result<(), Status> {
        if !self.store.auth_enabled() {
            return Ok(());
        }
        self.store.permit_lease(asker, access, id).map_err(status::auth)
    }
}

/// What a watch is told when it may not be: etcd's words for a status inside an answer.
pub fn refusal_reason(status: &Status) -> String {
    let told = match (status.code(), status.message()) {
        (tonic::Code::Unauthenticated, _) => ("Unauthenticated", "etcdserver: invalid auth token"),
        (tonic::Code::InvalidArgument, message) => ("InvalidArgument", message),
        _ => ("PermissionDenied", "etcdserver: permission denied"),
    };
    format!("rpc error: code = {} desc = {}", told.0, told.1)
}
