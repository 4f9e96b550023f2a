//! Binds by POST to `pods/binding`.
use crate::framework::{Bind, Plugin, PodInfo};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use keelson_client::{Api, Client, Error};

pub const NAME: &str = "DefaultBinder";
pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        NAME
    }
}

#[async_trait]
impl Bind for DefaultBinder {
    async fn bind(&self, client: &Client, pod: &PodInfo, node: &str) -> Result<(), Error> {
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: Some(pod.namespace().to_owned()),
                name: Some(pod.name().to_owned()),
                // With the uid, a pod deleted and created again in between is not bound by mistake.
                uid: pod.pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        Api::<Pod>::namespaced(client.clone(), pod.namespace())
            .create_subresource::<_, Status>(pod.name(), "binding", &binding)
            .await
            .map(|_| ())
    }
}
