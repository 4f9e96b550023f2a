//! Keys and methods of signing (RFC 7518): read from PEM files in every form that etcd reads, checked against each
//! other, turned into one thing that signs, if it can, and verifies.

use ed25519_dalek::pkcs8::DecodePublicKey;
use hmac::{Hmac, Mac};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer, Verifier};
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::{Sha256, Sha384, Sha512};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

const MISSING: &str = "auth: missing key data";
const MISMATCH: &str = "auth: public and private keys don't match";
const VERIFY_ONLY: &str = "auth: token signing attempted with verify-only key";
const NO_PEM: &str = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Hmac(Hash),
    Rsa(Hash),
    RsaPss(Hash),
    /// The hash says the curve: P-256, P-384, P-521.
    Ecdsa(Hash),
    Ed25519,
    /// Known, and refused.
    None,
}

const METHODS: [(&str, Method); 14] = [
    ("HS256", Method::Hmac(Hash::Sha256)),
    ("HS384", Method::Hmac(Hash::Sha384)),
    ("HS512", Method::Hmac(Hash::Sha512)),
    ("RS256", Method::Rsa(Hash::Sha256)),
    ("RS384", Method::Rsa(Hash::Sha384)),
    ("RS512", Method::Rsa(Hash::Sha512)),
    ("PS256", Method::RsaPss(Hash::Sha256)),
    ("PS384", Method::RsaPss(Hash::Sha384)),
    ("PS512", Method::RsaPss(Hash::Sha512)),
    ("ES256", Method::Ecdsa(Hash::Sha256)),
    ("ES384", Method::Ecdsa(Hash::Sha384)),
    ("ES512", Method::Ecdsa(Hash::Sha512)),
    ("EdDSA", Method::Ed25519),
    ("none", Method::None),
];

impl Method {
    pub fn named(name: &str) -> Option<Method> {
        METHODS.iter().find(|(n, _)| *n == name).map(|(_, method)| *method)
    }

    pub fn name(self) -> &'static str {
        METHODS
            .iter()
            .find(|(_, m)| *m == self)
            .map_or("none", |(name, _)| name)
    }
}

type Sign = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

pub struct Key {
    method: Method,
    /// Absent when only the public key was given.
    sign: Option<Sign>,
    verify: Verify,
}

impl Key {
    /// What the files hold; empty is absent. What is wrong is told in etcd's words.
    pub fn new(method: Method, private: &[u8], public: &[u8]) -> Result<Key, String> {
        let (sign, verify) = match method {
            Method::Hmac(hash) => hmac_key(hash, private)?,
            Method::Rsa(hash) => rsa_key(hash, private, public)?,
            Method::RsaPss(hash) => rsa_pss_key(hash, private, public)?,
            Method::Ecdsa(Hash::Sha256) => p256_key(private, public)?,
            Method::Ecdsa(Hash::Sha384) => p384_key(private, public)?,
            Method::Ecdsa(Hash::Sha512) => p521_key(private, public)?,
            Method::Ed25519 => ed25519_key(private, public)?,
            Method::None => return Err("unsupported signing method: *jwt.signingMethodNone".to_owned()),
        };
        Ok(Key { method, sign, verify })
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.sign.as_ref().ok_or(VERIFY_ONLY)?(message)
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        (self.verify)(message, signature)
    }
}

type Pair = (Option<Sign>, Verify);

/// The first block of a file, whatever it is labelled.
fn pem(file: &[u8]) -> Result<Vec<u8>, String> {
    let first = Pem::iter_from_buffer(file).next();
    first
        .and_then(Result::ok)
        .map(|pem| pem.contents)
        .ok_or_else(|| NO_PEM.to_owned())
}

/// The public key in a certificate, or what there is.
fn in_certificate(der: Vec<u8>) -> Vec<u8> {
    match X509Certificate::from_der(&der) {
        Ok((_, certificate)) => certificate.public_key().raw.to_vec(),
        Err(_) => der,
    }
}

/// What a private key file, a public one, or both give: the private key, and the public one that goes with it.
fn pair<S, P: PartialEq>(
    (private, public): (&[u8], &[u8]),
    read_private: impl FnOnce(&[u8]) -> Result<S, String>,
    read_public: impl FnOnce(&[u8]) -> Result<P, String>,
    public_of: impl FnOnce(&S) -> P,
) -> Result<(Option<S>, P), String> {
    let secret = if private.is_empty() {
        None
    } else {
        Some(read_private(&pem(private)?)?)
    };
    let given = if public.is_empty() {
        None
    } else {
        Some(read_public(&in_certificate(pem(public)?))?)
    };
    match (secret, given) {
        (None, None) => Err(MISSING.to_owned()),
        (None, Some(given)) => Ok((None, given)),
        (Some(secret), given) => {
            let public = public_of(&secret);
            if given.is_some_and(|given| given != public) {
                return Err(MISMATCH.to_owned());
            }
            Ok((Some(secret), public))
        }
    }
}

/// What signs and verifies by one hash of several.
macro_rules! by_hash {
    ($hash:expr, $make:ident($($argument:expr),*)) => {
        match $hash {
            Hash::Sha256 => $make!(Sha256, $($argument),*),
            Hash::Sha384 => $make!(Sha384, $($argument),*),
            Hash::Sha512 => $make!(Sha512, $($argument),*),
        }
    };
}

fn hmac_key(hash: Hash, secret: &[u8]) -> Result<Pair, String> {
    macro_rules! keyed {
        ($hash:ty, $secret:expr) => {{
            let keyed = Hmac::<$hash>::new_from_slice($secret).map_err(|e| e.to_string())?;
            let checked = keyed.clone();
            (
                Some(Box::new(move |message: &[u8]| {
                    Ok(keyed.clone().chain_update(message).finalize().into_bytes().to_vec())
                }) as Sign),
                Box::new(move |message: &[u8], signature: &[u8]| {
                    checked.clone().chain_update(message).verify_slice(signature).is_ok()
                }) as Verify,
            )
        }};
    }
    if secret.is_empty() {
        return Err(MISSING.to_owned());
    }
    Ok(by_hash!(hash, keyed(secret)))
}

fn rsa_keys(private: &[u8], public: &[u8]) -> Result<(Option<RsaPrivateKey>, RsaPublicKey), String> {
    let wrong = |what: &str| format!("key is not a valid RSA {what} key");
    pair(
        (private, public),
        |der| {
            let read = RsaPrivateKey::from_pkcs1_der(der).or_else(|_| RsaPrivateKey::from_pkcs8_der(der));
            read.map_err(|_| wrong("private"))
        },
        |der| {
            let read = RsaPublicKey::from_public_key_der(der).ok();
            let read = read.or_else(|| RsaPublicKey::from_pkcs1_der(der).ok());
            read.ok_or_else(|| wrong("public"))
        },
        RsaPrivateKey::to_public_key,
    )
}

fn rsa_key(hash: Hash, private: &[u8], public: &[u8]) -> Result<Pair, String> {
    macro_rules! keyed {
        ($hash:ty, $secret:expr, $public:expr) => {
            rsa_pair(
                $secret.map(rsa::pkcs1v15::SigningKey::<$hash>::new),
                rsa::pkcs1v15::VerifyingKey::<$hash>::new($public),
            )
        };
    }
    let (secret, public) = rsa_keys(private, public)?;
    Ok(by_hash!(hash, keyed(secret, public)))
}

/// The salt is as long as the hash, as the RFC says.
fn rsa_pss_key(hash: Hash, private: &[u8], public: &[u8]) -> Result<Pair, String> {
    macro_rules! keyed {
        ($hash:ty, $secret:expr, $public:expr) => {
            rsa_pair(
                $secret.map(rsa::pss::BlindedSigningKey::<$hash>::new),
                rsa::pss::VerifyingKey::<$hash>::new($public),
            )
        };
    }
    let (secret, public) = rsa_keys(private, public)?;
    Ok(by_hash!(hash, keyed(secret, public)))
}

/// Signing is blinded: its time tells nothing of the key.
fn rsa_pair<G, S, V>(signer: Option<S>, verifier: V) -> Pair
where
    G: SignatureEncoding,
    S: RandomizedSigner<G> + Send + Sync + 'static,
    V: Verifier<G> + Send + Sync + 'static,
{
    let sign = signer.map(|key| {
        Box::new(move |message: &[u8]| {
            let signature = key.try_sign_with_rng(&mut rsa::rand_core::OsRng, message);
            signature.map(|s| s.to_vec()).map_err(|e| e.to_string())
        }) as Sign
    });
    let verify = Box::new(move |message: &[u8], signature: &[u8]| {
        G::try_from(signature).is_ok_and(|signature| verifier.verify(message, &signature).is_ok())
    });
    (sign, verify)
}

macro_rules! ecdsa_key {
    ($name:ident, $curve:ident) => {
        fn $name(private: &[u8], public: &[u8]) -> Result<Pair, String> {
            use $curve::ecdsa::{Signature, SigningKey, VerifyingKey};
            let wrong = |what: &str| format!("key is not a valid ECDSA {what} key");
            let (secret, public) = pair(
                (private, public),
                |der| {
                    let read = $curve::SecretKey::from_sec1_der(der).ok();
                    let read = read.or_else(|| $curve::SecretKey::from_pkcs8_der(der).ok());
                    read.ok_or_else(|| wrong("private"))
                },
                |der| $curve::PublicKey::from_public_key_der(der).map_err(|_| wrong("public")),
                $curve::SecretKey::public_key,
            )?;
            let verifier = VerifyingKey::from_sec1_bytes(&public.to_sec1_bytes()).map_err(|_| wrong("public"))?;
            let sign = match secret {
                None => None,
                Some(secret) => {
                    let key = SigningKey::from_slice(&secret.to_bytes()).map_err(|_| wrong("private"))?;
                    Some(Box::new(move |message: &[u8]| {
                        let signature: Result<Signature, _> = key.try_sign(message);
                        signature
                            .map(|s| s.to_bytes().to_vec())
                            .map_err(|e| e.to_string())
                    }) as Sign)
                }
            };
            let verify = Box::new(move |message: &[u8], signature: &[u8]| {
                Signature::from_slice(signature).is_ok_and(|signature| verifier.verify(message, &signature).is_ok())
            });
            Ok((sign, verify))
        }
    };
}

ecdsa_key!(p256_key, p256);
ecdsa_key!(p384_key, p384);
ecdsa_key!(p521_key, p521);

fn ed25519_key(private: &[u8], public: &[u8]) -> Result<Pair, String> {
    use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
    let wrong = |what: &str| format!("key is not a valid Ed25519 {what} key");
    let (secret, verifier) = pair(
        (private, public),
        |der| SigningKey::from_pkcs8_der(der).map_err(|_| wrong("private")),
        |der| VerifyingKey::from_public_key_der(der).map_err(|_| wrong("public")),
        SigningKey::verifying_key,
    )?;
    let sign = secret.map(|key| Box::new(move |message: &[u8]| Ok(key.sign(message).to_bytes().to_vec())) as Sign);
    let verify = Box::new(move |message: &[u8], signature: &[u8]| {
        Signature::from_slice(signature).is_ok_and(|signature| verifier.verify(message, &signature).is_ok())
    });
    Ok((sign, verify))
}
