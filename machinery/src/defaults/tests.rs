#![allow(clippy::unwrap_used)]
use super::*;
use crate::resources;
use serde_json::json;

fn defaulted(group: &str, version: &str, kind: &str, object: Value) -> Value {
    let r = resources::by_kind(group, version, kind).unwrap();
    let mut o = object;
    apply(r, &mut o);
    let once = o.clone();
    apply(r, &mut o);
    assert_eq!(o, once, "idempotent");
    o
}

fn container(name: &str, image: &str) -> Value {
    json!({"name": name, "image": image})
}

fn full_container(name: &str, image: &str, policy: &str) -> Value {
    json!({"name": name, "image": image, "imagePullPolicy": policy,
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
}

fn full_pod_spec(containers: Value) -> Value {
    json!({"containers": containers, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"})
}

#[test]
fn a_plain_pod() {
    let got = defaulted(
        "",
        "v1",
        "Pod",
        json!({"metadata": {"name": "p"}, "spec": {"containers": [container("a", "nginx"), container("b", "nginx:1")]}}),
    );
    let mut want = full_pod_spec(json!([
        full_container("a", "nginx", "Always"),
        full_container("b", "nginx:1", "IfNotPresent")
    ]));
    want["enableServiceLinks"] = true.into();
    assert_eq!(got, json!({"metadata": {"name": "p"}, "spec": want}));
}

#[test]
fn containers_in_every_detail() {
    let got = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {"hostNetwork": true,
            "containers": [{
                "name": "a", "image": "i:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.1n"}},
                "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 3},
                "lifecycle": {"preStop": {"httpGet": {"port": "x", "path": "/bye"}}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
            "initContainers": [{"name": "i", "image": "i@sha256:0"}],
            "ephemeralContainers": [{"name": "e", "image": "i"}],
        }}),
    );
    let c = &got["spec"]["containers"][0];
    assert_eq!(
        c["ports"],
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
    );
    assert_eq!(
        c["resources"],
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1m", "memory": "1Gi"}})
    );
    assert_eq!(
        c["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(
        c["readinessProbe"],
        json!({"grpc": {"port": 1, "service": ""}, "timeoutSeconds": 1, "periodSeconds": 3, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(
        c["lifecycle"]["preStop"]["httpGet"],
        json!({"port": "x", "path": "/bye", "scheme": "HTTP"})
    );
    assert_eq!(c["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert!(c.get("startupProbe").is_none() && c.get("securityContext").is_none());
    assert_eq!(
        got["spec"]["initContainers"][0],
        full_container("i", "i@sha256:0", "IfNotPresent")
    );
    assert_eq!(
        got["spec"]["ephemeralContainers"][0],
        full_container("e", "i", "Always")
    );
}

#[test]
fn volumes() {
    let got = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {"containers": [], "volumes": [
            {"name": "none"},
            {"name": "e", "emptyDir": {}},
            {"name": "s", "secret": {"secretName": "x"}},
            {"name": "c", "configMap": {"name": "x", "defaultMode": 256}},
            {"name": "h", "hostPath": {"path": "/"}},
            {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "x"}}]}},
            {"name": "i", "image": {"reference": "a:latest"}},
            {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        ]}}),
    );
    assert_eq!(
        got["spec"]["volumes"],
        json!([
            {"name": "none", "emptyDir": {}},
            {"name": "e", "emptyDir": {}},
            {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
            {"name": "c", "configMap": {"name": "x", "defaultMode": 256}},
            {"name": "h", "hostPath": {"path": "/", "type": ""}},
            {"name": "d", "downwardAPI": {"defaultMode": 420, "items": [{"path": "l", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}]}},
            {"name": "p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}, {"configMap": {"name": "x"}}]}},
            {"name": "i", "image": {"reference": "a:latest", "pullPolicy": "Always"}},
            {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"volumeMode": "Filesystem"}}}},
        ])
    );
}

#[test]
fn resources_of_the_whole_pod() {
    let got = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {
        "resources": {"limits": {"memory": "2Gi"}},
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "100m", "example.com/x": "1"}}},
            {"name": "b", "resources": {"requests": {"cpu": "200m"}, "limits": {"hugepages-2Mi": "4Mi"}}}],
        "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
            {"name": "i", "resources": {"requests": {"cpu": "1"}}}]}}),
    );
    assert_eq!(
        got["spec"]["resources"],
        json!({"limits": {"memory": "2Gi", "hugepages-2Mi": "4Mi"},
            "requests": {"memory": "2Gi", "cpu": "1050m", "hugepages-2Mi": "4Mi"}})
    );
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container("a", "i:1")]}})
}
fn full_template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": full_pod_spec(json!([full_container("a", "i:1", "IfNotPresent")]))})
}

#[test]
fn workloads_and_their_templates() {
    for (kind, spec, want) in [
        (
            "Deployment",
            json!({}),
            json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}),
        ),
        (
            "Deployment",
            json!({"replicas": 0, "strategy": {"type": "Recreate"}}),
            json!({"replicas": 0, "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600, "strategy": {"type": "Recreate"}}),
        ),
        (
            "Deployment",
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0}}}),
            json!({"replicas": 1, "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}}),
        ),
        ("ReplicaSet", json!({}), json!({"replicas": 1})),
        (
            "DaemonSet",
            json!({}),
            json!({"revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
        ),
        (
            "StatefulSet",
            json!({}),
            json!({"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}),
        ),
        (
            "StatefulSet",
            json!({"updateStrategy": {"type": "OnDelete"}}),
            json!({"replicas": 1, "revisionHistoryLimit": 10,
            "podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "OnDelete"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}),
        ),
    ] {
        let (mut spec, mut want) = (spec, want);
        spec["template"] = template();
        want["template"] = full_template();
        let got = defaulted("apps", "v1", kind, json!({"spec": spec}));
        assert_eq!(got, json!({"spec": want}), "{kind}");
    }
}

#[test]
fn jobs_and_cron_jobs() {
    let base = json!({"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false, "manualSelector": false,
        "podReplacementPolicy": "TerminatingOrFailed", "parallelism": 1, "completions": 1, "template": full_template()});
    let got = defaulted("batch", "v1", "Job", json!({"spec": {"template": template()}}));
    assert_eq!(got, json!({"metadata": {"labels": {"app": "x"}}, "spec": base}));
    let got = defaulted(
        "batch",
        "v1",
        "Job",
        json!({"metadata": {"labels": {"own": "1"}}, "spec": {"parallelism": 3,
        "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "T"}]}]}, "template": template()}}),
    );
    assert_eq!(got["metadata"]["labels"], json!({"own": "1"}));
    assert!(got["spec"].get("completions").is_none());
    assert_eq!(got["spec"]["backoffLimit"], i32::MAX);
    assert_eq!(got["spec"]["podReplacementPolicy"], "Failed");
    assert_eq!(
        got["spec"]["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"],
        "True"
    );
    let got = defaulted(
        "batch",
        "v1",
        "CronJob",
        json!({"spec": {"jobTemplate": {"spec": {"template": template()}}}}),
    );
    assert_eq!(
        got["spec"],
        json!({"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"template": full_template()}}}),
        "the job in a template is no Job yet"
    );
}

#[test]
fn services() {
    for (spec, want) in [
        (
            json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
        ),
        (
            json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
            json!({"type": "NodePort", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "sessionAffinityConfig": {"clientIP": {}}}),
            json!({"type": "LoadBalancer", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Local",
                "allocateLoadBalancerNodePorts": true}),
        ),
        (
            json!({"type": "ExternalName", "externalName": "x.y"}),
            json!({"type": "ExternalName", "externalName": "x.y", "sessionAffinity": "None"}),
        ),
        (
            json!({"externalIPs": ["1.2.3.4"]}),
            json!({"type": "ClusterIP", "externalIPs": ["1.2.3.4"], "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}),
        ),
    ] {
        assert_eq!(defaulted("", "v1", "Service", json!({"spec": spec}))["spec"], want);
    }
}

#[test]
fn the_rest_of_core() {
    let core = |kind: &str, o: Value| defaulted("", "v1", kind, o);
    assert_eq!(
        core(
            "Secret",
            json!({"data": {"a": "QQ==", "b": "Qg=="}, "stringData": {"b": "bee"}})
        ),
        json!({"type": "Opaque", "data": {"a": "QQ==", "b": "YmVl"}})
    );
    assert_eq!(
        core("ConfigMap", json!({"data": {"a": "b"}})),
        json!({"data": {"a": "b"}})
    );
    assert_eq!(
        core("Namespace", json!({"metadata": {"name": "n"}})),
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}}, "status": {"phase": "Active"}})
    );
    assert_eq!(
        core(
            "PersistentVolumeClaim",
            json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}})
        ),
        json!({"spec": {"volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}})
    );
    assert_eq!(
        core(
            "PersistentVolume",
            json!({"spec": {"rbd": {"image": "i", "monitors": ["m"]}}})
        ),
        json!({"spec": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem",
            "rbd": {"image": "i", "monitors": ["m"], "pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}}, "status": {"phase": "Pending"}})
    );
    assert_eq!(
        core("Node", json!({"status": {"capacity": {"cpu": "2"}}})),
        json!({"status": {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}})
    );
    assert_eq!(
        core("Endpoints", json!({"subsets": [{"ports": [{"port": 1}]}]})),
        json!({"subsets": [{"ports": [{"port": 1, "protocol": "TCP"}]}]})
    );
    assert_eq!(
        core("ReplicationController", json!({"spec": {"template": template()}})),
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"replicas": 1, "selector": {"app": "x"}, "template": full_template()}})
    );
    assert_eq!(
        core(
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}})
        ),
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"},
            "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "1Mi"}}]}})
    );
    for kind in ["ServiceAccount", "Event"] {
        assert_eq!(
            core(kind, json!({"metadata": {"name": "x"}})),
            json!({"metadata": {"name": "x"}}),
            "{kind}"
        );
    }
}

#[test]
fn other_groups() {
    let rbac = "rbac.authorization.k8s.io";
    for (group, kind, object, want) in [
        (
            rbac,
            "ClusterRoleBinding",
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
            json!({"roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "r"}, "subjects": [{"apiGroup": rbac, "kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"egress": [{"ports": [{"port": 53}]}]}}),
            json!({"spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]}}),
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        ),
        (
            "networking.k8s.io",
            "IngressClass",
            json!({"spec": {"parameters": {"kind": "K", "name": "n"}}}),
            json!({"spec": {"parameters": {"kind": "K", "name": "n", "scope": "Cluster"}}}),
        ),
        ("networking.k8s.io", "Ingress", json!({"spec": {}}), json!({"spec": {}})),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"addressType": "IPv4", "ports": [{"port": 1}]}),
            json!({"addressType": "IPv4", "ports": [{"name": "", "port": 1, "protocol": "TCP"}]}),
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            json!({"value": 1}),
            json!({"value": 1, "preemptionPolicy": "PreemptLowerPriority"}),
        ),
        (
            "storage.k8s.io",
            "StorageClass",
            json!({"provisioner": "p"}),
            json!({"provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        (
            "storage.k8s.io",
            "CSIDriver",
            json!({"spec": {}}),
            json!({"spec": {"attachRequired": true, "podInfoOnMount": false, "storageCapacity": false,
            "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"], "requiresRepublish": false, "seLinuxMount": false}}),
        ),
        (
            "policy",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": 1}}),
            json!({"spec": {"minAvailable": 1}}),
        ),
        ("coordination.k8s.io", "Lease", json!({"spec": {}}), json!({"spec": {}})),
        (
            "apiregistration.k8s.io",
            "APIService",
            json!({"spec": {"service": {"name": "s", "namespace": "n"}}}),
            json!({"spec": {"service": {"name": "s", "namespace": "n", "port": 443}}}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "FlowSchema",
            json!({"spec": {}}),
            json!({"spec": {"matchingPrecedence": 1000}}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "PriorityLevelConfiguration",
            json!({"spec": {"limited": {"limitResponse": {"queuing": {}}}}}),
            json!({"spec": {"limited": {"nominalConcurrencyShares": 30, "lendablePercent": 0, "limitResponse": {"queuing": {"handSize": 8, "queues": 64, "queueLengthLimit": 50}}}}}),
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3}}),
            json!({"spec": {"maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 80}}),
        ),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "FooBar", "plural": "foobars"}, "versions": [{"name": "v1", "storage": true}]}}),
            json!({"spec": {"names": {"kind": "FooBar", "plural": "foobars", "singular": "foobar", "listKind": "FooBarList"}, "conversion": {"strategy": "None"},
                "versions": [{"name": "v1", "storage": true}]}, "status": {"storedVersions": ["v1"]}}),
        ),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{"name": "w", "clientConfig": {"service": {"name": "s"}}, "rules": [{"operations": ["*"]}]}]}),
            json!({"webhooks": [{"name": "w", "clientConfig": {"service": {"name": "s", "port": 443}}, "rules": [{"operations": ["*"], "scope": "*"}],
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "timeoutSeconds": 10, "reinvocationPolicy": "Never"}]}),
        ),
    ] {
        assert_eq!(defaulted(group, "v1", kind, object), want, "{kind}");
    }
    let hpa = defaulted(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}}),
    );
    assert_eq!(
        hpa["spec"],
        json!({"minReplicas": 1,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "scaleDown": {"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}})
    );
}

#[test]
fn odd_trees_do_not_break_the_walk() {
    for o in [
        json!(null),
        json!(3),
        json!({"spec": 3}),
        json!({"spec": {"containers": 3, "volumes": [1, null]}}),
        json!({"spec": null}),
    ] {
        let mut v = o;
        apply(resources::by_kind("", "v1", "Pod").unwrap(), &mut v);
    }
    let mut v = json!({"spec": {"audiences": []}});
    apply_type(
        resources::type_of("authentication.k8s.io", "v1", "TokenRequest").unwrap(),
        &mut v,
    );
    assert_eq!(v["spec"]["expirationSeconds"], 3600);
}
