//! Tables: what `kubectl get` shows (upstream: pkg/printers/internalversion/printers.go).
//!
//! Cells are computed from the JSON tree, those of `-o wide` included; a kind without a printer shows its
//! name and when it was created.
use super::tree::{entries, items, text};
use jiff::Timestamp;
use keelson_machinery::{resources::Resource, schema::TypeId};
use serde_json::Value;

mod access;
mod age;
mod cluster;
mod column;
mod columns;
mod network;
mod other;
mod pods;
mod storage;
mod workloads;
pub use column::Column;

/// A `meta.k8s.io/v1` Table without its envelope; rows are in the order of the items.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
    type_id: TypeId,
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
        self.columns.iter().map(|c| c.to_json(self.type_id)).collect()
    }
}

type Print = fn(&Value, Timestamp) -> Row;

/// The table of some objects of one kind, as of now.
pub fn table(resource: &Resource, objects: &[Value]) -> Table {
    table_at(resource, objects, Timestamp::now())
}

fn table_at(resource: &Resource, objects: &[Value], now: Timestamp) -> Table {
    let (columns, row) = columns::of(resource);
    let rows: Vec<Row> = objects.iter().map(|o| row(o, now)).collect();
    debug_assert!(rows.iter().all(|r| r.cells.len() == columns.len()));
    Table {
        columns,
        rows,
        type_id: resource.type_id,
    }
}

fn name(o: &Value) -> Value {
    text(&o["metadata"]["name"]).into()
}

fn created_since(o: &Value, now: Timestamp) -> Value {
    age::since(&o["metadata"]["creationTimestamp"], now).into()
}

fn number(v: &Value) -> Value {
    v.as_i64().unwrap_or(0).into()
}

/// Text, or what stands for its absence.
fn or<'a>(v: &'a Value, none: &'a str) -> &'a str {
    match text(v) {
        "" => none,
        s => s,
    }
}

/// `a=b,c=d` or `<none>`
fn labels(v: &Value) -> String {
    let pairs: Vec<String> = entries(v).map(|(k, v)| format!("{k}={}", text(v))).collect();
    if pairs.is_empty() {
        "<none>".into()
    } else {
        pairs.join(",")
    }
}

/// A label selector in its text form.
fn selector(v: &Value) -> Option<String> {
    let parsed = serde_json::from_value(v.clone()).ok()?;
    let s = keelson_machinery::labels::Selector::from_structured(&parsed).ok()?;
    Some(s.to_string())
}

/// Names and images of containers.
fn containers(v: &Value) -> [Value; 2] {
    let list = |key: &str| -> Value {
        let all: Vec<&str> = items(v).iter().map(|c| text(&c[key])).collect();
        all.join(",").into()
    };
    [list("name"), list("image")]
}

/// The first few of a list, and how many more there are.
fn some_of(list: &[String], shown_max: usize, none: &str) -> String {
    if list.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<&str> = list.iter().take(shown_max).map(String::as_str).collect();
    match list.len().checked_sub(shown_max) {
        Some(more) if more > 0 => format!("{} + {more} more...", shown.join(",")),
        _ => shown.join(","),
    }
}

#[cfg(test)]
mod tests;
