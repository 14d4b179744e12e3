//! JSON Web Tokens signed with HMAC.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod base64url;
pub mod hmac;

mod algorithm;
mod claims;
mod error;
mod excerpt;
mod explain;
mod header;
mod json;
mod jwk;
mod jws;
mod jwt;
mod key;
mod key_set;
mod numeric_date;
mod validation;

pub use crate::{
    algorithm::Algorithm,
    claims::{Audience, RegisteredClaim, RegisteredClaims},
    error::{DecodeError, EncodeError, Segment},
    excerpt::Excerpt,
    explain::{Explanation, Finding, Outcome, explain},
    json::JsonError,
    jwk::{Jwk, JwkError, JwkSet},
    jwt::{UnverifiedHeader, decode, decode_borrowed, encode, encode_with_typ, unverified_header},
    key::{Key, KeyError},
    key_set::{KeySet, KeySetError, Keys},
    numeric_date::{Clock, NumericDate},
    validation::{ClaimError, Validation, ValidationError},
};
#[cfg(feature = "std")]
pub use crate::{key_set::SharedKeySet, numeric_date::SystemClock};
