//! The rules about what a server answers while its store stalls, fails over or is away, and what is
//! left afterwards.

use std::collections::BTreeMap;

use super::{
    clock::Hosts,
    rules::{refreshes, shown, told},
    story::{Cause, Story},
};
use crate::log::{Answer, FaultKind, Request, What};

/// The store holds still, or its file is not the one that will be there: a change that begins and
/// is answered in this time cannot be in it.
pub(super) fn acknowledged_in_vain(story: &Story<'_>) -> Vec<String> {
    let still = |request: &Request| {
        let mut stills = story.server.stills();
        let during = stills.find(|(from, to)| *from <= request.sent && request.ended <= *to);
        during.filter(|_| request.is_done())
    };
    let mut found = refreshes(story, |life, generation, request| {
        // Unless it is a replay.
        let first = life.first_use(generation);
        still(request).is_some_and(|(from, _)| from <= first)
    });
    for life in &story.lives {
        let logouts = life.logouts.iter().copied();
        let logouts = logouts.filter(|logout| {
            still(logout).is_some_and(|(from, _)| {
                life.login.ended < logout.sent && !life.may_be_ended(from, Hosts::ALL)
            })
        });
        let login = Some(life.login).filter(|login| still(login).is_some());
        found.extend(logouts.chain(login).map(|request| told(life, request)));
    }
    found
}

pub(super) fn shown_alive(story: &Story<'_>) -> Vec<String> {
    shown(story, &[Cause::Logout])
}

/// Without a restart, since the server is only restarted where that is the fault.
pub(super) fn gets_on(story: &Story<'_>) -> Vec<String> {
    let (server, soon) = (story.server, story.server.settings.margins.soon);
    let is_failure = |request: &&Request| {
        matches!(request.answer, Answer::Unavailable | Answer::Broken | Answer::Unsent)
    };
    let mut found: Vec<String> = story
        .log
        .requests
        .iter()
        .filter(is_failure)
        .filter(|request| !server.is_excused(request, soon))
        .filter(|request| request.what != What::Login || !server.may_sweep(request))
        .map(|request| {
            let Request { what, answer, sent, ended, .. } = request;
            format!("{what:?} from {sent} to {ended} was {answer:?}, and no fault explains it")
        })
        .collect();
    let is_write = |request: &&Request| {
        matches!(request.what, What::Login | What::Refresh | What::Logout) && request.is_done()
    };
    let end = story.log.requests.iter().map(|request| request.sent).max().unwrap_or_default();
    // The time in which the machine was busy is not a reason. It is added.
    let faults = || server.faults.iter().filter(|fault| fault.kind != FaultKind::Busy);
    for fault in faults() {
        let until = fault.span.1.saturating_add(soon);
        let until = until.saturating_add(server.busy((fault.span.1, until)));
        let after = |one: &&Request| fault.span.1 <= one.sent && one.ended <= until;
        let mut writes = story.log.requests.iter().filter(is_write);
        // A fault that comes right behind it is the reason.
        let is_followed = faults().any(|other| {
            fault.span.1 <= other.span.1 && other.span.0 <= until && fault.span != other.span
        });
        let failures = story.log.requests.iter().filter(is_failure);
        let failures = failures.filter(|one| after(one) && one.what == What::Refresh);
        let mut first = BTreeMap::new();
        // The first one finds an old connection, and ends it.
        let fails_again = |one: &Request| *first.entry(one.server).or_insert(one.ended) <= one.sent;
        let is_bad = !is_followed
            && !writes.any(|one| after(&one))
            && (!server.settings.is_sparse || failures.into_iter().any(fails_again));
        if until < end && is_bad {
            found.push(format!("after {}, until {until}, no write succeeded", fault.what));
        }
    }
    found
}

pub(super) fn used_up_by_a_failure(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |life, generation, request| {
        let mut before = life.refreshes[generation].iter();
        let has_done_nothing =
            |one: &Request| matches!(one.answer, Answer::Failed | Answer::Limited);
        request.answer == Answer::Refused
            && before.any(|one| has_done_nothing(one) && one.ended < request.sent)
            && !life.may_be_refused(generation, request)
    })
}

/// The deadline of each step that the request takes one after another, and a margin for the rest. A
/// refresh reads the session, then rotates, and reads it again where another request was faster; a
/// login whose session is in the store ends it when it fails.
pub(super) fn late(story: &Story<'_>) -> Vec<String> {
    let settings = &story.server.settings;
    let steps = |what| match what {
        What::Me | What::Forged | What::FalseLogout => 0,
        What::Live => 1,
        What::Refresh | What::Login | What::LogoutSession => 3,
        // A read and a rotation, again with each rotation of another request.
        What::Reauthenticate => 4,
        _ => 2,
    };
    let limit = |what| steps(what) * settings.deadline + settings.margin;
    let is_late = |request: &&Request| {
        let busy = story.server.busy(request.span());
        let taken = request.ended.saturating_sub(request.sent).saturating_sub(busy);
        taken > limit(request.what) * 1_000_000
            && !matches!(request.answer, Answer::Unsent | Answer::Lost)
    };
    let late = story.log.requests.iter().filter(is_late);
    late.map(|request| {
        let Request { what, answer, sent, ended, .. } = request;
        format!("{what:?} from {sent} to {ended} was {answer:?}")
    })
    .collect()
}

/// But for the time in which the file of the database is not the one that was opened: an operator
/// has to act.
pub(super) fn failed(story: &Story<'_>) -> Vec<String> {
    let is_excused = |request: &Request| {
        story.server.faults.iter().any(|fault| {
            let (from, to) = fault.span;
            fault.kind == FaultKind::Replacement && from <= request.ended && request.sent <= to
        })
    };
    let failed = story.log.requests.iter().filter(|request| request.answer == Answer::Failed);
    failed
        .filter(|request| !is_excused(request))
        .map(|request| format!("{:?} at {} was {:?}", request.what, request.sent, request.note))
        .collect()
}

/// A refresh token of any generation, or an access token, which may have expired. That the session
/// has ended is R10 and R16.
pub(super) fn logout_without_effect(story: &Story<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for life in &story.lives {
        let is_refused = |logout: &&&Request| {
            logout.what == What::Logout
                && matches!(logout.answer, Answer::Refused | Answer::Expired | Answer::Early)
        };
        found.extend(life.logouts.iter().filter(is_refused).map(|logout| told(life, logout)));
    }
    found
}

pub(super) fn logout_of_nothing(story: &Story<'_>) -> Vec<String> {
    let forged = story.log.requests.iter().filter(|one| one.what == What::FalseLogout);
    // By the id of another user's session.
    let named = story.log.requests.iter().filter(|one| one.what == What::LogoutSession);
    let foreign = named.filter(|one| {
        story
            .lives
            .iter()
            .any(|life| one.target.as_deref() == Some(life.id) && one.user != life.user)
    });
    // An expired session is there until it is removed, and can be ended.
    let twice = story.lives.iter().flat_map(|life| {
        let named = life.logouts.iter().copied();
        named.filter(|one| one.what == What::LogoutSession && life.is_over(one, &[Cause::Logout]))
    });
    let done = forged.chain(foreign).chain(twice).filter(|request| request.is_done());
    done.map(|request| format!("{:?} at {} was done", request.what, request.sent)).collect()
}
