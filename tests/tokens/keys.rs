//! Keys, sets of them, and their JSON: which inputs are valid, and which tokens each key verifies.

use std::sync::{Arc, Mutex};

use kippu::{
    Algorithm, Candidates, DecodeError, Jwk, JwkError, JwkSet, Key, KeyError, KeySet, KeySetError,
    Keys, NumericDate, SharedKeySet, Validation, base64url, decode, encode, explain, hmac::Hmac,
};
use kippu_test_support::signing;
use serde_json::{Value, json};
use signing::{SECRET, signed_with_header};

const NOW: i64 = 1_760_000_000;

fn judge(token: &str, keys: &(impl Keys + ?Sized)) -> Result<(), DecodeError> {
    let validation =
        Validation::new().at(NumericDate::from_seconds(NOW)).expiry_optional().unwrap();
    let verdict = decode::<Value>(token, keys, &validation).map(|_| ());
    let explanation = explain(token, keys, &validation);
    let first = explanation.failures().next().map(|(_, error)| error);
    assert_eq!(first, verdict.as_ref().err(), "{explanation}");
    verdict
}

/// Returns a different key for each id.
fn key(kid: &str) -> Key {
    let mut secret = [0; 32];
    secret[..kid.len()].copy_from_slice(kid.as_bytes());
    Key::hs256(secret).unwrap().with_kid(kid)
}

fn token(kid: &str) -> String {
    encode(&json!({}), &key(kid)).unwrap()
}

fn seconds(seconds: i64) -> NumericDate {
    NumericDate::from_seconds(seconds)
}

/// RFC 7518 §3.2: "A key of the same size as the hash output or larger MUST be used".
#[test]
fn a_secret_is_as_long_as_the_hash() {
    for (algorithm, needed) in
        [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
    {
        assert_eq!(algorithm.hash_len(), needed);
        for given in 0..needed {
            let error = Key::new(algorithm, vec![1; given]).unwrap_err();
            assert_eq!(error, KeyError::TooShort { algorithm, needed, given });
        }
        for given in [needed, needed + 1, 127, 128, 129, 1_000] {
            assert!(Key::new(algorithm, vec![1; given]).is_ok());
        }
    }
    let error = Key::hs512("too short").unwrap_err();
    assert_eq!(
        error.to_string(),
        "HS512 needs a secret of at least 64 random bytes, this one has 9"
    );
    assert_eq!(Key::hs384([1; 48]).unwrap().algorithm(), Algorithm::Hs384);
}

#[test]
fn a_short_secret_needs_an_explicit_constructor_and_an_empty_one_is_rejected() {
    let key = Key::new_dangerously_short(Algorithm::Hs256, "secret").unwrap();
    let token = encode(&json!({}), &key).unwrap();
    assert_eq!(judge(&token, &key), Ok(()));
    let error = Key::new_dangerously_short(Algorithm::Hs256, "").unwrap_err();
    assert_eq!(error, KeyError::TooShort { algorithm: Algorithm::Hs256, needed: 32, given: 0 });
}

#[test]
fn the_text_of_a_key_file_is_not_a_secret() {
    let rest = "x".repeat(64);
    for (secret, format) in [
        (format!("-----BEGIN PUBLIC KEY-----\n{rest}"), "PEM"),
        (format!("\n \t-----BEGIN RSA PRIVATE KEY-----\n{rest}"), "PEM"),
        (format!("subject=/CN=x\n-----BEGIN CERTIFICATE-----\n{rest}"), "PEM"),
        (format!("ssh-rsa AAAA{rest}"), "OpenSSH"),
        (format!("ssh-ed25519 AAAA{rest}"), "OpenSSH"),
        (format!("ecdsa-sha2-nistp256 AAAA{rest}"), "OpenSSH"),
        (format!("sk-ssh-ed25519@openssh.com AAAA{rest}"), "OpenSSH"),
        (format!("---- BEGIN SSH2 PUBLIC KEY ----\n{rest}"), "OpenSSH"),
        (format!("\u{feff}\n ssh-rsa AAAA{rest}"), "OpenSSH"),
        (format!("\u{feff}{{\"kty\":\"oct\",\"k\":\"{rest}\"}}"), "JWK"),
        (format!(r#"[{{"kty":"oct","k":"{rest}"}}]"#), "JWK"),
        (format!(r#"{{"kty":"oct","k":"{rest}"}}"#), "JWK"),
        (format!(r#" {{ "keys" : [], "x":"{rest}" }}"#), "JWK"),
    ] {
        for &algorithm in Algorithm::ALL {
            assert_eq!(Key::new(algorithm, &secret).unwrap_err(), KeyError::KeyFile { format });
            let error = Key::new_dangerously_short(algorithm, &secret).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "this is the text of a {format} key, not a secret: {}",
                    match format {
                        "JWK" => "Jwk::from_json reads it, in a file KeyFormat::Jwk",
                        _ => "kippu signs with HMAC alone",
                    }
                )
            );
            assert!(matches!(Jwk::new(algorithm, &secret), Err(JwkError::Key(_))));
        }
    }
    // Random bytes may begin with a brace, and a text may be random.
    assert!(Key::hs256(format!("{{{rest}")).is_ok());
    // The start of a key file is only recognized at the beginning.
    assert!(Key::hs256(format!("x ssh-rsa{rest}")).is_ok());
    assert!(Key::hs256(format!("\n\u{feff}{{\"kty\"{rest}")).is_ok());
    assert!(Key::hs256(&rest).is_ok());
}

#[test]
fn a_secret_is_spelled_in_hex_or_base64url() {
    let secret: Vec<u8> = (0xc0..=0xff).collect();
    let lower = secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let symbols = base64url::encode(&secret);
    for &algorithm in Algorithm::ALL {
        let token = encode(&json!({}), &Key::new(algorithm, &secret).unwrap()).unwrap();
        for key in [
            Key::from_hex(algorithm, &lower),
            Key::from_hex(algorithm, lower.to_uppercase()),
            Key::from_base64url(algorithm, &symbols),
        ] {
            assert_eq!(judge(&token, &key.unwrap()), Ok(()));
        }
        // Bytes that the crate rejects are rejected in every spelling.
        let too_short = KeyError::TooShort { algorithm, needed: algorithm.hash_len(), given: 1 };
        assert_eq!(Key::from_hex(algorithm, "ff").unwrap_err(), too_short);
        assert_eq!(Key::from_base64url(algorithm, "_w").unwrap_err(), too_short);
    }
}

#[test]
fn generated_keys_differ() {
    for &algorithm in Algorithm::ALL {
        let (one, other) = (Key::generate(algorithm).unwrap(), Key::generate(algorithm).unwrap());
        let token = encode(&json!({}), &one).unwrap();
        assert_eq!(judge(&token, &one), Ok(()));
        assert_eq!(judge(&token, &other), Err(DecodeError::Signature));
        let jwk = Jwk::generate(algorithm).unwrap();
        assert_ne!(jwk.expose_json(), Jwk::generate(algorithm).unwrap().expose_json());
        assert!(Key::from_jwk(&jwk).is_ok());
    }
}

/// `Debug` writes neither a secret nor a value derived from one into a log.
#[test]
fn debug_shows_no_secret() {
    let secret = [0xc5; 64];
    let shown = [
        format!("{:?}", Key::hs256(secret).unwrap().with_kid("7")),
        format!("{:#?}", Hmac::new(Algorithm::Hs512, &secret)),
        format!("{:?}", Hmac::new(Algorithm::Hs256, &secret).tag(b"message")),
        format!("{:?}", Jwk::new(Algorithm::Hs256, secret).unwrap()),
        format!("{:?}", KeySet::new(Key::hs256(secret).unwrap().with_kid("7"))),
        format!("{:?}", SharedKeySet::new(KeySet::new(key("7")))),
    ];
    let tag = Hmac::new(Algorithm::Hs256, &secret).tag(b"message");
    for text in shown {
        for leak in ["197", "c5", "xcXF", &format!("{}, {}", tag.as_ref()[0], tag.as_ref()[1])] {
            assert!(!text.contains(leak), "{leak} in {text}");
        }
        assert!(text.contains("algorithm") || text.contains("length"), "{text}");
    }
}

#[test]
fn candidates_show_whether_a_key_has_been_found() {
    struct Logged(Mutex<Vec<String>>);

    impl Keys for Logged {
        fn find(&self, _: Option<&str>, candidates: &mut Candidates<'_>) {
            for kid in ["1", "2"] {
                self.0.lock().unwrap().push(format!("{candidates:?}"));
                candidates.offer(&key(kid));
            }
            self.0.lock().unwrap().push(format!("{candidates:?}"));
        }
    }

    let keys = Logged(Mutex::default());
    let validation = Validation::new().expiry_optional().unwrap();
    assert!(decode::<Value>(&token("2"), &keys, &validation).is_ok());
    let shown = ["NoneOffered", "NoneFits", "Found"]
        .map(|progress| format!("Candidates {{ progress: {progress}, .. }}"));
    assert_eq!(*keys.0.lock().unwrap(), shown);
}

#[test]
fn a_single_key_takes_kid_as_a_hint() {
    let of = |kid: &str| signed_with_header(format!(r#"{{"alg":"HS256"{kid}}}"#), "{}");
    let nameless = Key::hs256(SECRET).unwrap();
    let named = Key::hs256(SECRET).unwrap().with_kid("a");
    for (kid, nameless_verdict, named_verdict) in [
        ("", Ok(()), Ok(())),
        (r#","kid":"a""#, Ok(()), Ok(())),
        (r#","kid":"\u0061""#, Ok(()), Ok(())),
        (r#","kid":"b""#, Ok(()), Err("no key has the kid \"b\"")),
        (r#","kid":"""#, Ok(()), Err("no key has the kid \"\"")),
        (
            r#","kid":7"#,
            Err("the header's kid is not a string"),
            Err("the header's kid is not a string"),
        ),
        (
            r#","kid":null"#,
            Err("the header's kid is not a string"),
            Err("the header's kid is not a string"),
        ),
    ] {
        let verdict = |key| judge(&of(kid), key).map_err(|error| error.to_string());
        assert_eq!(verdict(&nameless), nameless_verdict.map_err(String::from), "{kid}");
        assert_eq!(verdict(&named), named_verdict.map_err(String::from), "{kid}");
    }
    // A header that this crate writes gets the same verdict.
    assert_eq!(judge(&token("a"), &key("b")).unwrap_err().to_string(), "no key has the kid \"a\"");
}

#[test]
fn a_set_finds_a_key_by_its_kid_alone() {
    let set = KeySet::new(key("new"))
        .retire(key("old"), seconds(NOW + 1))
        .unwrap()
        .accept(key("next"))
        .unwrap();
    assert_eq!(set.signing_key().unwrap().kid(), Some("new"));
    for kid in ["new", "old", "next"] {
        assert_eq!(judge(&token(kid), &set), Ok(()));
    }
    let error = judge(&token("gone"), &set).unwrap_err();
    assert_eq!(error.to_string(), "no key has the kid \"gone\"");
    // A token that names one key is not tried with another.
    let claims_new = encode(&json!({}), &key("old").with_kid("new")).unwrap();
    assert_eq!(judge(&claims_new, &set), Err(DecodeError::Signature));
    for kid in ["../../dev/null", "' OR 1=1 --", "NEW", "new\0", "", "|sleep 10"] {
        let header = json!({ "alg": "HS256", "kid": kid }).to_string();
        let error = judge(&signed_with_header(header, "{}"), &set).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownKid { .. }), "{kid}");
    }
    let long = json!({ "alg": "HS256", "kid": "x".repeat(5_000) }).to_string();
    let error = judge(&signed_with_header(long, "{}"), &set).unwrap_err();
    assert_eq!(error.to_string(), format!("no key has the kid \"{}…\"", "x".repeat(64)));
}

#[test]
fn a_retired_key_verifies_until_its_end() {
    let set = |until| KeySet::new(key("new")).retire(key("old"), seconds(until)).unwrap();
    assert_eq!(judge(&token("old"), &set(NOW + 1)), Ok(()));
    for until in [NOW, NOW - 1, i64::MIN] {
        let error = judge(&token("old"), &set(until)).unwrap_err();
        assert_eq!(error, DecodeError::KeyRetired { until: seconds(until), now: seconds(NOW) });
    }
    let error = judge(&token("old"), &set(NOW)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "signed with a key that verifies until 1760000000, now 1760000000"
    );
    // Only an issuer with the key can see this.
    let forged = token("old").replace(".e30.", ".e30x.");
    assert_eq!(judge(&forged, &set(NOW)), Err(DecodeError::Signature));
    // The verdict does not depend on the spelling of the header.
    let header = r#"{"kid":"old","alg":"HS256"}"#;
    let foreign = {
        let input = format!("{}.e30", base64url::encode(header.as_bytes()));
        let mut secret = [0; 32];
        secret[..3].copy_from_slice(b"old");
        let tag = Hmac::new(Algorithm::Hs256, &secret).tag(input.as_bytes());
        format!("{input}.{}", base64url::encode(tag.as_ref()))
    };
    assert_eq!(judge(&foreign, &set(NOW + 1)), Ok(()));
    assert!(matches!(judge(&foreign, &set(NOW)), Err(DecodeError::KeyRetired { .. })));
}

#[test]
fn a_rotation_retires_the_key_that_signed() {
    let set = KeySet::new(key("1")).rotate(key("2"), seconds(NOW + 9)).unwrap();
    assert_eq!(set.signing_key().unwrap().kid(), Some("2"));
    assert_eq!(judge(&token("1"), &set), Ok(()));
    let set = set.rotate(key("3"), seconds(NOW)).unwrap();
    assert_eq!(set.signing_key().unwrap().kid(), Some("3"));
    assert_eq!(judge(&token("1"), &set), Ok(()));
    assert!(matches!(judge(&token("2"), &set), Err(DecodeError::KeyRetired { .. })));
    assert_eq!(judge(&token("3"), &set), Ok(()));
    assert_eq!(
        set.rotate(key("1"), seconds(NOW)).unwrap_err().to_string(),
        "the kid \"1\" is in the set already"
    );
}

#[test]
fn a_token_without_kid_is_tried_only_where_the_set_says_so() {
    let nameless = encode(&json!({}), &Key::hs256(SECRET).unwrap()).unwrap();
    let set = || {
        KeySet::new(key("new"))
            .accept(Key::hs512(SECRET).unwrap().with_kid("other algorithm"))
            .unwrap()
            .retire(Key::hs256(SECRET).unwrap().with_kid("nameless once"), seconds(NOW + 1))
            .unwrap()
    };
    let error = judge(&nameless, &set()).unwrap_err();
    assert_eq!(error.to_string(), "the header has no kid, so no key can be chosen");
    assert_eq!(judge(&nameless, &set().try_all_without_kid()), Ok(()));
    // A kid that is present still selects the key.
    let error = judge(&token("gone"), &set().try_all_without_kid()).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownKid { .. }));

    let forged = encode(&json!({}), &Key::hs256([9; 32]).unwrap()).unwrap();
    assert_eq!(judge(&forged, &set().try_all_without_kid()), Err(DecodeError::Signature));
    let none_has_it = encode(&json!({}), &Key::hs384(SECRET).unwrap()).unwrap();
    let error = judge(&none_has_it, &set().try_all_without_kid()).unwrap_err();
    assert!(matches!(error, DecodeError::Algorithm { .. }), "{error}");
    let late = KeySet::new(key("new"))
        .retire(Key::hs256(SECRET).unwrap().with_kid("late"), seconds(NOW))
        .unwrap()
        .try_all_without_kid();
    assert!(matches!(judge(&nameless, &late), Err(DecodeError::KeyRetired { .. })));
}

#[test]
fn a_set_requires_distinct_kids() {
    let nameless = || Key::hs256(SECRET).unwrap();
    let alone = || KeySet::from(nameless());
    assert_eq!(alone().accept(key("a")).unwrap_err(), KeySetError::MissingKid);
    assert_eq!(alone().rotate(key("a"), seconds(0)).unwrap_err(), KeySetError::MissingKid);
    let set = || KeySet::new(key("a"));
    assert_eq!(set().accept(nameless()).unwrap_err(), KeySetError::MissingKid);
    assert_eq!(set().retire(nameless(), seconds(0)).unwrap_err(), KeySetError::MissingKid);
    assert_eq!(set().rotate(nameless(), seconds(0)).unwrap_err(), KeySetError::MissingKid);
    let duplicate = KeySetError::DuplicateKid { kid: "a".into() };
    assert_eq!(set().accept(key("a")).unwrap_err(), duplicate);
    assert_eq!(set().retire(key("a"), seconds(0)).unwrap_err(), duplicate);
    let error = set().accept(key("b")).unwrap().accept(key("b")).unwrap_err();
    assert_eq!(error.to_string(), "the kid \"b\" is in the set already");
    assert_eq!(
        KeySetError::MissingKid.to_string(),
        "a key in a set needs a kid: set it with Key::with_kid"
    );
}

/// A set of one key behaves like the key.
#[test]
fn a_key_without_a_kid_is_alone_in_its_set_and_verifies_whatever_the_header_names() {
    let nameless = || Key::hs256(SECRET).unwrap();
    let keys: [&dyn Keys; 3] =
        [&nameless(), &KeySet::new(nameless()), &SharedKeySet::from(nameless())];
    for keys in keys {
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"a"}"#] {
            assert_eq!(judge(&signed_with_header(header, "{}"), keys), Ok(()));
        }
        assert_eq!(judge(&token("a"), keys), Err(DecodeError::Signature));
    }
}

#[test]
fn the_kids_of_a_set_are_listed_and_the_signing_one_is_first() {
    let set = KeySet::new(key("old")).rotate(key("new"), seconds(0)).unwrap();
    assert_eq!(set.kids().collect::<Vec<_>>(), ["new", "old"]);
    assert_eq!(KeySet::new(Key::hs256(SECRET).unwrap()).kids().count(), 0);
}

/// The keys of an application: one for each tenant, and several for a tenant that rotates its key.
struct Tenants(Vec<(&'static str, Vec<Key>)>);

impl Keys for Tenants {
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
        for (tenant, keys) in &self.0 {
            if kid == Some(tenant) {
                // The tenant does not check whether the right key was among them.
                for key in keys {
                    candidates.offer(key);
                }
            }
        }
    }
}

#[test]
fn an_application_finds_its_own_keys() {
    let named = |secret: [u8; 64], tenant| Key::hs256(secret).unwrap().with_kid(tenant);
    let tenants = Tenants(vec![
        ("acme", vec![named([1; 64], "acme"), named([2; 64], "acme"), named([3; 64], "acme")]),
        ("globex", vec![Key::hs512([4; 64]).unwrap()]),
    ]);
    let of = |key: Key| encode(&json!({}), &key).unwrap();
    for byte in [1, 2, 3] {
        assert_eq!(judge(&of(named([byte; 64], "acme")), &tenants), Ok(()));
    }
    let foreign = of(named([4; 64], "acme"));
    assert_eq!(judge(&foreign, &tenants), Err(DecodeError::Signature));
    let unknown = judge(&of(named([1; 64], "initech")), &tenants).unwrap_err();
    assert_eq!(unknown.to_string(), "no key has the kid \"initech\"");
    let nameless = of(Key::hs256([1; 64]).unwrap());
    assert_eq!(judge(&nameless, &tenants), Err(DecodeError::MissingKid));
    // The algorithm is that of the key, whatever the header names.
    assert_eq!(judge(&of(Key::hs512([4; 64]).unwrap().with_kid("globex")), &tenants), Ok(()));
    let confused = judge(&of(named([4; 64], "globex")), &tenants).unwrap_err();
    assert!(matches!(confused, DecodeError::Algorithm { expected: Algorithm::Hs512, .. }));
    // Every kind of pointer works.
    let good = of(named([2; 64], "acme"));
    let shared: Arc<dyn Keys> = Arc::new(tenants);
    let boxed: Box<dyn Keys> = Box::new(Arc::clone(&shared));
    let borrowed: &dyn Keys = &boxed;
    assert_eq!(judge(&good, &shared), Ok(()));
    assert_eq!(judge(&good, &boxed), Ok(()));
    assert_eq!(judge(&good, &borrowed), Ok(()));
    assert_eq!(judge(&good, borrowed), Ok(()));
}

/// A key with an end, which the application finds.
#[test]
fn a_key_is_offered_with_its_end() {
    struct Until(i64);

    impl Keys for Until {
        fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
            assert_eq!(kid, Some("a"));
            assert!(!candidates.offer(&key("b")));
            assert!(candidates.offer_until(&key("a"), seconds(self.0)));
            assert!(candidates.offer(&key("b")), "no further key is looked at");
        }
    }

    assert_eq!(judge(&token("a"), &Until(NOW + 1)), Ok(()));
    let retired = judge(&token("a"), &Until(NOW)).unwrap_err();
    assert!(matches!(retired, DecodeError::KeyRetired { .. }));
}

/// While one thread replaces the set repeatedly, every reader sees a complete set.
#[test]
fn a_shared_set_is_replaced_under_readers() {
    let shared = SharedKeySet::new(KeySet::new(key("0")));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 200 {
                        let keys = shared.load();
                        let signing = keys.signing_key().unwrap();
                        let token = encode(&json!({}), signing).unwrap();
                        assert_eq!(judge(&token, &keys), Ok(()));
                        // The next set also has this key, and the one after that does not.
                        let validation =
                            Validation::new().at(seconds(NOW)).expiry_optional().unwrap();
                        let by_newest = decode::<Value>(&token, &shared, &validation);
                        assert!(matches!(by_newest, Ok(_) | Err(DecodeError::UnknownKid { .. })));
                        let newest = signing.kid().unwrap().parse().unwrap();
                        assert!(newest >= seen, "from {seen} back to {newest}");
                        seen = newest;
                    }
                })
            })
            .collect();
        for kid in 1..=200 {
            let retired = key(&(kid - 1).to_string());
            let set = KeySet::new(key(&kid.to_string()));
            shared.replace(set.retire(retired, seconds(NOW + 1)).unwrap());
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
    // However a header is spelled, a set behind a pointer finds the same key.
    let header = r#"{"kid":"spaced" , "alg":"HS256"}"#;
    let named = Key::hs256(SECRET).unwrap().with_kid("spaced");
    let set = SharedKeySet::new(KeySet::new(named));
    assert_eq!(judge(&signed_with_header(header, "{}"), &set), Ok(()));
    let unknown = judge(&signed_with_header(header, "{}"), &shared);
    assert!(matches!(unknown, Err(DecodeError::UnknownKid { .. })));
    // A set that was loaded before does not change, and a reader does not block the writer.
    let before = shared.load();
    shared.replace(KeySet::new(key("other")));
    assert_eq!(before.signing_key().unwrap().kid(), Some("200"));
    assert_eq!(shared.clone().load().signing_key().unwrap().kid(), Some("other"));
}

fn jwk(members: &str) -> Result<Jwk, JwkError> {
    Jwk::from_json(&format!("{{{members}}}"))
}

const K: &str = r#""k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8""#;

#[test]
fn a_jwk_is_read_and_written() {
    let read =
        jwk(&format!(r#""kty":"oct","alg":"HS256","kid":"a\"b",{K},"x":{{"y":[1]}}"#)).unwrap();
    assert_eq!((read.algorithm(), read.kid()), (Algorithm::Hs256, Some("a\"b")));
    assert_eq!(
        *read.expose_json(),
        format!(r#"{{"kty":"oct","use":"sig","alg":"HS256","kid":"a\"b",{K}}}"#)
    );
    let secret: Vec<u8> = (0..32).collect();
    let (from_jwk, from_secret) = (Key::from_jwk(&read).unwrap(), Key::hs256(&secret).unwrap());
    assert_eq!(from_jwk.kid(), Some("a\"b"));
    let token = encode(&json!({}), &from_secret).unwrap();
    assert_eq!(judge(&token, &from_jwk), Ok(()));

    for &algorithm in Algorithm::ALL {
        for jwk in [
            Jwk::generate(algorithm).unwrap(),
            Jwk::generate(algorithm).unwrap().with_kid("é\n"),
            Jwk::new(algorithm, [7; 99]).unwrap(),
        ] {
            let again = Jwk::from_json(&jwk.expose_json()).unwrap();
            assert_eq!(again.expose_json(), jwk.expose_json());
            assert_eq!((again.algorithm(), again.kid()), (algorithm, jwk.kid()));
        }
    }
    for allowed in [
        r#""use":"sig""#,
        r#""key_ops":["sign"]"#,
        r#""key_ops":["verify","sign"]"#,
        r#""key_ops":["verify","sign","x"]"#,
        r#""key_ops":["https://example.com/audit","verify"]"#,
        r#""k\u0069d":"x""#,
    ] {
        assert!(jwk(&format!(r#""kty":"oct","alg":"HS256",{K},{allowed}"#)).is_ok(), "{allowed}");
    }
}

#[test]
fn rejects_a_jwk_that_is_not_a_symmetric_signing_key() {
    let oct = |members: &str| format!(r#""kty":"oct","alg":"HS256",{K}{members}"#);
    for (members, message) in [
        (format!(r#""alg":"HS256",{K}"#), "the JWK has no kty"),
        (
            format!(r#""kty":"RSA","alg":"HS256",{K}"#),
            r#"the JWK is of the key type "RSA", not "oct""#,
        ),
        (
            format!(r#""kty":"OCT","alg":"HS256",{K}"#),
            r#"the JWK is of the key type "OCT", not "oct""#,
        ),
        (format!(r#""kty":7,"alg":"HS256",{K}"#), "the JWK's kty has the wrong JSON type"),
        (
            format!(r#""kty":"oct",{K}"#),
            "the JWK has no alg: set it with Jwk::from_json_for or JwkSet::from_json_for, in a file with KeyFormat::JwkFor",
        ),
        (format!(r#""kty":"oct","alg":null,{K}"#), "the JWK's alg has the wrong JSON type"),
        (format!(r#""kty":"oct","alg":"A256KW",{K}"#), r#"the JWK is for the algorithm "A256KW""#),
        (format!(r#""kty":"oct","alg":"none",{K}"#), r#"the JWK is for the algorithm "none""#),
        (r#""kty":"oct","alg":"HS256""#.into(), "the JWK has no k"),
        (r#""kty":"oct","alg":"HS256","k":7"#.into(), "the JWK's k has the wrong JSON type"),
        (
            r#""kty":"oct","alg":"HS256","k":"""#.into(),
            "HS256 needs a secret of at least 32 random bytes, this one has 0",
        ),
        (
            format!(r#""kty":"oct","alg":"HS512",{K}"#),
            "HS512 needs a secret of at least 64 random bytes, this one has 32",
        ),
        (oct(r#","use":"enc""#), r#"the JWK is meant for "enc", not for "sig""#),
        (oct(r#","use":["sig"]"#), "the JWK's use has the wrong JSON type"),
        (
            oct(r#","key_ops":["encrypt"]"#),
            r#"the JWK's key_ops are not those of a signature: "encrypt""#,
        ),
        (
            oct(r#","key_ops":["sign","deriveKey"]"#),
            r#"the JWK's key_ops are not those of a signature: "deriveKey""#,
        ),
        (
            oct(r#","key_ops":["sign","sign"]"#),
            r#"the JWK's key_ops are not those of a signature: "sign""#,
        ),
        (
            oct(r#","key_ops":["verify","x","sign","x"]"#),
            r#"the JWK's key_ops are not those of a signature: "x""#,
        ),
        (oct(r#","key_ops":["x"]"#), r#"the JWK's key_ops are not those of a signature: "x""#),
        (
            oct(r#","key_ops":["encrypt","verify"]"#),
            r#"the JWK's key_ops are not those of a signature: "encrypt""#,
        ),
        (oct(r#","key_ops":[]"#), r#"the JWK's key_ops are not those of a signature: """#),
        (oct(r#","key_ops":"sign""#), "the JWK's key_ops has the wrong JSON type"),
        (oct(r#","key_ops":[7]"#), "the JWK's key_ops has the wrong JSON type"),
        (oct(r#","kid":7"#), "the JWK's kid has the wrong JSON type"),
        (
            oct(r#","kid":"a","kid":"a""#),
            r#"not a strict JSON object: the member "kid" occurs twice in one object"#,
        ),
        (
            oct(r#","x":{"y":1,"y":1}"#),
            r#"not a strict JSON object: the member "y" occurs twice in one object"#,
        ),
    ] {
        let error = jwk(&members).expect_err(&members);
        assert_eq!(error.to_string(), message, "{members}");
    }
    assert!(matches!(Jwk::from_json("[]"), Err(JwkError::NotAJwk { .. })));
}

/// RFC 7517 §4.4: `alg` may be omitted. The caller then has to give it.
#[test]
fn the_caller_can_give_the_alg() {
    let without = format!(r#"{{"kty":"oct",{K}}}"#);
    let with = format!(r#"{{"kty":"oct","alg":"HS256",{K}}}"#);
    for text in [&without, &with] {
        assert_eq!(
            Jwk::from_json_for(text, Algorithm::Hs256).unwrap().algorithm(),
            Algorithm::Hs256
        );
    }
    let error = Jwk::from_json_for(&with, Algorithm::Hs384).unwrap_err();
    assert_eq!(error.to_string(), r#"the JWK is for the algorithm "HS256""#);
    assert!(matches!(Jwk::from_json_for(&without, Algorithm::Hs384), Err(JwkError::Key(_))));
}

#[test]
fn a_jwk_set_is_read_and_written() {
    let one = format!(r#"{{"kty":"oct","use":"sig","alg":"HS256","kid":"1",{K}}}"#);
    let two = format!(r#"{{"kty":"oct","use":"sig","alg":"HS256","kid":"2",{K}}}"#);
    for (text, kids) in [
        (r#"{"keys":[]}"#.to_string(), vec![]),
        (format!(r#"{{"keys":[{one}]}}"#), vec![Some("1")]),
        (format!(r#"{{"keys":[{one},{two}]}}"#), vec![Some("1"), Some("2")]),
    ] {
        let set = JwkSet::from_json(&text).unwrap();
        assert_eq!(set.keys().iter().map(Jwk::kid).collect::<Vec<_>>(), kids);
        assert_eq!(*set.expose_json(), text);
        let again =
            JwkSet::new(set.keys().iter().map(|jwk| Jwk::from_json(&jwk.expose_json()).unwrap()));
        assert_eq!(*again.unwrap().expose_json(), text);
    }
    for (text, message) in [
        (
            "{}".to_string(),
            "the JWK has no keys, so it is not a JWK Set: Jwk::from_json reads a single JWK"
                .to_string(),
        ),
        (r#"{"keys":{}}"#.into(), "the JWK's keys has the wrong JSON type".into()),
        (r#"{"keys":[7]}"#.into(), "not a strict JSON object: not a JSON object".into()),
        (
            r#"{"keys":[],"keys":[]}"#.into(),
            r#"not a strict JSON object: the member "keys" occurs twice in one object"#.into(),
        ),
        (format!(r#"{{"keys":[{one},{one}]}}"#), r#"two keys of the set have the kid "1""#.into()),
        (
            format!(r#"{{"keys":[{one},{{"kty":"EC","kid":"2"}}]}}"#),
            r#"the JWK is of the key type "EC", not "oct""#.into(),
        ),
        (
            format!(r#"{{"keys":[{one},{{"kty":"EC","k":"AA"}}]}}"#),
            r#"the JWK is of the key type "EC", not "oct""#.into(),
        ),
    ] {
        assert_eq!(JwkSet::from_json(&text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_set_of_keys_without_alg_is_read_for_an_algorithm() {
    let key = |members: &str| format!(r#"{{"kty":"oct",{members}{K}}}"#);
    let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let without = set(&[key(r#""kid":"1","#), key(r#""kid":"2","alg":"HS256","#)]);
    let keys = JwkSet::from_json_for(&without, Algorithm::Hs256).unwrap();
    assert!(keys.keys().iter().all(|key| key.algorithm() == Algorithm::Hs256));
    assert_eq!(keys.keys().len(), 2);
    assert!(matches!(JwkSet::from_json(&without), Err(JwkError::Missing { parameter: "alg" })));
    let error = JwkSet::from_json_for(&set(&[key(r#""alg":"HS384","#)]), Algorithm::Hs256);
    assert_eq!(error.unwrap_err().to_string(), r#"the JWK is for the algorithm "HS384""#);
}

/// RFC 7517 §5. Keys of another type are skipped, damaged keys are rejected.
#[test]
fn keys_of_other_kinds_are_skipped_on_request() {
    let ours = format!(r#"{{"kty":"oct","alg":"HS256","kid":"ours",{K}}}"#);
    let with = |other: &str| format!(r#"{{"keys":[{other},{ours}]}}"#);
    let oct = |members: &str| format!(r#"{{"kty":"oct","kid":"ours",{members},{K}}}"#);
    for other in [
        r#"{"kty":"RSA","kid":"ours","n":"0vx7","e":"AQAB"}"#.to_string(),
        r#"{"kty":"EC","crv":"P-256","x":"MKBC","y":"4Etl","use":"enc"}"#.into(),
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qY"}"#.into(),
        r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"unH5"}"#.into(),
        oct(r#""alg":"A256KW""#),
        oct(r#""alg":"A256GCM","use":"enc""#),
        oct(r#""use":"enc""#),
        oct(r#""key_ops":["encrypt","decrypt"]"#),
        oct(r#""alg":"HS256","key_ops":["deriveKey"]"#),
    ] {
        let text = with(&other);
        assert!(JwkSet::from_json(&text).is_err(), "{other}");
        for algorithm in [None, Some(Algorithm::Hs256)] {
            let set = JwkSet::from_json_skipping(&text, algorithm).unwrap();
            assert_eq!(set.keys().iter().map(Jwk::kid).collect::<Vec<_>>(), [Some("ours")]);
        }
    }
    // A key for another algorithm than the requested one.
    let long = base64url::encode(&[7; 64]);
    let hs512 = format!(r#"{{"kty":"oct","alg":"HS512","kid":"512","k":"{long}"}}"#);
    let count =
        |algorithm| JwkSet::from_json_skipping(&with(&hs512), algorithm).unwrap().keys().len();
    assert_eq!((count(None), count(Some(Algorithm::Hs256))), (2, 1));

    for (damaged, message) in [
        ("7".to_string(), "not a strict JSON object: not a JSON object"),
        (r#"{"kid":"1"}"#.into(), "the JWK has no k"),
        (format!(r#"{{"kid":"1",{K}}}"#), "the JWK has no kty"),
        (format!(r#"{{"kty":7,{K}}}"#), "the JWK's kty has the wrong JSON type"),
        (r#"{"kty":"oct","alg":"HS256","k":"AA=="}"#.into(), "the JWK's k is not canonical"),
        (r#"{"kty":"oct","alg":"HS256","k":"AA"}"#.into(), "HS256 needs a secret of at least 32"),
        (oct(r#""alg":"HS256","key_ops":[]"#), "the JWK's key_ops are not those of a signature"),
        (
            oct(r#""alg":"HS256","key_ops":["sign","sign"]"#),
            "the JWK's key_ops are not those of a signature",
        ),
        (oct(r#""x":1"#), "the JWK has no alg"),
        (ours.clone(), r#"two keys of the set have the kid "ours""#),
    ] {
        let error = JwkSet::from_json_skipping(&with(&damaged), None).unwrap_err().to_string();
        assert!(error.starts_with(message), "{damaged}: {error}");
    }
    let none = r#"{"keys":[{"kty":"RSA","n":"0vx7","e":"AQAB"}]}"#;
    assert_eq!(JwkSet::from_json_skipping(none, None).unwrap_err(), JwkError::NoKeys);
}

#[test]
fn a_verify_only_set_verifies_and_does_not_sign() {
    let keys = || KeySet::verify_only([key("1"), key("2")]).unwrap();
    for kid in ["1", "2"] {
        assert_eq!(judge(&token(kid), &keys()), Ok(()));
        assert_eq!(judge(&token(kid), &SharedKeySet::new(keys())), Ok(()));
    }
    assert_eq!(keys().signing_key().unwrap_err(), KeySetError::VerifyOnly);
    assert_eq!(keys().kids().collect::<Vec<_>>(), ["1", "2"]);
    assert!(matches!(judge(&token("3"), &keys()), Err(DecodeError::UnknownKid { .. })));
    let nameless = || Key::hs256(SECRET).unwrap();
    let of_nameless = encode(&json!({}), &nameless()).unwrap();
    assert_eq!(judge(&of_nameless, &keys()), Err(DecodeError::MissingKid));
    let all = KeySet::verify_only([key("1"), nameless().with_kid("2")]).unwrap();
    assert_eq!(judge(&of_nameless, &all.try_all_without_kid()), Ok(()));

    // The set can be extended like any other.
    let grown = keys().accept(key("3")).unwrap().retire(key("4"), seconds(NOW)).unwrap();
    assert_eq!(grown.kids().collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert!(matches!(judge(&token("4"), &grown), Err(DecodeError::KeyRetired { .. })));
    assert!(grown.signing_key().is_err());
    let signs = keys().rotate(key("3"), seconds(NOW)).unwrap();
    assert_eq!(signs.signing_key().unwrap().kid(), Some("3"));
    assert_eq!(judge(&token("1"), &signs), Ok(()));

    // A single key needs no id, and verifies whatever kid a token names, like a Key.
    let alone = || KeySet::verify_only([nameless()]).unwrap();
    assert_eq!(judge(&of_nameless, &alone()), Ok(()));
    let named = encode(&json!({}), &nameless().with_kid("x")).unwrap();
    assert_eq!(judge(&named, &alone()), Ok(()));
    assert!(alone().signing_key().is_err());
    assert_eq!(alone().accept(key("a")).unwrap_err(), KeySetError::MissingKid);
    assert_eq!(KeySet::verify_only([key("a"), nameless()]).unwrap_err(), KeySetError::MissingKid);
    let twice = KeySet::verify_only([key("a"), key("a")]).unwrap_err();
    assert_eq!(twice, KeySetError::DuplicateKid { kid: "a".into() });
    let empty = KeySet::verify_only([]).unwrap_err();
    assert_eq!(empty.to_string(), "a set of keys needs at least one key");
}

#[test]
fn a_jwk_set_can_be_verify_only() {
    let named = |kid: &str| Jwk::new(Algorithm::Hs256, [7; 32]).unwrap().with_kid(kid);
    for jwks in [vec![named("1"), named("2")], vec![named("1").verify_only()], vec![named("1")]] {
        let count = jwks.len();
        let keys = KeySet::verify_only_from_jwk_set(&JwkSet::new(jwks).unwrap()).unwrap();
        assert_eq!((keys.kids().count(), keys.signing_key().is_err()), (count, true));
        let token = encode(&json!({}), &Key::hs256([7; 32]).unwrap().with_kid("1")).unwrap();
        assert_eq!(judge(&token, &keys), Ok(()));
    }
    let nothing = KeySet::verify_only_from_jwk_set(&JwkSet::new([]).unwrap()).unwrap_err();
    assert_eq!(nothing, JwkError::NoKeys);
}

/// `key_ops` (RFC 7517 §4.3) names the key that signs. The order does not matter.
#[test]
fn a_jwk_set_names_the_key_that_signs() {
    let named = |kid: &str| Jwk::new(Algorithm::Hs256, [7; 32]).unwrap().with_kid(kid);
    let old = || named("old").verify_only();
    for keys in [vec![named("new"), old()], vec![old(), named("new")]] {
        let stored = JwkSet::new(keys).unwrap().expose_json();
        let set = KeySet::from_jwk_set(&JwkSet::from_json(&stored).unwrap()).unwrap();
        assert_eq!(set.signing_key().unwrap().kid(), Some("new"), "{}", *stored);
        for kid in ["new", "old"] {
            let token = encode(&json!({}), &Key::hs256([7; 32]).unwrap().with_kid(kid)).unwrap();
            assert_eq!(judge(&token, &set), Ok(()));
        }
    }
    let text = old().expose_json();
    let rest = r#""alg":"HS256","kid":"old","k":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}"#;
    assert_eq!(*text, format!(r#"{{"kty":"oct","key_ops":["verify"],{rest}"#));
    for (operations, signs) in
        [(r#"["verify"]"#, false), (r#"["sign"]"#, true), (r#"["verify","sign"]"#, true)]
    {
        let read = Jwk::from_json(&format!(r#"{{"kty":"oct","key_ops":{operations},{rest}"#));
        assert_eq!(read.unwrap().may_sign(), signs, "{operations}");
    }

    let refused =
        |keys: Vec<Jwk>| KeySet::from_jwk_set(&JwkSet::new(keys).unwrap()).unwrap_err().to_string();
    assert_eq!(refused(vec![]), "the JWK Set has no keys");
    assert_eq!(
        refused(vec![old()]),
        r#"no key may sign: the key_ops of each, or of the chosen one, do not contain "sign""#
    );
    assert_eq!(
        refused(vec![named("1"), old(), named("2")]),
        r#"which key signs, "1" or "2"? All but one need "key_ops":["verify"]"#
    );
    let nameless = Jwk::new(Algorithm::Hs256, [7; 32]).unwrap();
    assert_eq!(refused(vec![nameless]), "a key in a set needs a kid: set it with Key::with_kid");

    let set = || JwkSet::new([named("1"), named("2"), old()]).unwrap();
    let chosen = set().with_signing_key("2").unwrap();
    let signing = chosen.keys().iter().map(Jwk::may_sign).collect::<Vec<_>>();
    assert_eq!(signing, [false, true, false]);
    assert_eq!(KeySet::from_jwk_set(&chosen).unwrap().signing_key().unwrap().kid(), Some("2"));
    assert_eq!(
        set().with_signing_key("3").unwrap_err().to_string(),
        r#"no key of the set has the kid "3", which was chosen to sign"#
    );
    assert_eq!(set().with_signing_key("old").unwrap_err(), JwkError::NoSigningKey);
}
