//! Reads the messages of `k8s-pb`: every struct with its fields, tags, types and doc comments.
use std::path::Path;
use syn::{Attribute, Expr, Fields, GenericArgument, Item, ItemStruct, Lit, Meta, PathArguments, Type};

/// The modules that make up the table: the GA groups, and what they refer to.
const MODULES: &[&str] = &[
    "api/admission/v1",
    "api/admissionregistration/v1",
    "api/apidiscovery/v2",
    "api/apps/v1",
    "api/authentication/v1",
    "api/authorization/v1",
    "api/autoscaling/v1",
    "api/autoscaling/v2",
    "api/batch/v1",
    "api/certificates/v1",
    "api/coordination/v1",
    "api/core/v1",
    "api/discovery/v1",
    "api/events/v1",
    "api/flowcontrol/v1",
    "api/networking/v1",
    "api/node/v1",
    "api/policy/v1",
    "api/rbac/v1",
    "api/resource/v1",
    "api/scheduling/v1",
    "api/storage/v1",
    "apiextensions_apiserver/pkg/apis/apiextensions/v1",
    "apimachinery/pkg/api/resource",
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/runtime",
    "apimachinery/pkg/util/intstr",
    "kube_aggregator/pkg/apis/apiregistration/v1",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Single,
    List,
    Map,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scalar {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    /// Module and struct name, e.g. `api/core/v1` and `PodSpec`.
    Message(String, String),
}

pub struct Field {
    /// As in Rust, without `r#`: `cluster_ip`.
    pub name: String,
    pub tag: u32,
    pub shape: Shape,
    pub scalar: Scalar,
    pub doc: Vec<String>,
}

pub struct Message {
    pub module: &'static str,
    pub name: String,
    pub fields: Vec<Field>,
    pub doc: Vec<String>,
}

pub fn read(src: &Path) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    for &module in MODULES {
        let path = src.join(module).join("mod.rs");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
        let file = syn::parse_file(&text).map_err(|e| format!("parse {}: {e}", path.display()))?;
        for item in &file.items {
            if let Item::Struct(item) = item {
                messages.push(message(module, item).map_err(|e| format!("{module} {}: {e}", item.ident))?);
            }
        }
    }
    Ok(messages)
}

fn message(module: &'static str, item: &ItemStruct) -> Result<Message, String> {
    let Fields::Named(named) = &item.fields else {
        return Ok(Message {
            module,
            name: item.ident.to_string(),
            fields: Vec::new(),
            doc: docs(&item.attrs),
        });
    };
    let mut fields = Vec::new();
    for field in &named.named {
        let name = field.ident.as_ref().ok_or("a field has no name")?.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
        let attr = field
            .attrs
            .iter()
            .find(|a| a.path().is_ident("prost"))
            .ok_or_else(|| format!("{name} has no prost attribute"))?;
        let Meta::List(list) = &attr.meta else {
            return Err(format!("{name}: strange prost attribute"));
        };
        let marks = list.tokens.to_string().replace(' ', "");
        let tag = between(&marks, "tag=\"", "\"")
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| format!("{name} has no tag"))?;
        let (shape, kind) = match between(&marks, "btree_map=\"", "\"") {
            Some(pair) => (Shape::Map, pair.split(',').nth(1).unwrap_or_default().to_owned()),
            None => {
                let shape = if marks.contains(",repeated,") {
                    Shape::List
                } else {
                    Shape::Single
                };
                let kind = marks.split([',', '=']).next().unwrap_or_default().to_owned();
                (shape, kind)
            }
        };
        let scalar = match kind.as_str() {
            "string" => Scalar::String,
            "bytes" => Scalar::Bytes,
            "bool" => Scalar::Bool,
            "int32" => Scalar::Int32,
            "int64" => Scalar::Int64,
            "double" => Scalar::Double,
            "message" => {
                let (module, name) = target(module, &field.ty)?;
                Scalar::Message(module, name)
            }
            other => return Err(format!("{name}: unknown protobuf type {other:?}")),
        };
        fields.push(Field {
            name,
            tag,
            shape,
            scalar,
            doc: docs(&field.attrs),
        });
    }
    Ok(Message {
        module,
        name: item.ident.to_string(),
        fields,
        doc: docs(&item.attrs),
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    text[start..].find(after).map(|end| &text[start..start + end])
}

/// The message type inside `Option<…>`, `Vec<…>`, `Box<…>` or the value of a `BTreeMap<…>`.
fn target(module: &str, ty: &Type) -> Result<(String, String), String> {
    let Type::Path(path) = ty else {
        return Err("a field type is not a path".to_owned());
    };
    let last = path.path.segments.last().ok_or("an empty path")?;
    if let PathArguments::AngleBracketed(args) = &last.arguments {
        let inner = args.args.iter().rev().find_map(|a| match a {
            GenericArgument::Type(t) => Some(t),
            _ => None,
        });
        return target(module, inner.ok_or("no generic argument")?);
    }
    let mut at: Vec<String> = module.split('/').map(str::to_owned).collect();
    let segments: Vec<String> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
    let (name, modules) = segments.split_last().ok_or("an empty path")?;
    for segment in modules {
        match segment.as_str() {
            "super" => {
                at.pop();
            }
            "crate" => at.clear(),
            other => at.push(other.to_owned()),
        }
    }
    Ok((at.join("/"), name.clone()))
}

fn docs(attrs: &[Attribute]) -> Vec<String> {
    let mut lines = Vec::new();
    for attr in attrs {
        let Meta::NameValue(pair) = &attr.meta else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if let Expr::Lit(lit) = &pair.value
            && let Lit::Str(text) = &lit.lit
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines
}
