//! Watch streams: from lines of JSON to typed events.
use crate::api::WatchEvent;
use crate::lines::Lines;
use crate::{Body, Error, Result};
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Set by the server on the bookmark that ends the initial events of a WatchList (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bookmark {
    metadata: BookmarkMeta,
}
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| Error::Decode {
        what: what.to_owned(),
        source,
    })
}

pub(crate) fn event<K: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<K>> {
    let l: Line<'_> = serde_json::from_slice(line).map_err(|source| Error::Decode {
        what: "watch event".into(),
        source,
    })?;
    let text = l.object.get();
    Ok(match &*l.kind {
        "ADDED" => WatchEvent::Added(parse("watched object", text)?),
        "MODIFIED" => WatchEvent::Modified(parse("watched object", text)?),
        "DELETED" => WatchEvent::Deleted(parse("watched object", text)?),
        "BOOKMARK" => {
            let b: Bookmark = parse("bookmark", text)?;
            WatchEvent::Bookmark {
                resource_version: b.metadata.resource_version,
                initial_events_end: b
                    .metadata
                    .annotations
                    .is_some_and(|a| a.get(INITIAL_EVENTS_END).is_some_and(|v| v == "true")),
            }
        }
        "ERROR" => return Err(Error::Api(Box::new(parse::<Status>("watch error", text)?))),
        other => return Err(Error::Transport(format!("watch event of unknown type {other:?}"))),
    })
}

/// Events of a watch response; the stream ends with the body or after the first error.
pub(crate) fn stream<K: DeserializeOwned + Send + 'static>(body: Body) -> BoxStream<'static, Result<WatchEvent<K>>> {
    Box::pin(futures::stream::unfold(Some(Lines::new(body)), |lines| async {
        let mut lines = lines?;
        match lines.next().await {
            Ok(None) => None,
            Ok(Some(line)) => match event(&line) {
                Ok(e) => Some((Ok(e), Some(lines))),
                Err(e) => Some((Err(e), None)),
            },
            Err(e) => Some((Err(e), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::full;
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[tokio::test]
    async fn decodes_every_kind_of_event() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"}}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (5)","reason":"Expired","code":410}}"#,
            "\n",
            r#"{"type":"ADDED","object":{}}"#,
            "\n"
        );
        let mut s = stream::<ConfigMap>(full(text));
        assert!(matches!(s.next().await, Some(Ok(WatchEvent::Added(c))) if c.metadata.name.as_deref() == Some("a")));
        assert!(matches!(
            s.next().await,
            Some(Ok(WatchEvent::Bookmark { resource_version, initial_events_end: true })) if resource_version == "7"
        ));
        assert!(s.next().await.unwrap().unwrap_err().is_gone());
        assert!(s.next().await.is_none(), "nothing follows an error");
    }
}
