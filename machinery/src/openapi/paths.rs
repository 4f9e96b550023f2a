//! Paths and operations of a resource, for built-in kinds and custom ones alike
//! (upstream: apiserver/pkg/endpoints/installer.go).
use super::Dialect;
use crate::resources::{self, Resource};
use crate::schema::{self, Kind, TypeId};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A served resource as its paths need it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub plural: &'a str,
    pub kind: &'a str,
    pub namespaced: bool,
    pub verbs: Vec<&'a str>,
    /// OpenAPI names of the kind and of its list.
    pub schema: String,
    pub list_schema: String,
    /// name, (group, version, kind), OpenAPI name of the body, verbs
    pub subresources: Vec<Sub<'a>>,
    pub protobuf: bool,
}
#[derive(Clone, Debug)]
pub struct Sub<'a> {
    pub name: &'a str,
    pub kind: (&'a str, &'a str, &'a str),
    pub schema: String,
    pub verbs: Vec<&'a str>,
}

/// Subresources that stream or forward: their verbs are connections.
const CONNECTS: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

impl From<&'static Resource> for Target<'static> {
    fn from(r: &'static Resource) -> Self {
        let name = |id: Option<TypeId>| id.map_or(String::new(), |id| schema::get(id).name.to_owned());
        Target {
            group: r.group,
            version: r.version,
            plural: r.plural,
            kind: r.kind,
            namespaced: r.namespaced,
            verbs: r.verbs.to_vec(),
            schema: name(Some(r.type_id)),
            list_schema: name(r.list_type_id()),
            subresources: r
                .subresources
                .iter()
                .map(|s| Sub {
                    name: s.name,
                    kind: s.kind,
                    schema: name(resources::type_of(s.kind.0, s.kind.1, s.kind.2)),
                    verbs: s.verbs.to_vec(),
                })
                .collect(),
            protobuf: true,
        }
    }
}

struct Writer<'t, 'a> {
    target: &'t Target<'a>,
    dialect: Dialect,
    /// Types that the operations refer to.
    types: &'t mut BTreeSet<TypeId>,
}

/// What an operation is about.
struct Operation<'a> {
    /// `get`, `put`, `post`, `patch`, `delete`
    method: &'static str,
    action: &'static str,
    /// Beginning of the operation id: `create`, `readNamespaced…` is put together from it.
    verb: &'static str,
    gvk: (&'a str, &'a str, &'a str),
    body: Option<&'a str>,
    response: &'a str,
    parameters: Vec<Value>,
    /// Status codes that answer with `response`.
    codes: &'static [&'static str],
    name_suffix: String,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Path and path item of everything the resource serves. Types that operations refer to beyond the
/// target's own are added to `types`.
pub fn paths(target: &Target, dialect: Dialect, types: &mut BTreeSet<TypeId>) -> Vec<(String, Value)> {
    let mut writer = Writer { target, dialect, types };
    let prefix = if target.group.is_empty() {
        format!("/api/{}", target.version)
    } else {
        format!("/apis/{}/{}", target.group, target.version)
    };
    let (scoped, plural) = (
        if target.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        },
        target.plural,
    );
    let mut out = Vec::new();
    if target.namespaced && target.verbs.contains(&"list") {
        out.push((format!("{prefix}/{plural}"), writer.everywhere()));
    }
    let collection = writer.collection();
    if !collection.is_empty() {
        out.push((format!("{prefix}{scoped}/{plural}"), writer.item(collection, false)));
    }
    let one = writer.one();
    if !one.is_empty() {
        out.push((format!("{prefix}{scoped}/{plural}/{{name}}"), writer.item(one, true)));
    }
    for sub in &target.subresources {
        let path = format!("{prefix}{scoped}/{plural}/{{name}}/{}", sub.name);
        if CONNECTS.contains(&sub.name) {
            out.push((path.clone(), writer.connect(sub)));
            if sub.name == "proxy" {
                out.push((format!("{path}/{{path}}"), writer.connect(sub)));
            }
        } else {
            let operations = writer.subresource(sub);
            out.push((path, writer.item(operations, true)));
        }
    }
    out
}

impl<'a> Writer<'_, 'a> {
    fn has(&self, verb: &str) -> bool {
        self.target.verbs.contains(&verb)
    }
    fn gvk(&self) -> (&'a str, &'a str, &'a str) {
        (self.target.group, self.target.version, self.target.kind)
    }

    /// Lists of a namespaced kind over all namespaces.
    fn everywhere(&mut self) -> Value {
        let list = self.target.list_schema.clone();
        let operation = Operation {
            name_suffix: "ForAllNamespaces".into(),
            ..self.plain("get", "list", "list", None, &list, &["200"])
        };
        let mut item = Map::new();
        item.insert("get".into(), self.operation(&operation, Scope::All));
        let mut shared = list_parameters(self.dialect);
        shared.push(query(self.dialect, "pretty", "string"));
        item.insert("parameters".into(), Value::Array(shared));
        Value::Object(item)
    }

    fn plain<'o>(
        &self,
        method: &'static str,
        action: &'static str,
        verb: &'static str,
        body: Option<&'o str>,
        response: &'o str,
        codes: &'static [&'static str],
    ) -> Operation<'o>
    where
        'a: 'o,
    {
        Operation {
            method,
            action,
            verb,
            gvk: self.gvk(),
            body,
            response,
            parameters: Vec::new(),
            codes,
            name_suffix: String::new(),
        }
    }

    fn collection(&mut self) -> Map<String, Value> {
        let (own, list) = (self.target.schema.clone(), self.target.list_schema.clone());
        let (d, status, options) = (self.dialect, format!("{META}Status"), format!("{META}DeleteOptions"));
        let mut out = Map::new();
        if self.has("list") {
            let mut operation = self.plain("get", "list", "list", None, &list, &["200"]);
            operation.parameters = list_parameters(d);
            out.insert("get".into(), self.operation(&operation, Scope::Own));
        }
        if self.has("create") {
            let mut operation = self.plain("post", "post", "create", Some(&own), &own, &["200", "201", "202"]);
            operation.parameters = write_parameters(d);
            out.insert("post".into(), self.operation(&operation, Scope::Own));
        }
        if self.has("deletecollection") {
            let mut operation = self.plain(
                "delete",
                "deletecollection",
                "delete",
                Some(&options),
                &status,
                &["200"],
            );
            operation.parameters = list_parameters(d);
            operation
                .parameters
                .retain(|p| p["name"] != "watch" && p["name"] != "allowWatchBookmarks");
            operation.parameters.extend(delete_parameters(d));
            out.insert("delete".into(), self.operation(&operation, Scope::Own));
        }
        out
    }

    fn one(&mut self) -> Map<String, Value> {
        let own = self.target.schema.clone();
        let (d, status) = (self.dialect, format!("{META}Status"));
        let (options, patch) = (format!("{META}DeleteOptions"), format!("{META}Patch"));
        let mut out = Map::new();
        if self.has("get") {
            let operation = self.plain("get", "get", "read", None, &own, &["200"]);
            out.insert("get".into(), self.operation(&operation, Scope::Own));
        }
        if self.has("update") {
            let mut operation = self.plain("put", "put", "replace", Some(&own), &own, &["200", "201"]);
            operation.parameters = write_parameters(d);
            out.insert("put".into(), self.operation(&operation, Scope::Own));
        }
        if self.has("patch") {
            let mut operation = self.plain("patch", "patch", "patch", Some(&patch), &own, &["200", "201"]);
            operation.parameters = patch_parameters(d);
            out.insert("patch".into(), self.operation(&operation, Scope::Own));
        }
        if self.has("delete") {
            let mut operation = self.plain("delete", "delete", "delete", Some(&options), &status, &["200", "202"]);
            operation.parameters = delete_parameters(d);
            out.insert("delete".into(), self.operation(&operation, Scope::Own));
        }
        out
    }

    fn subresource(&mut self, sub: &Sub<'a>) -> Map<String, Value> {
        let (d, patch) = (self.dialect, format!("{META}Patch"));
        let suffix: String = capital(sub.name);
        let mut out = Map::new();
        let rows: [(&str, &'static str, &'static str, &'static str, &'static [&'static str]); 4] = [
            ("get", "get", "get", "read", &["200"]),
            ("create", "post", "post", "create", &["200", "201", "202"]),
            ("update", "put", "put", "replace", &["200", "201"]),
            ("patch", "patch", "patch", "patch", &["200", "201"]),
        ];
        for (_, method, action, verb, codes) in rows.into_iter().filter(|r| sub.verbs.contains(&r.0)) {
            let body = match method {
                "get" => None,
                "patch" => Some(patch.as_str()),
                _ => Some(sub.schema.as_str()),
            };
            let mut operation = self.plain(method, action, verb, body, &sub.schema, codes);
            operation.gvk = sub.kind;
            operation.name_suffix.clone_from(&suffix);
            operation.parameters = match method {
                "get" if sub.name == "log" => log_parameters(d),
                "get" => Vec::new(),
                "patch" => patch_parameters(d),
                _ => write_parameters(d),
            };
            out.insert(method.to_owned(), self.operation(&operation, Scope::Own));
        }
        out
    }

    /// A path item with the parameters that all of its operations share.
    fn item(&self, mut operations: Map<String, Value>, named: bool) -> Value {
        let mut shared = Vec::new();
        if named {
            shared.push(in_path(
                self.dialect,
                "name",
                &format!("name of the {}", self.target.kind),
            ));
        }
        if self.target.namespaced {
            shared.push(in_path(
                self.dialect,
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        shared.push(query(self.dialect, "pretty", "string"));
        operations.insert("parameters".into(), Value::Array(shared));
        Value::Object(operations)
    }

    fn connect(&self, sub: &Sub<'a>) -> Value {
        let mut out = Map::new();
        for verb in &sub.verbs {
            let method = match *verb {
                "create" => "post",
                "update" => "put",
                other => other,
            };
            let response = match self.dialect {
                Dialect::V2 => json!({"description": "OK", "schema": {"type": "string"}}),
                Dialect::V3 => json!({"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}),
            };
            let mut operation = json!({
                "description": format!("connect {} requests to {} of {}", method.to_uppercase(), sub.name, self.target.kind),
                "operationId": format!("connect{}{}{}{}{}", self.version_id(), capital(method), self.scope_id(Scope::Own), self.target.kind, capital(sub.name)),
                "tags": [self.tag()],
                "responses": {"200": response, "401": {"description": "Unauthorized"}},
                "x-kubernetes-action": "connect",
                "x-kubernetes-group-version-kind": gvk(sub.kind),
            });
            if self.dialect == Dialect::V2 {
                operation["consumes"] = json!(["*/*"]);
                operation["produces"] = json!(["*/*"]);
                operation["schemes"] = json!(["https"]);
            }
            out.insert(method.to_owned(), operation);
        }
        let mut item = self.item(out, true);
        // The options kind of a connection is its query.
        let options = resources::type_of(sub.kind.0, sub.kind.1, sub.kind.2);
        let fields = options.map(|id| schema::get(id).fields).unwrap_or_default();
        if let Some(shared) = item["parameters"].as_array_mut() {
            shared.extend(fields.iter().map(|f| {
                let kind = match f.kind {
                    Kind::Bool => "boolean",
                    Kind::Int32 | Kind::Int64 => "integer",
                    _ => "string",
                };
                query(self.dialect, f.json, kind)
            }));
        }
        item
    }

    fn version_id(&self) -> String {
        let group = match self.target.group {
            "" => "core",
            other => other.strip_suffix(".k8s.io").unwrap_or(other),
        };
        let group: String = group.split('.').map(capital).collect();
        format!("{group}{}", capital(self.target.version))
    }
    fn scope_id(&self, scope: Scope) -> &'static str {
        if self.target.namespaced && scope == Scope::Own {
            "Namespaced"
        } else {
            ""
        }
    }
    fn tag(&self) -> String {
        let group = match self.target.group {
            "" => "core".to_owned(),
            other => other
                .strip_suffix(".k8s.io")
                .unwrap_or(other)
                .split('.')
                .map(capital)
                .collect::<String>(),
        };
        let mut chars = group.chars();
        let lower: String = chars
            .next()
            .map(|c| c.to_ascii_lowercase())
            .into_iter()
            .chain(chars)
            .collect();
        format!("{lower}_{}", self.target.version)
    }

    fn operation_id(&self, o: &Operation, scope: Scope) -> String {
        let (version, scope, kind) = (self.version_id(), self.scope_id(scope), self.target.kind);
        match o.action {
            "deletecollection" => format!("delete{version}Collection{scope}{kind}"),
            _ => format!("{}{version}{scope}{kind}{}", o.verb, o.name_suffix),
        }
    }

    fn operation(&mut self, o: &Operation, scope: Scope) -> Value {
        for name in o.body.iter().copied().chain([o.response]) {
            if let Some(id) = schema::by_name(name) {
                self.types.insert(id);
            }
        }
        let v2 = self.dialect == Dialect::V2;
        let produced = match (self.target.protobuf, o.action) {
            (true, "list") => [&MEDIA[..], &STREAMS[..]].concat(),
            (true, _) => MEDIA.to_vec(),
            (false, "list") => vec![MEDIA[0], MEDIA[1], STREAMS[0]],
            (false, _) => vec![MEDIA[0], MEDIA[1]],
        };
        let mut responses = Map::new();
        for code in o.codes {
            let description = match *code {
                "200" => "OK",
                "201" => "Created",
                _ => "Accepted",
            };
            let reference = self.dialect.reference(o.response);
            let response = if v2 {
                json!({"description": description, "schema": reference})
            } else {
                let content: Map<String, Value> = produced
                    .iter()
                    .map(|m| ((*m).to_owned(), json!({"schema": reference})))
                    .collect();
                json!({"description": description, "content": content})
            };
            responses.insert((*code).to_owned(), response);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        let mut out = json!({
            "description": describe(o, self.target.kind),
            "operationId": self.operation_id(o, scope),
            "tags": [self.tag()],
            "responses": responses,
            "x-kubernetes-action": o.action,
            "x-kubernetes-group-version-kind": gvk(o.gvk),
        });
        let mut parameters = o.parameters.clone();
        if let Some(body) = o.body {
            let reference = self.dialect.reference(body);
            let required = o.method != "delete";
            let media: Vec<&str> = match o.method {
                "patch" => PATCHES.to_vec(),
                _ => vec!["*/*"],
            };
            if v2 {
                let mut parameter = json!({"name": "body", "in": "body", "schema": reference});
                if required {
                    parameter["required"] = json!(true);
                }
                parameters.insert(0, parameter);
                out["consumes"] = json!(media);
            } else {
                let content: Map<String, Value> = media
                    .iter()
                    .map(|m| ((*m).to_owned(), json!({"schema": reference})))
                    .collect();
                out["requestBody"] = json!({"content": content});
                if required {
                    out["requestBody"]["required"] = json!(true);
                }
            }
        } else if v2 {
            out["consumes"] = json!(["*/*"]);
        }
        if v2 {
            out["produces"] = json!(produced);
            out["schemes"] = json!(["https"]);
        }
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        out
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Own,
    All,
}

const MEDIA: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const STREAMS: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

fn gvk((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}
fn describe(o: &Operation, kind: &str) -> String {
    match (o.action, o.name_suffix.as_str()) {
        ("list", _) => format!("list or watch objects of kind {kind}"),
        ("post", "") => format!("create a {kind}"),
        ("post", sub) => format!("create {} of a {kind}", sub.to_lowercase()),
        ("get", "") => format!("read the specified {kind}"),
        ("get", sub) => format!("read {} of the specified {kind}", sub.to_lowercase()),
        ("put", "") => format!("replace the specified {kind}"),
        ("put", sub) => format!("replace {} of the specified {kind}", sub.to_lowercase()),
        ("patch", "") => format!("partially update the specified {kind}"),
        ("patch", sub) => format!("partially update {} of the specified {kind}", sub.to_lowercase()),
        ("deletecollection", _) => format!("delete collection of {kind}"),
        _ => format!("delete a {kind}"),
    }
}

fn query(dialect: Dialect, name: &str, kind: &str) -> Value {
    let mut out = json!({"name": name, "in": "query", "uniqueItems": true});
    if let Some(doc) = option_doc(name) {
        out["description"] = doc.into();
    }
    if dialect == Dialect::V2 {
        out["type"] = kind.into();
    } else {
        out["schema"] = json!({"type": kind, "uniqueItems": true});
        if let Some(map) = out.as_object_mut() {
            map.remove("uniqueItems");
        }
    }
    out
}
fn in_path(dialect: Dialect, name: &str, doc: &str) -> Value {
    let mut out = json!({"name": name, "in": "path", "required": true, "description": doc});
    if dialect == Dialect::V2 {
        out["type"] = "string".into();
        out["uniqueItems"] = true.into();
    } else {
        out["schema"] = json!({"type": "string", "uniqueItems": true});
    }
    out
}
/// What the options kinds say about their fields is what the parameters mean.
fn option_doc(name: &str) -> Option<&'static str> {
    ["ListOptions", "PatchOptions", "DeleteOptions"]
        .iter()
        .filter_map(|kind| schema::by_name(&format!("{META}{kind}")))
        .chain(schema::by_name("io.k8s.api.core.v1.PodLogOptions"))
        .find_map(|id| schema::get(id).field(name).map(|f| f.doc))
        .filter(|doc| !doc.is_empty())
}
fn queries(dialect: Dialect, names: &[(&str, &str)]) -> Vec<Value> {
    names.iter().map(|(name, kind)| query(dialect, name, kind)).collect()
}
fn write_parameters(d: Dialect) -> Vec<Value> {
    queries(
        d,
        &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
        ],
    )
}
fn patch_parameters(d: Dialect) -> Vec<Value> {
    let mut out = write_parameters(d);
    out.push(query(d, "force", "boolean"));
    out
}
fn delete_parameters(d: Dialect) -> Vec<Value> {
    queries(
        d,
        &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
    )
}
fn list_parameters(d: Dialect) -> Vec<Value> {
    queries(
        d,
        &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
    )
}
fn log_parameters(d: Dialect) -> Vec<Value> {
    queries(
        d,
        &[
            ("container", "string"),
            ("follow", "boolean"),
            ("insecureSkipTLSVerifyBackend", "boolean"),
            ("limitBytes", "integer"),
            ("previous", "boolean"),
            ("sinceSeconds", "integer"),
            ("stream", "string"),
            ("tailLines", "integer"),
            ("timestamps", "boolean"),
        ],
    )
}
