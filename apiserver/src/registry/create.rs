//! POST.

use super::{Ask, Registry, put_bytes, stored};
use crate::admission::Operation;
use crate::kinds;
use keelson_machinery::meta;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::Value;

/// Letters and digits of generated suffixes: no vowels and nothing that looks like another
/// (upstream: apimachinery/pkg/util/rand).
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;
/// A name is at most this long before its suffix, bytes.
const GENERATED_BASE_LEN_MAX: usize = 58;
/// How many generated names are tried.
const GENERATE_TRIES: usize = 8;

fn suffix() -> String {
    use rand::Rng;
    let mut rng = rand::rng();
    (0..SUFFIX_LEN)
        .map(|_| SUFFIX_ALPHABET[rng.random_range(0..SUFFIX_ALPHABET.len())] as char)
        .collect()
}

fn generate(base: &str) -> String {
    let mut end = base.len().min(GENERATED_BASE_LEN_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], suffix())
}

impl Registry {
    /// Creates an object; returns it as stored.
    pub async fn create(&self, ask: &Ask, mut object: Value) -> Result<Value, ApiError> {
        let r = ask.resource;
        check_metadata(ask, &mut object)?;
        let generated = meta::name(&object).is_empty() && !meta::generate_name(&object).is_empty();
        let mut ask = ask.clone();
        if !generated {
            ask.name = meta::name(&object).to_owned();
        }
        keelson_machinery::defaults::apply(r, &mut object);
        meta::set(&mut object, "uid", uuid::Uuid::new_v4().to_string());
        meta::set(
            &mut object,
            "creationTimestamp",
            keelson_machinery::time::format(jiff::Timestamp::now()),
        );
        for attempt in 1.. {
            if generated {
                ask.name = generate(meta::generate_name(&object));
                meta::set(&mut object, "name", ask.name.as_str());
            }
            match self.create_named(&ask, object.clone()).await {
                Err(e) if generated && e.reason == "AlreadyExists" && attempt < GENERATE_TRIES => {}
                other => return other,
            }
        }
        Err(ApiError::internal("no name could be generated"))
    }

    async fn create_named(&self, ask: &Ask, mut object: Value) -> Result<Value, ApiError> {
        let r = ask.resource;
        self.mutate(ask, Operation::Create, &mut object, None).await?;
        // Admission may add what has defaults of its own (volumes, tolerations).
        keelson_machinery::defaults::apply(r, &mut object);
        let context = ask.context();
        // Only now: a Job's selector is made of its uid and its name.
        kinds::strategy(r).prepare_for_create(&context, &mut object);
        let reservation = kinds::begin(&self.allocators, &context, &mut object, None)?;
        let errors = kinds::validate_create(&context, &object);
        if !errors.is_empty() {
            return Err(ApiError::invalid(r.group, r.kind, &ask.name, &errors));
        }
        self.admit(ask, Operation::Create, &object, None).await?;
        stored::set_gvk(r, &mut object);
        let bytes = stored::encode(r, &object)?;
        if ask.dry_run {
            let (taken, _) = self.storage.get(&ask.key()).await.map_err(super::storage_error)?;
            return match taken {
                Some(_) => Err(ApiError::already_exists(r.group, r.plural, &ask.name)),
                None => stored::decode(r, &bytes, 0).map(|mut o| {
                    meta::unset(&mut o, "resourceVersion");
                    o
                }),
            };
        }
        match put_bytes(self, ask, bytes, 0).await? {
            Some(object) => {
                reservation.commit();
                Ok(object)
            }
            None => Err(ApiError::already_exists(r.group, r.plural, &ask.name)),
        }
    }
}

fn check_metadata(ask: &Ask, object: &mut Value) -> Result<(), ApiError> {
    let r = ask.resource;
    if !object.is_object() {
        return Err(ApiError::bad_request("the request's body is not an object"));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Default::default());
    }
    check_namespace(ask, object)?;
    if !matches!(meta::resource_version(object), "" | "0") {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    ] {
        meta::unset(object, field);
    }
    if meta::name(object).is_empty() && meta::generate_name(object).is_empty() {
        let missing = FieldError::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(r.group, r.kind, "", &[missing]));
    }
    Ok(())
}

/// The body's namespace is the request's, or absent.
pub(super) fn check_namespace(ask: &Ask, object: &mut Value) -> Result<(), ApiError> {
    if !ask.resource.namespaced {
        meta::unset(object, "namespace");
        return Ok(());
    }
    match meta::namespace(object) {
        "" => {
            let namespace = if ask.namespace.is_empty() {
                "default"
            } else {
                &ask.namespace
            };
            meta::set(object, "namespace", namespace);
            Ok(())
        }
        same if same == ask.namespace => Ok(()),
        other => Err(ApiError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({other:?} and {:?})",
            ask.namespace
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_their_base_and_fit() {
        let name = generate("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generate(&"x".repeat(200)).len(), 63);
        assert_ne!(generate("a-"), generate("a-"));
    }
}
