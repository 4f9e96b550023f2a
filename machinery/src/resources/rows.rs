//! The rows themselves. Short names, categories and verbs as each kind's REST storage upstream
//! (pkg/registry/*/*/storage), storage prefixes as pkg/kubeapiserver/default_storage_factory_builder.go.
use super::{Resource, Subresource, type_of_row};

type Names = &'static [&'static str];

/// What a row says; the rest of [`Resource`] follows from it.
pub(super) struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    short_names: Names,
    categories: Names,
    verbs: Names,
    subresources: &'static [Subresource],
    /// None: the plural.
    storage_prefix: Option<&'static str>,
    storage_version: Option<(&'static str, &'static str)>,
}

const ALL_VERBS: Names = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The collection of namespaces cannot be deleted at once.
const NO_DELETECOLLECTION: Names = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: Names = &["create"];
const GET_PATCH_UPDATE: Names = &["get", "patch", "update"];
const CONNECT_ALL: Names = &["create", "delete", "get", "patch", "update"];
const CONNECT_STREAM: Names = &["create", "get"];
const API_EXTENSIONS: Names = &["api-extensions"];
const ALL: Names = &["all"];

const fn sub(name: &'static str, kind: (&'static str, &'static str, &'static str), verbs: Names) -> Subresource {
    Subresource { name, kind, verbs }
}
const fn own(name: &'static str, group: &'static str, version: &'static str, kind: &'static str) -> Subresource {
    sub(name, (group, version, kind), GET_PATCH_UPDATE)
}
const SCALE: Subresource = sub("scale", ("autoscaling", "v1", "Scale"), GET_PATCH_UPDATE);

/// A stored, namespaced kind with all verbs.
const fn row(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Row {
    Row {
        group,
        version,
        plural,
        kind,
        namespaced: true,
        short_names: &[],
        categories: &[],
        verbs: ALL_VERBS,
        subresources: &[],
        storage_prefix: None,
        storage_version: None,
    }
}
/// A kind that is only created and answered, never stored.
const fn review(group: &'static str, plural: &'static str, kind: &'static str) -> Row {
    row(group, "v1", plural, kind).verbs(CREATE).stored_at("")
}
impl Row {
    const fn cluster(mut self) -> Row {
        self.namespaced = false;
        self
    }
    const fn short(mut self, names: Names) -> Row {
        self.short_names = names;
        self
    }
    const fn in_categories(mut self, names: Names) -> Row {
        self.categories = names;
        self
    }
    const fn verbs(mut self, verbs: Names) -> Row {
        self.verbs = verbs;
        self
    }
    const fn with(mut self, subresources: &'static [Subresource]) -> Row {
        self.subresources = subresources;
        self
    }
    const fn stored_at(mut self, prefix: &'static str) -> Row {
        self.storage_prefix = Some(prefix);
        self
    }
    const fn stored_as(mut self, group: &'static str, version: &'static str) -> Row {
        self.storage_version = Some((group, version));
        self
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NET: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const DRA: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const CERTS: &str = "certificates.k8s.io";

pub(super) const ROWS: &[Row] = &[
    row("", "v1", "bindings", "Binding").verbs(CREATE).stored_at(""),
    row("", "v1", "componentstatuses", "ComponentStatus")
        .cluster()
        .short(&["cs"])
        .verbs(&["get", "list"])
        .stored_at(""),
    row("", "v1", "configmaps", "ConfigMap").short(&["cm"]),
    row("", "v1", "endpoints", "Endpoints")
        .short(&["ep"])
        .stored_at("services/endpoints"),
    row("", "v1", "events", "Event").short(&["ev"]),
    row("", "v1", "limitranges", "LimitRange").short(&["limits"]),
    row("", "v1", "namespaces", "Namespace")
        .cluster()
        .short(&["ns"])
        .verbs(NO_DELETECOLLECTION)
        .with(&[
            sub("finalize", ("", "v1", "Namespace"), &["update"]),
            own("status", "", "v1", "Namespace"),
        ]),
    row("", "v1", "nodes", "Node")
        .cluster()
        .short(&["no"])
        .stored_at("minions")
        .with(&[
            sub("proxy", ("", "v1", "NodeProxyOptions"), CONNECT_ALL),
            own("status", "", "v1", "Node"),
        ]),
    row("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
        .short(&["pvc"])
        .with(&[own("status", "", "v1", "PersistentVolumeClaim")]),
    row("", "v1", "persistentvolumes", "PersistentVolume")
        .cluster()
        .short(&["pv"])
        .with(&[own("status", "", "v1", "PersistentVolume")]),
    row("", "v1", "pods", "Pod").short(&["po"]).in_categories(ALL).with(&[
        sub("attach", ("", "v1", "PodAttachOptions"), CONNECT_STREAM),
        sub("binding", ("", "v1", "Binding"), CREATE),
        own("ephemeralcontainers", "", "v1", "Pod"),
        sub("eviction", ("policy", "v1", "Eviction"), CREATE),
        sub("exec", ("", "v1", "PodExecOptions"), CONNECT_STREAM),
        sub("log", ("", "v1", "Pod"), &["get"]),
        sub("portforward", ("", "v1", "PodPortForwardOptions"), CONNECT_STREAM),
        sub("proxy", ("", "v1", "PodProxyOptions"), CONNECT_ALL),
        own("resize", "", "v1", "Pod"),
        own("status", "", "v1", "Pod"),
    ]),
    row("", "v1", "podtemplates", "PodTemplate"),
    row("", "v1", "replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .in_categories(ALL)
        .stored_at("controllers")
        .with(&[SCALE, own("status", "", "v1", "ReplicationController")]),
    row("", "v1", "resourcequotas", "ResourceQuota")
        .short(&["quota"])
        .with(&[own("status", "", "v1", "ResourceQuota")]),
    row("", "v1", "secrets", "Secret"),
    row("", "v1", "serviceaccounts", "ServiceAccount")
        .short(&["sa"])
        .with(&[sub("token", ("authentication.k8s.io", "v1", "TokenRequest"), CREATE)]),
    row("", "v1", "services", "Service")
        .short(&["svc"])
        .in_categories(ALL)
        .stored_at("services/specs")
        .with(&[
            sub("proxy", ("", "v1", "ServiceProxyOptions"), CONNECT_ALL),
            own("status", "", "v1", "Service"),
        ]),
    row("apiregistration.k8s.io", "v1", "apiservices", "APIService")
        .cluster()
        .in_categories(API_EXTENSIONS)
        .stored_at("apiregistration.k8s.io/apiservices")
        .with(&[own("status", "apiregistration.k8s.io", "v1", "APIService")]),
    row("apps", "v1", "controllerrevisions", "ControllerRevision"),
    row("apps", "v1", "daemonsets", "DaemonSet")
        .short(&["ds"])
        .in_categories(ALL)
        .with(&[own("status", "apps", "v1", "DaemonSet")]),
    row("apps", "v1", "deployments", "Deployment")
        .short(&["deploy"])
        .in_categories(ALL)
        .with(&[SCALE, own("status", "apps", "v1", "Deployment")]),
    row("apps", "v1", "replicasets", "ReplicaSet")
        .short(&["rs"])
        .in_categories(ALL)
        .with(&[SCALE, own("status", "apps", "v1", "ReplicaSet")]),
    row("apps", "v1", "statefulsets", "StatefulSet")
        .short(&["sts"])
        .in_categories(ALL)
        .with(&[SCALE, own("status", "apps", "v1", "StatefulSet")]),
    // Both groups of events share one storage, in the core version.
    row("events.k8s.io", "v1", "events", "Event")
        .short(&["ev"])
        .stored_as("", "v1"),
    review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview").cluster(),
    review("authentication.k8s.io", "tokenreviews", "TokenReview").cluster(),
    review(
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
    ),
    review(
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    )
    .cluster(),
    review(
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
    )
    .cluster(),
    review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview").cluster(),
    row(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
    )
    .short(&["hpa"])
    .in_categories(ALL)
    .with(&[own("status", "autoscaling", "v2", "HorizontalPodAutoscaler")]),
    row(
        "autoscaling",
        "v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
    )
    .short(&["hpa"])
    .in_categories(ALL)
    .stored_as("autoscaling", "v2")
    .with(&[own("status", "autoscaling", "v1", "HorizontalPodAutoscaler")]),
    row("batch", "v1", "cronjobs", "CronJob")
        .short(&["cj"])
        .in_categories(ALL)
        .with(&[own("status", "batch", "v1", "CronJob")]),
    row("batch", "v1", "jobs", "Job")
        .in_categories(ALL)
        .with(&[own("status", "batch", "v1", "Job")]),
    row(CERTS, "v1", "certificatesigningrequests", "CertificateSigningRequest")
        .cluster()
        .short(&["csr"])
        .with(&[
            own("approval", CERTS, "v1", "CertificateSigningRequest"),
            own("status", CERTS, "v1", "CertificateSigningRequest"),
        ]),
    row(NET, "v1", "ingressclasses", "IngressClass").cluster(),
    row(NET, "v1", "ingresses", "Ingress")
        .short(&["ing"])
        .stored_at("ingress")
        .with(&[own("status", NET, "v1", "Ingress")]),
    row(NET, "v1", "ipaddresses", "IPAddress").cluster().short(&["ip"]),
    row(NET, "v1", "networkpolicies", "NetworkPolicy").short(&["netpol"]),
    row(NET, "v1", "servicecidrs", "ServiceCIDR")
        .cluster()
        .with(&[own("status", NET, "v1", "ServiceCIDR")]),
    row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
        .short(&["pdb"])
        .with(&[own("status", "policy", "v1", "PodDisruptionBudget")]),
    row(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding").cluster(),
    row(RBAC, "v1", "clusterroles", "ClusterRole").cluster(),
    row(RBAC, "v1", "rolebindings", "RoleBinding"),
    row(RBAC, "v1", "roles", "Role"),
    row(STORAGE, "v1", "csidrivers", "CSIDriver").cluster(),
    row(STORAGE, "v1", "csinodes", "CSINode").cluster(),
    row(STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity"),
    row(STORAGE, "v1", "storageclasses", "StorageClass")
        .cluster()
        .short(&["sc"]),
    row(STORAGE, "v1", "volumeattachments", "VolumeAttachment")
        .cluster()
        .with(&[own("status", STORAGE, "v1", "VolumeAttachment")]),
    row(STORAGE, "v1", "volumeattributesclasses", "VolumeAttributesClass")
        .cluster()
        .short(&["vac"]),
    row(
        ADMISSION,
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
    )
    .cluster()
    .in_categories(API_EXTENSIONS),
    row(
        ADMISSION,
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
    )
    .cluster()
    .in_categories(API_EXTENSIONS)
    .with(&[own("status", ADMISSION, "v1", "ValidatingAdmissionPolicy")]),
    row(
        ADMISSION,
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
    )
    .cluster()
    .in_categories(API_EXTENSIONS),
    row(
        ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    )
    .cluster()
    .in_categories(API_EXTENSIONS),
    row(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    )
    .cluster()
    .short(&["crd", "crds"])
    .in_categories(API_EXTENSIONS)
    .stored_at("apiextensions.k8s.io/customresourcedefinitions")
    .with(&[own("status", "apiextensions.k8s.io", "v1", "CustomResourceDefinition")]),
    row("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
        .cluster()
        .short(&["pc"]),
    row("coordination.k8s.io", "v1", "leases", "Lease"),
    row("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass").cluster(),
    row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    row(DRA, "v1", "deviceclasses", "DeviceClass").cluster(),
    row(DRA, "v1", "resourceclaims", "ResourceClaim").with(&[own("status", DRA, "v1", "ResourceClaim")]),
    row(DRA, "v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    row(DRA, "v1", "resourceslices", "ResourceSlice").cluster(),
    row(FLOW, "v1", "flowschemas", "FlowSchema")
        .cluster()
        .with(&[own("status", FLOW, "v1", "FlowSchema")]),
    row(FLOW, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster()
        .with(&[own("status", FLOW, "v1", "PriorityLevelConfiguration")]),
];

/// Rows whose kind is not in the field table are left out; a test holds that there are none.
pub(super) fn build() -> Vec<Resource> {
    ROWS.iter()
        .filter_map(|r| {
            let type_id = type_of_row(r.group, r.version, r.kind)?;
            Some(Resource {
                group: r.group,
                version: r.version,
                plural: r.plural,
                // Upstream's singular is the kind in lower case for every built-in kind.
                singular: String::leak(r.kind.to_lowercase()),
                kind: r.kind,
                namespaced: r.namespaced,
                short_names: r.short_names,
                categories: r.categories,
                verbs: r.verbs,
                subresources: r.subresources,
                storage_prefix: r.storage_prefix.unwrap_or(r.plural),
                storage_version: r.storage_version.unwrap_or((r.group, r.version)),
                type_id,
                list_kind: String::leak(format!("{}List", r.kind)),
            })
        })
        .collect()
}
