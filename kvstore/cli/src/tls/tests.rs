//! Handshakes between this crate's own two sides, with certificates made for the occasion.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/program/certificates.rs"]
mod certificates;

use super::{Identity, Side, client_config, identity, san, server_config};
use crate::settings::{Settings, TlsSettings};
use certificates::{Form, Place};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::path::Path;
use std::sync::Arc;

/// Rounds of messages in which any handshake is done.
const ROUNDS_MAX: usize = 10;

/// Settings that name the files of the folder.
trait Settled {
    fn tls(&self, name: &str, authority: &str) -> TlsSettings;
}

impl Settled for Place {
    /// Shows `name`, and trusts `authority`.
    fn tls(&self, name: &str, authority: &str) -> TlsSettings {
        TlsSettings {
            cert_file: self.text(&format!("{name}.crt")),
            key_file: self.text(&format!("{name}.key")),
            trusted_ca_file: self.text(&format!("{authority}.pem")),
            client_cert_auth: true,
            ..TlsSettings::default()
        }
    }
}

fn known(tls: &TlsSettings) -> Identity {
    identity(&Settings::default(), tls, Side::Peer, Path::new("/nowhere")).unwrap()
}

fn server(tls: &TlsSettings) -> Arc<ServerConfig> {
    server_config(&Settings::default(), &known(tls), Side::Peer).unwrap()
}

fn client(tls: &TlsSettings) -> Arc<ClientConfig> {
    client_config(&Settings::default(), &known(tls)).unwrap()
}

/// A whole handshake in memory; what the server showed, or the first error of either side.
fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Vec<u8>, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).map_err(|e| e.to_string())?;
    let mut server = ServerConnection::new(server.clone()).map_err(|e| e.to_string())?;
    for _ in 0..ROUNDS_MAX {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|e| e.to_string())?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|e| e.to_string())?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(client.peer_certificates().unwrap().first().unwrap().to_vec())
}

#[track_caller]
fn refused(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str, why: &str) {
    let error = handshake(server, client, name).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn members_know_each_other_by_their_authority() {
    let place = Place::new();
    let (ours, other) = (place.authority("ours"), place.authority("other"));
    place.issue(&ours, "a", "a", 1, &["localhost", "127.0.0.1"]);
    place.issue(&other, "stranger", "stranger", 1, &["localhost"]);
    let a = server(&place.tls("a", "ours"));
    handshake(&a, &client(&place.tls("a", "ours")), "localhost").unwrap();
    handshake(&a, &client(&place.tls("a", "ours")), "127.0.0.1").unwrap();
    refused(&a, &client(&place.tls("a", "ours")), "other.host", "not valid for name");
    refused(
        &a,
        &client(&place.tls("stranger", "ours")),
        "localhost",
        "UnknownIssuer",
    );
    refused(&a, &client(&place.tls("a", "other")), "localhost", "UnknownIssuer");
    let nobody = TlsSettings {
        trusted_ca_file: place.text("ours.pem"),
        ..TlsSettings::default()
    };
    refused(&a, &client(&nobody), "localhost", "peer sent no certificates");
}

#[test]
fn a_certificate_of_its_own_is_shown_to_others_when_there_is_one() {
    let place = Place::new();
    let ours = place.authority("ours");
    place.issue(&ours, "server", "server", 1, &["localhost"]);
    place.issue(&ours, "caller", "caller", 2, &["localhost"]);
    let mut tls = place.tls("server", "ours");
    tls.client_cert_file = place.text("caller.crt");
    tls.client_key_file = place.text("caller.key");
    let mut only_callers = place.tls("server", "ours");
    only_callers.allowed_cns = vec!["caller".to_owned()];
    // The rule is of both sides, as in etcd: what it calls shows another name.
    handshake(&server(&only_callers), &client(&tls), "localhost").unwrap();
    refused(
        &server(&tls),
        &client(&only_callers),
        "localhost",
        "client certificate authentication failed",
    );
}

#[test]
fn only_some_names_are_let_in() {
    let place = Place::new();
    let ours = place.authority("ours");
    place.issue(&ours, "a", "a", 1, &["localhost", "a.example.org", "10.1.2.3"]);
    let caller = client(&place.tls("a", "ours"));
    let rule = |cns: &[&str], hosts: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
        server(&TlsSettings {
            allowed_cns: texts(cns),
            allowed_hostnames: texts(hosts),
            ..place.tls("a", "ours")
        })
    };
    handshake(&rule(&["b", "a"], &[]), &caller, "localhost").unwrap();
    handshake(&rule(&[], &["x", "a.example.org"]), &caller, "localhost").unwrap();
    handshake(&rule(&[], &["10.1.2.3"]), &caller, "localhost").unwrap();
    for refusing in [
        rule(&["b"], &[]),
        rule(&[], &["b.example.org"]),
        rule(&[], &["10.1.2.4"]),
    ] {
        refused(
            &refusing,
            &caller,
            "localhost",
            "client certificate authentication failed",
        );
    }
}

#[test]
fn files_are_renewed_without_a_restart() {
    let place = Place::new();
    let (first, second) = (place.authority("first"), place.authority("second"));
    place.put("trusted.pem", first.pem());
    place.issue(&first, "a", "a", 1, &["localhost"]);
    let tls = place.tls("a", "trusted");
    let (server, client) = (server(&tls), client(&tls));
    let before = handshake(&server, &client, "localhost").unwrap();
    // A key that is not the certificate's, between two renewals: the old pair stays in use.
    place.put("a.key", KeyPair::generate().unwrap().serialize_pem());
    assert_eq!(handshake(&server, &client, "localhost").unwrap(), before);
    // Both sides trust both authorities, then only the new one.
    place.put("trusted.pem", first.pem() + &second.pem());
    place.issue(&second, "a", "a", 2, &["localhost"]);
    let after = handshake(&server, &client, "localhost").unwrap();
    assert_ne!(after, before);
    let new = CertificateDer::from_pem_file(place.path("a.crt")).unwrap();
    assert_eq!(after, new.as_ref());
    place.put("trusted.pem", second.pem());
    handshake(&server, &client, "localhost").unwrap();
    place.issue(&first, "a", "a", 3, &["localhost"]);
    refused(&server, &client, "localhost", "UnknownIssuer");
}

#[test]
fn what_is_revoked_stays_out() {
    for form in [Form::Der, Form::Pem] {
        let place = Place::new();
        let ours = place.authority("ours");
        place.issue(&ours, "a", "a", 300, &["localhost"]);
        place.revoke(&ours, &[1], form);
        let tls = TlsSettings {
            crl_file: place.text("crl"),
            ..place.tls("a", "ours")
        };
        let (server, client) = (server(&tls), client(&tls));
        handshake(&server, &client, "localhost").unwrap();
        place.revoke(&ours, &[1, 300], form);
        refused(&server, &client, "localhost", "certificate serial 012c revoked");
        place.revoke(&ours, &[1], form);
        handshake(&server, &client, "localhost").unwrap();
        // A list that cannot be read lets nobody in.
        place.put("crl", "garbage");
        refused(&server, &client, "localhost", "malformed crl");
        std::fs::remove_file(place.path("crl")).unwrap();
        refused(&server, &client, "localhost", "no such file or directory");
    }
}

#[test]
fn members_that_make_their_own_certificates_talk() {
    let place = Place::new();
    let settings = Settings::default();
    let auto = TlsSettings {
        auto: true,
        ..TlsSettings::default()
    };
    let known = || identity(&settings, &auto, Side::Peer, place.dir()).unwrap();
    let server = server_config(&settings, &known(), Side::Peer).unwrap();
    let client = client_config(&settings, &known()).unwrap();
    let shown = handshake(&server, &client, "any.host").unwrap();
    let made = CertificateDer::from_pem_file(place.path("fixtures/peer/cert.pem")).unwrap();
    assert_eq!(shown, made.as_ref());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(place.path("fixtures/peer/key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Kept, not made anew.
    let again = server_config(&settings, &known(), Side::Peer).unwrap();
    assert_eq!(handshake(&again, &client, "any.host").unwrap(), shown);
}

#[test]
fn a_certificate_that_is_its_own_authority_is_trusted() {
    let place = Place::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    place.put("own.crt", own.pem());
    place.put("own.pem", own.pem());
    place.put("own.key", key.serialize_pem());
    let tls = place.tls("own", "own");
    handshake(&server(&tls), &client(&tls), "localhost").unwrap();
    refused(&server(&tls), &client(&tls), "other.host", "");
}

#[test]
fn versions_and_suites_are_kept_to() {
    let place = Place::new();
    let ours = place.authority("ours");
    place.issue(&ours, "a", "a", 1, &["localhost"]);
    let with = |min: &str, max: &str, suites: &[&str]| Settings {
        tls_min_version: min.to_owned(),
        tls_max_version: max.to_owned(),
        cipher_suites: suites.iter().map(|s| (*s).to_owned()).collect(),
        ..Settings::default()
    };
    let known = known(&place.tls("a", "ours"));
    let server = |s: &Settings| server_config(s, &known, Side::Peer).unwrap();
    let client = |s: &Settings| client_config(s, &known).unwrap();
    let (old, new) = (with("TLS1.2", "TLS1.2", &[]), with("TLS1.3", "", &[]));
    handshake(&server(&old), &client(&with("TLS1.2", "", &[])), "localhost").unwrap();
    handshake(&server(&new), &client(&with("TLS1.2", "", &[])), "localhost").unwrap();
    assert!(handshake(&server(&new), &client(&old), "localhost").is_err());
    let aes = with("TLS1.2", "TLS1.2", &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
    let chacha = with("TLS1.2", "TLS1.2", &["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]);
    handshake(&server(&aes), &client(&aes), "localhost").unwrap();
    assert!(handshake(&server(&aes), &client(&chacha), "localhost").is_err());
}

#[tokio::test]
async fn members_call_from_where_their_certificates_say() {
    let place = Place::new();
    let ours = place.authority("ours");
    let check = |name: &str, hosts: &[&str], from: &str| {
        place.issue(&ours, name, name, 1, hosts);
        let certificate = CertificateDer::from_pem_file(place.path(&format!("{name}.crt"))).unwrap();
        let check = san::caller_check(&known(&place.tls(name, "ours"))).unwrap();
        check(certificate, from.parse().unwrap())
    };
    check("none", &[], "10.0.0.1").await.unwrap();
    check("address", &["10.0.0.1"], "10.0.0.1").await.unwrap();
    check("mapped", &["10.0.0.1"], "::ffff:10.0.0.1").await.unwrap();
    check("address", &["10.0.0.1"], "10.0.0.2").await.unwrap_err();
    check("name", &["localhost"], "127.0.0.1").await.unwrap();
    check("both", &["10.0.0.1", "localhost"], "127.0.0.1").await.unwrap();
    let error = check("name", &["localhost"], "192.0.2.7").await.unwrap_err();
    assert!(
        error.starts_with(r#"tls: "192.0.2.7" does not match any of DNSNames ["localhost"]"#),
        "{error}"
    );
    let off = TlsSettings {
        skip_client_san_verify: true,
        ..place.tls("name", "ours")
    };
    assert!(san::caller_check(&known(&off)).is_none());
}
