//! Keys and tokens of the control plane, files that last as long as the world.

use super::super::error::{Doing, WorldError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use std::path::{Path, PathBuf};

/// Of a user in `system:masters`.
pub(super) const ADMIN_TOKEN: &str = "jepsen-admin";
const SCHEDULER_TOKEN: &str = "jepsen-scheduler";

#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    /// PEM.
    pub(super) ca: String,
}

impl Pki {
    /// Makes everything; `addresses` are those of the API servers.
    pub(super) fn make(dir: &Path, addresses: &[String]) -> Result<Pki, WorldError> {
        std::fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
        let files = files(addresses)
            .map_err(std::io::Error::other)
            .doing(|| "make keys".to_owned())?;
        for (name, text) in &files {
            let path = dir.join(name);
            std::fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        }
        let [(_, ca), ..] = files;
        Ok(Pki {
            dir: dir.to_owned(),
            ca,
        })
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// Writes the kubeconfig of a scheduler, and returns its path.
    pub(super) fn scheduler_kubeconfig(&self, number: usize, server: &str) -> Result<String, WorldError> {
        let path = self.file(&format!("scheduler-{number}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: jepsen\n\
             clusters:\n- name: jepsen\n  cluster: {{server: '{server}', certificate-authority: ca.crt}}\n\
             users:\n- name: jepsen\n  user: {{token: {SCHEDULER_TOKEN}}}\n\
             contexts:\n- name: jepsen\n  context: {{cluster: jepsen, user: jepsen}}\n"
        );
        std::fs::write(&path, text).doing(|| format!("write {path}"))?;
        Ok(path)
    }
}

/// Names and contents; the authority's certificate is the first.
fn files(addresses: &[String]) -> Result<[(&'static str, String); 6], rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "jepsen");
    let key = KeyPair::generate()?;
    let ca = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let ips = addresses.iter().filter_map(|a| a.parse().ok()).map(SanType::IpAddress);
    server.subject_alt_names.extend(ips);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?.pem();
    let account = KeyPair::generate()?;
    let tokens = format!(
        "{ADMIN_TOKEN},jepsen,jepsen,\"system:masters\"\n\
         {SCHEDULER_TOKEN},system:kube-scheduler,scheduler,\n"
    );
    Ok([
        ("ca.crt", ca),
        ("server.crt", certificate),
        ("server.key", key.serialize_pem()),
        // Upstream's API server takes no PKCS #8 key for a public one.
        ("sa.pub", account.public_key_pem()),
        ("sa.key", account.serialize_pem()),
        ("tokens.csv", tokens),
    ])
}
