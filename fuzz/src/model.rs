//! The slow verifier: takes a token, keys and expectations, and returns every defect.
//!
//! It reads as far as a verifier may: nothing after the header if the header or the signature is
//! wrong, and no claim if the payload is not a strict JSON object. Within these limits the order of
//! the checks is undefined.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kippu::{ClaimError, DecodeError, JsonError, NumericDate, Segment};

use crate::{
    dates::{self, END},
    decimal::Decimal,
    expectations::Expectations,
    json::{Reading, TextDefect, Tree, member, read_object},
    keyring::{Keyring, Secret},
};

/// A defect of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after kippu's errors, where each is explained")]
pub enum Defect {
    TooLong,
    Segments,
    Base64url(&'static str),
    Header(TextDefect),
    Algorithm,
    Critical(&'static str),
    Type,
    TypeNotText,
    KidNotText,
    UnknownKid,
    MissingKid,
    Signature,
    KeyRetired { until: i128 },
    Payload(TextDefect),
    Missing(String),
    WrongType(&'static str),
    Expired { exp: i128 },
    NotYetValid { nbf: i128 },
    IssuedInFuture { iat: i128 },
    TooOld { iat: i128 },
    Issuer,
    Audience,
    AudienceUnexpected,
    Subject,
    JwtId,
}

/// The claims of a valid token.
pub type Claims = Vec<(String, Tree)>;

/// The maximum number of members of a header, at all depths together.
const MAX_HEADER_MEMBERS: usize = 64;

/// Verifies `token`.
///
/// # Errors
/// Every defect, as far as a verifier may read.
pub fn verify(
    token: &str,
    ring: &Keyring,
    expected: &Expectations,
) -> Result<Claims, BTreeSet<Defect>> {
    let one = |defect| BTreeSet::from([defect]);
    if token.len() > expected.max_token_len {
        return Err(one(Defect::TooLong));
    }
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        return Err(one(Defect::Segments));
    };

    let header_text =
        URL_SAFE_NO_PAD.decode(header).map_err(|_| one(Defect::Base64url("header")))?;
    let header_members = read(&header_text, MAX_HEADER_MEMBERS, Defect::Header)?;
    let (secret, mut defects) =
        judge_header(&header_members, &format!("{header}.{payload}"), signature, ring, expected);
    if !defects.is_empty() {
        return Err(defects);
    }

    match secret.and_then(|secret| secret.until) {
        Some(until) if expected.now >= until => {
            defects.insert(Defect::KeyRetired { until });
        }
        _ => {}
    }
    let Ok(payload_text) = URL_SAFE_NO_PAD.decode(payload) else {
        defects.insert(Defect::Base64url("payload"));
        return Err(defects);
    };
    match read(&payload_text, usize::MAX, Defect::Payload) {
        Err(more) => defects.extend(more),
        Ok(claims) => {
            defects.extend(judge_claims(&claims, expected));
            if defects.is_empty() {
                assert_not_generous(&claims, expected);
                return Ok(claims);
            }
        }
    }
    Err(defects)
}

fn read(
    text: &[u8],
    max_members: usize,
    defect: fn(TextDefect) -> Defect,
) -> Result<Claims, BTreeSet<Defect>> {
    let Reading { members, defects } = read_object(text, max_members);
    members.ok_or_else(|| defects.into_iter().map(defect).collect())
}

/// Returns the secret that made the signature, if one did, and every defect of the header and the
/// signature.
fn judge_header<'r>(
    header: &[(String, Tree)],
    signing_input: &str,
    signature: &str,
    ring: &'r Keyring,
    expected: &Expectations,
) -> (Option<&'r Secret>, BTreeSet<Defect>) {
    let mut defects = BTreeSet::new();
    for extension in ["crit", "b64"] {
        if member(header, extension).is_some() {
            defects.insert(Defect::Critical(extension));
        }
    }
    let typ_fits = match member(header, "typ") {
        None => expected.typs.is_empty(),
        Some(Tree::Text(typ)) => {
            let full = |name: &str| {
                let lower = name.to_ascii_lowercase();
                if lower.contains('/') { lower } else { format!("application/{lower}") }
            };
            expected.typs.is_empty() || expected.typs.iter().any(|one| full(one) == full(typ))
        }
        Some(_) => {
            defects.insert(Defect::TypeNotText);
            true
        }
    };
    if !typ_fits {
        defects.insert(Defect::Type);
    }

    let kid = match member(header, "kid") {
        None => None,
        Some(Tree::Text(kid)) => Some(kid.as_str()),
        Some(_) => {
            defects.insert(Defect::KidNotText);
            return (None, defects);
        }
    };
    let candidates: Vec<_> = match (ring.set, kid) {
        (Some(true), None) => ring.secrets.iter().collect(),
        (Some(false), None) => {
            defects.insert(Defect::MissingKid);
            return (None, defects);
        }
        (Some(_), Some(kid)) => ring.secrets.iter().filter(|one| one.kid == Some(kid)).collect(),
        // A single key does not require a kid, and a key without an id accepts any.
        (None, kid) => {
            let named = |one: &&Secret| one.kid.is_none() || kid.is_none() || one.kid == kid;
            ring.secrets.iter().filter(named).collect()
        }
    };
    if candidates.is_empty() {
        defects.insert(Defect::UnknownKid);
        return (None, defects);
    }
    let alg = member(header, "alg");
    let of_algorithm =
        |one: &&&Secret| matches!(alg, Some(Tree::Text(name)) if name == one.algorithm);
    let candidates: Vec<_> = candidates.iter().filter(of_algorithm).copied().collect();
    if candidates.is_empty() {
        defects.insert(Defect::Algorithm);
        return (None, defects);
    }
    let Ok(tag) = URL_SAFE_NO_PAD.decode(signature) else {
        // Both apply to a text that is not base64url.
        defects.extend([Defect::Base64url("signature"), Defect::Signature]);
        return (None, defects);
    };
    let made_it = |one: &&&Secret| one.tag(signing_input.as_bytes()) == tag;
    let secret = candidates.iter().find(made_it).copied();
    if secret.is_none() {
        defects.insert(Defect::Signature);
    }
    (secret, defects)
}

/// Returns every defect of the claims.
fn judge_claims(claims: &[(String, Tree)], expected: &Expectations) -> BTreeSet<Defect> {
    let mut defects = BTreeSet::new();
    let now = expected.now;
    let with_leeway = |date| dates::add(date, expected.leeway);

    let mut times = ["exp", "nbf", "iat"].map(|name| match member(claims, name) {
        None => None,
        Some(Tree::Number(spelled)) => Some(dates::between(spelled)),
        Some(_) => {
            defects.insert(Defect::WrongType(name));
            None
        }
    });
    let absent = |name: &str| member(claims, name).is_none();
    match times[0].take() {
        Some((exp, _)) if now >= with_leeway(exp) => {
            defects.insert(Defect::Expired { exp });
        }
        None if absent("exp") && !expected.expiry_optional => {
            defects.insert(Defect::Missing("exp".into()));
        }
        _ => {}
    }
    if let Some((_, nbf)) = times[1].take().filter(|(_, nbf)| *nbf > with_leeway(now)) {
        defects.insert(Defect::NotYetValid { nbf });
    }
    match times[2].take() {
        Some((earliest, latest)) => {
            if latest > with_leeway(now) {
                defects.insert(Defect::IssuedInFuture { iat: latest });
            }
            let too_old = |max_age| now > with_leeway(dates::add(earliest, max_age));
            if expected.max_age.is_some_and(too_old) {
                defects.insert(Defect::TooOld { iat: earliest });
            }
        }
        None if absent("iat") && expected.max_age.is_some() => {
            defects.insert(Defect::Missing("iat".into()));
        }
        None => {}
    }

    for (name, allowed, defect) in [
        ("iss", &expected.issuers, Defect::Issuer),
        ("sub", &expected.subjects, Defect::Subject),
        ("jti", &expected.jwt_ids, Defect::JwtId),
    ] {
        match member(claims, name) {
            Some(Tree::Text(value)) => {
                if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                    defects.insert(defect);
                }
            }
            Some(_) => {
                defects.insert(Defect::WrongType(name));
            }
            None => {
                if !allowed.is_empty() {
                    defects.insert(Defect::Missing(name.into()));
                }
            }
        }
    }
    defects.extend(judge_audience(member(claims, "aud"), expected));

    for &name in &expected.required {
        if absent(name) {
            defects.insert(Defect::Missing(name.into()));
        }
    }
    defects
}

fn judge_audience(aud: Option<&Tree>, expected: &Expectations) -> Option<Defect> {
    let as_text = |element: &Tree| match element {
        Tree::Text(name) => Some(name.clone()),
        _ => None,
    };
    let names = match aud {
        None if expected.audiences.is_empty() => return None,
        None => return Some(Defect::Missing("aud".into())),
        Some(Tree::Text(name)) => Some(vec![name.clone()]),
        Some(Tree::Array(elements)) => elements.iter().map(as_text).collect(),
        Some(_) => None,
    };
    let Some(names) = names else {
        return Some(Defect::WrongType("aud"));
    };
    if expected.audiences.is_empty() {
        (!expected.any_audience).then_some(Defect::AudienceUnexpected)
    } else {
        let ours = |name: &String| expected.audiences.contains(&name.as_str());
        (!names.iter().any(ours)).then_some(Defect::Audience)
    }
}

/// Checks the times of claims again that are about to be accepted, without any rounding.
///
/// At the ends of its range a clock cannot tell a time outside from the end itself, and an age of
/// centuries reaches them.
fn assert_not_generous(claims: &[(String, Tree)], expected: &Expectations) {
    let furthest = 600;
    if expected.now.abs() > END - furthest {
        return;
    }
    let nanos = |duration: std::time::Duration| i128::try_from(duration.as_nanos()).expect("fits");
    let (now, leeway) = (expected.now * 1_000_000_000, nanos(expected.leeway));
    let exact = |name| match member(claims, name) {
        Some(Tree::Number(spelled)) => Some(Decimal::from_json(spelled).bounds(9)),
        _ => None,
    };
    // An integer is before a number if it is before the integer above that number, and so on.
    if let Some((_, exp)) = exact("exp") {
        assert!(now - leeway < exp, "expired: {claims:?}");
    }
    if let Some((_, nbf)) = exact("nbf") {
        assert!(nbf <= now + leeway, "not yet valid: {claims:?}");
    }
    if let Some((floor, iat)) = exact("iat") {
        assert!(iat <= now + leeway, "issued in the future: {claims:?}");
        let century = std::time::Duration::from_secs(3_200_000_000);
        if let Some(max_age) = expected.max_age.filter(|max_age| *max_age < century) {
            assert!(now - leeway - nanos(max_age) <= floor, "too old: {claims:?}");
        }
    }
}

/// Returns the defect that kippu reports, with its numbers; `None` if the token is valid and only
/// the caller's type does not fit.
pub fn reported(error: &DecodeError, expected: &Expectations) -> Option<Defect> {
    let same_now = |now: &NumericDate| assert_eq!(dates::from_kippu(*now), expected.now);
    Some(match error {
        DecodeError::TooLong { length, limit } => {
            assert!(length > limit && *limit == expected.max_token_len);
            Defect::TooLong
        }
        DecodeError::Segments => Defect::Segments,
        DecodeError::Base64url { segment, .. } => Defect::Base64url(match segment {
            Segment::Header => "header",
            Segment::Payload => "payload",
            Segment::Signature => "signature",
        }),
        DecodeError::Header(error) => Defect::Header(text_defect(error)),
        DecodeError::Algorithm { .. } => Defect::Algorithm,
        DecodeError::Critical { parameter } => Defect::Critical(parameter),
        DecodeError::Type { .. } => Defect::Type,
        DecodeError::TypeNotText => Defect::TypeNotText,
        DecodeError::KidNotText => Defect::KidNotText,
        DecodeError::UnknownKid { .. } => Defect::UnknownKid,
        DecodeError::MissingKid => Defect::MissingKid,
        DecodeError::Signature => Defect::Signature,
        DecodeError::KeyRetired { until, now } => {
            same_now(now);
            Defect::KeyRetired { until: dates::from_kippu(*until) }
        }
        DecodeError::Payload(error) => Defect::Payload(text_defect(error)),
        DecodeError::Claim(error) => claim_defect(error, expected),
        DecodeError::Claims { .. } => return None,
        other => panic!("an error that the model does not know: {other:?}"),
    })
}

/// Converts the error of kippu about a text to the defect of the slow reader.
pub(crate) fn text_defect(error: &JsonError) -> TextDefect {
    match error {
        JsonError::NotUtf8 { .. } => TextDefect::NotUtf8,
        JsonError::NotAnObject => TextDefect::NotAnObject,
        JsonError::Syntax { .. } => TextDefect::Syntax,
        JsonError::DuplicateMember { .. } => TextDefect::DuplicateMember,
        JsonError::ReservedMember { .. } => TextDefect::ReservedMember,
        JsonError::TooManyMembers { .. } => TextDefect::TooManyMembers,
        other => panic!("an error that the model does not know: {other:?}"),
    }
}

fn claim_defect(error: &ClaimError, expected: &Expectations) -> Defect {
    let instant = |date: &NumericDate| dates::from_kippu(*date);
    let circumstances = |now: &NumericDate, leeway: &std::time::Duration| {
        assert_eq!((instant(now), *leeway), (expected.now, expected.leeway));
    };
    match error {
        ClaimError::Missing { claim } => Defect::Missing(claim.to_string()),
        ClaimError::WrongType { claim } => Defect::WrongType(claim.as_str()),
        ClaimError::Expired { exp, now, leeway } => {
            circumstances(now, leeway);
            Defect::Expired { exp: instant(exp) }
        }
        ClaimError::NotYetValid { nbf, now, leeway } => {
            circumstances(now, leeway);
            Defect::NotYetValid { nbf: instant(nbf) }
        }
        ClaimError::IssuedInFuture { iat, now, leeway } => {
            circumstances(now, leeway);
            Defect::IssuedInFuture { iat: instant(iat) }
        }
        ClaimError::TooOld { iat, now, max_age, leeway } => {
            circumstances(now, leeway);
            assert_eq!(Some(*max_age), expected.max_age);
            Defect::TooOld { iat: instant(iat) }
        }
        ClaimError::Issuer { .. } => Defect::Issuer,
        ClaimError::Audience { .. } => Defect::Audience,
        ClaimError::AudienceUnexpected { .. } => Defect::AudienceUnexpected,
        ClaimError::Subject { .. } => Defect::Subject,
        ClaimError::JwtId { .. } => Defect::JwtId,
        other => panic!("an error that the model does not know: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::expectations::NOW;

    fn expecting(change: impl FnOnce(&mut Expectations)) -> Expectations {
        let mut expected = Expectations::at(NOW);
        change(&mut expected);
        expected
    }

    fn token(header: &str, payload: &str, secret: &Secret) -> String {
        let [header, payload] = [header, payload].map(|text| URL_SAFE_NO_PAD.encode(text));
        let signing_input = format!("{header}.{payload}");
        let tag = URL_SAFE_NO_PAD.encode(secret.tag(signing_input.as_bytes()));
        format!("{signing_input}.{tag}")
    }

    fn defects(token: &str, ring: &Keyring, expected: &Expectations) -> Vec<Defect> {
        verify(token, ring, expected).err().into_iter().flatten().collect()
    }

    /// RFC 7515 A.1.
    #[test]
    fn verifies_the_example_of_the_specification() {
        const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let mut ring = Keyring::single("HS256");
        let bytes = URL_SAFE_NO_PAD.decode(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        );
        ring.secrets[0].bytes = bytes.unwrap();
        let exp = 1_300_819_380;
        let at = |now| Expectations { leeway: Duration::ZERO, ..Expectations::at(now) };
        assert_eq!(defects(TOKEN, &ring, &at(exp - 1)), []);
        assert_eq!(defects(TOKEN, &ring, &at(exp)), [Defect::Expired { exp }]);
        ring.secrets[0].bytes[0] ^= 1;
        assert_eq!(defects(TOKEN, &ring, &at(exp - 1)), [Defect::Signature]);
    }

    #[test]
    fn claims_get_the_specified_verdicts() {
        use Defect::{Audience, AudienceUnexpected, Issuer, JwtId, Missing, Subject, WrongType};

        let plain = expecting(|_| ());
        let strict = expecting(|expected| {
            expected.issuers = vec!["a", "b"];
            expected.audiences = vec!["api"];
            expected.subjects = vec!["s"];
            expected.jwt_ids = vec!["j"];
            expected.required = vec!["role"];
            expected.max_age = Some(Duration::from_hours(1));
            expected.leeway = Duration::ZERO;
        });
        let lax = expecting(|expected| {
            expected.any_audience = true;
            expected.expiry_optional = true;
        });
        let missing = |names: &[&str]| names.iter().map(|&name| Missing(name.into())).collect();
        for (claims, expected, result) in [
            ("{}", &plain, missing(&["exp"])),
            ("{}", &lax, vec![]),
            ("{}", &strict, missing(&["aud", "exp", "iat", "iss", "jti", "role", "sub"])),
            (r#"{"exp":1760000000}"#, &plain, vec![]),
            (r#"{"exp":1759999940}"#, &plain, vec![Defect::Expired { exp: NOW - 60 }]),
            (r#"{"exp":1759999940.0000009}"#, &lax, vec![Defect::Expired { exp: NOW - 60 }]),
            (r#"{"exp":1759999941.5}"#, &plain, vec![]),
            (r#"{"exp":1e30,"nbf":1760000060}"#, &plain, vec![]),
            (
                r#"{"exp":1e30,"nbf":1760000060.0000001}"#,
                &plain,
                vec![Defect::NotYetValid { nbf: NOW + 61 }],
            ),
            (
                r#"{"exp":1e30,"iat":1760000061}"#,
                &plain,
                vec![Defect::IssuedInFuture { iat: NOW + 61 }],
            ),
            (
                r#"{"exp":null,"nbf":"1","iat":[],"iss":1,"sub":{},"jti":true,"aud":["a",1]}"#,
                &lax,
                ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"].map(WrongType).to_vec(),
            ),
            (r#"{"exp":1e30,"aud":[]}"#, &plain, vec![AudienceUnexpected]),
            (r#"{"exp":1e30,"aud":"api"}"#, &lax, vec![]),
            (
                r#"{"exp":1e30,"iat":1759996400,"iss":"b","sub":"s","jti":"j","aud":["x","api"],"role":null}"#,
                &strict,
                vec![],
            ),
            (
                r#"{"exp":1e30,"iat":1759996399.9,"iss":"A","sub":"","jti":"J","aud":["x"],"role":0}"#,
                &strict,
                vec![Defect::TooOld { iat: NOW - 3601 }, Issuer, Audience, Subject, JwtId],
            ),
        ] {
            let ring = Keyring::single("HS384");
            let token = token(&ring.secrets[0].header(), claims, &ring.secrets[0]);
            assert_eq!(defects(&token, &ring, expected), result, "{claims}");
        }
    }

    #[test]
    fn headers_get_the_specified_verdicts() {
        let typed = expecting(|expected| expected.typs = vec!["at+jwt"]);
        let plain = expecting(|_| ());
        let set = |option| Keyring::chosen(&mut crate::input::Options::new(&[option]), NOW);
        let single = Keyring::single("HS256");
        for (header, ring, signer, expected, result) in [
            (r#"{"alg":"HS256"}"#, &single, 0, &plain, vec![]),
            (r#"{"alg":"HS256","kid":"x","typ":"y"}"#, &single, 0, &plain, vec![]),
            (r#"{"alg":"none"}"#, &single, 0, &plain, vec![Defect::Algorithm]),
            ("{}", &single, 0, &plain, vec![Defect::Algorithm]),
            (r#"{"alg":"HS256"}"#, &single, 0, &typed, vec![Defect::Type]),
            (r#"{"alg":"HS256","typ":"Application/AT+JWT"}"#, &single, 0, &typed, vec![]),
            (
                r#"{"alg":"HS256","typ":1,"kid":null,"crit":[],"b64":true}"#,
                &single,
                0,
                &typed,
                vec![
                    Defect::Critical("b64"),
                    Defect::Critical("crit"),
                    Defect::TypeNotText,
                    Defect::KidNotText,
                ],
            ),
            (r#"{"alg":"HS256","kid":"A"}"#, &set(b'3'), 0, &plain, vec![Defect::UnknownKid]),
            (r#"{"alg":"HS256"}"#, &set(b'3'), 0, &plain, vec![]),
            (r#"{"alg":"HS256"}"#, &set(b'5'), 0, &plain, vec![Defect::MissingKid]),
            (r#"{"alg":"HS256"}"#, &set(b'6'), 2, &plain, vec![]),
            (r#"{"alg":"HS256","kid":"c"}"#, &set(b'5'), 2, &plain, vec![]),
            (r#"{"alg":"HS256","kid":"a"}"#, &set(b'6'), 2, &plain, vec![Defect::Signature]),
            (
                r#"{"alg":"HS512","kid":"b"}"#,
                &set(b'5'),
                1,
                &plain,
                vec![Defect::KeyRetired { until: NOW }],
            ),
            (r#"{"alg":"HS256","kid":"b"}"#, &set(b'5'), 1, &plain, vec![Defect::Algorithm]),
            ("[]", &single, 0, &plain, vec![Defect::Header(TextDefect::NotAnObject)]),
        ] {
            let token = token(header, r#"{"exp":1e30}"#, &ring.secrets[signer]);
            assert_eq!(defects(&token, ring, expected), result, "{header}");
        }
    }

    #[test]
    fn forms_get_the_specified_verdicts() {
        let ring = Keyring::single("HS512");
        let plain = expecting(|_| ());
        let good = token(&ring.secrets[0].header(), r#"{"exp":1e30}"#, &ring.secrets[0]);
        let short = expecting(|expected| expected.max_token_len = good.len() - 1);
        assert_eq!(defects(&good, &ring, &plain), []);
        assert_eq!(defects(&good, &ring, &short), [Defect::TooLong]);
        for (token, result) in [
            (String::new(), vec![Defect::Segments]),
            (format!("{good}."), vec![Defect::Segments]),
            (format!("={good}"), vec![Defect::Base64url("header")]),
            (format!("{good}="), vec![Defect::Base64url("signature"), Defect::Signature]),
            (good[..good.len() - 2].to_owned(), vec![Defect::Signature]),
        ] {
            assert_eq!(defects(&token, &ring, &plain), result, "{token}");
        }
    }
}
