//! A server over the embedded store, in a folder of its own, and the ways in.
use http::{Method, Request};
use http_body_util::BodyExt;
use keelson_apiserver::storage::embedded::Embedded;
use keelson_apiserver::{Options, Server};
use keelson_client::Transport;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A wait that a test may take before it is a failure.
pub const WAIT_MAX: Duration = Duration::from_secs(20);
pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub struct Cluster {
    pub dir: tempfile::TempDir,
    store: keelson_kvstore::Server,
    server: Server,
}

pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }
    /// The tree of an answer that must have succeeded.
    pub fn ok(self) -> Value {
        assert!(
            self.code < 300,
            "{}: {}",
            self.code,
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }
    /// Code and message of an answer that must have failed.
    pub fn err(self) -> (u16, String) {
        let v = self.json();
        assert!(self.code >= 300, "{v}");
        (self.code, v["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// A client under one identity.
#[derive(Clone)]
pub struct User(pub Arc<dyn Transport>);

impl User {
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (k, v) in headers {
            request = request.header(*k, *v);
        }
        let request = request.body(keelson_client::transport::full(body)).unwrap();
        let answer = tokio::time::timeout(WAIT_MAX, self.0.send(request))
            .await
            .unwrap()
            .unwrap();
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(WAIT_MAX, body.collect()).await.unwrap().unwrap();
        Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes().to_vec(),
        }
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", JSON)], Vec::new()).await
    }
    pub async fn post(&self, path: &str, object: Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", JSON)], object.to_string().into())
            .await
    }
    pub async fn put(&self, path: &str, object: Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", JSON)], object.to_string().into())
            .await
    }
    /// `kind` is `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, path: &str, kind: &str, patch: Value) -> Answer {
        let kind = format!("application/{kind}-patch+json");
        self.send(
            Method::PATCH,
            path,
            &[("content-type", &kind)],
            patch.to_string().into(),
        )
        .await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Vec::new()).await
    }
    pub async fn watch(&self, path: &str) -> Watch {
        let request = Request::get(path)
            .header("accept", JSON)
            .body(keelson_client::transport::empty())
            .unwrap();
        let answer = tokio::time::timeout(WAIT_MAX, self.0.send(request))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        Watch {
            body: answer.into_body(),
            buffer: Vec::new(),
        }
    }
}

/// Lines of a JSON watch.
pub struct Watch {
    body: keelson_client::Body,
    buffer: Vec<u8>,
}

impl Watch {
    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let frame = tokio::time::timeout(WAIT_MAX, self.body.frame())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
    /// The next event as `ADDED name`.
    pub async fn told(&mut self) -> String {
        let e = self.next().await;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&e["type"]), text(&e["object"]["metadata"]["name"]))
    }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn certificate(ca: &Issuer<'_, KeyPair>, name: &str, group: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, group);
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

impl Cluster {
    pub async fn start() -> Cluster {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Cluster {
        let mut options = keelson_kvstore::Options::new("test", dir.path().join("store"));
        options.cache_bytes = 1 << 20;
        // After a restart the last task of the server before may still be letting go of the folder.
        let opened = async {
            loop {
                match keelson_kvstore::Server::start(options.clone()).await {
                    Ok(store) => return store,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let store = tokio::time::timeout(WAIT_MAX, opened).await.unwrap();
        if !dir.path().join("ca.pem").exists() {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "ca");
            let key = KeyPair::generate().unwrap();
            write(dir.path(), "ca.pem", &params.self_signed(&key).unwrap().pem());
            let ca = Issuer::new(params, key);
            for (file, name, group) in [
                ("server", "kube-apiserver", "x"),
                ("admin", "admin", "system:masters"),
                ("kubelet", "apiserver-kubelet-client", "system:masters"),
            ] {
                let (cert, key) = certificate(&ca, name, group);
                write(dir.path(), &format!("{file}.pem"), &cert);
                write(dir.path(), &format!("{file}.key"), &key);
            }
            write(dir.path(), "sa.key", &KeyPair::generate().unwrap().serialize_pem());
        }
        let at = |name: &str| dir.path().join(name);
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: ([192, 0, 2, 1], 6443).into(),
            tls_cert: at("server.pem"),
            tls_key: at("server.key"),
            client_ca: at("ca.pem"),
            service_account_keys: vec![at("sa.key")],
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            node_port_range: (30000, 32767),
            kubelet_client_cert: at("kubelet.pem"),
            kubelet_client_key: at("kubelet.key"),
            kubelet_ca: at("ca.pem"),
            token_file: None,
        };
        let server = Server::start(options, Arc::new(Embedded::new(store.kv())))
            .await
            .unwrap();
        let cluster = Cluster { dir, store, server };
        // The controller that makes it runs elsewhere, and pods need it.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let made = cluster
            .admin()
            .post("/api/v1/namespaces/default/serviceaccounts", account)
            .await;
        assert!(matches!(made.code, 201 | 409), "{}", made.json());
        cluster
    }

    pub fn user(&self, name: &str, groups: &[&str]) -> User {
        User(self.server.transport(name, groups))
    }

    pub fn admin(&self) -> User {
        self.user("admin", &["system:masters", "system:authenticated"])
    }

    /// A kubeconfig for the administrator's certificate.
    pub fn kubeconfig(&self) -> PathBuf {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\n\
             clusters: [{{name: t, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: t, user: {{client-certificate: {}, client-key: {}}}}}]\n\
             contexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n",
            self.server.local_addr().port(),
            at("ca.pem"),
            at("admin.pem"),
            at("admin.key"),
        );
        write(self.dir.path(), "kubeconfig", &text)
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.server.shutdown().await;
        drop(self.server);
        self.store.shutdown().await;
        self.dir
    }
}
