//! Settings of a connection over the network: from kubeconfig files, from a Pod's service account, or by hand.
use crate::{Error, Result};
use base64::Engine;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Bytes in memory, or a file that is read again for each new connection, so that rotated files are taken up.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // May be a key: never into a log.
            Source::Bytes(b) => write!(f, "{} bytes", b.len()),
            Source::File(p) => write!(f, "{}", p.display()),
        }
    }
}

impl Source {
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Source::Bytes(b) => Ok(b.clone()),
            Source::File(p) => std::fs::read(p).map_err(|e| Error::Config(format!("read {}: {e}", p.display()))),
        }
    }
}

/// Who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    None,
    /// PEM certificate chain and key.
    ClientCertificate {
        certificate: Source,
        key: Source,
    },
    /// A bearer token; from a file it is read again every minute (projected tokens rotate).
    Token(Source),
    Basic {
        username: String,
        password: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `https://host:port[/prefix]`
    pub server: String,
    /// PEM bundle; the system's roots when `None`.
    pub ca: Option<Source>,
    /// Verify the server's certificate against this name instead of the host.
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: bool,
    pub auth: Auth,
    /// Namespace of the kubeconfig's context; `default` when it names none.
    pub namespace: String,
}

impl Config {
    pub fn new(server: impl Into<String>) -> Self {
        Config {
            server: server.into(),
            ca: None,
            tls_server_name: None,
            insecure_skip_tls_verify: false,
            auth: Auth::None,
            namespace: "default".into(),
        }
    }

    /// The current context of a kubeconfig.
    pub fn from_kubeconfig(yaml: &str) -> Result<Self> {
        Self::from_kubeconfig_at(yaml, Path::new(""), None)
    }

    /// The current context of a kubeconfig file; relative paths in it are beside the file, as in kubectl.
    pub fn from_kubeconfig_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::Config(format!("read {}: {e}", path.display())))?;
        Self::from_kubeconfig_at(&text, path.parent().unwrap_or(Path::new("")), None)
    }

    /// As a Pod finds it: environment and mounted service account (client-go `rest.InClusterConfig`).
    pub fn in_cluster() -> Result<Self> {
        const DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let var = |k: &str| std::env::var(k).map_err(|_| Error::Config(format!("not in a cluster: {k} is not set")));
        let (host, port) = (var("KUBERNETES_SERVICE_HOST")?, var("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let mut c = Config::new(format!("https://{host}:{port}"));
        c.ca = Some(Source::File(format!("{DIR}/ca.crt").into()));
        c.auth = Auth::Token(Source::File(format!("{DIR}/token").into()));
        if let Ok(ns) = std::fs::read_to_string(format!("{DIR}/namespace")) {
            c.namespace = ns.trim().to_owned();
        }
        Ok(c)
    }

    /// `context` overrides the file's current one; relative paths are taken from `dir`.
    pub fn from_kubeconfig_at(yaml: &str, dir: &Path, context: Option<&str>) -> Result<Self> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|e| Error::Config(format!("kubeconfig: {e}")))?;
        let current = context.map_or(file.current_context.as_deref().unwrap_or(""), |c| c);
        let missing = |what: &str, name: &str| Error::Config(format!("kubeconfig: no {what} named {name:?}"));
        let context = find(&file.contexts, current).ok_or_else(|| missing("context", current))?;
        let context = context.context.clone().unwrap_or_default();
        let cluster = find(&file.clusters, &context.cluster).ok_or_else(|| missing("cluster", &context.cluster))?;
        let cluster = cluster.cluster.clone().unwrap_or_default();
        // A context without a user is anonymous, as in client-go.
        let user = match context.user.as_deref().unwrap_or("") {
            "" => User::default(),
            name => find(&file.users, name)
                .ok_or_else(|| missing("user", name))?
                .user
                .clone()
                .unwrap_or_default(),
        };
        let mut config = Config::new(cluster.server.clone().unwrap_or_default());
        if config.server.is_empty() {
            return Err(Error::Config(format!(
                "kubeconfig: cluster {:?} has no server",
                context.cluster
            )));
        }
        if let Some(p) = cluster.proxy_url.filter(|p| !p.is_empty()) {
            return Err(Error::Config(format!("kubeconfig: proxy-url {p:?} is not supported")));
        }
        config.ca = source(cluster.certificate_authority_data, cluster.certificate_authority, dir)?;
        config.tls_server_name = cluster.tls_server_name.filter(|s| !s.is_empty());
        config.insecure_skip_tls_verify = cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.auth = user.auth(dir)?;
        if let Some(ns) = context.namespace.filter(|n| !n.is_empty()) {
            config.namespace = ns;
        }
        Ok(config)
    }
}

/// Inline data wins over a file, as in client-go.
fn source(data: Option<String>, file: Option<String>, dir: &Path) -> Result<Option<Source>> {
    if let Some(d) = data.filter(|d| !d.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(d.split_ascii_whitespace().collect::<String>())
            .map_err(|e| Error::Config(format!("kubeconfig: base64 data: {e}")))?;
        return Ok(Some(Source::Bytes(bytes)));
    }
    Ok(file.filter(|f| !f.is_empty()).map(|f| Source::File(dir.join(f))))
}

trait Named {
    fn name(&self) -> &str;
}
fn find<'a, T: Named>(all: &'a Option<Vec<T>>, name: &str) -> Option<&'a T> {
    all.as_deref().unwrap_or_default().iter().find(|n| n.name() == name)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: Option<String>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Option<Cluster>,
}
#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Option<Context>,
}
#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}
impl Named for NamedCluster {
    fn name(&self) -> &str {
        &self.name
    }
}
impl Named for NamedContext {
    fn name(&self) -> &str {
        &self.name
    }
}
impl Named for NamedUser {
    fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: Option<String>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: Option<String>,
    namespace: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

impl User {
    fn auth(self, dir: &Path) -> Result<Auth> {
        let certificate = source(self.client_certificate_data, self.client_certificate, dir)?;
        let key = source(self.client_key_data, self.client_key, dir)?;
        // A token file wins over an inline token, as in client-go; certificates win over both here, since
        // a connection has one identity.
        match (certificate, key) {
            (Some(certificate), Some(key)) => return Ok(Auth::ClientCertificate { certificate, key }),
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::Config(
                    "kubeconfig: client certificate and key must come together".into(),
                ));
            }
            (None, None) => {}
        }
        if let Some(f) = self.token_file.filter(|f| !f.is_empty()) {
            return Ok(Auth::Token(Source::File(dir.join(f))));
        }
        if let Some(t) = self.token.filter(|t| !t.is_empty()) {
            return Ok(Auth::Token(Source::Bytes(t.into_bytes())));
        }
        if let Some(username) = self.username.filter(|u| !u.is_empty()) {
            return Ok(Auth::Basic {
                username,
                password: self.password.unwrap_or_default(),
            });
        }
        if self.exec.is_some() || self.auth_provider.is_some() {
            return Err(Error::Config(
                "kubeconfig: exec plugins and auth providers are not supported".into(),
            ));
        }
        Ok(Auth::None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TWO: &str = r#"
apiVersion: v1
kind: Config
preferences: {}
current-context: b
clusters:
- name: one
  cluster: {server: "https://10.0.0.1:6443", certificate-authority-data: Y2E=, extensions: [{name: x, extension: {}}]}
- cluster:
    server: https://two:443/prefix
    certificate-authority: ca.pem
    tls-server-name: kubernetes
  name: two
contexts:
- context: {cluster: one, user: cert, namespace: dev}
  name: a
- context: {cluster: two, user: tok}
  name: b
users:
- name: cert
  user: {client-certificate-data: Yw==, client-key-data: aw==}
- name: tok
  user: {tokenFile: t}
"#;

    #[test]
    fn reads_the_current_and_other_contexts() {
        let b = Config::from_kubeconfig_at(TWO, Path::new("/etc/k"), None).unwrap();
        assert_eq!(b.server, "https://two:443/prefix");
        assert_eq!(b.ca, Some(Source::File("/etc/k/ca.pem".into())));
        assert_eq!(b.auth, Auth::Token(Source::File("/etc/k/t".into())));
        assert_eq!(b.tls_server_name.as_deref(), Some("kubernetes"));
        assert_eq!(b.namespace, "default");
        let a = Config::from_kubeconfig_at(TWO, Path::new(""), Some("a")).unwrap();
        assert_eq!(a.namespace, "dev");
        assert_eq!(a.ca, Some(Source::Bytes(b"ca".to_vec())));
        assert!(matches!(a.auth, Auth::ClientCertificate { key: Source::Bytes(k), .. } if k == b"k"));
    }

    #[test]
    fn says_what_is_missing() {
        let e = Config::from_kubeconfig_at(TWO, Path::new(""), Some("c")).unwrap_err();
        assert_eq!(e.to_string(), "kubeconfig: no context named \"c\"");
        assert!(Config::from_kubeconfig("{}").is_err());
        assert!(Config::from_kubeconfig("current-context: [").is_err());
    }
}
