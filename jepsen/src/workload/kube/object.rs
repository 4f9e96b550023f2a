//! Objects as they are sent, and what is kept of those that come.

use super::{mark, mark_in};
use crate::history::Seen;
use serde_json::{Value, json};

/// What is kept of an object; `None` when it has no name or no revision.
pub fn seen(object: &Value) -> Option<Seen> {
    let meta = &object["metadata"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    Some(Seen {
        name: meta["name"].as_str()?.to_owned(),
        rv: revision(object)?,
        uid: text(&meta["uid"]),
        v: object["data"]["mark"].as_str().and_then(mark_in).map_or(0, |(v, _)| v),
        color: text(&meta["labels"]["color"]),
        node: text(&object["spec"]["nodeName"]),
    })
}

/// The resourceVersion of an object or list.
pub fn revision(object: &Value) -> Option<i64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// What a write puts into a ConfigMap: a number and a color (none when empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub v: u64,
    pub color: &'static str,
}

impl Content {
    fn labels(&self) -> Value {
        match self.color {
            "" => json!({}),
            color => json!({"color": color}),
        }
    }

    /// A whole ConfigMap; `rv` empty is without precondition.
    pub fn config_map(&self, name: &str, rv: &str) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": self.labels()},
            "data": {"mark": mark(self.v, self.color)},
        });
        if !rv.is_empty() {
            object["metadata"]["resourceVersion"] = rv.into();
        }
        object
    }

    /// A patch in one of the forms, and its content type.
    pub fn patch(&self, form: PatchForm, rv: &str) -> (Value, &'static str) {
        let content_type = form.content_type();
        if form == PatchForm::Json {
            let mut steps = vec![
                json!({"op": "add", "path": "/metadata/labels", "value": self.labels()}),
                json!({"op": "add", "path": "/data/mark", "value": mark(self.v, self.color)}),
            ];
            if !rv.is_empty() {
                steps.push(json!({"op": "replace", "path": "/metadata/resourceVersion", "value": rv}));
            }
            return (Value::Array(steps), content_type);
        }
        let color = match self.color {
            "" => Value::Null,
            color => color.into(),
        };
        let mut patch = json!({
            "metadata": {"labels": {"color": color}},
            "data": {"mark": mark(self.v, self.color)},
        });
        if !rv.is_empty() {
            patch["metadata"]["resourceVersion"] = rv.into();
        }
        (patch, content_type)
    }
}

/// Colors that objects have; the empty one is none.
pub const COLORS: [&str; 3] = ["red", "blue", ""];

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    Merge,
    Strategic,
    Json,
}

impl PatchForm {
    pub const ALL: [PatchForm; 3] = [PatchForm::Merge, PatchForm::Strategic, PatchForm::Json];

    pub fn name(self) -> &'static str {
        match self {
            PatchForm::Merge => "merge",
            PatchForm::Strategic => "strategic",
            PatchForm::Json => "json",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            PatchForm::Merge => "application/merge-patch+json",
            PatchForm::Strategic => "application/strategic-merge-patch+json",
            PatchForm::Json => "application/json-patch+json",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_sent_is_seen() {
        let content = Content { v: 17, color: "red" };
        let mut object = content.config_map("c1", "4");
        object["metadata"]["uid"] = "u".into();
        let s = seen(&object).unwrap();
        assert_eq!((s.name.as_str(), s.rv, s.v, s.color.as_str()), ("c1", 4, 17, "red"));
        assert_eq!(seen(&content.config_map("c1", "")), None);
    }

    #[test]
    fn patches_carry_their_precondition() {
        let content = Content { v: 1, color: "" };
        let (merge, _) = content.patch(PatchForm::Merge, "9");
        assert_eq!(merge["metadata"]["resourceVersion"], "9");
        assert_eq!(merge["metadata"]["labels"]["color"], Value::Null);
        let (json, _) = content.patch(PatchForm::Json, "");
        assert_eq!(json.as_array().unwrap().len(), 2);
    }
}
