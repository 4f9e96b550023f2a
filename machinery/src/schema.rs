//! The field table: for every built-in type its fields, with JSON name, protobuf tag, kind, list type
//! and keys, patch strategy, default and documentation.

/// Index of a type in [`types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    /// base64 in JSON
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    /// RFC 3339 with seconds in JSON; a message of seconds and nanos in protobuf
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// A JSON object in JSON; a message holding its raw bytes in protobuf
    FieldsV1,
    RawExtension,
    /// apiextensions `JSON`: any JSON value
    AnyJson,
    Message(TypeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Single,
    List,
    /// string-keyed map
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

#[derive(Debug)]
pub struct Field {
    /// Name in JSON, e.g. `clusterIP`; empty when the field is inlined into its parent's JSON.
    pub json: &'static str,
    pub tag: u32,
    pub kind: Kind,
    pub shape: Shape,
    pub required: bool,
    /// False where Go's type is a value without `omitempty`: the field is written even when it is zero.
    pub omit_empty: bool,
    pub list_type: Option<ListType>,
    pub list_map_keys: &'static [&'static str],
    pub patch_merge_key: Option<&'static str>,
    /// e.g. `["merge", "retainKeys"]`
    pub patch_strategy: &'static [&'static str],
    /// JSON text of the `+default` mark
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

#[derive(Debug)]
pub struct Type {
    /// OpenAPI name, e.g. `io.k8s.api.core.v1.Pod`
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [Field],
}

impl Type {
    pub fn field(&self, _json: &str) -> Option<&'static Field> {
        todo!()
    }
    pub fn field_by_tag(&self, _tag: u32) -> Option<&'static Field> {
        todo!()
    }
}

pub fn types() -> &'static [Type] {
    todo!()
}
pub fn get(_id: TypeId) -> &'static Type {
    todo!()
}
/// By OpenAPI name.
pub fn by_name(_name: &str) -> Option<TypeId> {
    todo!()
}
