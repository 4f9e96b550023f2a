//! The cluster's keys: one CA for the API, one for the datastore, and the certificates under them.
//!
//! Made at the first start and kept; leaf certificates are made anew at each start, so they never run out
//! while the machine is restarted now and then. Keys are 0600 in a folder of 0700.

use crate::fail::{Context, Result};
use crate::layout::{Layout, write_private};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

/// Days that a leaf certificate is valid.
const LEAF_VALIDITY_DAYS: i64 = 365;

/// Paths of everything that components are handed.
#[derive(Clone, Debug)]
pub struct Pki {
    dir: PathBuf,
}

/// A certificate and its key, as file paths.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }
    pub fn etcd_ca(&self) -> PathBuf {
        self.dir.join("etcd-ca.crt")
    }
    pub fn pair(&self, name: &str) -> Pair {
        Pair {
            cert: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        }
    }
    pub fn service_account_key(&self) -> PathBuf {
        self.dir.join("service-account.key")
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

fn authority(pki: &Pki, name: &str, common_name: &str) -> Result<Authority> {
    let Pair { cert, key } = pki.pair(name);
    if !cert.exists() || !key.exists() {
        let pair = KeyPair::generate().context(|| format!("make the key of {name}"))?;
        let mut p = CertificateParams::default();
        p.distinguished_name = subject(common_name, None);
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        p.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2120, 1, 1);
        let c = p.self_signed(&pair).context(|| format!("sign {name}"))?;
        write_private(&key, pair.serialize_pem().as_bytes())?;
        write_private(&cert, c.pem().as_bytes())?;
    }
    let cert_pem = fs::read_to_string(&cert).context(|| format!("read {}", cert.display()))?;
    let key_pem = fs::read_to_string(&key).context(|| format!("read {}", key.display()))?;
    let pair = KeyPair::from_pem(&key_pem).context(|| format!("parse {}", key.display()))?;
    let issuer = Issuer::from_ca_cert_pem(&cert_pem, pair).context(|| format!("parse {}", cert.display()))?;
    Ok(Authority { issuer })
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    if let Some(o) = organization {
        dn.push(DnType::OrganizationName, o);
    }
    dn.push(DnType::CommonName, common_name);
    dn
}

struct Leaf<'a> {
    file: &'a str,
    common_name: &'a str,
    organization: Option<&'a str>,
    dns: &'a [&'a str],
    ips: &'a [IpAddr],
}

fn leaf(pki: &Pki, ca: &Authority, l: Leaf<'_>) -> Result<()> {
    let doing = || format!("make the certificate {}", l.file);
    let mut p = CertificateParams::default();
    p.distinguished_name = subject(l.common_name, l.organization);
    for d in l.dns {
        p.subject_alt_names
            .push(SanType::DnsName((*d).try_into().context(doing)?));
    }
    p.subject_alt_names
        .extend(l.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    p.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = std::time::SystemTime::now();
    let hour = std::time::Duration::from_secs(3600);
    p.not_before = (now - hour).into();
    p.not_after = (now + hour * 24 * LEAF_VALIDITY_DAYS as u32).into();
    let key = KeyPair::generate().context(doing)?;
    let cert = p.signed_by(&key, &ca.issuer).context(doing)?;
    let to = pki.pair(l.file);
    write_private(&to.key, key.serialize_pem().as_bytes())?;
    write_private(&to.cert, cert.pem().as_bytes())
}

/// Who the certificates speak for.
pub struct Names<'a> {
    pub node_name: &'a str,
    pub node_ip: IpAddr,
    /// First address of the Service range: Service `default/kubernetes`.
    pub api_service_ip: IpAddr,
}

/// Makes what is missing and renews the leaves.
pub fn prepare(layout: &Layout, names: &Names<'_>) -> Result<Pki> {
    let pki = Pki { dir: layout.pki() };
    let ca = authority(&pki, "ca", "kubernetes-ca")?;
    let etcd = authority(&pki, "etcd-ca", "etcd-ca")?;
    let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    let api_ips = [loopback[0], loopback[1], names.node_ip, names.api_service_ip];
    let api_dns = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        names.node_name,
    ];
    let node_user = format!("system:node:{}", names.node_name);
    let kubelet_ips = [loopback[0], names.node_ip];
    let leaves = [
        Leaf {
            file: "apiserver",
            common_name: "kube-apiserver",
            organization: None,
            dns: &api_dns,
            ips: &api_ips,
        },
        Leaf {
            file: "apiserver-kubelet-client",
            common_name: "kube-apiserver-kubelet-client",
            organization: Some("kubeadm:cluster-admins"),
            dns: &[],
            ips: &[],
        },
        Leaf {
            file: "admin",
            common_name: "kubernetes-admin",
            organization: Some("system:masters"),
            dns: &[],
            ips: &[],
        },
        Leaf {
            file: "kubelet",
            common_name: &node_user,
            organization: Some("system:nodes"),
            dns: &["localhost", names.node_name],
            ips: &kubelet_ips,
        },
    ];
    for l in leaves {
        leaf(&pki, &ca, l)?;
    }
    let etcd_leaves = [
        Leaf {
            file: "etcd-server",
            common_name: "etcd",
            organization: None,
            dns: &["localhost"],
            ips: &loopback,
        },
        Leaf {
            file: "etcd-client",
            common_name: "etcd-client",
            organization: None,
            dns: &[],
            ips: &[],
        },
    ];
    for l in etcd_leaves {
        leaf(&pki, &etcd, l)?;
    }
    let sa = pki.service_account_key();
    if !sa.exists() {
        let k = KeyPair::generate().context(|| "make the ServiceAccount signing key")?;
        write_private(&sa, k.serialize_pem().as_bytes())?;
    }
    Ok(pki)
}
