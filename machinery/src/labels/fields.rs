//! Field selectors: `metadata.name=x,spec.nodeName!=y`, with `\` before `,`, `=` and `\` in values.
use std::fmt;

/// `metadata.name=x,spec.nodeName!=y`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// path, equal (true) or unequal, value
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let (path, equal, value) =
                term(part).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            let value = unescape(value)?;
            // Upstream drops a term of nothing.
            if !(path.is_empty() && value.is_empty()) {
                terms.push((path.to_owned(), equal, value));
            }
        }
        Ok(FieldSelector { terms })
    }
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
    pub fn matches(&self, get: impl Fn(&str) -> String) -> bool {
        self.terms
            .iter()
            .all(|(path, equal, value)| (get(path) == *value) == *equal)
    }
    /// The one value that a field must have, where the selector asks for exactly one.
    pub fn requires(&self, path: &str) -> Option<&str> {
        let found = self.terms.iter().find(|(p, equal, _)| p == path && *equal)?;
        Some(&found.2)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (path, equal, value)) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{path}{}{}", if *equal { "=" } else { "!=" }, escape(value))?;
        }
        Ok(())
    }
}

/// A value as it may stand in a field selector.
pub(crate) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(text.get(start..i).unwrap_or_default());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn term(part: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in part.char_indices() {
        let rest = part.get(i..)?;
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((part.get(..i)?, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            // Upstream prints the rune's number.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    c as u32
                ));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}
