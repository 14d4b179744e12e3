//! Tokens with claims of a known size: signed, forged, and with another crate's header.
//!
//! Shared by `tokens.rs` and the package `peers`.

use std::time::{SystemTime, UNIX_EPOCH};

use kippu::{Algorithm, Key, base64url, hmac::Hmac};
use serde::{Deserialize, Serialize};

/// As long as the longest hash, so that one secret serves all three algorithms.
pub(crate) const SECRET: &[u8; 64] =
    b"sixty-four bytes that no one should use outside of a benchmark!!";

/// The claims, owned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Vec<String>>,
}

/// The same claims, borrowed from the decoded payload.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BorrowedClaims<'c> {
    pub(crate) iss: &'c str,
    pub(crate) sub: &'c str,
    pub(crate) aud: &'c str,
    pub(crate) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<&'c str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Vec<&'c str>>,
}

/// The size of the claims for which the targets are set: a token of 304 bytes with HS256.
pub(crate) const USUAL: usize = 167;

impl Claims {
    /// Returns claims of exactly `bytes` bytes of JSON, which expire in a day: a few registered
    /// ones, then the usual six, then as many groups as fit.
    pub(crate) fn of_size(bytes: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let usual = bytes >= USUAL;
        let [iss, aud] =
            if usual { ["https://auth.example", "https://api.example"] } else { ["auth", "api"] };
        let mut claims = Self {
            iss: iss.into(),
            sub: "user-".into(),
            aud: aud.into(),
            exp: now + 86_400,
            iat: usual.then_some(now),
            jti: usual.then(|| "0192f0c1-7b1e-7cc0-a8f4-3f5d2b9e6a10".into()),
            groups: None,
        };
        if bytes > USUAL {
            let names = (1..).map(|number| format!("teams/engineering/{number}"));
            for count in 1.. {
                let longer = Some(names.clone().take(count).collect());
                let previous = std::mem::replace(&mut claims.groups, longer);
                if claims.json().len() > bytes {
                    claims.groups = previous;
                    break;
                }
            }
        }
        let room = bytes.checked_sub(claims.json().len()).expect("at least the registered claims");
        claims.sub.extend("1234567890".chars().cycle().take(room));
        assert_eq!(claims.json().len(), bytes);
        claims
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers")
    }

    /// Returns these claims, borrowed.
    pub(crate) fn borrowed(&self) -> BorrowedClaims<'_> {
        BorrowedClaims {
            iss: &self.iss,
            sub: &self.sub,
            aud: &self.aud,
            exp: self.exp,
            iat: self.iat,
            jti: self.jti.as_deref(),
            groups: self.groups.as_ref().map(|groups| groups.iter().map(String::as_str).collect()),
        }
    }
}

/// The tokens of one algorithm and one size of claims.
pub(crate) struct Tokens {
    pub(crate) algorithm: Algorithm,
    pub(crate) claims: Claims,
    /// With the header as kippu writes it.
    pub(crate) token: String,
    /// With the header as jsonwebtoken writes it: `typ` first.
    pub(crate) foreign: String,
    /// With the MAC of another token.
    pub(crate) forged: String,
}

impl Tokens {
    pub(crate) fn new(algorithm: Algorithm, bytes: usize) -> Self {
        let claims = Claims::of_size(bytes);
        let key = Key::new(algorithm, SECRET).expect("long enough");
        let token = kippu::encode(&claims, &key).expect("strings and numbers");
        let foreign = format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#);
        let foreign = format!(
            "{}.{}",
            base64url::encode(foreign.as_bytes()),
            base64url::encode(claims.json().as_bytes())
        );
        let tag = Hmac::new(algorithm, SECRET).tag(foreign.as_bytes());
        let foreign = format!("{foreign}.{}", base64url::encode(tag.as_ref()));
        let (signed, signature) = token.rsplit_once('.').expect("three segments");
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{signed}.{first}{}", &signature[1..]);
        Self { algorithm, claims, token, foreign, forged }
    }
}
