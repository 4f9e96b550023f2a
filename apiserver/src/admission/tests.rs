#![allow(clippy::unwrap_used)]
use super::*;
use crate::objects::memory::Memory;
use serde_json::json;

struct Fixture {
    objects: Arc<Memory>,
    chain: Chain,
    user: UserInfo,
}

fn fixture(user: &str, groups: &[&str]) -> Fixture {
    let objects = Arc::new(Memory::default());
    objects.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}}),
    );
    objects.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "gone"}, "status": {"phase": "Terminating"}}),
    );
    objects.put(
        "",
        "serviceaccounts",
        json!({"metadata": {"name": "default", "namespace": "a"}}),
    );
    Fixture {
        chain: Chain::standard(objects.clone()),
        objects,
        user: UserInfo {
            name: user.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..UserInfo::default()
        },
    }
}

impl Fixture {
    fn request<'a>(&'a self, operation: Operation, plural: &str, namespace: &'a str, name: &'a str) -> Request<'a> {
        let (plural, subresource) = plural.split_once('/').unwrap_or((plural, ""));
        Request {
            operation,
            resource: resources::by_resource("", "v1", plural).unwrap(),
            subresource: if subresource == "token" { "token" } else { "" },
            namespace,
            name,
            user: &self.user,
            dry_run: false,
            old: None,
        }
    }
    async fn create(&self, plural: &str, namespace: &str, object: &mut Value) -> Result<(), ApiError> {
        let r = self.request(Operation::Create, plural, namespace, "");
        self.chain.mutate(&r, object).await?;
        self.chain.validate(&r, object).await
    }
}

#[tokio::test]
async fn namespaces_must_be_there_and_alive() {
    let f = fixture("jane", &[]);
    let mut cm = json!({"metadata": {"name": "x"}});
    assert!(f.create("configmaps", "a", &mut cm).await.is_ok());
    let e = f.create("configmaps", "none", &mut cm).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (404, "namespaces \"none\" not found"));
    let e = f.create("configmaps", "gone", &mut cm).await.unwrap_err();
    assert_eq!(
        e.message,
        "configmaps \"x\" is forbidden: unable to create new content in namespace gone because it is being terminated"
    );
    let r = f.request(Operation::Delete, "namespaces", "", "default");
    let e = f.chain.mutate(&r, &mut Value::Null).await.unwrap_err();
    assert_eq!(
        e.message,
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test]
async fn a_pod_gets_account_token_priority_and_tolerations() {
    let f = fixture("jane", &[]);
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    f.create("pods", "a", &mut pod).await.unwrap();
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(spec["tolerations"][1]["tolerationSeconds"], 300);
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume["name"]);

    let mut quiet = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}],
        "automountServiceAccountToken": false, "priorityClassName": "nope"}});
    let e = f.create("pods", "a", &mut quiet).await.unwrap_err();
    assert_eq!(
        e.message,
        "pods \"p\" is forbidden: no PriorityClass with name nope was found"
    );
    assert!(quiet["spec"].get("volumes").is_none());
}

#[tokio::test]
async fn a_pod_waits_for_the_default_account() {
    let f = fixture("jane", &[]);
    f.objects.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "new"}, "status": {"phase": "Active"}}),
    );
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let late = async {
        tokio::task::yield_now().await;
        f.objects.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "default", "namespace": "new"}}),
        );
    };
    let (made, ()) = tokio::join!(f.create("pods", "new", &mut pod), late);
    made.unwrap();
    let mut other = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "bot", "containers": []}});
    let e = f.create("pods", "a", &mut other).await.unwrap_err();
    assert!(
        e.message
            .ends_with("error looking up service account a/bot: serviceaccount \"bot\" not found")
    );
}

#[tokio::test]
async fn a_node_is_kept_to_its_own() {
    let f = fixture("system:node:n1", &["system:nodes"]);
    let mut node = json!({"metadata": {"name": "n1"}});
    f.create("nodes", "", &mut node).await.unwrap();
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    let e = f
        .create("nodes", "", &mut json!({"metadata": {"name": "n2"}}))
        .await
        .unwrap_err();
    assert_eq!(e.code, 403);

    f.objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": {"nodeName": "n2"}}),
    );
    let mut token = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}}});
    let mut r = f.request(Operation::Create, "serviceaccounts/token", "a", "default");
    let e = f.chain.mutate(&r, &mut token).await.unwrap_err();
    assert!(e.message.contains("bound to a pod scheduled on a different node"));
    f.objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": {"nodeName": "n1"}}),
    );
    r.old = None;
    f.chain.mutate(&r, &mut token).await.unwrap();
}

#[tokio::test]
async fn nobody_grants_more_than_they_hold() {
    let f = fixture("jane", &["system:authenticated"]);
    let chain = Chain::standard(f.objects.clone()).with_rbac(Rbac::default());
    let role =
        json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    let mut r = f.request(Operation::Create, "configmaps", "a", "r");
    r.resource = resources::by_resource("rbac.authorization.k8s.io", "v1", "roles").unwrap();
    let e = chain.validate(&r, &role).await.unwrap_err();
    assert!(
        e.message
            .contains("is attempting to grant RBAC permissions not currently held")
    );
    let root = UserInfo {
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    };
    r.user = &root;
    chain.validate(&r, &role).await.unwrap();
}
