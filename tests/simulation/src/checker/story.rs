//! The story of each session in a log: its tokens in their order, who presented which of them, and
//! when it ended at the latest.

mod deaths;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    clock::{Hosts, When, seconds},
    limit::Limit,
    server::{Loss, Server},
};
use crate::log::{Answer, Log, Micros, NEVER, Request, Settings, Span, What};

pub(super) struct Story<'l> {
    pub(super) log: &'l Log,
    pub(super) server: &'l Server,
    pub(super) lives: Vec<Life<'l>>,
    /// The sessions and generations of each token: one, if all is right.
    pub(super) places: HashMap<u64, Vec<Place>>,
    /// The lists that were given to each user.
    pub(super) lists: HashMap<u32, Vec<&'l Request>>,
}

/// The number of a session in [`Story::lives`], and a generation of this session.
pub(super) type Place = (usize, usize);

/// A session whose tokens a client got.
pub(super) struct Life<'l> {
    server: &'l Server,
    pub(super) id: &'l str,
    pub(super) user: u32,
    pub(super) login: &'l Request,
    /// By generation. One has several tokens if the store has lost it, and it was made again with
    /// another key.
    pub(super) tokens: Vec<BTreeSet<u64>>,
    /// The clients that presented each of them for a refresh.
    pub(super) refreshes: Vec<Vec<&'l Request>>,
    /// With one of its tokens, or one of its user's that ends it too; its login was answered
    /// before.
    pub(super) logouts: Vec<&'l Request>,
    /// With one of its access tokens.
    pub(super) looks: Vec<&'l Request>,
    /// When the last request was sent to which the store showed it alive.
    pub(super) last_seen: Micros,
    /// The logins that may have ended it to make room for theirs.
    pub(super) evictors: Vec<&'l Request>,
    deaths: Vec<Death>,
}

/// From here on a session has ended.
struct Death {
    at: Micros,
    /// Until when it has ended for certain. Later its time may have come again, a refresh that
    /// waited may have moved its end, or the end may be lost.
    until: Micros,
    cause: Cause,
    /// Whether its age may be the reason, which counts when a token is presented (R7).
    is_by_age: bool,
    /// Whether the log of ended sessions has it for certain.
    is_logged: bool,
}

impl Death {
    /// Whether it had come before these times, and was there until their end.
    fn covers(&self, (from, to): Span) -> bool {
        self.at < from && to <= self.until
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Logout,
    Reuse,
    /// There was no room for it beside others of its user.
    Limit,
    /// By the clock of the server.
    Expiry,
    /// Its user is gone.
    Removal,
    /// One of its authentic tokens was refused, for whatever reason.
    Refusal,
}

impl<'l> Story<'l> {
    pub(super) fn of(log: &'l Log, server: &'l Server) -> Self {
        let mut successors: HashMap<u64, BTreeSet<u64>> = HashMap::new();
        for request in log.requests.iter().filter(|request| request.what == What::Refresh) {
            if let (Some(token), Some(got)) = (request.token, &request.got) {
                successors.entry(token).or_default().insert(got.token);
            }
        }
        let mut known: HashMap<&str, BTreeMap<usize, BTreeSet<u64>>> = HashMap::new();
        let reauthenticated = log.requests.iter().filter(|one| one.what == What::Reauthenticate);
        for got in reauthenticated.filter_map(|one| one.got.as_ref()) {
            let of_session = known.entry(&got.session).or_default();
            of_session.entry(got.generation.unwrap_or(1)).or_default().insert(got.token);
        }
        let lives = log.requests.iter();
        let mut lives: Vec<Life<'l>> =
            lives.filter_map(|login| Life::begin(server, login, &successors, &known)).collect();
        let places = assign(log, &mut lives);
        let mut lists: HashMap<u32, Vec<_>> = HashMap::new();
        for list in log.requests.iter().filter(|one| one.what == What::List && one.is_done()) {
            lists.entry(list.user).or_default().push(list);
        }
        let evictors = Limit::logins_that_evict(log);
        for life in &mut lives {
            // Until it is known which of them may have, as some of these need the deaths.
            life.evictors = evictors.get(&life.user).cloned().unwrap_or_default();
            life.deaths = life.deaths();
            life.last_seen = life.last_seen(lists.get(&life.user).map_or(&[], Vec::as_slice));
        }
        let mut story = Self { log, server, lives, places, lists };
        let limit = Limit::of(&story);
        let lives = story.lives.iter();
        let found: Vec<_> =
            lives.map(|life| (limit.evictors(life.login), limit.ends(life))).collect();
        for (life, (evictors, ends)) in story.lives.iter_mut().zip(found) {
            life.evictors = evictors;
            life.deaths = life.deaths();
            let ends: Vec<_> = ends.iter().map(|end| life.found_ended(end, Cause::Limit)).collect();
            life.deaths.extend(ends);
        }
        story
    }
}

/// Gives each session the requests that are about it, and returns the places of the tokens.
fn assign<'l>(log: &'l Log, lives: &mut [Life<'l>]) -> HashMap<u64, Vec<Place>> {
    let mut places: HashMap<u64, Vec<Place>> = HashMap::new();
    let mut of_user: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, life) in lives.iter().enumerate() {
        of_user.entry(life.user).or_default().push(number);
        for (generation, tokens) in life.tokens.iter().enumerate() {
            for token in tokens {
                places.entry(*token).or_default().push((number, generation));
            }
        }
    }
    let place = |token: u64| places.get(&token).and_then(|places| places.first()).copied();
    let mut of_access = HashMap::new();
    for request in &log.requests {
        let token = request.got.as_ref().map(|got| (got.access, got.token));
        if let Some((access, Some(place))) = token.map(|(access, token)| (access, place(token))) {
            of_access.insert(access, place.0);
        }
    }
    let mut in_doubt = Vec::new();
    for request in &log.requests {
        let by_token = request.token.and_then(place);
        let by_access = request.access.and_then(|access| of_access.get(&access)).copied();
        match (request.what, by_token, by_access) {
            (What::Refresh, Some((life, generation)), _) => {
                lives[life].refreshes[generation].push(request);
            }
            (What::Logout, Some((life, _)), _) | (What::Logout, None, Some(life)) => {
                lives[life].logouts.push(request);
            }
            (What::LogoutSession, _, by_access) => {
                // Its access token is looked up in the store, too.
                if let Some(life) = by_access {
                    lives[life].looks.push(request);
                }
                let of_user = of_user.get(&request.user).into_iter().flatten();
                for life in of_user.copied() {
                    if request.target.as_deref() == Some(lives[life].id) {
                        lives[life].logouts.push(request);
                    }
                }
            }
            (What::LogoutAll | What::LogoutOthers | What::Leave, _, by_access) => {
                for life in of_user.get(&request.user).into_iter().flatten() {
                    let is_kept = request.what == What::LogoutOthers && Some(*life) == by_access;
                    if !is_kept {
                        lives[*life].logouts.push(request);
                    }
                }
            }
            (What::Me | What::Live | What::List, _, Some(life)) => lives[life].looks.push(request),
            (What::Reauthenticate, _, Some(life)) => {
                let got = request.got.as_ref().and_then(|got| place(got.token));
                let made = got.filter(|(of, _)| *of == life).map(|(_, generation)| generation);
                if let Some(before) = made.and_then(|made| made.checked_sub(1)) {
                    lives[life].refreshes[before].push(request);
                }
                if matches!(request.answer, Answer::Done | Answer::Refused) {
                    lives[life].looks.push(request);
                } else if request.is_in_doubt() {
                    in_doubt.push((life, request));
                }
            }
            _ => {}
        }
    }
    // It may have used up any generation that there was.
    for (life, request) in in_doubt {
        let life = &mut lives[life];
        let may_be_used = |generation: &usize| {
            let is_made = generation
                .checked_sub(1)
                .is_none_or(|before| life.first_use(before) <= life.server.made_by(request));
            is_made && request.sent <= life.used_surely(*generation, NEVER)
        };
        let used: Vec<_> = (0..life.tokens.len()).filter(may_be_used).collect();
        for generation in used {
            life.refreshes[generation].push(request);
        }
    }
    places
}

impl<'l> Life<'l> {
    fn begin(
        server: &'l Server,
        login: &'l Request,
        successors: &HashMap<u64, BTreeSet<u64>>,
        reauthenticated: &HashMap<&str, BTreeMap<usize, BTreeSet<u64>>>,
    ) -> Option<Self> {
        let got = login.got.as_ref().filter(|_| login.what == What::Login)?;
        let reauthenticated = reauthenticated.get(&*got.session);
        let mut tokens = vec![BTreeSet::from([got.token])];
        let mut known = BTreeSet::from([got.token]);
        while let Some(last) = tokens.last() {
            let next = last.iter().filter_map(|token| successors.get(token)).flatten();
            // A reauthentication presents no token, so that its own says where it belongs.
            let others = reauthenticated.and_then(|all| all.get(&tokens.len())).into_iter();
            let next = next.chain(others.flatten());
            // A token that follows itself is another rule's breach, and not a reason to go on for
            // ever.
            let next: BTreeSet<u64> = next.copied().filter(|token| known.insert(*token)).collect();
            // A reauthentication may come behind a generation that no client got.
            let is_last =
                reauthenticated.is_none_or(|all| all.range(tokens.len() + 1..).next().is_none());
            if next.is_empty() && is_last {
                break;
            }
            tokens.push(next);
        }
        Some(Self {
            server,
            id: &got.session,
            user: login.user,
            login,
            refreshes: vec![Vec::new(); tokens.len()],
            tokens,
            logouts: Vec::new(),
            looks: Vec::new(),
            last_seen: login.sent,
            evictors: Vec::new(),
            deaths: Vec::new(),
        })
    }

    pub(super) fn all_refreshes(&self) -> impl Iterator<Item = (usize, &'l Request)> {
        let of_generation = self.refreshes.iter().enumerate();
        of_generation.flat_map(|(generation, all)| all.iter().map(move |one| (generation, *one)))
    }

    /// From when on a generation is known to be used up, by all that is certain to be there at
    /// `at`.
    pub(super) fn used_surely(&self, generation: usize, at: Micros) -> Micros {
        // A later generation shows it too, where the rotation itself may be lost.
        let all = self.refreshes.iter().skip(generation).flatten();
        let sure = all.filter(|request| request.is_done() && !self.server.may_be_lost(request, at));
        sure.map(|request| request.ended).min().unwrap_or(NEVER)
    }

    /// From when on a generation can be used up.
    pub(super) fn used_maybe(&self, generation: usize) -> Micros {
        let made = self.may_have_used(generation).map(|request| self.server.made(request).0);
        self.server.moving_from(made.min().unwrap_or(NEVER))
    }

    /// The requests that can have used up a generation.
    fn may_have_used(&self, generation: usize) -> impl Iterator<Item = &'l Request> {
        let all = self.refreshes.get(generation).into_iter().flatten().copied();
        all.filter(|request| self.may_have_done(request))
    }

    /// When a request was sent for the first time that can have used up a generation.
    pub(super) fn first_use(&self, generation: usize) -> Micros {
        self.may_have_used(generation).map(|request| request.sent).min().unwrap_or(NEVER)
    }

    fn may_have_done(&self, request: &Request) -> bool {
        request.is_done() || self.server.is_in_doubt(request)
    }

    /// How many rotations may have been lost after they were acknowledged, and made again.
    pub(super) fn rotations_to_lose(&self) -> usize {
        (0..self.refreshes.len()).map(|generation| self.losses_of_use(generation).len()).sum()
    }

    /// The losses that may have taken the use of a generation.
    fn losses_of_use(&self, generation: usize) -> BTreeSet<Loss> {
        let uses = self.may_have_used(generation);
        uses.flat_map(|request| self.server.losses_of(request)).collect()
    }

    /// Whether the use of a generation may have been lost between the answers to two requests, so
    /// that it was used once more, with the key of another time.
    pub(super) fn may_be_made_again(
        &self,
        generation: usize,
        one: &Request,
        other: &Request,
    ) -> bool {
        let is_between = |loss: Loss| {
            let may_be_before = |request: &Request| request.sent <= loss.until;
            let may_be_after = |request: &Request| loss.since <= request.ended;
            (may_be_before(one) && may_be_after(other))
                || (may_be_before(other) && may_be_after(one))
        };
        self.server.settings.rotates_keys
            && self.losses_of_use(generation).into_iter().any(is_between)
    }

    /// When a generation was made.
    pub(super) fn made(&self, generation: usize, at: Micros) -> When {
        generation.checked_sub(1).map_or(When::of(self.login), |before| self.used(before, at))
    }

    /// When a generation was used up, by the clock of the server that did it.
    pub(super) fn used(&self, generation: usize, at: Micros) -> When {
        let maybe = self.used_maybe(generation);
        // An answer before that is another rule's breach.
        let span = (maybe, self.used_surely(generation, at).max(maybe));
        let uses = self.may_have_used(generation);
        let by = uses.map(|request| Hosts::one(request.server)).fold(Hosts::NONE, Hosts::and);
        // The store adds its wait to the time at which the token was presented.
        let read_from = Some(self.first_use(generation));
        When { span, by: by.or_all(), read_from }
    }

    /// Whether a presentation cannot be a retry, whatever happened to the requests in doubt.
    pub(super) fn is_reuse(&self, generation: usize, request: &Request) -> bool {
        let Server { settings, clock, .. } = self.server;
        let used = self.used(generation, request.ended);
        let (presented, (judged, _)) = (self.server.presented(request), self.server.made(request));
        // Without a grace the clocks do not matter, and no presentation is early enough.
        let is_late = if settings.grace == 0 {
            used.span.1 < judged
        } else {
            used.span.1 < request.sent && clock.passed(seconds(settings.grace), used, presented)
        };
        is_late || self.used_surely(generation + 1, request.ended) < judged
    }

    /// Whether a presentation may be no retry: it may have come later than the grace after the
    /// rotation's commit, which the earliest request that can have brought it about bounds from
    /// below, and the end of a stall.
    pub(super) fn may_be_reuse(&self, generation: usize, request: &Request) -> bool {
        let Server { settings, clock, .. } = self.server;
        // A request in doubt may have been judged later than its client waited for the answer.
        let judged = self.server.made_by(request);
        let used = self.used(generation, judged);
        let (maybe, surely) = used.span;
        let grace = seconds(settings.grace) - self.server.unnoticed();
        let used = When { span: (maybe, surely.min(judged)), ..used };
        let mut presented = self.server.presented(request);
        if !settings.margins.is_exact {
            presented.span.1 = judged;
        }
        let is_late = if settings.grace == 0 {
            maybe < judged
        } else {
            maybe < presented.span.1 && clock.may_have_passed(grace, used, presented)
        };
        let is_old = self.used_maybe(generation + 1) < judged;
        (request.answer == Answer::Refused || self.server.is_in_doubt(request))
            && (is_late || is_old)
    }

    /// Whether anything else than a reuse may have ended it before `at`, by the clock of a server.
    pub(super) fn may_be_ended_otherwise(&self, at: Micros, by: Hosts) -> bool {
        self.may_be_gone(at, by) || self.evictors.iter().any(|login| login.sent < at)
    }

    /// Whether a logout, its age or a failover may have ended it before `at`.
    pub(super) fn may_be_gone(&self, at: Micros, by: Hosts) -> bool {
        let is_logged_out =
            self.logouts.iter().any(|logout| self.may_have_done(logout) && logout.sent < at);
        is_logged_out || self.may_be_expired(at, by) || self.server.may_be_lost(self.login, at)
    }

    /// Whether a reuse may have ended it before `at`.
    pub(super) fn may_be_reused(&self, at: Micros) -> bool {
        self.all_refreshes().any(|(generation, request)| {
            request.sent < at && self.may_be_reuse(generation, request)
        })
    }

    /// Whether its time may have been over at a moment before `at`, by the clock of the server that
    /// was asked, or by that of a store, which may have removed it then. A store removes nothing
    /// that is not over by its own clock.
    pub(super) fn may_be_expired(&self, at: Micros, by: Hosts) -> bool {
        let Server { settings: Settings { margins, .. }, clock, .. } = self.server;
        let by = by.and(self.server.stores());
        let is_idle = |generation| {
            let made = self.made(generation, at);
            let begun = made.span.0;
            // As long as it was the newest.
            let until = self.used_surely(generation, at).min(at);
            let swept = When::new((begun.saturating_sub(margins.sweep), until.max(begun)), by);
            let lifetime = self.server.idle_lifetime(self.login) - self.server.unnoticed();
            begun < at && clock.may_have_passed(lifetime, made, swept)
        };
        let ever = When::new((self.login.sent, at), by);
        let lifetime = self.server.lifetime(self.login);
        clock.may_have_passed(lifetime, When::of(self.login), ever)
            // A request in doubt may have made one more generation than was seen.
            || (0..=self.tokens.len()).any(is_idle)
    }

    /// Whether anything that was asked may have ended it before `at`, by the clock of a server.
    pub(super) fn may_be_ended(&self, at: Micros, by: Hosts) -> bool {
        self.may_be_reused(at) || self.may_be_ended_otherwise(at, by)
    }

    /// Whether a token may have been refused though its session lives: its key is retired, or the
    /// store has lost a generation before it, and is not to trust the token.
    pub(super) fn may_be_refused_alive(&self, generation: usize, request: &Request) -> bool {
        let Server { settings, clock, keyring, .. } = self.server;
        let is_lost = |before: usize| {
            self.losses_of_use(before).into_iter().any(|loss| loss.since <= request.ended)
        };
        keyring.may_refuse(request, clock)
            || (settings.refuses_ahead && (0..generation).any(is_lost))
    }

    /// Whether there may be a reason to refuse a token of this generation.
    pub(super) fn may_be_refused(&self, generation: usize, request: &Request) -> bool {
        self.may_have_ended_for(request) || self.may_be_refused_alive(generation, request)
    }

    /// Whether anything that was asked may have ended it before this was answered.
    pub(super) fn may_have_ended_for(&self, request: &Request) -> bool {
        self.may_be_ended(request.ended, Hosts::one(request.server))
            || self.may_be_expired_for(request)
    }

    /// Whether its time may have been over when a request was presented, by a clock that was set
    /// back before another request moved its end.
    pub(super) fn may_be_expired_for(&self, request: &Request) -> bool {
        let Server { clock, .. } = self.server;
        let presented = self.server.presented(request);
        let lifetime = self.server.idle_lifetime(self.login) - self.server.unnoticed();
        (0..self.tokens.len()).any(|generation| {
            let made = self.made(generation, request.ended);
            request.sent <= self.used_surely(generation, request.ended)
                && clock.may_have_passed(lifetime, made, presented)
        })
    }

    /// Whether its idle lifetime had passed for certain when something was asked.
    pub(super) fn is_idle(&self, asked: When) -> bool {
        let (clock, lifetime) = (&self.server.clock, self.server.idle_lifetime(self.login));
        let uses = self.all_refreshes().map(|(_, request)| request);
        let mut uses = uses.filter(|request| self.may_have_done(request)).chain([self.login]);
        uses.all(|request| clock.passed(lifetime, self.server.made_when(request), asked))
    }

    fn last_seen(&self, lists: &[&Request]) -> Micros {
        let refreshes = self.all_refreshes().map(|(_, request)| request);
        let looks = self.looks.iter().copied().filter(|look| look.what != What::Me);
        let lists = lists.iter().copied();
        let lists = lists.filter(|list| list.listed.iter().any(|id| id == self.id));
        let seen = refreshes.chain(looks).chain(lists).filter(|request| request.is_done());
        seen.map(|request| request.sent).max().unwrap_or(self.login.sent)
    }

    /// When one of its tokens was first refused, whatever for.
    pub(super) fn refused_at(&self) -> Option<Micros> {
        let refreshes = self.all_refreshes();
        let refreshes = refreshes
            .filter(|(generation, request)| !self.may_be_refused_alive(*generation, request));
        let refreshes = refreshes.map(|(_, request)| request);
        let asked = refreshes.chain(self.looks.iter().copied());
        let refused = asked.filter(|request| request.answer == Answer::Refused);
        refused.map(|request| request.ended).min()
    }

    /// Whether it had ended for one of these causes before something was asked.
    pub(super) fn is_over(&self, request: &Request, causes: &[Cause]) -> bool {
        self.is_over_within(self.server.presented(request), self.server.made(request), causes)
    }

    /// The same, when it was presented and made within these times.
    pub(super) fn is_over_within(&self, asked: When, made: Span, causes: &[Cause]) -> bool {
        let (clock, lifetime) = (&self.server.clock, self.server.lifetime(self.login));
        let is_expired =
            causes.contains(&Cause::Expiry) && clock.passed(lifetime, When::of(self.login), asked);
        let mut deaths = self.deaths.iter().filter(|death| causes.contains(&death.cause));
        is_expired
            || deaths.any(|death| death.covers(if death.is_by_age { asked.span } else { made }))
    }

    /// Whether it had certainly ended within these times, and the log of ended sessions has that.
    pub(super) fn is_in_the_log(&self, span: Span) -> bool {
        self.deaths.iter().any(|death| death.is_logged && death.covers(span))
    }
}
