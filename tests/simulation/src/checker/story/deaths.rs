//! When a session ended, at the latest, and until when that is certain.

use super::{Cause, Death, Life};
use crate::{
    checker::clock::{Hosts, When},
    log::{Answer, Micros, NEVER, Request, What},
};

impl Life<'_> {
    pub(super) fn deaths(&self) -> Vec<Death> {
        let mut deaths = Vec::new();
        for logout in &self.logouts {
            if logout.answer == Answer::Absent {
                deaths.push(self.found_ended(logout, Cause::Refusal));
            }
            // A login under way may come after a logout of all.
            let is_named = matches!(logout.what, What::Logout | What::LogoutSession);
            let is_before = is_named || self.login.ended < logout.sent;
            let is_removal = logout.what == What::Leave;
            if logout.is_done() && is_before {
                let cause = if is_removal { Cause::Removal } else { Cause::Logout };
                // A session that was swept or lost is not there to be ended with the others of its
                // user.
                let is_logged = is_named || !self.may_be_away(logout.ended);
                let until = self.kept(logout);
                let is_by_age = false;
                deaths.push(Death { at: logout.ended, until, cause, is_by_age, is_logged });
            }
        }
        for (generation, request) in self.all_refreshes() {
            let is_alive = self.may_be_refused_alive(generation, request);
            if request.answer == Answer::Refused && !is_alive {
                let is_reuse = self.is_reuse(generation, request);
                let cause = if is_reuse { Cause::Reuse } else { Cause::Refusal };
                deaths.push(self.found_ended(request, cause));
            }
        }
        for look in &self.looks {
            if look.answer == Answer::Refused {
                deaths.push(self.found_ended(look, Cause::Refusal));
            }
        }
        deaths
    }

    /// Whether the store may have had no record of it at a moment before `at`.
    fn may_be_away(&self, at: Micros) -> bool {
        self.may_be_expired(at, Hosts::ALL) || self.server.may_be_lost(self.login, at)
    }

    /// The end that this request brought about, unless it found the session expired.
    pub(super) fn found_ended(&self, request: &Request, cause: Cause) -> Death {
        let is_by_age = self.may_be_expired(request.ended, Hosts::one(request.server))
            || self.may_be_expired_for(request);
        let until = if is_by_age {
            self.server.clock.goes_on_from(request).min(self.may_be_back_from(request))
        } else {
            NEVER
        };
        let mut until = until.min(self.kept(request));
        if cause == Cause::Refusal {
            // The end that it found may be lost in the store, where the server still has it in
            // memory.
            let ends = self.logouts.iter().chain(&self.evictors).copied();
            let ends = ends.chain(self.all_refreshes().map(|(_, one)| one));
            let earlier =
                ends.filter(|end| end.sent < request.ended && end.answer != Answer::Unsent);
            until = earlier.map(|end| self.kept(end)).fold(until, Micros::min);
        }
        let is_logged = cause != Cause::Refusal && !self.may_be_away(request.ended);
        Death { at: request.ended, until, cause, is_by_age, is_logged }
    }

    /// Until when an end that this request brought about, or saw, is there for certain.
    fn kept(&self, request: &Request) -> Micros {
        self.server.losses_of(request).map(|loss| loss.since).min().unwrap_or(NEVER)
    }

    /// From when on a session that a request found expired may be alive again. The time at which a
    /// token is presented decides (R7): a refresh that was sent before the end, and waits for the
    /// store, moves the end when it is made.
    fn may_be_back_from(&self, refused: &Request) -> Micros {
        let (clock, lifetime) = (&self.server.clock, self.server.idle_lifetime(self.login));
        let presented = |one: &Request| When { span: (one.sent, one.sent), ..When::of(one) };
        let is_waiting = |(generation, one): (usize, &Request)| {
            let made = self.made(generation, refused.ended);
            let until = self.server.made_by(one).min(self.used_surely(generation, refused.ended));
            self.may_have_done(one)
                && one.sent < refused.ended
                && refused.sent < until
                && !clock.passed(lifetime, made, presented(one))
        };
        let is_waiting = self.all_refreshes().any(is_waiting);
        if is_waiting { self.server.moving_from(refused.sent) } else { NEVER }
    }
}
