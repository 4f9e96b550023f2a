//! Strict decoding: unknown and duplicate fields, with upstream's wording
//! (`unknown field "spec.foo"`, `duplicate field "spec.replicas"`; upstream: sigs.k8s.io/json).
mod check;
mod parse;

use crate::schema::TypeId;
use serde_json::Value;

/// How many strict errors one body can produce, as upstream.
pub const STRICT_ERRORS_MAX: usize = 100;

/// Parses JSON, reporting duplicate keys by full path. The last of several values stays.
pub fn parse_json(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    parse::parse(bytes)
}
/// Checks `value` against the table: unknown fields are removed from the tree and reported; a value of
/// the wrong JSON type is an error in Go's wording (`json: cannot unmarshal string into Go struct field …`).
pub fn prune_unknown(id: TypeId, value: &mut Value) -> Result<Vec<String>, String> {
    check::check(id, value)
}
/// Both at once: the object, and what strict validation has to say about it. A duplicate inside of an
/// unknown field is not reported, since upstream skips what it does not know.
pub fn decode(id: TypeId, bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (mut value, duplicates) = parse_json(bytes).map_err(|e| e.to_string())?;
    let mut errors = prune_unknown(id, &mut value)?;
    let unknown: Vec<String> = errors
        .iter()
        .filter_map(|e| e.strip_prefix("unknown field \"")?.strip_suffix('"').map(str::to_owned))
        .collect();
    let known = |duplicate: &String| {
        let path = duplicate
            .strip_prefix("duplicate field \"")
            .and_then(|d| d.strip_suffix('"'));
        !path.is_some_and(|p| {
            unknown.iter().any(|u| {
                p.strip_prefix(u.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        })
    };
    errors.extend(duplicates.into_iter().filter(known));
    errors.truncate(STRICT_ERRORS_MAX);
    Ok((value, errors))
}

/// Go's `strconv.Quote`, for what paths hold.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resources::type_of;
    use serde_json::json;

    fn strict(api_version: &str, kind: &str, text: &str) -> Result<Vec<String>, String> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        decode(type_of(group, version, kind).unwrap(), text.as_bytes()).map(|d| d.1)
    }

    #[test]
    fn unknown_fields_are_found_and_removed() {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","bad":1},"nope":{},
            "spec":{"containers":[{"name":"c"},{"foo":1,"livenessProbe":{"httpGet":{"port":1,"x":2}}}],
                    "volumes":[{"name":"v","emptyDir":{"y":1},"emptydir":{}}]}}"#;
        let id = type_of("", "v1", "Pod").unwrap();
        let (value, errors) = decode(id, text.as_bytes()).unwrap();
        let mut sorted = errors.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [
                r#"unknown field "metadata.bad""#,
                r#"unknown field "nope""#,
                r#"unknown field "spec.containers[1].foo""#,
                r#"unknown field "spec.containers[1].livenessProbe.httpGet.x""#,
                r#"unknown field "spec.volumes[0].emptyDir.y""#,
                r#"unknown field "spec.volumes[0].emptydir""#,
            ]
        );
        assert_eq!(
            value,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
                "containers": [{"name": "c"}, {"livenessProbe": {"httpGet": {"port": 1}}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}})
        );
    }

    #[test]
    fn names_are_case_sensitive_and_maps_and_raw_values_open() {
        let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"any":{"Type":"x","default":{"free":1}}},
            "additionalProperties":{"zzz":1},"items":[{"qqq":1}]}}}]}}"#;
        let mut errors = strict("apiextensions.k8s.io/v1", "CustomResourceDefinition", text).unwrap();
        errors.sort();
        // Upstream decodes unions of schemas by themselves, so that strictness ends there.
        assert_eq!(
            errors,
            [r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.any.Type""#]
        );
        assert!(
            strict("v1", "ConfigMap", r#"{"data":{"anything":"x"}}"#)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn nested_kinds_may_say_what_they_are() {
        let text = r#"{"spec":{"volumeClaimTemplates":[{"apiVersion":"v1","kind":"PersistentVolumeClaim"}],
            "template":{"kind":"x"}}}"#;
        assert_eq!(
            strict("apps/v1", "StatefulSet", text).unwrap(),
            [r#"unknown field "spec.template.kind""#]
        );
    }

    #[test]
    fn duplicates() {
        let text = r#"{"metadata":{"labels":{"a":"1","a":"2"}},"spec":{"replicas":1,"replicas":2,"nope":{"x":1,"x":2},
            "template":{"spec":{"containers":[{"name":"a"},{"name":"b","name":"c"}]}}}}"#;
        let mut errors = strict("apps/v1", "Deployment", text).unwrap();
        errors.sort();
        assert_eq!(
            errors,
            [
                r#"duplicate field "metadata.labels.a""#,
                r#"duplicate field "spec.replicas""#,
                r#"duplicate field "spec.template.spec.containers[1].name""#,
                r#"unknown field "spec.nope""#,
            ]
        );
        let (value, _) = parse_json(text.as_bytes()).unwrap();
        assert_eq!(value["spec"]["replicas"], 2);
    }

    #[test]
    fn wrong_types_in_the_words_of_go() {
        for (kind, text, message) in [
            (
                "Deployment",
                r#"{"spec":{"replicas":"3"}}"#,
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                r#"{"spec":{"replicas":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                r#"{"spec":{"replicas":3000000000}}"#,
                "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                r#"{"spec":"x"}"#,
                "json: cannot unmarshal string into Go struct field Deployment.spec of type v1.DeploymentSpec",
            ),
            (
                "Deployment",
                r#"{"metadata":{"labels":{"a":1}}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "Deployment",
                r#"{"metadata":{"labels":[]}}"#,
                "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                "Deployment",
                r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                "Deployment",
                r#"{"spec":{"template":{"spec":{"restartPolicy":1}}}}"#,
                "json: cannot unmarshal number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                "Deployment",
                r#"{"spec":{"template":{"spec":{"containers":[{"readinessProbe":{"httpGet":{"path":1}}}]}}}}"#,
                "json: cannot unmarshal number into Go struct field HTTPGetAction.spec.template.spec.containers.readinessProbe.ProbeHandler.httpGet.path of type string",
            ),
            (
                "Deployment",
                r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
                "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
            ),
            (
                "Deployment",
                r#"{"metadata":{"creationTimestamp":5}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (
                "Deployment",
                r#"[]"#,
                "json: cannot unmarshal array into Go value of type v1.Deployment",
            ),
        ] {
            assert_eq!(strict("apps/v1", kind, text).unwrap_err(), message);
        }
        assert!(
            strict("apps/v1", "Deployment", r#"{"spec":null,"metadata":{"labels":null}}"#)
                .unwrap()
                .is_empty()
        );
    }
}
