//! `pods/log` (upstream: pkg/registry/core/pod/rest/log.go and apiserver/pkg/registry/generic/rest).

use super::dial::Backend;
use super::target::encode;
use super::tls::Trust;
use super::{Call, Lease, body, container, node, unknown};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use keelson_client::Body;
use keelson_client::transport::empty;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::{Value, json};
use std::time::Duration;

/// How much of a kubelet's error is read (upstream: maxReadLength), and how long it may take.
const ERROR_BYTES_MAX: usize = 50_000;
const ERROR_TIMEOUT: Duration = Duration::from_secs(10);

/// `PodLogOptions`, as its defined parameters came.
#[derive(Debug, Default)]
struct LogOptions {
    container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_seconds: Option<i64>,
    /// RFC 3339, in whole seconds.
    since_time: Option<String>,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    skip_verify: bool,
}

impl LogOptions {
    fn parse(call: &Call<'_>) -> Result<Self, ApiError> {
        let q = &call.info.query;
        let number = |name: &str| match q.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse::<i64>()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        };
        let since_time = match q.text("sinceTime") {
            "" | "null" => None,
            text => Some(whole_seconds(text)?),
        };
        let options = LogOptions {
            container: q.text("container").to_owned(),
            follow: q.flag("follow"),
            previous: q.flag("previous"),
            timestamps: q.flag("timestamps"),
            since_seconds: number("sinceSeconds")?,
            since_time,
            tail_lines: number("tailLines")?,
            limit_bytes: number("limitBytes")?,
            skip_verify: q.flag("insecureSkipTLSVerifyBackend"),
        };
        let mut errors = options.errors();
        // Choosing one of the two streams is behind a feature gate that upstream leaves off.
        if q.get("stream").is_some() {
            errors.push(FieldError::forbidden("stream", "may not be specified"));
        }
        match errors.is_empty() {
            true => Ok(options),
            false => Err(ApiError::invalid("", "PodLogOptions", &call.info.name, &errors)),
        }
    }

    /// Upstream: ValidatePodLogOptions.
    fn errors(&self) -> Vec<FieldError> {
        let below = |field: &str, v: Option<i64>, least: i64, why: &str| {
            v.filter(|v| *v < least)
                .map(|v| FieldError::invalid(field, &json!(v), why))
        };
        let mut errors = Vec::new();
        errors.extend(below(
            "tailLines",
            self.tail_lines,
            0,
            "must be greater than or equal to 0",
        ));
        errors.extend(below("limitBytes", self.limit_bytes, 1, "must be greater than 0"));
        if self.since_seconds.is_some() && self.since_time.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden("", why));
        } else {
            errors.extend(below("sinceSeconds", self.since_seconds, 1, "must be greater than 0"));
        }
        errors
    }

    /// The kubelet's parameters: what is not asked for is left out.
    fn query(&self) -> String {
        let mut pairs = Vec::new();
        let flags = [
            ("follow", self.follow),
            ("previous", self.previous),
            ("timestamps", self.timestamps),
        ];
        pairs.extend(flags.iter().filter(|(_, on)| *on).map(|(k, _)| format!("{k}=true")));
        let numbers = [
            ("sinceSeconds", self.since_seconds),
            ("tailLines", self.tail_lines),
            ("limitBytes", self.limit_bytes),
        ];
        pairs.extend(numbers.iter().filter_map(|(k, v)| v.map(|v| format!("{k}={v}"))));
        pairs.extend(self.since_time.as_ref().map(|t| format!("sinceTime={}", encode(t))));
        pairs.join("&")
    }
}

/// A time as the kubelet is told it; fractions of a second are dropped, as upstream does.
fn whole_seconds(text: &str) -> Result<String, ApiError> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse"
        ))
    })?;
    let whole = jiff::Timestamp::from_second(time.as_second()).map_err(ApiError::internal)?;
    Ok(whole.to_string())
}

pub(super) async fn serve(call: &Call<'_>, request: Request<Body>, lease: Lease) -> Result<Response<Body>, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::method_not_allowed("", "pods/log", &call.info.verb));
    }
    let options = LogOptions::parse(call)?;
    let pod = call.pod(&call.info.name).await?;
    let container = container::choose(&pod, &options.container)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or("");
    if node.is_empty() {
        // Nothing has run yet, so there is nothing to read.
        let mut none = Response::new(empty());
        *none.status_mut() = StatusCode::NO_CONTENT;
        return Ok(none);
    }
    let mut backend = node::kubelet(call, node).await?;
    if options.skip_verify {
        backend.trust = Some(Trust::KubeletUnverified);
    }
    let answer = read(call, &backend, &path(&pod, &container, &options)).await?;
    if !answer.status().is_success() {
        return Err(refusal(call, answer).await);
    }
    let mut response = Response::new(body::held(answer.into_body(), lease));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

fn path(pod: &Value, container: &str, options: &LogOptions) -> String {
    let of = |k: &str| encode(pod["metadata"][k].as_str().unwrap_or(""));
    let path = format!(
        "/containerLogs/{}/{}/{}",
        of("namespace"),
        of("name"),
        encode(container)
    );
    match options.query() {
        q if q.is_empty() => path,
        q => format!("{path}?{q}"),
    }
}

async fn read(call: &Call<'_>, backend: &Backend, path: &str) -> Result<Response<Incoming>, ApiError> {
    let request = Request::get(path)
        .header(header::HOST, backend.authority())
        .body(empty())
        .map_err(ApiError::internal)?;
    let url = format!("{}://{}{path}", backend.scheme(), backend.authority());
    backend
        .send(&call.streaming.tls, request)
        .await
        .map_err(|e| unknown(500, format!("Get {url:?}: {e}")))
}

/// What a kubelet's error is to the client (upstream: GenericHttpResponseChecker and NewGenericServerResponse).
async fn refusal(call: &Call<'_>, answer: Response<Incoming>) -> ApiError {
    let code = answer.status().as_u16();
    let read = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect();
    let text = match tokio::time::timeout(ERROR_TIMEOUT, read).await {
        Ok(Ok(b)) => String::from_utf8_lossy(&b.to_bytes()).into_owned(),
        _ => String::new(),
    };
    let generic = |reason: &'static str, message: &str| {
        let mut e = ApiError::new(code, reason, format!("{message} ( pods/log {})", call.info.name));
        e.details = Some(json!({"name": call.info.name, "kind": "pods/log"}));
        e
    };
    match code {
        400 => ApiError::bad_request(text),
        500 => ApiError::internal(text),
        401 => generic(
            "Unauthorized",
            "the server has asked for the client to provide credentials",
        ),
        403 => generic("Forbidden", &text),
        404 => generic("NotFound", "the server could not find the requested resource"),
        405 => generic(
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        429 => generic(
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => generic(
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => generic(
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        501.. => generic(
            "InternalError",
            &format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        ),
        _ => generic(
            "",
            &format!("the server responded with the status code {code} but did not return more information"),
        ),
    }
}
