//! Who asks, and whether they may.
use keelson_machinery::status::ApiError;

pub mod authenticate;
pub mod keys;
pub mod node;
pub mod rbac;
pub mod reviews;
pub mod rule;
pub mod static_tokens;
pub mod tokens;
pub mod x509;

/// An authenticated user (upstream: authentication/user.Info).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: std::collections::BTreeMap<String, Vec<String>>,
}

/// What is asked for (upstream: authorization/authorizer.Attributes).
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub user: UserInfo,
    /// get, list, watch, create, update, patch, delete, deletecollection; lower-cased method for non-resource paths
    pub verb: String,
    pub namespace: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub is_resource: bool,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// With upstream's reason text.
    Deny(String),
}

/// Turns a request's credentials into a user.
#[async_trait::async_trait]
pub trait Authenticator: Send + Sync {
    /// `peer` is the subject of the verified client certificate, if any. No credentials at all is
    /// `system:anonymous` in `system:unauthenticated`; bad ones are 401.
    async fn authenticate(&self, peer: Option<&UserInfo>, headers: &http::HeaderMap) -> Result<UserInfo, ApiError>;
}

pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes) -> Decision;
    /// Rules that apply to a user in a namespace, for SelfSubjectRulesReview (JSON of its status).
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> serde_json::Value;
}

/// The 403 for a denied request, in upstream's words.
pub fn forbidden(a: &Attributes, reason: &str) -> ApiError {
    let user = &a.user.name;
    let tail = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    if !a.is_resource {
        return ApiError::new(
            403,
            "Forbidden",
            format!("forbidden: User {user:?} cannot {} path {:?}{tail}", a.verb, a.path),
        );
    }
    ApiError::forbidden(&a.group, &a.resource, &a.name, &format!("{}{tail}", cannot(a)))
}

/// `User "x" cannot list resource "pods" in API group "" in the namespace "default"`
pub fn cannot(a: &Attributes) -> String {
    let resource = if a.subresource.is_empty() {
        a.resource.clone()
    } else {
        format!("{}/{}", a.resource, a.subresource)
    };
    let place = if a.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", a.namespace)
    };
    format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        a.user.name, a.verb, a.group
    )
}
