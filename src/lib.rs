//! JSON Web Tokens ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)) signed with HMAC: HS256, HS384 and HS512.
//!
//! ```
//! use kippu::{Algorithm, Key, NumericDate, Validation, decode, encode};
//! use serde_json::{Value, json};
//!
//! let key = Key::generate(Algorithm::Hs256)?; // or Key::hs256(secret), from the secret manager
//! let exp = NumericDate::in_seconds(900);
//! let claims = json!({ "iss": "https://auth.example", "aud": "api", "sub": "user-12345", "exp": exp });
//! let token = encode(&claims, &key)?;
//!
//! let validation = Validation::new().issuer("https://auth.example").audience("api");
//! let claims: Value = decode(&token, &key, &validation)?;
//! assert_eq!(claims["sub"], "user-12345");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`encode`] signs any type that serialises to a JSON object; [`RegisteredClaims`] is one, to use alone or
//!   flattened into one's own.
//! - [`decode`] verifies a token and gives its claims as any type. [`decode_borrowed`] does so without
//!   allocating, [`verify`] with the header and the registered claims. None can skip a check, and what was not said is refused: see [`Validation`] for what
//!   can be said, [`DecodeError`] for what can be wrong.
//! - [`Key`] is one secret for one algorithm, [`KeySet`] several, for rotation; [`SharedKeySet`] swaps a set
//!   in a running server. An application with other keys, for example one for each tenant, implements [`Keys`].
//!   [`Jwk`] and [`JwkSet`] are how they are stored.
//! - A [`KeySource`] is where they are kept: [`EnvKeys`], [`KeyFile`], [`KeyDirectory`], or a secret manager.
//!   [`ReloadedKeys`] reads them again while the server runs.
//! - [`explain()`] runs every check on one token and tells them all, for the person who wonders why it is
//!   refused; the command of the crate `kippu-cli` prints it. [`unverified_header`] reads a header and trusts nothing in it.
//! - The module `session`, a feature, is the login that is built on tokens: refresh, reuse detection, logout.
//! - The crate `kippu-web` reads requests and answers as RFC 6750 has it, with extractors for axum; its page `servers` is
//!   for other servers. The crates `kippu-sqlx` and `kippu-redis` keep sessions in SQLite, PostgreSQL and Redis.
//! - [`base64url`] and [`hmac`] are the parts that the rest is built on, public so that they can be tested on their own.
//!
//! Those who come from the crate `jsonwebtoken` find its calls, and what takes their place, in
//! [`coming_from_jsonwebtoken`]; those who come from Python, Node.js or Go read [`coming_from_other_languages`].
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `std` | yes | the system's clock (`SystemClock`, `NumericDate::now`), [`SharedKeySet`], [`KeySource`] |
//! | `getrandom` | yes | [`Key::generate`] and [`Jwk::generate`], from the operating system's generator |
//! | `session` | no | the module `session`: logins with a refresh token, over a store in memory; any async runtime |
//! | `conformance` | no | the tests that every session store has to pass; needs tokio |
//!
//! Without `std` the crate needs `alloc` and nothing else; the time is given by [`Validation::at`] or
//! [`Validation::clock`].
//!
//! # What a secret is, and where it lives
//!
//! As many random bytes as the hash has, or more: 32, 48 or 64. Not a password, not the text of a key file. It
//! comes from a secret manager or a file that nobody else can read, as bytes or as a [`Jwk`], and is not kept: a
//! [`Key`] holds HMAC's inner and outer states, which are wiped on drop. No error, and no `Debug`, shows a secret, a
//! signature or a whole token.
//! Whoever can verify with a symmetric key can sign with it too: hand it to nobody who may not issue tokens.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod base64url;
pub mod hmac;

mod algorithm;
mod claims;
mod debug;
mod error;
mod excerpt;
mod explain;
mod header;
mod hex;
mod json;
mod jwk;
mod jws;
mod jwt;
mod key;
mod key_set;
#[cfg(feature = "std")]
mod key_source;
mod numeric_date;
#[cfg(feature = "session")]
pub mod session;
#[doc = include_str!("coming_from_jsonwebtoken.md")]
#[cfg(feature = "std")]
pub mod coming_from_jsonwebtoken {}
#[doc = include_str!("coming_from_other_languages.md")]
#[cfg(feature = "std")]
pub mod coming_from_other_languages {}
mod validation;

pub use crate::{
    algorithm::Algorithm,
    claims::{Audience, RegisteredClaim, RegisteredClaims},
    error::{DecodeError, EncodeError, Segment},
    excerpt::{Excerpt, UnknownName},
    explain::{Explanation, Finding, Outcome, explain},
    json::JsonError,
    jwk::{Jwk, JwkError, JwkSet},
    jwt::{
        UnverifiedHeader, Verified, VerifiedHeader, decode, decode_borrowed, encode,
        encode_with_typ, unverified_header, verify,
    },
    key::{Key, KeyError},
    key_set::{Candidates, KeySet, KeySetError, Keys},
    numeric_date::{Clock, NumericDate},
    validation::{ClaimError, InvalidOption, Validation},
};
#[cfg(feature = "std")]
pub use crate::{
    key_set::SharedKeySet,
    key_source::{
        EnvKeys, KeyDirectory, KeyFile, KeyFormat, KeySource, KeySourceError, ReloadedKeys,
    },
    numeric_date::SystemClock,
};
