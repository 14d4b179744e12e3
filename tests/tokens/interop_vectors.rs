//! Tokens of eight libraries verify here, and tokens made here verify there, as `scripts/interop`
//! has recorded.
//!
//! `vectors/interop.jsonl` contains the answers of each library to [`requests`].
//! `interop/README.md` describes its members.

use kippu::{Algorithm, DecodeError, Key, Validation, base64url, decode, encode};
use serde_json::{Value, json};

const PEERS: [&str; 8] =
    ["Crypt::JWT", "PyJWT", "fast-jwt", "golang-jwt", "jose", "jsonwebtoken", "libjwt", "ruby-jwt"];

/// The year 2100, so that the recorded tokens do not expire while this test is in use.
const EXP: i64 = 4_102_444_800;

/// Claims, and the audience of their recipient. The names are sorted, so that the tokens are the
/// same however serde_json keeps an object.
fn cases() -> [(&'static str, Value, Option<&'static str>); 5] {
    [
        ("plain", json!({ "exp": EXP, "iss": "https://auth.example", "sub": "user-12345" }), None),
        (
            "unicode",
            json!({
                "exp": EXP,
                "naïve ключ": "\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}<&>",
                "sub": "Żółw 切符 🎫 e\u{301} \u{202e}\u{2028}\u{feff}",
            }),
            None,
        ),
        ("audience", json!({ "aud": "api", "exp": EXP }), Some("api")),
        ("audiences", json!({ "aud": ["web", "api", "切符"], "exp": EXP }), Some("api")),
        (
            "fractions",
            json!({
                "exp": 4_102_444_800.5, "iat": 1_700_000_000.125, "nbf": 1_700_000_000.25,
                "values": [0, -1, 0.5, true, false, null, "", [], {}, { "a": [{ "b": null }] }],
            }),
            None,
        ),
    ]
}

/// Returns the secret for an algorithm, and another one.
fn secrets(algorithm: Algorithm) -> [Vec<u8>; 2] {
    let first = 0_u8..;
    let secret: Vec<u8> = first.take(algorithm.hash_len()).collect();
    let other = secret.iter().map(|byte| !byte).collect();
    [secret, other]
}

/// Returns the requests to each peer, in order: to sign each case, to verify our token of it, and
/// to reject tokens that are not ours.
fn requests() -> Vec<Value> {
    let mut requests = Vec::new();
    for &algorithm in Algorithm::ALL {
        let [secret, other] = secrets(algorithm);
        let request = |direction: &str, (case, claims, audience): &(&str, Value, Option<&str>)| {
            let mut request = json!({
                "direction": direction, "alg": algorithm.as_str(), "case": case, "claims": claims,
                "key": base64url::encode(&secret),
            });
            if let Some(audience) = audience {
                request["audience"] = (*audience).into();
            }
            request
        };
        let ours = |claims: &Value, secret: &[u8]| {
            encode(claims, &Key::new(algorithm, secret).unwrap()).unwrap()
        };
        for case in &cases() {
            requests.push(request("theirs", case));
            let mut verify = request("ours", case);
            verify["token"] = ours(&case.1, &secret).into();
            requests.push(verify);
        }
        let [plain, ..] = cases();
        let token = ours(&plain.1, &secret);
        let more = ours(&json!({ "exp": EXP, "sub": "admin" }), &secret);
        let (start, signature) = token.rsplit_once('.').unwrap();
        let (other_start, _) = more.rsplit_once('.').unwrap();
        for (wrong, token) in [
            ("signature changed", with_signature_changed(&token)),
            ("signature cut off", format!("{start}.")),
            ("claims changed", format!("{other_start}.{signature}")),
            ("another key", ours(&plain.1, &other)),
        ] {
            let mut verify = request("ours", &plain);
            verify["wrong"] = wrong.into();
            verify["token"] = token.into();
            requests.push(verify);
        }
    }
    requests
}

/// Returns the token with a different first symbol of its signature.
fn with_signature_changed(token: &str) -> String {
    let (start, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{start}.{first}{}", &signature[1..])
}

/// Returns the lines of one peer.
fn recorded(peer: &str) -> Vec<Value> {
    let lines = include_str!("../vectors/interop.jsonl").lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["peer"] == peer).collect()
}

/// Returns the request of a recorded line.
fn request_of(mut line: Value) -> Value {
    let members = line.as_object_mut().unwrap();
    for answer in ["peer", "version", "verdict", "read"] {
        members.remove(answer);
    }
    if members["direction"] == "theirs" {
        members.remove("token");
    }
    line
}

#[test]
fn every_peer_has_answered_the_current_requests() {
    let requests = requests();
    assert_eq!(requests.len(), 3 * (5 + 5 + 4));
    for peer in PEERS {
        let lines = recorded(peer);
        assert!(lines.iter().all(|line| line["version"].as_str().is_some_and(|v| !v.is_empty())));
        let asked: Vec<_> = lines.into_iter().map(request_of).collect();
        assert_eq!(asked.len(), requests.len(), "{peer}");
        for (asked, request) in asked.iter().zip(&requests) {
            assert_eq!(asked, request, "{peer}: record it again with scripts/interop");
        }
    }
    let lines = include_str!("../vectors/interop.jsonl").lines().count();
    assert_eq!(lines, PEERS.len() * requests.len(), "a peer that is not in the list");
}

#[test]
fn the_tokens_of_every_peer_verify_with_their_claims() {
    let mut unsigned = Vec::new();
    for peer in PEERS {
        for line in recorded(peer).iter().filter(|line| line["direction"] == "theirs") {
            let Some(token) = line["token"].as_str() else {
                assert_eq!(line["verdict"], "refused", "{line}");
                unsigned.push(format!("{peer}: {} {}", line["alg"], line["case"]));
                continue;
            };
            let algorithm = line["alg"].as_str().unwrap().parse::<Algorithm>().unwrap();
            let [secret, other] =
                secrets(algorithm).map(|secret| Key::new(algorithm, secret).unwrap());
            let validation = match line["audience"].as_str() {
                Some(audience) => Validation::new().audience(audience),
                None => Validation::new(),
            };
            let read = decode::<Value>(token, &secret, &validation);
            assert_eq!(read.as_ref(), Ok(&line["claims"]), "{peer}: {token}");

            let refused = |token: &str, key: &Key| {
                let error = decode::<Value>(token, key, &validation).unwrap_err();
                assert_eq!(error, DecodeError::Signature, "{peer}: {token}");
            };
            refused(&with_signature_changed(token), &secret);
            refused(token, &other);
        }
    }
    // fast-jwt signs only whole seconds, which RFC 7519 does not require. It verifies ours with
    // fractions.
    let whole_seconds = ["HS256", "HS384", "HS512"]
        .map(|algorithm| format!(r#"fast-jwt: "{algorithm}" "fractions""#));
    assert_eq!(unsigned, whole_seconds);
}

#[test]
fn every_peer_reads_our_claims_and_rejects_other_tokens() {
    for peer in PEERS {
        let (mut accepted, mut refused) = (0, 0);
        for line in recorded(peer).iter().filter(|line| line["direction"] == "ours") {
            if line.get("wrong").is_none() {
                assert_eq!(line["verdict"], "accepted", "{line}");
                assert_eq!(line["read"], line["claims"], "{line}");
                accepted += 1;
            } else {
                assert_eq!(line["verdict"], "refused", "{line}");
                refused += 1;
            }
        }
        assert_eq!((accepted, refused), (15, 12), "{peer}");
    }
}

/// For `scripts/interop`, which names the file.
#[test]
#[ignore = "writes the file that KIPPU_INTEROP_REQUESTS names"]
fn write_the_requests() {
    let path = std::env::var("KIPPU_INTEROP_REQUESTS").expect("KIPPU_INTEROP_REQUESTS is set");
    let lines: Vec<_> = requests().iter().map(Value::to_string).collect();
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}
