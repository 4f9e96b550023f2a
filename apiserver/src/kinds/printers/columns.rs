//! Which columns a kind has, and what fills them.
use super::column::Column;
use super::{Print, Row, access, cluster, name, network, other, pods, storage, workloads};
use jiff::Timestamp;
use keelson_machinery::resources::Resource;
use serde_json::Value;

const fn t(name: &'static str, about: &'static str) -> Column {
    Column::text(name, "string", about)
}
const fn f(name: &'static str, path: &'static str) -> Column {
    Column::field(name, "string", path)
}
const fn i(name: &'static str, path: &'static str) -> Column {
    Column::field(name, "integer", path)
}
const fn b(name: &'static str, path: &'static str) -> Column {
    Column::field(name, "boolean", path)
}
const NAME: Column = f("Name", "metadata.name").format("name");
const AGE: Column = f("Age", "metadata.creationTimestamp");
const CREATED: Column = Column::field("Created At", "date", "metadata.creationTimestamp");
const CONTAINERS: Column = t("Containers", "Names of each container in the template.").wide();
const IMAGES: Column = t("Images", "Images referenced by each container in the template.").wide();
const SELECTOR: Column = f("Selector", "spec.selector").wide();

fn created(o: &Value, _now: Timestamp) -> Row {
    Row::of(vec![name(o), o["metadata"]["creationTimestamp"].clone()])
}

/// Columns and printer of a kind.
macro_rules! row {
    ($print:path; $($column:expr),+ $(,)?) => {{
        const COLUMNS: &[Column] = &[$($column),+];
        (COLUMNS, $print as Print)
    }};
}

pub(super) fn of(r: &Resource) -> (&'static [Column], Print) {
    match (r.group, r.plural) {
        ("", _) => core(r.plural),
        ("apps" | "batch" | "autoscaling" | "policy", _) => workload(r.group, r.plural),
        ("storage.k8s.io" | "resource.k8s.io", _) => devices(r.plural),
        _ => rest(r.group, r.plural),
    }
}

fn core(plural: &str) -> (&'static [Column], Print) {
    match plural {
        "pods" => row!(pods::pod; NAME,
            t("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            t("Status", "The aggregate status of the containers in this pod."),
            t("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
            AGE, f("IP", "status.podIP").wide(), f("Node", "spec.nodeName").wide(),
            f("Nominated Node", "status.nominatedNodeName").wide(),
            f("Readiness Gates", "spec.readinessGates").wide()),
        "podtemplates" => row!(workloads::pod_template; NAME,
            t("Containers", "Names of each container in the template."),
            t("Images", "Images referenced by each container in the template."),
            t("Pod Labels", "The labels for the pod template.")),
        "replicationcontrollers" => row!(workloads::replication_controller; NAME,
            i("Desired", "spec.replicas"), i("Current", "status.replicas"), i("Ready", "status.readyReplicas"),
            AGE, CONTAINERS, IMAGES, SELECTOR),
        "services" => row!(network::service; NAME, f("Type", "spec.type"), f("Cluster-IP", "spec.clusterIP"),
            f("External-IP", "spec.externalIPs"), f("Port(s)", "spec.ports"), AGE, SELECTOR),
        "endpoints" => row!(network::endpoints; NAME, f("Endpoints", "subsets"), AGE),
        "nodes" => {
            row!(cluster::node; NAME, t("Status", "The status of the node"), t("Roles", "The roles of the node"),
            AGE, f("Version", "status.nodeInfo.kubeletVersion"), f("Internal-IP", "status.addresses").wide(),
            f("External-IP", "status.addresses").wide(), f("OS-Image", "status.nodeInfo.osImage").wide(),
            f("Kernel-Version", "status.nodeInfo.kernelVersion").wide(),
            f("Container-Runtime", "status.nodeInfo.containerRuntimeVersion").wide())
        }
        "namespaces" => row!(cluster::namespace; NAME, t("Status", "The status of the namespace"), AGE),
        "events" => row!(cluster::event; f("Last Seen", "lastTimestamp"), f("Type", "type"), f("Reason", "reason"),
            f("Object", "involvedObject"), f("Subobject", "involvedObject.fieldPath").wide(),
            f("Source", "source").wide(), f("Message", "message"), f("First Seen", "firstTimestamp").wide(),
            f("Count", "count").wide(), f("Name", "metadata.name").format("name").wide()),
        "configmaps" => row!(cluster::config_map; NAME, f("Data", "data"), AGE),
        "secrets" => row!(cluster::secret; NAME, f("Type", "type"), f("Data", "data"), AGE),
        "serviceaccounts" => row!(other::plain; NAME, AGE),
        "persistentvolumes" => row!(storage::volume; NAME, f("Capacity", "spec.capacity"),
            f("Access Modes", "spec.accessModes"), f("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
            f("Status", "status.phase"), f("Claim", "spec.claimRef"), t("StorageClass", "StorageClass of the pv"),
            t("VolumeAttributesClass", "VolumeAttributesClass of the pv"), f("Reason", "status.reason"), AGE,
            f("VolumeMode", "spec.volumeMode").wide()),
        "persistentvolumeclaims" => row!(storage::claim; NAME, f("Status", "status.phase"),
            f("Volume", "spec.volumeName"), f("Capacity", "status.capacity"),
            f("Access Modes", "status.accessModes"), t("StorageClass", "StorageClass of the pvc"),
            t("VolumeAttributesClass", "VolumeAttributesClass of the pvc"), AGE,
            f("VolumeMode", "spec.volumeMode").wide()),
        "resourcequotas" => row!(cluster::resource_quota; NAME,
            t("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
            t("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
            AGE),
        "componentstatuses" => row!(cluster::component_status; NAME,
            t("Status", "Status of the component conditions"), t("Message", "Message of the component conditions"),
            t("Error", "Error of the component conditions")),
        _ => row!(created; NAME, CREATED),
    }
}

fn workload(group: &str, plural: &str) -> (&'static [Column], Print) {
    match (group, plural) {
        ("apps", "deployments") => row!(workloads::deployment; NAME, t("Ready", "Number of the pod with ready state"),
            f("Up-to-date", "status.updatedReplicas"), f("Available", "status.availableReplicas"), AGE,
            CONTAINERS, IMAGES, SELECTOR),
        ("apps", "replicasets") => row!(workloads::replica_set; NAME, i("Desired", "spec.replicas"),
            i("Current", "status.replicas"), i("Ready", "status.readyReplicas"), AGE, CONTAINERS, IMAGES, SELECTOR),
        ("apps", "statefulsets") => row!(workloads::stateful_set; NAME,
            t("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES),
        ("apps", "daemonsets") => row!(workloads::daemon_set; NAME, i("Desired", "status.desiredNumberScheduled"),
            i("Current", "status.currentNumberScheduled"), i("Ready", "status.numberReady"),
            i("Up-to-date", "status.updatedNumberScheduled"), i("Available", "status.numberAvailable"),
            f("Node Selector", "spec.template.spec.nodeSelector"), AGE, CONTAINERS, IMAGES, SELECTOR),
        ("apps", "controllerrevisions") => row!(workloads::controller_revision; NAME,
            t("Controller", "Controller of the object"), f("Revision", "revision"), AGE),
        ("batch", "jobs") => row!(workloads::job; NAME, t("Status", "Status of the job."),
            f("Completions", "status.succeeded"), t("Duration", "Time required to complete the job."), AGE,
            CONTAINERS, IMAGES, SELECTOR),
        ("batch", "cronjobs") => row!(workloads::cron_job; NAME, f("Schedule", "spec.schedule"),
            f("Timezone", "spec.timeZone"), b("Suspend", "spec.suspend"), i("Active", "status.active"),
            f("Last Schedule", "status.lastScheduleTime"), AGE, CONTAINERS, IMAGES,
            f("Selector", "spec.jobTemplate.spec.selector").wide()),
        ("autoscaling", "horizontalpodautoscalers") => row!(other::autoscaler; NAME,
            f("Reference", "spec.scaleTargetRef"), t("Targets", "The metrics that decide, as they are and as they should be."), f("MinPods", "spec.minReplicas"),
            f("MaxPods", "spec.maxReplicas"), f("Replicas", "status.currentReplicas"), AGE),
        ("policy", "poddisruptionbudgets") => row!(other::disruption_budget; NAME,
            t("Min Available", "The minimum number of pods that must be available."),
            t("Max Unavailable", "The maximum number of pods that may be unavailable."),
            Column::text("Allowed Disruptions", "integer",
                "Calculated number of pods that may be disrupted at this time."),
            AGE),
        _ => row!(created; NAME, CREATED),
    }
}

fn devices(plural: &str) -> (&'static [Column], Print) {
    match plural {
        "storageclasses" => row!(storage::class; NAME, f("Provisioner", "provisioner"),
            f("ReclaimPolicy", "reclaimPolicy"), f("VolumeBindingMode", "volumeBindingMode"),
            f("AllowVolumeExpansion", "allowVolumeExpansion"), AGE),
        "volumeattributesclasses" => row!(storage::attributes_class; NAME, f("DriverName", "driverName"), AGE),
        "volumeattachments" => row!(storage::attachment; NAME, f("Attacher", "spec.attacher").format("name"),
            f("PV", "spec.source.persistentVolumeName"), f("Node", "spec.nodeName"), b("Attached", "status.attached"),
            AGE),
        "csinodes" => row!(storage::csi_node; NAME,
            Column::text("Drivers", "integer", "Drivers indicates the number of CSI drivers registered on the node"),
            AGE),
        "csidrivers" => row!(storage::csi_driver; NAME, b("AttachRequired", "spec.attachRequired"),
            b("PodInfoOnMount", "spec.podInfoOnMount"), b("StorageCapacity", "spec.storageCapacity"),
            f("TokenRequests", "spec.tokenRequests"), b("RequiresRepublish", "spec.requiresRepublish"),
            f("Modes", "spec.volumeLifecycleModes"), AGE),
        "csistoragecapacities" => row!(storage::csi_capacity; NAME, f("StorageClassName", "storageClassName"),
            f("Capacity", "capacity")),
        "deviceclasses" | "resourceclaimtemplates" => row!(other::plain; NAME, AGE),
        "resourceclaims" => row!(storage::resource_claim; NAME,
            t("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE),
        "resourceslices" => row!(storage::resource_slice; NAME, f("Node", "spec.nodeName"),
            f("Driver", "spec.driver"), f("Pool", "spec.pool.name"), AGE),
        _ => row!(created; NAME, CREATED),
    }
}

fn rest(group: &str, plural: &str) -> (&'static [Column], Print) {
    match (group, plural) {
        ("events.k8s.io", "events") => row!(cluster::event; f("Last Seen", "deprecatedLastTimestamp"),
            f("Type", "type"), f("Reason", "reason"), f("Object", "regarding"),
            f("Subobject", "regarding.fieldPath").wide(), f("Source", "deprecatedSource").wide(),
            f("Message", "note"), f("First Seen", "deprecatedFirstTimestamp").wide(),
            f("Count", "deprecatedCount").wide(), f("Name", "metadata.name").format("name").wide()),
        ("discovery.k8s.io", "endpointslices") => row!(network::endpoint_slice; NAME,
            f("AddressType", "addressType"), f("Ports", "ports"), f("Endpoints", "endpoints"), AGE),
        ("networking.k8s.io", "ingresses") => row!(network::ingress; NAME,
            t("Class", "The name of the IngressClass resource that should be used for additional configuration"),
            t("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
            t("Address", "Address is a list containing ingress points for the load-balancer"),
            t("Ports", "Ports of TLS configurations that open"), AGE),
        ("networking.k8s.io", "ingressclasses") => row!(network::ingress_class; NAME,
            t("Controller", "Controller that is responsible for handling this class"),
            t("Parameters", "A reference to a resource with additional parameters"), AGE),
        ("networking.k8s.io", "networkpolicies") => row!(network::policy; NAME,
            f("Pod-Selector", "spec.podSelector"), AGE),
        ("networking.k8s.io", "servicecidrs") => row!(network::service_cidr; NAME, f("CIDRs", "spec.cidrs"), AGE),
        ("networking.k8s.io", "ipaddresses") => row!(network::ip_address; NAME, f("ParentRef", "spec.parentRef")),
        ("rbac.authorization.k8s.io", "rolebindings") => row!(access::binding; NAME, f("Role", "roleRef"), AGE,
            t("Users", "Users in the roleBinding").wide(), t("Groups", "Groups in the roleBinding").wide(),
            t("ServiceAccounts", "ServiceAccounts in the roleBinding").wide()),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => row!(access::binding; NAME, f("Role", "roleRef"), AGE,
            t("Users", "Users in the clusterRoleBinding").wide(),
            t("Groups", "Groups in the clusterRoleBinding").wide(),
            t("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide()),
        ("certificates.k8s.io", "certificatesigningrequests") => row!(access::signing_request; NAME, AGE,
            f("SignerName", "spec.signerName"), f("Requestor", "spec.request"),
            f("RequestedDuration", "spec.expirationSeconds"), f("Condition", "status.conditions")),
        ("coordination.k8s.io", "leases") => row!(other::lease; NAME, f("Holder", "spec.holderIdentity"), AGE),
        ("scheduling.k8s.io", "priorityclasses") => row!(other::priority_class; NAME, i("Value", "value"),
            b("Global-Default", "globalDefault"), AGE, f("PreemptionPolicy", "preemptionPolicy").wide()),
        ("node.k8s.io", "runtimeclasses") => row!(other::runtime_class; NAME, f("Handler", "handler"), AGE),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations" | "validatingwebhookconfigurations") => {
            row!(other::webhooks; NAME,
                Column::text("Webhooks", "integer",
                    "Webhooks indicates the number of webhooks registered in this configuration"),
                AGE)
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => row!(other::admission_policy; NAME,
            Column::text("Validations", "integer",
                "Validations indicates the number of validation rules defined in this configuration"),
            t("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"), AGE),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => {
            row!(other::admission_binding; NAME,
                t("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
                t("ParamRef", "ParamRef indicates the param resource which sets the configuration param"), AGE)
        }
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => row!(other::flow_schema; NAME,
            f("PriorityLevel", "spec.priorityLevelConfiguration.name"),
            f("MatchingPrecedence", "spec.matchingPrecedence"),
            f("DistinguisherMethod", "spec.distinguisherMethod"), AGE,
            t("MissingPL", "references a broken or non-existent PriorityLevelConfiguration")),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => row!(other::priority_level; NAME,
            f("Type", "spec.type"), f("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares"),
            f("Queues", "spec.limited.limitResponse.queuing.queues"),
            f("HandSize", "spec.limited.limitResponse.queuing.handSize"),
            f("QueueLengthLimit", "spec.limited.limitResponse.queuing.queueLengthLimit"), AGE),
        ("apiregistration.k8s.io", "apiservices") => row!(other::api_service; NAME,
            t("Service", "The reference to the service that hosts this API endpoint."),
            t("Available", "Whether this service is available."), AGE),
        _ => row!(created; NAME, CREATED),
    }
}
