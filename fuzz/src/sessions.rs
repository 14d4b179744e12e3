//! Sessions as a state machine. Runs the steps of a text, and checks after each step that kippu and
//! the [`Model`] agree.
//!
//! The first line of an input has options, one character for each: lifetimes (access, idle,
//! absolute, grace), the policy for a token that is ahead, the capacity of the store. Steps of two
//! characters follow: the first is a letter of [`STEPS`], and the second a number from `0` on.

pub mod model;
pub mod seeds;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io, mem,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use kippu::{
    Clock, Key, KeySet, NumericDate, SharedKeySet,
    session::{
        EndedOptions, EndedSessions, Event, EventKind, Login, MemoryStore, NoClaims,
        REFRESH_TOKEN_PREFIX, RefreshStore, Session as Seen, SessionError, SessionId, SessionLimit,
        SessionRecord, Sessions, TokenResponse, UnixMillis,
        conformance::{Fault, Faulty, Method},
        rotation::AheadPolicy,
        store::{InsertOutcome, InsertRequest},
    },
};

use self::model::{Answer, Asked, End, Keys, Lifetimes, Model, Session, Token};
use crate::input::{Input, Options};

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

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// A clock for each thread, which only moves when a step sets it.
pub(crate) struct Still;

impl Clock for Still {
    fn unix_millis(&self) -> i64 {
        NOW.get()
    }
}

/// Sets the clock to a time in milliseconds since the epoch.
pub(crate) fn set_now(millis: i64) {
    NOW.set(millis);
}

/// The names of what happened, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<&'static str>;

/// Runs the steps of an input.
pub fn run(data: &[u8]) -> Happened {
    let Input { mut options, header: steps, .. } = Input::new(data);
    let seconds = |list: &[i64], options: &mut Options<'_>| options.pick(list) * 1000;
    let lifetimes = Lifetimes {
        access: seconds(&[900, 1, 60, 86_400, 0], &mut options),
        idle: seconds(&[14 * 86_400, 60, 900, 1, 90 * 86_400], &mut options),
        absolute: seconds(&[90 * 86_400, 3600, 60, 900, 1], &mut options),
        grace: options.pick(&[10_000, 0, 1, 999, 1000, 59_999, 899_999, 900_000]),
    };
    let heals = options.below(2) == 0;
    let capacity = options.pick(&[1000, 1, 2, 4]);

    // An arbitrary day.
    NOW.set(1_760_000_000_123);
    let events = Arc::new(Mutex::new(Vec::new()));
    let keys = Keys { signing: 0, others: Vec::new() };
    let shared = SharedKeySet::new(key_set(&keys));
    let millis = |millis: i64| Duration::from_millis(u64::try_from(millis).expect("not negative"));
    let noted = Arc::clone(&events);
    let store = Arc::new(Faulty::new(MemoryStore::new(capacity)));
    let built = Sessions::builder(Arc::clone(&store))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::hs256([0xaa; 32]).expect("32 bytes"))
        .refresh_key(shared.clone())
        .access_lifetime(millis(lifetimes.access))
        .idle_lifetime(millis(lifetimes.idle))
        .absolute_lifetime(millis(lifetimes.absolute))
        .grace(millis(lifetimes.grace))
        .ahead(if heals { AheadPolicy::Heal } else { AheadPolicy::Refuse })
        .leeway(Duration::ZERO)
        .expect("none is not too long")
        .clock(&Still)
        .on_event(move |event: &Event<'_>| {
            noted.lock().expect("no thread panics").push((event.kind, event.session_id));
        })
        .build();
    let sessions = match built {
        Ok(sessions) => sessions,
        Err(error) => {
            assert!(!lifetimes.are_safe(), "{error}");
            return Happened::from(["refused lifetimes"]);
        }
    };
    assert!(lifetimes.are_safe(), "these are not safe: {lifetimes:?}");

    let model = Model {
        lifetimes,
        heals,
        now: NOW.get(),
        keys,
        sessions: Vec::new(),
        faults: Vec::new(),
        events: Vec::new(),
    };
    let mut machine = Machine {
        sessions: &sessions,
        shared: &shared,
        capacity,
        ended: Some(EndedSessions::follow(Arc::clone(&store), EndedOptions::new())),
        store,
        model,
        tokens: Vec::new(),
        access_tokens: Vec::new(),
        texts: BTreeMap::new(),
        pending: Vec::new(),
        backup: (Vec::new(), Vec::new()),
        happened: Happened::new(),
    };
    for step in steps.chunks_exact(2).take(200) {
        let letter = *STEPS
            .iter()
            .find(|letter| **letter == step[0])
            .unwrap_or(&STEPS[usize::from(step[0]) % STEPS.len()]);
        machine.step(letter, step[1].wrapping_sub(b'0'));
        let told = mem::take(&mut *events.lock().expect("no thread panics"));
        assert_eq!(told, mem::take(&mut machine.model.events), "after {}", char::from(letter));
        machine.happened.extend(told.iter().map(|(kind, _)| name(kind)));
        machine.check_records();
        machine.check_ended();
    }
    machine.happened
}

struct Machine<'s> {
    sessions: &'s Sessions<Arc<Faulty<MemoryStore>>>,
    store: Arc<Faulty<MemoryStore>>,
    shared: &'s SharedKeySet,
    capacity: usize,
    /// `None` after a backup was restored, which also restores the log of ended sessions.
    ended: Option<EndedSessions>,
    model: Model,
    /// The issued tokens, in order.
    tokens: Vec<Token>,
    access_tokens: Vec<(Access, String)>,
    /// The text of each token.
    texts: BTreeMap<Token, String>,
    pending: Vec<Pending<'s>>,
    /// The records of the backup, and what the model knew about them.
    backup: (Vec<SessionRecord>, Vec<Session>),
    happened: Happened,
}

/// An access token.
#[derive(Clone, Copy, Debug)]
struct Access {
    session: usize,
    issued: i64,
    expires: i64,
}

/// A refresh that waits for the application.
struct Pending<'s> {
    asked: Asked,
    answer: Rc<Cell<Option<Answer>>>,
    call: Refresh<'s>,
}

type Refresh<'s> = Pin<Box<dyn Future<Output = Result<TokenResponse, SessionError>> + 's>>;

impl<'s> Machine<'s> {
    fn step(&mut self, letter: u8, number: u8) {
        let index = usize::from(number);
        let subject = number % 2;
        let token = self.pick(index);
        match (letter, token) {
            (b'l', _) => self.login(subject, None),
            (b'c', _) => {
                let max = 1 + u32::from(number / 4 % 3);
                let limits = [SessionLimit::evict_oldest(max), SessionLimit::refuse(max)];
                self.login(subject, Some(limits[usize::from(number / 2 % 2)]));
            }
            (b'i', _) => self.reauthenticate(index),
            (b'r', Some(token)) => self.refresh(token, Some(Answer::Welcome)),
            (b'd', Some(token)) => self.refresh(token, Some(Answer::Unwelcome)),
            (b'e', Some(token)) => self.refresh(token, Some(Answer::Unknown)),
            (b'b', Some(token)) if self.pending.len() < 8 => self.refresh(token, None),
            (b'f', _) => self.finish(index, Answer::Welcome),
            (b'n', _) => self.finish(index, Answer::Unwelcome),
            (b'w', _) => self.wait(number),
            (b'o', Some(token)) => self.logout(token),
            (b'a', _) => {
                let ended = now(self.sessions.logout_all(SUBJECTS[usize::from(subject)]));
                let wanted = self.model.logout_all(subject, None);
                self.same(ended, wanted);
            }
            (b'x', Some(Token { session, .. })) => {
                let Session { id, subject, .. } = self.model.sessions[session];
                let name = SUBJECTS[usize::from(subject)];
                let ended = now(self.sessions.logout_others(name, &id));
                let wanted = self.model.logout_all(subject, Some(session));
                self.same(ended, wanted);
            }
            (b's', Some(Token { session, .. })) => {
                // Sometimes that of another user.
                let owner = self.model.sessions[session].subject;
                let subject = if number < 64 { owner } else { subject };
                let name = SUBJECTS[usize::from(subject)];
                let id = self.model.sessions[session].id;
                let ended = now(self.sessions.logout_session(name, &id));
                let wanted = self.model.logout_session(subject, session);
                self.same(ended, wanted);
            }
            (b'p', _) => self.purge(number),
            (b'v', _) => self.verify(index),
            (b'k', _) => self.replace_keys(number),
            (b'm', _) => {
                let known = self.model.sessions.clone();
                let here = known.iter().filter_map(|session| self.record(&session.id));
                self.backup = (here.collect(), known);
            }
            (b'u', _) => self.restore(),
            (b't', _) => {
                let methods = [Method::Rotate, Method::Load, Method::Revoke, Method::RevokeSubject];
                let method = methods[index / 2 % methods.len()];
                let fault = [Fault::Before, Fault::After][index % 2];
                self.store.fail(method, fault);
                self.model.faults.push((method, fault));
            }
            (b'g', Some(token)) => self.present_no_token(token, number),
            _ => {}
        }
    }

    /// Returns the token with this number; 0 is the last one.
    fn pick(&self, number: usize) -> Option<Token> {
        let named = self.tokens.iter().rev().take(NAMED).collect::<Vec<_>>();
        (!named.is_empty()).then(|| *named[number % named.len()])
    }

    fn login(&mut self, subject: u8, limit: Option<SessionLimit>) {
        let held = self.model.sessions.iter().filter(|session| !session.is_gone).count();
        let name = SUBJECTS[usize::from(subject)];
        let login = Login::new(name);
        let login = match limit {
            Some(limit) => login.limit(limit),
            None => login,
        };
        // R20
        let room = limit.map_or(usize::MAX, |limit| usize::try_from(limit.max()).expect("few") - 1);
        let oldest = self.model.oldest(subject, room);
        match now(self.sessions.login(login, &NoClaims {})) {
            Err(SessionError::TooManySessions) => {
                assert!(!oldest.is_empty() && limit.is_some_and(|limit| !limit.evicts()));
                self.happened.insert("too many");
            }
            Ok(response) => {
                assert!(oldest.is_empty() || limit.is_some_and(|limit| limit.evicts()));
                self.model.evict(&oldest);
                self.forget_what_is_over(usize::MAX);
                let (token, end) = self.model.login(response.session_id, subject);
                self.granted(&response, token, end, self.model.now);
            }
            Err(SessionError::Full) => {
                assert!(held >= self.capacity, "{held} of {} are full", self.capacity);
                self.happened.insert("full");
            }
            Err(error) => panic!("a login: {error}"),
        }
        self.forget_what_is_over(usize::MAX);
    }

    /// The user of an access token authenticates again.
    fn reauthenticate(&mut self, index: usize) {
        let last = self.access_tokens.iter().rev().take(NAMED).collect::<Vec<_>>();
        let Some((access, text)) = last.get(index % last.len().max(1)) else { return };
        let (session, Ok(token)) = (access.session, self.sessions.verify::<NoClaims>(text)) else {
            return;
        };
        let response = now(self.sessions.reauthenticate(&token, NoClaims {}));
        let wanted = self.model.reauthenticate(session);
        self.ends(response, wanted, self.model.now);
    }

    /// R19: the verifier knows revoked sessions as ended, and live ones not.
    fn check_ended(&self) {
        let Some(ended) = &self.ended else { return };
        now(ended.poll()).expect("readings do not fail");
        for session in &self.model.sessions {
            assert!(session.ended.is_none() || ended.contains(&session.id), "{session:?}");
            assert!(
                !session.is_live(self.model.now) || !ended.contains(&session.id),
                "{session:?}"
            );
        }
    }

    /// Presents a token. Without an answer, the application has not answered yet.
    fn refresh(&mut self, token: Token, answer: Option<Answer>) {
        let sessions = self.sessions;
        let text = self.texts[&token].clone();
        let slot = Rc::new(Cell::new(None));
        let asked = Rc::new(Cell::new(false));
        let (in_call, was_asked) = (Rc::clone(&slot), Rc::clone(&asked));
        let authorize = move |_: Seen| {
            was_asked.set(true);
            std::future::poll_fn(move |_| match in_call.get() {
                None => Poll::Pending,
                Some(Answer::Welcome) => Poll::Ready(Ok(Some(NoClaims {}))),
                Some(Answer::Unwelcome) => Poll::Ready(Ok(None)),
                Some(Answer::Unknown) => Poll::Ready(Err(io::Error::other("out of order"))),
            })
        };
        let mut call: Refresh<'s> =
            Box::pin(async move { sessions.refresh(&text, authorize).await });
        let first = poll(&mut call);
        match (self.model.present(token), first) {
            (Ok(in_model), None) => {
                assert!(asked.get());
                self.pending.push(Pending { asked: in_model, answer: slot, call });
                if let Some(answer) = answer {
                    self.finish(self.pending.len() - 1, answer);
                }
            }
            (Err(end), Some(response)) => {
                // R9: the application is not asked about a token that is rejected anyway.
                assert!(!asked.get());
                self.ends(response, end, self.model.now);
            }
            (wanted, found) => panic!("expected {wanted:?} for {token:?}, got {found:?}"),
        }
    }

    /// The application answers.
    fn finish(&mut self, index: usize, answer: Answer) {
        if self.pending.is_empty() {
            return;
        }
        let Pending { asked, answer: slot, mut call } =
            self.pending.remove(index % self.pending.len());
        slot.set(Some(answer));
        let response = poll(&mut call).expect("nothing else is waited for");
        let end = self.model.answer(&asked, answer);
        self.ends(response, end, asked.presented);
    }

    fn ends(&mut self, response: Result<TokenResponse, SessionError>, wanted: End, presented: i64) {
        match (response, wanted) {
            (Ok(response), End::Token(token, end, authenticated)) => {
                self.granted(&response, token, end, presented);
                // Unless the application took so long that the token has expired.
                if let Ok(access) = self.sessions.verify::<NoClaims>(&response.access_token) {
                    assert_eq!(access.auth_time, Some(date(authenticated)));
                }
            }
            (Err(error), wanted) => self.refused(&error, wanted),
            (Ok(_), wanted) => panic!("expected {wanted:?}, got a token"),
        }
    }

    fn refused(&mut self, error: &SessionError, wanted: End) {
        let agrees = match (error, wanted) {
            (SessionError::InvalidToken, End::Invalid)
            | (SessionError::Reused, End::Reused)
            | (SessionError::Denied, End::Denied)
            | (SessionError::Authorize(_), End::NotAuthorized)
            | (SessionError::Store(_), End::Away)
            | (SessionError::MissingRefreshKey { .. }, End::NoKey) => true,
            (SessionError::Ahead { lost }, End::Ahead(wanted)) => *lost == wanted,
            (SessionError::Revoked(reason), End::Over(wanted, _)) => Some(*reason) == wanted,
            (SessionError::Expired, End::Over(_, is_over)) => is_over,
            _ => false,
        };
        assert!(agrees, "expected {wanted:?}, got {error:?}");
        // R12
        if wanted == End::Away {
            assert_eq!(error.oauth_error(), "temporarily_unavailable");
        }
        // R15
        let printed = format!("{error} {error:?} {}", error.oauth_error());
        assert!(!printed.contains(REFRESH_TOKEN_PREFIX) && !printed.contains("eyJ"), "{printed}");
        self.happened.insert(match wanted {
            End::Token(..) => "a token",
            End::Invalid => "invalid",
            End::Over(Some(_), _) => "ended before",
            End::Over(None, _) => "over",
            End::Reused => "reused",
            End::Ahead(_) => "ahead",
            End::Denied => "denied",
            End::NotAuthorized => "not authorized",
            End::Away => "away",
            End::NoKey => "no key",
        });
    }

    fn granted(&mut self, response: &TokenResponse, token: Token, end: i64, presented: i64) {
        let session = &self.model.sessions[token.session];
        assert_eq!(response.session_id, session.id);
        // R1, R2, R13: each generation of a session has one spelling for each key, and no other
        // token has it.
        let text = self.texts.entry(token).or_insert_with(|| response.refresh_token.clone());
        assert_eq!(*text, response.refresh_token, "{token:?} is spelled in two ways");
        let spelled = |known: &&String| **known == response.refresh_token;
        assert_eq!(self.texts.values().filter(spelled).count(), 1);
        self.tokens.push(token);

        let whole_seconds = |millis: i64| millis.div_euclid(1000) * 1000;
        let issued = whole_seconds(presented);
        let access_end = presented + self.model.lifetimes.access;
        let expires = whole_seconds(access_end.min(session.absolute_end));
        let left = |end: i64, from: i64| u128::try_from((end - from).max(0)).expect("not negative");
        assert_eq!(response.expires_in.as_millis(), left(expires, issued));
        // R7: never longer than the rest of the session.
        assert!(end <= session.absolute_end);
        assert_eq!(response.refresh_expires_in.as_millis(), left(end, presented));
        let access = Access { session: token.session, issued, expires };
        self.access_tokens.push((access, response.access_token.clone()));
    }

    fn logout(&mut self, token: Token) {
        let result = now(self.sessions.logout(&self.texts[&token]));
        match (result, self.model.logout(token)) {
            (Ok(()), End::Over(..)) => {}
            (Err(error), wanted) => self.refused(&error, wanted),
            (Ok(()), wanted) => panic!("expected {wanted:?}, but the logout succeeded"),
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        found: Result<T, SessionError>,
        wanted: Result<T, End>,
    ) {
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
            (Err(error), Err(wanted)) => self.refused(&error, wanted),
            (found, wanted) => panic!("expected {wanted:?}, got {found:?}"),
        }
    }

    fn wait(&mut self, number: u8) {
        let Lifetimes { access, idle, absolute, grace } = self.model.lifetimes;
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
        self.model.now = (self.model.now + by).clamp(-1_000_000_000_000, 4_200_000_000_000);
        NOW.set(self.model.now);
    }

    fn purge(&mut self, number: u8) {
        let over = |session: &&Session| !session.is_gone && session.is_over(self.model.now);
        let over = self.model.sessions.iter().filter(over).count();
        let limit = if number < 8 { u32::from(number) } else { u32::MAX };
        let removed = now(self.sessions.purge_expired(limit)).expect("purges do not fail");
        let removed = usize::try_from(removed).expect("few");
        assert_eq!(removed, over.min(usize::try_from(limit).unwrap_or(usize::MAX)));
        self.forget_what_is_over(removed);
        if removed > 0 {
            self.happened.insert("purged");
        }
    }

    /// Notes which sessions the store has removed: up to `most`, and only ended ones.
    fn forget_what_is_over(&mut self, most: usize) {
        let mut removed = 0;
        for number in 0..self.model.sessions.len() {
            let Session { id, is_gone, .. } = self.model.sessions[number];
            if !is_gone && self.record(&id).is_none() {
                let session = &mut self.model.sessions[number];
                assert!(session.is_over(self.model.now), "{session:?} was removed");
                session.is_gone = true;
                removed += 1;
            }
        }
        assert!(removed <= most);
    }

    fn verify(&mut self, index: usize) {
        let last = self.access_tokens.iter().rev().take(NAMED).collect::<Vec<_>>();
        if last.is_empty() {
            return;
        }
        let (access, text) = last[index % last.len()].clone();
        let Session { id, subject, .. } = self.model.sessions[access.session];
        let in_time = access.issued <= self.model.now && self.model.now < access.expires;
        match self.sessions.verify::<NoClaims>(&text) {
            Ok(token) => {
                assert!(in_time, "{access:?} is accepted at {}", self.model.now);
                assert_eq!(token.session_id, id);
                assert_eq!(token.subject, SUBJECTS[usize::from(subject)]);
                assert_eq!(token.issued_at, date(access.issued));
                assert_eq!(token.expires_at, date(access.expires));
                self.happened.insert("verified");
            }
            Err(error) => assert!(!in_time, "{error}"),
        }
        // Neither token is accepted as the other.
        assert!(matches!(
            now(self.sessions.refresh(&text, async |_| Ok::<_, io::Error>(Some(NoClaims {})))),
            Err(SessionError::InvalidToken)
        ));
        assert!(matches!(now(self.sessions.logout(&text)), Err(SessionError::InvalidToken)));

        let is_away = in_time && self.model.fails(Method::Load).is_some();
        let session = &self.model.sessions[access.session];
        let wanted = if !in_time {
            None
        } else if is_away {
            Some(End::Away)
        } else if session.is_gone {
            Some(End::Invalid)
        } else if session.is_live(self.model.now) {
            None
        } else {
            let reason = session.ended.map(|(_, reason)| reason);
            Some(End::Over(reason, session.is_over(self.model.now)))
        };
        match (now(self.sessions.verify_live::<NoClaims>(&text)), wanted) {
            (Ok(token), None) => assert!(in_time && token.session_id == id),
            (Err(SessionError::AccessToken(_)), None) => assert!(!in_time),
            (Err(error), Some(wanted)) => self.refused(&error, wanted),
            (found, wanted) => panic!("expected {wanted:?}, got {found:?}"),
        }
    }

    /// R13
    fn replace_keys(&mut self, number: u8) {
        let signing = number % 3;
        // The lifetime of a key ends at a whole second.
        let second = self.model.now.div_euclid(1000) * 1000;
        let until = [None, Some(second + 1000), Some(second)];
        let until = until[usize::from(number / 3) % until.len()];
        let kept = number / 9;
        let others = (0..3).filter(|key| *key != signing && kept >> key & 1 == 0);
        self.model.keys = Keys { signing, others: others.map(|key| (key, until)).collect() };
        self.shared.replace(key_set(&self.model.keys));
    }

    /// R6: the store has lost all writes since the backup was made.
    fn restore(&mut self) {
        self.ended = None;
        let (records, known) = &self.backup;
        let store = MemoryStore::new(self.capacity);
        for record in records {
            let inserted = now(store.insert(&InsertRequest::new(record.clone())))
                .expect("a memory store has no faults");
            assert_eq!(inserted, InsertOutcome::INSERTED);
        }
        self.store.restore(store);
        let behind = self.model.sessions.split_off(known.len());
        self.model.sessions = known.clone();
        let gone = |session| Session { is_gone: true, ..session };
        self.model.sessions.extend(behind.into_iter().map(gone));
    }

    /// R5: every text that is not a token of ours gets the same answer, and changes nothing.
    fn present_no_token(&mut self, token: Token, number: u8) {
        let text = &self.texts[&token];
        let mut bytes = text.clone().into_bytes();
        let at = usize::from(number) * 31 % bytes.len();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let mut changed = String::from_utf8(bytes).expect("still letters");
        if number.is_multiple_of(8) {
            changed = format!("{text}A");
        }
        if self.texts.values().any(|known| *known == changed) {
            return;
        }
        let asked = Cell::new(false);
        let result = now(self.sessions.refresh(&changed, async |_| {
            asked.set(true);
            Ok::<_, io::Error>(Some(NoClaims {}))
        }));
        assert!(matches!(result, Err(SessionError::InvalidToken)), "{result:?}");
        assert!(!asked.get());
        assert!(matches!(now(self.sessions.logout(&changed)), Err(SessionError::InvalidToken)));
    }

    /// The store has what the model knows, and the user's list shows it.
    fn check_records(&self) {
        for session in &self.model.sessions {
            let record = self.record(&session.id);
            assert_eq!(record.is_none(), session.is_gone, "{session:?}");
            let Some(record) = record else { continue };
            let millis = |time: UnixMillis| time.get();
            assert_eq!(record.subject, SUBJECTS[usize::from(session.subject)]);
            assert_eq!(record.generation, session.generation);
            assert_eq!(record.kid, kid(session.key));
            assert_eq!(millis(record.created_at), session.created);
            assert_eq!(millis(record.rotated_at), session.rotated);
            assert_eq!(millis(record.auth_time), session.authenticated);
            assert_eq!(
                millis(record.expires_at).min(millis(record.absolute_expires_at)),
                session.idle_end.min(session.absolute_end)
            );
            assert_eq!(millis(record.absolute_expires_at), session.absolute_end);
            let revoked = record.revoked.map(|revoked| (millis(revoked.at), revoked.reason));
            assert_eq!(revoked, session.ended);
        }
        for (subject, name) in (0..).zip(SUBJECTS) {
            let listed = now(self.sessions.list(name)).expect("lists do not fail").sessions;
            let mut found: Vec<SessionId> = listed.iter().map(|session| session.id).collect();
            let mine = self.model.sessions.iter().filter(|session| session.subject == subject);
            let live = mine.filter(|session| session.is_live(self.model.now));
            let mut wanted: Vec<SessionId> = live.map(|session| session.id).collect();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted);
        }
    }

    fn record(&self, id: &SessionId) -> Option<SessionRecord> {
        now(self.store.inner().load(id)).expect("a memory store has no faults")
    }
}

fn kid(key: u8) -> String {
    format!("key-{key}")
}

fn key_set(keys: &Keys) -> KeySet {
    let key = |number| Key::hs256([number + 1; 32]).expect("32 bytes").with_kid(kid(number));
    let set = KeySet::new(key(keys.signing));
    let set = keys.others.iter().try_fold(set, |set, &(other, until)| match until {
        None => set.accept(key(other)),
        Some(until) => set.retire(key(other), date(until)),
    });
    set.expect("the kids differ")
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
        other => panic!("an event that the model does not know: {other:?}"),
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
