//! Which container of a pod a request means (upstream: pkg/registry/core/pod/strategy.go, validateContainer).

use keelson_machinery::status::ApiError;
use serde_json::Value;

/// In the order in which upstream visits and lists them.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The container of that name, or the only one where none is named.
pub(super) fn choose(pod: &Value, wanted: &str) -> Result<String, ApiError> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or("");
    let names = |list: &str| {
        let list = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|c| c["name"].as_str())
    };
    if !wanted.is_empty() {
        return match LISTS.iter().any(|l| names(l).any(|n| n == wanted)) {
            true => Ok(wanted.to_owned()),
            false => Err(ApiError::bad_request(format!(
                "container {wanted} is not valid for pod {pod_name}"
            ))),
        };
    }
    let mut own = names("containers");
    match (own.next(), own.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (None, _) => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod_name}"
        ))),
        _ => {
            let all: Vec<&str> = LISTS.iter().flat_map(|l| names(l)).collect();
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                all.join(" ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn one_is_chosen_and_several_must_be_named() {
        let one = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}]}});
        assert_eq!(choose(&one, "").unwrap(), "a");
        for name in ["i", "a", "e"] {
            assert_eq!(choose(&one, name).unwrap(), name);
        }
        assert_eq!(
            choose(&one, "x").unwrap_err().message,
            "container x is not valid for pod p"
        );

        let two = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}});
        let e = choose(&two, "").unwrap_err();
        assert_eq!(
            e.message,
            "a container name must be specified for pod p, choose one of: [i a b]"
        );
        assert_eq!((e.code, e.reason), (400, "BadRequest"));
        assert_eq!(choose(&two, "b").unwrap(), "b");
        assert_eq!(
            choose(&json!({"metadata": {"name": "p"}}), "").unwrap_err().message,
            "a container name must be specified for pod p"
        );
    }
}
