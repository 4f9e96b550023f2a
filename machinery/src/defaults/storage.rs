//! storage.k8s.io and resource.k8s.io (upstream: pkg/apis/{storage,resource}/v1/defaults.go).
use super::Defaulter;
use super::fields::{Object, absent, empty, object_mut, text};
use serde_json::json;

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.storage.v1.StorageClass" => storage_class,
        "api.storage.v1.CSIDriver" => csi_driver,
        "api.resource.v1.ExactDeviceRequest" | "api.resource.v1.DeviceSubRequest" => device_request,
        _ => return None,
    })
}

fn storage_class(o: &mut Object) {
    absent(o, "reclaimPolicy", "Delete");
    absent(o, "volumeBindingMode", "Immediate");
}

fn csi_driver(o: &mut Object) {
    let Some(spec) = object_mut(o, "spec") else { return };
    absent(spec, "attachRequired", true);
    absent(spec, "podInfoOnMount", false);
    absent(spec, "storageCapacity", false);
    absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    empty(spec, "volumeLifecycleModes", json!(["Persistent"]));
    absent(spec, "requiresRepublish", false);
    absent(spec, "seLinuxMount", false);
}

fn device_request(o: &mut Object) {
    empty(o, "allocationMode", "ExactCount");
    if text(o, "allocationMode") == "ExactCount" {
        empty(o, "count", 1);
    }
}
