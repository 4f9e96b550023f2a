//! Requests about resources: from a verb to the registry and back.

use super::body::{self, Validation};
use super::negotiate::{self, Encoding, Wanted};
use super::request::Info;
use super::respond;
use super::{Api, list, watch};
use crate::auth::UserInfo;
use crate::auth::reviews::Reviews;
use crate::registry::delete::{DeleteOptions, Deleted};
use crate::registry::{Ask, PatchType};
use bytes::Bytes;
use http::{HeaderMap, Response};
use keelson_client::Body;
use keelson_machinery::resources::{self, Resource, Subresource};
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::{Value, json};

/// One request, authorized.
pub struct Call<'a> {
    pub api: &'a Api,
    pub info: &'a Info,
    pub user: UserInfo,
    pub headers: &'a HeaderMap,
    pub resource: &'static Resource,
    pub wanted: Wanted,
}

fn no_route() -> ApiError {
    ApiError::new(404, "NotFound", "the server could not find the requested resource")
}

fn dry_run(info: &Info, body: Option<&Value>) -> Result<bool, ApiError> {
    let mut asked: Vec<&str> = info.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if let Some(list) = body.and_then(|b| b["dryRun"].as_array()) {
        asked.extend(list.iter().filter_map(Value::as_str));
    }
    match asked.as_slice() {
        [] => Ok(false),
        all if all.iter().all(|v| *v == "All") => Ok(true),
        all => {
            let e = FieldError::not_supported("dryRun", &json!(all), &["All"]);
            Err(ApiError::invalid("meta.k8s.io", "Options", "", &[e]))
        }
    }
}

impl Call<'_> {
    fn ask(&self, dry_run: bool) -> Ask {
        Ask {
            resource: self.resource,
            namespace: self.info.namespace.clone(),
            name: self.info.name.clone(),
            subresource: self.info.subresource.clone(),
            user: self.user.clone(),
            dry_run,
            internal: false,
        }
    }

    fn subresource(&self) -> Result<Option<&'static Subresource>, ApiError> {
        match self.info.subresource.as_str() {
            "" => Ok(None),
            name => self.resource.subresource(name).map(Some).ok_or_else(no_route),
        }
    }

    fn check_scope(&self) -> Result<(), ApiError> {
        let one = matches!(self.info.verb.as_str(), "get" | "update" | "patch" | "delete")
            || !self.info.subresource.is_empty();
        let needs =
            self.resource.namespaced && (one || matches!(self.info.verb.as_str(), "create" | "deletecollection"));
        let virtual_kind = !self.resource.is_stored();
        if needs && self.info.namespace.is_empty() && !virtual_kind {
            return Err(no_route());
        }
        if !self.resource.namespaced && !self.info.namespace.is_empty() && self.resource.plural != "namespaces" {
            return Err(no_route());
        }
        Ok(())
    }

    /// Answers; `body` was read whole.
    pub async fn run(&self, body: Bytes) -> Result<Response<Body>, ApiError> {
        self.check_scope()?;
        let verb = self.info.verb.as_str();
        let sub = self.subresource()?;
        let verbs = sub.map_or(self.resource.verbs, |s| s.verbs);
        if !verbs.contains(&verb) {
            return Err(ApiError::method_not_allowed(
                self.resource.group,
                self.resource.plural,
                verb,
            ));
        }
        match verb {
            "get" => {
                let ask = Ask {
                    subresource: self.read_subresource(),
                    ..self.ask(false)
                };
                // A read is linearizable in any case; a version that is still to come is waited for, within a bound.
                let version = self.info.query.text("resourceVersion");
                if !matches!(version, "" | "0") && self.resource.is_stored() {
                    let cacher = self.api.registry.cacher(self.resource)?;
                    cacher.get(&ask.namespace, &ask.name, version).await?;
                }
                let o = self.api.registry.get(&ask).await?;
                self.single(200, sub, &o)
            }
            "list" if !self.resource.is_stored() => list::empty(self.resource, self.wanted),
            "list" => {
                let page = self
                    .api
                    .registry
                    .cacher(self.resource)?
                    .list(&list::options(self.resource, self.info)?)
                    .await?;
                list::respond(self.resource, self.info, &page, self.wanted)
            }
            "watch" => watch::respond(&self.api.registry, self.resource, self.info, self.wanted).await,
            "create" => self.create(sub, &body).await,
            "update" => self.update(sub, &body).await,
            "patch" => self.patch(sub, &body).await,
            "delete" => self.delete(&body).await,
            "deletecollection" => self.delete_collection(&body).await,
            _ => Err(ApiError::method_not_allowed(
                self.resource.group,
                self.resource.plural,
                verb,
            )),
        }
    }

    /// Reading `status` reads the whole object; only `scale` is a kind of its own.
    fn read_subresource(&self) -> String {
        if self.info.subresource == "scale" {
            "scale".into()
        } else {
            String::new()
        }
    }

    fn single(&self, code: u16, sub: Option<&Subresource>, o: &Value) -> Result<Response<Body>, ApiError> {
        let own_kind = sub.is_none_or(|s| s.kind.2 == self.resource.kind);
        if own_kind {
            respond::object(code, self.resource, o, self.wanted)
        } else {
            respond::value(code, o, self.wanted.encoding)
        }
    }

    fn validation(&self) -> Result<Validation, ApiError> {
        Validation::parse(self.info.query.text("fieldValidation"))
    }

    /// Kind of the request's body: a subresource's own, or the resource's.
    fn body_kind(&self, sub: Option<&Subresource>) -> (&'static str, &'static str, &'static str) {
        sub.map_or((self.resource.group, self.resource.version, self.resource.kind), |s| {
            s.kind
        })
    }

    fn decode(&self, sub: Option<&Subresource>, body: &[u8]) -> Result<body::Decoded, ApiError> {
        let encoding = negotiate::content(self.headers)?;
        if body.is_empty() {
            return Err(ApiError::bad_request("the request has no body"));
        }
        body::decode(body, encoding, self.body_kind(sub), self.validation()?)
    }

    async fn create(&self, sub: Option<&'static Subresource>, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let decoded = self.decode(sub, body)?;
        let ask = self.ask(dry_run(self.info, None)?);
        let (group, plural) = (self.resource.group, self.resource.plural);
        let registry = &self.api.registry;
        let mut response = match sub.map(|s| s.name) {
            Some("binding") => {
                registry.bind(&ask, &decoded.value).await?;
                respond::value(201, &success(), self.wanted.encoding)?
            }
            Some("eviction") => {
                registry.evict(&ask, &decoded.value).await?;
                respond::value(201, &success(), self.wanted.encoding)?
            }
            Some("token") => {
                let token = self
                    .api
                    .tokens
                    .request(&ask.namespace, &ask.name, &decoded.value)
                    .await?;
                respond::value(201, &token, self.wanted.encoding)?
            }
            Some(other) => {
                return Err(ApiError::method_not_allowed(
                    group,
                    &format!("{plural}/{other}"),
                    "create",
                ));
            }
            None if Reviews::handles(group, plural) => {
                let reviews = Reviews {
                    authorizer: &*self.api.authorizer,
                    tokens: &self.api.tokens,
                };
                let answer = reviews
                    .create(plural, &ask.namespace, &self.user, &decoded.value)
                    .await?;
                respond::value(201, &answer, self.wanted.encoding)?
            }
            None if plural == "bindings" => {
                let pods = resources::by_resource("", "v1", "pods").ok_or_else(no_route)?;
                let name = keelson_machinery::meta::name(&decoded.value).to_owned();
                registry
                    .bind(
                        &Ask {
                            resource: pods,
                            name,
                            ..ask
                        },
                        &decoded.value,
                    )
                    .await?;
                respond::value(201, &success(), self.wanted.encoding)?
            }
            None => {
                let made = registry.create(&ask, decoded.value).await?;
                respond::object(201, self.resource, &made, self.wanted)?
            }
        };
        respond::warn(&mut response, &decoded.warnings);
        self.warn_of_kind(&mut response, body);
        Ok(response)
    }

    /// Warnings that the kind itself has for the client.
    fn warn_of_kind(&self, response: &mut Response<Body>, body: &[u8]) {
        let Ok(tree) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        let context = crate::kinds::Context {
            resource: self.resource,
            subresource: &self.info.subresource,
            dry_run: false,
        };
        let all = crate::kinds::strategy(self.resource).warnings(&context, &tree);
        respond::warn(response, &all);
    }

    async fn update(&self, sub: Option<&'static Subresource>, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let decoded = self.decode(sub, body)?;
        let done = self
            .api
            .registry
            .update(&self.ask(dry_run(self.info, None)?), decoded.value)
            .await?;
        let mut response = self.single(if done.created { 201 } else { 200 }, sub, &done.value)?;
        respond::warn(&mut response, &decoded.warnings);
        self.warn_of_kind(&mut response, body);
        Ok(response)
    }

    async fn patch(&self, sub: Option<&'static Subresource>, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let kind = match negotiate::content_kind(self.headers).as_str() {
            "application/json-patch+json" => PatchType::Json,
            "application/merge-patch+json" => PatchType::Merge,
            "application/strategic-merge-patch+json" => PatchType::Strategic,
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                return Err(ApiError::unsupported_media_type(
                    "server-side apply is not served yet: use client-side apply (kubectl apply without --server-side)",
                ));
            }
            other => {
                return Err(ApiError::unsupported_media_type(format!(
                    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json (got {other:?})"
                )));
            }
        };
        let validation = self.validation()?;
        let (group, version, name) = self.body_kind(sub);
        let id = resources::type_of(group, version, name).ok_or_else(no_route)?;
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let warnings = parking_lot::Mutex::new(Vec::new());
        let check = |tree: &mut Value| {
            let checked = body::check(std::mem::take(tree), id, Vec::new(), validation, name, &api_version)?;
            *tree = checked.value;
            *warnings.lock() = checked.warnings;
            Ok(())
        };
        let done = self
            .api
            .registry
            .patch(&self.ask(dry_run(self.info, None)?), kind, body, check)
            .await?;
        let mut response = self.single(if done.created { 201 } else { 200 }, sub, &done.value)?;
        respond::warn(&mut response, &warnings.into_inner());
        Ok(response)
    }

    fn delete_options(&self, body: &[u8]) -> Result<(DeleteOptions, bool), ApiError> {
        let tree = body::decode_options(body, self.headers)?;
        let mut o = DeleteOptions::parse(&tree)?;
        let q = &self.info.query;
        if let Some(g) = q.get("gracePeriodSeconds") {
            o.grace_period_seconds = Some(
                g.parse()
                    .map_err(|_| ApiError::bad_request(format!("invalid gracePeriodSeconds {g:?}")))?,
            );
        }
        if let Some(p) = q.get("propagationPolicy") {
            o.propagation = Some(p.to_owned());
        }
        if q.get("orphanDependents").is_some() {
            o.orphan_dependents = Some(q.flag("orphanDependents"));
        }
        o.validate()?;
        Ok((o, dry_run(self.info, Some(&tree))?))
    }

    async fn delete(&self, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let (options, dry) = self.delete_options(body)?;
        match self.api.registry.delete(&self.ask(dry), &options).await? {
            Deleted::Marked(v) => respond::object(200, self.resource, &v, self.wanted),
            Deleted::Gone(v) if returns_object(self.resource) => respond::object(200, self.resource, &v, self.wanted),
            Deleted::Gone(v) => {
                let mut details =
                    json!({"name": v["metadata"]["name"], "kind": self.resource.plural, "uid": v["metadata"]["uid"]});
                if !self.resource.group.is_empty() {
                    details["group"] = self.resource.group.into();
                }
                let mut status = success();
                status["details"] = details;
                respond::value(200, &status, self.wanted.encoding)
            }
        }
    }

    async fn delete_collection(&self, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let (options, dry) = self.delete_options(body)?;
        let chosen = list::options(self.resource, self.info)?;
        let gone = self
            .api
            .registry
            .delete_collection(&self.ask(dry), &options, chosen)
            .await?;
        let list = json!({"kind": self.resource.list_kind, "apiVersion": self.resource.api_version(), "metadata": {}, "items": gone});
        respond::value(200, &list, self.wanted.encoding)
    }
}

/// Kinds whose deletion answers with the object (upstream: ReturnDeletedObject).
fn returns_object(r: &Resource) -> bool {
    r.group.is_empty()
        && matches!(
            r.plural,
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "resourcequotas"
                | "podtemplates"
        )
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
}

/// The row that a path names.
pub fn row(info: &Info) -> Result<&'static Resource, ApiError> {
    resources::by_resource(&info.group, &info.version, &info.resource).ok_or_else(no_route)
}

/// The encoding for an error when negotiation itself may have failed.
pub fn error_encoding(headers: &HeaderMap) -> Encoding {
    negotiate::accept(headers).map_or(Encoding::Json, |w| w.encoding)
}
