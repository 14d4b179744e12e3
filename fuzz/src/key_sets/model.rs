//! JWKs and sets of keys, by RFC 7517 and the documented guarantees of `Jwk`, `JwkSet` and
//! `KeySet`: every defect of a JWK, and the key to which a token belongs.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    json::{TextDefect, Tree, member},
    keyring::Secret,
};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelKey {
    /// `HS256`, …
    pub algorithm: &'static str,
    /// Its id.
    pub kid: Option<String>,
    /// Its bytes.
    pub secret: Vec<u8>,
    /// Whether it may sign.
    pub signs: bool,
}

/// A defect of a JWK or of a set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after kippu's errors, where each is explained")]
pub enum Defect {
    Json(TextDefect),
    Missing(&'static str),
    WrongType(&'static str),
    KeyType,
    Algorithm,
    Use,
    KeyOperations,
    Secret,
    DuplicateKid,
    NoKeys,
    UnknownSigningKey,
    NoSigningKey,
    SeveralSigningKeys,
    MissingKid,
    TooShort,
    KeyFile,
}

/// The algorithms, and the minimum length of a secret (RFC 7518 §3.2).
const ALGORITHMS: [(&str, usize); 3] = [("HS256", 32), ("HS384", 48), ("HS512", 64)];

/// The operations of RFC 7517 §4.3 that are not for signatures. Unlisted ones are ignored beside
/// `sign` or `verify`.
const UNRELATED: [&str; 6] =
    ["encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"];

/// Returns the key of a JWK. If `expected` is an algorithm, the key must be for it.
///
/// # Errors
/// Every defect of the JWK.
pub fn jwk(
    members: &[(String, Tree)],
    expected: Option<&str>,
) -> Result<ModelKey, BTreeSet<Defect>> {
    let mut defects = BTreeSet::new();
    let mut text = |name: &'static str| match member(members, name) {
        None => None,
        Some(Tree::Text(text)) => Some(text.clone()),
        Some(_) => {
            defects.insert(Defect::WrongType(name));
            None
        }
    };
    let [kty, alg, usage, kid, k] = ["kty", "alg", "use", "kid", "k"].map(&mut text);
    let is_absent = |name: &str| member(members, name).is_none();

    for name in ["kty", "alg", "k"] {
        if is_absent(name) && (name != "alg" || expected.is_none()) {
            defects.insert(Defect::Missing(name));
        }
    }
    if kty.is_some_and(|kty| kty != "oct") {
        defects.insert(Defect::KeyType);
    }
    if usage.is_some_and(|usage| usage != "sig") {
        defects.insert(Defect::Use);
    }
    let alg = alg.as_deref().or(expected);
    let algorithm = ALGORITHMS.into_iter().find(|(name, _)| Some(*name) == alg);
    if alg.is_some() && (algorithm.is_none() || expected.is_some_and(|name| Some(name) != alg)) {
        defects.insert(Defect::Algorithm);
    }
    let secret = k.map(|k| URL_SAFE_NO_PAD.decode(k));
    if matches!(secret, Some(Err(_))) {
        defects.insert(Defect::Secret);
    }
    let secret = secret.and_then(Result::ok).unwrap_or_default();
    if let Some((_, needed)) = algorithm
        && secret.len() < needed
    {
        defects.insert(Defect::TooShort);
    }
    if is_key_file(&secret) {
        defects.insert(Defect::KeyFile);
    }

    let mut signs = true;
    match member(members, "key_ops") {
        None => {}
        Some(Tree::Array(operations)) => {
            let known = [Tree::Text("sign".into()), Tree::Text("verify".into())];
            let is_unrelated = |operation: &Tree| matches!(operation, Tree::Text(text) if UNRELATED.contains(&text.as_str()));
            let twice =
                (1..operations.len()).any(|place| operations[..place].contains(&operations[place]));
            if operations.iter().any(|operation| !matches!(operation, Tree::Text(_))) {
                defects.insert(Defect::WrongType("key_ops"));
            } else if twice
                || !operations.iter().any(|operation| known.contains(operation))
                || operations.iter().any(is_unrelated)
            {
                defects.insert(Defect::KeyOperations);
            }
            signs = operations.contains(&known[0]);
        }
        Some(_) => {
            defects.insert(Defect::WrongType("key_ops"));
        }
    }
    match algorithm {
        Some((algorithm, _)) if defects.is_empty() => {
            Ok(ModelKey { algorithm, kid, secret, signs })
        }
        _ => Err(defects),
    }
}

/// Returns whether a secret is the text of a key file.
pub fn is_key_file(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret);
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let begins = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "---- BEGIN SSH2"];
    text.contains("-----BEGIN ")
        || begins.iter().any(|begin| start.starts_with(begin))
        || (start.starts_with(['{', '['])
            && (text.contains("\"kty\"") || text.contains("\"keys\"")))
}

/// Returns the keys of a JWK Set.
///
/// # Errors
/// Every defect of the set, or of the first key that is rejected.
pub fn jwk_set(members: &[(String, Tree)]) -> Result<Vec<ModelKey>, BTreeSet<Defect>> {
    let one = |defect| BTreeSet::from([defect]);
    let elements = match member(members, "keys") {
        None => return Err(one(Defect::Missing("keys"))),
        Some(Tree::Array(elements)) => elements,
        Some(_) => return Err(one(Defect::WrongType("keys"))),
    };
    let mut keys: Vec<ModelKey> = Vec::new();
    for element in elements {
        let Tree::Object(members) = element else {
            return Err(one(Defect::Json(TextDefect::NotAnObject)));
        };
        let key = jwk(members, None)?;
        if key.kid.is_some() && keys.iter().any(|known| known.kid == key.kid) {
            return Err(one(Defect::DuplicateKid));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Keys to verify with. The first one signs.
#[derive(Clone, Debug, Default)]
pub struct ModelSet {
    /// The keys, and until when each verifies.
    pub keys: Vec<(ModelKey, Option<i64>)>,
    /// Whether a token without a `kid` is tried with each.
    pub tries_all: bool,
}

/// The verdict on a token with valid claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after kippu's errors, where each is explained")]
pub enum Verdict {
    Accepted,
    UnknownKid,
    MissingKid,
    Algorithm,
    Signature,
    KeyRetired(i64),
}

impl ModelSet {
    /// Returns the set that a JWK Set describes.
    ///
    /// # Errors
    /// Every defect.
    pub fn of(keys: &[ModelKey]) -> Result<Self, BTreeSet<Defect>> {
        let mut defects = BTreeSet::new();
        let (signing, others): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(|key| key.signs);
        match signing.len() {
            0 if keys.is_empty() => defects.insert(Defect::NoKeys),
            0 => defects.insert(Defect::NoSigningKey),
            1 => false,
            _ => defects.insert(Defect::SeveralSigningKeys),
        };
        if keys.iter().any(|key| key.kid.is_none()) {
            defects.insert(Defect::MissingKid);
        }
        let keys = signing.into_iter().chain(others).map(|key| (key, None)).collect();
        if defects.is_empty() { Ok(Self { keys, tries_all: false }) } else { Err(defects) }
    }

    /// Returns a set of one key, which need not have an id.
    pub fn alone(key: ModelKey) -> Self {
        Self { keys: vec![(key, None)], ..Self::default() }
    }

    /// Returns this set with one more key.
    ///
    /// # Errors
    /// Why the key cannot be added.
    pub fn with(mut self, key: ModelKey, until: Option<i64>) -> Result<Self, Defect> {
        if key.kid.is_none() || self.is_nameless() {
            return Err(Defect::MissingKid);
        }
        if self.keys.iter().any(|(known, _)| known.kid == key.kid) {
            return Err(Defect::DuplicateKid);
        }
        self.keys.push((key, until));
        Ok(self)
    }

    /// Returns this set with another signing key.
    ///
    /// # Errors
    /// Why the key cannot be added.
    pub fn rotated(self, key: ModelKey, until: i64) -> Result<Self, Defect> {
        let mut set = self.with(key, None)?;
        let newest = set.keys.len() - 1;
        set.keys[0].1 = Some(until);
        set.keys.swap(0, newest);
        Ok(set)
    }

    fn is_nameless(&self) -> bool {
        self.keys.first().is_some_and(|(key, _)| key.kid.is_none())
    }

    /// Returns the verdict at `now` on a token that was signed with the key `by`, with an id or
    /// none.
    pub fn judge(&self, message: &str, kid: Option<&str>, by: &ModelKey, now: i64) -> Verdict {
        let named: Vec<_> = match kid {
            _ if self.is_nameless() => self.keys.iter().collect(),
            None if !self.tries_all => return Verdict::MissingKid,
            None => self.keys.iter().collect(),
            Some(kid) => {
                self.keys.iter().filter(|(key, _)| key.kid.as_deref() == Some(kid)).collect()
            }
        };
        if named.is_empty() {
            return Verdict::UnknownKid;
        }
        let fitting: Vec<_> =
            named.into_iter().filter(|(key, _)| key.algorithm == by.algorithm).collect();
        if fitting.is_empty() {
            return Verdict::Algorithm;
        }
        let tag = by.tag(message);
        match fitting.iter().find(|(key, _)| key.tag(message) == tag) {
            None => Verdict::Signature,
            Some((_, Some(until))) if now >= *until => Verdict::KeyRetired(*until),
            Some(_) => Verdict::Accepted,
        }
    }
}

impl ModelKey {
    /// Returns the tag of `message`, by the `hmac` crate.
    pub fn tag(&self, message: &str) -> Vec<u8> {
        let bytes = self.secret.clone();
        let secret = Secret { algorithm: self.algorithm, bytes, kid: None, until: None };
        secret.tag(message.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read_object;

    fn read(text: &str) -> Result<ModelKey, Vec<Defect>> {
        let members = read_object(text.as_bytes(), usize::MAX).members.expect("an object");
        jwk(&members, None).map_err(|defects| defects.into_iter().collect())
    }

    #[test]
    fn a_jwk_is_that_of_rfc_7515() {
        let key = read(
            r#"{"kty":"oct","alg":"HS256","kid":"x","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
        );
        let key = key.expect("a key");
        assert_eq!((key.algorithm, key.kid.as_deref(), key.signs), ("HS256", Some("x"), true));
        assert_eq!((key.secret.len(), key.secret[0]), (64, 3));
    }

    #[test]
    fn reports_every_defect() {
        use Defect::{
            Algorithm, KeyOperations, KeyType, Missing, Secret, TooShort, Use, WrongType,
        };

        let k = "A".repeat(43);
        for (text, defects) in [
            ("{}".to_owned(), vec![Missing("alg"), Missing("k"), Missing("kty")]),
            (format!(r#"{{"kty":"RSA","alg":"HS256","k":"{k}"}}"#), vec![KeyType]),
            (format!(r#"{{"kty":"oct","alg":"none","k":"{k}"}}"#), vec![Algorithm]),
            (format!(r#"{{"kty":"oct","alg":"HS512","k":"{k}"}}"#), vec![TooShort]),
            (format!(r#"{{"kty":"oct","alg":"HS256","k":"{k}="}}"#), vec![Secret, TooShort]),
            (format!(r#"{{"kty":"oct","alg":"HS256","use":"enc","k":"{k}"}}"#), vec![Use]),
            (format!(r#"{{"kty":"oct","alg":"HS256","kid":1,"k":"{k}"}}"#), vec![WrongType("kid")]),
            (
                format!(r#"{{"kty":"oct","alg":"HS256","key_ops":[],"k":"{k}"}}"#),
                vec![KeyOperations],
            ),
            (
                format!(r#"{{"kty":"oct","alg":"HS256","key_ops":["sign","sign"],"k":"{k}"}}"#),
                vec![KeyOperations],
            ),
            (
                format!(r#"{{"kty":"oct","alg":"HS256","key_ops":"sign","k":"{k}"}}"#),
                vec![WrongType("key_ops")],
            ),
        ] {
            assert_eq!(read(&text), Err(defects), "{text}");
        }
    }

    #[test]
    fn a_token_belongs_to_the_key_that_it_names() {
        let key = |kid: &str, byte: u8| ModelKey {
            algorithm: "HS256",
            kid: Some(kid.into()),
            secret: vec![byte; 32],
            signs: true,
        };
        let set = ModelSet::default().with(key("a", 1), None).expect("fits");
        let set = set.rotated(key("b", 2), 100).expect("fits");
        assert_eq!(set.clone().with(key("a", 3), None).unwrap_err(), Defect::DuplicateKid);
        let judge = |kid, by: &str, byte, now| set.judge("m", kid, &key(by, byte), now);
        assert_eq!(judge(Some("b"), "b", 2, 1000), Verdict::Accepted);
        assert_eq!(judge(Some("a"), "a", 1, 99), Verdict::Accepted);
        assert_eq!(judge(Some("a"), "a", 1, 100), Verdict::KeyRetired(100));
        assert_eq!(judge(Some("a"), "a", 2, 0), Verdict::Signature);
        assert_eq!(judge(Some("c"), "a", 1, 0), Verdict::UnknownKid);
        assert_eq!(judge(None, "a", 1, 0), Verdict::MissingKid);
    }
}
