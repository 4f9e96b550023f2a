//! Which strategy a kind has.
use super::plain::{self, Plain};
use super::{Strategy, access, cluster, config, jobs, names::Rule, network, pod, service, standard, workloads};
use keelson_machinery::resources::Resource;

const CONDITIONAL: Plain = Plain {
    unconditional_update: false,
    create_on_update: false,
};

pub fn strategy(resource: &Resource) -> &'static dyn Strategy {
    match (resource.group, resource.plural) {
        ("", "pods") => &pod::Pod,
        ("", "services") => &service::Service,
        ("", "configmaps") => &config::ConfigMap,
        ("", "secrets") => &config::Secret,
        ("", "namespaces") => &cluster::Namespace,
        ("", "nodes") => &cluster::Node,
        ("", "persistentvolumes") => &cluster::PersistentVolume,
        ("", "persistentvolumeclaims") => &cluster::PersistentVolumeClaim,
        ("", "endpoints") => &network::Endpoints,
        ("", "replicationcontrollers") => &workloads::ReplicationController,
        ("" | "events.k8s.io", "events") => &plain::Event,
        ("", "limitranges") => &Plain {
            unconditional_update: true,
            create_on_update: true,
        },
        ("apps", "deployments") => &workloads::Deployment,
        ("apps", "replicasets") => &workloads::ReplicaSet,
        ("apps", "statefulsets") => &workloads::StatefulSet,
        ("apps", "daemonsets") => &workloads::DaemonSet,
        ("batch", "jobs") => &jobs::Job,
        ("batch", "cronjobs") => &jobs::CronJob,
        ("discovery.k8s.io", "endpointslices") => &network::EndpointSlice,
        ("networking.k8s.io", "ingresses") => &network::Ingress,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &access::Role,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &access::Binding,
        ("coordination.k8s.io", "leases") => &plain::Lease,
        ("scheduling.k8s.io", "priorityclasses") => &plain::PriorityClass,
        ("policy", "poddisruptionbudgets") => &plain::PodDisruptionBudget,
        ("autoscaling", "horizontalpodautoscalers") => &plain::HorizontalPodAutoscaler,
        ("storage.k8s.io", "storageclasses") => &plain::StorageClass,
        ("certificates.k8s.io", "certificatesigningrequests") => &plain::CertificateSigningRequest,
        ("node.k8s.io", "runtimeclasses") => &Plain {
            unconditional_update: false,
            create_on_update: true,
        },
        ("storage.k8s.io", "csidrivers" | "csistoragecapacities" | "volumeattachments" | "csinodes") => &CONDITIONAL,
        ("admissionregistration.k8s.io", _) => &CONDITIONAL,
        ("networking.k8s.io", "ipaddresses") => &plain::Named {
            rule: Rule::PathSegment,
        },
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", _) => &plain::Named {
            rule: Rule::DnsSubdomain,
        },
        _ => &standard::Default,
    }
}
