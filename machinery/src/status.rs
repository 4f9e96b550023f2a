//! `metav1.Status` errors, with upstream's reasons, codes and wording
//! (upstream: apimachinery/pkg/api/errors).
use serde_json::{Value, json};

/// An API error: what the server answers, and the `retryAfterSeconds` it may carry.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Value>,
    /// `metadata.continue`: with it a client may go on with an expired list, inconsistently. Empty elsewhere.
    pub continue_token: String,
}
impl std::error::Error for ApiError {}
impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// One cause of an Invalid error.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// e.g. `spec.containers[0].image`
    pub field: String,
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueDuplicate`, `FieldValueNotSupported`, `FieldValueForbidden`, `FieldValueTooLong`, …
    pub reason: &'static str,
    /// e.g. `Required value`, `Invalid value: "x": must be …`
    pub message: String,
}
impl FieldError {
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".into()
        } else {
            format!("Required value: {detail}")
        };
        FieldError {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {detail}"),
        }
    }
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
        }
    }
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
        }
    }
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported
            .iter()
            .map(|s| format!("{s:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        FieldError {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {list}"),
        }
    }
}

fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: String::new(),
        }
    }
    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut d = json!({ "kind": kind });
        if !name.is_empty() {
            d["name"] = name.into();
        }
        if !group.is_empty() {
            d["group"] = group.into();
        }
        self.details = Some(d);
        self
    }
    /// `resource` is the plural.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", qualified(group, resource)),
        )
        .about(group, resource, name)
    }
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", qualified(group, resource)),
        )
        .about(group, resource, name)
    }
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                qualified(group, resource)
            ),
        )
        .about(group, resource, name)
    }
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let m = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(group, resource))
        } else {
            format!("{} {name:?} is forbidden: {why}", qualified(group, resource))
        };
        Self::new(403, "Forbidden", m).about(group, resource, name)
    }
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let mut e = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        e.details = Some(json!({"causes":[{"message": message.to_string()}]}));
        e
    }
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!(
                "{verb} is not supported on resources of kind {:?}",
                qualified(group, resource)
            ),
        )
        .about(group, resource, "")
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut e = Self::new(429, "TooManyRequests", message);
        e.details = Some(json!({ "retryAfterSeconds": retry_after_seconds }));
        e
    }
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut e = Self::new(504, "Timeout", message);
        e.details = Some(json!({ "retryAfterSeconds": retry_after_seconds }));
        e
    }
    /// `kind` is the Kind, not the plural, as upstream's `NewInvalid`.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let each: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let text = match each.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut s = Self::new(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {text}", qualified(group, kind)),
        )
        .about(group, kind, name);
        if let Some(d) = &mut s.details {
            d["causes"] = errors
                .iter()
                .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
                .collect();
        }
        s
    }
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }
    /// Seconds for the `Retry-After` header, when the error carries them.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }
    /// The `Status` object, `apiVersion` and `kind` included.
    pub fn to_status(&self) -> Value {
        let mut v = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(d) = &self.details {
            v["details"] = d.clone();
        }
        if !self.continue_token.is_empty() {
            v["metadata"]["continue"] = self.continue_token.clone().into();
        }
        v
    }
}

/// Patches that cannot be applied. Upstream hides the text of a 422 behind a general sentence; ours says what is wrong.
impl From<crate::patch::Error> for ApiError {
    fn from(e: crate::patch::Error) -> Self {
        match e {
            crate::patch::Error::BadRequest(m) => Self::bad_request(m),
            crate::patch::Error::Unprocessable(m) => Self::new(422, "Invalid", m),
            crate::patch::Error::TooLarge(m) => Self::too_large(m),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_and_details() {
        let e = ApiError::not_found("apps", "deployments", "d");
        assert_eq!(e.message, "deployments.apps \"d\" not found");
        assert_eq!(
            e.to_status(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
                "reason": "NotFound", "message": e.message, "details": {"name": "d", "group": "apps", "kind": "deployments"}})
        );
        let errors = [
            FieldError::required("spec.a", ""),
            FieldError::invalid("spec.b", &json!("x"), "must be y"),
        ];
        let e = ApiError::invalid("", "Pod", "p", &errors);
        assert_eq!(
            e.message,
            "Pod \"p\" is invalid: [spec.a: Required value, spec.b: Invalid value: \"x\": must be y]"
        );
        assert_eq!(e.to_status()["details"]["causes"][1]["field"], "spec.b");
        assert_eq!(ApiError::too_many_requests("slow", 3).retry_after_seconds(), Some(3));
        assert_eq!(ApiError::from(crate::patch::Error::TooLarge("x".into())).code, 413);
    }
}
