//! The rules, each a function of the story: what breaks it comes out. Those about stalls, failovers
//! and answers are in `outages`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    clock::{Hosts, When, micros, seconds},
    keys,
    limit::{self, Limit},
    outages,
    server::Loss,
    story::{Cause, Life, Story},
};
use crate::log::{Answer, Got, Request, What};

pub(super) type Rule = fn(&Story<'_>) -> Vec<String>;

pub(super) const RULES: [(&str, Rule); 32] = [
    ("R1 all presentations of a token get one successor", one_successor),
    ("R1 a token is used up once", used_up_once),
    ("R2 within the grace a token is good again", good_within_the_grace),
    ("R3 a reuse is refused, and ends the session", reuse_ends),
    ("R3 a reuse is reported once", reuse_is_told),
    ("R4 nothing is replayed of a session that has ended", no_replay_after_the_end),
    ("R5 a forged token is refused, and does nothing", forged),
    ("R6 the store loses nothing", nothing_lost),
    ("R7 an expired session is refused", over),
    ("R8 no token is good for longer than it should be", not_prolonged),
    ("R9 tokens name their session and its user", owners),
    ("R9 who is gone is refused", gone),
    ("R9 a session is denied only for a reason", denied_for_a_reason),
    ("R10 after a logout no refresh succeeds", logged_out),
    ("R11 nothing brings a session back", not_back),
    ("R12 a session ends for a reason, and every answer is one of those foreseen", for_a_reason),
    ("R6 no change is acknowledged while the store cannot change", outages::acknowledged_in_vain),
    ("R13 the successor of a token is made with a key of its time", keys::current_key),
    ("R13 a token of a retired key is refused after its time", keys::retired_key),
    ("R14 no session begins under settings that cannot be safe", safe_settings),
    ("R15 no log shows a token or a key", nothing_shown),
    ("R16 after a logout is answered no server shows the session alive", outages::shown_alive),
    ("R16 the server gets on by itself soon after each fault", outages::gets_on),
    ("R17 a request that failed has used nothing up", outages::used_up_by_a_failure),
    ("R18 every answer comes in time", outages::late),
    ("R18 no answer is a 500", outages::failed),
    ("R19 a second after a session has ended its access tokens are refused", refused_in_time),
    ("R20 no more sessions of a user are live than the limit allows", limit::too_many),
    ("R20 a session is evicted for a login that needs its room, once", limit::evicted_for_a_reason),
    (
        "R20 a login is refused where there is no room, and begins nothing",
        limit::refused_for_a_reason,
    ),
    ("R21 a logout ends what an authentic token names", outages::logout_without_effect),
    ("R21 a logout of nothing is not a success", outages::logout_of_nothing),
];

/// After any of them no request finds the session.
pub(super) const ENDED: [Cause; 6] =
    [Cause::Logout, Cause::Reuse, Cause::Limit, Cause::Expiry, Cause::Removal, Cause::Refusal];

pub(super) fn told(life: &Life<'_>, request: &Request) -> String {
    let Request { sent, ended, user, who, what, answer, token, .. } = request;
    format!(
        "session {} of user {user}: {who:?} {what:?} of token {token:?} from {sent} to {ended} was {answer:?}",
        life.id
    )
}

/// The refreshes that break something.
pub(super) fn refreshes(
    story: &Story<'_>,
    is_broken: impl Fn(&Life<'_>, usize, &Request) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for life in &story.lives {
        for (generation, request) in life.all_refreshes() {
            if is_broken(life, generation, request) {
                found.push(told(life, request));
            }
        }
    }
    found
}

fn one_successor(story: &Story<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (number, life) in story.lives.iter().enumerate() {
        for (generation, presentations) in life.refreshes.iter().enumerate() {
            let with_tokens = presentations.iter().filter_map(|it| Some((it, it.got.as_ref()?)));
            let with_tokens: Vec<_> = with_tokens.collect();
            for (place, (request, got)) in with_tokens.iter().enumerate() {
                let mut before = with_tokens.iter().take(place);
                let is_other = |(one, other): &&(&&Request, &Got)| {
                    other.token != got.token && !life.may_be_made_again(generation, one, request)
                };
                if let Some((_, other)) = before.find(is_other) {
                    let (one, other) = (got.token, other.token);
                    found.push(format!("{}, with {one} and with {other}", told(life, request)));
                }
                let places = story.places.get(&got.token).map_or(&[][..], Vec::as_slice);
                if places != [(number, generation + 1)] {
                    found.push(format!(
                        "{}, with {}, which is old",
                        told(life, request),
                        got.token
                    ));
                }
            }
        }
        if let Some(token) = life.tokens[0].iter().find(|token| story.places[token].len() > 1) {
            found.push(format!("token {token} of a login was given before"));
        }
    }
    found
}

/// By what the server logged: as many rotations as generations, but for answers that were lost, and
/// rotations that may have been made again.
fn used_up_once(story: &Story<'_>) -> Vec<String> {
    let mut rotations: BTreeMap<&str, usize> = BTreeMap::new();
    for said in &story.log.said {
        if said.message == "rotated" || said.message == "the store was behind" {
            *rotations.entry(&said.session).or_default() += 1;
        }
    }
    let mut found = Vec::new();
    for life in &story.lives {
        let said = rotations.get(life.id).copied().unwrap_or_default();
        let known = life.tokens.len() - 1;
        let in_doubt =
            life.all_refreshes().filter(|(_, request)| story.server.is_in_doubt(request));
        let in_doubt: Vec<usize> = in_doubt.map(|(generation, _)| generation).collect();
        let most = known + usize::from(in_doubt.contains(&known)) + life.rotations_to_lose();
        let unlogged = life
            .all_refreshes()
            .filter(|(_, request)| story.server.may_be_unlogged(request))
            .count();
        // Each of them may have used up a token, or found one used up, and reports its own event.
        let reauthenticated = life.all_refreshes().map(|(_, request)| request);
        let reauthenticated =
            reauthenticated.filter(|one| one.what == What::Reauthenticate && one.is_done()).count();
        if said > most || said + reauthenticated + in_doubt.len() + unlogged < known {
            found.push(format!(
                "session {}: {known} tokens were used up, in {said} rotations; {} requests in doubt",
                life.id,
                in_doubt.len()
            ));
        }
    }
    found
}

fn good_within_the_grace(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |life, generation, request| {
        request.answer == Answer::Refused
            && life.used_maybe(generation) < request.ended
            && !life.may_be_refused(generation, request)
    })
}

fn reuse_ends(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |life, generation, request| {
        let is_reuse = life.is_reuse(generation, request);
        let is_after = life.is_over(request, &[Cause::Reuse]);
        request.is_done() && (is_reuse || is_after)
    })
}

/// At most once, and never without one; and surely where nothing else explains the refusal.
fn reuse_is_told(story: &Story<'_>) -> Vec<String> {
    let mut alarms: BTreeMap<&str, usize> = BTreeMap::new();
    for said in story.log.said.iter().filter(|said| said.message == "reuse detected") {
        *alarms.entry(&said.session).or_default() += 1;
    }
    let mut found = Vec::new();
    for life in &story.lives {
        let alarms = alarms.get(life.id).copied().unwrap_or_default();
        let possible: Vec<_> = life
            .all_refreshes()
            .filter(|(generation, request)| life.may_be_reuse(*generation, request))
            .collect();
        let first = possible
            .iter()
            .filter(|(generation, request)| {
                request.answer == Answer::Refused
                    && life.is_reuse(*generation, request)
                    && !life.may_be_refused_alive(*generation, request)
                    && !life.may_be_expired_for(request)
            })
            .map(|(_, request)| request.ended)
            .min();
        let is_certain = first.is_some_and(|at| !life.may_be_ended_otherwise(at, Hosts::ALL))
            && !possible.iter().any(|(_, request)| {
                story.server.is_in_doubt(request) || story.server.may_be_unlogged(request)
            });
        // The end of the session may be lost, and come again.
        let losses: BTreeSet<Loss> =
            possible.iter().flat_map(|(_, request)| story.server.losses_of(request)).collect();
        let most = possible.len().min(1 + losses.len());
        if alarms > most || (is_certain && alarms == 0) {
            found.push(format!(
                "session {}: {alarms} alarms for {} presentations that may be a reuse",
                life.id,
                possible.len()
            ));
        }
    }
    found
}

fn no_replay_after_the_end(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |life, generation, request| {
        request.is_done()
            && life.used_surely(generation, request.ended) < request.sent
            && life.is_over(request, &ENDED)
    })
}

/// Without a look at the store, so that its absence does not show. That it ends nothing is R12.
fn forged(story: &Story<'_>) -> Vec<String> {
    let is_forged = |what| matches!(what, What::Forged | What::FalseLogout);
    let forged = story.log.requests.iter().filter(|request| is_forged(request.what));
    let is_answered = |request: &&Request| {
        let Request { answer, .. } = request;
        !matches!(answer, Answer::Refused | Answer::Broken | Answer::Unsent | Answer::Lost)
    };
    let answered = forged.filter(is_answered);
    answered.map(|request| format!("at {} it was {:?}", request.sent, request.answer)).collect()
}

/// A store that has to catch up with a token has lost what it acknowledged. The token is trusted,
/// or refused, as the settings say.
fn nothing_lost(story: &Story<'_>) -> Vec<String> {
    let unforeseen = if story.server.settings.refuses_ahead {
        "the store was behind"
    } else {
        "the store is behind"
    };
    let lives = story.lives.iter().filter(|life| life.rotations_to_lose() > 0);
    let excused: BTreeSet<&str> = lives.map(|life| life.id).collect();
    let said = story.log.said.iter().filter(|said| said.message.starts_with("the store "));
    let said = said.filter(|said| !excused.contains(&*said.session) || said.message == unforeseen);
    said.map(|said| format!("session {}: {}", said.session, said.message)).collect()
}

/// And under others the servers begin.
fn safe_settings(story: &Story<'_>) -> Vec<String> {
    let settings = &story.server.settings;
    let is_safe = |idle: u64, lifetime: u64| {
        let access = settings.access_lifetime;
        access > 0 && settings.grace < access && access <= idle && idle <= lifetime
    };
    let of_server = is_safe(settings.idle_lifetime, settings.session_lifetime);
    let began = story.lives.iter().filter(|life| {
        let terms = &life.login.terms;
        let lifetime = terms.session_lifetime.unwrap_or(settings.session_lifetime);
        let idle = terms.idle_lifetime.unwrap_or(settings.idle_lifetime.min(lifetime));
        !of_server || !is_safe(idle, lifetime)
    });
    let began = began.map(|life| told(life, life.login));
    let refused =
        story.log.said.iter().filter(|said| of_server && said.message == "refused to begin");
    began.chain(refused.map(|_| "a server refused settings that are safe".to_owned())).collect()
}

fn nothing_shown(story: &Story<'_>) -> Vec<String> {
    story.log.leaks.iter().map(|leak| leak.what.clone()).collect()
}

fn over(story: &Story<'_>) -> Vec<String> {
    let mut found = refreshes(story, |life, generation, request| {
        // A session goes on from its first use, whichever client made it; a replay is not a use. A
        // token is judged by the time of its presentation, however long the store stalls after
        // that.
        let made = life.made(generation, request.ended);
        let used = life.used(generation, request.ended);
        let used = When::new((life.first_use(generation), used.span.1), used.by);
        // The store may have lost the rotation that moved its end.
        let idle = story.server.idle_lifetime(life.login);
        let is_idle = story.server.clock.passed(idle, made, used) && life.rotations_to_lose() == 0;
        let is_over = life.is_over(request, &[Cause::Expiry]);
        request.is_done() && (is_idle || is_over)
    });
    let mut ends = HashMap::new();
    for got in story.log.requests.iter().filter_map(|request| request.got.as_ref()) {
        ends.insert(got.access, end(story, got));
    }
    // For a logout it proves the session, whether it has expired or not.
    for request in story.log.requests.iter().filter(|request| request.what != What::Logout) {
        let end = request.access.and_then(|access| ends.get(&access)).copied();
        let clock = &story.server.clock;
        let now = clock.earliest(When::of(request));
        if let Some(end) = end.filter(|end| request.is_done() && end + clock.slack() < now) {
            found.push(format!("an access token that ended at {end} was good at {now}"));
        }
    }
    found
}

/// Of an access token, by the clock of the run before another was set.
fn end(story: &Story<'_>, got: &Got) -> i64 {
    seconds(got.expires_at) - micros(story.server.settings.began)
}

fn not_prolonged(story: &Story<'_>) -> Vec<String> {
    let settings = &story.server.settings;
    let mut found = Vec::new();
    // Since something happened, with the fraction that a time in a token does not have.
    let mut may_last = |request: &Request, since: &Request, lifetime: i64| {
        let Some(got) = &request.got else { return };
        let clock = &story.server.clock;
        let latest = clock.latest(When::of(since)) + lifetime + seconds(1) + clock.slack();
        let end = end(story, got);
        if end > latest {
            found.push(format!("access token {} ends at {end}, after {latest}", got.access));
        }
    };
    for request in &story.log.requests {
        may_last(request, request, seconds(settings.access_lifetime));
    }
    for life in &story.lives {
        for (_, request) in life.all_refreshes() {
            may_last(request, life.login, story.server.lifetime(life.login));
        }
    }
    found
}

fn owners(story: &Story<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut subjects: HashMap<u32, &str> = HashMap::new();
    for request in &story.log.requests {
        let Some(got) = &request.got else { continue };
        let subject = *subjects.entry(request.user).or_insert(&got.subject);
        if subject != got.subject {
            found.push(format!("user {} got a token of another's", request.user));
        }
    }
    for life in &story.lives {
        for (_, request) in life.all_refreshes() {
            if request.got.as_ref().is_some_and(|got| got.session != life.id) {
                found.push(format!("{}, with a token of another session", told(life, request)));
            }
            let is_forgotten = life.login.terms.is_forgotten;
            if request.got.as_ref().is_some_and(|got| got.is_forgotten != is_forgotten) {
                found.push(format!("{}, and is remembered otherwise", told(life, request)));
            }
        }
    }
    let mut users: HashMap<&str, u32> = HashMap::new();
    for (subject, user) in subjects.iter().map(|(user, subject)| (*subject, *user)) {
        if let Some(other) = users.insert(subject, user) {
            found.push(format!("users {user} and {other} are one"));
        }
    }
    found
}

fn gone(story: &Story<'_>) -> Vec<String> {
    alive(story, &[Cause::Removal])
}

/// The server asks for the account at each refresh, and denies that of an account that is gone.
fn denied_for_a_reason(story: &Story<'_>) -> Vec<String> {
    let said = story.log.said.iter().filter(|said| said.message == "denied");
    let told_of: BTreeSet<&str> = said.map(|said| &*said.session).collect();
    let denied = story.lives.iter().filter(|life| told_of.contains(life.id));
    let denied = denied.filter(|life| !life.logouts.iter().any(|it| it.what == What::Leave));
    denied
        .map(|life| format!("{}, and was denied without a reason", told(life, life.login)))
        .collect()
}

fn logged_out(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |life, _, request| {
        request.is_done() && life.is_over(request, &[Cause::Logout])
    })
}

fn not_back(story: &Story<'_>) -> Vec<String> {
    alive(story, &ENDED)
}

/// The answers to anything that is alive though it had ended before for one of these causes.
fn alive(story: &Story<'_>, causes: &[Cause]) -> Vec<String> {
    let mut found =
        refreshes(story, |life, _, request| request.is_done() && life.is_over(request, causes));
    found.extend(shown(story, causes));
    found
}

/// The answers that show a session alive which had ended before for one of these causes.
pub(super) fn shown(story: &Story<'_>, causes: &[Cause]) -> Vec<String> {
    let mut found = Vec::new();
    for life in &story.lives {
        let looked = life.looks.iter().filter(|look| look.what != What::Me && look.is_done());
        let late = looked.filter(|look| life.is_over(look, causes));
        found.extend(late.map(|look| told(life, look)));
        for list in lists(story, life) {
            let is_listed = list.listed.iter().any(|id| id == life.id);
            if is_listed && life.is_over(list, causes) {
                found.push(format!("{}, and is listed at {}", told(life, life.login), list.sent));
            }
        }
    }
    found
}

/// The server refuses what it does not know, so that no fault excuses an answer. A session that
/// ends by its age is in no log.
fn refused_in_time(story: &Story<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let max_lag = story.server.settings.margins.max_lag;
    for life in &story.lives {
        for look in life.looks.iter().filter(|look| look.what == What::Me && look.is_done()) {
            let before = (look.sent.saturating_sub(max_lag), look.ended);
            if life.is_in_the_log(before) {
                found.push(told(life, look));
            }
        }
    }
    found
}

/// The lists that its user was given.
fn lists<'s>(story: &Story<'s>, life: &Life<'_>) -> Vec<&'s Request> {
    story.lists.get(&life.user).cloned().unwrap_or_default()
}

fn for_a_reason(story: &Story<'_>) -> Vec<String> {
    let log = story.log;
    let mut found = refreshes(story, |life, generation, request| {
        request.answer == Answer::Refused
            && life.used_maybe(generation) >= request.ended
            && !life.may_be_refused(generation, request)
    });
    for life in &story.lives {
        let looked = life.looks.iter().filter(|look| look.answer == Answer::Refused);
        let absent = life.logouts.iter().filter(|logout| logout.answer == Answer::Absent);
        let looked = looked.chain(absent);
        found.extend(
            looked.filter(|look| !life.may_have_ended_for(look)).map(|look| told(life, look)),
        );
        for list in lists(story, life).iter().filter(|list| life.login.ended < list.sent) {
            let is_listed = list.listed.iter().any(|id| id == life.id);
            if !is_listed && !life.may_have_ended_for(list) {
                found.push(format!(
                    "{}, and is in no list at {}",
                    told(life, life.login),
                    list.sent
                ));
            }
        }
    }
    let ended = log.requests.iter().filter(|one| one.what == What::Login);
    let ended = ended.filter(|login| login.answer == Answer::Refused);
    let ended = ended.filter(|login| !may_end_in_flight(story, login));
    found.extend(ended.map(|login| {
        let Request { user, sent, .. } = login;
        format!("the session of a login of user {user} at {sent} had ended before the answer")
    }));
    let odd = log.requests.iter().filter(|request| is_odd(story, request));
    found.extend(odd.map(|request| {
        let Request { what, sent, answer, note, .. } = request;
        format!("{what:?} at {sent} was {answer:?}: {note:?}")
    }));
    found
}

/// Whether anything may have ended the session of a login before its answer.
fn may_end_in_flight(story: &Story<'_>, login: &Request) -> bool {
    let is_logout = |what| {
        use What::{Leave, LogoutAll, LogoutOthers, LogoutSession};
        matches!(what, LogoutAll | LogoutOthers | LogoutSession | Leave)
    };
    let mut logouts = story.log.requests.iter().filter(|request| {
        request.user == login.user
            && is_logout(request.what)
            && (request.is_done() || story.server.is_in_doubt(request))
    });
    logouts.any(|logout| logout.sent < login.ended && login.sent < story.server.made_by(logout))
        || !Limit::of(story).evictors(login).is_empty()
        || story.server.may_sweep(login)
}

/// Besides those that are odd by themselves: an access token is refused as none that is expired,
/// and its time may not be to come.
fn is_odd(story: &Story<'_>, request: &Request) -> bool {
    let is_of =
        |other: &&Request| other.got.as_ref().is_some_and(|got| Some(got.access) == request.access);
    let may_be_early = |made: &Request| {
        let clock = &story.server.clock;
        clock.earliest(When::of(request)) < clock.latest(When::of(made)) + clock.slack()
    };
    match request.answer {
        Answer::Odd => true,
        Answer::Early => !story.log.requests.iter().filter(is_of).any(may_be_early),
        _ => false,
    }
}
