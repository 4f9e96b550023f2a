//! The field table: for every built-in type its fields, with JSON name, protobuf tag, kind, list type
//! and keys, patch strategy, default and documentation.
//!
//! It is generated at build (see `build/main.rs`) and lies in read-only memory. Types are ordered by
//! name, fields as in Go.

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
    /// Go's duration text (`1m0s`) in JSON; a message of nanoseconds in protobuf
    Duration,
    Quantity,
    IntOrString,
    /// A JSON object in JSON; a message holding its raw bytes in protobuf
    FieldsV1,
    RawExtension,
    /// apiextensions `JSON`: any JSON value
    AnyJson,
    /// A list of strings in JSON; a message around it in protobuf (`ExtraValue`, `Verbs`)
    Strings,
    /// apiextensions `JSONSchemaPropsOrArray`: a schema or a list of them
    SchemaOrArray,
    /// apiextensions `JSONSchemaPropsOrBool`
    SchemaOrBool,
    /// apiextensions `JSONSchemaPropsOrStringArray`
    SchemaOrStrings,
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
    /// False where Go's type has no `omitempty`: the field is written even when it is zero or nil.
    pub omit_empty: bool,
    /// Go's `omitzero`: a struct is left out when it is zero (otherwise `omitempty` keeps structs).
    pub omit_zero: bool,
    /// Go's type is a pointer: absent differs from zero, and protobuf leaves it out when absent.
    pub pointer: bool,
    /// Go's type as error messages show it, where it is not the one that `kind` suggests; else empty.
    pub go_type: &'static str,
    pub list_type: Option<ListType>,
    pub list_map_keys: &'static [&'static str],
    /// `+mapType=atomic` or `+structType=atomic` on the field
    pub map_atomic: bool,
    /// `granular` in the same place, which overrules an atomic type
    pub map_granular: bool,
    pub patch_merge_key: Option<&'static str>,
    /// e.g. `["merge", "retainKeys"]`
    pub patch_strategy: &'static [&'static str],
    /// JSON text of the `+default` mark
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

impl Field {
    /// The type of the field's value, of its items or of its map values, when that is a message.
    pub fn message(&self) -> Option<TypeId> {
        match self.kind {
            Kind::Message(id) => Some(id),
            _ => None,
        }
    }
    pub fn is_inlined(&self) -> bool {
        self.json.is_empty()
    }
}

#[derive(Debug)]
pub struct Type {
    /// OpenAPI name, e.g. `io.k8s.api.core.v1.Pod`
    pub name: &'static str,
    pub doc: &'static str,
    /// `+structType=atomic` on the type
    pub atomic: bool,
    /// Its JSON has `apiVersion` and `kind`, which protobuf leaves to the envelope (Go's `TypeMeta`).
    pub type_meta: bool,
    pub fields: &'static [Field],
    /// Indices of `fields`, ordered by tag.
    pub(crate) by_tag: &'static [u8],
    /// Indices of the `fields` that have a JSON name, ordered by it.
    pub(crate) by_json: &'static [u8],
}

impl Type {
    /// The field of that JSON name, in this type or in the types inlined into it (then its tag is that
    /// of the inlined message).
    pub fn field(&self, json: &str) -> Option<&'static Field> {
        if let Some(i) = self.own_index(json) {
            return self.fields.get(i);
        }
        if self.by_json.len() == self.fields.len() || json.is_empty() {
            return None;
        }
        self.fields
            .iter()
            .filter(|f| f.is_inlined())
            .find_map(|f| get(f.message()?).field(json))
    }
    /// Index in `fields` of the field of that JSON name, inlined types apart.
    pub(crate) fn own_index(&self, json: &str) -> Option<usize> {
        let at = |i: &u8| self.fields.get(usize::from(*i)).map_or("", |f| f.json);
        let found = self.by_json.binary_search_by(|i| at(i).cmp(json)).ok()?;
        self.by_json.get(found).map(|i| usize::from(*i))
    }
    pub fn field_by_tag(&self, tag: u32) -> Option<&'static Field> {
        self.fields.get(self.tag_index(tag)?)
    }
    /// Index in `fields` of the field of that tag.
    pub(crate) fn tag_index(&self, tag: u32) -> Option<usize> {
        let at = |i: &u8| self.fields.get(usize::from(*i)).map_or(0, |f| f.tag);
        let found = self.by_tag.binary_search_by_key(&tag, at).ok()?;
        self.by_tag.get(found).map(|i| usize::from(*i))
    }
    /// All fields as JSON shows them: those of inlined types in place of the inlined field.
    pub fn flat_fields(&self) -> Vec<&'static Field> {
        let mut out = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            match field.message() {
                Some(id) if field.is_inlined() => out.extend(get(id).flat_fields()),
                _ => out.push(field),
            }
        }
        out
    }
    /// `Pod` of `io.k8s.api.core.v1.Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

mod table {
    use super::{Field, Kind, ListType, Shape, Type, TypeId};
    include!(concat!(env!("OUT_DIR"), "/table.rs"));
}
pub(crate) use table::{API_VERSION_DOC, JSON_SCHEMA_PROPS, KIND_DOC};

pub fn types() -> &'static [Type] {
    &table::TYPES
}
pub fn get(id: TypeId) -> &'static Type {
    static EMPTY: Type = Type {
        name: "",
        doc: "",
        atomic: false,
        type_meta: false,
        fields: &[],
        by_tag: &[],
        by_json: &[],
    };
    // Every TypeId comes from the table; a foreign one has no fields rather than a panic.
    table::TYPES.get(usize::from(id.0)).unwrap_or(&EMPTY)
}
/// By OpenAPI name.
pub fn by_name(name: &str) -> Option<TypeId> {
    let found = table::TYPES.binary_search_by(|t| t.name.cmp(name)).ok()?;
    u16::try_from(found).ok().map(TypeId)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The GA groups and what they refer to; a change here means that the sources changed.
    #[test]
    fn marks_are_those_of_the_source() {
        let fields = || types().iter().flat_map(|t| t.fields);
        let counted = [
            ("+listType=", fields().filter(|f| f.list_type.is_some()).count()),
            ("+listMapKey=", fields().map(|f| f.list_map_keys.len()).sum()),
            (
                "+patchMergeKey=",
                fields().filter(|f| f.patch_merge_key.is_some()).count(),
            ),
            (
                "+patchStrategy=",
                fields().filter(|f| !f.patch_strategy.is_empty()).count(),
            ),
        ];
        assert_eq!(counted, table::MARKS, "the table dropped a mark");
        assert_eq!(counted.map(|c| c.1), [311, 71, 53, 57]);
        assert_eq!(types().len(), 641);
    }

    #[test]
    fn indices_agree_with_the_fields() {
        for t in types() {
            for f in t.fields {
                assert!(std::ptr::eq(t.field_by_tag(f.tag).unwrap(), f), "{} {}", t.name, f.tag);
                if !f.is_inlined() {
                    assert!(std::ptr::eq(t.field(f.json).unwrap(), f), "{} {}", t.name, f.json);
                } else {
                    assert!(f.message().is_some(), "{} {}", t.name, f.tag);
                }
            }
            assert!(std::ptr::eq(get(by_name(t.name).unwrap()), t));
        }
    }

    #[test]
    fn names_that_no_rule_gives() {
        let field = |t: &str, f: &str| {
            get(by_name(&format!("io.k8s.api.core.v1.{t}")).unwrap())
                .field(f)
                .unwrap()
        };
        assert_eq!(field("ServiceSpec", "clusterIP").tag, 3);
        assert_eq!(field("PodStatus", "podIPs").patch_merge_key, Some("ip"));
        assert_eq!(field("PodSpec", "containers").patch_strategy, ["merge"]);
        assert_eq!(field("PodSpec", "volumes").patch_strategy, ["merge", "retainKeys"]);
        assert_eq!(field("Probe", "httpGet").tag, 2, "inlined from ProbeHandler");
        assert_eq!(field("Volume", "downwardAPI").tag, 16, "inlined from VolumeSource");
        assert_eq!(field("Container", "ports").list_map_keys, ["containerPort", "protocol"]);
        assert!(!field("ContainerStatus", "restartCount").omit_empty);
        assert!(field("ContainerStatus", "started").pointer);
        assert!(!field("PodSpec", "containers").omit_empty);
        assert!(!field("Pod", "metadata").required);
        assert_eq!(field("PodSpec", "restartPolicy").go_type, "v1.RestartPolicy");
    }
}
