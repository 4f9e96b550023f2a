//! OpenAPI v3 (one document a group version) and v2, generated from the field table and the resources,
//! with patch keys, list types, defaults and `x-kubernetes-group-version-kind`.
//!
//! Documents are written piece by piece: a tree exists only of one definition or one path at a time,
//! so that a document costs its text and no more. Nothing is kept; callers cache the text they serve.
mod gnostic;
mod paths;
mod schemas;

pub use paths::{Target, paths};

use crate::resources::{self, Resource};
use crate::schema::TypeId;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Which edition of OpenAPI a piece is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

const TITLE: &str = "Kubernetes";
/// The API that is served; kubectl shows it nowhere, tools that generate clients do.
const VERSION: &str = "v1.35.4";

/// The v3 document of one group version (`api/v1`, `apis/apps/v1`), JSON bytes.
pub fn v3(group: &str, version: &str) -> Option<Vec<u8>> {
    let served: Vec<&Resource> = in_group_version(group, version).collect();
    if served.is_empty() {
        return None;
    }
    let mut types = BTreeSet::new();
    let mut out = Vec::with_capacity(1 << 20);
    put_head(&mut out, "openapi", "3.0.0");
    out.extend_from_slice(b",\"paths\":");
    let each = served
        .iter()
        .flat_map(|r| paths(&Target::from(*r), Dialect::V3, &mut types));
    // The closure above borrows `types`, so the paths are collected before the schemas are written.
    let all: Vec<(String, Value)> = each.collect();
    put_object(&mut out, all.into_iter());
    for r in &served {
        types.insert(r.type_id);
    }
    out.extend_from_slice(b",\"components\":{\"schemas\":");
    put_object(
        &mut out,
        schemas::closure(types)
            .into_iter()
            .map(|id| schemas::definition(id, Dialect::V3)),
    );
    out.extend_from_slice(b",\"securitySchemes\":");
    put_value(&mut out, &json!({"BearerToken": bearer_token()}));
    out.extend_from_slice(b"}}");
    Some(out)
}

/// The v2 document of everything, JSON bytes.
pub fn v2() -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 20);
    put_head(&mut out, "swagger", "2.0");
    out.extend_from_slice(b",\"paths\":");
    let mut types = all_kinds();
    let resources = resources::all().iter();
    put_object(
        &mut out,
        resources.flat_map(|r| paths(&Target::from(r), Dialect::V2, &mut types)),
    );
    out.extend_from_slice(b",\"definitions\":");
    put_object(
        &mut out,
        schemas::closure(types)
            .into_iter()
            .map(|id| schemas::definition(id, Dialect::V2)),
    );
    out.extend_from_slice(b",\"securityDefinitions\":");
    put_value(&mut out, &json!({"BearerToken": bearer_token()}));
    out.extend_from_slice(b",\"security\":[{\"BearerToken\":[]}]}");
    out
}

/// The v2 document as gnostic's `openapi.v2.Document` protobuf, which kubectl and client-go ask for.
pub fn v2_proto() -> Vec<u8> {
    let mut types = all_kinds();
    let mut document = gnostic::Document::new(TITLE, VERSION);
    for (path, item) in resources::all()
        .iter()
        .flat_map(|r| paths(&Target::from(r), Dialect::V2, &mut types))
    {
        document.path(&path, &item);
    }
    for id in schemas::closure(types) {
        let (name, definition) = schemas::definition(id, Dialect::V2);
        document.definition(&name, &definition);
    }
    document.finish(&bearer_token())
}

fn in_group_version(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    let wanted = (group.to_owned(), version.to_owned());
    resources::all()
        .iter()
        .filter(move |r| r.group == wanted.0 && r.version == wanted.1)
}

fn all_kinds() -> BTreeSet<TypeId> {
    resources::all().iter().map(|r| r.type_id).collect()
}

fn bearer_token() -> Value {
    json!({"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"})
}

fn put_head(out: &mut Vec<u8>, name: &str, edition: &str) {
    out.push(b'{');
    put_value(out, &Value::String(name.to_owned()));
    out.push(b':');
    put_value(out, &Value::String(edition.to_owned()));
    out.extend_from_slice(b",\"info\":");
    put_value(out, &json!({"title": TITLE, "version": VERSION}));
}
fn put_value(out: &mut Vec<u8>, value: &Value) {
    // A tree of values always has a text, and a Vec always takes it.
    let _ = serde_json::to_writer(out, value);
}
fn put_object(out: &mut Vec<u8>, entries: impl Iterator<Item = (String, Value)>) {
    out.push(b'{');
    for (i, (name, value)) in entries.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_value(out, &Value::String(name));
        out.push(b':');
        put_value(out, &value);
    }
    out.push(b'}');
}

/// The definition of one type and the names it refers to, for documents that others write (CRDs).
pub fn definition(id: TypeId, dialect: Dialect) -> (String, Value) {
    schemas::definition(id, dialect)
}
/// These types and all that they refer to.
pub fn closure(types: impl IntoIterator<Item = TypeId>) -> BTreeSet<TypeId> {
    schemas::closure(types.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let (true, Some(name)) = (key == "$ref", value.as_str()) {
                        found.insert(name.rsplit('/').next().unwrap().to_owned());
                    }
                    references(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|i| references(i, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_is_defined() {
        for (group, versions) in resources::groups() {
            for version in *versions {
                let document: Value = serde_json::from_slice(&v3(group, version).unwrap()).unwrap();
                let mut found = BTreeSet::new();
                references(&document, &mut found);
                for name in found {
                    assert!(
                        document["components"]["schemas"].get(&name).is_some(),
                        "{group}/{version}: {name}"
                    );
                }
            }
        }
        let document: Value = serde_json::from_slice(&v2()).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for name in found {
            assert!(document["definitions"].get(&name).is_some(), "v2: {name}");
        }
        assert!(v3("nope", "v1").is_none());
    }

    #[test]
    fn what_clients_look_for() {
        let document: Value = serde_json::from_slice(&v3("apps", "v1").unwrap()).unwrap();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-action"], "patch");
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        let names: Vec<_> = patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].clone())
            .collect();
        for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
            assert!(names.contains(&json!(name)), "{name}");
        }
        let schemas = &document["components"]["schemas"];
        let pod_spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
        let containers = &pod_spec["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(pod_spec["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
        let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(
            deployment["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
        );
        assert_eq!(deployment["properties"]["metadata"]["default"], json!({}));
        assert!(
            deployment["description"]
                .as_str()
                .unwrap()
                .starts_with("Deployment enables")
        );
        let probe = &schemas["io.k8s.api.core.v1.Probe"]["properties"];
        assert!(probe.get("httpGet").is_some(), "inlined fields are the parent's");
        assert_eq!(
            schemas["io.k8s.api.core.v1.ContainerPort"]["required"],
            json!(["containerPort"])
        );
        assert_eq!(
            schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"],
            "TCP"
        );
    }

    #[test]
    fn the_protobuf_document_holds_what_the_text_holds() {
        let text: Value = serde_json::from_slice(&v2()).unwrap();
        let (paths, definitions) = gnostic::count(&v2_proto()).unwrap();
        assert_eq!(paths, text["paths"].as_object().unwrap().len());
        assert_eq!(definitions, text["definitions"].as_object().unwrap().len());
    }
}
