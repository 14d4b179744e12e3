//! Tests every value of small domains: groups of base64url symbols, each byte of a header, and the
//! seconds around each end of a claim or a key.

use std::time::Duration;

use kippu::{Clock, Key, KeySet, NumericDate, Validation, base64url, decode};
use kippu_test_support::{rounds, signing};
use serde::de::IgnoredAny;
use serde_json::Value;

use self::signing::{HEADER, SECRET, key, signed, signed_with_header};

/// RFC 4648 §5, table 2.
fn sextet(symbol: u8) -> Option<u32> {
    match symbol {
        b'A'..=b'Z' => Some(u32::from(symbol - b'A')),
        b'a'..=b'z' => Some(u32::from(symbol - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(symbol - b'0') + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// Decodes a group of two or three symbols by the definition: six bits each, the highest first, and
/// zeros after the last byte.
fn defined<const N: usize>(group: [u8; N]) -> Option<u32> {
    let bits = group.iter().try_fold(0, |bits, symbol| Some(bits << 6 | sextet(*symbol)?))?;
    let behind = 6 * u32::try_from(N).unwrap() % 8;
    (bits % (1 << behind) == 0).then_some(bits >> behind)
}

/// Returns how many groups are valid. All agree with the definition, and are encoded to the same
/// symbols again.
fn judge_groups<const N: usize>(groups: impl Iterator<Item = [u8; N]>) -> u32 {
    let mut bytes = 0;
    for group in groups {
        let mut output = [0; 2];
        let wanted = defined(group);
        match base64url::decode_to_slice(group, &mut output) {
            Ok(decoded) => {
                let value = decoded.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
                assert_eq!((decoded.len(), Some(value)), (N - 1, wanted), "{group:?}");
                let mut symbols = [0; N];
                assert_eq!(base64url::encode_to_slice(decoded, &mut symbols).unwrap(), group);
                bytes += 1;
            }
            Err(_) => assert_eq!(wanted, None, "{group:?}"),
        }
    }
    bytes
}

#[test]
fn every_group_of_two_symbols_agrees_with_the_definition() {
    let groups = (0..=u16::MAX).map(u16::to_be_bytes);
    assert_eq!(judge_groups(groups), 1 << 8);
}

#[test]
#[ignore = "16 million groups take half a minute: scripts/test runs it"]
fn every_group_of_three_symbols_agrees_with_the_definition() {
    let groups = (0..1_u32 << 24).map(|group| {
        let [_, group @ ..] = group.to_be_bytes();
        group
    });
    assert_eq!(judge_groups(groups), 1 << 16);
}

/// Returns whether a header may be accepted, by another JSON reader. That reader accepts duplicate
/// names, which no single byte produces in the headers below.
fn is_header(header: &[u8]) -> bool {
    let Ok(Value::Object(members)) = serde_json::from_slice(header) else { return false };
    let is_text = |name| members.get(name).is_none_or(Value::is_string);
    members.get("alg").is_some_and(|alg| alg == "HS256")
        && ["typ", "kid"].into_iter().all(is_text)
        && !members.contains_key("crit")
        && !members.contains_key("b64")
}

fn accepts(header: &[u8]) -> bool {
    decode::<IgnoredAny>(&signed_with_header(header, r#"{"exp":2000}"#), &key(), &at(1000)).is_ok()
}

#[test]
#[ignore = "50,000 headers take ten seconds: scripts/test runs it"]
fn a_header_with_any_changed_byte_is_accepted_only_if_it_is_json() {
    let mut accepted = 0;
    for header in
        [HEADER, r#"{"kid":"7","xx":[1,{"yy":null}],"alg":"HS256","zz":-1.5e+3,"uu":"\u00e9"}"#]
    {
        assert!(accepts(header.as_bytes()) && is_header(header.as_bytes()));
        for place in 0..=header.len() {
            for byte in 0..=u8::MAX {
                let mut inserted = header.as_bytes().to_vec();
                inserted.insert(place, byte);
                let mut changed = header.as_bytes().to_vec();
                if let Some(at) = changed.get_mut(place) {
                    *at = byte;
                }
                for header in [inserted, changed] {
                    let wanted = is_header(&header);
                    assert_eq!(accepts(&header), wanted, "{}", header.escape_ascii());
                    accepted += usize::from(wanted);
                }
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// The base64url spelling of the header is also unique: another symbol gives another header, or
/// none.
#[test]
fn a_header_segment_with_any_changed_byte_is_rejected() {
    let token = signed(r#"{"exp":2000}"#);
    let header_len = token.find('.').unwrap();
    assert!(decode::<IgnoredAny>(&token, &key(), &at(1000)).is_ok());
    for place in 0..=header_len {
        for byte in (0..0x80).filter(|byte| *byte != token.as_bytes()[place]) {
            let mut changed = token.clone().into_bytes();
            changed[place] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(decode::<IgnoredAny>(&changed, &key(), &at(1000)).is_err(), "{changed}");
        }
    }
}

// --- Times ------------------------------------------------------------------------------------

const NOW: i64 = 1_760_000_000;
const SECOND: i64 = 1_000_000;

/// Returns a validation at a given second, without leeway.
fn at(seconds: i64) -> Validation {
    Validation::new().at(NumericDate::from_seconds(seconds)).leeway(Duration::ZERO).unwrap()
}

/// A clock that always shows this time, in microseconds.
struct Stopped(i64);

impl Clock for Stopped {
    fn unix_millis(&self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// Returns offsets of up to two seconds on either side: in steps of 20 milliseconds, of 80 in
/// `cargo test`, and a microsecond around each whole and half second.
fn offsets() -> impl Iterator<Item = i64> {
    let steps = i64::from(rounds(100));
    let coarse = (-steps..=steps).map(move |step| step * 2 * SECOND / steps);
    let fine = (-4..=4).flat_map(|half| (-3..=3).map(move |micros| half * SECOND / 2 + micros));
    coarse.chain(fine)
}

/// Returns a JSON number of seconds, with six decimals.
fn spelled(micros: i64) -> String {
    format!("{}.{:06}", micros / SECOND, micros % SECOND)
}

/// Checks a claim at each offset from an end: first the claim moves, then the clock. `wanted` takes
/// the claim and the time.
fn check(name: &str, validation: &Validation, end: i64, wanted: impl Fn(i64, i64) -> bool) {
    let (mut accepted, mut refused) = (0, 0);
    let now = NOW * SECOND;
    for offset in offsets() {
        for (claim, now) in [(now + end + offset, now), (now + end, now - offset)] {
            let exp = if name == "exp" { String::new() } else { r#","exp":9999999999"#.to_owned() };
            let token = signed(format!(r#"{{"{name}":{}{exp}}}"#, spelled(claim)));
            let validation = validation.clone().clock(Stopped(now));
            let is_accepted = decode::<IgnoredAny>(&token, &key(), &validation).is_ok();
            assert_eq!(is_accepted, wanted(claim, now), "{name}: {claim} at {now} microseconds");
            if is_accepted { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(accepted > 60 && refused > 60, "{name}: {accepted} {refused}");
}

/// The fraction of a claim counts against the token. The fraction of a second of leeway or age does
/// not count.
#[test]
fn every_time_around_the_end_of_a_claim_follows_its_rule() {
    let down = |micros: i64| micros.div_euclid(SECOND) * SECOND;
    let up = |micros: i64| down(micros + SECOND - 1);
    for leeway in [0, 1, 59_999_999, 60_000_000, 600_000_000] {
        let validation = Validation::new().leeway(Duration::from_micros(leeway)).unwrap();
        let leeway = down(i64::try_from(leeway).unwrap());
        // RFC 7519 §4.1.4: not on or after it.
        check("exp", &validation, -leeway, |exp, now| now < down(exp) + leeway);
        // §4.1.5: not before it.
        check("nbf", &validation, leeway, |nbf, now| now + leeway >= up(nbf));
        check("iat", &validation, leeway, |iat, now| now + leeway >= up(iat));
        // A token of exactly the maximum age is not too old.
        let age = 3600 * SECOND;
        let young = validation.max_age(Duration::from_secs(3600));
        check("iat", &young, -age - leeway, |iat, now| down(now) <= down(iat) + age + leeway);
    }
}

/// No leeway extends the lifetime of a key.
#[test]
fn every_time_around_the_end_of_a_key_follows_its_rule() {
    let until = NOW * SECOND;
    let new = Key::hs256([1; 32]).unwrap().with_kid("new");
    let old = Key::hs256(SECRET).unwrap().with_kid("old");
    let keys = KeySet::new(new).retire(old, NumericDate::from_seconds(NOW)).unwrap();
    let token = signed_with_header(r#"{"alg":"HS256","kid":"old"}"#, r#"{"exp":9999999999}"#);
    for offset in offsets() {
        let validation = Validation::new().clock(Stopped(until + offset));
        let is_accepted = decode::<IgnoredAny>(&token, &keys, &validation).is_ok();
        assert_eq!(is_accepted, offset < 0, "{offset} microseconds off");
    }
}
