//! Acting as somebody else (`kubectl --as`): asked of the authorizer piece by piece
//! (upstream: apiserver/pkg/endpoints/filters/impersonation).

use crate::auth::{Attributes, Authorizer, Decision, UserInfo, forbidden};
use http::HeaderMap;
use keelson_machinery::status::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user to act as: the one that was authenticated unless headers ask for another.
pub fn apply(authorizer: &dyn Authorizer, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
    let text = |v: &http::HeaderValue| v.to_str().unwrap_or("").to_owned();
    let name = headers.get(USER).map(text).unwrap_or_default();
    let mut groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    let uid = headers.get(UID).map(text).unwrap_or_default();
    let mut extra: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for (k, v) in headers {
        if let Some(key) = k.as_str().strip_prefix(EXTRA) {
            extra
                .entry(super::request::unescape(key, false))
                .or_default()
                .push(text(v));
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        return Err(ApiError::bad_request(
            "requested impersonation without impersonating a user",
        ));
    }
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let a = Attributes {
            user: user.clone(),
            verb: "impersonate".into(),
            namespace: namespace.into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            is_resource: true,
            path: String::new(),
        };
        match authorizer.authorize(&a) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(forbidden(&a, &reason)),
        }
    };
    match name.strip_prefix(SERVICE_ACCOUNT).and_then(|s| s.split_once(':')) {
        Some((namespace, account)) => {
            may("", "serviceaccounts", "", namespace, account)?;
            if groups.is_empty() {
                groups = vec![
                    "system:serviceaccounts".into(),
                    format!("system:serviceaccounts:{namespace}"),
                ];
            }
        }
        None => may("", "users", "", "", &name)?,
    }
    for g in groups.iter().filter(|_| headers.contains_key(GROUP)) {
        may("", "groups", "", "", g)?;
    }
    if !uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", &uid)?;
    }
    for (key, values) in &extra {
        for v in values {
            may("authentication.k8s.io", "userextras", key, "", v)?;
        }
    }
    let known = ["system:authenticated", "system:unauthenticated"];
    if !groups.iter().any(|g| known.contains(&g.as_str())) {
        groups.push(if name == "system:anonymous" { known[1] } else { known[0] }.into());
    }
    Ok(UserInfo {
        name,
        uid,
        groups,
        extra,
    })
}
