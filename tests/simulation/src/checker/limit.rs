//! R20: a user has at most so many live sessions, however many logins run at once. A login beyond
//! them ends the oldest, or is refused.
//!
//! A login adds its session at one moment between its request and its answer, and in the same step
//! ends those that have no room. The log bounds which sessions were live at that moment. A session
//! certainly was if a client saw it alive after the answer, and may have been unless it had
//! certainly ended before. One that had expired by the clock of the login took no room, though it
//! may be alive again once that clock is set back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ptr,
};

use super::{
    clock::{Hosts, When},
    rules::{ENDED, told},
    server::{Loss, Server},
    story::{Life, Story},
};
use crate::log::{Answer, Log, Micros, Request, What};

/// Two logins of the same millisecond are in the order of their ids.
const TIE: i64 = 1_000;

/// A limit, and the sessions that it counts.
pub(super) struct Limit<'s, 'l> {
    server: &'l Server,
    /// Those of each user.
    sessions: HashMap<u32, Vec<Begun<'s, 'l>>>,
}

/// A session that a login has begun, or may have.
struct Begun<'s, 'l> {
    login: &'l Request,
    /// None if no client got its tokens.
    life: Option<&'s Life<'l>>,
}

impl<'s, 'l> Limit<'s, 'l> {
    pub(super) fn of(story: &'s Story<'l>) -> Self {
        let server = story.server;
        let with_tokens =
            story.lives.iter().map(|life| Begun { login: life.login, life: Some(life) });
        let logins = story.log.requests.iter().filter(|request| request.what == What::Login);
        let without = logins.filter(|login| is_without_tokens(server, login));
        let without = without.map(|login| Begun { login, life: None });
        let mut sessions: HashMap<u32, Vec<_>> = HashMap::new();
        for begun in with_tokens.chain(without) {
            sessions.entry(begun.login.user).or_default().push(begun);
        }
        Self { server, sessions }
    }

    /// How many sessions there may be with that of a login.
    fn max(&self, login: &Request) -> usize {
        login.terms.max_sessions.or(self.server.settings.max_sessions).unwrap_or(usize::MAX)
    }

    /// The logins that end other sessions where there is no room, by their users.
    pub(super) fn logins_that_evict(log: &'l Log) -> HashMap<u32, Vec<&'l Request>> {
        let mut found: HashMap<u32, Vec<_>> = HashMap::new();
        let has_limit =
            |login: &Request| log.settings.max_sessions.or(login.terms.max_sessions).is_some();
        let logins = log.requests.iter().filter(|request| request.what == What::Login);
        for login in logins.filter(|login| !login.keeps_others && has_limit(login)) {
            found.entry(login.user).or_default().push(login);
        }
        found
    }

    fn of_user(&self, user: u32) -> &[Begun<'s, 'l>] {
        self.sessions.get(&user).map_or(&[], Vec::as_slice)
    }

    /// The logins that may have ended the session of this one to make room for theirs: it may have
    /// been live, with as many younger sessions as fill the room.
    pub(super) fn evictors(&self, evicted: &Request) -> Vec<&'l Request> {
        let sessions = self.of_user(evicted.user);
        let may_evict = |login: &Request| {
            let may_be_live = |one: &&Begun<'_, '_>| one.may_be_live(self.server, login);
            let live: Vec<_> = sessions.iter().filter(may_be_live).collect();
            let younger = live.iter().filter(|one| {
                !one.is_of(login) && !one.is_of(evicted) && self.may_be_younger(one.login, evicted)
            });
            live.iter().any(|one| one.is_of(evicted)) && younger.count() + 1 >= self.max(login)
        };
        let logins = sessions.iter().map(|one| one.login);
        let logins = logins.filter(|login| !login.keeps_others && !ptr::eq(*login, evicted));
        logins.filter(|login| may_evict(login)).collect()
    }

    /// The logins after which this session cannot be live: as many others as fill the room are.
    pub(super) fn ends(&self, life: &Life<'_>) -> Vec<&'l Request> {
        let sessions = self.of_user(life.user);
        let has_no_room = |login: &Request| {
            let others = sessions.iter().filter(|one| !one.is_of(life.login));
            others.filter(|one| one.is_live(login.sent, login)).count() + 1 >= self.max(login)
        };
        let logins = sessions.iter().map(|one| one.login);
        logins
            .filter(|login| login.is_done() && life.login.ended < login.sent)
            .filter(|login| self.is_kept(login) && has_no_room(login))
            .collect()
    }

    /// Whether a failover can have lost neither what a login did nor what was before it.
    fn is_kept(&self, login: &Request) -> bool {
        self.server.losses_of(login).next().is_none()
    }

    fn may_be_younger(&self, one: &Request, other: &Request) -> bool {
        let clock = &self.server.clock;
        clock.latest(When::of(one)) + TIE >= clock.earliest(When::of(other))
    }
}

/// Whether a login may have begun a session though no client got its tokens: one that is in doubt,
/// or whose session had ended before the answer.
fn is_without_tokens(server: &Server, login: &Request) -> bool {
    server.is_in_doubt(login) || login.answer == Answer::Refused
}

impl Begun<'_, '_> {
    fn is_of(&self, login: &Request) -> bool {
        ptr::eq(self.login, login)
    }

    /// Whether it may have been live when `login` was made.
    fn may_be_live(&self, server: &Server, login: &Request) -> bool {
        let (made, idle) = (server.made(login), server.idle_lifetime(self.login));
        let at_login = When::of(login);
        let has_ended = if let Some(life) = self.life {
            life.is_over_within(When::new(made, at_login.by), made, &ENDED)
                || life.is_idle(at_login)
        } else {
            (self.login.answer == Answer::Refused && self.login.ended < login.sent)
                || server.clock.passed(idle, server.made_when(self.login), at_login)
        };
        self.login.sent < made.1 && !has_ended
    }

    /// Whether it had certainly begun at a moment, and was live when `login` was made.
    fn is_live(&self, at: Micros, login: &Request) -> bool {
        self.life.is_some_and(|life| {
            life.login.ended <= at
                && login.ended <= life.last_seen
                // Of logins that overlap, another may be the one that counted, by the clock of
                // another server.
                && !life.may_be_expired(login.ended, Hosts::ALL)
        })
    }
}

pub(super) fn too_many(story: &Story<'_>) -> Vec<String> {
    let limit = Limit::of(story);
    let mut found = Vec::new();
    for life in story.lives.iter().filter(|life| limit.is_kept(life.login)) {
        let (login, own) = (life.login, Begun { login: life.login, life: Some(life) });
        // Of logins that overlap, the last to be made counted the sessions of all others: if all of
        // them are live afterwards.
        let own_is_live = own.is_live(login.ended, login);
        let until = if own_is_live { login.ended } else { login.sent };
        let others = limit.of_user(life.user).iter();
        let others = others.filter(|one| !one.is_of(login) && one.is_live(until, login));
        let others: Vec<_> = others.collect();
        // By the limit of that one.
        let at_once = others.iter().map(|one| one.login).filter(|other| login.sent <= other.ended);
        let max = at_once.chain([login]).map(|login| limit.max(login)).max().unwrap_or(usize::MAX);
        if others.len() >= max {
            found.push(format!("{}, beside {} live sessions", told(life, login), others.len()));
        }
    }
    for list in story.lists.values().flatten() {
        let sessions = Listed::of(&limit, list);
        if sessions.live() > sessions.max {
            let Request { user, sent, .. } = list;
            found.push(format!("{} sessions of user {user} are listed at {sent}", sessions.live()));
        }
    }
    found
}

/// The sessions that a user was shown, all of them live at one moment.
struct Listed {
    /// Those that had not expired since they began.
    known: usize,
    /// Those of which no client got the tokens.
    unknown: usize,
    /// The logins that may have begun these.
    logins: usize,
    /// Whether one of these sessions may have expired since it began.
    may_be_expired: bool,
    /// How many there may be, whichever of them was the last to begin.
    max: usize,
}

impl Listed {
    fn of(limit: &Limit<'_, '_>, list: &Request) -> Self {
        let sessions = limit.of_user(list.user);
        let lives = sessions.iter().filter_map(|one| one.life);
        let lives: Vec<_> =
            lives.filter(|life| list.listed.iter().any(|id| id == life.id)).collect();
        let known =
            lives.iter().filter(|life| !life.may_be_expired(list.ended, Hosts::ALL)).count();
        let logins = sessions.iter().filter(|one| one.life.is_none()).map(|one| one.login);
        let logins: Vec<_> = logins.filter(|login| login.sent < list.ended).collect();
        let Server { clock, .. } = limit.server;
        let may_be_expired = logins.iter().any(|login| {
            let seen = When::new((login.sent, list.ended), Hosts::ALL);
            let idle = limit.server.idle_lifetime(login);
            clock.may_have_passed(idle, limit.server.made_when(login), seen)
        });
        let unknown = list.listed.len() - lives.len();
        let all = lives.iter().map(|life| life.login).chain(logins.iter().copied());
        let max = all.map(|login| limit.max(login)).max().unwrap_or(usize::MAX);
        Self { known, unknown, logins: logins.len(), may_be_expired, max }
    }

    /// How many were live at once when the last of them began.
    fn live(&self) -> usize {
        self.known + if self.may_be_expired { 0 } else { self.unknown }
    }
}

/// By what the server logged. It says nothing of a session that had to go for a login whose answer
/// from the store was lost.
pub(super) fn evicted_for_a_reason(story: &Story<'_>) -> Vec<String> {
    let mut evictions: BTreeMap<&str, usize> = BTreeMap::new();
    for said in story.log.said.iter().filter(|said| said.reason.as_deref() == Some("limit")) {
        *evictions.entry(&said.session).or_default() += 1;
    }
    let mut found = Vec::new();
    for life in &story.lives {
        let evictions = evictions.get(life.id).copied().unwrap_or_default();
        // The end of the session may be lost, and come again.
        let lost = life.evictors.iter().flat_map(|login| story.server.losses_of(login));
        let lost = lost.collect::<BTreeSet<Loss>>().len();
        let most = life.evictors.len().min(1 + lost);
        let refused = life.refused_at();
        let is_certain = refused
            .is_some_and(|at| !life.may_be_reused(at) && !life.may_be_gone(at, Hosts::ALL))
            && !life.evictors.is_empty()
            && life.evictors.iter().all(|login| {
                login.is_done()
                    && !story.server.is_excused(login, 0)
                    && !story.server.may_be_unlogged(login)
            });
        if evictions > most || (is_certain && evictions == 0) {
            found.push(format!(
                "session {} of user {}: {evictions} evictions for {} logins that may have needed its room",
                life.id,
                life.user,
                life.evictors.len()
            ));
        }
    }
    found
}

/// A login that ends no other session, and leaves no session itself.
pub(super) fn refused_for_a_reason(story: &Story<'_>) -> Vec<String> {
    let limit = Limit::of(story);
    let mut found = Vec::new();
    for login in story.log.requests.iter().filter(|request| request.answer == Answer::NoRoom) {
        let sessions = limit.of_user(login.user).iter();
        let live = sessions.filter(|one| one.may_be_live(limit.server, login)).count();
        let Request { user, sent, .. } = login;
        if !login.keeps_others {
            found.push(format!(
                "a login of user {user} at {sent} was refused, and was to end another session"
            ));
        } else if live < limit.max(login) {
            found.push(format!(
                "a login of user {user} at {sent} had no room beside {live} sessions"
            ));
        }
    }
    for list in story.lists.values().flatten() {
        let Listed { unknown, logins, .. } = Listed::of(&limit, list);
        if unknown > logins {
            let Request { user, sent, .. } = list;
            found.push(format!(
                "{unknown} sessions of user {user} that no login began are listed at {sent}"
            ));
        }
    }
    found
}
