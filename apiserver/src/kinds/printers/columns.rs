//! Column definitions by kind.
use super::{Row, column, created};
use jiff::Timestamp;
use keelson_machinery::resources::Resource;
use serde_json::Value;

/// One `TableColumnDefinition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// string, integer, boolean, date
    pub kind: &'static str,
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    pub description: &'static str,
}

impl Column {
    pub fn to_json(&self) -> Value {
        column(self.name, self.kind, self.format, self.description, self.priority)
    }
}

pub(super) type Print = fn(&Value, Timestamp) -> Row;

const NAME_DOC: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATED_DOC: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: NAME_DOC,
};
const CREATED: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    priority: 0,
    description: CREATED_DOC,
};
static DEFAULT: [Column; 2] = [NAME, CREATED];

pub(super) fn of(_resource: &Resource) -> (&'static [Column], Print) {
    (&DEFAULT, created)
}
