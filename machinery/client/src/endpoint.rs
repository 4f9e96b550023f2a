//! What typed and dynamic access share: paths, bodies and queries of the verbs.
use crate::api::ObjectList;
use crate::query::{Query, segment_into};
use crate::{Client, DeleteParams, ListParams, Patch, PatchParams, Propagation, Result, WatchEvent};
use futures::stream::BoxStream;
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use rand::Rng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

const JSON: &str = "application/json";
/// Watches end by themselves after 5 to 10 minutes, so that their load spreads over servers (client-go's minimum, times 1 to 2).
const WATCH_TIMEOUT_SECONDS_MIN: u32 = 300;

/// A resource's place: `/api/v1` or `/apis/<group>/<version>`, a namespace, a plural.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint<'a> {
    pub client: &'a Client,
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: Option<&'a str>,
    pub plural: &'a str,
    /// The `Accept` header of answers with objects, and that of lists.
    pub accept: &'a str,
    pub accept_list: &'a str,
}

#[derive(Deserialize)]
struct RawList<K> {
    #[serde(default)]
    metadata: ListMeta,
    // An empty list may arrive as null: Go writes a nil slice so.
    #[serde(default = "Option::default")]
    items: Option<Vec<K>>,
}

impl<'a> Endpoint<'a> {
    pub fn json(
        client: &'a Client,
        group: &'a str,
        version: &'a str,
        namespace: Option<&'a str>,
        plural: &'a str,
    ) -> Self {
        Endpoint {
            client,
            group,
            version,
            namespace,
            plural,
            accept: JSON,
            accept_list: JSON,
        }
    }

    pub fn path(&self, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut p = String::with_capacity(96);
        if self.group.is_empty() {
            p.push_str("/api/");
        } else {
            p.push_str("/apis/");
            p.push_str(self.group);
            p.push('/');
        }
        p.push_str(self.version);
        if let Some(ns) = self.namespace {
            p.push_str("/namespaces/");
            segment_into(ns, &mut p);
        }
        p.push('/');
        p.push_str(self.plural);
        if let Some(name) = name {
            p.push('/');
            segment_into(name, &mut p);
        }
        if let Some(sub) = subresource {
            p.push('/');
            p.push_str(sub);
        }
        p
    }

    async fn call<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        ty: &str,
        body: Option<Vec<u8>>,
    ) -> Result<R> {
        let bytes = self.client.exchange(method, path, ty, accept, body).await?;
        decode(self.plural, &bytes)
    }

    pub async fn get<R: DeserializeOwned>(&self, name: &str) -> Result<R> {
        self.call(Method::GET, &self.path(Some(name), None), self.accept, JSON, None)
            .await
    }

    pub async fn list<R: DeserializeOwned>(&self, p: &ListParams) -> Result<ObjectList<R>> {
        let path = Query::default().list(p).on(&self.path(None, None));
        let raw: RawList<R> = self.call(Method::GET, &path, self.accept_list, JSON, None).await?;
        Ok(ObjectList {
            metadata: raw.metadata,
            items: raw.items.unwrap_or_default(),
        })
    }

    pub async fn create<B: Serialize, R: DeserializeOwned>(
        &self,
        name: Option<&str>,
        sub: Option<&str>,
        body: &B,
    ) -> Result<R> {
        let body = encode(self.plural, body)?;
        self.call(Method::POST, &self.path(name, sub), self.accept, JSON, Some(body))
            .await
    }

    pub async fn replace<B: Serialize, R: DeserializeOwned>(
        &self,
        name: &str,
        sub: Option<&str>,
        body: &B,
    ) -> Result<R> {
        let body = encode(self.plural, body)?;
        self.call(Method::PUT, &self.path(Some(name), sub), self.accept, JSON, Some(body))
            .await
    }

    pub async fn patch<R: DeserializeOwned>(
        &self,
        name: &str,
        sub: Option<&str>,
        p: &PatchParams,
        patch: &Patch,
    ) -> Result<R> {
        let (ty, value) = match patch {
            Patch::Json(v) => ("application/json-patch+json", v),
            Patch::Merge(v) => ("application/merge-patch+json", v),
            Patch::Strategic(v) => ("application/strategic-merge-patch+json", v),
            Patch::Apply(v) => ("application/apply-patch+yaml", v),
        };
        let mut q = Query::default();
        // Upstream's server takes the manager of other patches from the user agent; apply must name one.
        match (&p.field_manager, patch) {
            (Some(m), _) => q.add("fieldManager", m),
            (None, Patch::Apply(_)) => q.add("fieldManager", self.client.user_agent()),
            (None, _) => &mut q,
        };
        q.add("dryRun", if p.dry_run { "All" } else { "" });
        q.add("force", if p.force { "true" } else { "" });
        let path = q.on(&self.path(Some(name), sub));
        self.call(Method::PATCH, &path, self.accept, ty, Some(encode(self.plural, value)?))
            .await
    }

    pub async fn delete(&self, name: &str, p: &DeleteParams) -> Result<()> {
        let body = delete_options(p);
        let body = encode(self.plural, &body)?;
        self.client
            .exchange(Method::DELETE, &self.path(Some(name), None), JSON, JSON, Some(body))
            .await
            .map(drop)
    }

    pub async fn delete_collection(&self, p: &DeleteParams, list: &ListParams) -> Result<()> {
        let body = encode(self.plural, &delete_options(p))?;
        let path = Query::default().list(list).on(&self.path(None, None));
        self.client
            .exchange(Method::DELETE, &path, JSON, JSON, Some(body))
            .await
            .map(drop)
    }

    pub async fn watch<R>(
        &self,
        p: &ListParams,
        resource_version: &str,
        initial_events: bool,
    ) -> Result<BoxStream<'static, Result<WatchEvent<R>>>>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let mut p = p.clone();
        p.limit = None;
        p.continue_token = None;
        p.resource_version = (!resource_version.is_empty()).then(|| resource_version.to_owned());
        p.resource_version_match = initial_events.then(|| "NotOlderThan".to_owned());
        p.timeout_seconds =
            Some(p.timeout_seconds.unwrap_or_else(|| {
                rand::rng().random_range(WATCH_TIMEOUT_SECONDS_MIN..=2 * WATCH_TIMEOUT_SECONDS_MIN)
            }));
        let mut q = Query::default();
        q.add("watch", "true").add("allowWatchBookmarks", "true");
        q.add("sendInitialEvents", if initial_events { "true" } else { "" });
        let path = q.list(&p).on(&self.path(None, None));
        Ok(crate::watch::stream(self.client.stream(&path, self.accept).await?))
    }
}

pub(crate) fn decode<R: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<R> {
    serde_json::from_slice(bytes).map_err(|source| crate::Error::Decode {
        what: what.to_owned(),
        source,
    })
}

fn encode<B: Serialize>(what: &str, body: &B) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|source| crate::Error::Decode {
        what: what.to_owned(),
        source,
    })
}

fn delete_options(p: &DeleteParams) -> serde_json::Value {
    let mut v = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if let Some(g) = p.grace_period_seconds {
        v["gracePeriodSeconds"] = g.into();
    }
    if let Some(how) = p.propagation {
        v["propagationPolicy"] = match how {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
        .into();
    }
    if let Some(uid) = &p.precondition_uid {
        v["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(rv) = &p.precondition_resource_version {
        v["preconditions"]["resourceVersion"] = rv.as_str().into();
    }
    v
}
