//! Authentication over the socket: tokens, certificates, watches, and what whoever embeds a member may do.
#![allow(clippy::unwrap_used)]

mod keys;

use keelson_kvstore::{Options, Server, TokenKind};
use keelson_proto::authpb::{self, permission::Type};
use keelson_proto::etcdserverpb as pb;
use keys::{get, put, with_token};
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use std::path::Path;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

const BOUND: Duration = Duration::from_secs(20);

fn options(dir: &Path) -> Options {
    let mut options = Options::new("default", dir).serve_at("127.0.0.1:0".parse().unwrap(), None);
    options.auth.bcrypt_cost = 4;
    options
}

async fn connect(server: &Server) -> Channel {
    let url = format!("http://{}", server.client_addr().unwrap());
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

fn told<T>(answer: Result<T, Status>) -> Result<(), (Code, String)> {
    answer.map(drop).map_err(|s| (s.code(), s.message().to_owned()))
}

fn refused(code: Code, words: &str) -> Result<(), (Code, String)> {
    Err((code, format!("etcdserver: {words}")))
}

/// `root`, and `alice` who may read and write `a`; on. Made before authentication is on, so by anybody.
async fn set_up(channel: &Channel) {
    let mut auth = AuthClient::new(channel.clone());
    for name in ["root", "alice"] {
        let r = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: "pw".to_owned(),
            ..Default::default()
        };
        auth.user_add(r).await.unwrap();
    }
    let role = "r".to_owned();
    auth.role_add(pb::AuthRoleAddRequest { name: role.clone() })
        .await
        .unwrap();
    let perm = authpb::Permission {
        perm_type: Type::Readwrite as i32,
        key: "a".into(),
        range_end: "b".into(),
    };
    let r = pb::AuthRoleGrantPermissionRequest {
        name: role,
        perm: Some(perm),
    };
    auth.role_grant_permission(r).await.unwrap();
    for (user, role) in [("root", "root"), ("alice", "r")] {
        let (user, role) = (user.to_owned(), role.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role })
            .await
            .unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

async fn login(channel: &Channel, name: &str) -> String {
    let r = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: "pw".to_owned(),
    };
    let answer = AuthClient::new(channel.clone()).authenticate(r).await.unwrap();
    answer.into_inner().token
}

#[tokio::test]
async fn simple_tokens_are_letters_and_the_index_of_the_login() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.auth.token = TokenKind::Simple {
        ttl: Duration::from_millis(700),
    };
    let server = Server::start(options).await.unwrap();
    let channel = connect(&server).await;
    set_up(&channel).await;
    let token = login(&channel, "alice").await;
    let (letters, index) = token.split_once('.').unwrap();
    assert!(letters.len() == 16 && letters.bytes().all(|b| b.is_ascii_alphabetic()));
    assert!(index.parse::<u64>().unwrap() > 0);
    let mut kv = KvClient::new(channel.clone());
    kv.put(with_token(&token, put("a"))).await.unwrap();
    // An index of the future is waited for no longer than the barrier takes.
    let void = refused(Code::Unauthenticated, "invalid auth token");
    let ahead = with_token("abcdefghijklmnop.999999999", get("a"));
    assert_eq!(told(kv.range(ahead).await), void);
    assert_eq!(told(kv.range(with_token("no token", get("a"))).await), void);
    // Unused, it ends; nothing is sent meanwhile, or its time would start again.
    tokio::time::sleep(Duration::from_millis(750)).await;
    assert_eq!(told(kv.range(with_token(&token, get("a"))).await), void);
    server.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_users_and_forgets_simple_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let channel = connect(&server).await;
    set_up(&channel).await;
    let token = login(&channel, "alice").await;
    server.shutdown().await;

    let server = Server::start(options(dir.path())).await.unwrap();
    let channel = connect(&server).await;
    let mut kv = KvClient::new(channel.clone());
    assert_eq!(
        told(kv.range(get("a")).await),
        refused(Code::InvalidArgument, "user name is empty")
    );
    assert_eq!(
        told(kv.range(with_token(&token, get("a"))).await),
        refused(Code::Unauthenticated, "invalid auth token")
    );
    let token = login(&channel, "alice").await;
    kv.put(with_token(&token, put("a1"))).await.unwrap();
    assert_eq!(
        told(kv.put(with_token(&token, put("b"))).await),
        refused(Code::PermissionDenied, "permission denied")
    );
    server.shutdown().await;
}

#[tokio::test]
async fn whoever_embeds_the_member_may_do_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    set_up(&connect(&server).await).await;
    let kv = server.kv();
    kv.put(put("z")).await.unwrap();
    assert_eq!(kv.range(get("z")).await.unwrap().count, 1);
    kv.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 5 }).await.unwrap();
    kv.put(pb::PutRequest { lease: 5, ..put("z") }).await.unwrap();
    assert!(kv.lease_keep_alive(5).await.unwrap().ttl > 0);
    kv.lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await.unwrap();
    kv.compact(pb::CompactionRequest {
        revision: 2,
        physical: false,
    })
    .await
    .unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn a_lease_expires_whoever_owns_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    set_up(&connect(&server).await).await;
    let kv = server.kv();
    let granted = kv.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 5 }).await.unwrap();
    kv.put(pb::PutRequest { lease: 5, ..put("z") }).await.unwrap();
    let deadline = tokio::time::Instant::now() + BOUND + Duration::from_secs(granted.ttl as u64);
    while kv.range(get("z")).await.unwrap().count > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the lease does not expire");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_watch_is_judged_at_each_creation() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let channel = connect(&server).await;
    set_up(&channel).await;
    let token = login(&channel, "alice").await;
    let (requests, receiver) = tokio::sync::mpsc::channel(8);
    let watch = |key: &'static str, end: &'static str| pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        })),
    };
    let request = with_token(&token, ReceiverStream::new(receiver));
    let mut answers = WatchClient::new(channel.clone())
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        tokio::time::timeout(BOUND, answers.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    requests.send(watch("a", "b")).await.unwrap();
    let allowed = next().await;
    assert!(allowed.created && !allowed.canceled && allowed.watch_id == 0);
    requests.send(watch("a", "c")).await.unwrap();
    let denied = next().await;
    assert!(denied.created && denied.canceled && denied.watch_id == -1);
    let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!(denied.cancel_reason, reason);
    // The first one goes on, also when its user is gone; a new one is not to be had.
    server.kv().put(put("a1")).await.unwrap();
    assert_eq!(next().await.events.len(), 1);
    let root = login(&channel, "root").await;
    let name = "alice".to_owned();
    let gone = with_token(&root, pb::AuthUserDeleteRequest { name });
    AuthClient::new(channel.clone()).user_delete(gone).await.unwrap();
    requests.send(watch("a", "b")).await.unwrap();
    let reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(next().await.cancel_reason, reason);
    server.kv().put(put("a2")).await.unwrap();
    assert_eq!(next().await.events.len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_jwt_is_good_until_anything_about_users_changes() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let data = dir.path().join("data");
    let jwt = || {
        let mut options = options(&data);
        options.auth.token = TokenKind::Jwt {
            options: format!("sign-method=HS256,priv-key={}", secret.display()),
        };
        options
    };
    let server = Server::start(jwt()).await.unwrap();
    let channel = connect(&server).await;
    set_up(&channel).await;
    let token = login(&channel, "alice").await;
    assert_eq!(token.split('.').count(), 3);
    KvClient::new(channel).put(with_token(&token, put("a"))).await.unwrap();
    server.shutdown().await;
    // A restart does not matter to it.
    let server = Server::start(jwt()).await.unwrap();
    let channel = connect(&server).await;
    let mut kv = KvClient::new(channel.clone());
    kv.range(with_token(&token, get("a"))).await.unwrap();
    let root = login(&channel, "root").await;
    let name = "new".to_owned();
    let add = with_token(&root, pb::AuthRoleAddRequest { name });
    AuthClient::new(channel).role_add(add).await.unwrap();
    let old = refused(Code::InvalidArgument, "revision of auth store is old");
    assert_eq!(told(kv.range(with_token(&token, get("a"))).await), old);
    assert_eq!(told(kv.put(with_token(&token, put("a"))).await), old);
    let forged = refused(Code::Unauthenticated, "invalid auth token");
    assert_eq!(told(kv.put(with_token(&format!("{token}x"), put("a"))).await), forged);
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_with_bad_token_options_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.auth.token = TokenKind::Jwt {
        options: "sign-method=RS256".to_owned(),
    };
    let error = Server::start(options).await.err().unwrap();
    assert_eq!(error.to_string(), "auth: missing key data");
}

/// A CA, and certificates that it signed: the server's, and a client's with a common name.
struct Certificates {
    ca: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = ca.clone().self_signed(&key).unwrap();
        Certificates {
            ca: certificate,
            issuer: rcgen::Issuer::new(ca, key),
        }
    }

    fn issue(&self, common_name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common_name.is_empty() {
            params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self) -> rustls::ServerConfig {
        use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
        let (certificate, key) = self.issue("server");
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap()
    }

    async fn connect(&self, server: &Server, common_name: &str) -> Channel {
        let (certificate, key) = self.issue(common_name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.ca.pem()))
            .domain_name("localhost")
            .identity(Identity::from_pem(certificate.pem(), key.serialize_pem()));
        let url = format!("https://{}", server.client_addr().unwrap());
        let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    }
}

#[tokio::test]
async fn without_a_token_the_common_name_is_the_user() {
    for counts in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::new();
        let mut options = Options::new("default", dir.path());
        options = options.serve_at("127.0.0.1:0".parse().unwrap(), Some(certificates.server().into()));
        options.auth.bcrypt_cost = 4;
        options.auth.client_cert_identity = counts;
        let server = Server::start(options).await.unwrap();
        let alice = certificates.connect(&server, "alice").await;
        set_up(&alice).await;
        let mut kv = KvClient::new(alice.clone());
        let empty = refused(Code::InvalidArgument, "user name is empty");
        if !counts {
            assert_eq!(told(kv.put(put("a")).await), empty);
            server.shutdown().await;
            continue;
        }
        let denied = refused(Code::PermissionDenied, "permission denied");
        kv.put(put("a")).await.unwrap();
        assert_eq!(told(kv.put(put("z")).await), denied);
        // A token comes first, good or bad.
        let root = login(&alice, "root").await;
        kv.put(with_token(&root, put("z"))).await.unwrap();
        let void = refused(Code::Unauthenticated, "invalid auth token");
        assert_eq!(told(kv.put(with_token("x", put("a"))).await), void);
        // Nor does a certificate count when the gateway shows it.
        let mut by_gateway = Request::new(put("a"));
        by_gateway
            .metadata_mut()
            .insert("grpcgateway-accept", "*/*".parse().unwrap());
        assert_eq!(told(kv.put(by_gateway).await), empty);
        for (name, answer) in [
            ("nobody", denied),
            ("", refused(Code::PermissionDenied, "permission denied")),
        ] {
            let channel = certificates.connect(&server, name).await;
            assert_eq!(told(KvClient::new(channel).put(put("a")).await), answer, "{name:?}");
        }
        server.shutdown().await;
    }
}
