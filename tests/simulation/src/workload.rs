//! The clients and what they do with sessions, written once for each world: over time, randomness
//! and a way to ask a server. Each request becomes a line of the history.

mod recorder;
mod users;

use std::future::Future;

pub use self::{
    recorder::{Recorder, lines},
    users::{Plan, run},
};
use crate::{
    log::{Answer, Line, Micros, Request, Terms, What, Who},
    time::Time,
};

/// The world that a workload runs in: its time, and the way to its servers.
pub trait World: Clone + Send + Sync + 'static {
    type Time: Time;

    fn time(&self) -> &Self::Time;

    /// The numbers of the servers.
    fn servers(&self) -> Vec<u32>;

    /// Sends a request, and waits for its answer: not longer than the client's patience.
    fn ask(&self, ask: Ask) -> impl Future<Output = Reply> + Send;

    fn now(&self) -> Micros {
        self.time().now()
    }

    fn sleep(&self, micros: Micros) -> impl Future<Output = ()> + Send {
        self.time().sleep(micros)
    }

    fn random(&self, end: u64) -> u64 {
        self.time().random(end)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.time().spawn(Self::Time::FOREVER, task);
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub server: u32,
    pub user: u32,
    pub what: What,
    /// Of a login: it is refused where there is no room.
    pub keeps_others: bool,
    /// Of a login.
    pub terms: Terms,
    pub refresh: Option<String>,
    pub access: Option<String>,
    /// The id of the session that a logout names.
    pub target: Option<String>,
    /// The cookies of the browser that asks, where it is one; with nothing in them before a login.
    pub cookies: Option<String>,
    /// The user has so many rights at this moment that an access token would be too long.
    pub is_large: bool,
    pub patience: Micros,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub tokens: Option<Tokens>,
    /// The ids of the sessions of a list.
    pub listed: Vec<String>,
    /// When the request was sent, where it had to wait before.
    pub sent: Option<Micros>,
    /// Nothing was sent: the client knew the answer, as its cookie with the token has expired.
    pub is_known: bool,
    /// The text of an answer that is odd, or a failure.
    pub note: Option<String>,
}

impl Reply {
    pub fn of(answer: Answer) -> Self {
        let (listed, is_known) = (Vec::new(), false);
        Self { answer, tokens: None, listed, sent: None, is_known, note: None }
    }
}

/// The tokens that a client keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub refresh: String,
    pub access: String,
    pub session: String,
    pub subject: String,
    /// In seconds of Unix time, as the access token says it.
    pub expires_at: u64,
    /// The session is not remembered, as the answer says it.
    pub is_forgotten: bool,
    /// All cookies of the browser that got them, where it keeps them there.
    pub cookies: Option<String>,
}

/// A client of one user.
#[derive(Clone)]
pub(crate) struct Client<W> {
    pub(crate) world: W,
    pub(crate) recorder: Recorder,
    pub(crate) user: u32,
    pub(crate) who: Who,
    pub(crate) keeps_others: bool,
    pub(crate) terms: Terms,
    pub(crate) is_browser: bool,
    pub(crate) patience: Micros,
}

/// Longer than any answer may take: a client with this patience sees which are late.
pub const PATIENT: Micros = 60_000_000;

impl<W: World> Client<W> {
    pub(crate) fn new(world: &W, recorder: &Recorder, user: u32) -> Self {
        Self {
            world: world.clone(),
            recorder: recorder.clone(),
            user,
            who: Who::Owner,
            keeps_others: false,
            terms: Terms::default(),
            is_browser: false,
            patience: PATIENT,
        }
    }

    pub(crate) fn thief(&self) -> Self {
        Self { who: Who::Thief, is_browser: false, ..self.clone() }
    }

    pub(crate) fn with_patience(&self, patience: Micros) -> Self {
        Self { patience, ..self.clone() }
    }

    pub(crate) async fn login(&self) -> Reply {
        self.send(What::Login, None, None, false).await
    }

    pub(crate) async fn refresh(&self, tokens: &Tokens) -> Reply {
        self.send(What::Refresh, Some(tokens), None, false).await
    }

    pub(crate) async fn large_refresh(&self, tokens: &Tokens) -> Reply {
        self.send(What::Refresh, Some(tokens), None, true).await
    }

    pub(crate) async fn logout(&self, tokens: &Tokens) -> Reply {
        self.send(What::Logout, Some(tokens), None, false).await
    }

    /// With a refresh token that no server made, in the place of a real one.
    pub(crate) async fn forge(&self, what: What, tokens: &Tokens) -> Reply {
        let mut forged = tokens.clone().refresh.into_bytes();
        // Neither in the prefix nor in the last symbol, some bits of which are none.
        let (half, last) = (forged.len() / 2, forged.len().saturating_sub(2));
        let count = u64::try_from(last.saturating_sub(half)).unwrap_or(1);
        let place = half + usize::try_from(self.world.random(count)).unwrap_or(0);
        if let Some(symbol) = forged.get_mut(place) {
            *symbol = if *symbol == b'A' { b'B' } else { b'A' };
        }
        let refresh = String::from_utf8(forged).unwrap_or_default();
        let cookies = tokens.cookies.clone().filter(|_| self.is_browser);
        let ask = Ask { refresh: Some(refresh), cookies, ..self.asked(what) };
        self.record(ask, None, None).await
    }

    /// With an access token.
    pub(crate) async fn ask(&self, what: What, tokens: &Tokens) -> Reply {
        self.send(what, None, Some(tokens), false).await
    }

    /// With no token: what an administrator asks for.
    pub(crate) async fn order(&self, what: What) -> Reply {
        self.send(what, None, None, false).await
    }

    /// Ends a session by its id: with an access token, or as the administrator.
    pub(crate) async fn end(&self, id: &str, tokens: Option<&Tokens>) -> Reply {
        let access = tokens.map(|tokens| tokens.access.clone());
        let cookies = tokens.filter(|_| self.is_browser).and_then(|one| one.cookies.clone());
        let target = Some(id.to_owned());
        let asked = self.asked(What::LogoutSession);
        self.record(Ask { target, access: access.clone(), cookies, ..asked }, None, access).await
    }

    fn asked(&self, what: What) -> Ask {
        let servers = self.world.servers();
        let count = u64::try_from(servers.len()).unwrap_or(1);
        let place = usize::try_from(self.world.random(count)).unwrap_or(0);
        Ask {
            server: servers.get(place).copied().unwrap_or_default(),
            user: self.user,
            what,
            keeps_others: self.keeps_others && what == What::Login,
            terms: if what == What::Login { self.terms } else { Terms::default() },
            refresh: None,
            access: None,
            target: None,
            cookies: (self.is_browser && what == What::Login).then(String::new),
            is_large: false,
            patience: self.patience,
        }
    }

    async fn send(
        &self,
        what: What,
        refresh: Option<&Tokens>,
        access: Option<&Tokens>,
        is_large: bool,
    ) -> Reply {
        let presented = refresh.or(access).filter(|_| self.is_browser);
        let token = refresh.map(|tokens| tokens.refresh.clone());
        let proof = access.map(|tokens| tokens.access.clone());
        let mut ask =
            Ask { refresh: token.clone(), access: proof.clone(), is_large, ..self.asked(what) };
        if let Some(tokens) = presented {
            ask.cookies.clone_from(&tokens.cookies);
        }
        self.record(ask, token, proof).await
    }

    async fn record(&self, ask: Ask, token: Option<String>, access: Option<String>) -> Reply {
        let Ask { server, user, what, keeps_others, terms, .. } = ask;
        let target = ask.target.as_deref().map(|id| self.recorder.session(id));
        let asked = self.world.now();
        let number = |text: Option<String>| text.map(|text| self.recorder.number(&text));
        let (token, access) = (number(token), number(access));
        let mut reply = self.world.ask(ask).await;
        if reply.is_known {
            return reply;
        }
        let sent = reply.sent.unwrap_or(asked);
        let gives_tokens = matches!(what, What::Login | What::Refresh | What::Reauthenticate);
        if gives_tokens && reply.answer == Answer::Done && reply.tokens.is_none() {
            reply.answer = Answer::Odd;
        }
        let got = reply.tokens.as_ref().map(|tokens| self.recorder.got(tokens));
        let mut listed: Vec<_> = reply.listed.iter().map(|id| self.recorder.session(id)).collect();
        listed.sort_unstable();
        self.recorder.note(Line::Request(Request {
            sent,
            ended: self.world.now(),
            user,
            server,
            who: self.who,
            what,
            answer: reply.answer,
            note: reply.note.clone(),
            keeps_others,
            terms,
            token,
            target,
            access,
            got,
            listed,
        }));
        reply
    }
}
