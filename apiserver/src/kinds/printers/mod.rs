//! Tables: what `kubectl get` shows (upstream: pkg/printers/internalversion/printers.go).
//!
//! Cells are computed from the JSON tree; a kind without a printer shows its name and when it was created.
use keelson_machinery::resources::Resource;
use serde_json::{Value, json};

mod age;
mod columns;
pub use columns::Column;

/// A `meta.k8s.io/v1` Table without its envelope; rows are in the order of the items.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub cells: Vec<Value>,
    /// `TableRowCondition`s: a finished pod is marked Completed.
    pub conditions: Vec<Value>,
}

impl Row {
    fn of(cells: Vec<Value>) -> Self {
        Row {
            cells,
            conditions: Vec::new(),
        }
    }
}

impl Table {
    /// `columnDefinitions` of the Table.
    pub fn column_definitions(&self) -> Value {
        self.columns.iter().map(Column::to_json).collect()
    }
}

/// The table of some objects of one kind, as of now.
pub fn table(resource: &Resource, objects: &[Value]) -> Table {
    let now = jiff::Timestamp::now();
    let (columns, row) = columns::of(resource);
    Table {
        columns,
        rows: objects.iter().map(|o| row(o, now)).collect(),
    }
}

fn created(o: &Value, _now: jiff::Timestamp) -> Row {
    Row::of(vec![
        o["metadata"]["name"].clone(),
        o["metadata"]["creationTimestamp"].clone(),
    ])
}

/// Column types that cells need.
fn column(name: &str, kind: &str, format: &str, description: &str, priority: i32) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}
