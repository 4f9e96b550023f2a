//! Reads the definitions of `k8s-openapi` from its text: JSON names, required marks, descriptions.
//!
//! The files are generated and regular, so lines and their indentation are enough; six megabytes are
//! not parsed as Rust.
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Default)]
pub struct Definition {
    /// e.g. `io.k8s.api.core.v1.AWSElasticBlockStoreVolumeSource`
    pub name: String,
    pub doc: String,
    /// JSON name, description; in the order of the file.
    pub properties: Vec<(String, String)>,
    pub required: Vec<String>,
}

/// By lower-case OpenAPI name.
pub fn read(src: &Path) -> Result<BTreeMap<String, Definition>, String> {
    let mut definitions = BTreeMap::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("read {}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("read {}: {e}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
                if let Some(d) = definition(&text) {
                    definitions.insert(d.name.to_lowercase(), d);
                }
            }
        }
    }
    Ok(definitions)
}

fn definition(text: &str) -> Option<Definition> {
    const PROPERTY: &str = "                \"";
    let name = text.lines().next()?.strip_prefix("// Generated from definition ")?;
    let mut d = Definition {
        name: name.trim().to_owned(),
        ..Definition::default()
    };
    let mut in_required = false;
    for line in text[text.find("json_schema!(")?..].lines() {
        if let Some(rest) = line.strip_prefix("            \"description\": ") {
            d.doc = literal(rest).unwrap_or_default();
        } else if line == "            \"required\": [" {
            in_required = true;
        } else if in_required && line.starts_with("            ]") {
            in_required = false;
        } else if in_required {
            d.required.push(literal(line.trim()).unwrap_or_default());
        } else if line.starts_with(PROPERTY) && (line.ends_with(": {") || line.ends_with(": ({")) {
            d.properties
                .push((literal(line.trim()).unwrap_or_default(), String::new()));
        } else if line.starts_with(PROPERTY) && line.ends_with("),") {
            // A property that is a reference without a description of its own.
            d.properties
                .push((literal(line.trim()).unwrap_or_default(), String::new()));
        } else if let Some((_, doc)) = d.properties.last_mut() {
            let text = line.strip_prefix("                    \"description\": ").or_else(|| {
                line.trim()
                    .strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), ")
            });
            if let Some(found) = text.and_then(literal)
                && doc.is_empty()
            {
                *doc = found;
            }
        }
    }
    Some(d)
}

/// The value of the Rust string literal that `text` starts with.
fn literal(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'u' => {
                    let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}
