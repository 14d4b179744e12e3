//! Signs claims: a JSON text and options in, a token of that text out. The text is signed as it is
//! spelled, with the claims that an option adds.

use std::fmt::Write;

use kippu::{EncodeError, NumericDate, encode_with_typ};
use serde_json::value::RawValue;

use crate::{
    advice,
    arguments::Sign,
    failure::Failure,
    json::{self, Members},
    keys, streams,
};

pub(crate) fn sign(options: &Sign) -> Result<(), Failure> {
    let keys = keys::signing(&options.key, options.kid.as_deref())?;
    let key =
        keys.signing_key().map_err(|error| Failure::broken(advice::on_keys(&error.into())))?;
    let text = streams::claims(options.file.as_deref())?;
    let claims: &RawValue = serde_json::from_str(&text)
        .map_err(|error| Failure::Broken(format!("the claims are not JSON: {error}")))?;
    let added = match options.expires_in {
        None => Vec::new(),
        Some(lifetime) => {
            let now = NumericDate::now();
            vec![("iat", now.seconds()), ("exp", now.saturating_add(lifetime).seconds())]
        }
    };
    let members = Members::of(claims.get());
    if let (Some(members), true) = (&members, !added.is_empty()) {
        if let Some((name, _)) = added.iter().find(|(name, _)| members.has(name)) {
            return Err(Failure::Broken(format!(
                "the claims have {name} already: take it out of them, or leave --expires-in out"
            )));
        }
    }
    if added.is_empty() && members.is_some_and(|members| !members.has("exp")) {
        eprintln!(
            "kippu: the claims have no exp, so that most recipients refuse the token: see --expires-in"
        );
    }
    let claims = RawValue::from_string(with_members(claims.get(), &added))
        .map_err(|error| Failure::Broken(format!("the claims are not JSON: {error}")))?;
    let token = encode_with_typ(&claims, key, &options.typ)
        .map_err(|error: EncodeError| Failure::broken(advice::on_claims(&error)))?;
    streams::print(&if options.json {
        format!("{}\n", json::line(&format!("{{\"token\":\"{token}\"}}")))
    } else {
        format!("{token}\n")
    })
}

/// Returns the object with further members at its end. A value of another type is returned
/// unchanged, and `encode` refuses it.
fn with_members(object: &str, added: &[(&str, i64)]) -> String {
    let Some(members) = object.strip_suffix('}') else { return object.into() };
    let (members, space) = members.split_at(members.trim_end().len());
    let mut object = members.to_owned();
    for (name, value) in added {
        let comma = if object.ends_with('{') { "" } else { "," };
        let _ = write!(object, "{comma}\"{name}\":{value}");
    }
    object + space + "}"
}

#[cfg(test)]
mod tests {
    use super::with_members;

    #[test]
    fn members_are_added_at_the_end_and_the_rest_stays() {
        for (object, with) in [
            ("{}", r#"{"iat":1,"exp":-2}"#),
            ("{ \n}", "{\"iat\":1,\"exp\":-2 \n}"),
            (r#"{"a":{}}"#, r#"{"a":{},"iat":1,"exp":-2}"#),
            ("{\"a\":\"{\" ,\n \"b\":1e5\n}", "{\"a\":\"{\" ,\n \"b\":1e5,\"iat\":1,\"exp\":-2\n}"),
        ] {
            assert_eq!(with_members(object, &[("iat", 1), ("exp", -2)]), with);
            assert_eq!(with_members(object, &[]), object);
        }
        assert_eq!(with_members("[1]", &[("iat", 1)]), "[1]");
    }
}
