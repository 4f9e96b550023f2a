//! The built-in resources: one row a kind (reference: the Kubernetes 1.35 API surface, GA groups).
mod rows;

use crate::schema::{self, TypeId};
use std::collections::HashMap;
use std::sync::LazyLock;

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
    /// Empty where nothing is stored (reviews, bindings, component statuses).
    /// The version that storage uses is the row's own unless `storage_version` says otherwise.
    pub storage_prefix: &'static str,
    /// Group and version.
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

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
    pub fn is_stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }
    /// The type of the list of this kind, where there is one.
    pub fn list_type_id(&self) -> Option<TypeId> {
        type_of(self.group, self.version, self.list_kind)
    }
}

struct Index {
    rows: Vec<Resource>,
    by_resource: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), usize>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let rows = rows::build();
    let by_resource = rows
        .iter()
        .enumerate()
        .map(|(i, r)| ((r.group, r.version, r.plural), i));
    let by_kind = rows.iter().enumerate().map(|(i, r)| ((r.group, r.version, r.kind), i));
    Index {
        by_resource: by_resource.collect(),
        by_kind: by_kind.collect(),
        rows,
    }
});

pub fn all() -> &'static [Resource] {
    &INDEX.rows
}
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    INDEX
        .by_resource
        .get(&(group, version, plural))
        .and_then(|i| INDEX.rows.get(*i))
}
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    INDEX
        .by_kind
        .get(&(group, version, kind))
        .and_then(|i| INDEX.rows.get(*i))
}
/// Group and versions in discovery order, preferred version first
/// (upstream: the priorities of cmd/kube-apiserver/app/aggregator.go).
pub fn groups() -> &'static [(&'static str, &'static [&'static str])] {
    &[
        ("", &["v1"]),
        ("apiregistration.k8s.io", &["v1"]),
        ("apps", &["v1"]),
        ("events.k8s.io", &["v1"]),
        ("authentication.k8s.io", &["v1"]),
        ("authorization.k8s.io", &["v1"]),
        ("autoscaling", &["v2", "v1"]),
        ("batch", &["v1"]),
        ("certificates.k8s.io", &["v1"]),
        ("networking.k8s.io", &["v1"]),
        ("policy", &["v1"]),
        ("rbac.authorization.k8s.io", &["v1"]),
        ("storage.k8s.io", &["v1"]),
        ("admissionregistration.k8s.io", &["v1"]),
        ("apiextensions.k8s.io", &["v1"]),
        ("scheduling.k8s.io", &["v1"]),
        ("coordination.k8s.io", &["v1"]),
        ("node.k8s.io", &["v1"]),
        ("discovery.k8s.io", &["v1"]),
        ("resource.k8s.io", &["v1"]),
        ("flowcontrol.apiserver.k8s.io", &["v1"]),
    ]
}

/// The prefix of OpenAPI names of a group's types (`io.k8s.api.apps.v1.`).
pub(crate) fn package(group: &str, version: &str) -> Option<String> {
    let folder = match group {
        "" => "api.core",
        "apiextensions.k8s.io" => "apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration.k8s.io" => "kube-aggregator.pkg.apis.apiregistration",
        "meta.k8s.io" => "apimachinery.pkg.apis.meta",
        "flowcontrol.apiserver.k8s.io" => "api.flowcontrol",
        "rbac.authorization.k8s.io" => "api.rbac",
        "apps" | "autoscaling" | "batch" | "policy" => return Some(format!("io.k8s.api.{group}.{version}.")),
        other => {
            return other
                .strip_suffix(".k8s.io")
                .map(|g| format!("io.k8s.api.{g}.{version}."));
        }
    };
    Some(format!("io.k8s.{folder}.{version}."))
}

fn type_of_row(group: &str, version: &str, kind: &str) -> Option<TypeId> {
    schema::by_name(&format!("{}{kind}", package(group, version)?))
}

/// Kinds of `meta/v1` that upstream registers in every group version (metav1.AddToGroupVersion).
const COMMON: &[&str] = &[
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];
/// Kinds of `meta/v1` that belong to the group version `v1`.
const UNVERSIONED: &[&str] = &["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"];

/// The type of any API kind, those without a resource included (DeleteOptions, Status, Scale, Table is not one).
pub fn type_of(group: &str, version: &str, kind: &str) -> Option<TypeId> {
    if let Some(resource) = by_kind(group, version, kind) {
        return Some(resource.type_id);
    }
    if kind.contains('.') {
        return None;
    }
    if COMMON.contains(&kind) || (group.is_empty() && version == "v1" && UNVERSIONED.contains(&kind)) {
        return schema::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    }
    type_of_row(group, version, kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_row_has_its_types() {
        assert_eq!(rows::ROWS.len(), all().len(), "a row's kind is not in the field table");
        for r in all() {
            assert_eq!(schema::get(r.type_id).short_name(), r.kind);
            if r.is_stored() {
                assert!(r.list_type_id().is_some(), "{} has no list type", r.kind);
                let metadata = schema::get(r.type_id).field_by_tag(1).unwrap();
                assert_eq!(metadata.json, "metadata");
            }
            for s in r.subresources {
                assert!(
                    type_of(s.kind.0, s.kind.1, s.kind.2).is_some(),
                    "{}/{}",
                    r.plural,
                    s.name
                );
            }
            assert!(groups().iter().any(|(g, v)| *g == r.group && v.contains(&r.version)));
        }
    }

    #[test]
    fn surface() {
        let mut lines = String::new();
        for (group, versions) in groups() {
            for version in *versions {
                let name = if group.is_empty() {
                    version.to_string()
                } else {
                    format!("{group}/{version}")
                };
                lines += &format!("{name}:");
                for r in all().iter().filter(|r| r.group == *group && r.version == *version) {
                    let star = if r.namespaced { "" } else { "*" };
                    let subs: Vec<_> = r.subresources.iter().map(|s| s.name).collect();
                    let subs = if subs.is_empty() {
                        String::new()
                    } else {
                        format!("[{}]", subs.join(","))
                    };
                    lines += &format!(" {}{star}{subs}", r.plural);
                }
                lines.push('\n');
            }
        }
        expect![[r#"
            v1: bindings componentstatuses* configmaps endpoints events limitranges namespaces*[finalize,status] nodes*[proxy,status] persistentvolumeclaims[status] persistentvolumes*[status] pods[attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status] podtemplates replicationcontrollers[scale,status] resourcequotas[status] secrets serviceaccounts[token] services[proxy,status]
            apiregistration.k8s.io/v1: apiservices*[status]
            apps/v1: controllerrevisions daemonsets[status] deployments[scale,status] replicasets[scale,status] statefulsets[scale,status]
            events.k8s.io/v1: events
            authentication.k8s.io/v1: selfsubjectreviews* tokenreviews*
            authorization.k8s.io/v1: localsubjectaccessreviews selfsubjectaccessreviews* selfsubjectrulesreviews* subjectaccessreviews*
            autoscaling/v2: horizontalpodautoscalers[status]
            autoscaling/v1: horizontalpodautoscalers[status]
            batch/v1: cronjobs[status] jobs[status]
            certificates.k8s.io/v1: certificatesigningrequests*[approval,status]
            networking.k8s.io/v1: ingressclasses* ingresses[status] ipaddresses* networkpolicies servicecidrs*[status]
            policy/v1: poddisruptionbudgets[status]
            rbac.authorization.k8s.io/v1: clusterrolebindings* clusterroles* rolebindings roles
            storage.k8s.io/v1: csidrivers* csinodes* csistoragecapacities storageclasses* volumeattachments*[status] volumeattributesclasses*
            admissionregistration.k8s.io/v1: mutatingwebhookconfigurations* validatingadmissionpolicies*[status] validatingadmissionpolicybindings* validatingwebhookconfigurations*
            apiextensions.k8s.io/v1: customresourcedefinitions*[status]
            scheduling.k8s.io/v1: priorityclasses*
            coordination.k8s.io/v1: leases
            node.k8s.io/v1: runtimeclasses*
            discovery.k8s.io/v1: endpointslices
            resource.k8s.io/v1: deviceclasses* resourceclaims[status] resourceclaimtemplates resourceslices*
            flowcontrol.apiserver.k8s.io/v1: flowschemas*[status] prioritylevelconfigurations*[status]
        "#]].assert_eq(&lines);
    }

    #[test]
    fn finds_kinds_without_a_resource() {
        for (g, v, k, name) in [
            (
                "",
                "v1",
                "DeleteOptions",
                "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
            ),
            (
                "apps",
                "v1",
                "DeleteOptions",
                "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
            ),
            ("", "v1", "Status", "io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
            (
                "meta.k8s.io",
                "v1",
                "PartialObjectMetadata",
                "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
            ),
            ("autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale"),
            ("policy", "v1", "Eviction", "io.k8s.api.policy.v1.Eviction"),
            ("", "v1", "PodList", "io.k8s.api.core.v1.PodList"),
            (
                "storage.k8s.io",
                "v1",
                "CSIDriverList",
                "io.k8s.api.storage.v1.CSIDriverList",
            ),
        ] {
            assert_eq!(schema::get(type_of(g, v, k).unwrap()).name, name);
        }
        assert!(type_of("", "v1", "Nope").is_none());
        assert!(type_of("nope", "v1", "Pod").is_none());
    }
}
