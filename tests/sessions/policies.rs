//! The policy of a login (client, lifetimes, data, limit), and reauthentication.

use std::{io, time::Duration};

use kippu::{
    Clock, NumericDate, Validation, decode, encode_with_typ,
    session::{
        AccessToken, ConfigError, DataTooLong, EventKind, Lifetimes, Login, NoClaims, RefreshStore,
        Renewal, RevokeReason, Session, SessionData, SessionError, SessionLimit, StoreErrorKind,
        TokenResponse, UnixMillis,
        conformance::{Fault, Method},
        rotation::RotateRequest,
    },
};

use crate::flows::{DAY, Fixture, Profile, SECOND, START, access_key, admin};

const HOUR: i64 = 3600 * SECOND;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

fn date(millis: i64) -> NumericDate {
    UnixMillis::new(millis).into()
}

fn data(text: &str) -> SessionData {
    SessionData::new(text.as_bytes()).unwrap()
}

impl Fixture {
    async fn log_in(&self, login: Login) -> TokenResponse {
        self.sessions.login(login, &admin()).await.unwrap()
    }

    async fn only_session(&self) -> Session {
        let mut page = self.sessions.list("alice").await.unwrap();
        assert_eq!((page.sessions.len(), page.next), (1, None));
        page.sessions.remove(0)
    }

    fn verify(&self, tokens: &TokenResponse) -> AccessToken<Profile> {
        self.sessions.verify(&tokens.access_token).unwrap()
    }
}

/// NIST SP 800-63B-4, §2.1.3 and §2.2.3. Activity extends the session, but not its absolute end.
#[tokio::test]
async fn the_lifetimes_of_nist_end_a_session_in_time() {
    let day = 24;
    for (lifetimes, idle, absolute) in [
        (Lifetimes::aal1(), 14 * day, 30 * day),
        (Lifetimes::aal2(), 1, day),
        (Lifetimes::default(), 14 * day, 30 * day),
    ] {
        let fixture = Fixture::with(|builder| builder.lifetimes(lifetimes));
        let idle_end = fixture.log_in(Login::new("alice")).await;
        let mut tokens = fixture.log_in(Login::new("bob")).await;
        assert_eq!(tokens.expires_in, Duration::from_secs(900));
        assert_eq!(tokens.refresh_expires_in, hours(idle));
        fixture.clock.advance(i64::try_from(idle).unwrap() * HOUR);
        let error = fixture.refresh(&idle_end.refresh_token).await.unwrap_err();
        assert!(matches!(error, SessionError::Expired), "{error}");

        fixture.clock.set(START);
        let absolute = START + i64::try_from(absolute).unwrap() * HOUR;
        while fixture.clock.unix_millis() < absolute {
            tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
            fixture.clock.advance(HOUR / 2);
        }
        let error = fixture.refresh(&tokens.refresh_token).await.unwrap_err();
        assert!(matches!(error, SessionError::Expired), "{error}");
    }
}

#[tokio::test]
async fn a_session_that_is_not_remembered_stays_shorter() {
    let fixture = Fixture::new();
    let tokens = fixture.log_in(Login::new("alice").remember(false)).await;
    assert!(!tokens.remembered);
    assert_eq!(tokens.refresh_expires_in, hours(12));
    assert!(!fixture.only_session().await.remembered);

    fixture.clock.advance(11 * HOUR);
    let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    assert!(!tokens.remembered);
    assert_eq!(tokens.refresh_expires_in, hours(12));
    fixture.clock.advance(11 * HOUR);
    let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(tokens.refresh_expires_in, hours(2), "24 hours after the login it ends");
    fixture.clock.advance(2 * HOUR);
    let error = fixture.refresh(&tokens.refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::Expired), "{error}");

    // The lifetimes of the builder are shorter.
    let fixture =
        Fixture::with(|builder| builder.idle_lifetime(hours(1)).absolute_lifetime(hours(2)));
    let tokens = fixture.log_in(Login::new("alice").remember(false)).await;
    assert_eq!(tokens.refresh_expires_in, hours(1));
}

#[tokio::test]
async fn a_login_can_set_its_own_lifetimes() {
    let fixture = Fixture::new();
    let login = || Login::new("alice").idle_lifetime(hours(1)).absolute_lifetime(hours(3));
    for remembered in [true, false] {
        let mut tokens = fixture.log_in(login().remember(remembered)).await;
        assert_eq!(tokens.refresh_expires_in, hours(1));
        for _ in 0..2 {
            fixture.clock.advance(HOUR - 1);
            tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
            assert_eq!(tokens.refresh_expires_in, hours(1));
        }
        fixture.clock.advance(HOUR - 1);
        tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(tokens.refresh_expires_in, Duration::from_millis(3));
        fixture.clock.advance(3);
        let error = fixture.refresh(&tokens.refresh_token).await.unwrap_err();
        assert!(matches!(error, SessionError::Expired), "{error}");
    }
    // Longer than the builder's lifetime; and for an unused session, which the builder's idle
    // lifetime would have kept.
    let tokens = fixture.log_in(Login::new("alice").absolute_lifetime(hours(10_000))).await;
    assert_eq!(tokens.refresh_expires_in, hours(14 * 24));
    let tokens = fixture.log_in(Login::new("alice").idle_lifetime(hours(24 * 20))).await;
    assert_eq!(tokens.refresh_expires_in, hours(24 * 20));
}

#[tokio::test]
async fn invalid_lifetimes_are_rejected_before_the_store() {
    type IsRight = fn(&ConfigError) -> bool;
    let fixture = Fixture::new();
    let cases: [(Login, IsRight); 4] = [
        (Login::new("alice").idle_lifetime(Duration::from_secs(899)), |error| {
            matches!(error, ConfigError::AccessOverIdle { .. })
        }),
        (Login::new("alice").absolute_lifetime(Duration::from_secs(899)), |error| {
            matches!(error, ConfigError::AccessOverIdle { .. })
        }),
        (Login::new("alice").idle_lifetime(hours(2)).absolute_lifetime(hours(1)), |error| {
            matches!(error, ConfigError::IdleOverAbsolute { .. })
        }),
        (Login::new("alice").limit(SessionLimit::evict_oldest(0)), |error| {
            matches!(error, ConfigError::LimitOfZero)
        }),
    ];
    for (login, is_right) in cases {
        match fixture.sessions.login(login, &admin()).await.unwrap_err() {
            SessionError::Login(error) if is_right(&error) => {}
            error => panic!("{error}"),
        }
    }
    assert_eq!(fixture.store.take_calls(), []);
}

#[tokio::test]
async fn a_login_names_its_client() {
    let fixture = Fixture::with(|builder| builder.client("ios").client("tv"));
    for (login, client) in [
        (Login::new("alice"), "web"),
        (Login::new("alice").client("web"), "web"),
        (Login::new("alice").client("ios"), "ios"),
        (Login::new("alice").client("tv"), "tv"),
    ] {
        let tokens = fixture.log_in(login).await;
        let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(fixture.verify(&tokens).client_id, client);
    }
    fixture.store.take_calls();
    let other = fixture.sessions.login(Login::new("alice").client("car"), &admin()).await;
    assert!(matches!(other, Err(SessionError::Client)));
    assert_eq!(fixture.store.take_calls(), []);
}

#[tokio::test]
async fn data_live_as_long_as_the_session() {
    let fixture = Fixture::new();
    let tokens = fixture.log_in(Login::new("alice").data(data("password"))).await;
    let renew = |seen: &'static str, next: Option<&'static str>| {
        async move |session: Session| {
            assert_eq!(session.data.as_bytes(), seen.as_bytes());
            let renewal = Renewal::new(admin());
            Ok::<_, io::Error>(Some(match next {
                Some(next) => renewal.data(data(next)),
                None => renewal,
            }))
        }
    };
    let refresh = async |tokens: &TokenResponse, seen, next| {
        fixture.sessions.refresh(&tokens.refresh_token, renew(seen, next)).await.unwrap()
    };
    let first = refresh(&tokens, "password", None).await;
    let second = refresh(&first, "password", Some("password, otp")).await;
    // A retry returns the stored data, and replaces nothing.
    let again = refresh(&first, "password, otp", Some("nothing")).await;
    assert_eq!(again.refresh_token, second.refresh_token);
    assert_eq!(fixture.only_session().await.data, data("password, otp"));
    // A refresh that fails does not replace the data either.
    let fails = async |_| Err::<Option<Profile>, _>(io::Error::other("away"));
    assert!(fixture.sessions.refresh(&second.refresh_token, fails).await.is_err());
    refresh(&second, "password, otp", Some("")).await;
    assert_eq!(fixture.only_session().await.data, SessionData::default());
    assert_eq!(SessionData::new([0; 1025]), Err(DataTooLong { length: 1025 }));
}

#[tokio::test]
async fn the_oldest_session_is_evicted() {
    let fixture = Fixture::with(|builder| builder.session_limit(SessionLimit::evict_oldest(2)));
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(fixture.login().await);
        fixture.clock.advance(SECOND);
    }
    let evicted = EventKind::Revoked { reason: RevokeReason::Limit, sessions: 1 };
    let logged_in = EventKind::LoggedIn;
    assert_eq!(fixture.events(), [logged_in, logged_in, evicted, logged_in]);
    let listed = fixture.sessions.list("alice").await.unwrap().sessions;
    let ids: Vec<_> = listed.iter().map(|session| session.id).collect();
    assert_eq!(ids, [tokens[1].session_id, tokens[2].session_id]);
    let error = fixture.refresh(&tokens[0].refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::Limit)), "{error}");
    // The login's own limit takes precedence over the builder's.
    fixture.log_in(Login::new("alice").limit(SessionLimit::evict_oldest(5))).await;
    assert_eq!(fixture.sessions.list("alice").await.unwrap().sessions.len(), 3);
    fixture.log_in(Login::new("bob")).await;
    fixture.log_in(Login::new("alice").limit(SessionLimit::evict_oldest(1))).await;
    assert_eq!(fixture.sessions.list("alice").await.unwrap().sessions.len(), 1);
    assert_eq!(fixture.sessions.list("bob").await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn a_login_beyond_the_limit_can_be_rejected() {
    let fixture = Fixture::with(|builder| builder.session_limit(SessionLimit::refuse(1)));
    let tokens = fixture.login().await;
    let error = fixture.sessions.login("alice", &admin()).await.unwrap_err();
    assert!(matches!(error, SessionError::TooManySessions), "{error}");
    assert_eq!((error.oauth_error(), error.is_transient()), ("access_denied", false));
    assert_eq!(fixture.events(), [EventKind::LoggedIn]);
    let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    fixture.sessions.logout(&tokens.refresh_token).await.unwrap();
    fixture.login().await;
    // A session that has expired does not count.
    fixture.clock.advance(14 * DAY);
    fixture.login().await;
}

#[tokio::test]
async fn an_insert_that_the_driver_repeats_evicts_once() {
    let fixture = Fixture::with(|builder| builder.session_limit(SessionLimit::evict_oldest(1)));
    let first = fixture.login().await;
    fixture.clock.advance(SECOND);
    fixture.store.fail(Method::Insert, Fault::Repeated);
    let second = fixture.login().await;
    assert!(fixture.refresh(&second.refresh_token).await.is_ok());
    assert!(fixture.refresh(&first.refresh_token).await.is_err());
}

#[tokio::test]
async fn a_list_has_pages() {
    let fixture = Fixture::new();
    for number in 0..205 {
        if number % 3 == 0 {
            fixture.clock.advance(1);
        }
        fixture.login().await;
    }
    let mut seen = Vec::new();
    let mut page = fixture.sessions.list("alice").await.unwrap();
    let mut sizes = vec![page.sessions.len()];
    seen.append(&mut page.sessions);
    while let Some(next) = page.next {
        let place = next.to_string().parse().unwrap();
        page = fixture.sessions.list_after("alice", place).await.unwrap();
        sizes.push(page.sessions.len());
        seen.append(&mut page.sessions);
    }
    assert_eq!(sizes, [100, 100, 5]);
    assert!(seen.is_sorted_by_key(|session| (session.created_at, session.created_at)));
    seen.sort_by_key(|session| session.id);
    seen.dedup_by_key(|session| session.id);
    assert_eq!(seen.len(), 205);
}

#[tokio::test]
async fn a_reauthentication_only_changes_auth_time() {
    let fixture = Fixture::new();
    let login = Login::new("alice").label("Firefox").data(data("pwd"));
    let first = fixture.log_in(login).await;
    fixture.clock.advance(HOUR);
    let second = fixture.refresh(&first.refresh_token).await.unwrap();
    let access = fixture.verify(&second);
    assert_eq!(access.auth_time, Some(date(START)), "a refresh does not authenticate the user");
    assert_eq!(
        access.require_recent(Duration::from_secs(3599)).unwrap_err().max_age,
        Duration::from_secs(3599)
    );
    assert!(access.require_recent(hours(1)).is_ok());

    fixture.clock.advance(60 * SECOND);
    fixture.events();
    fixture.store.take_calls();
    let renewal = Renewal::new(admin()).data(data("pwd otp"));
    let third = fixture.sessions.reauthenticate(&access, renewal).await.unwrap();
    assert_eq!(fixture.store.take_calls(), [Method::Load, Method::Rotate]);
    assert_eq!(fixture.events(), [EventKind::Reauthenticated]);
    assert_eq!(third.session_id, first.session_id);
    let access = fixture.verify(&third);
    assert_eq!(access.auth_time, Some(date(START + HOUR + 60 * SECOND)));
    assert!(access.require_recent(Duration::ZERO).is_ok());
    let session = fixture.only_session().await;
    assert_eq!(
        (session.created_at, session.auth_time),
        (date(START), date(START + HOUR + 60 * SECOND))
    );
    assert_eq!((session.label.as_deref(), session.data), (Some("Firefox"), data("pwd otp")));

    // The used token is replayed within the grace period, and counts as reused after it.
    let replayed = fixture.refresh(&second.refresh_token).await.unwrap();
    assert_eq!(replayed.refresh_token, third.refresh_token);
    fixture.clock.advance(60 * SECOND);
    let fourth = fixture.refresh(&third.refresh_token).await.unwrap();
    assert_eq!(fixture.verify(&fourth).auth_time, Some(date(START + HOUR + 60 * SECOND)));
    let error = fixture.refresh(&second.refresh_token).await.unwrap_err();
    assert!(matches!(error, SessionError::Reused), "{error}");
    let error = fixture.sessions.reauthenticate(&access, admin()).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::Reuse)), "{error}");
}

#[tokio::test]
async fn a_reauthentication_survives_a_rotation_that_comes_between() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let access = fixture.verify(&tokens);
    let store = fixture.store.inner();
    // The record as it was before two rotations that the caller does not know about.
    let rotate = async |generation| {
        let now = UnixMillis::new(START);
        let grace = Duration::from_secs(10);
        let id = tokens.session_id;
        let request = RotateRequest::new(id, generation, "1", now, grace, hours(100));
        store.rotate(&request).await.unwrap();
    };
    rotate(0).await;
    rotate(1).await;
    fixture.store.misread(|record| record.generation = 0);
    let next = fixture.sessions.reauthenticate(&access, admin()).await.unwrap();
    assert_eq!(
        fixture.store.take_calls(),
        [Method::Insert, Method::Load, Method::Rotate, Method::Load, Method::Rotate]
    );
    assert_eq!(fixture.events(), [EventKind::LoggedIn, EventKind::Reauthenticated]);
    assert!(fixture.refresh(&next.refresh_token).await.is_ok());
}

#[tokio::test]
async fn a_session_that_has_ended_is_not_reauthenticated() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let access = fixture.verify(&tokens);
    fixture.store.outage(Some(StoreErrorKind::Unavailable));
    let error = fixture.sessions.reauthenticate(&access, admin()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    fixture.store.outage(None);
    // The answer of the store is lost: the client tries again, and succeeds.
    fixture.store.fail(Method::Rotate, Fault::After);
    assert!(fixture.sessions.reauthenticate(&access, admin()).await.is_err());
    let tokens = fixture.sessions.reauthenticate(&access, admin()).await.unwrap();
    let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
    fixture.sessions.logout(&tokens.refresh_token).await.unwrap();
    let error = fixture.sessions.reauthenticate(&access, admin()).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::Logout)), "{error}");
}

#[tokio::test]
async fn a_token_without_auth_time_is_never_recent() {
    let fixture = Fixture::new();
    let (tokens, key) = (fixture.login().await, access_key());
    let validation = Validation::new().at(date(START)).any_audience().unwrap();
    let mut claims: serde_json::Value = decode(&tokens.access_token, &key, &validation).unwrap();
    claims.as_object_mut().unwrap().remove("auth_time");
    let token = encode_with_typ(&claims, &key, "at+jwt").unwrap();
    let access: AccessToken<NoClaims> = fixture.sessions.verify(&token).unwrap();
    assert_eq!(access.auth_time, None);
    assert!(access.require_recent(Duration::MAX).is_err());
}

/// A user who can also write the store gets no token of another client.
#[tokio::test]
async fn a_session_that_was_moved_to_another_client_is_not_reauthenticated() {
    let fixture = Fixture::with(|builder| builder.client("admin"));
    let access = fixture.verify(&fixture.login().await);
    fixture.store.misread(|record| record.client = "admin".into());
    let error = fixture.sessions.reauthenticate(&access, admin()).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken), "{error}");
    assert!(fixture.sessions.reauthenticate(&access, admin()).await.is_ok());
}

/// The clock of the server that handled the login was ahead by more than the tolerance for servers'
/// clocks.
#[tokio::test]
async fn an_authentication_in_the_future_is_not_recent() {
    for (ahead, is_recent) in
        [(60 * SECOND, true), (600 * SECOND, true), (HOUR, false), (3650 * DAY, false)]
    {
        let fixture = Fixture::new();
        fixture.clock.advance(ahead);
        let tokens = fixture.login().await;
        fixture.clock.set(START);
        let tokens = fixture.refresh(&tokens.refresh_token).await.unwrap();
        let access = fixture.verify(&tokens);
        assert_eq!(access.auth_time, Some(date(START + ahead)));
        assert_eq!(access.require_recent(Duration::from_secs(300)).is_ok(), is_recent, "{ahead}");
        let tokens = fixture.sessions.reauthenticate(&access, admin()).await.unwrap();
        assert!(fixture.verify(&tokens).require_recent(Duration::ZERO).is_ok());
    }
}

/// Access tokens that live longer than the default idle lifetime of a session that is not
/// remembered.
#[tokio::test]
async fn a_login_that_is_not_remembered_lives_as_long_as_an_access_token() {
    for (access, idle) in [(11, 12), (12, 12), (13, 13), (24, 24), (48, 48)] {
        let fixture = Fixture::with(|builder| builder.access_lifetime(hours(access)));
        let tokens = fixture.log_in(Login::new("alice").remember(false)).await;
        assert_eq!(tokens.refresh_expires_in, hours(idle));
        assert_eq!(tokens.expires_in, hours(access));
    }
}

#[tokio::test]
async fn a_reauthentication_that_the_driver_repeats_uses_one_token_up() {
    for otp in [None, Some(data("otp"))] {
        let fixture = Fixture::new();
        let tokens = fixture.login().await;
        let refreshed = fixture.refresh(&tokens.refresh_token).await.unwrap();
        let access = fixture.verify(&refreshed);
        fixture.clock.advance(HOUR);
        fixture.store.fail(Method::Rotate, Fault::Repeated);
        let mut renewal = Renewal::new(admin());
        if let Some(otp) = otp {
            renewal = renewal.data(otp);
        }
        let next = fixture.sessions.reauthenticate(&access, renewal).await.unwrap();
        assert!(fixture.verify(&next).require_recent(Duration::ZERO).is_ok());
        assert_ne!(next.refresh_token, refreshed.refresh_token);
        // Another tab, which has the used token.
        let other = fixture.refresh(&refreshed.refresh_token).await.unwrap();
        assert_eq!(other.refresh_token, next.refresh_token);
        let events = [
            EventKind::LoggedIn,
            EventKind::Rotated,
            EventKind::Reauthenticated,
            EventKind::Replayed,
        ];
        assert_eq!(fixture.events(), events);
    }
}

/// Two tabs of a browser: one refreshes while the user authenticates in the other. The browser
/// keeps the cookies of the answer that comes last.
#[tokio::test]
async fn a_concurrent_refresh_and_reauthentication_give_the_same_refresh_token() {
    for refresh_is_first in [true, false] {
        let fixture = Fixture::new();
        let tokens = fixture.login().await;
        let access = fixture.verify(&tokens);
        fixture.clock.advance(HOUR);
        let refresh = async || fixture.refresh(&tokens.refresh_token).await.unwrap();
        let reauthenticate =
            async || fixture.sessions.reauthenticate(&access, admin()).await.unwrap();
        let (first, second) = if refresh_is_first {
            (refresh().await, reauthenticate().await)
        } else {
            (reauthenticate().await, refresh().await)
        };
        assert_eq!(first.refresh_token, second.refresh_token);
        assert_eq!(first.refresh_expires_in, second.refresh_expires_in);
        assert_eq!(fixture.verify(&second).auth_time, Some(date(START + HOUR)));
        // After the grace period, whichever answer the browser has kept.
        fixture.clock.advance(60 * SECOND);
        let third = fixture.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(fixture.verify(&third).auth_time, Some(date(START + HOUR)));
        // A thief with the token of the login revokes the session.
        let error = refresh_error(&fixture, &tokens).await;
        assert!(matches!(error, SessionError::Reused), "{error}");
        let error = refresh_error(&fixture, &third).await;
        assert!(matches!(error, SessionError::Revoked(RevokeReason::Reuse)), "{error}");
    }
}

async fn refresh_error(fixture: &Fixture, tokens: &TokenResponse) -> SessionError {
    fixture.refresh(&tokens.refresh_token).await.unwrap_err()
}

/// As above, but each of them has read the session before the other one changed it.
#[tokio::test]
async fn a_refresh_and_a_reauthentication_that_cross_give_the_same_refresh_token() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let access = fixture.verify(&tokens);
    fixture.clock.advance(HOUR);
    let mut reauthenticated = None;
    let refreshed = fixture.sessions.refresh(&tokens.refresh_token, async |_| {
        reauthenticated = Some(fixture.sessions.reauthenticate(&access, admin()).await.unwrap());
        // Longer than the grace period.
        fixture.clock.advance(60 * SECOND);
        Ok::<_, io::Error>(Some(admin()))
    });
    let refreshed = refreshed.await.unwrap();
    let reauthenticated = reauthenticated.unwrap();
    assert_eq!(refreshed.refresh_token, reauthenticated.refresh_token);
    for tokens in [&refreshed, &reauthenticated] {
        assert_eq!(fixture.verify(tokens).auth_time, Some(date(START + HOUR)));
    }
    let replayed = [EventKind::LoggedIn, EventKind::Reauthenticated, EventKind::Replayed];
    assert_eq!(fixture.events(), replayed);

    // The reauthentication reads the session from before the last refresh, whose commit took longer
    // than the grace period.
    fixture.clock.advance(HOUR);
    let refreshed = fixture.refresh(&refreshed.refresh_token).await.unwrap();
    fixture.clock.advance(60 * SECOND);
    fixture.store.misread(|record| record.generation -= 1);
    fixture.store.take_calls();
    let again = fixture.sessions.reauthenticate(&access, admin()).await.unwrap();
    assert_eq!(fixture.store.take_calls(), [Method::Load, Method::Rotate]);
    assert_eq!(again.refresh_token, refreshed.refresh_token);
    assert!(fixture.verify(&again).require_recent(Duration::ZERO).is_ok());
}

/// It sets `auth_time` and the data, and extends neither the session nor the grace period of the
/// token before.
#[tokio::test]
async fn a_reauthentication_within_the_grace_period_extends_nothing() {
    let fixture = Fixture::new();
    let first = fixture.login().await;
    let access = fixture.verify(&first);
    fixture.clock.advance(HOUR);
    let second = fixture.refresh(&first.refresh_token).await.unwrap();
    let before = fixture.only_session().await;
    fixture.clock.advance(10 * SECOND);
    for amr in ["pwd", "pwd otp"] {
        let renewal = Renewal::new(admin()).data(data(amr));
        let again = fixture.sessions.reauthenticate(&access, renewal).await.unwrap();
        assert_eq!(again.refresh_token, second.refresh_token);
        assert_eq!(again.refresh_expires_in + Duration::from_secs(10), second.refresh_expires_in);
        let after = fixture.only_session().await;
        let mut moved = before.clone();
        (moved.auth_time, moved.data) = (date(START + HOUR + 10 * SECOND), data(amr));
        assert_eq!(after, moved);
    }
    let replayed = fixture.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(replayed.refresh_token, second.refresh_token);
    fixture.clock.advance(1);
    let error = refresh_error(&fixture, &first).await;
    assert!(matches!(error, SessionError::Reused), "{error}");
}

/// The token of the last refresh is signed with a key that this server does not have yet.
#[tokio::test]
async fn a_reauthentication_changes_nothing_without_the_key_of_the_refresh_token() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let access = fixture.verify(&tokens);
    fixture.refresh(&tokens.refresh_token).await.unwrap();
    let before = fixture.only_session().await;
    fixture.clock.advance(SECOND);
    fixture.store.misread(|record| record.kid = "2".into());
    let error = fixture.sessions.reauthenticate(&access, admin()).await.unwrap_err();
    assert!(matches!(&error, SessionError::MissingRefreshKey { kid } if kid == "2"), "{error}");
    assert_eq!(fixture.only_session().await, before);
}
