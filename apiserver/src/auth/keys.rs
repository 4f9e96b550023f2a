//! The keys behind ServiceAccount tokens: one signs, all verify, and the world may read their public halves.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, Pem, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read service account key: {0}")]
    Pem(String),
    #[error("service account key: {0}")]
    Key(String),
    #[error("service account key file has no private key")]
    NoPrivateKey,
}

pub(super) struct VerifyKey {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    jwk: Value,
}

pub struct Keys {
    pub(super) signer: EncodingKey,
    pub(super) algorithm: Algorithm,
    pub(super) id: String,
    pub(super) verifiers: Vec<VerifyKey>,
}

impl Keys {
    /// From PEM: PKCS#8 private keys (EC P-256 or RSA) and public keys. The first private key signs.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let mut signer: Option<(EncodingKey, Algorithm, String)> = None;
        let mut verifiers: Vec<VerifyKey> = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|e| Error::Pem(e.to_string()))?;
            let spki = match block.label.as_str() {
                "PUBLIC KEY" => block.contents,
                "PRIVATE KEY" => {
                    let pair =
                        rcgen::KeyPair::try_from(block.contents.as_slice()).map_err(|e| Error::Key(e.to_string()))?;
                    let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
                    if signer.is_none() {
                        let v = verifier(&spki)?;
                        let text = pair.serialize_pem();
                        let key = match v.algorithm {
                            Algorithm::RS256 => EncodingKey::from_rsa_pem(text.as_bytes()),
                            _ => EncodingKey::from_ec_pem(text.as_bytes()),
                        };
                        let key = key.map_err(|e| Error::Key(e.to_string()))?;
                        signer = Some((key, v.algorithm, v.id));
                    }
                    spki
                }
                other => return Err(Error::Key(format!("unsupported PEM block {other:?}"))),
            };
            let v = verifier(&spki)?;
            if verifiers.iter().all(|x| x.id != v.id) {
                verifiers.push(v);
            }
        }
        let (signer, algorithm, id) = signer.ok_or(Error::NoPrivateKey)?;
        Ok(Keys {
            signer,
            algorithm,
            id,
            verifiers,
        })
    }

    /// The document at `/openid/v1/jwks` (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": self.verifiers.iter().map(|v| v.jwk.clone()).collect::<Vec<_>>()})
    }
}

/// The key id is upstream's: the SHA-256 of the public key's DER.
fn verifier(spki: &[u8]) -> Result<VerifyKey, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::Key(e.to_string());
    let (_, info) = SubjectPublicKeyInfo::from_der(spki).map_err(|e| bad(&e))?;
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
    match info.parsed().map_err(|e| bad(&e))? {
        PublicKey::RSA(rsa) => {
            let strip =
                |b: &[u8]| URL_SAFE_NO_PAD.encode(b.iter().copied().skip_while(|x| *x == 0).collect::<Vec<u8>>());
            let (n, e) = (strip(rsa.modulus), strip(rsa.exponent));
            Ok(VerifyKey {
                key: DecodingKey::from_rsa_components(&n, &e).map_err(|e| bad(&e))?,
                algorithm: Algorithm::RS256,
                jwk: json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e}),
                id,
            })
        }
        PublicKey::EC(point) => {
            // Uncompressed P-256: 4, x, y.
            let (x, y) = match point.data().split_first() {
                Some((4, xy)) if xy.len() == 64 => xy.split_at(32),
                _ => return Err(Error::Key("only the P-256 curve is supported".into())),
            };
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            Ok(VerifyKey {
                key: DecodingKey::from_ec_components(&x, &y).map_err(|e| bad(&e))?,
                algorithm: Algorithm::ES256,
                jwk: json!({"use": "sig", "kty": "EC", "kid": id, "alg": "ES256", "crv": "P-256", "x": x, "y": y}),
                id,
            })
        }
        _ => Err(Error::Key("only RSA and EC keys are supported".into())),
    }
}
