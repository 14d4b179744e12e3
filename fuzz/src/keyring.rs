//! The keys of a trial, twice: as kippu has them, and as bare secrets.

use hmac::{Hmac, KeyInit, Mac};
use kippu::{Algorithm, Key, KeySet};
use sha2::{Sha256, Sha384, Sha512};

use crate::{dates, input::Options};

/// Keys to sign and to verify with.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// The first one is the single key, or the signing key of a set.
    pub secrets: Vec<Secret>,
    /// Whether there is a set, and whether it tries every key on a token without a `kid`.
    pub set: Option<TriesAll>,
}

/// Whether a set tries every key on a token without a `kid`.
pub type TriesAll = bool;

/// One secret.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The name of its only algorithm.
    pub algorithm: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its id.
    pub kid: Option<&'static str>,
    /// The time from which on it no longer verifies.
    pub until: Option<i128>,
}

/// The keys with which kippu verifies.
#[derive(Debug)]
pub enum KippuKeys {
    /// A single key.
    One(Key),
    /// A set.
    Set(KeySet),
}

impl Secret {
    fn new(algorithm: &'static str, fill: u8, length: u8, kid: Option<&'static str>) -> Self {
        let bytes = (0..length).map(|index| fill ^ index.wrapping_mul(29)).collect();
        Self { algorithm, bytes, kid, until: None }
    }

    /// Returns the tag of `message`, by the `hmac` crate.
    pub fn tag(&self, message: &[u8]) -> Vec<u8> {
        fn tag<M: Mac + KeyInit>(secret: &[u8], message: &[u8]) -> Vec<u8> {
            let mac = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes every length");
            mac.chain_update(message).finalize().into_bytes().to_vec()
        }
        match self.algorithm {
            "HS256" => tag::<Hmac<Sha256>>(&self.bytes, message),
            "HS384" => tag::<Hmac<Sha384>>(&self.bytes, message),
            "HS512" => tag::<Hmac<Sha512>>(&self.bytes, message),
            other => panic!("no algorithm {other}"),
        }
    }

    /// Returns the tag of `message`, by kippu.
    pub fn kippu_tag(&self, message: &[u8]) -> Vec<u8> {
        kippu::hmac::Hmac::new(self.kippu_algorithm(), &self.bytes).tag(message).as_ref().to_vec()
    }

    /// Returns its algorithm.
    pub fn kippu_algorithm(&self) -> Algorithm {
        self.algorithm.parse::<Algorithm>().expect("one of the three")
    }

    /// Returns the key that kippu makes of this secret.
    pub fn kippu_key(&self) -> Key {
        let key = Key::new(self.kippu_algorithm(), &self.bytes).expect("the secret is long enough");
        match self.kid {
            Some(kid) => key.with_kid(kid),
            None => key,
        }
    }

    /// Returns the default header of an issuer.
    pub fn header(&self) -> String {
        let kid = self.kid.map_or_else(String::new, |kid| format!(r#","kid":{kid:?}"#));
        format!(r#"{{"alg":"{}","typ":"JWT"{kid}}}"#, self.algorithm)
    }
}

impl Keyring {
    /// Returns a single key for `algorithm`, without an id.
    pub fn single(algorithm: &'static str) -> Self {
        // A byte more than the hash; a byte more than the block; many bytes.
        let length = match algorithm {
            "HS256" => 33,
            "HS384" => 129,
            _ => 200,
        };
        Self { secrets: vec![Secret::new(algorithm, 0x5a, length, None)], set: None }
    }

    /// Returns the keyring that the options choose, at the time `now`.
    pub fn chosen(options: &mut Options<'_>, now: i128) -> Self {
        let set = |tries_all| {
            let mut keys = vec![
                Secret::new("HS256", 1, 32, Some("a")),
                Secret::new("HS512", 2, 64, Some("b")),
                Secret::new("HS256", 3, 64, Some("c")),
                Secret::new("HS384", 4, 48, Some("")),
            ];
            keys[1].until = Some(now);
            keys[2].until = Some(dates::within(now + 1));
            Self { secrets: keys, set: Some(tries_all) }
        };
        let one = |algorithm, length, kid| Self {
            secrets: vec![Secret::new(algorithm, 5, length, Some(kid))],
            set: None,
        };
        match options.below(8) {
            1 => Self::single("HS384"),
            2 => Self::single("HS512"),
            3 => one("HS256", 32, "a"),
            4 => one("HS512", 128, "\u{e9}\"\\"),
            5 => set(false),
            6 => set(true),
            _ => Self::single("HS256"),
        }
    }

    /// Returns a secret to sign with: usually one of the ring, sometimes an unknown one.
    pub fn signer(&self, options: &mut Options<'_>) -> Secret {
        let stranger = Secret::new(self.secrets[0].algorithm, 0x77, 64, self.secrets[0].kid);
        let mut choices: Vec<_> = self.secrets.iter().cycle().take(7).cloned().collect();
        choices.push(stranger);
        options.pick(&choices)
    }

    /// Returns the same keys for kippu.
    pub fn kippu(&self) -> KippuKeys {
        let mut secrets = self.secrets.iter();
        let first = secrets.next().expect("there is a key").kippu_key();
        let Some(tries_all) = self.set else {
            return KippuKeys::One(first);
        };
        let set = secrets.try_fold(KeySet::new(first), |set, secret| match secret.until {
            Some(until) => set.retire(secret.kippu_key(), dates::to_kippu(until)),
            None => set.accept(secret.kippu_key()),
        });
        let set = set.expect("the kids differ");
        KippuKeys::Set(if tries_all { set.try_all_without_kid() } else { set })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;

    #[test]
    fn both_hmacs_agree_on_every_secret() {
        for choice in b'0'..b'8' {
            let line = [choice];
            let ring = Keyring::chosen(&mut Input::new(&line).options, 0);
            for secret in &ring.secrets {
                assert_eq!(secret.tag(b"message"), secret.kippu_tag(b"message"));
            }
            ring.kippu();
        }
    }

    #[test]
    fn a_header_is_the_one_that_kippu_writes() {
        for choice in b'0'..b'8' {
            let line = [choice];
            for secret in Keyring::chosen(&mut Input::new(&line).options, 0).secrets {
                let token = kippu::encode(&serde_json::json!({}), &secret.kippu_key()).unwrap();
                let header = token.split('.').next().unwrap();
                assert_eq!(header, kippu::base64url::encode(secret.header().as_bytes()));
            }
        }
    }
}
