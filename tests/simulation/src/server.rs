//! A server: the real `Sessions`, `AccessVerifier` and `EndedSessions` over a store, an application
//! with accounts around them, and tasks that follow the log and sweep.

mod late;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kippu::{
    ClaimError, DecodeError, Key, KeySet, NumericDate, SharedKeySet,
    session::{
        AccessToken, BoxStore, EndedOptions, EndedSessions, Event, EventKind, Login, NoClaims,
        Session, SessionError, SessionId, SessionLimit, Sessions, TokenResponse,
        rotation::AheadPolicy,
    },
};
use parking_lot::Mutex;
use serde::Serialize;

use self::late::LateFollower;
use crate::{
    executor::{Machine, micros},
    flaw::Flaw,
    hosts::HostClock,
    log::{Answer, Keys, Line, Margins, Micros, Said, Settings, What},
    time::{Scope, Time},
    workload::{Ask, Recorder, Reply, Tokens},
};

/// How the servers of a run are set up.
#[derive(Clone, Debug)]
pub struct Policy {
    pub access: Duration,
    pub grace: Duration,
    pub idle: Duration,
    pub absolute: Duration,
    pub max_lag: Duration,
    /// Of each user; none: any number.
    pub max_sessions: Option<u32>,
    /// Whether a login looks at the account once more when its session is stored.
    pub checks_logins: bool,
    pub ahead: AheadPolicy,
    /// How long between two sweeps.
    pub sweep_every: Duration,
    pub flaw: Option<Flaw>,
}

impl Policy {
    /// The settings that a history begins with.
    pub fn settings(&self, deadline: u64) -> Settings {
        Settings {
            access_lifetime: self.access.as_secs(),
            grace: self.grace.as_secs(),
            idle_lifetime: self.idle.as_secs(),
            session_lifetime: self.absolute.as_secs(),
            max_sessions: self.max_sessions.and_then(|max| usize::try_from(max).ok()),
            deadline,
            // Passwords are hashed, and there may be many who wait.
            margin: 2,
            refuses_ahead: self.ahead == AheadPolicy::Refuse,
            margins: Margins { max_lag: micros(self.max_lag), ..Margins::default() },
            ..Settings::default()
        }
    }
}

/// The accounts of the application, which no fault touches.
pub type Accounts = Arc<Mutex<BTreeMap<u32, Account>>>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    is_gone: bool,
    /// How often the password was changed.
    password: u64,
}

/// A server, which may be down.
pub struct Server<T = Machine> {
    pub number: u32,
    pub clock: HostClock<T>,
    time: T,
    connect: Box<dyn Fn() -> BoxStore + Send + Sync>,
    recorder: Recorder,
    accounts: Accounts,
    policy: Policy,
    /// The number of the key that signs, and of the newest one that verifies.
    keys: Mutex<(u8, u8)>,
    access_keys: SharedKeySet,
    refresh_keys: SharedKeySet,
    running: Mutex<Option<Arc<Running<T>>>>,
}

/// A server that is up.
pub struct Running<T = Machine> {
    pub scope: Scope,
    sessions: Sessions<BoxStore>,
    accounts: Accounts,
    time: T,
    policy: Policy,
    /// In the place of `EndedSessions`, where that is the flaw.
    late: Option<Arc<LateFollower<T>>>,
}

#[derive(Serialize)]
struct Profile {
    roles: String,
}

impl Profile {
    fn new(is_large: bool) -> Self {
        // More than the 16 KiB that a token may have.
        Self { roles: if is_large { "administrator ".repeat(2000) } else { "user".to_owned() } }
    }
}

/// The name of a user, which has the number in it.
pub fn subject(user: u32) -> String {
    format!("user-{user}")
}

fn user_of(subject: &str) -> u32 {
    subject.strip_prefix("user-").and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// The keys up to `known`, of which `signing` signs, and some are retired.
fn keys(purpose: u8, signing: u8, known: u8, retired: &BTreeMap<u8, u64>) -> KeySet {
    let key = |number: u8| {
        let key = Key::hs256([[purpose; 16], [number; 16]].concat());
        key.expect("the secret has 32 bytes").with_kid(format!("{purpose}-{number}"))
    };
    let others = (1..=known).filter(|number| *number != signing);
    others.fold(KeySet::new(key(signing)), |set, number| {
        let until = retired.get(&number).and_then(|until| i64::try_from(*until).ok());
        let set = match until {
            Some(until) => set.retire(key(number), NumericDate::from_seconds(until)),
            None => set.accept(key(number)),
        };
        set.expect("each key has another id")
    })
}

/// The forms in which a log could show a key: its bytes as a text, in hex, in base64url, in a list.
pub fn spellings_of_keys() -> Vec<String> {
    let of = |purpose: u8| {
        let bytes = [purpose; 15];
        [
            String::from_utf8_lossy(&bytes).into_owned(),
            format!("{purpose:02x}").repeat(15),
            BASE64_URL_SAFE_NO_PAD.encode(bytes),
            format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
        ]
    };
    [b'a', b'r'].into_iter().flat_map(of).collect()
}

impl<T: Time> Server<T> {
    /// A server that is down. `connect` makes its stores.
    pub fn new(
        number: u32,
        time: &T,
        clock: HostClock<T>,
        connect: impl Fn() -> BoxStore + Send + Sync + 'static,
        recorder: &Recorder,
        accounts: &Accounts,
        policy: &Policy,
    ) -> Self {
        let none = BTreeMap::new();
        let server = Self {
            number,
            clock,
            time: time.clone(),
            connect: Box::new(connect),
            recorder: recorder.clone(),
            accounts: accounts.clone(),
            policy: policy.clone(),
            keys: Mutex::new((1, 1)),
            access_keys: SharedKeySet::new(keys(b'a', 1, 1, &none)),
            refresh_keys: SharedKeySet::new(keys(b'r', 1, 1, &none)),
            running: Mutex::default(),
        };
        server.note_keys(time.now(), &none);
        server
    }

    /// A server that is up, if it is.
    pub fn up(&self) -> Option<Arc<Running<T>>> {
        self.running.lock().clone()
    }

    /// Begins, with nothing in its memory. Returns false for a policy that the sessions refuse.
    ///
    /// # Panics
    /// Never: no leeway is an option.
    pub fn start(&self) -> bool {
        let time = self.time.clone();
        let scope = time.scope();
        let Policy { access, grace, idle, absolute, max_lag, ahead, flaw, .. } = self.policy;
        let elapsed = time.clone();
        let options = EndedOptions::new()
            .max_lag(max_lag)
            .access_lifetime(access)
            .monotonic_clock(move || Duration::from_micros(elapsed.now()));
        let (store, read) = ((self.connect)(), (self.connect)());
        let recorder = self.recorder.clone();
        let mut sessions = Sessions::builder(store)
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(self.access_keys.clone())
            .refresh_key(self.refresh_keys.clone())
            .access_lifetime(access)
            .grace(grace)
            .idle_lifetime(idle)
            .absolute_lifetime(absolute)
            .ahead(ahead)
            .clock(self.clock.clone())
            .leeway(Duration::ZERO)
            .expect("no leeway is an option")
            .on_event(move |event| tell(&recorder, event));
        let mut late = None;
        if flaw == Some(Flaw::FreshFromTheEnd) {
            let follower = Arc::new(LateFollower::new(&time, read, max_lag));
            time.spawn(scope, Arc::clone(&follower).run());
            late = Some(follower);
        } else if !time.is_scripted() {
            let ended = EndedSessions::follow(read, options);
            let timer = time.clone();
            let sleep = move |length: Duration| {
                let timer = timer.clone();
                // Rounded up: in a sleep of a nanosecond no time would pass.
                let length = micros(length.saturating_add(Duration::from_nanos(999)));
                async move { timer.sleep(length).await }
            };
            time.spawn(scope, ended.clone().run(sleep));
            sessions = sessions.ended_sessions(ended);
        }
        let Ok(sessions) = sessions.build() else {
            time.end(scope);
            let (session, message) = (String::new(), "refused to begin".to_owned());
            self.recorder.note(Line::Said(Said { session, message, reason: None }));
            return false;
        };
        let (accounts, policy) = (self.accounts.clone(), self.policy.clone());
        let running =
            Arc::new(Running { scope, sessions, accounts, time: time.clone(), policy, late });
        if !time.is_scripted() {
            time.spawn(scope, Arc::clone(&running).sweep());
        }
        *self.running.lock() = Some(running);
        true
    }

    /// Ends where it is.
    pub fn crash(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            self.time.end(running.scope);
        }
    }

    /// The number of the key that signs, and of the newest one that verifies.
    pub fn keys(&self) -> (u8, u8) {
        *self.keys.lock()
    }

    /// Gives it the keys up to `known`. Refresh tokens of retired ones are good until their Unix
    /// times.
    pub fn set_keys(&self, signing: u8, known: u8, retired: &BTreeMap<u8, u64>) {
        let from = self.time.now();
        *self.keys.lock() = (signing, known);
        self.access_keys.replace(keys(b'a', signing, known, &BTreeMap::new()));
        self.refresh_keys.replace(keys(b'r', signing, known, retired));
        self.note_keys(from, retired);
    }

    /// Writes into the history which refresh keys it has, since some moment after `from`.
    fn note_keys(&self, from: Micros, retired: &BTreeMap<u8, u64>) {
        let (to, (signing, _)) = (self.time.now(), self.keys());
        let retired = retired.iter().filter(|(key, _)| **key != signing);
        let retired = retired.map(|(key, until)| (u64::from(*key), *until)).collect();
        let signing = u64::from(signing);
        let keys = Keys { host: self.number, from, to, signing, retired };
        self.recorder.note(Line::Keys(keys));
    }
}

/// Writes an event of the sessions into the history.
pub fn tell(recorder: &Recorder, event: &Event<'_>) {
    let (message, reason) = match event.kind {
        EventKind::LoggedIn => ("logged in", None),
        EventKind::Rotated => ("rotated", None),
        EventKind::Replayed => ("replayed", None),
        EventKind::ReuseDetected => ("reuse detected", None),
        EventKind::Reauthenticated => ("reauthenticated", None),
        EventKind::Revoked { reason, .. } => ("revoked", Some(reason.as_str().to_owned())),
        EventKind::Healed { .. } => ("the store was behind", None),
        EventKind::Ahead { .. } => ("the store is behind", None),
        EventKind::Denied => ("denied", None),
        _ => ("unknown", None),
    };
    let session = event.session_id.map(|id| recorder.session(&id.to_string()));
    let session = session.unwrap_or_default();
    recorder.note(Line::Said(Said { session, message: message.to_owned(), reason }));
}

/// How an error is answered.
pub fn refused(error: &SessionError) -> Answer {
    // As an application logs it.
    tracing::info!("{error}, {error:?}");
    match error {
        SessionError::AccessToken(error) => rejected(error),
        SessionError::TooManySessions => Answer::NoRoom,
        SessionError::TooLong { .. } => Answer::Limited,
        error => match error.oauth_error() {
            "invalid_grant" => Answer::Refused,
            "temporarily_unavailable" => Answer::Unavailable,
            _ => Answer::Failed,
        },
    }
}

/// The same, of an access token.
pub fn rejected(error: &DecodeError) -> Answer {
    match error {
        DecodeError::SessionEnded => Answer::Refused,
        DecodeError::EndedUnknown { .. } => Answer::Unavailable,
        DecodeError::Claim(ClaimError::Expired { .. }) => Answer::Expired,
        DecodeError::Claim(ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. }) => {
            Answer::Early
        }
        _ => Answer::Odd,
    }
}

fn done<T>(result: Result<T, SessionError>) -> Reply {
    Reply::of(result.map_or_else(|error| refused(&error), |_| Answer::Done))
}

fn granted(result: Result<TokenResponse, SessionError>) -> Reply {
    let response = match result {
        Ok(response) => response,
        Err(error) => return Reply::of(refused(&error)),
    };
    let tokens = read(&response);
    Reply { tokens, ..Reply::of(Answer::Done) }
}

/// Reads the tokens of an answer, as a client does.
pub fn read(response: &TokenResponse) -> Option<Tokens> {
    let payload = response.access_token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(Tokens {
        refresh: response.refresh_token.clone(),
        access: response.access_token.clone(),
        session: claims.get("sid")?.as_str()?.to_owned(),
        subject: claims.get("sub")?.as_str()?.to_owned(),
        expires_at: claims.get("exp")?.as_u64()?,
        is_forgotten: !response.remembered,
        cookies: None,
    })
}

impl<T: Time> Running<T> {
    /// Sweeps again and again. `Sessions::purge_task` waits at random, which no seed decides.
    async fn sweep(self: Arc<Self>) {
        loop {
            let every = micros(self.policy.sweep_every);
            self.time.sleep(self.time.between(every / 2, every)).await;
            // An error is an answer like any other: the next round sweeps what is left.
            let _ = self.sessions.purge_expired(1000).await;
        }
    }

    /// The time that the application takes to look at an account.
    async fn look(&self) {
        self.time.pass(self.time.between(20, 5_000)).await;
    }

    fn account(&self, user: u32) -> Account {
        self.accounts.lock().get(&user).copied().unwrap_or_default()
    }

    /// Answers a request.
    pub async fn answer(&self, ask: &Ask) -> Reply {
        let refresh = ask.refresh.as_deref().unwrap_or_default();
        let access = ask.access.as_deref();
        match (ask.what, access) {
            (What::Login, _) => self.log_in(ask).await,
            (What::Refresh | What::Forged, _) => self.refresh(refresh, ask.is_large).await,
            (What::Logout, Some(access)) => {
                done(self.sessions.logout_by_access_token(access).await)
            }
            (What::Logout | What::FalseLogout, _) => done(self.sessions.logout(refresh).await),
            (What::Me, Some(access)) => match self.verify(access) {
                Ok(_) => Reply::of(Answer::Done),
                Err(error) => Reply::of(rejected(&error)),
            },
            (What::Live, Some(access)) => done(self.sessions.verify_live::<NoClaims>(access).await),
            (What::List, Some(access)) => self.list(access).await,
            (What::LogoutSession, _) => self.end(ask, access).await,
            (What::LogoutAll, None) => {
                self.accounts.lock().entry(ask.user).or_default().password += 1;
                done(self.sessions.logout_all(&subject(ask.user)).await)
            }
            (What::Leave, _) => {
                self.accounts.lock().entry(ask.user).or_default().is_gone = true;
                done(self.sessions.logout_all(&subject(ask.user)).await)
            }
            (What::Reauthenticate, Some(access)) => match self.verify(access) {
                Ok(token) => {
                    self.look().await;
                    granted(self.sessions.reauthenticate(&token, Profile::new(false)).await)
                }
                Err(error) => Reply::of(rejected(&error)),
            },
            (What::LogoutAll | What::LogoutOthers, Some(access)) => match self.verify(access) {
                Ok(token) if ask.what == What::LogoutAll => {
                    done(self.sessions.logout_all(&token.subject).await)
                }
                Ok(token) => {
                    done(self.sessions.logout_others(&token.subject, &token.session_id).await)
                }
                Err(error) => Reply::of(rejected(&error)),
            },
            _ => Reply::of(Answer::Odd),
        }
    }

    fn verify(&self, access: &str) -> Result<AccessToken<NoClaims>, DecodeError> {
        let token = self.sessions.verify(access)?;
        if let Some(late) = &self.late {
            late.check(&token.session_id)?;
        }
        Ok(token)
    }

    async fn log_in(&self, ask: &Ask) -> Reply {
        let checked = self.account(ask.user);
        if checked.is_gone {
            return Reply::of(Answer::Limited);
        }
        self.look().await;
        let terms = ask.terms;
        let mut login = Login::new(subject(ask.user)).remember(!terms.is_forgotten);
        if let Some(lifetime) = terms.idle_lifetime {
            login = login.idle_lifetime(Duration::from_secs(lifetime));
        }
        if let Some(lifetime) = terms.session_lifetime {
            login = login.absolute_lifetime(Duration::from_secs(lifetime));
        }
        let own = terms.max_sessions.and_then(|max| u32::try_from(max).ok());
        if let Some(max) = own.or(self.policy.max_sessions) {
            let limit = if ask.keeps_others {
                SessionLimit::refuse(max)
            } else {
                SessionLimit::evict_oldest(max)
            };
            login = login.limit(limit);
        }
        if !self.policy.checks_logins {
            return granted(self.sessions.login(login, &Profile::new(false)).await);
        }
        let authorize = async |_: Session| {
            self.look().await;
            let account = self.account(ask.user);
            Ok::<_, std::io::Error>((account == checked).then(|| Profile::new(false)))
        };
        granted(self.sessions.login_checked(login, authorize).await)
    }

    async fn refresh(&self, token: &str, is_large: bool) -> Reply {
        let checks_late = self.policy.flaw == Some(Flaw::ChecksAfterCommit);
        let authorize = async |session: Session| {
            self.look().await;
            let account = self.account(user_of(&session.subject));
            let profile = || Profile::new(is_large && !checks_late);
            Ok::<_, std::io::Error>((!account.is_gone).then(profile))
        };
        if self.policy.flaw == Some(Flaw::LogsTokens) {
            tracing::info!("a refresh with {token}");
        }
        let reply = granted(self.sessions.refresh(token, authorize).await);
        let is_too_long = checks_late && is_large && reply.answer == Answer::Done;
        if is_too_long { Reply::of(Answer::Limited) } else { reply }
    }

    async fn end(&self, ask: &Ask, access: Option<&str>) -> Reply {
        let owner = match access {
            Some(access) => match self.sessions.verify_live::<NoClaims>(access).await {
                Ok(token) => token.subject,
                Err(error) => return Reply::of(refused(&error)),
            },
            None => subject(ask.user),
        };
        let Some(Ok(id)) = ask.target.as_deref().map(str::parse) else {
            return Reply::of(Answer::Odd);
        };
        Reply::of(match self.sessions.logout_session(&owner, &id).await {
            Ok(true) => Answer::Done,
            Ok(false) => Answer::Absent,
            Err(error) => refused(&error),
        })
    }

    async fn list(&self, access: &str) -> Reply {
        let token = match self.sessions.verify_live::<NoClaims>(access).await {
            Ok(token) => token,
            Err(error) => return Reply::of(refused(&error)),
        };
        match self.sessions.list(&token.subject).await {
            Ok(page) => {
                let ids = page.sessions.iter().map(|session| session.id);
                let listed = ids.map(|id: SessionId| id.to_string()).collect();
                Reply { listed, ..Reply::of(Answer::Done) }
            }
            Err(error) => Reply::of(refused(&error)),
        }
    }
}

impl<T> fmt::Debug for Server<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
