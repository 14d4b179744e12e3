//! `jsonwebtoken` with HMAC by the `hmac` crate. Its own backends would add RSA and elliptic
//! curves.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use signature::{Signer, Verifier};

use crate::keyring::Secret;

/// Installs the provider of `jsonwebtoken`, once for the process.
pub fn install() {
    static INSTALLED: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |&algorithm, key| Ok(Box::new(Backend::new(algorithm, key.as_bytes())?)),
        verifier_factory: |&algorithm, key| {
            Ok(Box::new(Backend::new(algorithm, key.try_get_as_bytes()?)?))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    INSTALLED.call_once(|| PROVIDER.install_default().expect("no other code installs a provider"));
}

/// Returns the algorithm of that name.
pub fn algorithm(name: &str) -> Algorithm {
    name.parse().expect("one of the three")
}

struct Backend {
    algorithm: Algorithm,
    secret: Secret,
}

impl Backend {
    fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self> {
        let name = match algorithm {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        };
        let secret = Secret { algorithm: name, bytes: secret.to_vec(), kid: None, until: None };
        Ok(Self { algorithm, secret })
    }
}

impl Signer<Vec<u8>> for Backend {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.secret.tag(message))
    }
}

impl Verifier<Vec<u8>> for Backend {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        // These values are not secret.
        if self.secret.tag(message) == *tag { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtSigner for Backend {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl JwtVerifier for Backend {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, EncodingKey};

    use super::*;
    use crate::keyring::Keyring;

    #[test]
    fn signs_and_detects_a_wrong_signature() {
        install();
        for name in ["HS256", "HS384", "HS512"] {
            let [good, bad] = [0, 1].map(|change| {
                let mut secret = Keyring::single(name).secrets.remove(0);
                secret.bytes[0] ^= change;
                secret.bytes
            });
            let header = jsonwebtoken::Header::new(algorithm(name));
            let claims = serde_json::json!({ "exp": jsonwebtoken::get_current_timestamp() });
            let token =
                jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&good).unwrap())
                    .unwrap();
            let validation = jsonwebtoken::Validation::new(algorithm(name));
            let decode = |secret: &[u8]| {
                let key = DecodingKey::from_secret(secret).unwrap();
                jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation)
            };
            assert_eq!(decode(&good).unwrap().claims, claims);
            assert_eq!(*decode(&bad).unwrap_err().kind(), ErrorKind::InvalidSignature);
        }
    }
}
