//! The rules of sessions, a second time: the state of each session, and the outcome that the rules
//! require.
//!
//! Written from the rules and not from the code: this model never looks a session up, but iterates
//! over all of them. Times are milliseconds since the epoch.

use kippu::session::{
    EventKind, RevokeReason, SessionId,
    conformance::{Fault, Method},
};

/// The state of the model.
#[derive(Debug)]
pub struct Model {
    /// The lifetimes.
    pub lifetimes: Lifetimes,
    /// Whether a token that is ahead of the store is accepted.
    pub heals: bool,
    /// The time.
    pub now: i64,
    /// The current refresh keys.
    pub keys: Keys,
    /// Every session that ever existed.
    pub sessions: Vec<Session>,
    /// The faults that the store has yet to have.
    pub faults: Vec<(Method, Fault)>,
    /// The events since the last check.
    pub events: Vec<(EventKind, Option<SessionId>)>,
}

/// The lifetimes.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named as in the builder")]
pub struct Lifetimes {
    pub access: i64,
    pub idle: i64,
    pub absolute: i64,
    pub grace: i64,
}

impl Lifetimes {
    /// R14
    pub fn are_safe(&self) -> bool {
        let Self { access, idle, absolute, grace } = *self;
        access >= 1000 && grace < access && access <= idle && idle <= absolute
    }
}

/// Keys by their number: the signing one, and until when the others are read, or without end.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the comment above has it")]
pub struct Keys {
    pub signing: u8,
    pub others: Vec<(u8, Option<i64>)>,
}

impl Keys {
    /// Returns whether the key exists.
    fn has(&self, key: u8) -> bool {
        self.signing == key || self.others.iter().any(|(other, _)| *other == key)
    }

    /// R13: returns whether tokens of the key are read at `now`.
    fn read(&self, key: u8, now: i64) -> bool {
        let in_time = |until: Option<i64>| until.is_none_or(|until| now < until);
        self.signing == key
            || self.others.iter().any(|(other, until)| *other == key && in_time(*until))
    }
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The number of its subject.
    pub subject: u8,
    /// The time of the login.
    pub created: i64,
    /// The generation of the current token.
    pub generation: u64,
    /// The key of the current token.
    pub key: u8,
    /// When the current token was made.
    pub rotated: i64,
    /// When the user last authenticated.
    pub authenticated: i64,
    /// The end, if it is not used.
    pub idle_end: i64,
    /// The absolute end.
    pub absolute_end: i64,
    /// When and why it was revoked.
    pub ended: Option<(i64, RevokeReason)>,
    /// Whether the store has removed it.
    pub is_gone: bool,
}

impl Session {
    /// R7
    pub fn is_over(&self, now: i64) -> bool {
        now >= self.idle_end || now >= self.absolute_end
    }

    /// Returns whether a list shows it.
    pub fn is_live(&self, now: i64) -> bool {
        !self.is_gone && self.ended.is_none() && !self.is_over(now)
    }
}

/// An authentic refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// The number of its session.
    pub session: usize,
    /// Its generation.
    pub generation: u64,
    /// The number of its key.
    pub key: u8,
}

/// The expected result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A token, the end of its session, and the authentication time that the access token shows.
    Token(Token, i64, i64),
    /// Not a token of ours, or one of an unknown session.
    Invalid,
    /// The session was revoked, or has expired, or both.
    Over(Option<RevokeReason>, bool),
    /// The token was used long ago: R3.
    Reused,
    /// The token is this far ahead of the store: R6.
    Ahead(u64),
    /// The application rejects the user: R9.
    Denied,
    /// The application does not know: R9.
    NotAuthorized,
    /// The store is unavailable: R12.
    Away,
    /// The key of the successor is missing: R13.
    NoKey,
}

/// A refresh between its two reads of the store, while the application is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    token: Token,
    /// Whether the token was the current one at the first read, and when the user had
    /// authenticated.
    was_current: bool,
    authenticated: i64,
    /// When the token was presented.
    pub presented: i64,
    keys: Keys,
}

/// The answer of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after what it is")]
pub enum Answer {
    Welcome,
    Unwelcome,
    Unknown,
}

/// The verdict on a token for the state of its session, and the event.
enum Verdict {
    /// The successor, and the end of its session.
    Goes(EventKind, Token, i64),
    Stops(End, Option<EventKind>),
}

impl Model {
    /// A login that the store has accepted.
    pub fn login(&mut self, id: SessionId, subject: u8) -> (Token, i64) {
        let absolute_end = self.now + self.lifetimes.absolute;
        let session = Session {
            id,
            subject,
            created: self.now,
            generation: 0,
            key: self.keys.signing,
            rotated: self.now,
            authenticated: self.now,
            idle_end: self.now + self.lifetimes.idle,
            absolute_end,
            ended: None,
            is_gone: false,
        };
        let token = Token { session: self.sessions.len(), generation: 0, key: session.key };
        let end = session.idle_end.min(absolute_end);
        self.sessions.push(session);
        self.events.push((EventKind::LoggedIn, Some(id)));
        (token, end)
    }

    /// R20: returns the live sessions of a subject beyond the limit, the oldest first.
    pub fn oldest(&self, subject: u8, room: usize) -> Vec<usize> {
        let is_live = |number: &usize| {
            let session = &self.sessions[*number];
            session.subject == subject && session.is_live(self.now)
        };
        let mut live: Vec<usize> = (0..self.sessions.len()).filter(is_live).collect();
        live.sort_by_key(|number| (self.sessions[*number].created, self.sessions[*number].id));
        live.truncate(live.len().saturating_sub(room));
        live
    }

    /// Revokes these sessions for a login.
    pub fn evict(&mut self, oldest: &[usize]) {
        for number in oldest {
            self.end(*number, self.now, RevokeReason::Limit);
            let kind = EventKind::Revoked { reason: RevokeReason::Limit, sessions: 1 };
            self.tell(Some(kind), *number);
        }
    }

    /// The user authenticates again, with a valid access token. A reauthentication uses up neither
    /// a token that is too late, nor one that a rotation has just made.
    pub fn reauthenticate(&mut self, number: usize) -> End {
        if self.fails(Method::Load).is_some() {
            return End::Away;
        }
        let session = &self.sessions[number];
        let reason = session.ended.map(|(_, reason)| reason);
        match session.is_gone {
            true => return End::Invalid,
            false if reason.is_some() || session.is_over(self.now) => {
                return End::Over(reason, session.is_over(self.now));
            }
            false => {}
        }
        let Session { generation, key, rotated, idle_end, .. } = *session;
        let grace = self.lifetimes.grace;
        let is_new = generation > 0 && grace > 0 && self.now - rotated <= grace;
        let current = Token { session: number, generation, key };
        let (next, end) = if is_new {
            (current, idle_end)
        } else {
            let next = Token { generation: generation + 1, key: self.keys.signing, ..current };
            (next, session.absolute_end.min(self.now + self.lifetimes.idle))
        };
        if !self.keys.has(next.key) {
            return End::NoKey;
        }
        let fault = self.fails(Method::Rotate);
        if fault != Some(Fault::Before) {
            let session = &mut self.sessions[number];
            session.authenticated = self.now;
            if !is_new {
                (session.generation, session.key) = (next.generation, next.key);
                (session.rotated, session.idle_end) = (self.now, end);
            }
        }
        if fault.is_some() {
            return End::Away;
        }
        self.tell(Some(EventKind::Reauthenticated), number);
        End::Token(next, end, self.now)
    }

    /// R9, before the application: the token is rejected, or the application is asked.
    ///
    /// # Errors
    /// The result of a call that does not ask.
    pub fn present(&mut self, token: Token) -> Result<Asked, End> {
        let Session { generation, authenticated, .. } = self.sessions[token.session];
        let (was_current, presented) = (generation == token.generation, self.now);
        let asked = Asked { token, was_current, authenticated, presented, keys: self.keys.clone() };
        // R5, R13: the store is not read.
        if !asked.keys.read(token.key, self.now) {
            return Err(End::Invalid);
        }
        if self.fails(Method::Load).is_some() {
            return Err(End::Away);
        }
        match self.judge(&asked) {
            Verdict::Goes(_, successor, _) if asked.keys.has(successor.key) => Ok(asked),
            Verdict::Goes(..) => Err(End::NoKey),
            // Rejected; but the session is revoked before the answer.
            Verdict::Stops(End::Reused, _) => Err(self.rotate(&asked)),
            Verdict::Stops(end, event) => {
                self.tell(event, token.session);
                Err(end)
            }
        }
    }

    /// R9, from the answer of the application on.
    pub fn answer(&mut self, asked: &Asked, answer: Answer) -> End {
        match answer {
            Answer::Unknown => End::NotAuthorized,
            Answer::Unwelcome => {
                let fault = self.fails(Method::Revoke);
                if fault != Some(Fault::Before) {
                    self.end(asked.token.session, asked.presented, RevokeReason::Denied);
                }
                if fault.is_some() {
                    return End::Away;
                }
                self.tell(Some(EventKind::Denied), asked.token.session);
                End::Denied
            }
            Answer::Welcome => match self.rotate(asked) {
                // Another server has rotated with a key that did not exist when this call began.
                End::Token(token, ..) if !asked.keys.has(token.key) => End::NoKey,
                end => end,
            },
        }
    }

    /// The second access to the session, which changes it.
    fn rotate(&mut self, asked: &Asked) -> End {
        let fault = self.fails(Method::Rotate);
        if fault == Some(Fault::Before) {
            return End::Away;
        }
        let verdict = self.judge(asked);
        let number = asked.token.session;
        let (end, event) = match verdict {
            Verdict::Goes(event, token, ends) => {
                if event != EventKind::Replayed {
                    let rotated = self.now.max(asked.presented);
                    let session = &mut self.sessions[number];
                    session.generation = token.generation;
                    session.key = token.key;
                    session.rotated = rotated;
                    session.idle_end = ends;
                }
                (End::Token(token, ends, asked.authenticated), Some(event))
            }
            Verdict::Stops(End::Reused, event) => {
                self.end(number, asked.presented, RevokeReason::Reuse);
                (End::Reused, event)
            }
            Verdict::Stops(end, event) => (end, event),
        };
        if fault.is_some() {
            return End::Away;
        }
        self.tell(event, number);
        match end {
            // Another request was faster. The access token shows whether it was a reauthentication.
            End::Token(token, ends, _)
                if asked.was_current && event == Some(EventKind::Replayed) =>
            {
                match self.fails(Method::Load) {
                    Some(_) => End::Away,
                    None => End::Token(token, ends, self.sessions[number].authenticated),
                }
            }
            end => end,
        }
    }

    /// Returns what the rules say about a token, for the current state of the session.
    fn judge(&self, asked: &Asked) -> Verdict {
        let Asked { token, presented, .. } = *asked;
        let session = &self.sessions[token.session];
        // R11: a removed session stays removed.
        if session.is_gone {
            return Verdict::Stops(End::Invalid, None);
        }
        // R4, R7
        let reason = session.ended.map(|(_, reason)| reason);
        if reason.is_some() || session.is_over(presented) {
            return Verdict::Stops(End::Over(reason, session.is_over(presented)), None);
        }
        let rotated = self.now.max(presented);
        let next = Token { generation: token.generation + 1, key: asked.keys.signing, ..token };
        let end = session.absolute_end.min(rotated + self.lifetimes.idle);
        let ahead = token.generation.checked_sub(session.generation);
        match ahead {
            // R1
            Some(0) => Verdict::Goes(EventKind::Rotated, next, end),
            // R6
            Some(lost) if self.heals => Verdict::Goes(EventKind::Healed { lost }, next, end),
            Some(lost) => Verdict::Stops(End::Ahead(lost), Some(EventKind::Ahead { lost })),
            None => {
                let Lifetimes { grace, .. } = self.lifetimes;
                // R8: a clock that was set back extends nothing.
                let age = (presented - session.rotated).max(0);
                let is_early = asked.was_current || age <= grace;
                if token.generation + 1 == session.generation && grace > 0 && is_early {
                    // R2, and R13: with the key that made it.
                    let current =
                        Token { generation: session.generation, key: session.key, ..token };
                    Verdict::Goes(EventKind::Replayed, current, session.idle_end)
                } else {
                    // R3
                    Verdict::Stops(End::Reused, Some(EventKind::ReuseDetected))
                }
            }
        }
    }

    /// R10: a logout with a token of any generation, by any known key, also a retired one.
    pub fn logout(&mut self, token: Token) -> End {
        if !self.keys.has(token.key) {
            return End::Invalid;
        }
        match self.revoke(token.session) {
            Err(away) => away,
            Ok(first) => {
                let kind = EventKind::Revoked { reason: RevokeReason::Logout, sessions: 1 };
                self.tell(first.then_some(kind), token.session);
                End::Over(Some(RevokeReason::Logout), false)
            }
        }
    }

    /// A logout of a session by its id, by a subject.
    ///
    /// # Errors
    /// [`End::Away`].
    pub fn logout_session(&mut self, subject: u8, number: usize) -> Result<bool, End> {
        if self.fails(Method::Load).is_some() {
            return Err(End::Away);
        }
        let session = &self.sessions[number];
        if session.is_gone || session.subject != subject || !self.revoke(number)? {
            return Ok(false);
        }
        let kind = EventKind::Revoked { reason: RevokeReason::Logout, sessions: 1 };
        self.tell(Some(kind), number);
        Ok(true)
    }

    fn revoke(&mut self, number: usize) -> Result<bool, End> {
        let fault = self.fails(Method::Revoke);
        let is_made = fault != Some(Fault::Before);
        let first = is_made && self.end(number, self.now, RevokeReason::Logout);
        if fault.is_some() { Err(End::Away) } else { Ok(first) }
    }

    /// R10: a logout of all sessions, or of all except `keep`. Returns how many it revoked.
    ///
    /// # Errors
    /// [`End::Away`].
    pub fn logout_all(&mut self, subject: u8, keep: Option<usize>) -> Result<u64, End> {
        let fault = self.fails(Method::RevokeSubject);
        let mut sessions = 0;
        if fault != Some(Fault::Before) {
            for number in 0..self.sessions.len() {
                if self.sessions[number].subject == subject && Some(number) != keep {
                    let first = self.end(number, self.now, RevokeReason::LogoutAll);
                    sessions += u64::from(first);
                }
            }
        }
        if fault.is_some() {
            return Err(End::Away);
        }
        if sessions > 0 {
            let kind = EventKind::Revoked { reason: RevokeReason::LogoutAll, sessions };
            self.events.push((kind, None));
        }
        Ok(sessions)
    }

    /// Revokes a session, if it exists and was not revoked before.
    fn end(&mut self, number: usize, at: i64, reason: RevokeReason) -> bool {
        let session = &mut self.sessions[number];
        let first = !session.is_gone && session.ended.is_none();
        if first {
            session.ended = Some((at, reason));
        }
        first
    }

    fn tell(&mut self, event: Option<EventKind>, number: usize) {
        self.events.extend(event.map(|kind| (kind, Some(self.sessions[number].id))));
    }

    /// Returns the fault of a call of the store, which happens once.
    pub fn fails(&mut self, method: Method) -> Option<Fault> {
        let next = self.faults.iter().position(|(failing, _)| *failing == method)?;
        Some(self.faults.remove(next).1)
    }
}
