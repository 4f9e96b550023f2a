//! A client that records what it does: one operation at a time, at whichever API server it likes.

use super::api::{Access, Answer, Api, NoAnswer};
use super::object::{COLORS, Content, PatchForm, revision, seen};
use crate::history::{Kind, Record, Seen};
use crate::workload::Env;
use http::{Method, StatusCode};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest rest after errors that follow each other.
const REST_MAX: Duration = Duration::from_millis(800);

/// One client.
pub struct Client {
    pub env: Env,
    pub rng: StdRng,
    workload: &'static str,
    process: u64,
    servers: Vec<Api>,
    values: Values,
    /// Requests without an answer since the last one with one.
    errors: u32,
}

/// Numbers to be written, unique within a workload.
#[derive(Clone, Debug)]
pub struct Values(Arc<AtomicU64>);

impl Default for Values {
    fn default() -> Values {
        Values(Arc::new(AtomicU64::new(1)))
    }
}

/// An operation without an answer that says yes. It has been recorded.
#[derive(Clone, Debug)]
pub enum Failed {
    /// Refused: the code, and the Status of the refusal.
    Refused(StatusCode, Value),
    NotSent,
    /// It may have taken effect.
    Unknown,
}

/// What is done.
pub struct Call<'a> {
    pub f: &'a str,
    pub key: Option<&'a str>,
    /// As it is recorded.
    pub value: Value,
    pub method: Method,
    pub path: String,
    pub content_type: &'a str,
    pub body: Option<Value>,
}

impl Call<'_> {
    /// Whether it can only read: then nothing that goes wrong can have had an effect.
    fn reads(&self) -> bool {
        self.method == Method::GET
    }
}

/// What a list asks for, as it stands in the request.
#[derive(Clone, Debug, Default)]
pub struct ListAsk {
    pub rv: String,
    pub matching: &'static str,
    pub color: &'static str,
    pub limit: u64,
    /// The token, and what kind it is.
    pub token: String,
    pub token_kind: &'static str,
    pub walk: u64,
    pub page: u64,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    pub rv: i64,
    pub items: Vec<Seen>,
    /// Empty on the last page.
    pub token: String,
}

impl Client {
    /// Client `number` (from 0) of a workload.
    pub fn new(env: &Env, access: &Access, workload: &'static str, number: usize, values: &Values) -> Client {
        Client {
            rng: env.rng(workload, number),
            process: env.process(),
            servers: access.numbers().map(|n| Api::new(access, n)).collect(),
            env: env.clone(),
            workload,
            values: values.clone(),
            errors: 0,
        }
    }

    /// Rests between two operations, the more so after errors; `false` when the client should end.
    pub async fn next(&mut self) -> bool {
        let mean = self.env.settings.clients as f64 / self.env.settings.rate;
        let mut rest = Duration::from_secs_f64(mean * self.rng.random_range(0.2..1.8));
        if self.errors > 0 {
            let limit = REST_MAX.min(Duration::from_millis(25) * 2u32.pow(self.errors.min(8)));
            rest += limit.mul_f64(self.rng.random_range(0.5..1.0));
        }
        self.env.rest(rest).await;
        !self.env.stopped()
    }

    /// Any of the API servers.
    pub fn any(&mut self) -> usize {
        self.rng.random_range(1..=self.servers.len())
    }

    /// The numbers of the API servers.
    pub fn servers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.servers.len()
    }

    /// A number that nobody else writes.
    pub fn fresh(&self) -> u64 {
        self.values.0.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that nobody else writes, with a color or none.
    pub fn content(&mut self) -> Content {
        Content {
            v: self.fresh(),
            color: COLORS[self.rng.random_range(0..COLORS.len())],
        }
    }

    /// Chance.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    /// Path of the workload's ConfigMaps.
    pub fn config_maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.workload)
    }

    fn record(&self, kind: Kind, server: usize, call: &Call<'_>, value: Value) -> Record {
        let mut record = Record::new(self.workload, self.process, server, kind, call.f);
        record.key = call.key.map(str::to_owned);
        record.value = value;
        record
    }

    /// Writes a line of an operation that is not one request to an API server.
    pub fn line(&mut self, kind: Kind, server: usize, f: &str, value: Value, error: Option<String>) {
        let mut record = Record::new(self.workload, self.process, server, kind, f);
        record.value = value;
        record.error = error;
        self.end(record);
    }

    /// Writes a line, counts it, and goes on as another process where that is due.
    fn end(&mut self, record: Record) {
        let counts = &self.env.counts;
        let count = match record.kind {
            Kind::Invoke => None,
            Kind::Ok => Some(&counts.ok),
            Kind::Fail => Some(&counts.fail),
            Kind::Info => Some(&counts.info),
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let retired = record.kind == Kind::Info;
        self.env.recorder.op(record);
        if retired {
            self.process = self.env.process();
        }
    }

    /// Does it, and records both ends. `answer` makes of a 2xx what is recorded, with the revision.
    ///
    /// # Errors
    /// [`Failed`], which is recorded already.
    pub async fn act(
        &mut self,
        server: usize,
        call: Call<'_>,
        answer: impl FnOnce(&Value) -> Option<(Value, Option<i64>)>,
    ) -> Result<Value, Failed> {
        let invoke = self.record(Kind::Invoke, server, &call, call.value.clone());
        self.end(invoke);
        let done = self.servers[server - 1]
            .call(call.method.clone(), &call.path, call.content_type, call.body.as_ref())
            .await;
        let (kind, error, failed) = match done {
            Ok(Answer { code, body }) if code.is_success() => match answer(&body) {
                Some((value, revision)) => {
                    let mut record = self.record(Kind::Ok, server, &call, value);
                    record.revision = revision;
                    self.end(record);
                    self.errors = 0;
                    return Ok(body);
                }
                None => (
                    Kind::Info,
                    format!("{code}, but it is not understood: {body}"),
                    Failed::Unknown,
                ),
            },
            // Absence is what a read of one object came to see.
            Ok(Answer { code, body }) if call.f == "get" && code == StatusCode::NOT_FOUND => {
                let record = self.record(Kind::Ok, server, &call, Value::Null);
                self.end(record);
                self.errors = 0;
                return Ok(body);
            }
            Ok(Answer { code, body }) => {
                let error = refusal(code, &body);
                if code.is_client_error() {
                    (Kind::Fail, error, Failed::Refused(code, body))
                } else {
                    (Kind::Info, error, Failed::Unknown)
                }
            }
            Err(e @ NoAnswer::NotSent(_)) => (Kind::Fail, e.to_string(), Failed::NotSent),
            Err(e @ NoAnswer::Unknown(_)) => (Kind::Info, e.to_string(), Failed::Unknown),
        };
        let kind = if call.reads() { Kind::Fail } else { kind };
        let mut record = self.record(kind, server, &call, Value::Null);
        record.error = Some(error);
        self.end(record);
        if matches!(failed, Failed::Refused(code, _) if code != StatusCode::TOO_MANY_REQUESTS) {
            self.errors = 0;
        } else {
            self.errors += 1;
        }
        Err(failed)
    }

    /// # Errors
    /// [`Failed`]
    pub async fn create(&mut self, server: usize, name: &str, content: &Content) -> Result<Seen, Failed> {
        let call = Call {
            f: "create",
            key: Some(name),
            value: json!({"v": content.v, "color": content.color}),
            method: Method::POST,
            path: self.config_maps(),
            content_type: "application/json",
            body: Some(content.config_map(name, "")),
        };
        self.write(server, call).await
    }

    /// # Errors
    /// [`Failed`]
    pub async fn update(&mut self, server: usize, name: &str, content: &Content, rv: &str) -> Result<Seen, Failed> {
        let call = Call {
            f: "update",
            key: Some(name),
            value: json!({"v": content.v, "color": content.color, "rv": rv}),
            method: Method::PUT,
            path: format!("{}/{name}", self.config_maps()),
            content_type: "application/json",
            body: Some(content.config_map(name, rv)),
        };
        self.write(server, call).await
    }

    /// # Errors
    /// [`Failed`]
    pub async fn patch(
        &mut self,
        server: usize,
        name: &str,
        content: &Content,
        rv: &str,
        form: PatchForm,
    ) -> Result<Seen, Failed> {
        let (body, content_type) = content.patch(form, rv);
        let call = Call {
            f: "patch",
            key: Some(name),
            value: json!({"v": content.v, "color": content.color, "rv": rv, "type": form.name()}),
            method: Method::PATCH,
            path: format!("{}/{name}", self.config_maps()),
            content_type,
            body: Some(body),
        };
        self.write(server, call).await
    }

    async fn write(&mut self, server: usize, call: Call<'_>) -> Result<Seen, Failed> {
        let body = self
            .act(server, call, |body| {
                let seen = seen(body)?;
                Some((json!(seen), Some(seen.rv)))
            })
            .await?;
        // It was understood just before.
        seen(&body).ok_or(Failed::Unknown)
    }

    /// # Errors
    /// [`Failed`]
    pub async fn delete(
        &mut self,
        server: usize,
        path: String,
        name: &str,
        rv: &str,
        uid: &str,
    ) -> Result<Value, Failed> {
        let mut preconditions = json!({});
        for (field, value) in [("resourceVersion", rv), ("uid", uid)] {
            if !value.is_empty() {
                preconditions[field] = value.into();
            }
        }
        let call = Call {
            f: "delete",
            key: Some(name),
            value: json!({"rv": rv, "uid": uid}),
            method: Method::DELETE,
            path,
            content_type: "application/json",
            body: Some(json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": preconditions,
            })),
        };
        self.act(server, call, |body| {
            // A Status names what was deleted; some kinds answer with the object itself.
            let uid = body["details"]["uid"].as_str().or(body["metadata"]["uid"].as_str());
            Some((json!({"uid": uid.unwrap_or_default()}), None))
        })
        .await
    }

    /// A read of one object; `rv` as in the request.
    ///
    /// # Errors
    /// [`Failed`]
    pub async fn get(&mut self, server: usize, name: &str, rv: &str) -> Result<Option<Seen>, Failed> {
        let query = match rv {
            "" => String::new(),
            rv => format!("?resourceVersion={rv}"),
        };
        let call = Call {
            f: "get",
            key: Some(name),
            value: json!({"rv": rv}),
            method: Method::GET,
            path: format!("{}/{name}{query}", self.config_maps()),
            content_type: "",
            body: None,
        };
        let body = self.act(server, call, |body| Some((json!(seen(body)?), None))).await?;
        Ok(seen(&body))
    }

    /// # Errors
    /// [`Failed`]
    pub async fn list(&mut self, server: usize, ask: &ListAsk) -> Result<Page, Failed> {
        let mut query: Vec<String> = Vec::new();
        for (name, value) in [
            ("resourceVersion", ask.rv.as_str()),
            ("resourceVersionMatch", ask.matching),
            ("continue", &ask.token),
        ] {
            if !value.is_empty() {
                query.push(format!("{name}={value}"));
            }
        }
        if ask.limit > 0 {
            query.push(format!("limit={}", ask.limit));
        }
        if !ask.color.is_empty() {
            query.push(format!("labelSelector=color%3D{}", ask.color));
        }
        let call = Call {
            f: "list",
            key: None,
            value: json!({
                "rv": ask.rv, "match": ask.matching, "color": ask.color, "limit": ask.limit, "token": ask.token_kind,
                "walk": ask.walk, "page": ask.page,
            }),
            method: Method::GET,
            path: format!("{}?{}", self.config_maps(), query.join("&")),
            content_type: "",
            body: None,
        };
        let body = self
            .act(server, call, |body| {
                let page = page(body)?;
                let value = json!({
                    "rv": page.rv, "items": page.items, "more": !page.token.is_empty(),
                    "remaining": body["metadata"]["remainingItemCount"],
                });
                Some((value, Some(page.rv)))
            })
            .await?;
        page(&body).ok_or(Failed::Unknown)
    }
}

fn page(body: &Value) -> Option<Page> {
    Some(Page {
        rv: revision(body)?,
        items: body["items"].as_array()?.iter().map(seen).collect::<Option<_>>()?,
        token: body["metadata"]["continue"].as_str().unwrap_or_default().to_owned(),
    })
}

/// `409 Conflict: Operation cannot be fulfilled …`
pub fn refusal(code: StatusCode, body: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}: {}",
        code.as_u16(),
        text(&body["reason"]),
        text(&body["message"])
    )
}
