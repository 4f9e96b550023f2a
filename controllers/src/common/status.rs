//! Writes of status: only where something changed, and only over what was read.
use keelson_client::api::Object;
use keelson_client::{Api, Result};
use serde::Serialize;
use serde_json::{Value, json};

fn value<T: Serialize>(t: &T) -> Value {
    serde_json::to_value(t).unwrap_or(Value::Null)
}

/// Writes `new` as the status of `object` if it differs; `field` finds the status. It is a PUT, as upstream's
/// controllers make it and their roles allow; a conflict says that `object` was stale.
pub async fn write_status<K: Object, S: Serialize>(
    api: &Api<K>,
    object: &K,
    field: impl FnOnce(&mut K) -> &mut Option<S>,
    new: S,
) -> Result<Option<K>> {
    let mut object = object.clone();
    let status = field(&mut object);
    let old = status.as_ref().map_or_else(|| json!({}), value);
    if old == value(&new) {
        return Ok(None);
    }
    *status = Some(new);
    // The server keeps what it knows of field managers where a writer leaves it out.
    object.metadata_mut().managed_fields = None;
    let name = object.metadata().name.clone().unwrap_or_default();
    api.replace_status(&name, &object).await.map(Some)
}
