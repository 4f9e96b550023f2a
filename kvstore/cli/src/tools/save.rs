//! `snapshot save`: through the client port of a running server, ours or etcd's.

use super::flags::{self, Flag, switch, value};
use super::outcome::{Failure, Outcome};
use keelson_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::maintenance_client::MaintenanceClient;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

const SAVE: &[Flag] = &[
    value("endpoints"),
    value("cacert"),
    value("cert"),
    value("key"),
    value("user"),
    value("password"),
    value("write-out"),
    switch("insecure-skip-tls-verify"),
];
const ENDPOINT_DEFAULT: &str = "127.0.0.1:2379";
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// No piece for this long: the server is given up. Building the file comes before the first one.
const SILENCE_MAX: Duration = Duration::from_secs(600);

pub fn run(args: &[String]) -> Outcome {
    let given = flags::parse(args, SAVE).map_err(Failure::Error)?;
    let path = PathBuf::from(given.only_argument("snapshot save").map_err(Failure::Arguments)?);
    if given.is_on("insecure-skip-tls-verify").map_err(Failure::Error)? {
        return Err(Failure::Error(
            "--insecure-skip-tls-verify is not supported: give the server's authority with --cacert".to_owned(),
        ));
    }
    let endpoints: Vec<_> = given.or("endpoints", ENDPOINT_DEFAULT).split(',').collect();
    let [endpoint] = endpoints.as_slice() else {
        return Err(Failure::Error(format!(
            "snapshot must be requested to one selected node, not multiple {endpoints:?}"
        )));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Error(format!("start a runtime: {e}")))?;
    runtime.block_on(async {
        let channel = connect(endpoint, &given).await?;
        let token = match given.text("user") {
            Some(user) => Some(log_in(&channel, user, given.text("password")).await?),
            None => None,
        };
        let version = save(channel, token, &path).await?;
        let mut told = format!("Snapshot saved at {}", path.display());
        if !version.is_empty() {
            told.push_str(&format!("\nServer version {version}"));
        }
        Ok(told)
    })
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::Error(format!("read {path}: {}", crate::fail::io_text(&e))))
}

async fn connect(endpoint: &str, given: &flags::Given) -> Result<Channel, Failure> {
    let (cacert, cert, key) = (given.text("cacert"), given.text("cert"), given.text("key"));
    let secure = endpoint.starts_with("https://") || cacert.is_some() || cert.is_some();
    let address = match endpoint.split_once("://") {
        Some((_, rest)) => rest,
        None => endpoint,
    };
    let scheme = if secure { "https" } else { "http" };
    let mut target = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|e| Failure::Error(format!("endpoint {endpoint:?}: {e}")))?
        .connect_timeout(DIAL_TIMEOUT);
    if secure {
        let mut tls = ClientTlsConfig::new();
        if let Some(cacert) = cacert {
            tls = tls.ca_certificate(Certificate::from_pem(read(cacert)?));
        }
        match (cert, key) {
            (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
            (None, None) => {}
            _ => return Err(Failure::Error("--cert and --key come together".to_owned())),
        }
        target = target
            .tls_config(tls)
            .map_err(|e| Failure::Error(format!("TLS for {endpoint}: {e}")))?;
    }
    target
        .connect()
        .await
        .map_err(|e| Failure::Error(format!("connect to {endpoint}: {e}")))
}

/// `user` may carry the password behind a colon, as etcdctl takes it.
async fn log_in(channel: &Channel, user: &str, password: Option<&str>) -> Result<String, Failure> {
    let (name, password) = match (password, user.split_once(':')) {
        (Some(password), _) => (user, password),
        (None, Some((name, password))) => (name, password),
        (None, None) => {
            return Err(Failure::Error(
                "--user needs a password: name:password, or --password".to_owned(),
            ));
        }
    };
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let answer = AuthClient::new(channel.clone()).authenticate(request).await;
    answer.map(|a| a.into_inner().token).map_err(|status| refused(&status))
}

fn refused(status: &Status) -> Failure {
    Failure::Error(format!(
        "rpc error: code = {:?} desc = {}",
        status.code(),
        status.message()
    ))
}

/// Writes beside the path and renames, so that a file of that name is always whole. The storage version it tells.
async fn save(channel: Channel, token: Option<String>, path: &Path) -> Result<String, Failure> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let io = |what: &str, e: std::io::Error| Failure::Error(format!("{what}: {}", crate::fail::io_text(&e)));
    let mut file = File::create(&part).map_err(|e| io(&format!("create {}", part.display()), e))?;
    let version = match receive(channel, token, &mut file).await {
        Ok(version) => version,
        Err(failure) => {
            drop(std::fs::remove_file(&part));
            return Err(failure);
        }
    };
    file.sync_all()
        .map_err(|e| io(&format!("sync {}", part.display()), e))?;
    if let Err(e) = keelson_bolt::snapshot::check_sum(&part) {
        drop(std::fs::remove_file(&part));
        return Err(Failure::error(e));
    }
    std::fs::rename(&part, path).map_err(|e| io(&format!("rename {}", part.display()), e))?;
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| io(&format!("sync {}", parent.display()), e))?;
    Ok(version)
}

async fn receive(channel: Channel, token: Option<String>, file: &mut File) -> Result<String, Failure> {
    let mut request = Request::new(pb::SnapshotRequest {});
    if let Some(token) = token {
        let token = MetadataValue::try_from(token).map_err(|e| Failure::Error(format!("the token: {e}")))?;
        request.metadata_mut().insert("token", token);
    }
    let mut client = MaintenanceClient::new(channel);
    let stream = client.snapshot(request).await.map_err(|status| refused(&status))?;
    let mut stream = stream.into_inner();
    let (mut version, mut bytes) = (String::new(), 0u64);
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
        let next = next.map_err(|_| Failure::Error(format!("the server has sent nothing for {SILENCE_MAX:?}")))?;
        let Some(piece) = next.map_err(|status| refused(&status))? else {
            break;
        };
        file.write_all(&piece.blob)
            .map_err(|e| Failure::Error(format!("write the file: {}", crate::fail::io_text(&e))))?;
        bytes += piece.blob.len() as u64;
        version = piece.version;
    }
    if !keelson_bolt::snapshot::has_checksum(bytes) {
        return Err(Failure::Error(format!(
            "sha256 checksum not found [bytes: {bytes}]: the server ended early"
        )));
    }
    Ok(version)
}
