//! What a log says of each session: its tokens in their order, who presented which of them, and when it ended at the
//! latest.

use std::collections::{BTreeSet, HashMap};

use super::clock::{Clock, Span};
use crate::log::{Answer, Log, Micros, NEVER, Request, Settings, What};

pub(super) struct Story<'l> {
    pub(super) log: &'l Log,
    pub(super) server: Server,
    pub(super) lives: Vec<Life<'l>>,
    /// The successors that were given for each token.
    pub(super) successors: HashMap<u64, BTreeSet<u64>>,
    /// The lists that were given to each user.
    pub(super) lists: HashMap<u32, Vec<&'l Request>>,
}

/// How the server was set up, and its clock.
pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
}

/// A session that somebody was told of.
pub(super) struct Life<'l> {
    pub(super) id: &'l str,
    pub(super) user: u32,
    pub(super) login: &'l Request,
    /// By generation.
    pub(super) tokens: Vec<u64>,
    /// Who presented each of them for a refresh.
    pub(super) refreshes: Vec<Vec<&'l Request>>,
    /// With one of its tokens, or one of its user's that ends it too; its login was answered before.
    pub(super) logouts: Vec<&'l Request>,
    /// With one of its access tokens.
    pub(super) looks: Vec<&'l Request>,
    deaths: Vec<Death>,
}

/// From here on a session has ended.
struct Death {
    at: Micros,
    /// Where it may have been for its time alone, which can come again.
    until: Micros,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Logout,
    Reuse,
    /// By the clock of the server.
    Expiry,
    /// Its user is gone.
    Removal,
    /// One of its authentic tokens was refused, for whatever reason.
    Refusal,
}

/// How long a sweep of all sessions may take: it goes by the time at which it began. That of Redis asks for many shards,
/// one after the other.
const SWEEP: Micros = 10_000_000;

impl<'l> Story<'l> {
    pub(super) fn of(log: &'l Log) -> Self {
        let mut successors: HashMap<u64, BTreeSet<u64>> = HashMap::new();
        for request in log.requests.iter().filter(|request| request.what == What::Refresh) {
            if let (Some(token), Some(got)) = (request.token, &request.got) {
                successors.entry(token).or_default().insert(got.token);
            }
        }
        let mut lives: Vec<Life<'l>> =
            log.requests.iter().filter_map(|login| Life::begin(login, &successors)).collect();
        assign(log, &mut lives);
        let server = Server { settings: log.settings.clone(), clock: Clock::of(&log.stepped) };
        for life in &mut lives {
            life.deaths = life.deaths(&server);
        }
        let mut lists: HashMap<u32, Vec<_>> = HashMap::new();
        for list in log.requests.iter().filter(|one| one.what == What::List && one.is_done()) {
            lists.entry(list.user).or_default().push(list);
        }
        Self { log, server, lives, successors, lists }
    }
}

/// Gives each session the requests that are about it.
fn assign<'l>(log: &'l Log, lives: &mut [Life<'l>]) {
    let mut of_token = HashMap::new();
    let mut of_user: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, life) in lives.iter().enumerate() {
        of_user.entry(life.user).or_default().push(number);
        for (generation, token) in life.tokens.iter().enumerate() {
            of_token.insert(*token, (number, generation));
        }
    }
    let mut of_access = HashMap::new();
    for request in &log.requests {
        let token = request.got.as_ref().map(|got| (got.access, got.token));
        if let Some((access, Some(place))) =
            token.map(|(access, token)| (access, of_token.get(&token)))
        {
            of_access.insert(access, place.0);
        }
    }
    for request in &log.requests {
        let by_token = request.token.and_then(|token| of_token.get(&token)).copied();
        let by_access = request.access.and_then(|access| of_access.get(&access)).copied();
        match (request.what, by_token, by_access) {
            (What::Refresh, Some((life, generation)), _) => {
                lives[life].refreshes[generation].push(request);
            }
            (What::Logout, Some((life, _)), _) => lives[life].logouts.push(request),
            (What::LogoutAll | What::LogoutOthers | What::Leave, _, by_access) => {
                for life in of_user.get(&request.user).into_iter().flatten() {
                    let is_kept = request.what == What::LogoutOthers && Some(*life) == by_access;
                    if !is_kept {
                        lives[*life].logouts.push(request);
                    }
                }
            }
            (What::Me | What::Live | What::List, _, Some(life)) => lives[life].looks.push(request),
            _ => {}
        }
    }
}

impl<'l> Life<'l> {
    fn begin(login: &'l Request, successors: &HashMap<u64, BTreeSet<u64>>) -> Option<Self> {
        let got = login.got.as_ref().filter(|_| login.what == What::Login)?;
        let mut tokens = vec![got.token];
        // A token that follows itself is another rule's breach, and no reason to go on for ever.
        while let Some(next) = tokens.last().and_then(|last| successors.get(last)?.first()) {
            if tokens.contains(next) {
                break;
            }
            tokens.push(*next);
        }
        Some(Self {
            id: &got.session,
            user: login.user,
            login,
            refreshes: vec![Vec::new(); tokens.len()],
            tokens,
            logouts: Vec::new(),
            looks: Vec::new(),
            deaths: Vec::new(),
        })
    }

    pub(super) fn all_refreshes(&self) -> impl Iterator<Item = (usize, &'l Request)> {
        let of_generation = self.refreshes.iter().enumerate();
        of_generation.flat_map(|(generation, all)| all.iter().map(move |one| (generation, *one)))
    }

    /// From when on a generation is known to be used up.
    pub(super) fn used_surely(&self, generation: usize) -> Micros {
        let all = self.refreshes.get(generation).into_iter().flatten();
        all.filter(|request| request.is_done()).map(|request| request.ended).min().unwrap_or(NEVER)
    }

    /// From when on a generation can be used up.
    pub(super) fn used_maybe(&self, generation: usize) -> Micros {
        let all = self.refreshes.get(generation).into_iter().flatten();
        let used = all.filter(|request| request.is_done() || request.is_in_doubt());
        used.map(|request| request.sent).min().unwrap_or(NEVER)
    }

    /// When a generation was made.
    pub(super) fn made(&self, generation: usize) -> Span {
        generation.checked_sub(1).map_or(self.login.span(), |before| self.used(before))
    }

    /// When a generation was used up.
    pub(super) fn used(&self, generation: usize) -> Span {
        (self.used_maybe(generation), self.used_surely(generation))
    }

    /// Whether a presentation cannot be a retry, whatever happened to the requests in doubt.
    pub(super) fn is_reuse(&self, server: &Server, generation: usize, request: &Request) -> bool {
        let is_used = self.used_surely(generation) < request.sent;
        let is_late =
            server.clock.passed(server.settings.grace, self.used(generation), request.span());
        (is_used && is_late) || self.used_surely(generation + 1) < request.sent
    }

    /// Whether a presentation may be no retry.
    pub(super) fn may_be_reuse(
        &self,
        server: &Server,
        generation: usize,
        request: &Request,
    ) -> bool {
        let (used, surely) = self.used(generation);
        let used = (used, surely.min(request.ended));
        let is_late = used.0 < request.ended
            && server.clock.may_have_passed(server.settings.grace, used, request.span());
        let is_old = self.used_maybe(generation + 1) < request.ended;
        (request.answer == Answer::Refused || request.is_in_doubt()) && (is_late || is_old)
    }

    /// Whether anything else than a reuse may have ended it before `at`.
    pub(super) fn may_be_ended_otherwise(&self, server: &Server, at: Micros) -> bool {
        let is_logged_out =
            self.logouts.iter().any(|logout| !logout.is_nothing() && logout.sent < at);
        is_logged_out || self.may_be_expired(server, at)
    }

    /// Whether its time may have been over at a moment before `at`: from then on it may have been swept away.
    pub(super) fn may_be_expired(&self, server: &Server, at: Micros) -> bool {
        let Settings { idle_lifetime, session_lifetime, .. } = server.settings;
        let is_idle = |generation| {
            let made = self.made(generation);
            // As long as it was the newest.
            let until = self.used_surely(generation).min(at);
            let swept = (made.0.saturating_sub(SWEEP), until.max(made.0));
            made.0 < at && server.clock.may_have_passed(idle_lifetime, made, swept)
        };
        let (begun, login) = (self.login.sent, self.login.span());
        server.clock.may_have_passed(session_lifetime, login, (begun, at))
            || (0..self.tokens.len()).any(is_idle)
    }

    /// Whether anything that was asked may have ended it before `at`.
    pub(super) fn may_be_ended(&self, server: &Server, at: Micros) -> bool {
        let is_reused = self.all_refreshes().any(|(generation, request)| {
            request.sent < at && self.may_be_reuse(server, generation, request)
        });
        is_reused || self.may_be_ended_otherwise(server, at)
    }

    fn deaths(&self, server: &Server) -> Vec<Death> {
        let mut deaths = Vec::new();
        for logout in &self.logouts {
            // A login under way may come after a logout of all.
            let is_before = logout.what == What::Logout || self.login.ended < logout.sent;
            let is_removal = logout.what == What::Leave;
            if logout.is_done() && is_before {
                let cause = if is_removal { Cause::Removal } else { Cause::Logout };
                deaths.push(Death { at: logout.ended, until: NEVER, cause });
            }
        }
        let refused = |request: &Request, cause| {
            let is_forever = !self.may_be_expired(server, request.ended);
            let until = if is_forever { NEVER } else { server.clock.goes_on_from(request.sent) };
            Death { at: request.ended, until, cause }
        };
        for (generation, request) in self.all_refreshes() {
            if request.answer == Answer::Refused {
                let is_reuse = self.is_reuse(server, generation, request);
                deaths.push(refused(request, if is_reuse { Cause::Reuse } else { Cause::Refusal }));
            }
        }
        for look in &self.looks {
            if look.answer == Answer::Refused {
                deaths.push(refused(look, Cause::Refusal));
            }
        }
        deaths
    }

    /// Whether it had ended for one of these causes before something was asked.
    pub(super) fn is_over(&self, server: &Server, request: &Request, causes: &[Cause]) -> bool {
        let lifetime = server.settings.session_lifetime;
        let is_expired = causes.contains(&Cause::Expiry)
            && server.clock.passed(lifetime, self.login.span(), request.span());
        let mut deaths = self.deaths.iter().filter(|death| causes.contains(&death.cause));
        is_expired || deaths.any(|death| death.at < request.sent && request.ended <= death.until)
    }
}
