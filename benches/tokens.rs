//! Measures tokens: encode, decode, reject, by algorithm and size of the claims; keys in a set; and
//! the most expensive tokens that an attacker can send.
//!
//! A time is that of one token. The sizes are bytes of JSON.

mod fixture;

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion};
use kippu::{
    Algorithm, ClaimError, DecodeError, Key, KeySet, NumericDate, Validation, base64url, decode,
    decode_borrowed, encode,
};

use self::fixture::{BorrowedClaims, Claims, SECRET, Tokens, USUAL};

const SIZES: [usize; 4] = [64, 200, 2048, 8192];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        for bytes in SIZES {
            sizes(&mut criterion, &Tokens::new(algorithm, bytes), bytes);
        }
    }
    headers_and_keys(&mut criterion);
    attacks(&mut criterion);
    criterion.final_summary();
}

fn key(algorithm: Algorithm) -> Key {
    Key::new(algorithm, SECRET).expect("long enough")
}

fn expecting(claims: &Claims) -> Validation {
    Validation::new().issuer(claims.iss.clone()).audience(claims.aud.clone())
}

fn sizes(criterion: &mut Criterion, tokens: &Tokens, bytes: usize) {
    let Tokens { algorithm, claims, token, forged, .. } = tokens;
    let (key, validation) = (key(*algorithm), expecting(claims));
    let mut buffer = vec![0; token.len()];
    let mut group = criterion.benchmark_group(algorithm.as_str());

    assert_eq!(encode(claims, &key).as_ref(), Ok(token));
    group.bench_function(BenchmarkId::new("encode", bytes), |bencher| {
        bencher.iter(|| encode(black_box(claims), &key));
    });

    assert_eq!(decode::<Claims>(token, &key, &validation).as_ref(), Ok(claims));
    group.bench_function(BenchmarkId::new("decode", bytes), |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(token), &key, &validation));
    });

    let borrowed = decode_borrowed(token, &key, &validation, &mut buffer);
    assert_eq!(borrowed, Ok(claims.borrowed()));
    group.bench_function(BenchmarkId::new("decode borrowed", bytes), |bencher| {
        bencher.iter(|| {
            let token = black_box(token);
            let claims =
                decode_borrowed::<BorrowedClaims<'_>>(token, &key, &validation, &mut buffer);
            black_box(&claims).is_ok()
        });
    });

    assert_eq!(decode::<Claims>(forged, &key, &validation), Err(DecodeError::Signature));
    group.bench_function(BenchmarkId::new("forged", bytes), |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(forged), &key, &validation));
    });

    let late = i64::try_from(claims.exp).expect("tomorrow").saturating_add(3600);
    let late = validation.at(NumericDate::from_seconds(late));
    let expired = decode::<Claims>(token, &key, &late);
    assert!(matches!(expired, Err(DecodeError::Claim(ClaimError::Expired { .. }))), "{expired:?}");
    group.bench_function(BenchmarkId::new("expired", bytes), |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(token), &key, &late));
    });
    group.finish();
}

/// The usual token with other headers, with single keys and with a set.
fn headers_and_keys(criterion: &mut Criterion) {
    let tokens = Tokens::new(Algorithm::Hs256, USUAL);
    let (claims, validation) = (&tokens.claims, expecting(&tokens.claims));
    let named = |number: usize| key(Algorithm::Hs256).with_kid(format!("key-{number}"));
    let set = (2..=8).try_fold(KeySet::new(named(1)), |set, number| {
        // Each key has a different secret. The last one signs the tokens here.
        let other = Key::hs256([u8::try_from(number).expect("small"); 32]).expect("long enough");
        set.accept(if number == 8 { named(8) } else { other.with_kid(format!("key-{number}")) })
    });
    let set = set.expect("distinct kids");
    let [first, last, unknown] =
        [1, 8, 9].map(|number| encode(claims, &named(number)).expect("strings and numbers"));
    let foreign = signed(r#"{"kid":"key-8","typ":"JWT","alg":"HS256"}"#, &tokens);
    let alone = key(Algorithm::Hs256);

    let mut group = criterion.benchmark_group("header and keys");
    let mut good =
        |name: &str, token: &str, verify: &dyn Fn(&str) -> Result<Claims, DecodeError>| {
            assert_eq!(verify(token).as_ref(), Ok(claims), "{name}");
            group.bench_function(name, |bencher| bencher.iter(|| verify(black_box(token))));
        };
    good("one key, own header", &tokens.token, &|token| decode(token, &alone, &validation));
    good("one key, foreign header", &tokens.foreign, &|token| decode(token, &alone, &validation));
    good("set of 8, first key", &first, &|token| decode(token, &set, &validation));
    good("set of 8, last key", &last, &|token| decode(token, &set, &validation));
    good("set of 8, foreign header", &foreign, &|token| decode(token, &set, &validation));
    let refused = decode::<Claims>(&unknown, &set, &validation);
    assert!(matches!(refused, Err(DecodeError::UnknownKid { .. })), "{refused:?}");
    group.bench_function("set of 8, unknown kid", |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(&unknown), &set, &validation));
    });
    group.finish();
}

/// Returns a token with the claims of `tokens` and another header.
fn signed(header: &str, tokens: &Tokens) -> String {
    let payload = tokens.token.split('.').nth(1).expect("three segments");
    let input = format!("{}.{payload}", base64url::encode(header.as_bytes()));
    let tag = kippu::hmac::Hmac::new(tokens.algorithm, SECRET).tag(input.as_bytes());
    format!("{input}.{}", base64url::encode(tag.as_ref()))
}

/// The maximum size of a header in a token of the maximum length, with room for a payload.
const LONG: usize = 12_200;

/// The tokens of 16 KiB that cost most before their wrong MAC is detected. The first one is the
/// most expensive that was found; the others were suspected.
fn attacks(criterion: &mut Criterion) {
    let with = |member: &str, value: &str| format!(r#"{{"alg":"HS256","{member}":{value}}}"#);
    let list = |element: &str| {
        let times = (LONG - 40) / (element.len() + 1);
        format!("[{}]", vec![element; times].join(","))
    };
    let text = |unit: &str| format!("\"{}\"", unit.repeat((LONG - 40) / unit.len()));
    // A header has at most 64 members.
    let members = |name: &str| {
        let name = name.repeat((LONG / 63 - 7) / name.len());
        let members: Vec<_> = (0..63).map(|number| format!(r#""{name}{number}":0"#)).collect();
        format!(r#"{{"alg":"HS256",{}}}"#, members.join(","))
    };
    let nested = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let syntax = format!(r#"{{"alg":"HS256","x":{}"#, list("0"));
    const { assert!(Validation::DEFAULT_MAX_TOKEN_LEN == 16 * 1024) };

    let one = Key::hs256([7; 32]).expect("long enough");
    let mut group = criterion.benchmark_group("attack, 16 KiB");
    for (name, header, reason) in [
        ("kid: list of escapes", with("kid", &list(r#""\n""#)), Reason::KidNotText),
        ("kid: list of strings", with("kid", &list(r#""""#)), Reason::KidNotText),
        ("kid: one string of escapes", with("kid", &text(r"\n")), Reason::Signature),
        ("nested arrays", with("x", &list(&nested)), Reason::Signature),
        ("list of halfway fractions", with("x", &list("9007199254740993.0")), Reason::Signature),
        (
            "list of numbers slow to parse",
            with("x", &list("10267000000000007465e281")),
            Reason::Signature,
        ),
        ("list of least fractions", with("x", &list("5e-324")), Reason::Signature),
        ("list of exponents", with("x", &list("1e-300")), Reason::Signature),
        ("list of digits", with("x", &list("0")), Reason::Signature),
        ("list of empty objects", with("x", &list("{}")), Reason::Signature),
        ("list of escapes", with("x", &list(r#""\n""#)), Reason::Signature),
        ("one string of escapes", with("x", &text(r"\n")), Reason::Signature),
        ("one string of Unicode escapes", with("x", &text(r"\u0041")), Reason::Signature),
        ("one number", with("x", &format!("0.{}", "1".repeat(LONG - 40))), Reason::Signature),
        ("64 members", members("a"), Reason::Signature),
        ("64 members, escaped names", members(r"\n"), Reason::Signature),
        ("syntax error at the end", syntax, Reason::Header),
        ("short header, long payload", r#"{"alg":"HS256"}"#.into(), Reason::Signature),
    ] {
        let token = longest(&header);
        let validation = Validation::new();
        reason.assert(name, &decode::<Claims>(&token, &one, &validation));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode::<Claims>(black_box(&token), &one, &validation));
        });
    }

    // A set that tries all its keys multiplies the MACs, so it is an explicit option.
    let first = Key::hs256([1; 32]).expect("long enough").with_kid("1");
    let keys = (2..=8).try_fold(KeySet::new(first), |set, number: u8| {
        let other = Key::hs256([number; 32]).expect("long enough");
        set.accept(other.with_kid(number.to_string()))
    });
    let keys = keys.expect("distinct kids").try_all_without_kid();
    let (token, validation) = (longest(&with("x", &list(&nested))), Validation::new());
    Reason::Signature.assert("set of 8", &decode::<Claims>(&token, &keys, &validation));
    group.bench_function("nested arrays, a set of 8 that tries all", |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(&token), &keys, &validation));
    });

    let too_long = "a".repeat(Validation::DEFAULT_MAX_TOKEN_LEN + 1);
    let refused = decode::<Claims>(&too_long, &one, &validation);
    assert!(matches!(refused, Err(DecodeError::TooLong { .. })), "{refused:?}");
    group.bench_function("too long", |bencher| {
        bencher.iter(|| decode::<Claims>(black_box(&too_long), &one, &validation));
    });
    group.finish();
}

/// Why an attack is rejected.
#[derive(Clone, Copy)]
enum Reason {
    Signature,
    KidNotText,
    Header,
}

impl Reason {
    fn assert(self, name: &str, result: &Result<Claims, DecodeError>) {
        let as_expected = match self {
            Self::Signature => *result == Err(DecodeError::Signature),
            Self::KidNotText => *result == Err(DecodeError::KidNotText),
            Self::Header => matches!(result, Err(DecodeError::Header(_))),
        };
        assert!(as_expected, "{name}: {result:?}");
    }
}

/// Returns a token of the maximum length, or up to 3 bytes less, with a wrong MAC of the right
/// length.
fn longest(header: &str) -> String {
    let header = base64url::encode(header.as_bytes());
    let room = Validation::DEFAULT_MAX_TOKEN_LEN - header.len() - 43 - 2;
    format!("{header}.{}.{}", "A".repeat(room / 4 * 4), "A".repeat(43))
}
