//! Authentication is not built yet: it is off, and everything that would change that says so.

use super::Services;
use crate::status::not_implemented;
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

macro_rules! auth_without_auth {
    ($($method:ident($request:ident) -> $response:ident = $name:literal;)*) => {
        #[tonic::async_trait]
        impl pb::auth_server::Auth for Services {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = self.core.current_header();
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(not_implemented($name))
            })*
        }
    };
}

auth_without_auth! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse = "AuthEnable";
    auth_disable(AuthDisableRequest) -> AuthDisableResponse = "AuthDisable";
    authenticate(AuthenticateRequest) -> AuthenticateResponse = "Authenticate";
    user_add(AuthUserAddRequest) -> AuthUserAddResponse = "UserAdd";
    user_get(AuthUserGetRequest) -> AuthUserGetResponse = "UserGet";
    user_list(AuthUserListRequest) -> AuthUserListResponse = "UserList";
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = "UserDelete";
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse = "UserChangePassword";
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = "UserGrantRole";
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = "UserRevokeRole";
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = "RoleAdd";
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse = "RoleGet";
    role_list(AuthRoleListRequest) -> AuthRoleListResponse = "RoleList";
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = "RoleDelete";
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse = "RoleGrantPermission";
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse = "RoleRevokePermission";
}
