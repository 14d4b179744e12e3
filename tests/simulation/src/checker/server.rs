//! How the server was set up, the clock that it was shown, and the faults of its store: when the
//! store cannot have changed anything, and which changes it may have lost.

use super::{
    clock::{Clock, Hosts, When, seconds},
    keys::Keyring,
};
use crate::log::{Answer, Fault, FaultKind, Log, Micros, Request, Settings, Span};

/// How long the server may keep a line of its log, in microseconds.
const LOG_DELAY: Micros = 100_000;

/// Changes that were acknowledged within some time may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss {
    from: Micros,
    pub(super) until: Micros,
    /// From when on they may be missing.
    pub(super) since: Micros,
}

pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) keyring: Keyring,
    pub(super) faults: Vec<Fault>,
}

impl Server {
    pub(super) fn of(log: &Log) -> Self {
        let clock = Clock::of(log);
        let (settings, faults) = (log.settings.clone(), log.faults.clone());
        Self { settings, clock, keyring: Keyring::of(log), faults }
    }

    /// How long the session of a login lives, in microseconds. It has expired when more than this
    /// has passed: a microsecond less than its lifetime, because its end is excluded (R7).
    pub(super) fn lifetime(&self, login: &Request) -> i64 {
        seconds(login.terms.session_lifetime.unwrap_or(self.settings.session_lifetime)) - 1
    }

    /// The same, without a refresh.
    pub(super) fn idle_lifetime(&self, login: &Request) -> i64 {
        let idle = login.terms.idle_lifetime.unwrap_or(self.settings.idle_lifetime);
        (seconds(idle) - 1).min(self.lifetime(login))
    }

    /// How much earlier than its commit a store may take a rotation to be, in microseconds: a stall
    /// between the change and the commit is corrected when it is longer than an eighth of the
    /// grace.
    pub(super) fn unnoticed(&self) -> i64 {
        if self.settings.margins.is_exact { 0 } else { seconds(self.settings.grace) / 8 }
    }

    /// The times in which the store changed nothing.
    pub(super) fn stills(&self) -> impl Iterator<Item = Span> {
        self.faults.iter().filter_map(|fault| fault.still)
    }

    /// The first moment from `at` on at which the store can have changed anything.
    pub(super) fn moving_from(&self, at: Micros) -> Micros {
        let still = self.stills().find(|(from, to)| *from <= at && at < *to);
        still.map_or(at, |(_, to)| to)
    }

    /// The losses that may have taken what this request changed.
    pub(super) fn losses_of(&self, request: &Request) -> impl Iterator<Item = Loss> {
        let (sent, ended) = self.made(request);
        let losses = self.faults.iter().filter_map(|fault| {
            let (from, to) = fault.lost?;
            Some(Loss { since: if fault.is_split { from } else { to }, until: to, from })
        });
        losses.filter(move |loss| sent <= loss.until && loss.from <= ended)
    }

    /// Whether what a request changed may be lost to a request that was answered at `at`.
    pub(super) fn may_be_lost(&self, request: &Request, at: Micros) -> bool {
        self.losses_of(request).any(|loss| loss.since <= at)
    }

    /// Whether a request may have been done, though no client got an answer that says so.
    pub(super) fn is_in_doubt(&self, request: &Request) -> bool {
        match request.answer {
            Answer::Unavailable | Answer::Broken | Answer::Lost => true,
            // In a file that was at its place when the change was made, and not when it was to be
            // answered.
            Answer::Failed => self.faults.iter().any(|fault| {
                let gone = fault.still.map_or(fault.span.1, |(gone, _)| gone);
                let is_replacement = fault.kind == FaultKind::Replacement;
                is_replacement && request.sent <= gone && fault.span.0 <= request.ended
            }),
            _ => false,
        }
    }

    /// Until when the change of a request was made, if it was. One in doubt may wait in the store
    /// for the end of a fault.
    pub(super) fn made_by(&self, request: &Request) -> Micros {
        let Settings { deadline, margin, margins, .. } = &self.settings;
        let (sent, mut ended) = request.span();
        if request.answer == Answer::Lost {
            // The server goes on with it, for as long as all steps of a refresh may take.
            let longest = (3 * deadline + margin).saturating_mul(1_000_000);
            ended = ended.max(sent.saturating_add(longest));
        }
        let faults = self.faults.iter().map(|fault| fault.span);
        let waited = faults.filter(|(from, to)| *from <= ended && sent <= *to);
        let waited = waited.map(|(_, to)| to.saturating_add(margins.backlog)).max();
        waited.filter(|_| self.is_in_doubt(request)).map_or(ended, |waited| waited.max(ended))
    }

    /// When the change of a request was made, if it was.
    pub(super) fn made(&self, request: &Request) -> Span {
        let from = if self.settings.margins.is_exact { request.ended } else { request.sent };
        (from, self.made_by(request))
    }

    /// When a request was presented to its server.
    pub(super) fn presented(&self, request: &Request) -> When {
        let mut when = When::of(request);
        if self.settings.margins.is_exact {
            when.span = (request.sent, request.sent);
        }
        when
    }

    /// The same, by the clock of the server that was asked.
    pub(super) fn made_when(&self, request: &Request) -> When {
        let when = When::new(self.made(request), Hosts::one(request.server));
        When { read_from: Some(request.sent), ..when }
    }

    /// The clocks of the hosts that decide what may be removed.
    pub(super) fn stores(&self) -> Hosts {
        let stores = self.settings.store_hosts.iter().map(|host| Hosts::one(*host));
        stores.fold(Hosts::NONE, Hosts::and).or_all()
    }

    /// Whether a sweep that began before the clock was set back may have removed the session of a
    /// login that is under way.
    pub(super) fn may_sweep(&self, login: &Request) -> bool {
        let (sent, ended) = login.span();
        let lifetime = self.idle_lifetime(login);
        let swept = (sent.saturating_sub(self.settings.margins.sweep), ended);
        self.clock.may_have_passed(lifetime, When::of(login), When::new(swept, self.stores()))
    }

    /// Whether the event of an answered request may be missing from the server's log. A thread of
    /// the server writes the log, so that a disk never blocks a request; `kill -9` loses the lines
    /// of the last moment.
    pub(super) fn may_be_unlogged(&self, request: &Request) -> bool {
        self.faults.iter().any(|fault| {
            let (from, to) = match (fault.kind, fault.still) {
                (FaultKind::Kill, Some((gone, _))) => (fault.span.0, gone),
                (FaultKind::Replacement, Some((_, stopped))) => (stopped, fault.span.1),
                _ => return false,
            };
            from <= request.ended.saturating_add(LOG_DELAY) && request.ended <= to
        })
    }

    /// Whether a fault may be the reason for what happened to a request: it was under way, or had
    /// ended less than `patience` before. A machine that was busy is one for a lag longer: what
    /// waited for it goes on at once.
    pub(super) fn is_excused(&self, request: &Request, patience: Micros) -> bool {
        self.faults.iter().any(|fault| {
            let (from, to) = fault.span;
            let is_busy = fault.kind == FaultKind::Busy;
            let most = if is_busy { self.settings.margins.max_lag } else { patience };
            from <= request.ended && request.sent <= to.saturating_add(patience.min(most))
        })
    }

    /// How long the machine was busy within some time.
    pub(super) fn busy(&self, (since, until): Span) -> Micros {
        let busy = self.faults.iter().filter(|fault| fault.kind == FaultKind::Busy);
        let within = |(from, to): Span| to.min(until).saturating_sub(from.max(since));
        busy.map(|fault| within(fault.span)).sum()
    }
}
