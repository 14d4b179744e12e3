//! Checks what an attacker gains with one thing that he should not have. Each test is a row of
//! SECURITY.md, with what he can do and what he cannot.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use kippu::{
    Algorithm, DecodeError, Key, KeySet, SharedKeySet, base64url,
    hmac::Hmac,
    session::{
        EventKind, MemoryStore, NoClaims, REFRESH_TOKEN_PREFIX, RefreshStore, RevokeReason,
        Session, SessionError, SessionId, SessionRecord, Sessions, SessionsBuilder, TokenResponse,
        UnixMillis, rotation::AheadPolicy, store::InsertRequest,
    },
};
use kippu_test_support::{clock, log};
use serde_json::json;

use clock::TestClock;

const ISSUER: &str = "https://auth.example";
const ACCESS_SECRET: [u8; 32] = [0x5a; 32];
const REFRESH_SECRET: [u8; 32] = [0x5b; 32];
/// 2026-11-24T00:00:00Z, in milliseconds.
const START: i64 = 1_795_478_400_000;
const SECOND: i64 = 1000;
const DAY: i64 = 24 * 3600 * SECOND;

/// A server with its keys, which a test can replace as an operator would.
struct Server {
    sessions: Sessions<Arc<MemoryStore>>,
    store: Arc<MemoryStore>,
    access_keys: SharedKeySet,
    refresh_keys: SharedKeySet,
    clock: &'static TestClock,
    events: Arc<Mutex<Vec<EventKind>>>,
}

impl Server {
    fn new() -> Self {
        Self::with(MemoryStore::new(10_000), |builder| builder)
    }

    fn with(
        store: MemoryStore,
        options: impl FnOnce(SessionsBuilder<Arc<MemoryStore>>) -> SessionsBuilder<Arc<MemoryStore>>,
    ) -> Self {
        log::prepare();
        let store = Arc::new(store);
        let clock = TestClock::at(START);
        let keys = |secret: [u8; 32]| SharedKeySet::from(key(secret, "1"));
        let (access_keys, refresh_keys) = (keys(ACCESS_SECRET), keys(REFRESH_SECRET));
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let builder = Sessions::builder(Arc::clone(&store))
            .issuer(ISSUER)
            .audience("api")
            .client("web")
            .access_key(access_keys.clone())
            .refresh_key(refresh_keys.clone())
            .leeway(Duration::ZERO)
            .unwrap()
            .clock(clock)
            .on_event(move |event| told.lock().unwrap().push(event.kind));
        let sessions = options(builder).build().unwrap();
        Self { sessions, store, access_keys, refresh_keys, clock, events }
    }

    async fn login(&self, subject: &str) -> TokenResponse {
        self.sessions.login(subject, &NoClaims {}).await.unwrap()
    }

    async fn refresh(&self, token: &str) -> Result<TokenResponse, SessionError> {
        self.sessions.refresh(token, welcome).await
    }

    async fn record(&self, id: &SessionId) -> SessionRecord {
        self.store.load(id).await.unwrap().unwrap()
    }

    fn advance(&self, millis: i64) {
        self.clock.advance(millis);
    }

    fn events(&self) -> Vec<EventKind> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

fn key(secret: [u8; 32], kid: &str) -> Key {
    Key::hs256(secret).unwrap().with_kid(kid)
}

async fn welcome(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Ok(Some(NoClaims {}))
}

/// Returns a store with these records, as an attacker with write access might leave it.
async fn written(records: impl IntoIterator<Item = SessionRecord>) -> MemoryStore {
    let store = MemoryStore::new(10);
    for record in records {
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
    }
    store
}

/// Splits a refresh token into its body and its tag.
fn body(token: &str) -> (Vec<u8>, Vec<u8>) {
    let body = base64url::decode(token.strip_prefix(REFRESH_TOKEN_PREFIX).unwrap()).unwrap();
    let (signed, tag) = body.split_at(body.len() - 32);
    (signed.to_vec(), tag.to_vec())
}

/// Returns a refresh token with this body, as an attacker with the secret would make it.
fn tagged(signed: &[u8], secret: [u8; 32]) -> String {
    let message = [REFRESH_TOKEN_PREFIX.as_bytes(), signed].concat();
    let tag = Hmac::new(Algorithm::Hs256, &secret).tag(&message);
    format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(&[signed, tag.as_ref()].concat()))
}

/// Returns an access token for `subject`, as an attacker with the secret would make it.
fn forged_access_token(subject: &str, session: &SessionId) -> String {
    let now = START / SECOND;
    let claims = json!({
        "iss": ISSUER, "aud": "api", "sub": subject, "client_id": "web", "jti": "1",
        "sid": session, "iat": now, "exp": now + 900,
    });
    kippu::encode_with_typ(&claims, &key(ACCESS_SECRET, "1"), "at+jwt").unwrap()
}

#[tokio::test]
async fn a_stolen_access_token_works_until_it_expires_and_gets_no_other() {
    let server = Server::new();
    let owner = server.login("alice").await;
    let stolen = &owner.access_token;
    assert!(matches!(server.refresh(stolen).await, Err(SessionError::InvalidToken)));
    assert!(matches!(server.sessions.logout(stolen).await, Err(SessionError::InvalidToken)));

    // After the logout, a server that does not read the store still accepts it until the second of
    // its end.
    server.sessions.logout(&owner.refresh_token).await.unwrap();
    let live = server.sessions.verify_live::<NoClaims>(stolen).await.unwrap_err();
    assert!(matches!(live, SessionError::Revoked(RevokeReason::Logout)), "{live}");
    server.advance(900 * SECOND - 1);
    assert!(server.sessions.verify::<NoClaims>(stolen).is_ok());
    server.advance(1);
    let late = server.sessions.verify::<NoClaims>(stolen).unwrap_err();
    assert!(matches!(late, DecodeError::Claim(_)), "{late}");
}

/// The owner or the thief refreshes first. The other one's refresh then revokes the session, and an
/// event reports it.
#[tokio::test]
async fn a_stolen_refresh_token_ends_the_session_when_both_have_used_it() {
    for wait in [0, 60 * SECOND] {
        let server = Server::new();
        let stolen = server.login("alice").await.refresh_token;
        let first = server.refresh(&stolen).await.unwrap().refresh_token;
        server.advance(wait);
        let ended = match server.refresh(&stolen).await {
            // Within the grace period both have the same token. The next of them to be late reveals
            // the theft.
            Ok(second) => {
                assert_eq!((wait, &second.refresh_token), (0, &first));
                server.refresh(&first).await.unwrap();
                server.advance(60 * SECOND);
                server.refresh(&first).await
            }
            Err(error) => Err(error),
        };
        assert!(matches!(ended, Err(SessionError::Reused)), "{wait}");
        assert_eq!(server.events().last(), Some(&EventKind::ReuseDetected));
        for token in [&stolen, &first] {
            let refused = server.refresh(token).await.unwrap_err();
            assert!(matches!(refused, SessionError::Revoked(RevokeReason::Reuse)), "{refused}");
        }
    }
}

/// A record contains all data of a session, but no key.
#[tokio::test]
async fn a_stolen_database_alone_forges_no_token() {
    let server = Server::new();
    let owner = server.login("alice").await;
    // The text before the tag can be computed from the record.
    let (signed, _) = body(&owner.refresh_token);
    for guess in [[0; 32], ACCESS_SECRET, [0xff; 32]] {
        let refused = server.refresh(&tagged(&signed, guess)).await.unwrap_err();
        assert!(matches!(refused, SessionError::InvalidToken), "{refused}");
    }
    // The tag of another session, which belongs to the thief.
    let (_, tag) = body(&server.login("mallory").await.refresh_token);
    let pasted =
        format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(&[&signed[..], &tag].concat()));
    assert!(matches!(server.refresh(&pasted).await, Err(SessionError::InvalidToken)));
    assert!(server.refresh(&owner.refresh_token).await.is_ok());
}

fn changed(record: &SessionRecord, change: impl FnOnce(&mut SessionRecord)) -> SessionRecord {
    let mut record = record.clone();
    change(&mut record);
    record
}

/// He needs a token of the session. He cannot give the session to another user or extend it.
#[tokio::test]
async fn write_access_to_the_database_revives_but_does_not_extend_a_session() {
    let server = Server::new();
    let tokens = server.login("mallory").await;
    let next = server.refresh(&tokens.refresh_token).await.unwrap();
    server.sessions.logout(&next.refresh_token).await.unwrap();
    let ended = server.record(&tokens.session_id).await;
    assert!(ended.revoked.is_some());

    // He can revive the session for everyone who holds its token, up to its absolute end …
    let forever = UnixMillis::MAX;
    let revived = changed(&ended, |it| {
        it.revoked = None;
        it.expires_at = forever;
    });
    let over = Server::with(written([revived.clone()]).await, |builder| builder);
    over.advance(30 * DAY - 60 * SECOND);
    let again = over.refresh(&next.refresh_token).await.unwrap();
    assert_eq!(over.sessions.verify::<NoClaims>(&again.access_token).unwrap().subject, "mallory");
    over.advance(60 * SECOND);
    for token in [&next, &again] {
        let late = over.refresh(&token.refresh_token).await;
        assert!(matches!(late, Err(SessionError::Expired)), "{late:?}");
        assert!(over.sessions.verify::<NoClaims>(&token.access_token).is_err());
    }
    // … and keep the use of an old token from revealing its thief.
    let blind = changed(&revived, |it| it.rotated_at = forever);
    let over = Server::with(written([blind]).await, |builder| builder);
    over.advance(DAY);
    assert!(over.refresh(&tokens.refresh_token).await.is_ok());

    // He cannot use his own token to become another user, to extend his session, or to be accepted
    // by another client.
    let rewritten = [
        changed(&revived, |it| it.subject = "root".into()),
        changed(&revived, |it| it.absolute_expires_at = forever),
        changed(&revived, |it| it.client = "admin".into()),
    ];
    for record in rewritten {
        let client = record.client.clone();
        let over = Server::with(written([record]).await, |builder| builder.client(client));
        let refused = over.refresh(&next.refresh_token).await.unwrap_err();
        assert!(matches!(refused, SessionError::InvalidToken), "{refused}");
        assert_eq!(over.events(), []);
    }
}

#[tokio::test]
async fn the_access_key_alone_takes_over_no_session() {
    let server = Server::new();
    let owner = server.login("alice").await;
    let elsewhere = SessionId::generate("alice").unwrap();

    // He can impersonate any user, on servers that do not read the store.
    let forged = forged_access_token("alice", &elsewhere);
    assert_eq!(server.sessions.verify::<NoClaims>(&forged).unwrap().subject, "alice");
    // If the store is read, he needs the id of a live session of that user.
    let own = server.login("mallory").await.session_id;
    for id in [&elsewhere, &own] {
        let forged = forged_access_token("alice", id);
        let live = server.sessions.verify_live::<NoClaims>(&forged).await.unwrap_err();
        assert!(matches!(live, SessionError::InvalidToken), "{live}");
    }
    let forged_live = forged_access_token("alice", &owner.session_id);
    assert!(server.sessions.verify_live::<NoClaims>(&forged_live).await.is_ok());
    // He cannot refresh, neither with a token that he forges nor with a tag made with this key.
    let (signed, _) = body(&owner.refresh_token);
    for token in [&forged, &tagged(&signed, ACCESS_SECRET)] {
        assert!(matches!(server.refresh(token).await, Err(SessionError::InvalidToken)));
    }

    // The response: replace the key at once. The sessions continue.
    server.access_keys.replace(KeySet::new(key([0x6a; 32], "2")));
    for token in [&forged, &forged_live, &owner.access_token] {
        let refused = server.sessions.verify::<NoClaims>(token).unwrap_err();
        assert!(matches!(refused, DecodeError::UnknownKid { .. }), "{refused}");
    }
    let next = server.refresh(&owner.refresh_token).await.unwrap();
    assert!(server.sessions.verify::<NoClaims>(&next.access_token).is_ok());
}

#[tokio::test]
async fn the_refresh_key_takes_over_a_known_session_until_it_is_replaced() {
    let server = Server::new();
    let owner = server.login("alice").await;
    let (signed, _) = body(&owner.refresh_token);
    let id = 1 + 1 + 1; // after the version, the length of the kid, and the kid

    // With the key alone: a session that does not exist, or one whose id he knows, but not its
    // other fields.
    for offset in [id, id + 16] {
        let mut guess = signed.clone();
        *guess.get_mut(offset).unwrap() ^= 1;
        let refused = server.refresh(&tagged(&guess, REFRESH_SECRET)).await.unwrap_err();
        assert!(matches!(refused, SessionError::InvalidToken), "{refused}");
    }
    // With the database, too: any session. The owner's next refresh reveals it.
    let taken = tagged(&signed, REFRESH_SECRET);
    server.refresh(&taken).await.unwrap();
    server.advance(60 * SECOND);
    assert!(matches!(server.refresh(&owner.refresh_token).await, Err(SessionError::Reused)));
    assert_eq!(server.events().last(), Some(&EventKind::ReuseDetected));

    // The response: a new key, without the old one. All earlier sessions end, for the thief as
    // well.
    let victim = server.login("bob").await;
    server.refresh_keys.replace(KeySet::new(key([0x6b; 32], "2")));
    let (signed, _) = body(&victim.refresh_token);
    server.events();
    for token in [&victim.refresh_token, &tagged(&signed, REFRESH_SECRET)] {
        assert!(matches!(server.refresh(token).await, Err(SessionError::InvalidToken)));
    }
    assert_eq!(server.events(), []);
    let again = server.login("bob").await;
    assert!(server.refresh(&again.refresh_token).await.is_ok());
}

/// A backup from before the logout, with a token of a later generation and one of the stored
/// generation.
#[tokio::test]
async fn a_store_that_has_lost_a_logout_keeps_the_session() {
    for policy in [AheadPolicy::Heal, AheadPolicy::Refuse] {
        let server = Server::new();
        let first = server.login("alice").await;
        let backup = server.record(&first.session_id).await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        server.sessions.logout(&second.refresh_token).await.unwrap();

        let restored = Server::with(written([backup]).await, |builder| builder.ahead(policy));
        let answer = restored.refresh(&second.refresh_token).await;
        let told = restored.events();
        if policy == AheadPolicy::Heal {
            assert!(answer.is_ok());
            assert_eq!(told, [EventKind::Healed { lost: 1 }]);
        } else {
            assert!(matches!(answer, Err(SessionError::Ahead { lost: 1 })), "{answer:?}");
            assert_eq!(told, [EventKind::Ahead { lost: 1 }]);
            // The session that the backup has continues.
            assert!(restored.refresh(&first.refresh_token).await.is_ok());
        }
    }
}

#[tokio::test]
async fn each_login_is_a_separate_session() {
    let server = Server::new();
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        let tokens = server.login("alice").await;
        let token = server.sessions.verify::<NoClaims>(&tokens.access_token).unwrap();
        for name in [tokens.session_id.to_string(), tokens.refresh_token, token.jwt_id] {
            assert!(seen.insert(name));
        }
    }
}
