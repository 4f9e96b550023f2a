//! Records Kubernetes Events (v1), aggregating repeats into `count` as client-go's recorder does. Never blocks:
//! a bounded queue, drained by a task; what does not fit is dropped and counted.
use crate::Client;
use k8s_openapi::api::core::v1::ObjectReference;

#[derive(Clone)]
pub struct EventRecorder {
    _c: Client,
}

impl EventRecorder {
    /// `component` e.g. `kubelet`, `instance` e.g. the node's name (may be empty).
    pub fn new(_client: Client, _component: &str, _instance: &str) -> Self {
        todo!()
    }
    /// `kind` is `Normal` or `Warning`; `reason` CamelCase.
    pub fn event(&self, _about: &ObjectReference, _kind: &str, _reason: &str, _message: String) {
        todo!()
    }
}

/// The reference that events and owner fields want, from a typed object.
pub fn object_ref<K: crate::api::Object>(_o: &K) -> ObjectReference {
    todo!()
}
