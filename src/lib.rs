//! JSON Web Tokens ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)) signed with HMAC: HS256,
//! HS384 and HS512.
//!
//! ```
//! use kippu::{Algorithm, Key, NumericDate, Validation, decode, encode};
//! use serde_json::{Value, json};
//!
//! let key = Key::generate(Algorithm::Hs256)?; // or Key::hs256(secret), from the secret manager
//! let exp = NumericDate::in_seconds(900);
//! let claims =
//!     json!({ "iss": "https://auth.example", "aud": "api", "sub": "user-12345", "exp": exp });
//! let token = encode(&claims, &key)?;
//!
//! let validation = Validation::new().issuer("https://auth.example").audience("api");
//! let claims: Value = decode(&token, &key, &validation)?;
//! assert_eq!(claims["sub"], "user-12345");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`encode`] signs any type that serialises to a JSON object. [`RegisteredClaims`] is such a
//!   type, for use alone or flattened into a struct of the application.
//! - [`decode`] verifies a token and returns its claims as any type. [`decode_borrowed`] does the
//!   same without allocating; [`verify`] also returns the header and the registered claims. No call
//!   can skip a check, and anything that is not explicitly allowed is refused. [`Validation`] lists
//!   the options, [`DecodeError`] the reasons for a refusal.
//! - A [`Key`] is one secret for one algorithm. A [`KeySet`] holds several keys, for rotation;
//!   [`SharedKeySet`] replaces a set in a running server. An application with other keys, for
//!   example one for each tenant, implements [`Keys`]. [`Jwk`] and [`JwkSet`] are the formats in
//!   which keys are stored.
//! - A [`KeySource`] reads keys from where they are stored: [`EnvKeys`], [`KeyFile`],
//!   [`KeyDirectory`], or a secret manager: see [`secret_managers`], and the crate `kippu-aws`.
//!   [`ReloadedKeys`] reads them again while the server runs; [`key_rotation`] has the steps.
//! - [`explain()`] runs every check on one token and reports each result, for a person who wants to
//!   know why a token is refused. The command `kippu` of the crate `kippu-cli` prints the results.
//!   [`unverified_header`] reads a header and trusts nothing in it.
//! - The module `session`, a feature, implements logins on top of tokens: refresh, reuse detection,
//!   logout.
//! - The crate `kippu-web` reads requests and writes responses as RFC 6750 defines them, with
//!   extractors for axum; `kippu-actix` does so for actix-web. The crates `kippu-sqlx` and
//!   `kippu-redis` store sessions in SQLite, PostgreSQL, MySQL and Redis.
//! - [`base64url`] and [`hmac`] are the codec and the MAC below the rest. They are public so that
//!   they can be tested separately.
//!
//! [`coming_from_jsonwebtoken`] lists the calls of the crate `jsonwebtoken` with their
//! replacements. [`coming_from_other_languages`] lists how the defaults of JWT libraries for
//! Python, Node.js and Go differ.
//!
//! # What is refused
//!
//! | a token with | is refused |
//! |---|---|
//! | more than 16 KiB, or the limit that the recipient sets | before anything is decoded |
//! | other than three segments; a byte outside `A–Z a–z 0–9 - _`; padding, white space, non-zero trailing bits | because each token has one spelling |
//! | an `alg` that is not exactly that of the key; `none` in any spelling | before any MAC is computed; there is no code for `none` |
//! | `crit` or `b64`, with any value | because no extension may be overlooked |
//! | a `kid` that no key has; no `kid`, if there are several keys | without trying other keys |
//! | a wrong, short, long or missing MAC | after a comparison over the full length, in constant time |
//! | a header or payload that is not a strict JSON object: invalid UTF-8, a duplicate name at any depth (`"exp"` and `"\u0065xp"`), an array, a number outside the range of a double, more than 127 levels | whatever type the caller decodes into |
//! | no `exp`, a past `exp`, a future `nbf` or `iat` | to the second; a fraction never counts in the token's favour |
//! | a registered claim of the wrong type, including null | unless the recipient asks for that |
//! | an `iss`, `aud`, `sub`, `jti` or `typ` that is missing or differs from the expected value | because an expected claim is required |
//! | an `aud`, if the recipient expects none | RFC 7519 §4.1.3 |
//!
//! The payload is not decoded before the MAC has been verified. `jwk`, `jku`, `x5u` and `x5c` are
//! never read. A secret shorter than the hash (RFC 7518 §3.2) and the text of a PEM, OpenSSH or JWK
//! file are refused as a secret. An option that contradicts another one is an error, and so is a
//! leeway of more than 10 minutes.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `std` | yes | the system's clock (`SystemClock`, `NumericDate::now`), [`SharedKeySet`], [`KeySource`] |
//! | `getrandom` | yes | [`Key::generate`] and [`Jwk::generate`], from the operating system's generator |
//! | `session` | no | the module `session`: logins with a refresh token, over a store in memory; any async runtime |
//! | `client` | no | the module `client`: the login on the side of a client, over any HTTP client; needs tokio |
//! | `conformance` | no | the tests that every session store has to pass; needs tokio |
//! | `testing` | no | for tests of what needs a login: access tokens without one, a clock that the test moves; a release build with it fails |
//! | `dangerously-testing-in-release` | no | `testing` in a release build too, for `cargo test --release` |
//!
//! Without `std` the crate needs only `alloc`; the caller sets the time with [`Validation::at`] or
//! [`Validation::clock`].
//!
//! # Secrets: what they are, and where they are stored
//!
//! A secret has at least as many random bytes as the hash: 32, 48 or 64. It is not a password, and
//! not the text of a key file. It comes, as bytes or as a [`Jwk`], from a secret manager or from a
//! file that only the server can read. kippu does not keep it: a [`Key`] holds HMAC's inner and
//! outer states, which are wiped on drop. No error and no `Debug` output shows a secret, a
//! signature or a whole token.
//!
//! A program that can verify with a symmetric key can also sign with it. Give the key only to
//! programs that may issue tokens.
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
// tests/frameworks compiles its example: it needs reqwest.
#[cfg_attr(not(doctest), doc = include_str!("client.md"))]
#[cfg(feature = "client")]
pub mod client;
#[doc = include_str!("key_rotation.md")]
#[cfg(feature = "std")]
pub mod key_rotation {}
// tests/stores compiles its examples: they need ureq.
#[cfg_attr(not(doctest), doc = include_str!("secret_managers.md"))]
#[cfg(feature = "std")]
pub mod secret_managers {}
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
