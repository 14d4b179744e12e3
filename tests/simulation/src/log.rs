//! The log of a run, one JSON object a line: each request with its answer, the lines that the
//! server logged about its sessions, the faults, and samples of sizes. Tokens are numbers in it, in
//! the order in which they were first seen.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Microseconds since the run began, by a clock that never steps.
pub type Micros = u64;

/// For a request without an observed end: the client gave up, and the server may still do it.
pub const NEVER: Micros = Micros::MAX;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    Settings(Settings),
    Request(Request),
    Said(Said),
    Fault(Fault),
    Stepped(Stepped),
    Keys(Keys),
    Leak(Leak),
    Sample(Sample),
}

/// How the server was set up, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    pub store: String,
    pub seed: u64,
    /// The Unix time at which the run began.
    pub began: u64,
    pub access_lifetime: u64,
    pub grace: u64,
    pub idle_lifetime: u64,
    pub session_lifetime: u64,
    /// How many live sessions a user may have; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// How long each step of the store may take.
    pub deadline: u64,
    /// How long a request may take besides.
    pub margin: u64,
    /// The hosts whose clocks a store reads for what it may remove, by their numbers; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub store_hosts: Vec<u32>,
    #[serde(default)]
    pub margins: Margins,
    /// The key that signs refresh tokens was replaced during the run.
    #[serde(default)]
    pub rotates_keys: bool,
    /// A token of a generation that the store has lost is refused, and not trusted.
    #[serde(default)]
    pub refuses_ahead: bool,
    /// There are so few clients that for some seconds none of them may have anything to write.
    #[serde(default)]
    pub is_sparse: bool,
}

/// The tolerances of the checker where times are measured, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Margins {
    /// How far apart a clock of the log and the clock of a host may be.
    pub slack: Micros,
    /// How long a sweep of all sessions may take: it goes by the time at which it began.
    pub sweep: Micros,
    /// How soon after a fault the server has to be as before: a request may find an old connection,
    /// and wait for it until the store's deadline.
    pub soon: Micros,
    /// How long a store may work on what waited for the end of a fault.
    pub backlog: Micros,
    /// How long after the end of a session a server may accept its access tokens:
    /// `EndedOptions::max_lag`.
    pub max_lag: Micros,
    /// The history has no times besides its own: the server was presented with a request when it
    /// was sent, and its store changed when it was answered. The clocks show whole milliseconds.
    pub is_exact: bool,
}

impl Margins {
    /// For a history of one thread whose store never waits.
    pub fn exact() -> Self {
        Self { slack: 0, sweep: 0, soon: 0, backlog: 0, max_lag: 0, is_exact: true }
    }
}

impl Default for Margins {
    /// For processes of one machine, whose servers cut times to milliseconds. The sweep of Redis
    /// asks for many shards, one after the other.
    fn default() -> Self {
        Self {
            slack: 250_000,
            sweep: 10_000_000,
            soon: 8_000_000,
            backlog: 1_000_000,
            max_lag: 1_000_000,
            is_exact: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Login,
    /// The account is removed.
    Leave,
    Refresh,
    /// A refresh with a token that the server did not make.
    Forged,
    /// With a refresh token, or with an access token, which may have expired.
    Logout,
    /// A logout that proves nothing: its token is not one that the server made, or another site
    /// sent it along.
    FalseLogout,
    LogoutAll,
    LogoutOthers,
    /// Of one session of the user, by its id.
    LogoutSession,
    Me,
    Live,
    List,
    /// With an access token: the user has given the password again.
    Reauthenticate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    Owner,
    Thief,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// `invalid_grant`, or an access token whose session has ended; of a logout, that no session
    /// was ended; of a login, that its session had ended before the answer.
    Refused,
    /// Of a logout by id: the user has no such session to end.
    Absent,
    /// An access token that has expired.
    Expired,
    /// An access token that is not valid for another reason: the clock was set back since it was
    /// made.
    Early,
    /// Of a login: its user has as many sessions as he may.
    NoRoom,
    /// Too many logins, a login that is not recent enough for this, or a token that would be too
    /// long: nothing was done.
    Limited,
    /// Nobody listened: nothing was done.
    Unsent,
    /// The server could not reach its store: it may have been done.
    Unavailable,
    /// The server is at fault (500), as where its database file was replaced: nothing was done.
    Failed,
    /// The connection ended, or the client gave up: it may have been done.
    Broken,
    /// The client did not wait for the answer, or its own network lost it: it may have been done.
    Lost,
    /// Anything else, which should not be.
    Odd,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub sent: Micros,
    pub ended: Micros,
    pub user: u32,
    /// Which of several servers was asked: the number of its host.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server: u32,
    pub who: Who,
    pub what: What,
    pub answer: Answer,
    /// The text of an answer that is odd, or a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of a login: it is refused where there is no room, and does not end the oldest session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_others: bool,
    /// Of a login.
    #[serde(default, skip_serializing_if = "Terms::is_default")]
    pub terms: Terms,
    /// The refresh token that was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// The session that a logout names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The access token that was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<Got>,
    /// The sessions of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<String>,
}

impl Request {
    /// A request of the owner to the first server, whose answer is not known yet.
    pub fn new(what: What, user: u32, sent: Micros) -> Self {
        Self {
            sent,
            ended: 0,
            user,
            server: 0,
            who: Who::Owner,
            what,
            answer: Answer::Odd,
            note: None,
            keeps_others: false,
            terms: Terms::default(),
            token: None,
            target: None,
            access: None,
            got: None,
            listed: Vec::new(),
        }
    }
}

/// The policy that a login asks for. Without a value, that of the settings holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_lifetime: Option<u64>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_lifetime: Option<u64>,
    /// The session is not remembered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_forgotten: bool,
}

impl Terms {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The tokens of an answer, and what they say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    pub token: u64,
    pub access: u64,
    pub session: String,
    pub subject: String,
    /// In seconds of Unix time.
    pub expires_at: u64,
    /// The session is not remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forgotten: bool,
    /// The number of the key that made the refresh token, and the generation of the token, where
    /// the client can read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<usize>,
}

/// A log line of the server about a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    #[serde(default)]
    pub session: String,
    pub message: String,
    /// Why a session was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// From when to when, by the clock of the run.
pub type Span = (Micros, Micros);

/// Something that was done to the store, or to the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// In words.
    pub what: String,
    /// From its beginning until the store could be reached as before.
    pub span: Span,
    /// In this time the store changed nothing, for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still: Option<Span>,
    /// Changes that were acknowledged in this time may be lost, from its end on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Span>,
    /// They may be missing in any answer since the beginning of that time: two servers were
    /// primaries at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_split: bool,
}

impl Fault {
    /// A fault that loses nothing.
    pub fn new(kind: FaultKind, what: &str, span: Span) -> Self {
        Self { kind, what: what.to_owned(), span, still: None, lost: None, is_split: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Killed, and started again.
    Kill,
    /// The store waited for something.
    Stall,
    /// Answers came late, or were lost on their way between a server and its store.
    Network,
    /// Another server took over from the one that had been written to.
    Failover,
    /// The file of the database was moved away, or another was put in its place.
    Replacement,
    /// The store had no room for more.
    Full,
    /// The machine did not run the clients for a moment, and perhaps not the servers.
    Busy,
}

/// The clock of a host was set, at some moment from one time to another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stepped {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host: u32,
    pub from: Micros,
    pub to: Micros,
    /// How many seconds it is ahead of the machine's from now on; behind it when negative.
    pub offset: i64,
}

/// A host got other refresh keys, at some moment from one time to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keys {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host: u32,
    pub from: Micros,
    pub to: Micros,
    /// The key that makes tokens.
    pub signing: u64,
    /// The keys whose tokens are accepted until a Unix time, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<(u64, u64)>,
}

/// Something secret was found in what a server has logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leak {
    /// In words, without the secret.
    pub what: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Bytes: of the server's memory, and of the store's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub at: Micros,
    pub memory: u64,
    pub files: u64,
}

impl Request {
    /// Whether it may have been done, though no client got an answer that says so.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.answer, Answer::Unavailable | Answer::Broken | Answer::Lost)
    }

    /// It happened within this time, if it did.
    pub fn span(&self) -> Span {
        (self.sent, self.ended)
    }

    pub fn is_done(&self) -> bool {
        self.answer == Answer::Done
    }
}

/// A log, by the kinds of its lines.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub settings: Settings,
    pub requests: Vec<Request>,
    pub said: Vec<Said>,
    pub faults: Vec<Fault>,
    pub stepped: Vec<Stepped>,
    pub keys: Vec<Keys>,
    pub leaks: Vec<Leak>,
    pub samples: Vec<Sample>,
}

impl Log {
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Settings(settings) => self.settings = settings,
            Line::Request(request) => self.requests.push(request),
            Line::Said(said) => self.said.push(said),
            Line::Fault(fault) => self.faults.push(fault),
            Line::Stepped(stepped) => self.stepped.push(stepped),
            Line::Keys(keys) => self.keys.push(keys),
            Line::Leak(leak) => self.leaks.push(leak),
            Line::Sample(sample) => self.samples.push(sample),
        }
    }

    /// # Errors
    /// A file that is not there, or a line of it that is none of a log.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut log = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            log.add(serde_json::from_str(&line?)?);
        }
        Ok(log)
    }
}
