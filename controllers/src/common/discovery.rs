//! Which resources there are: the built-in ones from the table, custom ones from their definitions.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keelson_client::GroupVersionResource;
use keelson_machinery::resources;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub gvr: GroupVersionResource,
    pub kind: String,
    pub namespaced: bool,
    /// Whether all at once can be deleted.
    pub delete_collection: bool,
}

impl Kind {
    pub fn api_version(&self) -> String {
        if self.gvr.group.is_empty() {
            self.gvr.version.clone()
        } else {
            format!("{}/{}", self.gvr.group, self.gvr.version)
        }
    }
}

/// The built-in kinds that can be listed, watched and deleted.
pub fn built_in() -> Vec<Kind> {
    resources::all()
        .iter()
        .filter(|r| ["list", "watch", "delete"].iter().all(|v| r.verbs.contains(v)))
        .filter(|r| {
            // One version of a group is enough: they show the same objects.
            let preferred = resources::groups().iter().find(|(g, _)| *g == r.group);
            let first = preferred.and_then(|(_, versions)| {
                versions
                    .iter()
                    .find(|v| resources::by_resource(r.group, v, r.plural).is_some())
            });
            first.is_none_or(|v| *v == r.version)
        })
        .map(|r| Kind {
            gvr: GroupVersionResource {
                group: r.group.into(),
                version: r.version.into(),
                resource: r.plural.into(),
            },
            kind: r.kind.into(),
            namespaced: r.namespaced,
            delete_collection: r.verbs.contains(&"deletecollection"),
        })
        .collect()
}

/// The kind that a definition defines, once it is served.
pub fn custom(crd: &CustomResourceDefinition) -> Option<Kind> {
    let established = crd
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .any(|c| c.type_ == "Established" && c.status == "True");
    if !established || crd.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let served = crd.spec.versions.iter().filter(|v| v.served);
    let version = served.clone().find(|v| v.storage).or_else(|| served.clone().next())?;
    Some(Kind {
        gvr: GroupVersionResource {
            group: crd.spec.group.clone(),
            version: version.name.clone(),
            resource: crd.spec.names.plural.clone(),
        },
        kind: crd.spec.names.kind.clone(),
        namespaced: crd.spec.scope == "Namespaced",
        delete_collection: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_once_and_events_among_them() {
        let all = built_in();
        let has = |g: &str, r: &str| all.iter().filter(|k| k.gvr.group == g && k.gvr.resource == r).count();
        assert_eq!(has("", "pods"), 1);
        assert_eq!(has("apps", "deployments"), 1);
        assert_eq!(has("autoscaling", "horizontalpodautoscalers"), 1);
        assert_eq!(has("authorization.k8s.io", "subjectaccessreviews"), 0);
    }
}
