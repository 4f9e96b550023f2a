//! Joins the sources and writes the table as Rust statics.
use crate::facts::{Facts, normalize};
use crate::openapi::Definition;
use crate::pb::{Field, Message, Scalar, Shape};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The reader keeps one bit or slot a field in fixed arrays.
const FIELDS_MAX: usize = 64;

struct Row {
    json: String,
    tag: u32,
    text: String,
}

pub fn table(
    messages: &[Message],
    definitions: &BTreeMap<String, Definition>,
    facts: &Facts,
) -> Result<String, String> {
    let mut named: Vec<(String, &Message)> = messages.iter().map(|m| (type_name(m, definitions, facts), m)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let ids: BTreeMap<(&str, &str), usize> = named
        .iter()
        .enumerate()
        .map(|(i, (_, m))| ((m.module, m.name.as_str()), i))
        .collect();
    let mut out = String::new();
    let w = &mut out;
    put(w, format_args!("pub static TYPES: [Type; {}] = [\n", named.len()));
    for (name, message) in &named {
        let definition = definitions.get(&name.to_lowercase());
        let doc = definition.map_or_else(|| prose(&message.doc), |d| d.doc.clone());
        let atomic = message
            .doc
            .iter()
            .any(|l| l == "+structType=atomic" || l == "+mapType=atomic");
        let type_meta = has_type_meta(name, message, definition);
        let rows = message
            .fields
            .iter()
            .map(|f| row(name, f, definition, facts, &ids).map_err(|e| format!("{name}.{}: {e}", f.name)))
            .collect::<Result<Vec<Row>, String>>()?;
        if rows.len() > FIELDS_MAX {
            return Err(format!("{name} has {} fields, more than {FIELDS_MAX}", rows.len()));
        }
        put(
            w,
            format_args!(
                "Type {{ name: {name:?}, doc: {doc:?}, atomic: {atomic}, type_meta: {type_meta}, fields: &[\n"
            ),
        );
        for row in &rows {
            put(w, format_args!("{}\n", row.text));
        }
        let mut by_tag: Vec<usize> = (0..rows.len()).collect();
        by_tag.sort_by_key(|&i| rows[i].tag);
        let mut by_json: Vec<usize> = (0..rows.len()).filter(|&i| !rows[i].json.is_empty()).collect();
        by_json.sort_by(|&a, &b| rows[a].json.cmp(&rows[b].json));
        put(w, format_args!("], by_tag: &{by_tag:?}, by_json: &{by_json:?} }},\n"));
    }
    put(w, format_args!("];\n"));
    let props = named
        .iter()
        .position(|(n, _)| n.ends_with("apiextensions.v1.JSONSchemaProps"));
    let props = props.ok_or("no JSONSchemaProps")?;
    put(
        w,
        format_args!("pub const JSON_SCHEMA_PROPS: TypeId = TypeId({props});\n"),
    );
    let pod = definitions.get("io.k8s.api.core.v1.pod").ok_or("no Pod")?;
    for (constant, property) in [("API_VERSION_DOC", "apiVersion"), ("KIND_DOC", "kind")] {
        let doc = pod
            .properties
            .iter()
            .find(|(n, _)| n == property)
            .map_or("", |p| p.1.as_str());
        put(w, format_args!("pub const {constant}: &str = {doc:?};\n"));
    }
    put(
        w,
        format_args!(
            "#[cfg(test)]\npub const MARKS: [(&str, usize); 4] = {:?};\n",
            marks(messages)
        ),
    );
    Ok(out)
}

fn put(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

/// Whether the Go type embeds `TypeMeta`, that is, whether its JSON has `apiVersion` and `kind` which
/// protobuf leaves to the envelope.
fn has_type_meta(name: &str, message: &Message, definition: Option<&Definition>) -> bool {
    const UNDOCUMENTED: [&str; 7] = [
        "AdmissionReview",
        "ConversionReview",
        "PartialObjectMetadata",
        "APIGroupDiscovery",
        "RangeAllocation",
        "PodStatusResult",
        "SerializedReference",
    ];
    let short = name.rsplit('.').next().unwrap_or_default();
    match definition {
        Some(d) => {
            let has = |wanted: &str| d.properties.iter().any(|(n, _)| n == wanted);
            has("kind")
                && has("apiVersion")
                && !message
                    .fields
                    .iter()
                    .any(|f| f.name == "kind" || f.name == "api_version")
        }
        None => {
            UNDOCUMENTED.contains(&short)
                || short.ends_with("Options")
                || (short.ends_with("List") && message.fields.first().is_some_and(|f| f.name != "items"))
        }
    }
}

/// How many of each mark the sources carry, which a test pins.
fn marks(messages: &[Message]) -> [(&'static str, usize); 4] {
    ["+listType=", "+listMapKey=", "+patchMergeKey=", "+patchStrategy="].map(|mark| {
        let fields = messages.iter().flat_map(|m| &m.fields);
        (
            mark,
            fields.flat_map(|f| &f.doc).filter(|l| l.starts_with(mark)).count(),
        )
    })
}

fn type_name(message: &Message, definitions: &BTreeMap<String, Definition>, facts: &Facts) -> String {
    let name = format!(
        "io.k8s.{}.{}",
        message.module.replace('/', ".").replace('_', "-"),
        message.name
    );
    let lower = name.to_lowercase();
    if let Some(exact) = facts.names.get(&lower) {
        return exact.clone();
    }
    if let Some(d) = definitions.get(&lower) {
        return d.name.clone();
    }
    let item = lower.strip_suffix("list").and_then(|l| definitions.get(l));
    item.map_or(name, |d| format!("{}List", d.name))
}

fn row(
    type_name: &str,
    field: &Field,
    definition: Option<&Definition>,
    facts: &Facts,
    ids: &BTreeMap<(&str, &str), usize>,
) -> Result<Row, String> {
    let wanted = normalize(&field.name);
    let fact = facts.get(type_name, &field.name);
    let property = definition.and_then(|d| d.properties.iter().find(|(n, _)| normalize(n) == wanted));
    let is_message = matches!(field.scalar, Scalar::Message(..)) && field.shape == Shape::Single;
    let json = match property {
        Some((name, _)) => name.clone(),
        None if fact.inlined || (definition.is_some() && fact.json.is_empty() && is_message) => String::new(),
        None if !fact.json.is_empty() => fact.json.clone(),
        None => camel(&field.name),
    };
    let kind = kind(field, ids)?;
    let has_mark = |mark: &str| field.doc.iter().any(|l| l == mark);
    let listed = definition.is_some_and(|d| d.required.contains(&json));
    // k8s-openapi marks the metadata of every kind as required, which upstream does not.
    let always = (listed && json != "metadata") || (json == "items" && type_name.ends_with("List"));
    let omit_empty = (!always || fact.omit) && !fact.always;
    // As upstream's openapi-gen decides it.
    let required = !has_mark("+optional") && (has_mark("+required") || !omit_empty);
    let doc = property
        .map(|p| p.1.clone())
        .filter(|d| !d.is_empty())
        .unwrap_or_else(|| prose(&field.doc));
    let one = |mark: &str| field.doc.iter().find_map(|l| l.strip_prefix(mark));
    let list_type = match one("+listType=") {
        Some("atomic") => "Some(ListType::Atomic)",
        Some("set") => "Some(ListType::Set)",
        Some("map") => "Some(ListType::Map)",
        None => "None",
        Some(other) => return Err(format!("unknown list type {other:?}")),
    };
    let keys: Vec<&str> = field
        .doc
        .iter()
        .filter_map(|l| l.strip_prefix("+listMapKey="))
        .collect();
    let strategy: Vec<&str> = one("+patchStrategy=")
        .map(|s| s.split(',').collect())
        .unwrap_or_default();
    let text = format!(
        "Field {{ json: {json:?}, tag: {tag}, kind: Kind::{kind}, shape: Shape::{shape:?}, required: {required}, \
         omit_empty: {omit_empty}, omit_zero: {omit_zero}, pointer: {pointer}, go_type: {go_type:?}, \
         list_type: {list_type}, list_map_keys: &{keys:?}, map_atomic: {map_atomic}, map_granular: {map_granular}, patch_merge_key: {merge_key:?}, \
         patch_strategy: &{strategy:?}, default: {default:?}, doc: {doc:?} }},",
        tag = field.tag,
        shape = field.shape,
        omit_zero = fact.omit_zero,
        pointer = fact.pointer,
        go_type = fact.go_type.unwrap_or_default(),
        map_atomic = one("+mapType=") == Some("atomic") || one("+structType=") == Some("atomic"),
        map_granular = one("+mapType=") == Some("granular") || one("+structType=") == Some("granular"),
        merge_key = one("+patchMergeKey="),
        default = one("+default=").map(default),
    );
    Ok(Row {
        json,
        tag: field.tag,
        text,
    })
}

fn default(mark: &str) -> &str {
    match mark {
        "ref(AzureDataDiskCachingReadWrite)" => "\"ReadWrite\"",
        "ref(AzureSharedBlobDisk)" => "\"Shared\"",
        other => other,
    }
}

fn kind(field: &Field, ids: &BTreeMap<(&str, &str), usize>) -> Result<String, String> {
    let (module, name) = match &field.scalar {
        Scalar::Message(module, name) => (module.as_str(), name.as_str()),
        scalar => return Ok(format!("{scalar:?}")),
    };
    let special = match (module, name) {
        ("apimachinery/pkg/apis/meta/v1", "Time" | "MicroTime" | "Duration" | "FieldsV1") => name,
        ("apimachinery/pkg/apis/meta/v1", "Verbs") => "Strings",
        ("apimachinery/pkg/api/resource", "Quantity") => name,
        ("apimachinery/pkg/util/intstr", "IntOrString") => name,
        ("apimachinery/pkg/runtime", "RawExtension") => name,
        (_, "ExtraValue") => "Strings",
        ("apiextensions_apiserver/pkg/apis/apiextensions/v1", "Json") => "AnyJson",
        ("apiextensions_apiserver/pkg/apis/apiextensions/v1", "JsonSchemaPropsOrArray") => "SchemaOrArray",
        ("apiextensions_apiserver/pkg/apis/apiextensions/v1", "JsonSchemaPropsOrBool") => "SchemaOrBool",
        ("apiextensions_apiserver/pkg/apis/apiextensions/v1", "JsonSchemaPropsOrStringArray") => "SchemaOrStrings",
        _ => {
            let id = ids
                .get(&(module, name))
                .ok_or_else(|| format!("unknown message {module} {name}"))?;
            return Ok(format!("Message(TypeId({id}))"));
        }
    };
    Ok(special.to_owned())
}

fn camel(snake: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// A doc comment as upstream's OpenAPI shows it: marks and notes to maintainers dropped, lines joined.
fn prose(lines: &[String]) -> String {
    let mut out = String::new();
    for line in lines {
        let line = line.trim();
        if line.starts_with('+') || line.starts_with("TODO") {
            continue;
        }
        if line == "---" {
            break;
        }
        if line.is_empty() {
            if !out.is_empty() && !out.ends_with("\n\n") {
                out.push_str("\n\n");
            }
            continue;
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push(' ');
        }
        // prost marks links for rustdoc.
        for (i, part) in line.split("<http").enumerate() {
            match part.split_once('>').filter(|_| i > 0) {
                Some((link, rest)) => out.extend(["http", link, rest]),
                None => out.push_str(part),
            }
        }
    }
    out.trim_end().to_owned()
}
