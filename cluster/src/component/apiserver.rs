//! `keelson kube-apiserver`: the API server on an etcd of its own or of others.

use super::flags;
use crate::fail::{Context, Failure, Result};
use clap::Args;
use ipnet::IpNet;
use keelson_apiserver::storage::{Storage, etcd};
use keelson_apiserver::{Options, Server};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The only place in the store where objects are kept.
const PREFIX: &str = "/registry";
/// How long a start waits for the store before the process gives up, as upstream's.
const STORE_WAIT_MAX: Duration = Duration::from_secs(60);
const STORE_RETRY: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct ApiserverArgs {
    /// URLs of the members of the etcd, with commas between
    #[arg(long, value_delimiter = ',', required = true)]
    etcd_servers: Vec<String>,
    /// CA of the etcd's certificates
    #[arg(long)]
    etcd_cafile: Option<PathBuf>,
    /// Certificate shown to the etcd
    #[arg(long, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// Prefix of all keys in the etcd; no other than the default is supported
    #[arg(long, default_value = PREFIX)]
    etcd_prefix: String,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Address that clients are told (default: that of --bind-address)
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Certificate of this server
    #[arg(long)]
    tls_cert_file: PathBuf,
    /// Key of that certificate
    #[arg(long)]
    tls_private_key_file: PathBuf,
    /// CA of clients' certificates: common name is the user, organizations are groups
    #[arg(long)]
    client_ca_file: PathBuf,
    /// File with a line `token,user,uid,"group1,group2"` for each token
    #[arg(long)]
    token_auth_file: Option<PathBuf>,
    /// Modes of authorization: `Node,RBAC`, which is the default, is the only choice
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    authorization_mode: Vec<String>,
    /// Issuer of ServiceAccount tokens
    #[arg(long)]
    service_account_issuer: String,
    /// Private key that signs ServiceAccount tokens
    #[arg(long)]
    service_account_signing_key_file: PathBuf,
    /// Keys that verify ServiceAccount tokens; may be repeated
    #[arg(long)]
    service_account_key_file: Vec<PathBuf>,
    /// Range of Services' addresses
    #[arg(long, default_value = "10.0.0.0/24")]
    service_cluster_ip_range: IpNet,
    /// Range of Services' node ports
    #[arg(long, default_value = "30000-32767", value_parser = flags::port_range)]
    service_node_port_range: (u16, u16),
    /// Certificate shown to kubelets
    #[arg(long)]
    kubelet_client_certificate: PathBuf,
    /// Key of that certificate
    #[arg(long)]
    kubelet_client_key: PathBuf,
    /// CA of kubelets' certificates (default: that of clients)
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
}

impl ApiserverArgs {
    fn store(&self) -> Result<etcd::Options> {
        if self.etcd_prefix.trim_end_matches('/') != PREFIX {
            return Err(Failure::new(format!(
                "--etcd-prefix {:?}: only {PREFIX} is supported",
                self.etcd_prefix
            )));
        }
        let read = |p: &PathBuf| std::fs::read(p).context(|| format!("read {}", p.display()));
        let identity = self.etcd_certfile.as_ref().zip(self.etcd_keyfile.as_ref());
        Ok(etcd::Options {
            endpoints: self.etcd_servers.clone(),
            ca_pem: self.etcd_cafile.as_ref().map(read).transpose()?,
            identity_pem: identity.map(|(c, k)| Ok((read(c)?, read(k)?))).transpose()?,
        })
    }

    fn options(self) -> Result<Options> {
        let mut modes = self.authorization_mode.clone();
        modes.sort();
        if modes != ["Node", "RBAC"] {
            return Err(Failure::new(format!(
                "--authorization-mode {}: only Node,RBAC is supported",
                self.authorization_mode.join(",")
            )));
        }
        let advertise = match self.advertise_address {
            Some(a) => a,
            None if !self.bind_address.is_unspecified() => self.bind_address,
            None => {
                return Err(Failure::new(
                    "which address clients are told is not known: give --advertise-address",
                ));
            }
        };
        if advertise.is_loopback() {
            return Err(Failure::new(format!(
                "{advertise} is a loopback address, which Endpoints may not have: give another --advertise-address"
            )));
        }
        let mut service_account_keys = vec![self.service_account_signing_key_file];
        service_account_keys.extend(self.service_account_key_file);
        Ok(Options {
            listen: SocketAddr::new(self.bind_address, self.secure_port),
            advertise: SocketAddr::new(advertise, self.secure_port),
            tls_cert: self.tls_cert_file,
            tls_key: self.tls_private_key_file,
            kubelet_ca: self
                .kubelet_certificate_authority
                .unwrap_or_else(|| self.client_ca_file.clone()),
            client_ca: self.client_ca_file,
            service_account_keys,
            service_account_issuer: self.service_account_issuer,
            service_cidr: self.service_cluster_ip_range,
            node_port_range: self.service_node_port_range,
            kubelet_client_cert: self.kubelet_client_certificate,
            kubelet_client_key: self.kubelet_client_key,
            token_file: self.token_auth_file,
        })
    }
}

pub async fn run(args: ApiserverArgs) -> Result<()> {
    let store = args.store()?;
    let options = args.options()?;
    let storage = Arc::new(etcd::connect(&store).context(|| "use --etcd-servers")?);
    let listen = options.listen;
    let server = tokio::select! {
        server = start(options, storage) => server?,
        stopped = crate::components::signalled() => return stopped,
    };
    tracing::info!(%listen, "the API server serves");
    let stopped = crate::components::signalled().await;
    server.shutdown().await;
    stopped
}

/// Starts the server, waiting for a store that does not answer yet.
async fn start(options: Options, storage: Arc<dyn Storage>) -> Result<Server> {
    let deadline = tokio::time::Instant::now() + STORE_WAIT_MAX;
    loop {
        match Server::start(options.clone(), storage.clone()).await {
            Ok(server) => return Ok(server),
            Err(e) if e.of_store && tokio::time::Instant::now() < deadline => {
                tracing::warn!(error = %e, "not started yet; trying again");
                tokio::time::sleep(STORE_RETRY).await;
            }
            Err(e) => return Err(e).context(|| "start the API server"),
        }
    }
}
