//! One column of a table.
use keelson_machinery::schema::{self, Kind, TypeId};
use serde_json::{Value, json};

/// One `TableColumnDefinition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// string, integer, boolean, date
    pub kind: &'static str,
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Text(&'static str),
    /// The documentation of the field at this path of JSON names.
    Field(&'static str),
}

impl Column {
    pub(super) const fn text(name: &'static str, kind: &'static str, about: &'static str) -> Self {
        Column {
            name,
            kind,
            format: "",
            priority: 0,
            about: About::Text(about),
        }
    }
    pub(super) const fn field(name: &'static str, kind: &'static str, path: &'static str) -> Self {
        Column {
            name,
            kind,
            format: "",
            priority: 0,
            about: About::Field(path),
        }
    }
    /// Only with `-o wide`.
    pub(super) const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
    pub(super) const fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    pub fn to_json(self, id: TypeId) -> Value {
        let description = match self.about {
            About::Text(t) => t,
            About::Field(path) => doc(id, path),
        };
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": description, "priority": self.priority,
        })
    }
}

fn doc(id: TypeId, path: &str) -> &'static str {
    let (mut at, mut found) = (Some(id), "");
    for key in path.split('.') {
        let Some(field) = at.and_then(|id| schema::get(id).field(key)) else {
            return "";
        };
        found = field.doc;
        at = match field.kind {
            Kind::Message(id) => Some(id),
            _ => None,
        };
    }
    found
}
