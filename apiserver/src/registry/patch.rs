//! PATCH: the object is read, changed and written under its guard; a lost race starts over.

use super::update::Updated;
use super::{Ask, MODIFIED, RACE_RETRIES_MAX, Registry};
use keelson_machinery::patch::{Error, json_patch, merge_patch};
use keelson_machinery::status::ApiError;
use keelson_machinery::{meta, strategic};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
}

impl Registry {
    /// `check` looks at the patched tree (unknown fields) before it is written.
    pub async fn patch(
        &self,
        ask: &Ask,
        kind: PatchType,
        patch: &[u8],
        check: impl Fn(&mut Value) -> Result<(), ApiError>,
    ) -> Result<Updated, ApiError> {
        let tree: Value = match kind {
            PatchType::Json => Value::Null,
            _ => {
                let v: Value = serde_json::from_slice(patch)
                    .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
                if !v.is_object() {
                    return Err(ApiError::bad_request(
                        "error decoding patch: the patch is not an object",
                    ));
                }
                v
            }
        };
        for _ in 0..RACE_RETRIES_MAX {
            let (before, main) = if ask.subresource == "scale" {
                (self.get_scale(ask).await?, None)
            } else {
                let current = self.current(ask).await?.ok_or_else(|| ask.not_found())?;
                (current.value.clone(), Some(current))
            };
            let mut after = before.clone();
            match kind {
                PatchType::Json => json_patch(&mut after, patch).map_err(refused)?,
                PatchType::Merge => merge_patch(&mut after, &tree),
                PatchType::Strategic => {
                    let id = if main.is_some() {
                        ask.resource.type_id
                    } else {
                        super::scale::type_id()?
                    };
                    strategic::apply(id, &mut after, &tree).map_err(refused)?;
                }
            }
            check(&mut after)?;
            let (had, has) = (meta::resource_version(&before), meta::resource_version(&after));
            let guarded = !has.is_empty() && has != had;
            if guarded {
                return Err(ask.conflict(MODIFIED));
            }
            if meta::name(&after) != ask.name {
                return Err(ApiError::bad_request(format!(
                    "the name of the object ({}) does not match the name on the URL ({})",
                    meta::name(&after),
                    ask.name
                )));
            }
            let Some(current) = main else {
                match self.update_scale(ask, &after).await {
                    Ok(value) => return Ok(Updated { value, created: false }),
                    Err(e) if e.reason == "Conflict" => continue,
                    Err(e) => return Err(e),
                }
            };
            if let Some(value) = self.write(ask, &current, after).await? {
                return Ok(Updated { value, created: false });
            }
            if names_version(&tree) {
                return Err(ask.conflict(MODIFIED));
            }
        }
        Err(ask.conflict(MODIFIED))
    }
}

/// Whether the patch itself states the resourceVersion that it is for.
fn names_version(patch: &Value) -> bool {
    patch["metadata"]["resourceVersion"].is_string()
}

fn refused(e: Error) -> ApiError {
    match e {
        Error::BadRequest(m) => ApiError::bad_request(m),
        Error::Unprocessable(m) => ApiError::new(422, "Invalid", m),
        Error::TooLarge(m) => ApiError::new(413, "RequestEntityTooLarge", m),
    }
}
