//! The virtual resources that answer questions about access and identity: nothing of them is stored.
use super::tokens::Tokens;
use super::{Attributes, Authorizer, Decision, UserInfo};
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::{Map, Value, json};

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

fn strings(v: &Value) -> Vec<String> {
    let items = v.as_array().into_iter().flatten();
    items.filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

/// What the reviews ask.
pub struct Reviews<'a> {
    pub authorizer: &'a dyn Authorizer,
    pub tokens: &'a Tokens,
}

impl Reviews<'_> {
    /// Whether this plural (of authorization.k8s.io or authentication.k8s.io) is answered here.
    pub fn handles(group: &str, plural: &str) -> bool {
        matches!(
            (group, plural),
            (
                "authorization.k8s.io",
                "subjectaccessreviews"
                    | "localsubjectaccessreviews"
                    | "selfsubjectaccessreviews"
                    | "selfsubjectrulesreviews"
            ) | ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
        )
    }

    /// Answers a created review: the object with its status.
    pub async fn create(
        &self,
        plural: &str,
        namespace: &str,
        user: &UserInfo,
        review: &Value,
    ) -> Result<Value, ApiError> {
        let mut out = if review.is_object() { review.clone() } else { json!({}) };
        let spec = &review["spec"];
        out["status"] = match plural {
            "selfsubjectreviews" => json!({"userInfo": user_json(user)}),
            "selfsubjectrulesreviews" => {
                let ns = text(&spec["namespace"]);
                if ns.is_empty() {
                    return Err(ApiError::bad_request("no namespace on request"));
                }
                self.authorizer.rules_for(user, &ns)
            }
            "tokenreviews" => self.token_review(spec).await?,
            "selfsubjectaccessreviews" => self.access("SelfSubjectAccessReview", spec, user.clone())?,
            "subjectaccessreviews" => self.access("SubjectAccessReview", spec, subject(spec))?,
            "localsubjectaccessreviews" => {
                let asked = &spec["resourceAttributes"]["namespace"];
                if text(asked) != namespace {
                    return Err(ApiError::bad_request(format!(
                        "spec.resourceAttributes.namespace must match namespace: {namespace}"
                    )));
                }
                self.access("LocalSubjectAccessReview", spec, subject(spec))?
            }
            _ => return Err(ApiError::not_found("", plural, "")),
        };
        if let Some(o) = out.as_object_mut() {
            let metadata = o.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
            if metadata.is_null() {
                *metadata = json!({});
            }
            if plural == "selfsubjectreviews" {
                metadata["creationTimestamp"] = now().into();
            }
        }
        Ok(out)
    }

    fn access(&self, kind: &str, spec: &Value, user: UserInfo) -> Result<Value, ApiError> {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let mut errors = Vec::new();
        match (resource.is_object(), path.is_object()) {
            (true, true) => errors.push(FieldError::invalid(
                "spec.nonResourceAttributes",
                path,
                "cannot be specified in combination with resourceAttributes",
            )),
            (false, false) => errors.push(FieldError::invalid(
                "spec.resourceAttributes",
                path,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )),
            _ => {}
        }
        if kind != "SelfSubjectAccessReview" && user.name.is_empty() && user.groups.is_empty() {
            errors.push(FieldError::invalid(
                "spec.user",
                &"".into(),
                "at least one of user or group must be specified",
            ));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("authorization.k8s.io", kind, "", &errors));
        }
        let attributes = if resource.is_object() {
            Attributes {
                user,
                verb: text(&resource["verb"]),
                namespace: text(&resource["namespace"]),
                group: text(&resource["group"]),
                version: text(&resource["version"]),
                resource: text(&resource["resource"]),
                subresource: text(&resource["subresource"]),
                name: text(&resource["name"]),
                is_resource: true,
                path: String::new(),
            }
        } else {
            Attributes {
                user,
                verb: text(&path["verb"]),
                path: text(&path["path"]),
                ..Attributes::default()
            }
        };
        Ok(match self.authorizer.authorize(&attributes) {
            Decision::Allow => json!({"allowed": true}),
            Decision::Deny(reason) if reason.is_empty() => json!({"allowed": false}),
            Decision::Deny(reason) => json!({"allowed": false, "reason": reason}),
        })
    }

    async fn token_review(&self, spec: &Value) -> Result<Value, ApiError> {
        let token = text(&spec["token"]);
        if token.is_empty() {
            return Err(ApiError::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        Ok(match self.tokens.verify(&token, &strings(&spec["audiences"])).await {
            Ok(Some(v)) => json!({
                "authenticated": true,
                "user": user_json(&super::authenticate::authenticated(v.user)),
                "audiences": v.audiences,
            }),
            Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
            Err(e) => json!({"user": {}, "error": e.message}),
        })
    }
}

fn now() -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now)
        .map(|t| t.to_string())
        .unwrap_or_default()
}

fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text(&spec["user"]),
        uid: text(&spec["uid"]),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(k, v)| (k.to_lowercase(), strings(v))).collect(),
    }
}

fn user_json(u: &UserInfo) -> Value {
    let mut v = json!({"username": u.name});
    if !u.uid.is_empty() {
        v["uid"] = u.uid.as_str().into();
    }
    if !u.groups.is_empty() {
        v["groups"] = json!(u.groups);
    }
    if !u.extra.is_empty() {
        v["extra"] = json!(u.extra);
    }
    v
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::rbac::Rbac;
    use crate::objects::memory::Memory;
    use std::sync::Arc;

    #[tokio::test]
    async fn questions_and_answers() {
        let m = Arc::new(Memory::default());
        m.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "bot", "namespace": "a", "uid": "u"}}),
        );
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let tokens = Tokens::new(pem.as_bytes(), "https://x", m).unwrap();
        let rbac = Rbac::default();
        let r = Reviews {
            authorizer: &rbac,
            tokens: &tokens,
        };
        let root = UserInfo {
            name: "root".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        };
        let ask = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
        let a = r.create("selfsubjectaccessreviews", "", &root, &ask).await.unwrap();
        assert_eq!(a["status"]["allowed"], true);
        let other = json!({"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
        let a = r.create("subjectaccessreviews", "", &root, &other).await.unwrap();
        assert_eq!(a["status"]["allowed"], false);
        let e = r
            .create("subjectaccessreviews", "", &root, &json!({"spec": {}}))
            .await
            .unwrap_err();
        assert_eq!(e.code, 422);
        let who = r.create("selfsubjectreviews", "", &root, &json!({})).await.unwrap();
        assert_eq!(who["status"]["userInfo"]["username"], "root");
        let rules = json!({"spec": {"namespace": "a"}});
        let a = r.create("selfsubjectrulesreviews", "", &root, &rules).await.unwrap();
        assert_eq!(a["status"]["resourceRules"][0]["verbs"][0], "*");

        let made = tokens.request("a", "bot", &json!({})).await.unwrap();
        let review = json!({"spec": {"token": made["status"]["token"]}});
        let a = r.create("tokenreviews", "", &root, &review).await.unwrap();
        assert_eq!(a["status"]["user"]["username"], "system:serviceaccount:a:bot");
        let a = r
            .create("tokenreviews", "", &root, &json!({"spec": {"token": "x"}}))
            .await
            .unwrap();
        assert_eq!(a["status"].get("authenticated"), None);
    }
}
