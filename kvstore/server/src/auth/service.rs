//! The calls of etcd's Auth service. Those that change something go through the log; those that read pass a barrier.

use super::Caller;
use crate::core::Core;
use crate::status;
use keelson_mvcc::{AuthError, Command, Reply};
use keelson_proto::command::Authenticate;
use keelson_proto::etcdserverpb as pb;
use tonic::Status;

/// Logins tried again because a user or role changed meanwhile.
const LOGIN_ATTEMPTS_MAX: usize = 16;

impl Core {
    /// A change that answers with nothing but a header.
    pub async fn change_auth(&self, caller: &Caller, command: Command) -> Result<Option<pb::ResponseHeader>, Status> {
        match self.propose(caller, command).await? {
            Reply::Auth(header) => Ok(Some(self.header(header.revision))),
            _ => Err(status::unexpected_reply()),
        }
    }

    /// Anybody may ask, but not with a token that is void.
    pub async fn auth_status(&self, caller: &Caller) -> Result<pb::AuthStatusResponse, Status> {
        self.barrier().await?;
        self.identify(caller).await?;
        let (enabled, auth_revision) = self.store.with_auth(|auth| (auth.is_enabled(), auth.revision()));
        Ok(pb::AuthStatusResponse {
            header: self.current_header(),
            enabled,
            auth_revision,
        })
    }

    /// The password is checked here, and becomes a token when the log has confirmed that nothing has changed since.
    pub async fn authenticate(&self, r: pb::AuthenticateRequest) -> Result<pb::AuthenticateResponse, Status> {
        self.barrier().await?;
        for _ in 0..LOGIN_ATTEMPTS_MAX {
            let checked = self.store.with_auth(|auth| auth.password_of(&r.name));
            let (hash, revision) = checked.map_err(status::auth)?;
            if !self.auth.passwords.matches(r.password.clone(), hash).await? {
                tracing::info!("user-name" = r.name, "invalid password");
                return Err(status::auth(AuthError::Failed));
            }
            let login = Command::AuthAuthenticate(Authenticate {
                name: r.name.clone(),
                simple_token: self.auth.token_prefix(),
            });
            let Reply::Authenticated(header, login) = self.propose(&Caller::Member, login).await? else {
                return Err(status::unexpected_reply());
            };
            if login.auth_revision == revision {
                return Ok(pb::AuthenticateResponse {
                    header: Some(self.header(header.revision)),
                    token: self.auth.token_of(&r.name, login)?,
                });
            }
            tracing::info!("revision when password checked became stale; retrying");
        }
        Err(status::auth(AuthError::OldRevision))
    }

    pub async fn user_add(
        &self,
        caller: &Caller,
        mut r: pb::AuthUserAddRequest,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        if r.options.is_some_and(|options| options.no_password) {
            r.password.clear();
        } else {
            // Hashing is dear: not for those who may not.
            self.require_command(caller, &Command::AuthUserAdd(r.clone())).await?;
            r.hashed_password = self.auth.passwords.hash(std::mem::take(&mut r.password)).await?;
        }
        self.change_auth(caller, Command::AuthUserAdd(r)).await
    }

    pub async fn user_change_password(
        &self,
        caller: &Caller,
        mut r: pb::AuthUserChangePasswordRequest,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        if !r.password.is_empty() {
            self.require_command(caller, &Command::AuthUserChangePassword(r.clone()))
                .await?;
            r.hashed_password = self.auth.passwords.hash(std::mem::take(&mut r.password)).await?;
        }
        self.change_auth(caller, Command::AuthUserChangePassword(r)).await
    }

    pub async fn user_get(
        &self,
        caller: &Caller,
        r: pb::AuthUserGetRequest,
    ) -> Result<pb::AuthUserGetResponse, Status> {
        self.barrier().await?;
        let asker = self.identify(caller).await?;
        let roles = self.store.with_auth(|auth| auth.user_get(&asker, &r.name));
        Ok(pb::AuthUserGetResponse {
            header: self.current_header(),
            roles: roles.map_err(status::auth)?,
        })
    }

    pub async fn user_list(&self, caller: &Caller) -> Result<pb::AuthUserListResponse, Status> {
        self.barrier().await?;
        self.require_admin(caller).await?;
        let users = self
            .store
            .with_auth(|auth| auth.user_names().map(str::to_owned).collect());
        Ok(pb::AuthUserListResponse {
            header: self.current_header(),
            users,
        })
    }

    pub async fn role_get(
        &self,
        caller: &Caller,
        r: pb::AuthRoleGetRequest,
    ) -> Result<pb::AuthRoleGetResponse, Status> {
        self.barrier().await?;
        let asker = self.identify(caller).await?;
        let perm = self.store.with_auth(|auth| auth.role_get(&asker, &r.role));
        Ok(pb::AuthRoleGetResponse {
            header: self.current_header(),
            perm: perm.map_err(status::auth)?,
        })
    }

    pub async fn role_list(&self, caller: &Caller) -> Result<pb::AuthRoleListResponse, Status> {
        self.barrier().await?;
        self.require_admin(caller).await?;
        let roles = self
            .store
            .with_auth(|auth| auth.role_names().map(str::to_owned).collect());
        Ok(pb::AuthRoleListResponse {
            header: self.current_header(),
            roles,
        })
    }
}
