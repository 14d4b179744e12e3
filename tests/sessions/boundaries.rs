//! Checks each time at which a session, a token or a key expires, from two seconds before to two
//! seconds after, against its rule written out. The unit is the millisecond, which stores keep.

use std::{sync::Arc, time::Duration};

use kippu::{
    Key, KeySet, SharedKeySet,
    session::{
        MemoryStore, NoClaims, RefreshStore, Session, SessionError, Sessions, TokenResponse,
        UnixMillis, store::InsertRequest,
    },
};
use kippu_test_support::{clock, log};

use clock::TestClock;

/// 2026-11-24T00:00:00.250Z, in milliseconds.
const START: i64 = 1_795_478_400_250;
const SECOND: i64 = 1000;
const IDLE: i64 = 100 * SECOND;
const ABSOLUTE: i64 = 250 * SECOND + 7;
const ACCESS: i64 = 60 * SECOND;
const GRACE: i64 = 10 * SECOND;

struct Fixture {
    sessions: Sessions<Arc<MemoryStore>>,
    store: Arc<MemoryStore>,
    clock: &'static TestClock,
}

fn key(byte: u8, kid: &str) -> Key {
    Key::hs256([byte; 32]).unwrap().with_kid(kid)
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap())
}

impl Fixture {
    fn new() -> Self {
        Self::with(key(1, "1"), Duration::ZERO)
    }

    fn with(refresh_keys: impl Into<SharedKeySet>, leeway: Duration) -> Self {
        log::prepare();
        let clock = TestClock::at(START);
        let store = Arc::new(MemoryStore::new(10));
        let sessions = Sessions::builder(Arc::clone(&store))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(key(2, "access"))
            .refresh_key(refresh_keys)
            .access_lifetime(millis(ACCESS))
            .idle_lifetime(millis(IDLE))
            .absolute_lifetime(millis(ABSOLUTE))
            .grace(millis(GRACE))
            .leeway(leeway)
            .unwrap()
            .clock(clock)
            .build()
            .unwrap();
        Self { sessions, store, clock }
    }

    fn set(&self, millis: i64) {
        self.clock.set(millis);
    }

    async fn login(&self) -> TokenResponse {
        self.sessions.login("alice", &NoClaims {}).await.unwrap()
    }

    async fn refresh(&self, tokens: &TokenResponse) -> Result<TokenResponse, SessionError> {
        let welcome = async |_: Session| Ok::<_, std::io::Error>(Some(NoClaims {}));
        self.sessions.refresh(&tokens.refresh_token, welcome).await
    }

    async fn is_listed(&self) -> bool {
        !self.sessions.list("alice").await.unwrap().sessions.is_empty()
    }
}

/// Returns offsets of up to two seconds on either side: each millisecond near the edge, and steps
/// of 20 beyond.
fn offsets() -> impl Iterator<Item = i64> {
    (-100..=100).map(|step| step * 20).chain(-30..=30)
}

/// A session that was not used for its idle lifetime has ended at exactly that millisecond, for
/// every operation.
#[tokio::test]
async fn a_session_ends_on_the_millisecond_of_its_idle_end() {
    for offset in offsets() {
        let fixture = Fixture::new();
        let tokens = fixture.login().await;
        fixture.set(START + IDLE + offset);
        has_ended_from_zero_on(&fixture, &tokens, offset).await;
    }
}

/// Using the session does not move its absolute end.
#[tokio::test]
async fn a_session_ends_on_the_millisecond_of_its_absolute_end() {
    for offset in offsets() {
        let fixture = Fixture::new();
        let mut tokens = fixture.login().await;
        for used_at in [90, 180] {
            fixture.set(START + used_at * SECOND);
            tokens = fixture.refresh(&tokens).await.unwrap();
        }
        fixture.set(START + ABSOLUTE + offset);
        has_ended_from_zero_on(&fixture, &tokens, offset).await;
    }
}

async fn has_ended_from_zero_on(fixture: &Fixture, tokens: &TokenResponse, offset: i64) {
    let has_ended = offset >= 0;
    assert_eq!(fixture.is_listed().await, !has_ended, "list, {offset} ms off");
    // A purge removes the session neither earlier nor later.
    let removed = fixture.sessions.purge_expired(10).await.unwrap();
    assert_eq!(removed, u64::from(has_ended), "purge, {offset} ms off");
    match fixture.refresh(tokens).await {
        Ok(_) => assert!(!has_ended, "refresh, {offset} ms off"),
        // The purge above has removed it.
        Err(SessionError::InvalidToken) => assert!(has_ended, "refresh, {offset} ms off"),
        Err(error) => panic!("{error}, {offset} ms off"),
    }
}

/// The same without a purge, where the error names the reason, and for `verify_live`.
#[tokio::test]
async fn a_stored_session_ends_on_the_millisecond() {
    // The leeway is longer than the time from the end of the access token to that of the session.
    let leeway = Duration::from_secs(60);
    for offset in offsets() {
        let fixture = Fixture::with(key(1, "1"), leeway);
        let tokens = fixture.login().await;
        fixture.set(START + IDLE + offset);
        let live = fixture.sessions.verify_live::<NoClaims>(&tokens.access_token).await;
        let refreshed = fixture.refresh(&tokens).await;
        if offset < 0 {
            assert!(live.is_ok() && refreshed.is_ok(), "{offset} ms off");
        } else {
            assert!(matches!(live, Err(SessionError::Expired)), "{offset} ms off");
            assert!(matches!(refreshed, Err(SessionError::Expired)), "{offset} ms off");
        }
    }
}

/// A retry gets the same token up to and including the last millisecond of the grace period. After
/// that it revokes the session.
#[tokio::test]
async fn the_grace_period_ends_on_the_millisecond() {
    for offset in offsets() {
        let fixture = Fixture::new();
        let first = fixture.login().await;
        fixture.set(START + 5 * SECOND);
        let second = fixture.refresh(&first).await.unwrap();
        fixture.set(START + 5 * SECOND + GRACE + offset);
        match fixture.refresh(&first).await {
            Ok(again) => {
                assert!(offset <= 0, "{offset} ms off");
                assert_eq!(again.refresh_token, second.refresh_token);
            }
            Err(SessionError::Reused) => assert!(offset > 0, "{offset} ms off"),
            Err(error) => panic!("{error}, {offset} ms off"),
        }
        assert_eq!(fixture.is_listed().await, offset <= 0, "{offset} ms off");
    }
}

/// The times of an access token are whole seconds: `iat` is the second of the login, `exp` that of
/// its end, rounded down. Only the whole seconds of a leeway count.
#[tokio::test]
async fn an_access_token_expires_on_the_second_of_its_exp() {
    for leeway in [0, 1500] {
        for offset in offsets() {
            let fixture = Fixture::with(key(1, "1"), millis(leeway));
            let tokens = fixture.login().await;
            let exp = (START + ACCESS).div_euclid(SECOND) * SECOND;
            let now = exp + leeway + offset;
            fixture.set(now);
            let token = fixture.sessions.verify::<NoClaims>(&tokens.access_token);
            let allowed = leeway / SECOND * SECOND;
            assert_eq!(token.is_ok(), now < exp + allowed, "{offset} ms off, leeway {leeway}");
        }
    }
}

/// An access token is not accepted before its `iat` minus the leeway.
#[tokio::test]
async fn an_access_token_is_rejected_before_its_iat() {
    for leeway in [0, 1500] {
        let fixture = Fixture::with(key(1, "1"), millis(leeway));
        let tokens = fixture.login().await;
        let iat = START.div_euclid(SECOND) * SECOND;
        for offset in offsets() {
            let now = iat - leeway + offset;
            fixture.set(now);
            let token = fixture.sessions.verify::<NoClaims>(&tokens.access_token);
            let allowed = leeway / SECOND * SECOND;
            assert_eq!(token.is_ok(), now + allowed >= iat, "{offset} ms off, leeway {leeway}");
        }
    }
}

/// A retired refresh key verifies tokens before the second in which it expires, without a leeway.
#[tokio::test]
async fn a_retired_refresh_key_expires_on_the_second() {
    let until = (START + 20 * SECOND).div_euclid(SECOND) * SECOND;
    let old = Fixture::new();
    let login = old.login().await;
    let record = old.store.load(&login.session_id).await.unwrap().unwrap();
    for offset in offsets() {
        let keys = KeySet::new(key(3, "2"));
        let keys = keys.retire(key(1, "1"), UnixMillis::new(until).into()).unwrap();
        let fixture = Fixture::with(keys, Duration::from_secs(60));
        fixture.store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        fixture.set(until + offset);
        match fixture.refresh(&login).await {
            Ok(_) => assert!(offset < 0, "{offset} ms off"),
            Err(SessionError::InvalidToken) => assert!(offset >= 0, "{offset} ms off"),
            Err(error) => panic!("{error}, {offset} ms off"),
        }
    }
}
