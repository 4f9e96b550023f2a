//! The built-in resources: one row a kind (reference: the Kubernetes 1.35 API surface, GA groups).
use crate::schema::TypeId;

#[derive(Debug)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    /// e.g. `["get","list","watch","create","update","patch","delete","deletecollection"]`, or `["create"]` for reviews
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Under `/registry`, as upstream: `pods`, `services/specs`, `minions`, `apps` kinds as `deployments`, …
    /// The version that storage uses is the row's own unless `storage_version` says otherwise.
    pub storage_prefix: &'static str,
    pub storage_version: (&'static str, &'static str),
    pub type_id: TypeId,
    pub list_kind: &'static str,
}

#[derive(Debug)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `log`, …
    pub name: &'static str,
    /// group, version, kind of the body (`("autoscaling","v1","Scale")` for scale)
    pub kind: (&'static str, &'static str, &'static str),
    pub verbs: &'static [&'static str],
}

pub fn all() -> &'static [Resource] {
    todo!()
}
pub fn by_resource(_group: &str, _version: &str, _plural: &str) -> Option<&'static Resource> {
    todo!()
}
pub fn by_kind(_group: &str, _version: &str, _kind: &str) -> Option<&'static Resource> {
    todo!()
}
/// Group and versions in discovery order, preferred version first.
pub fn groups() -> &'static [(&'static str, &'static [&'static str])] {
    todo!()
}
/// The type of any API kind, those without a resource included (DeleteOptions, Status, Scale, Table is not one).
pub fn type_of(_group: &str, _version: &str, _kind: &str) -> Option<TypeId> {
    todo!()
}
