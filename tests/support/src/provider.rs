//! HMAC for jsonwebtoken, with the `hmac` crate. Its own backends would add RSA and elliptic
//! curves.

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
};
use sha2::{Sha256, Sha384, Sha512};
use signature::{Error, Signer, Verifier};

/// Makes jsonwebtoken sign and verify HS256, HS384 and HS512 in this process.
pub fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key: &EncodingKey| {
            Ok(match algorithm {
                Algorithm::HS256 => {
                    Box::new(Keyed(mac::<Hmac<Sha256>>(key.as_bytes()), *algorithm))
                }
                Algorithm::HS384 => {
                    Box::new(Keyed(mac::<Hmac<Sha384>>(key.as_bytes()), *algorithm))
                }
                Algorithm::HS512 => {
                    Box::new(Keyed(mac::<Hmac<Sha512>>(key.as_bytes()), *algorithm))
                }
                _ => return Err(ErrorKind::InvalidAlgorithm.into()),
            })
        },
        verifier_factory: |algorithm, key: &DecodingKey| {
            let secret = key.try_get_as_bytes()?;
            Ok(match algorithm {
                Algorithm::HS256 => Box::new(Keyed(mac::<Hmac<Sha256>>(secret), *algorithm)),
                Algorithm::HS384 => Box::new(Keyed(mac::<Hmac<Sha384>>(secret), *algorithm)),
                Algorithm::HS512 => Box::new(Keyed(mac::<Hmac<Sha512>>(secret), *algorithm)),
                _ => return Err(ErrorKind::InvalidAlgorithm.into()),
            })
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    // Another test of the process may have been first.
    let _ = PROVIDER.install_default();
}

fn mac<M: KeyInit>(secret: &[u8]) -> M {
    M::new_from_slice(secret).unwrap()
}

struct Keyed<M>(M, Algorithm);

impl<M: Mac + Clone> Signer<Vec<u8>> for Keyed<M> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl<M: Mac + Clone> Verifier<Vec<u8>> for Keyed<M> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| Error::new())
    }
}

impl<M: Mac + Clone> JwtSigner for Keyed<M> {
    fn algorithm(&self) -> Algorithm {
        self.1
    }
}

impl<M: Mac + Clone> JwtVerifier for Keyed<M> {
    fn algorithm(&self) -> Algorithm {
        self.1
    }
}
