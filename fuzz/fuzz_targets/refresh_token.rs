//! Whatever is presented as a refresh token, it is taken for one only when it is one that was given out, letter by
//! letter; everything else gets one and the same error, and reaches no store.
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
        .access_key(Key::hs256([1; 32]).expect("32 bytes"))
        .refresh_key(Key::hs256(REFRESH).expect("32 bytes").with_kid("2026-11"))
        .build()
        .expect("defaults are safe")
});

const REFRESH: [u8; 32] = [2; 32];

/// A token that was given out.
static GIVEN: LazyLock<String> =
    LazyLock::new(|| now(SESSIONS.login("alice", &NoClaims {})).expect("a login").refresh_token);

/// The answer of a memory store, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("a memory store waits for nothing"),
    }
}

async fn not_asked(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Err(io::Error::other("nothing is used up"))
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (way, bytes) = input;
    let text = match way % 4 {
        // Any text, and any body behind the prefix.
        0 => String::from_utf8_lossy(&bytes).into_owned(),
        1 => format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(&bytes)),
        // The token with some bytes changed, as text.
        2 => {
            let mut text = GIVEN.clone().into_bytes();
            for pair in bytes.chunks_exact(2) {
                let index = usize::from(pair[0]) % text.len();
                text[index] = pair[1];
            }
            String::from_utf8_lossy(&text).into_owned()
        }
        // A body that the key signed: its form has to be right too, and its session known.
        _ => {
            let signed = [REFRESH_TOKEN_PREFIX.as_bytes(), &bytes].concat();
            let tag = Hmac::new(kippu::Algorithm::Hs256, &REFRESH).tag(&signed);
            format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(&[&bytes, tag.as_ref()].concat()))
        }
    };
    match now(SESSIONS.refresh(&text, not_asked)) {
        Err(SessionError::InvalidToken) => assert_ne!(text, *GIVEN),
        // It got as far as to ask the application, which takes the right session and the right generation.
        Err(SessionError::Authorize(_)) => {
            let body = |text: &str| {
                let symbols = text.strip_prefix(REFRESH_TOKEN_PREFIX).expect("the prefix");
                base64url::decode(symbols).expect("one spelling")
            };
            let (presented, given) = (body(&text), body(&GIVEN));
            // Version, id of the key, id of the session, its origin; what is ahead of the store is believed.
            assert_eq!(presented[..41], given[..41]);
            assert!(way % 4 == 3 || text == *GIVEN, "nobody made {text}");
        }
        other => panic!("{other:?}"),
    }
});
