//! Sessions as a history. Runs the steps of a text, and lets the checker of the simulation judge
//! what was asked, when it was answered, and with what.
//!
//! The first line of an input has options, one character for each: lifetimes (access, idle,
//! absolute, grace), the policy for a token that is ahead, the capacity of the store. Steps of two
//! characters follow: the first is a letter of [`STEPS`], and the second a number from `0` on.

mod changes;
mod history;
pub mod seeds;

use std::{
    cell::Cell,
    collections::BTreeSet,
    io, mem,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use kippu::{
    Key, KeySet, NumericDate, SharedKeySet,
    session::{
        AccessToken, EndedOptions, EndedSessions, Event, EventKind, Login, MemoryStore, NoClaims,
        RefreshStore, Session as Seen, SessionError, SessionId, SessionLimit, SessionRecord,
        Sessions, TokenResponse, UnixMillis,
        conformance::{Fault, Faulty, Method},
        rotation::AheadPolicy,
        store::{InsertOutcome, InsertRequest},
    },
};
use kippu_simulation::{
    log::{Answer, Margins, Micros, Request, Settings, What},
    server::{read, refused, rejected, tell},
};

pub(crate) use self::history::{Still, set_now};
use self::{
    changes::{Lifetimes, Records, Told},
    history::{BEGAN, History},
};
use crate::input::Input;

/// The letters of the steps; any other byte stands for one of them, too.
///
/// `l`: a login of the subject. `r`, `d`, `e`: the token is presented, to an application that
/// accepts its user, rejects the user, does not know. `b`: it is presented, and the application has
/// not answered yet; `f` accepts, `n` rejects. `w`: the clock moves. `o`: a logout. `a`: of all
/// sessions of the subject; `x`: of all except one. `s`: of one by its id. `p`: a purge. `v`: an
/// access token is verified. `k`: other refresh keys. `m`: a backup is made, `u`: restored. `t`: a
/// call of the store is going to fail. `g`: a text that is not a token is presented. `c`: a login
/// of the subject within a limit. `i`: the user of an access token authenticates again.
pub const STEPS: &[u8; 21] = b"lrdebfnwoaxspvkmutgci";

/// How many tokens, the last ones, a step can name.
const NAMED: usize = 10;
const SUBJECTS: [&str; 2] = ["alice", "bob"];
const HOUR: i64 = 3_600_000;
/// Longer than a clock of these histories goes, in seconds.
const ENDLESS: u64 = 1_000_000_000_000;

/// The names of what happened, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<&'static str>;

/// Runs the steps of an input.
pub fn run(data: &[u8]) -> Happened {
    let Input { mut options, header: steps, .. } = Input::new(data);
    let settings = Settings {
        began: BEGAN * 1_000_000,
        access_lifetime: options.pick(&[900, 1, 60, 86_400, 0]),
        idle_lifetime: options.pick(&[14 * 86_400, 60, 900, 1, 90 * 86_400]),
        session_lifetime: options.pick(&[90 * 86_400, 3600, 60, 900, 1]),
        grace: options.pick(&[10, 0, 1, 59, 60, 899, 900]),
        margin: ENDLESS,
        margins: Margins::exact(),
        rotates_keys: true,
        refuses_ahead: options.below(2) == 1,
        is_sparse: true,
        ..Settings::default()
    };
    let capacity = options.pick(&[1000, 1, 2, 4]);
    let mut history = History::new(settings.clone());
    let keys = Keys { signing: 0, others: Vec::new() };
    keys.note(&mut history);
    let events = Arc::new(Mutex::new(Vec::new()));
    let shared = SharedKeySet::new(keys.set());
    let store = Arc::new(Faulty::new(MemoryStore::new(capacity)));
    let (recorder, noted) = (history.recorder.clone(), Arc::clone(&events));
    let ahead = if settings.refuses_ahead { AheadPolicy::Refuse } else { AheadPolicy::Heal };
    let built = Sessions::builder(Arc::clone(&store))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::hs256([0xaa; 32]).expect("32 bytes"))
        .refresh_key(shared.clone())
        .access_lifetime(Duration::from_secs(settings.access_lifetime))
        .idle_lifetime(Duration::from_secs(settings.idle_lifetime))
        .absolute_lifetime(Duration::from_secs(settings.session_lifetime))
        .grace(Duration::from_secs(settings.grace))
        .ahead(ahead)
        .leeway(Duration::ZERO)
        .expect("none is not too long")
        .clock(&Still)
        .on_event(move |event: &Event<'_>| {
            // In the history, it is a logout.
            if event.kind != EventKind::Denied {
                tell(&recorder, event);
            }
            noted.lock().expect("no thread panics").push((event.kind, event.session_id));
        })
        .build();
    let Ok(sessions) = built else {
        history.refused_to_begin();
        history.judge();
        return Happened::from(["refused lifetimes"]);
    };
    let mut machine = Machine {
        sessions: &sessions,
        shared: &shared,
        capacity,
        ended: Some(EndedSessions::follow(Arc::clone(&store), EndedOptions::new())),
        store,
        events: &events,
        lifetimes: Lifetimes::of(&settings),
        history,
        keys,
        known: Vec::new(),
        tokens: Vec::new(),
        pending: Vec::new(),
        backup: (0, Records::new()),
        told: Told::default(),
        happened: Happened::new(),
    };
    for step in steps.chunks_exact(2).take(200) {
        let letter = *STEPS
            .iter()
            .find(|letter| **letter == step[0])
            .unwrap_or(&STEPS[usize::from(step[0]) % STEPS.len()]);
        machine.step(letter, step[1].wrapping_sub(b'0'));
    }
    machine.history.judge();
    machine.happened
}

struct Machine<'s> {
    sessions: &'s Sessions<Arc<Faulty<MemoryStore>>>,
    store: Arc<Faulty<MemoryStore>>,
    shared: &'s SharedKeySet,
    capacity: usize,
    /// `None` after a backup was restored, which also restores the log of ended sessions.
    ended: Option<EndedSessions>,
    events: &'s Mutex<Vec<(EventKind, Option<SessionId>)>>,
    lifetimes: Lifetimes,
    history: History,
    keys: Keys,
    /// Every session that ever existed.
    known: Vec<SessionId>,
    /// The issued tokens, in order.
    tokens: Vec<Granted>,
    pending: Vec<Pending<'s>>,
    /// When the backup was made, and its records.
    backup: (Micros, Records),
    /// The events and answers of the current step.
    told: Told,
    happened: Happened,
}

/// The tokens of a response.
#[derive(Clone)]
struct Granted {
    refresh: String,
    key: u8,
    access: String,
    /// When the access token was issued, and when it expires, in whole seconds.
    issued: i64,
    expires: i64,
    session: SessionId,
    subject: u8,
}

/// A refresh that waits for the application.
struct Pending<'s> {
    request: Request,
    /// When the token was presented, and the record at that time.
    presented: i64,
    record: SessionRecord,
    answer: Rc<Cell<Option<Welcome>>>,
    call: Refresh<'s>,
}

/// The answer of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Welcome {
    Yes,
    No,
    Unknown,
}

type Refresh<'s> = Pin<Box<dyn Future<Output = Result<TokenResponse, SessionError>> + 's>>;

impl<'s> Machine<'s> {
    fn step(&mut self, letter: u8, number: u8) {
        self.history.begin_step();
        let before = self.records();
        let now = History::now();
        self.told = Told { presented: now, ..Told::default() };
        self.act(letter, number, &before);
        self.told.events = mem::take(&mut *self.events.lock().expect("no thread panics"));
        self.history.log(format_args!("{:?}", self.told.events));
        self.happened.extend(self.told.events.iter().map(|(kind, _)| name(kind)));
        let after = self.records();
        if !matches!(letter, b'u' | b'w') {
            self.lifetimes.check(&before, &after, &self.told, now);
        }
        self.check_reads(&after);
    }

    fn act(&mut self, letter: u8, number: u8, before: &Records) {
        let index = usize::from(number);
        let subject = number % 2;
        let token = self.pick(index);
        match (letter, token) {
            (b'l', _) => self.login(subject, None, before),
            (b'c', _) => {
                let max = 1 + u32::from(number / 4 % 3);
                let limits = [SessionLimit::evict_oldest(max), SessionLimit::refuse(max)];
                self.login(subject, Some(limits[usize::from(number / 2 % 2)]), before);
            }
            (b'i', Some(token)) => self.reauthenticate(&token, before),
            (b'r', Some(token)) => self.refresh(&token, Some(Welcome::Yes), before),
            (b'd', Some(token)) => self.refresh(&token, Some(Welcome::No), before),
            (b'e', Some(token)) => self.refresh(&token, Some(Welcome::Unknown), before),
            (b'b', Some(token)) if self.pending.len() < 8 => self.refresh(&token, None, before),
            (b'f', _) => drop(self.finish(index, Welcome::Yes)),
            (b'n', _) => drop(self.finish(index, Welcome::No)),
            (b'w', _) => self.wait(number),
            (b'o', Some(token)) => self.logout(&token),
            (b'a', _) => {
                let request = self.history.ask(What::LogoutAll, subject);
                let ended = now(self.sessions.logout_all(SUBJECTS[usize::from(subject)]));
                self.ended_many(request, ended);
            }
            (b'x', Some(token)) if self.verified(&token.access).is_ok() => {
                let mut request = self.history.ask(What::LogoutOthers, token.subject);
                request.access = Some(self.history.recorder.number(&token.access));
                let name = SUBJECTS[usize::from(token.subject)];
                let ended = now(self.sessions.logout_others(name, &token.session));
                self.ended_many(request, ended);
            }
            // Sometimes by another user.
            (b's', Some(token)) => {
                self.logout_by_id(&token, if number < 64 { token.subject } else { subject });
            }
            (b'p', _) => self.purge(number, before),
            (b'v', Some(token)) => self.verify(&token),
            (b'k', _) => {
                self.keys = Keys::of(number, History::now());
                self.keys.note(&mut self.history);
                self.shared.replace(self.keys.set());
            }
            (b'm', _) => self.backup = (self.history.moment(), before.clone()),
            (b'u', _) => self.restore(),
            (b't', _) => {
                let methods = [Method::Rotate, Method::Load, Method::Revoke, Method::RevokeSubject];
                let method = methods[index / 2 % methods.len()];
                self.store.fail(method, [Fault::Before, Fault::After][index % 2]);
            }
            (b'g', Some(token)) => self.present_no_token(&token, number),
            _ => {}
        }
    }

    /// Returns the token with this number; 0 is the last one.
    fn pick(&self, number: usize) -> Option<Granted> {
        let named = self.tokens.len().min(NAMED);
        let last = self.tokens.iter().rev();
        last.clone().nth(number.checked_rem(named)?).cloned()
    }

    fn login(&mut self, subject: u8, limit: Option<SessionLimit>, before: &Records) {
        let mut request = self.history.ask(What::Login, subject);
        let mut login = Login::new(SUBJECTS[usize::from(subject)]);
        if let Some(limit) = limit {
            request.keeps_others = !limit.evicts();
            request.terms.max_sessions = usize::try_from(limit.max()).ok();
            login = login.limit(limit);
        }
        let result = now(self.sessions.login(login, &NoClaims {}));
        if let Ok(response) = &result {
            self.known.push(response.session_id);
        }
        if matches!(result, Err(SessionError::Full)) {
            assert!(before.len() >= self.capacity, "{before:?} is full");
            // A session of the same lock that has expired would make room.
            let name = SUBJECTS[usize::from(subject)];
            let mut own = before.values().filter(|record| record.subject == name);
            assert!(own.all(|record| History::now() < changes::end(record)), "{before:?}");
        }
        let now = UnixMillis::new(History::now());
        self.granted(request, result, subject, now);
    }

    /// The user of an access token authenticates again.
    fn reauthenticate(&mut self, token: &Granted, before: &Records) {
        let Ok(access) = self.verified(&token.access) else { return };
        let mut request = self.history.ask(What::Reauthenticate, token.subject);
        request.access = Some(self.history.recorder.number(&token.access));
        self.told.is_unknown = !before.contains_key(&token.session);
        let result = now(self.sessions.reauthenticate(&access, NoClaims {}));
        let now = UnixMillis::new(History::now());
        self.granted(request, result, token.subject, now);
    }

    /// Presents a token. Without an answer, the application has not answered yet.
    fn refresh(&mut self, token: &Granted, answer: Option<Welcome>, before: &Records) {
        // R13: the token of a key that was removed is not one of ours.
        let has_key = self.keys.has(token.key);
        let what = if has_key { What::Refresh } else { What::Forged };
        let mut request = self.history.ask(what, token.subject);
        request.token = has_key.then(|| self.history.recorder.number(&token.refresh));
        let sessions = self.sessions;
        let text = token.refresh.clone();
        let slot = Rc::new(Cell::new(None));
        let asked = Rc::new(Cell::new(false));
        let (in_call, was_asked) = (Rc::clone(&slot), Rc::clone(&asked));
        let authorize = move |_: Seen| {
            was_asked.set(true);
            std::future::poll_fn(move |_| match in_call.get() {
                None => Poll::Pending,
                Some(Welcome::Yes) => Poll::Ready(Ok(Some(NoClaims {}))),
                Some(Welcome::No) => Poll::Ready(Ok(None)),
                Some(Welcome::Unknown) => Poll::Ready(Err(io::Error::other("out of order"))),
            })
        };
        let mut call: Refresh<'s> =
            Box::pin(async move { sessions.refresh(&text, authorize).await });
        let presented = History::now();
        let record = before.get(&token.session);
        if let Some(result) = poll(&mut call) {
            // R9: the application is not asked about a token that is rejected anyway.
            assert!(!asked.get() && result.is_err(), "{result:?}");
            self.told.is_unknown = record.is_none() || !has_key;
            self.granted(request, result, token.subject, UnixMillis::default());
            return;
        }
        assert!(asked.get() && has_key);
        let record = record.expect("a session that was read").clone();
        self.pending.push(Pending { request, presented, record, answer: slot, call });
        if let Some(answer) = answer {
            let result = self.finish(self.pending.len() - 1, answer);
            // R9: nothing happened since the token was found good.
            assert!(result != Some(Answer::Refused), "refused behind the application");
        }
    }

    /// The application answers.
    fn finish(&mut self, index: usize, welcome: Welcome) -> Option<Answer> {
        let index = index.checked_rem(self.pending.len())?;
        let Pending { mut request, presented, record, answer, mut call } =
            self.pending.remove(index);
        let current = self.record(&record.id);
        let is_overtaken = current.as_ref().is_some_and(|it| it.generation != record.generation);
        answer.set(Some(welcome));
        let result = poll(&mut call).expect("nothing else is waited for");
        // R9, and R7: that it has expired is known before the application is asked.
        let has_same_end =
            current.as_ref().is_some_and(|it| changes::end(it) == changes::end(&record));
        let agrees = match (&result, welcome) {
            (Err(SessionError::Store(_)), Welcome::Yes | Welcome::No)
            | (Err(SessionError::Denied), Welcome::No)
            | (Err(SessionError::Authorize(_)), Welcome::Unknown) => true,
            (Err(SessionError::Denied | SessionError::Authorize(_)), Welcome::Yes) => false,
            (Err(SessionError::Expired), _) if has_same_end => false,
            (_, welcome) => welcome == Welcome::Yes,
        };
        assert!(agrees, "{welcome:?} was answered {result:?}");
        if welcome == Welcome::No {
            // A token whose user is rejected ends the session, like a logout.
            request.what = What::Logout;
        }
        self.told.presented = presented;
        // The access token shows what was read first, or what has overtaken the request.
        let events = self.events.lock().expect("no thread panics").clone();
        let is_replayed = events.iter().any(|(kind, _)| *kind == EventKind::Replayed);
        let shown = current.filter(|_| is_overtaken && is_replayed).unwrap_or(record);
        let subject = u8::try_from(request.user).expect("one of two");
        Some(self.granted(request, result, subject, shown.auth_time))
    }

    /// Ends a request that asks for tokens. The user had authenticated then.
    fn granted(
        &mut self,
        mut request: Request,
        result: Result<TokenResponse, SessionError>,
        subject: u8,
        authenticated: UnixMillis,
    ) -> Answer {
        let response = match result {
            Ok(response) => response,
            Err(error) => return self.refused(request, &error),
        };
        let tokens = read(&response).expect("an access token of JSON");
        let got = self.history.recorder.got(&tokens);
        let key = got.key.and_then(|key| u8::try_from(key).ok()).expect("a key of ours");
        let session = response.session_id;
        let record = self.record(&session).expect("a session that goes on");
        let made = (usize::try_from(record.generation).ok(), &*record.kid);
        assert_eq!(made, (got.generation, &*kid(key)), "another token than the stored one");
        let (issued, expires) = self.lifetimes.of_response(&response, &record, self.told.presented);
        // Unless the application took so long that the token has expired.
        if let Ok(access) = self.verified(&response.access_token) {
            assert_eq!(access.auth_time, Some(date(authenticated.get())));
        }
        let TokenResponse { refresh_token: refresh, access_token: access, .. } = response;
        self.tokens.push(Granted { refresh, key, access, issued, expires, session, subject });
        request.got = Some(got);
        self.history.answer(request, Answer::Done);
        Answer::Done
    }

    /// Ends a request with an error.
    fn refused(&mut self, request: Request, error: &SessionError) -> Answer {
        let (event, happened) = match error {
            SessionError::InvalidToken => (None, "invalid"),
            SessionError::Revoked(_) => (None, "ended before"),
            SessionError::Expired => (None, "over"),
            SessionError::Reused => (Some(EventKind::ReuseDetected), "reused"),
            SessionError::Ahead { lost } => (Some(EventKind::Ahead { lost: *lost }), "ahead"),
            SessionError::Denied => (Some(EventKind::Denied), "denied"),
            SessionError::Authorize(_) => (None, "not authorized"),
            SessionError::Store(_) => (None, "away"),
            SessionError::MissingRefreshKey { .. } => (None, "no key"),
            SessionError::Full => (None, "full"),
            SessionError::TooManySessions => (None, "too many"),
            SessionError::AccessToken(_) => (None, "no access token"),
            error => panic!("a request failed: {error}"),
        };
        self.happened.insert(happened);
        // The event says that the token of another server was replayed. Its key is missing here.
        self.told.refusal = (happened != "no key").then(|| event.into_iter().collect());
        // R5: one error, whatever is wrong with a token that names no session.
        assert!(!self.told.is_unknown || matches!(happened, "invalid" | "away"), "{error:?}");
        let answer = match happened {
            "denied" => Answer::Done,
            // R17: nothing was used up.
            "not authorized" | "no key" | "full" => Answer::Limited,
            _ => refused(error),
        };
        self.told.is_in_doubt |= answer == Answer::Unavailable;
        self.history.log(format_args!("{error} {error:?} {}", error.oauth_error()));
        self.history.answer(request, answer);
        answer
    }

    fn logout(&mut self, token: &Granted) {
        let has_key = self.keys.has(token.key);
        let what = if has_key { What::Logout } else { What::FalseLogout };
        let mut request = self.history.ask(what, token.subject);
        request.token = has_key.then(|| self.history.recorder.number(&token.refresh));
        self.told.is_unknown = !has_key;
        match now(self.sessions.logout(&token.refresh)) {
            Ok(()) => self.history.answer(request, Answer::Done),
            Err(error) => drop(self.refused(request, &error)),
        }
    }

    fn logout_by_id(&mut self, token: &Granted, subject: u8) {
        let mut request = self.history.ask(What::LogoutSession, subject);
        request.target = Some(self.history.recorder.session(&token.session.to_string()));
        let name = SUBJECTS[usize::from(subject)];
        match now(self.sessions.logout_session(name, &token.session)) {
            Ok(is_ended) => {
                self.told.ended = Some(u64::from(is_ended));
                let answer = if is_ended { Answer::Done } else { Answer::Absent };
                self.history.answer(request, answer);
            }
            Err(error) => drop(self.refused(request, &error)),
        }
    }

    fn ended_many(&mut self, request: Request, result: Result<u64, SessionError>) {
        match result {
            Ok(ended) => {
                self.told.ended = Some(ended);
                self.history.answer(request, Answer::Done);
            }
            Err(error) => drop(self.refused(request, &error)),
        }
    }

    fn wait(&mut self, number: u8) {
        let Lifetimes { access, idle, absolute, grace } = self.lifetimes;
        let steps = [
            1,
            grace,
            grace + 1,
            access,
            idle - 1,
            idle,
            absolute - 1,
            absolute,
            HOUR,
            1000,
            // R8
            -1,
            -HOUR,
            -grace,
            -access,
            10 * 365 * 24 * HOUR,
            -10 * 365 * 24 * HOUR,
        ];
        let by = steps[usize::from(number) % steps.len()];
        if by < 0 {
            self.happened.insert("the clock went back");
        }
        self.history.wait(by);
    }

    fn purge(&mut self, number: u8, before: &Records) {
        let now_millis = History::now();
        let over = before.values().filter(|record| changes::end(record) <= now_millis).count();
        let limit = if number < 8 { u32::from(number) } else { u32::MAX };
        let removed = now(self.sessions.purge_expired(limit)).expect("purges do not fail");
        let removed = usize::try_from(removed).expect("few");
        assert_eq!(removed, over.min(usize::try_from(limit).unwrap_or(usize::MAX)));
        assert_eq!(removed, before.len() - self.records().len());
        if removed > 0 {
            self.happened.insert("purged");
        }
    }

    fn verified(&self, access: &str) -> Result<AccessToken<NoClaims>, kippu::DecodeError> {
        self.sessions.verify(access)
    }

    fn verify(&mut self, token: &Granted) {
        let Granted { access, issued, expires, session, subject, .. } = token;
        let number = Some(self.history.recorder.number(access));
        let mut request = self.history.ask(What::Me, *subject);
        request.access = number;
        let in_time = *issued <= History::now() && History::now() < *expires;
        let answer = match self.verified(access) {
            Ok(verified) => {
                assert!(in_time, "accepted at {}, {issued} to {expires}", History::now());
                assert_eq!(verified.session_id, *session);
                assert_eq!(verified.subject, SUBJECTS[usize::from(*subject)]);
                assert_eq!(verified.issued_at, date(*issued));
                assert_eq!(verified.expires_at, date(*expires));
                self.happened.insert("verified");
                let has_ended = self.ended.as_ref().is_some_and(|ended| ended.contains(session));
                if has_ended { Answer::Refused } else { Answer::Done }
            }
            Err(error) => {
                assert!(!in_time, "{error}");
                rejected(&error)
            }
        };
        // R19 is about a verifier that has the log.
        if self.ended.is_some() {
            self.history.answer(request, answer);
        }
        // Neither token is accepted as the other.
        self.present_other_text(*subject, access);

        let mut request = self.history.ask(What::Live, *subject);
        request.access = number;
        match now(self.sessions.verify_live::<NoClaims>(access)) {
            Ok(_) => self.history.answer(request, Answer::Done),
            Err(error) => drop(self.refused(request, &error)),
        }
    }

    /// R6: the store has lost all writes since the backup was made.
    fn restore(&mut self) {
        self.ended = None;
        let (since, records) = &self.backup;
        let store = MemoryStore::new(self.capacity);
        for record in records.values() {
            let inserted = now(store.insert(&InsertRequest::new(record.clone())))
                .expect("a memory store has no faults");
            assert_eq!(inserted, InsertOutcome::INSERTED);
        }
        self.store.restore(store);
        self.history.lost(*since);
    }

    /// R5: every text that is not a token of ours gets the same answer, and changes nothing.
    fn present_no_token(&mut self, token: &Granted, number: u8) {
        let text = &token.refresh;
        let mut bytes = text.clone().into_bytes();
        let at = usize::from(number) * 31 % bytes.len();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let mut changed = String::from_utf8(bytes).expect("still letters");
        if number.is_multiple_of(8) {
            changed = format!("{text}A");
        }
        if self.tokens.iter().all(|known| known.refresh != changed) {
            self.present_other_text(token.subject, &changed);
        }
    }

    fn present_other_text(&mut self, subject: u8, text: &str) {
        self.told.is_unknown = true;
        let request = self.history.ask(What::Forged, subject);
        let result = now(self.sessions.refresh(text, async |_| {
            panic!("the application is asked about a text that is not a token");
            #[expect(unreachable_code, reason = "the type of the answer")]
            Ok::<_, io::Error>(Some(NoClaims {}))
        }));
        self.refused(request, &result.expect_err("not a token"));
        let request = self.history.ask(What::FalseLogout, subject);
        let result = now(self.sessions.logout(text));
        self.refused(request, &result.expect_err("not a token"));
        self.told.is_unknown = false;
    }

    /// The lists of the users, and the log of ended sessions (R19), show what the store has.
    fn check_reads(&mut self, records: &Records) {
        let now_millis = History::now();
        let is_live =
            |record: &&SessionRecord| record.revoked.is_none() && now_millis < changes::end(record);
        for (subject, name) in (0..).zip(SUBJECTS) {
            let mut request = self.history.ask(What::List, subject);
            let listed = now(self.sessions.list(name)).expect("lists do not fail").sessions;
            let found: BTreeSet<SessionId> = listed.iter().map(|session| session.id).collect();
            let live = records.values().filter(|record| record.subject == name).filter(is_live);
            assert_eq!(found, live.map(|record| record.id).collect());
            let names = found.iter().map(|id| self.history.recorder.session(&id.to_string()));
            request.listed = names.collect();
            self.history.answer(request, Answer::Done);
        }
        let Some(ended) = &self.ended else { return };
        now(ended.poll()).expect("readings do not fail");
        for record in records.values() {
            assert_eq!(ended.contains(&record.id), record.revoked.is_some(), "{record:?}");
        }
    }

    fn records(&self) -> Records {
        self.known.iter().filter_map(|id| Some((*id, self.record(id)?))).collect()
    }

    fn record(&self, id: &SessionId) -> Option<SessionRecord> {
        now(self.store.inner().load(id)).expect("a memory store has no faults")
    }
}

/// Keys by their number: the signing one, and until when, in seconds, the others are read, or
/// without end.
struct Keys {
    signing: u8,
    others: Vec<(u8, Option<i64>)>,
}

impl Keys {
    fn of(number: u8, now: i64) -> Self {
        let signing = number % 3;
        // The lifetime of a key ends at a whole second.
        let second = now.div_euclid(1000);
        let until = [None, Some(second + 1), Some(second)];
        let until = until[usize::from(number / 3) % until.len()];
        let kept = number / 9;
        let others = (0..3).filter(|key| *key != signing && kept >> key & 1 == 0);
        Self { signing, others: others.map(|key| (key, until)).collect() }
    }

    fn has(&self, key: u8) -> bool {
        self.signing == key || self.others.iter().any(|(other, _)| *other == key)
    }

    fn set(&self) -> KeySet {
        let key = |number| Key::hs256([number + 1; 32]).expect("32 bytes").with_kid(kid(number));
        let set = KeySet::new(key(self.signing));
        let set = self.others.iter().try_fold(set, |set, &(other, until)| match until {
            None => set.accept(key(other)),
            Some(until) => set.retire(key(other), NumericDate::from_seconds(until)),
        });
        set.expect("the kids differ")
    }

    fn note(&self, history: &mut History) {
        let retired = self.others.iter().filter_map(|(key, until)| {
            Some((u64::from(*key), u64::try_from((*until)?).expect("a time after 1970")))
        });
        history.keys(self.signing, retired.collect());
    }
}

fn kid(key: u8) -> String {
    format!("key-{key}")
}

fn date(millis: i64) -> NumericDate {
    NumericDate::from_seconds(millis.div_euclid(1000))
}

fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::LoggedIn => "event: logged in",
        EventKind::Rotated => "event: rotated",
        EventKind::Replayed => "event: replayed",
        EventKind::ReuseDetected => "event: reuse detected",
        EventKind::Revoked { .. } => "event: revoked",
        EventKind::Healed { .. } => "event: healed",
        EventKind::Ahead { .. } => "event: ahead",
        EventKind::Denied => "event: denied",
        EventKind::Reauthenticated => "event: reauthenticated",
        other => panic!("an event that is not known: {other:?}"),
    }
}

/// Returns the answer of a call that never waits.
pub(crate) fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("a memory store never waits"),
    }
}

fn poll(call: &mut Refresh<'_>) -> Option<Result<TokenResponse, SessionError>> {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
