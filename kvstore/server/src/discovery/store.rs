//! The members of a cluster from a store that is there already (`--discovery-token`, `--discovery-endpoints`): each
//! registers itself below the token's prefix and waits until as many have come as the operator wrote down.
//!
//! Keys, as etcd's own v3 discovery has them: `/_etcd/registry/<token>/_config/size` holds the size,
//! `/_etcd/registry/<token>/members/<id in hex>` holds `name=url[,name=url]`. The first `size` by creation are in.

use super::Error;
use crate::dial;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

const PREFIX: &str = "/_etcd/registry";
/// Waiting between two attempts doubles up to 2 to this power, seconds.
const BACKOFF_EXPONENT_MAX: u32 = 8;
/// Attempts in a row without an answer; at the longest wait that is three days.
const ATTEMPTS_MAX: u32 = 1024;
/// Members that are looked at; more have registered by mistake.
const MEMBERS_MAX: i64 = 4096;

/// Where the store is, and who asks.
#[derive(Clone)]
pub struct Options {
    pub token: String,
    /// URLs with scheme; each is tried.
    pub endpoints: Vec<String>,
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub user: Option<(String, String)>,
    pub dial_timeout: Duration,
    pub request_timeout: Duration,
}

impl Options {
    /// With etcd's default times.
    pub fn new(token: impl Into<String>, endpoints: Vec<String>) -> Self {
        Options {
            token: token.into(),
            endpoints,
            tls: None,
            user: None,
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// Registers this member and returns, when all have come, what `initial-cluster` would say. `member_id` is the one
/// that follows from the member's own URLs and the cluster token.
pub async fn join(
    options: &Options,
    member_id: u64,
    name: &str,
    peer_urls: &[String],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut session = Session::new(options)?;
    let own_key = format!("{}{member_id:x}", session.members_prefix());
    session.check(&own_key).await?;
    let own: Vec<String> = peer_urls.iter().map(|url| format!("{name}={url}")).collect();
    session.register(&own_key, &own.join(",")).await?;
    let mut found = session.check(&own_key).await?;
    if found.members.len() < found.size {
        session.wait(&mut found, &own_key).await?;
    }
    found.initial_cluster()
}

/// What the store knows of a cluster.
struct Found {
    size: usize,
    revision: i64,
    /// By order of creation.
    members: Vec<Registered>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Registered {
    created: i64,
    key: String,
    urls: String,
}

impl Found {
    /// Takes a row that is a member's and new.
    fn add(&mut self, prefix: &str, kv: &keelson_proto::mvccpb::KeyValue) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let member = Registered {
            created: kv.create_revision,
            key: text(&kv.key),
            urls: text(&kv.value),
        };
        let known = self.members.iter().any(|m| m.key == member.key);
        let shown = (member.key.clone(), member.urls.clone());
        if !member.key.starts_with(prefix) || !member.urls.contains('=') {
            tracing::warn!(
                memberKey = shown.0,
                memberInfo = shown.1,
                "invalid peer info returned from discovery service"
            );
        } else if known {
            tracing::warn!(
                memberKey = shown.0,
                memberInfo = shown.1,
                "found duplicate peer from discovery service"
            );
        } else {
            tracing::info!(
                memberKey = shown.0,
                memberInfo = shown.1,
                "found peer from discovery service"
            );
            self.members.push(member);
            self.members.sort();
        }
    }

    /// Those who came too late are left out.
    fn initial_cluster(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for part in self.members.iter().take(self.size).flat_map(|m| m.urls.split(',')) {
            let (name, url) = part.split_once('=').ok_or(Error::InvalidUrl)?;
            all.entry(name.to_owned()).or_default().push(url.to_owned());
        }
        for urls in all.values_mut() {
            *urls = crate::cluster::urls::checked(urls).map_err(|_| Error::InvalidUrl)?;
        }
        Ok(all)
    }

    /// Whether this member is, or can still be, among the first.
    fn check_place(&self, own_key: &str) -> Result<(), Error> {
        let first = self.members.get(..self.size);
        match first {
            Some(first) if first.iter().all(|m| m.key != own_key) => Err(Error::Full),
            _ => Ok(()),
        }
    }
}

struct Session<'a> {
    options: &'a Options,
    channels: Vec<Channel>,
    /// The endpoint that answered last.
    current: usize,
    attempts: u32,
    token: Option<MetadataValue<Ascii>>,
}

impl<'a> Session<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        let channel = |url: &String| dial::channel(url, &options.tls, options.dial_timeout).map_err(Error::Endpoint);
        let channels = options.endpoints.iter().map(channel).collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            return Err(Error::NoEndpoint);
        }
        Ok(Session {
            options,
            channels,
            current: 0,
            attempts: 0,
            token: None,
        })
    }

    fn prefix(&self) -> String {
        format!("{PREFIX}/{}", self.options.token)
    }

    fn members_prefix(&self) -> String {
        format!("{}/members/", self.prefix())
    }

    fn channel(&self) -> Result<Channel, Error> {
        self.channels.get(self.current).cloned().ok_or(Error::NoEndpoint)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.options.request_timeout);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    async fn authenticate(&mut self) -> Result<(), Status> {
        let Some((name, password)) = self.options.user.clone() else {
            return Ok(());
        };
        let channel = self.channel().map_err(|e| Status::internal(e.to_string()))?;
        let request = self.request(pb::AuthenticateRequest { name, password });
        let answer = pb::auth_client::AuthClient::new(channel).authenticate(request).await?;
        let token = answer.into_inner().token.parse();
        self.token = Some(token.map_err(|_| Status::internal("the token is no text"))?);
        Ok(())
    }

    /// Waits before the next attempt, at the next endpoint.
    async fn back_off(&mut self, step: &str, error: &Status) -> Result<(), Error> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX {
            return Err(Error::TooManyRetries);
        }
        self.current = (self.current + 1) % self.channels.len().max(1);
        self.token = None;
        let wait = Duration::from_secs(1 << self.attempts.min(BACKOFF_EXPONENT_MAX));
        tracing::warn!(
            reason = step,
            backoff = ?wait,
            error = error.message(),
            "retry connecting to discovery service"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn range(&mut self, key: String, prefix: bool) -> Result<pb::RangeResponse, Status> {
        if self.token.is_none() {
            self.authenticate().await?;
        }
        let range_end = if prefix { after_prefix(&key) } else { Vec::new() };
        let request = self.request(pb::RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            limit: MEMBERS_MAX,
            ..Default::default()
        });
        let channel = self.channel().map_err(|e| Status::internal(e.to_string()))?;
        KvClient::new(channel)
            .range(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// What the store knows; fails when there is no place left for this member.
    async fn check(&mut self, own_key: &str) -> Result<Found, Error> {
        loop {
            let size = match self.range(format!("{}/_config/size", self.prefix()), false).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.back_off("cluster status check", &error).await?;
                    continue;
                }
            };
            let size = size.kvs.first().ok_or(Error::SizeNotFound)?;
            let size = std::str::from_utf8(&size.value)
                .ok()
                .and_then(|s| s.parse::<usize>().ok());
            let size = size.filter(|s| *s > 0).ok_or(Error::BadSize)?;
            let prefix = self.members_prefix();
            let members = match self.range(prefix.clone(), true).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.back_off("cluster status check", &error).await?;
                    continue;
                }
            };
            self.attempts = 0;
            let mut found = Found {
                size,
                revision: members.header.map_or(0, |h| h.revision),
                members: Vec::new(),
            };
            members.kvs.iter().for_each(|kv| found.add(&prefix, kv));
            found.check_place(own_key)?;
            return Ok(found);
        }
    }

    async fn register(&mut self, key: &str, urls: &str) -> Result<(), Error> {
        loop {
            let request = self.request(pb::PutRequest {
                key: key.to_owned().into(),
                value: urls.to_owned().into(),
                ..Default::default()
            });
            match KvClient::new(self.channel()?).put(request).await {
                Ok(_) => {
                    self.attempts = 0;
                    tracing::info!(
                        memberKey = key,
                        memberInfo = urls,
                        "register member itself successfully"
                    );
                    return Ok(());
                }
                Err(error) => self.back_off("register member itself", &error).await?,
            }
        }
    }

    /// Until all have come. A broken watch starts again from what was seen.
    async fn wait(&mut self, found: &mut Found, own_key: &str) -> Result<(), Error> {
        tracing::info!(
            clusterSize = found.size,
            "found-peers" = found.members.len(),
            "waiting for peers from discovery service"
        );
        while found.members.len() < found.size {
            if let Err(error) = self.watch(found).await {
                self.back_off("wait for peers", &error).await?;
                *found = self.check(own_key).await?;
            }
        }
        tracing::info!(
            clusterSize = found.size,
            "found-peers" = found.members.len(),
            "found all needed peers from discovery service"
        );
        Ok(())
    }

    async fn watch(&mut self, found: &mut Found) -> Result<(), Status> {
        let prefix = self.members_prefix();
        let create = pb::WatchCreateRequest {
            key: prefix.clone().into(),
            range_end: after_prefix(&prefix).into(),
            start_revision: found.revision + 1,
            ..Default::default()
        };
        let first = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender
            .send(first)
            .await
            .map_err(|_| Status::internal("the watch has ended"))?;
        let mut request = Request::new(ReceiverStream::new(requests));
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        let channel = self.channel().map_err(|e| Status::internal(e.to_string()))?;
        let mut answers = WatchClient::new(channel).watch(request).await?.into_inner();
        while found.members.len() < found.size {
            let Some(answer) = answers.message().await? else {
                return Err(Status::unavailable("the watch has ended"));
            };
            if answer.canceled {
                return Err(Status::unavailable(answer.cancel_reason));
            }
            answer
                .events
                .iter()
                .filter_map(|e| e.kv.as_ref())
                .for_each(|kv| found.add(&prefix, kv));
        }
        Ok(())
    }
}

/// Where the keys with this prefix end. The prefix ends in `/`, so there is a next byte.
fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use keelson_proto::mvccpb::KeyValue;

    fn kv(key: &str, value: &str, created: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision: created,
            ..Default::default()
        }
    }

    fn found(size: usize, rows: &[KeyValue]) -> Found {
        let mut found = Found {
            size,
            revision: 1,
            members: Vec::new(),
        };
        rows.iter().for_each(|row| found.add("/p/", row));
        found
    }

    #[test]
    fn the_first_to_come_are_in() {
        let rows = [
            kv("/p/3", "c=http://c:1", 9),
            kv("/p/1", "a=http://a:1,a=http://a:2", 7),
            kv("/p/2", "b=http://b:1", 8),
            kv("/p/4", "no url", 3),
            kv("/p/2", "b=http://again:1", 8),
        ];
        let two = found(2, &rows);
        let cluster = two.initial_cluster().unwrap();
        assert_eq!(cluster.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cluster["a"], ["http://a:1", "http://a:2"]);
        assert!(two.check_place("/p/1").is_ok());
        assert!(matches!(two.check_place("/p/3"), Err(Error::Full)));
        assert!(matches!(two.check_place("/p/new"), Err(Error::Full)));
        assert!(found(4, &rows).check_place("/p/new").is_ok());
        let bad = found(1, &[kv("/p/1", "a=nonsense", 1)]);
        assert!(matches!(bad.initial_cluster(), Err(Error::InvalidUrl)));
    }
}
