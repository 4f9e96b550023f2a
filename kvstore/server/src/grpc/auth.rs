//! The Auth service.

use super::Services;
use crate::auth::Caller;
use keelson_mvcc::Command;
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// Methods that change something, each a command of the log as it comes in; the answer is a header.
macro_rules! auth_service {
    (
        changes { $($method:ident($request:ident) -> $response:ident = $command:ident;)* }
        $($rest:tt)*
    ) => {
        #[tonic::async_trait]
        impl pb::auth_server::Auth for Services {
            $(async fn $method(&self, r: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                let caller = Caller::of(&r);
                let header = self.core.change_auth(&caller, Command::$command(r.into_inner())).await?;
                Ok(Response::new(pb::$response { header }))
            })*

            $($rest)*
        }
    };
}

auth_service! {
    changes {
        auth_enable(AuthEnableRequest) -> AuthEnableResponse = AuthEnable;
        auth_disable(AuthDisableRequest) -> AuthDisableResponse = AuthDisable;
        user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = AuthUserDelete;
        user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = AuthUserGrantRole;
        user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = AuthUserRevokeRole;
        role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = AuthRoleAdd;
        role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = AuthRoleDelete;
        role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse = AuthRoleGrantPermission;
        role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse = AuthRoleRevokePermission;
    }

    async fn auth_status(&self, r: Request<pb::AuthStatusRequest>) -> Result<Response<pb::AuthStatusResponse>, Status> {
        self.core.auth_status(&Caller::of(&r)).await.map(Response::new)
    }

    async fn authenticate(
        &self,
        r: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        self.core.authenticate(r.into_inner()).await.map(Response::new)
    }

    async fn user_add(&self, r: Request<pb::AuthUserAddRequest>) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let header = self.core.user_add(&Caller::of(&r), r.into_inner()).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_change_password(
        &self,
        r: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let header = self.core.user_change_password(&Caller::of(&r), r.into_inner()).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_get(&self, r: Request<pb::AuthUserGetRequest>) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        self.core.user_get(&Caller::of(&r), r.into_inner()).await.map(Response::new)
    }

    async fn user_list(&self, r: Request<pb::AuthUserListRequest>) -> Result<Response<pb::AuthUserListResponse>, Status> {
        self.core.user_list(&Caller::of(&r)).await.map(Response::new)
    }

    async fn role_get(&self, r: Request<pb::AuthRoleGetRequest>) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        self.core.role_get(&Caller::of(&r), r.into_inner()).await.map(Response::new)
    }

    async fn role_list(&self, r: Request<pb::AuthRoleListRequest>) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        self.core.role_list(&Caller::of(&r)).await.map(Response::new)
    }
}
