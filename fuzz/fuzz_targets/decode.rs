//! No text is a token of a key that its writer does not know. Every entry point rejects it for the
//! same reason, with a short, printable message.
#![no_main]

use std::sync::LazyLock;

use kippu::{
    Algorithm, DecodeError, Excerpt, Explanation, Key, KeySet, Keys, NumericDate, Segment,
    Validation, decode, decode_borrowed, explain, unverified_header, verify,
};
use kippu_fuzz::presentable::assert_presentable;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

/// New keys for each run: an accepted token would be a forgery.
static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let generate = |&algorithm| Key::generate(algorithm).expect("the system has random bytes");
    Algorithm::ALL.iter().map(generate).collect()
});

static SETS: LazyLock<[KeySet; 2]> = LazyLock::new(|| {
    [false, true].map(|tries_all| {
        let key = |algorithm, kid| {
            Key::generate(algorithm).expect("the system has random bytes").with_kid(kid)
        };
        let set = KeySet::new(key(Algorithm::Hs256, "a"))
            .accept(key(Algorithm::Hs512, "b"))
            .and_then(|set| set.retire(key(Algorithm::Hs256, "c"), NumericDate::EPOCH))
            .expect("the kids differ");
        if tries_all { set.try_all_without_kid() } else { set }
    })
});

static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    Validation::new()
        .at(NumericDate::from_seconds(1_300_819_380))
        .max_token_len(3_000)
        .and_then(Validation::any_audience)
        .and_then(Validation::expiry_optional)
        .expect("the options do not contradict each other")
});

fuzz_target!(|data: &[u8]| {
    let token = String::from_utf8_lossy(data);
    for key in &*KEYS {
        refused(&token, key);
    }
    for set in &*SETS {
        refused(&token, set);
    }
});

fn refused(token: &str, keys: &impl Keys) {
    let error = decode::<Value>(token, keys, &VALIDATION).expect_err("a forgery");
    assert_presentable(&error);
    assert!(
        !matches!(error, DecodeError::Claim(_) | DecodeError::Payload(_)),
        "read before the MAC"
    );

    assert_eq!(decode::<IgnoredAny>(token, keys, &VALIDATION).err().as_ref(), Some(&error));
    assert_eq!(verify(token, keys, &VALIDATION).err().as_ref(), Some(&error));
    for length in [0, 4_096] {
        let mut buffer = vec![0; length];
        let borrowed = decode_borrowed::<Value>(token, keys, &VALIDATION, &mut buffer);
        assert_eq!(borrowed.as_ref(), Err(&error));
        assert!(buffer.iter().all(|&byte| byte == 0), "decoded before the MAC");
    }

    let explanation: Explanation = explain(token, keys, &VALIDATION);
    assert!(!explanation.is_accepted());
    assert_eq!(explanation.failures().next().map(|(_, error)| error), Some(&error));
    explanation.failures().for_each(|(_, error)| assert_presentable(error));

    let of_header = matches!(
        error,
        DecodeError::Segments
            | DecodeError::Header(_)
            | DecodeError::Base64url { segment: Segment::Header, .. }
    );
    match (unverified_header(token, 16 * 1024), &error) {
        // `unverified_header` has a separate limit.
        (_, DecodeError::TooLong { .. }) => {}
        (Err(unreadable), _) if of_header => assert_eq!(unreadable, error),
        (Ok(header), DecodeError::Algorithm { found, .. }) => {
            let found = found.as_ref().map(Excerpt::as_str);
            assert_eq!(found.is_some(), header.alg.is_some());
            assert!(header.alg.unwrap_or_default().starts_with(found.unwrap_or_default()));
        }
        (Ok(_), _) if !of_header => {}
        (header, _) => panic!("{header:?}, but {error}"),
    }
}
