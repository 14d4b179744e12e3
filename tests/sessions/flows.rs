//! The rules of a login from the outside: what tokens do, which calls a store gets, and what
//! clients and operators see.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use kippu::{
    Algorithm, InvalidOption, Key, KeySet, KeySetError, NumericDate, SharedKeySet, Validation,
    base64url, decode, encode,
    session::{
        AccessVerifier, ConfigError, Event, EventKind, Login, MemoryStore, NoClaims,
        RefreshKeyError, RefreshStore, RevokeReason, Session, SessionError, SessionRecord,
        Sessions, SessionsBuilder, TokenResponse, UnixMillis,
        conformance::{Fault, Faulty, Method},
        rotation::{AheadPolicy, RotateRequest},
        store::{InsertRequest, ListRequest},
    },
};
use kippu_test_support::{clock, log, signing};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use clock::TestClock;
use log::Log;

const ISSUER: &str = "https://auth.example";
/// 2026-11-24T00:00:00Z, in milliseconds.
pub(crate) const START: i64 = 1_795_478_400_000;
pub(crate) const SECOND: i64 = 1000;
pub(crate) const DAY: i64 = 24 * 3600 * SECOND;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    role: String,
}

pub(crate) fn admin() -> Profile {
    Profile { role: "admin".into() }
}

pub(crate) fn access_key() -> Key {
    Key::hs256([0x5a; 32]).unwrap()
}

fn refresh_key(byte: u8, kid: &str) -> Key {
    Key::hs256([byte; 32]).unwrap().with_kid(kid)
}

fn builder<S: RefreshStore>(store: S) -> SessionsBuilder<S> {
    builder_for("web", store)
}

fn builder_for<S: RefreshStore>(client: &str, store: S) -> SessionsBuilder<S> {
    log::prepare();
    Sessions::builder(store)
        .issuer(ISSUER)
        .audience("api")
        .client(client)
        .access_key(access_key())
        .refresh_key(refresh_key(0x5b, "1"))
}

type Store = Arc<Faulty<MemoryStore>>;
type Builder = SessionsBuilder<Store>;

fn store() -> Store {
    Arc::new(Faulty::new(MemoryStore::new(1000)))
}

/// Sessions over a store that records its calls, with a clock that only the test moves, and the
/// events that they reported.
pub(crate) struct Fixture {
    pub(crate) sessions: Sessions<Store>,
    pub(crate) store: Store,
    pub(crate) clock: &'static TestClock,
    pub(crate) events: Arc<Mutex<Vec<EventKind>>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let (store, clock) = (store(), TestClock::at(START));
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let builder = builder(Arc::clone(&store))
            .clock(clock)
            .on_event(move |event: &Event<'_>| told.lock().unwrap().push(event.kind));
        Self { sessions: options(builder).build().unwrap(), store, clock, events }
    }

    pub(crate) async fn login(&self) -> TokenResponse {
        self.sessions.login("alice", &admin()).await.unwrap()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<TokenResponse, SessionError> {
        self.sessions.refresh(token, welcome).await
    }

    pub(crate) fn events(&self) -> Vec<EventKind> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

async fn welcome(_: Session) -> Result<Option<Profile>, io::Error> {
    Ok(Some(admin()))
}

#[tokio::test]
async fn a_login_from_its_beginning_to_its_end() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let tokens = sessions.login(Login::new("alice").label("Firefox"), &admin()).await.unwrap();
    assert_eq!(fixture.store.take_calls(), [Method::Insert]);

    let who = sessions.verify::<Profile>(&tokens.access_token).unwrap();
    assert_eq!(fixture.store.take_calls(), []);
    assert_eq!((&*who.subject, &*who.client_id, who.claims), ("alice", "web", admin()));
    assert_eq!(who.session_id, tokens.session_id);
    assert_eq!(who.expires_at.saturating_since(who.issued_at), Duration::from_secs(900));

    fixture.clock.advance(60 * SECOND);
    let next = fixture.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(fixture.store.take_calls(), [Method::Load, Method::Rotate]);
    assert_ne!(next.refresh_token, tokens.refresh_token);
    let again = sessions.verify_live::<Profile>(&next.access_token).await.unwrap();
    assert_eq!(fixture.store.take_calls(), [Method::Load]);
    assert_ne!(again.jwt_id, who.jwt_id);
    assert_eq!(again.auth_time, who.auth_time);

    let listed = sessions.list("alice").await.unwrap().sessions;
    let [session] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((session.id, session.label.as_deref()), (tokens.session_id, Some("Firefox")));
    assert_eq!(session.created_at, UnixMillis::new(START).into());
    assert_eq!(session.last_used_at, UnixMillis::new(START + 60 * SECOND).into());
    let idle_end = START + 60 * SECOND + 14 * DAY;
    assert_eq!(session.expires_at, UnixMillis::new(idle_end).into());

    sessions.logout(&tokens.refresh_token).await.unwrap();
    sessions.logout(&next.refresh_token).await.unwrap();
    let refused = fixture.refresh(&next.refresh_token).await.unwrap_err();
    assert!(matches!(refused, SessionError::Revoked(RevokeReason::Logout)), "{refused}");
    let dead = sessions.verify_live::<Profile>(&next.access_token).await.unwrap_err();
    assert!(matches!(dead, SessionError::Revoked(RevokeReason::Logout)), "{dead}");
    assert!(sessions.list("alice").await.unwrap().sessions.is_empty());
    let revoked = EventKind::Revoked { reason: RevokeReason::Logout, sessions: 1 };
    assert_eq!(fixture.events(), [EventKind::LoggedIn, EventKind::Rotated, revoked]);
}

#[tokio::test]
async fn the_response_is_that_of_rfc_6749() {
    let tokens = Fixture::new().login().await;
    let json = serde_json::to_value(&tokens).unwrap();
    let expected = serde_json::json!({
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_token": tokens.refresh_token,
        // Extensions, which RFC 6749 §5.1 has a client ignore that does not know them.
        "refresh_expires_in": 14 * 86_400,
        "session_id": tokens.session_id.to_string(),
        "remembered": true,
    });
    assert_eq!(json, expected);
    assert!(tokens.refresh_token.starts_with("kippu_rt_"));
    let shown = format!("{tokens:?}");
    assert!(!shown.contains(&tokens.access_token) && !shown.contains(&tokens.refresh_token));
}

/// A clock is rarely at a whole second.
#[tokio::test]
async fn lifetimes_are_whole_seconds() {
    let fixture = Fixture::new();
    fixture.clock.advance(999);
    let tokens = fixture.login().await;
    assert_eq!(tokens.expires_in, Duration::from_secs(900));
    let token = fixture.sessions.verify::<Profile>(&tokens.access_token).unwrap();
    assert_eq!(token.expires_at.saturating_since(token.issued_at), tokens.expires_in);
}

/// Any resource server can read this with the core alone.
#[tokio::test]
async fn an_access_token_has_the_claims_of_rfc_9068() {
    let fixture = Fixture::new();
    let token = fixture.login().await.access_token;
    let header = kippu::unverified_header(&token, token.len()).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let now = NumericDate::from(UnixMillis::new(START));
    let validation = Validation::new().issuer(ISSUER).audience("api").typ("at+jwt").at(now);
    let claims: serde_json::Value = decode(&token, &access_key(), &validation).unwrap();
    let mut names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected =
        ["aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "role", "sid", "sub"];
    assert_eq!(names, expected);
}

/// The application's claims are joined with those of the session, and keep their spelling.
#[tokio::test]
async fn the_applications_claims_keep_every_digit() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Account {
        limit: Box<RawValue>,
    }
    let fixture = Fixture::new();
    for spelled in ["0.1234567890123456789", "1.50e+2", "-0.0", r#"{"a" : [1.0, "\u0061"]}"#] {
        let account = Account { limit: RawValue::from_string(spelled.into()).unwrap() };
        let tokens = fixture.sessions.login("alice", &account).await.unwrap();
        let next = fixture
            .sessions
            .refresh(&tokens.refresh_token, async |_: Session| {
                Ok::<_, io::Error>(Some(account.clone()))
            })
            .await
            .unwrap();
        for token in [tokens.access_token, next.access_token] {
            let access = fixture.sessions.verify::<Account>(&token).unwrap();
            assert_eq!(access.claims.limit.get(), spelled);
        }
    }
}

#[tokio::test]
async fn neither_token_is_accepted_as_the_other() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    assert!(fixture.sessions.verify::<Profile>(&tokens.refresh_token).is_err());
    let error = fixture.refresh(&tokens.access_token).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken));
    // A JWT of another type under the same key.
    let claims = serde_json::json!({
        "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "web", "jti": "1",
        "sid": tokens.session_id, "iat": START / SECOND, "exp": START / SECOND + 60, "role": "admin",
    });
    let jwt = encode(&claims, &access_key()).unwrap();
    assert!(fixture.sessions.verify::<Profile>(&jwt).is_err());
    let typed = kippu::encode_with_typ(&claims, &access_key(), "at+jwt").unwrap();
    assert!(fixture.sessions.verify::<Profile>(&typed).is_ok());
    for claim in ["sub", "client_id", "jti", "sid", "iat", "exp", "iss", "aud"] {
        let mut less = claims.clone();
        less.as_object_mut().unwrap().remove(claim);
        let jwt = kippu::encode_with_typ(&less, &access_key(), "at+jwt").unwrap();
        let error = fixture.sessions.verify::<Profile>(&jwt).unwrap_err();
        let missing = kippu::ClaimError::Missing { claim: claim.into() };
        assert_eq!(error, kippu::DecodeError::Claim(missing));
    }
}

/// They are read in the same pass as the application's own claims.
#[tokio::test]
async fn a_repeated_or_malformed_session_claim_is_rejected() {
    let fixture = Fixture::new();
    let sid = fixture.login().await.session_id;
    let verifier = AccessVerifier::new(signing::key(), ISSUER, "api").clock(fixture.clock);
    let signed = |ends: i64, members: &str| {
        let end = START / SECOND + ends;
        let payload = format!(
            r#"{{"iss":"{ISSUER}","aud":"api","sub":"ali\u0063e","jti":"1","role":"admin","exp":{end},{members}}}"#
        );
        signing::signed_with_header(r#"{"alg":"HS256","typ":"at+jwt"}"#, &payload)
    };
    let verify = |members: &str| {
        let token = signed(60, members);
        verifier.verify::<Profile>(&token).map_err(|error| error.to_string())
    };
    let rest = format!(r#""iat":1,"client_id":"web","sid":"{sid}""#);
    let token = verify(&format!(r#"{rest},"auth_time":7"#)).unwrap();
    assert_eq!((&*token.subject, &*token.client_id, &*token.jwt_id), ("alice", "web", "1"));
    assert_eq!((token.session_id, token.issued_at.seconds()), (sid, 1));
    assert_eq!(token.auth_time, Some(NumericDate::from_seconds(7)));
    assert_eq!(token.expires_at.seconds(), START / SECOND + 60);
    assert_eq!(verify(&rest).unwrap().auth_time, None);
    for (members, says) in [
        (r#""sid":"short","client_id":"web""#, "sid is malformed: a session id has 22 symbols"),
        (r#""sid":7,"client_id":"web""#, "sid is malformed: a value of another type"),
        (r#""sid":"SID","client_id":null"#, "client_id is malformed: a value of another type"),
        (
            r#""sid":"SID","client_id":"web","auth_time":null"#,
            "auth_time is malformed: a value of another type",
        ),
        (r#""sid":"SID","client_id":"web","sid":"SID""#, "the member \"sid\" occurs twice"),
        (
            r#""sid":"SID","client_id":"web","client_id":"web""#,
            "the member \"client_id\" occurs twice",
        ),
        (
            r#""auth_time":1,"sid":"SID","client_id":"web","auth_time":1"#,
            "the member \"auth_time\"",
        ),
    ] {
        let members = format!(r#""iat":1,{}"#, members.replace("SID", &sid.to_string()));
        let error = verify(&members).unwrap_err();
        assert!(error.contains(says), "{error}");
        // `explain` reports it, too, whatever else is wrong.
        for (ends, failures) in [(60, 1), (-60, 2)] {
            let explanation = verifier.explain(&signed(ends, &members));
            assert!(explanation.to_string().contains(says), "{explanation}");
            let is_text = explanation.failures().all(|(check, _)| check != "payload");
            assert_eq!(explanation.failures().count(), if is_text { failures } else { 1 });
        }
    }
    let explanation = verifier.explain(&signed(60, &format!(r#"{rest},"auth_time":7"#)));
    assert!(explanation.is_accepted(), "{explanation}");
}

#[tokio::test]
async fn the_verifiers_half_needs_no_store() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let verifier = |audience: &str| {
        AccessVerifier::new(access_key(), ISSUER, audience)
            .leeway(Duration::ZERO)
            .unwrap()
            .clock(fixture.clock)
    };
    let verify = |audience| verifier(audience).verify::<Profile>(&tokens.access_token);
    assert_eq!(verify("api").unwrap().claims, admin());
    assert!(verify("other").is_err());
    // Each of its checks can be seen to fail.
    for (audience, is_accepted) in [("api", true), ("other", false)] {
        let explanation = verifier(audience).explain(&tokens.access_token);
        assert_eq!(explanation.is_accepted(), is_accepted);
        let first = explanation.failures().next().map(|(_, error)| error.clone());
        assert_eq!(first, verify(audience).err());
    }
    assert!(verifier("other").audience("api").verify::<NoClaims>(&tokens.access_token).is_ok());
    fixture.clock.advance(900 * SECOND - 1);
    assert!(verify("api").is_ok());
    fixture.clock.advance(1);
    assert!(verify("api").is_err());
}

/// R1, R2: all callers of a race, and all retries, get the same successor.
#[tokio::test]
async fn a_retry_within_the_grace_gets_the_same_successor() {
    let fixture = Fixture::new();
    let first = fixture.login().await;
    let next = fixture.refresh(&first.refresh_token).await.unwrap();
    for _ in 0..2 {
        fixture.clock.advance(5 * SECOND);
        let replayed = fixture.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(replayed.refresh_token, next.refresh_token);
        assert_ne!(replayed.access_token, next.access_token);
        assert!(fixture.sessions.verify::<Profile>(&replayed.access_token).is_ok());
    }
    let replays = [EventKind::Replayed; 2];
    assert_eq!(
        fixture.events(),
        [&[EventKind::LoggedIn, EventKind::Rotated], &replays[..]].concat()
    );
    // The window did not slide: R3.
    fixture.clock.advance(1);
    assert!(matches!(fixture.refresh(&first.refresh_token).await, Err(SessionError::Reused)));
    for token in [&first, &next] {
        let error = fixture.refresh(&token.refresh_token).await.unwrap_err();
        assert!(matches!(error, SessionError::Revoked(RevokeReason::Reuse)), "{error}");
        assert_eq!(error.oauth_error(), "invalid_grant");
    }
    assert_eq!(fixture.events(), [EventKind::ReuseDetected]);
}

#[tokio::test]
async fn the_grandparent_of_a_token_ends_its_session_at_once() {
    let fixture = Fixture::new();
    let first = fixture.login().await;
    let second = fixture.refresh(&first.refresh_token).await.unwrap();
    fixture.refresh(&second.refresh_token).await.unwrap();
    assert!(matches!(fixture.refresh(&first.refresh_token).await, Err(SessionError::Reused)));
}

#[tokio::test]
async fn without_a_grace_a_second_presentation_ends_the_session() {
    let fixture = Fixture::with(|builder| builder.grace(Duration::ZERO));
    let first = fixture.login().await;
    fixture.refresh(&first.refresh_token).await.unwrap();
    assert!(matches!(fixture.refresh(&first.refresh_token).await, Err(SessionError::Reused)));
}

/// R4.
#[tokio::test]
async fn a_revoked_session_replays_nothing() {
    let fixture = Fixture::new();
    let first = fixture.login().await;
    let next = fixture.refresh(&first.refresh_token).await.unwrap();
    fixture.sessions.logout(&next.refresh_token).await.unwrap();
    assert!(matches!(
        fixture.refresh(&first.refresh_token).await,
        Err(SessionError::Revoked(RevokeReason::Logout))
    ));
}

/// R5: one answer, no write, and no query if the tag is wrong.
#[tokio::test]
async fn a_token_that_no_key_made_never_reaches_the_store() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let token = &tokens.refresh_token;
    fixture.store.take_calls();
    let mut bad: Vec<String> = (0..token.len()).map(|end| token[..end].to_owned()).collect();
    for offset in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        let byte = changed.get_mut(offset).unwrap();
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        bad.push(String::from_utf8(changed).unwrap());
    }
    bad.extend([
        format!("{token}A"),
        format!("{token}="),
        "A".repeat(1 << 20),
        tokens.access_token,
    ]);
    let unknown_key = Fixture::with(|b| b.refresh_key(refresh_key(1, "1"))).login().await;
    bad.push(unknown_key.refresh_token);
    for token in &bad {
        for error in [
            fixture.refresh(token).await.unwrap_err(),
            fixture.sessions.logout(token).await.unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "the refresh token is not valid");
            assert!(matches!(error, SessionError::InvalidToken));
        }
    }
    assert_eq!(fixture.store.take_calls(), []);
    assert!(fixture.refresh(token).await.is_ok());
    // A token of an unknown session gets the same answer, after one read.
    let elsewhere = Fixture::new().login().await;
    fixture.store.take_calls();
    let error = fixture.refresh(&elsewhere.refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken));
    assert_eq!(fixture.store.take_calls(), [Method::Load]);
}

/// A correct session id with many forged tags.
#[tokio::test]
async fn forged_tags_change_nothing() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    fixture.store.take_calls();
    let body = base64url::decode(tokens.refresh_token.strip_prefix("kippu_rt_").unwrap()).unwrap();
    let (signed, _) = body.split_at(body.len() - 32);
    let mut forged = signed.to_vec();
    for tag in 0..50_000_u32 {
        forged.truncate(signed.len());
        forged.extend_from_slice(&[0x11; 28]);
        forged.extend_from_slice(&tag.to_be_bytes());
        let token = format!("kippu_rt_{}", base64url::encode(&forged));
        assert!(matches!(fixture.refresh(&token).await, Err(SessionError::InvalidToken)));
    }
    assert_eq!(fixture.store.take_calls(), []);
    assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
}

/// R6: the store loses a generation, as after the restoration of a backup.
#[tokio::test]
async fn a_store_that_lost_commits_catches_up_or_refuses() {
    for policy in [AheadPolicy::Heal, AheadPolicy::Refuse] {
        let fixture = Fixture::with(|builder| builder.ahead(policy));
        let first = fixture.login().await;
        let backup = fixture.store.inner().load(&first.session_id).await.unwrap().unwrap();
        let second = fixture.refresh(&first.refresh_token).await.unwrap();
        let third = fixture.refresh(&second.refresh_token).await.unwrap();
        // The store as it was before both rotations.
        let restored = MemoryStore::new(1000);
        restored.insert(&InsertRequest::new(backup.clone())).await.unwrap();
        fixture.store.restore(restored);
        fixture.events();
        let answer = fixture.refresh(&third.refresh_token).await;
        if policy == AheadPolicy::Heal {
            let healed = answer.unwrap();
            assert_eq!(fixture.events(), [EventKind::Healed { lost: 2 }]);
            let replayed = fixture.refresh(&third.refresh_token).await.unwrap();
            assert_eq!(replayed.refresh_token, healed.refresh_token);
            assert!(fixture.refresh(&healed.refresh_token).await.is_ok());
        } else {
            assert!(matches!(answer, Err(SessionError::Ahead { lost: 2 })));
            assert_eq!(fixture.events(), [EventKind::Ahead { lost: 2 }]);
            let stored = fixture.store.inner().load(&backup.id).await.unwrap().unwrap();
            assert_eq!(stored, backup);
        }
    }
}

/// R7: to the millisecond, with or without a purge.
#[tokio::test]
async fn a_session_ends_on_the_millisecond() {
    for (before, expected) in [(1, true), (0, false)] {
        let fixture = Fixture::new();
        let tokens = fixture.login().await;
        fixture.clock.set(START + 14 * DAY - before);
        let answer = fixture.refresh(&tokens.refresh_token).await;
        assert_eq!(answer.is_ok(), expected);
        if let Err(error) = answer {
            assert!(matches!(error, SessionError::Expired), "{error}");
        }
    }
}

#[tokio::test]
async fn the_absolute_end_never_moves() {
    let fixture = Fixture::new();
    let mut tokens = fixture.login().await;
    for day in (10..30).step_by(10) {
        fixture.clock.set(START + day * DAY);
        tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    }
    fixture.clock.set(START + 30 * DAY - 60 * SECOND);
    tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    // An access token does not outlive it either.
    assert_eq!(tokens.expires_in, Duration::from_secs(60));
    assert_eq!(tokens.refresh_expires_in, Duration::from_secs(60));
    fixture.clock.set(START + 30 * DAY);
    assert!(matches!(fixture.refresh(&tokens.refresh_token).await, Err(SessionError::Expired)));
}

/// R8.
#[tokio::test]
async fn a_clock_that_jumps_extends_no_session() {
    let fixture = Fixture::new();
    let first = fixture.login().await;
    let next = fixture.refresh(&first.refresh_token).await.unwrap();
    let before = fixture.store.inner().load(&first.session_id).await.unwrap();
    fixture.clock.advance(-3600 * SECOND);
    let replayed = fixture.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(replayed.refresh_token, next.refresh_token);
    assert_eq!(fixture.store.inner().load(&first.session_id).await.unwrap(), before);
    let later = fixture.refresh(&next.refresh_token).await.unwrap();
    let record = fixture.store.inner().load(&first.session_id).await.unwrap().unwrap();
    assert!(record.expires_at < before.unwrap().expires_at);
    for millis in [START + 3650 * DAY, i64::MAX, UnixMillis::MAX.get()] {
        fixture.clock.set(millis);
        let error = fixture.refresh(&later.refresh_token).await.unwrap_err();
        assert!(matches!(error, SessionError::Expired));
    }
    // No store write used the wrong clock.
    fixture.clock.set(START);
    assert!(fixture.refresh(&later.refresh_token).await.is_ok());
    fixture.clock.set(i64::MIN);
    fixture.login().await;
}

/// R2: in the record that is read first the grace period has ended; in the stored one it has not.
#[tokio::test]
async fn a_token_is_replayed_after_a_concurrent_correction() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let next = fixture.refresh(&tokens.refresh_token).await.unwrap();
    fixture.events();
    fixture.store.misread(|record| {
        record.rotated_at = UnixMillis::new(record.rotated_at.get() - 60 * SECOND);
    });
    let again = fixture.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(again.refresh_token, next.refresh_token);
    assert_eq!(fixture.events(), [EventKind::Replayed]);
    assert!(fixture.refresh(&again.refresh_token).await.is_ok());
}

/// The record that is read first shows a reuse. The store that answers next has lost both rotations
/// in a failover, and rotates. The third step returns the same successor.
#[tokio::test]
async fn a_rotation_by_the_second_store_call_is_reported() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    fixture.events();
    fixture.store.take_calls();
    fixture.store.misread(|record| record.generation += 2);
    let next = fixture.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(fixture.events(), [EventKind::Rotated, EventKind::Replayed]);
    assert_eq!(fixture.store.take_calls(), [Method::Load, Method::Rotate, Method::Rotate]);
    assert!(fixture.refresh(&next.refresh_token).await.is_ok());
}

/// R9.
#[tokio::test]
async fn the_application_can_end_the_session_at_a_refresh() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    fixture.events();
    let cannot = async |_: Session| Err::<Option<Profile>, _>("the user table is away");
    let error = fixture.sessions.refresh(&tokens.refresh_token, cannot).await.unwrap_err();
    assert!(matches!(error, SessionError::Authorize(_)), "{error}");
    assert!(error.is_transient());
    assert_eq!(error.oauth_error(), "temporarily_unavailable");
    assert!(fixture.events().is_empty());

    let seen = async |session: Session| {
        assert_eq!((&*session.subject, &*session.client), ("alice", "web"));
        Ok::<_, io::Error>(Some(Profile { role: "guest".into() }))
    };
    let next = fixture.sessions.refresh(&tokens.refresh_token, seen).await.unwrap();
    assert_eq!(
        fixture.sessions.verify::<Profile>(&next.access_token).unwrap().claims.role,
        "guest"
    );

    let no = async |_: Session| Ok::<Option<Profile>, io::Error>(None);
    let error = fixture.sessions.refresh(&next.refresh_token, no).await.unwrap_err();
    assert!(matches!(error, SessionError::Denied));
    assert_eq!(fixture.events(), [EventKind::Rotated, EventKind::Denied]);
    // The application is not asked any more.
    let asked = async |_: Session| -> Result<Option<Profile>, io::Error> { panic!("asked") };
    let error = fixture.sessions.refresh(&next.refresh_token, asked).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::Denied)));
}

/// A password is changed while a login with the old one is in flight.
#[tokio::test]
async fn a_login_overtaken_by_a_logout_of_all_leaves_no_session() {
    let fixture = Fixture::new();
    let overtaken = async |session: Session| {
        fixture.sessions.logout_all(&session.subject).await.unwrap();
        Ok::<_, io::Error>(Some(admin()))
    };
    let error = fixture.sessions.login_checked("alice", overtaken).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::LogoutAll)), "{error}");
    let steps = [Method::Insert, Method::RevokeSubject, Method::Load];
    assert_eq!(fixture.store.take_calls(), steps);
    let changed = async |_: Session| Ok::<Option<Profile>, io::Error>(None);
    let error = fixture.sessions.login_checked("alice", changed).await.unwrap_err();
    assert!(matches!(error, SessionError::Denied), "{error}");
    assert_eq!(fixture.store.take_calls(), [Method::Insert, Method::Revoke]);
    let away = async |_: Session| Err::<Option<Profile>, _>("away");
    assert!(fixture.sessions.login_checked("alice", away).await.is_err());
    assert_eq!(fixture.store.take_calls(), [Method::Insert, Method::Revoke]);
    // No call takes more steps, and each of them may last until the deadline.
    let unanswered = async |_: Session| {
        fixture.store.fail(Method::Load, Fault::After);
        fixture.store.fail(Method::Revoke, Fault::After);
        Ok::<_, io::Error>(Some(admin()))
    };
    let error = fixture.sessions.login_checked("alice", unanswered).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(fixture.store.take_calls(), [Method::Insert, Method::Load, Method::Revoke]);
    assert!(fixture.sessions.list("alice").await.unwrap().sessions.is_empty());
    let tokens = fixture.sessions.login_checked("alice", welcome).await.unwrap();
    assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
}

/// R12: the login fails for a reason that is not the client's, and can be tried again.
#[tokio::test]
async fn a_login_whose_session_the_store_lost_can_be_retried() {
    let fixture = Fixture::new();
    let fail_over = async |session| {
        fixture.store.restore(MemoryStore::new(1000));
        welcome(session).await
    };
    let error = fixture.sessions.login_checked("alice", fail_over).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.oauth_error(), "temporarily_unavailable");
    assert_eq!(fixture.events(), []);
    assert!(fixture.sessions.login_checked("alice", welcome).await.is_ok());
}

/// R10.
#[tokio::test]
async fn one_several_or_all_sessions_are_ended() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let [laptop, phone, tablet] = [(); 3].map(|()| fixture.login());
    let (laptop, phone, tablet) = (laptop.await, phone.await, tablet.await);
    let bob = sessions.login("bob", &admin()).await.unwrap();

    assert!(!sessions.logout_session("bob", &phone.session_id).await.unwrap());
    assert!(sessions.logout_session("alice", &phone.session_id).await.unwrap());
    assert!(!sessions.logout_session("alice", &phone.session_id).await.unwrap());
    assert!(fixture.refresh(&phone.refresh_token).await.is_err());
    let laptop = fixture.refresh(&laptop.refresh_token).await.unwrap();

    fixture.events();
    assert_eq!(sessions.logout_others("alice", &laptop.session_id).await.unwrap(), 1);
    assert_eq!(sessions.logout_others("alice", &laptop.session_id).await.unwrap(), 0);
    let ended = EventKind::Revoked { reason: RevokeReason::LogoutAll, sessions: 1 };
    assert_eq!(fixture.events(), [ended]);
    assert!(fixture.refresh(&tablet.refresh_token).await.is_err());
    let laptop = fixture.refresh(&laptop.refresh_token).await.unwrap();

    assert_eq!(sessions.logout_all("alice").await.unwrap(), 1);
    assert_eq!(sessions.logout_all("alice").await.unwrap(), 0);
    assert!(fixture.refresh(&laptop.refresh_token).await.is_err());
    assert!(fixture.refresh(&bob.refresh_token).await.is_ok());
}

/// R12: a request whose answer was lost can be repeated.
#[tokio::test]
async fn an_unavailable_store_ends_no_session() {
    let fixture = Fixture::new();
    let mut token = fixture.login().await.refresh_token;
    for (method, fault) in [
        (Method::Load, Fault::Before),
        (Method::Rotate, Fault::Before),
        (Method::Rotate, Fault::After),
    ] {
        fixture.store.fail(method, fault);
        let error = fixture.refresh(&token).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.oauth_error(), "temporarily_unavailable");
        token = fixture.refresh(&token).await.unwrap().refresh_token;
    }
    // The commit happened, and its answer was lost.
    let record = fixture
        .store
        .inner()
        .list(&ListRequest::new("alice", UnixMillis::new(START)))
        .await
        .unwrap();
    assert_eq!(record[0].generation, 3);
    let (grace, idle_lifetime) = (Duration::from_secs(10), Duration::from_secs(3600));
    let now = UnixMillis::new(START);
    let request = RotateRequest::new(record[0].id, 3, "1", now, grace, idle_lifetime);
    fixture.store.inner().rotate(&request).await.unwrap();
    assert!(fixture.refresh(&token).await.is_ok());
}

#[tokio::test]
async fn a_login_that_a_driver_repeats_is_one_login() {
    let fixture = Fixture::new();
    fixture.store.fail(Method::Insert, Fault::Repeated);
    let tokens = fixture.login().await;
    assert_eq!(fixture.sessions.list("alice").await.unwrap().sessions.len(), 1);
    assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
}

/// An id of 128 bits cannot be guessed, but a source of random bytes may be broken.
#[tokio::test]
async fn a_login_with_a_duplicate_id_replaces_no_session() {
    let fixture = Fixture::new();
    fixture.store.fail(Method::Insert, Fault::Repeated);
    fixture.store.misread(|other| other.label = Some("phone".to_owned()));
    let refused = fixture.sessions.login("alice", &admin()).await.unwrap_err();
    assert!(matches!(refused, SessionError::NoRandomness), "{refused:?}");
    assert_eq!(fixture.events(), []);
}

/// R13.
#[tokio::test]
async fn a_retired_refresh_key_still_verifies_and_a_replay_survives_the_change() {
    let old = || refresh_key(0x5b, "old");
    let shared = SharedKeySet::from(old());
    let fixture = Fixture::with(|builder| builder.refresh_key(shared.clone()));
    let first = fixture.login().await;
    let second = fixture.refresh(&first.refresh_token).await.unwrap();

    let until = NumericDate::from(UnixMillis::new(START + DAY));
    let new = KeySet::new(refresh_key(0x5c, "new")).retire(old(), until).unwrap();
    shared.replace(new);
    let replayed = fixture.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(replayed.refresh_token, second.refresh_token);
    let third = fixture.refresh(&second.refresh_token).await.unwrap();
    let kid = |token: &str| {
        let body = base64url::decode(token.strip_prefix("kippu_rt_").unwrap()).unwrap();
        String::from_utf8(body[2..5].to_vec()).unwrap()
    };
    assert_eq!([kid(&second.refresh_token), kid(&third.refresh_token)], ["old", "new"]);

    // The old key has expired.
    let late = fixture.login().await;
    shared.replace(
        KeySet::new(refresh_key(0x5d, "newest")).retire(refresh_key(0x5c, "new"), until).unwrap(),
    );
    fixture.clock.advance(DAY - 1);
    let replayed = fixture.refresh(&late.refresh_token).await.unwrap();
    fixture.clock.advance(1);
    let error = fixture.refresh(&late.refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken));
    assert!(fixture.refresh(&replayed.refresh_token).await.is_ok());
}

/// This server does not have the key yet with which another one has rotated.
#[tokio::test]
async fn a_server_that_lacks_a_key_uses_no_token_up() {
    let old = || refresh_key(0x5b, "1");
    let until = NumericDate::from(UnixMillis::new(START + DAY));
    let ahead = KeySet::new(refresh_key(0x5c, "2")).retire(old(), until).unwrap();
    let fixture = Fixture::new();
    let other = builder(Arc::clone(&fixture.store))
        .refresh_key(ahead)
        .clock(fixture.clock)
        .build()
        .unwrap();
    let first = fixture.login().await;
    let second = other.refresh(&first.refresh_token, welcome).await.unwrap();
    fixture.events();
    let error = fixture.refresh(&first.refresh_token).await.unwrap_err();
    assert!(matches!(&error, SessionError::MissingRefreshKey { kid } if kid == "2"), "{error}");
    assert_eq!(error.oauth_error(), "temporarily_unavailable");
    assert_eq!(fixture.events(), []);
    // The server rejects a token of that key like one of an unknown key.
    let error = fixture.refresh(&second.refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken), "{error}");
    assert!(other.refresh(&second.refresh_token, welcome).await.is_ok());
}

/// A reload gives a server of sessions keys that only verify, although it has to sign.
#[tokio::test]
async fn keys_that_become_verify_only_use_no_token_up() {
    for is_access in [true, false] {
        let [access, refresh] = [access_key(), refresh_key(0x5b, "1")].map(SharedKeySet::from);
        let fixture = Fixture::with(|builder| {
            builder.access_key(access.clone()).refresh_key(refresh.clone())
        });
        let tokens = fixture.login().await;
        fixture.store.take_calls();
        let (shared, key): (_, fn() -> Key) =
            if is_access { (&access, access_key) } else { (&refresh, || refresh_key(0x5b, "1")) };
        shared.replace(KeySet::verify_only([key()]).unwrap());
        for error in [
            fixture.refresh(&tokens.refresh_token).await.unwrap_err(),
            fixture.sessions.login("alice", &admin()).await.unwrap_err(),
        ] {
            assert!(matches!(error, SessionError::SigningKey(KeySetError::VerifyOnly)), "{error}");
            assert_eq!(error.oauth_error(), "server_error");
        }
        let calls = fixture.store.take_calls();
        assert!(!calls.contains(&Method::Rotate) && !calls.contains(&Method::Insert), "{calls:?}");
        assert!(fixture.sessions.verify::<Profile>(&tokens.access_token).is_ok());
        shared.replace(key());
        assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
    }
}

/// The time that the application takes does not count against the client.
#[tokio::test]
async fn the_grace_begins_after_the_application_was_asked() {
    let fixture = Fixture::new();
    let login = fixture.login().await;
    let slow = async |_: Session| {
        fixture.clock.advance(3600 * SECOND);
        Ok::<_, io::Error>(Some(admin()))
    };
    let first = fixture.sessions.refresh(&login.refresh_token, slow).await.unwrap();
    fixture.clock.advance(10 * SECOND);
    let retry = fixture.refresh(&login.refresh_token).await.unwrap();
    assert_eq!(retry.refresh_token, first.refresh_token);
    fixture.clock.advance(1);
    let late = fixture.refresh(&login.refresh_token).await;
    assert!(matches!(late, Err(SessionError::Reused)), "{late:?}");
}

/// An attacker who can write the store cannot turn another user's session into his own.
#[tokio::test]
async fn a_session_that_was_rewritten_is_rejected() {
    type Rewrite = fn(&mut SessionRecord);
    let rewrites: [Rewrite; 4] = [
        |record| record.subject = "root".into(),
        |record| record.absolute_expires_at = UnixMillis::MAX,
        |record| record.created_at = UnixMillis::new(START + 1),
        |record| {
            // The boundary between two texts moves.
            record.subject = "alicew".into();
            record.client = "eb".into();
        },
    ];
    for (number, rewrite) in rewrites.into_iter().enumerate() {
        let fixture = Fixture::new();
        let tokens = fixture.login().await;
        let mut record = fixture.store.inner().load(&tokens.session_id).await.unwrap().unwrap();
        rewrite(&mut record);
        let store = store();
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        let client = record.client;
        let over = builder_for(&client, Arc::clone(&store)).clock(fixture.clock).build().unwrap();
        let error = over.refresh(&tokens.refresh_token, welcome).await.unwrap_err();
        assert!(matches!(error, SessionError::InvalidToken), "{number}: {error}");
        assert!(!store.take_calls().contains(&Method::Rotate));
        let live = over.verify_live::<NoClaims>(&tokens.access_token).await;
        assert_eq!(live.is_ok(), matches!(number, 1 | 2), "{number}");
    }
}

/// R14.
#[test]
fn unsafe_settings_are_rejected() {
    let build = |options: fn(SessionsBuilder<MemoryStore>) -> SessionsBuilder<MemoryStore>| {
        options(builder(MemoryStore::new(1))).build().err()
    };
    let [zero, second, day] = [0, 1, 86_400].map(Duration::from_secs);
    assert_eq!(build(|b| b), None);
    assert_eq!(
        build(|b| b.access_lifetime(Duration::ZERO)),
        Some(ConfigError::AccessLifetimeTooShort { given: zero })
    );
    assert_eq!(
        build(|b| b.access_lifetime(Duration::from_secs(1)).grace(Duration::from_secs(1))),
        Some(ConfigError::GraceTooLong { grace: second, access_lifetime: second })
    );
    assert_eq!(
        build(|b| b.idle_lifetime(Duration::from_secs(1))),
        Some(ConfigError::AccessOverIdle {
            access_lifetime: Duration::from_secs(900),
            idle_lifetime: second
        })
    );
    assert_eq!(
        build(|b| b.absolute_lifetime(Duration::from_secs(86_400))),
        Some(ConfigError::IdleOverAbsolute { idle_lifetime: 14 * day, absolute_lifetime: day })
    );
    let short = build(|b| b.refresh_key(Key::hs512([1; 64]).unwrap().with_kid("1")));
    let algorithm = RefreshKeyError::Algorithm { given: Algorithm::Hs512 };
    assert_eq!(short, Some(ConfigError::RefreshKey(algorithm)));
    let unnamed = build(|b| b.refresh_key(Key::hs256([1; 32]).unwrap()));
    assert_eq!(unnamed, Some(ConfigError::RefreshKey(RefreshKeyError::MissingKid)));
    assert_eq!(build(|b| b.refresh_key(refresh_key(0x5a, "1"))), Some(ConfigError::SameKey));
    let retired = build(|b| {
        let until = NumericDate::in_seconds(60);
        let keys = KeySet::new(refresh_key(0x5b, "2"));
        b.refresh_key(keys.retire(refresh_key(0x5a, "1"), until).unwrap())
    });
    assert_eq!(retired, Some(ConfigError::SameKey));
    let verify_only = |key| KeySet::verify_only([key]).unwrap();
    let of_refresh = builder(MemoryStore::new(1)).refresh_key(verify_only(refresh_key(0x5b, "1")));
    let error = of_refresh.build().err();
    assert_eq!(error, Some(ConfigError::VerifyOnly { what: "refresh_key" }));
    let of_access = builder(MemoryStore::new(1)).access_key(verify_only(access_key()));
    let error = of_access.build().err();
    assert_eq!(error, Some(ConfigError::VerifyOnly { what: "access_key" }));
    let control = build(|b| b.refresh_key(refresh_key(0x5b, "a\0b")));
    assert_eq!(control, Some(ConfigError::RefreshKey(RefreshKeyError::KidControl)));
    assert_eq!(build(|b| b.issuer("")), Some(ConfigError::Missing { what: "issuer" }));
    assert_eq!(build(|b| b.client("a\nb")), Some(ConfigError::Name { what: "client" }));
    let given = Duration::from_secs(601);
    let error = builder(MemoryStore::new(1)).leeway(given).err();
    let limit = Validation::MAX_LEEWAY;
    assert_eq!(error, Some(InvalidOption::LeewayTooLong { given, limit }));
    let nothing = Sessions::builder(MemoryStore::new(1)).issuer("i").client("c");
    assert_eq!(nothing.build().err(), Some(ConfigError::Missing { what: "audience" }));
}

#[tokio::test]
async fn another_clients_session_is_rejected_and_not_used_up() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let other =
        builder_for("mobile", Arc::clone(&fixture.store)).clock(fixture.clock).build().unwrap();
    let error = other.refresh(&tokens.refresh_token, welcome).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken));
    fixture.clock.advance(60 * SECOND);
    assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
}

#[tokio::test]
async fn invalid_logins_are_rejected_before_the_store() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let long = "x".repeat(513);
    for subject in ["", "a\0b", "a\nb", &long] {
        let error = sessions.login(subject, &NoClaims {}).await.unwrap_err();
        assert!(matches!(error, SessionError::Subject), "{subject:?}");
    }
    // Claims that are not an object, and claims that the session sets itself.
    let own = serde_json::json!({ "sub": "root" });
    for claims in [serde_json::json!(["role"]), serde_json::json!(null), own] {
        let error = sessions.login("alice", &claims).await.unwrap_err();
        assert!(matches!(error, SessionError::Claims(_)), "{claims}");
    }
    assert_eq!(fixture.store.take_calls(), []);
    // A label comes from the client, and is truncated instead.
    sessions.login(Login::new("bob").label(&long), &NoClaims {}).await.unwrap();
    let listed = sessions.list("bob").await.unwrap().sessions;
    assert_eq!(listed[0].label.as_deref(), Some(&long[..128]));
    for subject in ["{a}", "'; DROP TABLE", "🦀", "a b", &long[..512]] {
        let tokens = sessions.login(subject, &NoClaims {}).await.unwrap();
        assert_eq!(sessions.verify::<NoClaims>(&tokens.access_token).unwrap().subject, subject);
        assert_eq!(sessions.list(subject).await.unwrap().sessions.len(), 1);
    }
}

/// Returns claims that make an access token exactly this long, and claims that make it a byte
/// longer.
fn claims_around(sessions: &Sessions<impl RefreshStore>, length: usize) -> [serde_json::Value; 2] {
    let claims = |bytes: usize| serde_json::json!({ "role": "x".repeat(bytes) });
    let mut longest = length;
    // The error shows the difference in base64url symbols of six bits each.
    while let Err(SessionError::TooLong { length, limit }) =
        at_once(sessions.login("probe", &claims(longest)))
    {
        longest -= ((length - limit) * 6 / 8).max(1);
    }
    [claims(longest), claims(longest + 1)]
}

/// Returns the result of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

/// The verifier would reject the token, or the cookie could not hold it. The sessions check this
/// before they store a session or use a token up.
#[tokio::test]
async fn an_access_token_that_is_too_long_uses_no_token_up() {
    for limit in [Validation::DEFAULT_MAX_TOKEN_LEN, 2000] {
        let fixture = Fixture::with(|builder| builder.max_access_token_len(limit).unwrap());
        let sessions = &fixture.sessions;
        assert_eq!(sessions.max_access_token_len(), limit);
        let [fits, too_long] = claims_around(sessions, limit);
        fixture.store.take_calls();
        fixture.events();
        let is_too_long = |error: &SessionError| match error {
            SessionError::TooLong { length, limit: given } => *length > limit && *given == limit,
            _ => false,
        };
        let error = sessions.login("alice", &too_long).await.unwrap_err();
        assert!(is_too_long(&error), "{error}");
        assert_eq!((error.oauth_error(), error.is_transient()), ("server_error", false));
        assert_eq!(fixture.store.take_calls(), []);

        let tokens = sessions.login("alice", &fits).await.unwrap();
        assert!(sessions.verify::<serde_json::Value>(&tokens.access_token).is_ok());
        fixture.store.take_calls();
        let grown = async |_: Session| Ok::<_, io::Error>(Some(&too_long));
        for _ in 0..2 {
            let error = sessions.refresh(&tokens.refresh_token, grown).await.unwrap_err();
            assert!(is_too_long(&error), "{error}");
            // The session was loaded, and not rotated: after the grace period the same token is
            // still accepted.
            assert_eq!(fixture.store.take_calls(), [Method::Load]);
            fixture.clock.advance(60 * SECOND);
        }
        assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
        assert_eq!(fixture.events(), [EventKind::LoggedIn, EventKind::Rotated]);

        // A checked login is stored first. It is then revoked, and not acknowledged.
        let checked = sessions.login_checked("carol", grown).await.unwrap_err();
        assert!(is_too_long(&checked), "{checked}");
        assert_eq!(sessions.list("carol").await.unwrap().sessions, []);
    }
    for limit in [0, Validation::HIGHEST_MAX_TOKEN_LEN + 1] {
        let error = builder(MemoryStore::new(1)).max_access_token_len(limit).err();
        assert!(matches!(error, Some(InvalidOption::MaxTokenLen { given, .. }) if given == limit));
    }
}

#[tokio::test]
async fn logout_accepts_a_token_of_a_retired_key() {
    let clock = TestClock::at(START);
    let store = Arc::new(MemoryStore::new(10));
    let with =
        |keys: KeySet| builder(Arc::clone(&store)).refresh_key(keys).clock(clock).build().unwrap();
    let end = UnixMillis::new(START + SECOND).into();
    let old = with(KeySet::new(refresh_key(1, "old")));
    let tokens = old.login("alice", &admin()).await.unwrap();
    clock.advance(60 * SECOND);
    let retired = KeySet::new(refresh_key(2, "new"));
    let sessions = with(retired.retire(refresh_key(1, "old"), end).unwrap());
    let refused = sessions.refresh(&tokens.refresh_token, welcome).await.unwrap_err();
    assert!(matches!(refused, SessionError::InvalidToken));
    sessions.logout(&tokens.refresh_token).await.unwrap();
    let ended = sessions.verify_live::<Profile>(&tokens.access_token).await.unwrap_err();
    assert!(matches!(ended, SessionError::Revoked(RevokeReason::Logout)));
    // An unknown key proves nothing, so the logout fails.
    let sessions = with(KeySet::new(refresh_key(2, "new")));
    let refused = sessions.logout(&tokens.refresh_token).await.unwrap_err();
    assert!(matches!(refused, SessionError::InvalidToken));
}

#[tokio::test]
async fn an_authentic_access_token_ends_its_session_however_old_it_is() {
    let leeway = Duration::ZERO;
    let fixture = Fixture::with(|builder| builder.leeway(leeway).unwrap());
    for age in [0, 900 * SECOND, 13 * DAY, -3600 * SECOND] {
        let tokens = fixture.login().await;
        fixture.events();
        fixture.clock.advance(age);
        fixture.sessions.logout_by_access_token(&tokens.access_token).await.unwrap();
        let ended = EventKind::Revoked { reason: RevokeReason::Logout, sessions: 1 };
        assert_eq!(fixture.events(), [ended], "{age}");
        let refused = fixture.refresh(&tokens.refresh_token).await.unwrap_err();
        assert!(matches!(refused, SessionError::Revoked(RevokeReason::Logout)), "{age}");
        // A second time, the session has already ended.
        fixture.sessions.logout_by_access_token(&tokens.access_token).await.unwrap();
        assert_eq!(fixture.events(), [], "{age}");
    }
}

/// The times in a token are whole seconds, so that a token of the last second expires at the second
/// at which it was issued.
#[tokio::test]
async fn an_access_token_of_the_last_second_ends_its_session() {
    let lifetime = Duration::from_secs(1);
    let fixture = Fixture::with(|builder| {
        let builder = builder.access_lifetime(lifetime).grace(Duration::ZERO);
        let builder = builder.idle_lifetime(lifetime).absolute_lifetime(lifetime);
        builder.leeway(Duration::ZERO).unwrap()
    });
    for later in [0, SECOND, -3600 * SECOND] {
        // At half a second, so that the session ends between two seconds.
        fixture.clock.set(START.div_euclid(SECOND) * SECOND + 500);
        let tokens = fixture.login().await;
        fixture.clock.advance(700);
        let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
        fixture.clock.advance(later);
        fixture.sessions.logout_by_access_token(&tokens.access_token).await.unwrap();
    }
}

#[tokio::test]
async fn an_access_token_of_another_key_issuer_or_kind_ends_nothing() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    fixture.clock.advance(901 * SECOND);
    let others = [
        builder(MemoryStore::new(1)).access_key(Key::hs256([1; 32]).unwrap()),
        builder(MemoryStore::new(1)).issuer("https://other.example"),
    ];
    let mut foreign = vec![tokens.refresh_token.clone(), String::new(), "a.b.c".to_owned()];
    foreign.push(encode(&serde_json::json!({ "sid": tokens.session_id }), &access_key()).unwrap());
    for other in others {
        let other = other.clock(fixture.clock).build().unwrap();
        foreign.push(other.login("alice", &admin()).await.unwrap().access_token);
    }
    let [header, payload, _] = tokens.access_token.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    foreign.push(format!("{header}.{payload}.{}", "A".repeat(43)));
    for token in foreign {
        let refused = fixture.sessions.logout_by_access_token(&token).await.unwrap_err();
        assert!(matches!(refused, SessionError::AccessToken(_)), "{refused}");
    }
    assert!(fixture.refresh(&tokens.refresh_token).await.is_ok());
}

/// Retired keys of access tokens, and the id of a session in a token of another subject.
#[tokio::test]
async fn only_a_token_of_its_subject_ends_a_session() {
    let clock = TestClock::at(START);
    let store = Arc::new(MemoryStore::new(10));
    let key = |byte: u8, kid: &str| Key::hs256([byte; 32]).unwrap().with_kid(kid);
    let with =
        |keys: KeySet| builder(Arc::clone(&store)).access_key(keys).clock(clock).build().unwrap();
    let old = with(KeySet::new(key(1, "old")));
    let [alice, bob] = [old.login("alice", &admin()).await, old.login("bob", &admin()).await];
    let (alice, bob) = (alice.unwrap(), bob.unwrap());
    // Every resource server has the access key, and could sign this.
    let now = UnixMillis::new(START);
    let mut claims: serde_json::Value = decode(
        &alice.access_token,
        &key(1, "old"),
        &Validation::new().at(now.into()).any_audience().unwrap(),
    )
    .unwrap();
    claims["sid"] = serde_json::json!(bob.session_id);
    let mixed = kippu::encode_with_typ(&claims, &key(1, "old"), "at+jwt").unwrap();
    clock.advance(3600 * SECOND);
    let end = UnixMillis::new(START + SECOND).into();
    let keys = KeySet::new(key(2, "new")).retire(key(1, "old"), end).unwrap();
    let sessions = with(keys);
    let refused = sessions.logout_by_access_token(&mixed).await.unwrap_err();
    assert!(matches!(refused, SessionError::InvalidToken), "{refused}");
    assert_eq!(sessions.list("bob").await.unwrap().sessions.len(), 1);
    sessions.logout_by_access_token(&alice.access_token).await.unwrap();
    assert_eq!(sessions.list("alice").await.unwrap().sessions, []);
}

#[tokio::test]
async fn a_full_store_refuses_logins_and_evicts_nobody() {
    let clock = TestClock::at(START);
    let sessions = builder(MemoryStore::new(2)).clock(clock).build().unwrap();
    let first = sessions.login("alice", &admin()).await.unwrap();
    clock.advance(DAY);
    sessions.login("alice", &admin()).await.unwrap();
    assert!(matches!(sessions.login("alice", &admin()).await, Err(SessionError::Full)));
    assert!(sessions.refresh(&first.refresh_token, welcome).await.is_ok());
    clock.set(START + 120 * DAY);
    assert_eq!(sessions.purge_expired(1).await.unwrap(), 1);
    assert_eq!(sessions.purge_expired(9).await.unwrap(), 1);
    assert!(sessions.login("bob", &admin()).await.is_ok());
}

/// Each round removes all ended sessions, in portions. After a fault, the next round tries again.
#[tokio::test]
async fn the_purge_task_continues_after_a_fault() {
    let store = Arc::new(Faulty::new(MemoryStore::new(10_000)));
    let clock = TestClock::at(START);
    let sessions = Arc::new(builder(Arc::clone(&store)).clock(clock).build().unwrap());
    for user in 0..2500 {
        sessions.login(format!("user-{user}"), &NoClaims {}).await.unwrap();
    }
    clock.advance(14 * DAY - SECOND);
    sessions.login("late", &NoClaims {}).await.unwrap();
    let (waits, mut waited) = tokio::sync::mpsc::channel(1);
    let (round, rounds) = tokio::sync::mpsc::channel::<()>(1);
    let rounds = Arc::new(tokio::sync::Mutex::new(rounds));
    let pause = Duration::from_secs(300);
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let task = tokio::spawn(Arc::clone(&sessions).purge_task(pause, move |wait| {
        let (waits, rounds) = (waits.clone(), Arc::clone(&rounds));
        async move {
            waits.send(wait).await.unwrap();
            rounds.lock().await.recv().await;
        }
    }));
    let wait = waited.recv().await.unwrap();
    assert!(wait >= pause / 2 && wait <= pause * 3 / 2, "{wait:?}");
    assert_eq!(store.inner().len(), 2501);
    for (advance, faults, left) in [
        (0, &[][..], 2501),
        (SECOND, &[Fault::Before], 2501),
        (0, &[Fault::None, Fault::Before], 1501),
        (0, &[], 1),
        (14 * DAY, &[], 0),
    ] {
        clock.advance(advance);
        for fault in faults {
            store.fail(Method::PurgeExpired, *fault);
        }
        round.send(()).await.unwrap();
        waited.recv().await.unwrap();
        assert_eq!(store.inner().len(), left);
    }
    task.abort();
    let text = log.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("have ended")).collect();
    let [failed, some, failed_again, rest, late] = &lines[..] else { panic!("{text}") };
    for (line, removed) in [(some, 1000), (rest, 1500), (late, 1)] {
        assert!(
            line.starts_with("INFO ") && line.contains(&format!("removed={removed}")),
            "{line}"
        );
    }
    for line in [failed, failed_again] {
        assert!(
            line.starts_with("WARN ") && line.contains("a fault that the test requested"),
            "{line}"
        );
    }
}

/// 64 tasks present one token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_has_one_winner_and_no_loser() {
    let fixture = Arc::new(Fixture::new());
    for _ in 0..20 {
        let token = Arc::new(fixture.login().await.refresh_token);
        fixture.events();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (fixture, token) = (Arc::clone(&fixture), Arc::clone(&token));
                tokio::spawn(async move { fixture.refresh(&token).await.unwrap().refresh_token })
            })
            .collect();
        let mut successors = HashSet::new();
        for task in tasks {
            successors.insert(task.await.unwrap());
        }
        assert_eq!(successors.len(), 1);
        let events = fixture.events();
        let rotated = events.iter().filter(|event| **event == EventKind::Rotated).count();
        assert_eq!((rotated, events.len()), (1, 64));
    }
}

/// R15: no printed text shows a token or a key.
#[tokio::test]
async fn no_printed_text_shows_a_token() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let next = fixture.refresh(&tokens.refresh_token).await.unwrap();
    fixture.clock.advance(DAY);
    let reused = fixture.refresh(&tokens.refresh_token).await.unwrap_err();
    let record = fixture.store.inner().load(&tokens.session_id).await.unwrap();
    let invalid = fixture.refresh(&format!("{}A", next.refresh_token)).await.unwrap_err();
    let printed = format!(
        "{:?} {tokens:?} {reused:?} {reused} {invalid:?} {invalid} {record:?} {:?}",
        fixture.sessions,
        fixture.events(),
    );
    assert!(printed.starts_with("Sessions { issuer: \"https"), "{printed}");
    for tokens in [tokens, next] {
        for token in [tokens.access_token, tokens.refresh_token] {
            for part in token.trim_start_matches("kippu_rt_").split('.').filter(|p| p.len() > 20) {
                assert!(!printed.contains(&part[..20]), "{part} in {printed}");
            }
        }
    }
}

/// PostgreSQL rejects a text with NUL, which a user may have typed.
#[tokio::test]
async fn an_impossible_subject_has_no_sessions() {
    let fixture = Fixture::new();
    let kept = fixture.login().await.session_id;
    fixture.store.take_calls();
    for subject in ["", "\0", "alice\0", "a\nb", "\u{85}", &"a".repeat(513)] {
        let sessions = &fixture.sessions;
        assert!(sessions.list(subject).await.unwrap().sessions.is_empty(), "{subject:?}");
        assert_eq!(sessions.logout_all(subject).await.unwrap(), 0, "{subject:?}");
        assert_eq!(sessions.logout_others(subject, &kept).await.unwrap(), 0, "{subject:?}");
    }
    assert_eq!(fixture.store.take_calls(), []);
}
