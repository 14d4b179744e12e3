//! A text is accepted as a refresh token only if it equals an issued one byte for byte. Every other
//! text gets the same error, and reaches no store.
#![no_main]

use std::{
    io,
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use kippu::{
    Key, base64url,
    hmac::Hmac,
    session::{MemoryStore, NoClaims, REFRESH_TOKEN_PREFIX, Session, SessionError, Sessions},
};
use libfuzzer_sys::fuzz_target;

static SESSIONS: LazyLock<Sessions<MemoryStore>> = LazyLock::new(|| {
    Sessions::builder(MemoryStore::new(1000))
        .issuer("i")
        .audience("a")
        .client("c")
        .access_key(Key::hs256(ACCESS).expect("32 bytes"))
        .refresh_key(Key::hs256(REFRESH).expect("32 bytes").with_kid("2026-11"))
        .build()
        .expect("defaults are safe")
});

const ACCESS: [u8; 32] = [1; 32];
const REFRESH: [u8; 32] = [2; 32];

/// Issued tokens: two of one user, one of another.
static GIVEN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let login =
        |subject| now(SESSIONS.login(subject, &NoClaims {})).expect("a login").refresh_token;
    ["alice", "alice", "bob"].map(login).to_vec()
});

/// Returns the answer of a memory store, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("a memory store never waits"),
    }
}

async fn not_asked(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Err(io::Error::other("no token is used up"))
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (way, bytes) = input;
    let text = presented(way, &bytes);
    let is_given = GIVEN.contains(&text);
    match now(SESSIONS.refresh(&text, not_asked)) {
        Err(SessionError::InvalidToken) => assert!(!is_given, "{text} was issued"),
        // The token got as far as the application: it has the right session and generation.
        Err(SessionError::Authorize(_)) => {
            let presented = body(&text);
            // Version, id of the key, id of the session, its origin. A token ahead of the store is
            // accepted.
            assert!(GIVEN.iter().any(|given| presented[..41] == body(given)[..41]));
            assert!(way % 8 == SIGNED || is_given, "{text} was not issued");
        }
        other => panic!("{other:?}"),
    }
});

/// The way of [`presented`] that uses the key.
const SIGNED: u8 = 3;

/// Returns the presented text: any text, or a variation of issued tokens.
fn presented(way: u8, bytes: &[u8]) -> String {
    let pairs = || bytes.chunks_exact(2).map(|pair| (usize::from(pair[0]), pair[1]));
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let one = |index: u8| &GIVEN[usize::from(index) % GIVEN.len()];
    let written = |body: &[u8]| format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(body));
    match way % 8 {
        // Any text, and any body after the prefix.
        0 => String::from_utf8_lossy(bytes).into_owned(),
        1 => written(bytes),
        // A token with some bytes changed, as text.
        2 => {
            let mut text = one(0).clone().into_bytes();
            for (index, byte) in pairs() {
                let index = index % text.len();
                text[index] = byte;
            }
            String::from_utf8_lossy(&text).into_owned()
        }
        // A body that the key has signed. Its form and its session must also be right.
        SIGNED => {
            let signed = [REFRESH_TOKEN_PREFIX.as_bytes(), bytes].concat();
            let tag = Hmac::new(kippu::Algorithm::Hs256, &REFRESH).tag(&signed);
            written(&[bytes, tag.as_ref()].concat())
        }
        // A token with some bits of its body changed.
        4 => {
            let mut body = body(one(*first));
            for pair in rest.chunks_exact(2) {
                let index = usize::from(pair[0]) % body.len();
                body[index] ^= pair[1];
            }
            written(&body)
        }
        // Fields of several tokens, concatenated.
        5 => {
            let cuts = [0, 1, 2, 9, 25, 41, 49, 81];
            let mut spliced = Vec::new();
            for (field, from) in cuts.windows(2).zip(bytes.iter().chain(std::iter::repeat(&0))) {
                spliced.extend_from_slice(&body(one(*from))[field[0]..field[1]]);
            }
            written(&spliced)
        }
        // A token with something added or removed.
        6 => {
            let mut text = one(*first).clone();
            for (place, byte) in rest.chunks_exact(2).map(|pair| (usize::from(pair[0]), pair[1])) {
                let place = place % (text.len() + 1);
                match byte {
                    128.. if place < text.len() => drop(text.remove(place)),
                    _ => text.insert(place, char::from(byte % 128)),
                }
            }
            text
        }
        // The body of a token, signed with the wrong key, or without the prefix that must be signed
        // with it.
        _ => {
            let mut body = body(one(*first));
            body.truncate(body.len() - 32);
            for (at, change) in rest.chunks_exact(2).skip(1).map(|pair| (pair[0], pair[1])) {
                let at = usize::from(at) % body.len();
                body[at] ^= change;
            }
            let prefixed = [REFRESH_TOKEN_PREFIX.as_bytes(), &body].concat();
            let choice = rest.first().copied().unwrap_or_default() % 5;
            let (secret, message): (&[u8], &[u8]) = match choice {
                0 => (&ACCESS, &prefixed),
                1 => (&[0; 32], &prefixed),
                2 => (&[], &prefixed),
                3 => (&REFRESH, &body),
                _ => (&REFRESH, REFRESH_TOKEN_PREFIX.as_bytes()),
            };
            let tag = Hmac::new(kippu::Algorithm::Hs256, secret).tag(message);
            written(&[&body, tag.as_ref()].concat())
        }
    }
}

fn body(text: &str) -> Vec<u8> {
    let symbols = text.strip_prefix(REFRESH_TOKEN_PREFIX).expect("the prefix");
    base64url::decode(symbols).expect("one spelling")
}
