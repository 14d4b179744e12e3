//! One version of a secret: its id and content in, its keys out. The id is the `kid` of a key that
//! has none.

use std::{borrow::Cow, collections::HashMap, fmt};

use kippu::{Jwk, KeyFormat, KeySourceError};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::error::SecretsManagerError;

/// The staging labels of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Pending,
    Current,
    Previous,
}

impl Label {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "AWSPENDING",
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// A version of a secret.
#[derive(Clone)]
pub(crate) struct Version {
    /// The `VersionId`, which is public.
    pub(crate) id: String,
    pub(crate) content: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Version {
    /// Returns the name of this version of a secret, for an error.
    pub(crate) fn origin(&self, secret: &str, label: Label) -> String {
        format!("the secret {secret:?}, version {} ({}),", self.id, label.name())
    }

    /// Returns the keys in this version, each with an id.
    pub(crate) fn keys(
        &self,
        origin: &str,
        format: KeyFormat,
        field: Option<&str>,
    ) -> Result<Vec<Jwk>, KeySourceError> {
        let content = match field {
            None => Cow::Borrowed(&self.content),
            Some(field) => Cow::Owned(member(origin, &self.content, field)?),
        };
        let keys = format.read(origin, &**content)?.into_iter();
        let named = keys.map(|key| if key.kid().is_none() { key.with_kid(&self.id) } else { key });
        Ok(named.collect())
    }
}

/// Returns the value of a field: a string, or the JSON of an object. The errors of serde are not
/// shown, because they quote their input.
fn member(
    origin: &str,
    content: &[u8],
    field: &str,
) -> Result<Zeroizing<Vec<u8>>, SecretsManagerError> {
    let failed = |problem| SecretsManagerError::Field {
        origin: origin.to_owned(),
        field: field.to_owned(),
        problem,
    };
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(content)
        .map_err(|_| failed("is not a JSON object, and has no field"))?;
    let value = members.get(field).ok_or_else(|| failed("has no field"))?.get();
    match value.as_bytes().first() {
        Some(b'{') => Ok(Zeroizing::new(value.as_bytes().to_vec())),
        Some(b'"') => serde_json::from_str(value)
            .map(|text: String| Zeroizing::new(text.into_bytes()))
            .map_err(|_| failed("has no string in the field")),
        _ => Err(failed("has neither a string nor an object in the field")),
    }
}

#[cfg(test)]
mod tests {
    use kippu::Algorithm;

    use super::*;

    const BASE64: &str = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=";
    const JWK: &str =
        r#"{"kty":"oct","alg":"HS256","k":"3q2-796tvu_erb7v3q2-796tvu_erb7v3q2-796tvu8"}"#;

    fn keys(content: &str, format: KeyFormat, field: Option<&str>) -> Result<Vec<Jwk>, String> {
        let version = Version { id: "v1".into(), content: content.as_bytes().to_vec().into() };
        let origin = version.origin("api/keys", Label::Current);
        let keys = version.keys(&origin, format, field);
        keys.map_err(|error| {
            assert!(!format!("{error:?} {version:?}").contains("3q2"), "{error:?}");
            error.to_string()
        })
    }

    #[test]
    fn the_forms_in_which_people_store_secrets_make_the_same_key() {
        let hs256 = Algorithm::Hs256;
        let set = format!("{{\"keys\":[{JWK}]}}");
        let without_alg = JWK.replace(r#""alg":"HS256","#, "");
        let in_field = |value: &str| format!("{{\"user\":\"x\",\"SECRET_KEY\":{value},\"n\":[1]}}");
        let text = format!("{BASE64}\n");
        let expected = keys(JWK, KeyFormat::Jwk, None).unwrap()[0].expose_json();
        assert!(expected.contains(r#""kid":"v1""#));
        for (content, format, field) in [
            (set.clone(), KeyFormat::Jwk, None),
            (without_alg, KeyFormat::JwkFor(hs256), None),
            (text, KeyFormat::Base64(hs256), None),
            (in_field(&format!("\"{BASE64}\"")), KeyFormat::Base64(hs256), Some("SECRET_KEY")),
            (
                in_field(&format!("\"{}\"", BASE64.replace('/', "\\/"))),
                KeyFormat::Base64(hs256),
                Some("SECRET_KEY"),
            ),
            (in_field(JWK), KeyFormat::Jwk, Some("SECRET_KEY")),
            (in_field(&format!("{set:?}")), KeyFormat::Jwk, Some("SECRET_KEY")),
        ] {
            let found = keys(&content, format, field).unwrap();
            assert_eq!(found[0].expose_json(), expected, "{format:?}");
        }
        let raw = keys(BASE64, KeyFormat::Text(hs256), None).unwrap();
        assert_ne!(raw[0].expose_json(), expected);
    }

    #[test]
    fn a_kid_in_the_secret_is_kept() {
        let named = JWK.replacen('{', r#"{"kid":"2026-11","#, 1);
        assert_eq!(keys(&named, KeyFormat::Jwk, None).unwrap()[0].kid(), Some("2026-11"));
    }

    #[test]
    fn what_is_not_in_the_form_is_an_error_that_shows_nothing_of_it() {
        let base64 = KeyFormat::Base64(Algorithm::Hs256);
        for (content, format, field, words) in [
            (
                BASE64,
                base64,
                Some("SECRET_KEY"),
                "is not a JSON object, and has no field \"SECRET_KEY\"",
            ),
            ("\"3q2\"", base64, Some("SECRET_KEY"), "is not a JSON object"),
            (
                r#"{"OTHER":"3q2"}"#,
                base64,
                Some("SECRET_KEY"),
                "has no field \"SECRET_KEY\": store",
            ),
            (r#"{"SECRET_KEY":32}"#, base64, Some("SECRET_KEY"), "neither a string nor an object"),
            (
                r#"{"SECRET_KEY":"3q2"}"#,
                base64,
                None,
                "it is a JSON object: take the secret out of its member",
            ),
            (BASE64, KeyFormat::Jwk, None, "it looks like base64"),
        ] {
            let error = keys(content, format, field).unwrap_err();
            assert!(error.contains(words) && error.contains("\"api/keys\", version v1"), "{error}");
        }
    }
}
