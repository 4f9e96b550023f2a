#![allow(clippy::unwrap_used)]

use super::*;
use std::path::Path;
use std::process::Command;

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// Makes keys the way people do.
fn openssl(dir: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output();
    let done = done.expect("the tests of keys need openssl");
    assert!(
        done.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let commands = [
        "genrsa -out rsa.pem 2048",
        "rsa -in rsa.pem -traditional -out rsa1.pem",
        "rsa -in rsa.pem -pubout -out rsa.pub",
        "rsa -in rsa.pem -RSAPublicKey_out -out rsa1.pub",
        "req -x509 -key rsa.pem -subj /CN=x -days 2 -out rsa.crt",
        "genrsa -out other.pem 2048",
        "ecparam -name prime256v1 -genkey -noout -out p256.pem",
        "pkcs8 -topk8 -nocrypt -in p256.pem -out p256.p8",
        "ec -in p256.pem -pubout -out p256.pub",
        "ecparam -name secp384r1 -genkey -noout -out p384.pem",
        "ec -in p384.pem -pubout -out p384.pub",
        "ecparam -name secp521r1 -genkey -noout -out p521.pem",
        "ec -in p521.pem -pubout -out p521.pub",
        "genpkey -algorithm ed25519 -out ed.pem",
        "pkey -in ed.pem -pubout -out ed.pub",
    ];
    for command in commands {
        openssl(dir.path(), command);
    }
    std::fs::write(dir.path().join("secret"), b"not so secret").unwrap();
    std::fs::write(dir.path().join("garbage"), b"garbage").unwrap();
    dir
}

/// Options with file names that are in the folder.
fn tokens(dir: &Path, options: &str) -> Result<JwtTokens, String> {
    JwtTokens::new(&options.replace("key=", &format!("key={}/", dir.display())))
}

#[test]
fn every_method_signs_and_verifies() {
    let dir = keys();
    let cases = [
        ("HS", ["256", "384", "512"].as_slice(), "priv-key=secret", ""),
        ("RS", &["256", "384", "512"], "priv-key=rsa.pem", "pub-key=rsa.pub"),
        ("RS", &["256"], "priv-key=rsa1.pem,pub-key=rsa.pub", "pub-key=rsa1.pub"),
        ("PS", &["256", "384", "512"], "priv-key=rsa.pem", "pub-key=rsa.crt"),
        ("ES", &["256"], "priv-key=p256.pem,pub-key=p256.pub", "pub-key=p256.pub"),
        ("ES", &["256"], "priv-key=p256.p8", "pub-key=p256.pub"),
        ("ES", &["384"], "priv-key=p384.pem", "pub-key=p384.pub"),
        ("ES", &["512"], "priv-key=p521.pem", "pub-key=p521.pub"),
        ("EdD", &["SA"], "priv-key=ed.pem", "pub-key=ed.pub"),
    ];
    for (family, sizes, private, public) in cases {
        for size in sizes {
            let method = format!("sign-method={family}{size}");
            let signer = tokens(dir.path(), &format!("{method},{private},ttl=10s")).unwrap();
            let token = signer.sign_at("alice", 7, NOW).unwrap();
            assert_eq!(signer.check_at(&token, NOW), Some(("alice".to_owned(), 7)), "{method}");
            assert_eq!(signer.check_at(&token, NOW + Duration::from_secs(10)), None, "{method}");
            let (signed, signature) = token.rsplit_once('.').unwrap();
            assert_eq!(
                signer.check_at(&format!("{signed}x.{signature}"), NOW),
                None,
                "{method}"
            );
            if public.is_empty() {
                continue;
            }
            let verifier = tokens(dir.path(), &format!("{method},{public}")).unwrap();
            assert_eq!(
                verifier.check_at(&token, NOW),
                Some(("alice".to_owned(), 7)),
                "{method}"
            );
            let refused = verifier.sign_at("alice", 7, NOW).unwrap_err();
            let words = "auth: token signing attempted with verify-only key";
            assert_eq!((refused.code(), refused.message()), (tonic::Code::Unknown, words));
        }
    }
}

#[test]
fn a_token_of_another_method_or_form_is_nobodys() {
    let dir = keys();
    let rsa = tokens(dir.path(), "sign-method=RS256,priv-key=rsa.pem").unwrap();
    let other = tokens(dir.path(), "sign-method=RS256,priv-key=other.pem").unwrap();
    let pss = tokens(dir.path(), "sign-method=PS256,priv-key=rsa.pem").unwrap();
    // The public key as a secret: the classic confusion of methods.
    let confused = tokens(dir.path(), "sign-method=HS256,priv-key=rsa.pub").unwrap();
    let good = rsa.sign_at("a", 1, NOW).unwrap();
    for forged in [&other, &pss, &confused] {
        assert_eq!(rsa.check_at(&forged.sign_at("a", 1, NOW).unwrap(), NOW), None);
    }
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let claims = good.split('.').nth(1).unwrap();
    let malformed = [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        &format!("{none}.{claims}."),
        &"x".repeat(20_000),
        &good[1..],
    ];
    for token in malformed {
        assert_eq!(rsa.check_at(token, NOW), None, "{token}");
    }
}

#[test]
fn claims_are_judged_as_gos_library_judges_them() {
    let dir = keys();
    let tokens = tokens(dir.path(), "sign-method=HS256,priv-key=secret").unwrap();
    let check = |claims: &str| {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(tokens.key.sign(signed.as_bytes()).unwrap());
        tokens
            .check_at(&format!("{signed}.{signature}"), NOW)
            .map(|(_, revision)| revision)
    };
    assert_eq!(check(r#"{"username":"a","revision":3}"#), Some(3));
    assert_eq!(
        check(r#"{"username":"a","revision":3,"exp":1800000001,"nbf":1800000000}"#),
        Some(3)
    );
    assert_eq!(
        check(r#"{"username":"a","revision":3.0,"exp":1800000000.5,"iat":1900000000}"#),
        Some(3)
    );
    assert_eq!(check(r#"{"username":"a","revision":3,"exp":1800000000}"#), None);
    assert_eq!(check(r#"{"username":"a","revision":3,"nbf":1800000001}"#), None);
    assert_eq!(check(r#"{"username":"a","revision":3,"exp":"soon"}"#), None);
    assert_eq!(check(r#"{"username":"a","revision":"3"}"#), None);
    assert_eq!(check(r#"{"username":1,"revision":3}"#), None);
    assert_eq!(check(r#"{"revision":3}"#), None);
    assert_eq!(check(r#"{"username":"a","revision":-1}"#), Some(0));
}

#[test]
fn bad_options_are_told_in_etcds_words() {
    let dir = keys();
    let error = |options: &str| tokens(dir.path(), options).map(drop).unwrap_err();
    let invalid = "auth: invalid auth options";
    for options in [
        "",
        "a",
        "a=b=c",
        "a=1,a=2",
        "sign-method=XX256",
        "priv-key=secret",
        "sign-method=HS256,priv-key=nothing",
        "sign-method=HS256,priv-key=secret,ttl=x",
        "sign-method=HS256,priv-key=secret,",
    ] {
        assert_eq!(error(options), invalid, "{options}");
    }
    let missing = "auth: missing key data";
    for method in ["HS256", "RS256", "PS512", "ES384", "EdDSA"] {
        assert_eq!(error(&format!("sign-method={method}")), missing);
    }
    assert_eq!(error("sign-method=HS256,pub-key=rsa.pub"), missing);
    let cases = [
        ("sign-method=none", "unsupported signing method: *jwt.signingMethodNone"),
        (
            "sign-method=RS256,priv-key=garbage",
            "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key",
        ),
        (
            "sign-method=RS256,pub-key=p256.pub",
            "key is not a valid RSA public key",
        ),
        (
            "sign-method=RS256,priv-key=ed.pem",
            "key is not a valid RSA private key",
        ),
        (
            "sign-method=ES256,pub-key=rsa.pub",
            "key is not a valid ECDSA public key",
        ),
        (
            "sign-method=ES384,priv-key=p256.pem",
            "key is not a valid ECDSA private key",
        ),
        (
            "sign-method=EdDSA,priv-key=rsa.pem",
            "key is not a valid Ed25519 private key",
        ),
        (
            "sign-method=EdDSA,pub-key=rsa.pub",
            "key is not a valid Ed25519 public key",
        ),
        (
            "sign-method=RS256,priv-key=other.pem,pub-key=rsa.pub",
            "auth: public and private keys don't match",
        ),
    ];
    for (options, words) in cases {
        assert_eq!(error(options), words, "{options}");
    }
    tokens(dir.path(), "sign-method=HS256,priv-key=secret,unknown=1").unwrap();
}
