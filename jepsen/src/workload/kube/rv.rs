//! `kube-rv`: a few ConfigMaps that everybody reads, changes and deletes, with and without preconditions.

use super::api::Access;
use super::client::{Call, Client, Failed, Values};
use super::object::PatchForm;
use super::setup::{self, Patience, access};
use crate::history::Seen;
use crate::workload::{Env, Worker, Workload};
use futures::future::BoxFuture;
use http::Method;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NAME: &str = "kube-rv";
/// Few, so that clients meet.
const OBJECTS: usize = 4;
/// The object that all clients add to.
const SET: &str = "set";
/// Elements at most: all of them are in every read. Later ones are not added.
const ELEMENTS_MAX: u64 = 3_000;

#[derive(Default)]
pub struct KubeRv {
    values: Values,
    elements: Arc<AtomicU64>,
}

impl Workload for KubeRv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "ConfigMaps read, changed and deleted by many, with resourceVersion preconditions and without"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        80.0
    }

    fn setup<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            setup::namespace(&access, NAME).await?;
            let set = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SET}, "data": {}});
            setup::create(&access, &format!("/api/v1/namespaces/{NAME}/configmaps"), &set)
                .await
                .map(drop)
        })
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let Ok(access) = access(env) else {
            return Vec::new();
        };
        (0..env.settings.clients)
            .map(|number| -> Worker {
                let client = Client::new(env, &access, NAME, number, &self.values);
                Box::pin(work(client, self.elements.clone()))
            })
            .collect()
    }

    fn finals<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { finals(env, &access(env)?, &self.values).await })
    }
}

async fn work(mut client: Client, elements: Arc<AtomicU64>) {
    while client.next().await {
        let server = client.any();
        // What comes of it is written down; a refusal is as good as any answer.
        let _ = match client.rng.random_range(0..20) {
            0..3 => add(&mut client, server, &elements).await,
            3 => read_set(&mut client, server, "read").await,
            _ => change(&mut client, server).await,
        };
    }
}

/// Reads an object and does something with what was read.
async fn change(client: &mut Client, server: usize) -> Result<(), Failed> {
    let name = format!("c{}", client.rng.random_range(0..OBJECTS));
    let rv = ["", "", "0"][client.rng.random_range(0..3)];
    let found = client.get(server, &name, rv).await?;
    // The write may go to another server than the read.
    let server = client.any();
    let Some(found) = found else {
        let content = client.content();
        return client.create(server, &name, &content).await.map(drop);
    };
    let rv = found.rv.to_string();
    let content = client.content();
    match client.rng.random_range(0..12) {
        0..5 => client.update(server, &name, &content, &rv).await.map(drop),
        5 => client.update(server, &name, &content, "").await.map(drop),
        6..8 => {
            let form = PatchForm::ALL[client.rng.random_range(0..3)];
            client.patch(server, &name, &content, &rv, form).await.map(drop)
        }
        8..10 => {
            let form = PatchForm::ALL[client.rng.random_range(0..3)];
            client.patch(server, &name, &content, "", form).await.map(drop)
        }
        10 => delete(client, server, &name, &found).await,
        _ => client.get(server, &name, &rv).await.map(drop),
    }
}

async fn delete(client: &mut Client, server: usize, name: &str, found: &Seen) -> Result<(), Failed> {
    let (rv, uid) = match client.rng.random_range(0..4) {
        0 => (String::new(), found.uid.clone()),
        1 => (String::new(), String::new()),
        _ => (found.rv.to_string(), String::new()),
    };
    let path = format!("{}/{name}", client.config_maps());
    client.delete(server, path, name, &rv, &uid).await.map(drop)
}

async fn add(client: &mut Client, server: usize, elements: &AtomicU64) -> Result<(), Failed> {
    let element = elements.fetch_add(1, Ordering::Relaxed) + 1;
    if element > ELEMENTS_MAX {
        return Ok(());
    }
    let call = Call {
        f: "add",
        key: Some(SET),
        value: element.into(),
        method: Method::PATCH,
        path: format!("{}/{SET}", client.config_maps()),
        content_type: PatchForm::Merge.content_type(),
        body: Some(json!({"data": {format!("e{element}"): ""}})),
    };
    let revision = |body: &Value| Some((Value::Null, Some(super::object::revision(body)?)));
    client.act(server, call, revision).await.map(drop)
}

async fn read_set(client: &mut Client, server: usize, f: &str) -> Result<(), Failed> {
    let call = Call {
        f,
        key: Some(SET),
        value: Value::Null,
        method: Method::GET,
        path: format!("{}/{SET}", client.config_maps()),
        content_type: "",
        body: None,
    };
    client
        .act(server, call, |body| Some((elements_of(body)?, None)))
        .await
        .map(drop)
}

/// The numbers in the data of the set, ascending.
fn elements_of(body: &Value) -> Option<Value> {
    let mut all: Vec<u64> = match &body["data"] {
        Value::Null => Vec::new(),
        data => data
            .as_object()?
            .keys()
            .map(|k| k.strip_prefix('e')?.parse().ok())
            .collect::<Option<_>>()?,
    };
    all.sort_unstable();
    Some(all.into())
}

async fn finals(env: &Env, access: &Access, values: &Values) -> Result<(), String> {
    let mut client = Client::new(env, access, NAME, usize::MAX, values);
    for server in access.numbers() {
        let patience = Patience::new("the last reads of kube-rv");
        while read_set(&mut client, server, "read-final").await.is_err() {
            patience.again().await?;
        }
        for object in 0..OBJECTS {
            while client.get(server, &format!("c{object}"), "").await.is_err() {
                patience.again().await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_from_data() {
        assert_eq!(
            elements_of(&json!({"data": {"e10": "", "e9": ""}})),
            Some(json!([9, 10]))
        );
        assert_eq!(elements_of(&json!({})), Some(json!([])));
        assert_eq!(elements_of(&json!({"data": {"x": ""}})), None);
    }
}
