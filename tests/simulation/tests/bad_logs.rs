//! The checker against logs made by hand: a good one passes, and each that breaks a rule is found.

#[path = "bad_logs/exact.rs"]
mod exact;
#[path = "bad_logs/keys.rs"]
mod keys;
#[path = "bad_logs/limit.rs"]
mod limit;
#[path = "bad_logs/lost.rs"]
mod lost;

use std::collections::BTreeMap;

use kippu_simulation::{
    checker::{check, rules},
    log::{
        Answer, Fault, FaultKind, Got, Log, NEVER, Request, Said, Settings, Span, Stepped, What,
    },
};

const BEGAN: u64 = 1_700_000_000;

/// A log that is written by the second.
struct Story(Log);

fn micros(seconds: f64) -> u64 {
    format!("{:.0}", seconds * 1e6).parse().unwrap()
}

impl Story {
    fn new() -> Self {
        let settings = Settings {
            store: "none".to_owned(),
            seed: 0,
            began: BEGAN * 1_000_000,
            access_lifetime: 8,
            grace: 5,
            idle_lifetime: 20,
            session_lifetime: 90,
            max_sessions: None,
            deadline: 3,
            margin: 2,
            ..Settings::default()
        };
        Self(Log { settings, ..Log::default() })
    }

    /// Sent at a time, and answered half a second later.
    fn request(&mut self, at: f64, what: What, answer: Answer) -> &mut Request {
        let ended = micros(at + 0.5);
        let request = Request::new(what, 1, micros(at));
        self.0.requests.push(Request { ended, answer, ..request });
        self.last()
    }

    fn last(&mut self) -> &mut Request {
        self.0.requests.last_mut().unwrap()
    }

    fn login(&mut self, at: f64, session: &str, token: u64) {
        self.request(at, What::Login, Answer::Done).got = Some(got(at, session, token));
    }

    fn rotate(&mut self, at: f64, session: &str, token: u64, next: u64) {
        self.replay(at, session, token, next);
        self.say(session, "rotated");
    }

    fn replay(&mut self, at: f64, session: &str, token: u64, next: u64) {
        let request = self.request(at, What::Refresh, Answer::Done);
        request.token = Some(token);
        request.got = Some(got(at, session, next));
    }

    fn refresh(&mut self, at: f64, token: u64, answer: Answer) {
        self.request(at, What::Refresh, answer).token = Some(token);
    }

    fn logout(&mut self, at: f64, token: u64, answer: Answer) {
        self.request(at, What::Logout, answer).token = Some(token);
    }

    fn end(&mut self, at: f64, session: &str, answer: Answer) -> &mut Request {
        let request = self.request(at, What::LogoutSession, answer);
        request.target = Some(session.to_owned());
        request
    }

    /// With the access token that came with a refresh token at a time.
    fn ask(&mut self, at: f64, what: What, access: u64, answer: Answer) {
        self.request(at, what, answer).access = Some(access);
    }

    fn list(&mut self, at: f64, access: u64, listed: &[&str]) {
        self.ask(at, What::List, access, Answer::Done);
        self.last().listed = listed.iter().map(|&id| id.to_owned()).collect();
    }

    /// The last request was answered at this time.
    fn answered(&mut self, at: f64) {
        self.last().ended = micros(at);
    }

    /// The store holds still between these times.
    fn stall(&mut self, from: f64, to: f64) {
        let fault = self.fault(FaultKind::Stall, from, to);
        fault.still = Some(fault.span);
    }

    /// Another server takes over, without what was acknowledged in this time. Its address moves a
    /// second later.
    fn fail_over(&mut self, from: f64, to: f64) {
        self.fault(FaultKind::Failover, from, to + 1.0).lost = Some(span(from, to));
    }

    /// The file is another from the first time to the second.
    fn replace_file(&mut self, from: f64, to: f64) {
        let fault = self.fault(FaultKind::Replacement, from - 0.1, to + 0.1);
        fault.still = Some(span(from, to));
    }

    fn fault(&mut self, kind: FaultKind, from: f64, to: f64) -> &mut Fault {
        self.0.faults.push(Fault::new(kind, "something", span(from, to)));
        self.0.faults.last_mut().unwrap()
    }

    fn say(&mut self, session: &str, message: &str) {
        let (session, message) = (session.to_owned(), message.to_owned());
        self.0.said.push(Said { session, message, reason: None });
    }

    fn evict(&mut self, session: &str) {
        self.say(session, "revoked");
        self.0.said.last_mut().unwrap().reason = Some("limit".to_owned());
    }

    /// The server's clock is set, within a tenth of a second.
    fn step(&mut self, at: f64, offset: i64) {
        self.0.stepped.push(Stepped { host: 0, from: micros(at), to: micros(at + 0.1), offset });
    }

    /// The last access token ends as many seconds later.
    fn end_later(&mut self, seconds: i64) {
        let end = &mut self.last().got.as_mut().unwrap().expires_at;
        *end = end.checked_add_signed(seconds).unwrap();
    }

    /// The numbers of the rules that are broken.
    fn broken(&self) -> Vec<&'static str> {
        let mut numbers: Vec<_> =
            check(&self.0).keys().map(|name| name.split(' ').next().unwrap()).collect();
        numbers.dedup();
        numbers
    }

    #[track_caller]
    fn breaks(&self, rule: &str) {
        let found = check(&self.0);
        assert!(found.keys().any(|name| is_rule(name, rule)), "{rule}: {found:#?}");
    }
}

/// Whether the name of a rule begins like this, up to the end of its number at least.
fn is_rule(name: &str, beginning: &str) -> bool {
    let rest = name.strip_prefix(beginning);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

fn span(from: f64, to: f64) -> Span {
    (micros(from), micros(to))
}

/// An access token has the number of its refresh token, and a thousand.
fn got(at: f64, session: &str, token: u64) -> Got {
    let (session, subject) = (session.to_owned(), "one".to_owned());
    let expires_at = BEGAN + 8 + micros(at) / 1_000_000;
    let (access, is_forgotten) = (token + 1000, false);
    Got { token, access, session, subject, expires_at, is_forgotten, key: None, generation: None }
}

/// A login, and a refresh at 2 s.
fn begun() -> Story {
    let mut story = Story::new();
    story.login(0.0, "a", 1);
    story.rotate(2.0, "a", 1, 2);
    story
}

#[test]
fn what_is_right_is_no_breach() {
    let mut story = begun();
    story.replay(4.0, "a", 1, 2);
    story.ask(5.0, What::Me, 1002, Answer::Done);
    story.ask(5.0, What::Live, 1002, Answer::Done);
    story.list(5.0, 1002, &["a"]);
    story.request(5.0, What::Forged, Answer::Refused);
    // A theft: the thief comes late.
    story.rotate(9.0, "a", 2, 3);
    story.refresh(11.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.refresh(12.0, 3, Answer::Refused);
    story.logout(13.0, 3, Answer::Done);
    story.ask(13.0, What::Live, 1003, Answer::Refused);
    story.ask(19.0, What::Me, 1003, Answer::Expired);
    // A logout everywhere, from one of two.
    story.login(20.0, "b", 10);
    story.login(20.0, "c", 20);
    story.list(21.0, 1010, &["b", "c"]);
    story.ask(22.0, What::LogoutOthers, 1010, Answer::Done);
    story.refresh(23.0, 20, Answer::Refused);
    story.rotate(23.0, "b", 10, 11);
    story.ask(24.0, What::LogoutAll, 1011, Answer::Done);
    story.refresh(25.0, 11, Answer::Refused);
    // One that expires.
    story.login(30.0, "d", 30);
    story.rotate(48.0, "d", 30, 31);
    story.refresh(69.0, 31, Answer::Refused);
    // A login under way is not ended by a logout before it.
    story.fault(FaultKind::Kill, 69.0, 70.5);
    story.login(70.0, "e", 40);
    story.request(69.9, What::LogoutAll, Answer::Broken);
    story.rotate(71.0, "e", 40, 41);
    assert_eq!(check(&story.0), BTreeMap::default());
}

#[test]
fn what_is_in_doubt_may_have_been_done_or_not() {
    for answer in [Answer::Broken, Answer::Unavailable] {
        let mut story = begun();
        // Done, and told by the server or not; and again, much later.
        story.fault(FaultKind::Kill, 3.0, 3.1);
        story.refresh(3.0, 2, answer);
        story.refresh(10.0, 2, Answer::Refused);
        assert_eq!(story.broken(), [""; 0]);
        story.say("a", "rotated");
        story.say("a", "reuse detected");
        assert_eq!(story.broken(), [""; 0]);
        // Not done.
        let mut story = begun();
        story.fault(FaultKind::Kill, 3.0, 3.1);
        story.refresh(3.0, 2, answer);
        story.rotate(10.0, "a", 2, 3);
        assert_eq!(story.broken(), [""; 0]);
        // A logout.
        let mut story = begun();
        story.fault(FaultKind::Kill, 3.0, 3.1);
        story.logout(3.0, 2, answer);
        story.rotate(5.0, "a", 2, 3);
        story.refresh(6.0, 3, Answer::Refused);
        assert_eq!(story.broken(), [""; 0]);
    }
}

#[test]
fn two_successors_of_one_token() {
    let mut story = begun();
    story.replay(3.0, "a", 1, 3);
    story.breaks("R1 all");
}

#[test]
fn one_token_after_two_others() {
    let mut story = begun();
    story.login(3.0, "b", 10);
    story.rotate(4.0, "b", 10, 2);
    story.breaks("R1 all");
}

#[test]
fn a_token_that_is_used_up_twice() {
    let mut story = begun();
    story.say("a", "rotated");
    story.breaks("R1 a token");
    // And one that no client uses up.
    let mut story = begun();
    story.0.said.clear();
    story.breaks("R1 a token");
    // Its event may be lost with the last lines of a log, when the server is killed.
    for (killed, is_breach) in [(7.55, false), (7.7, true)] {
        let mut story = begun();
        story.replay(7.0, "a", 2, 3);
        story.fault(FaultKind::Kill, killed, killed + 2.0).still = Some(span(killed + 0.01, 9.0));
        assert_eq!(story.broken().contains(&"R1"), is_breach, "{killed}");
    }
}

#[test]
fn a_retry_within_the_grace_that_is_refused() {
    let mut story = begun();
    story.refresh(5.0, 1, Answer::Refused);
    story.breaks("R2");
}

#[test]
fn a_reuse_that_succeeds() {
    // After the grace.
    let mut story = begun();
    story.replay(8.0, "a", 1, 2);
    story.breaks("R3 a reuse is refused");
    // After the next.
    let mut story = begun();
    story.rotate(3.0, "a", 2, 3);
    story.replay(4.0, "a", 1, 2);
    story.breaks("R3 a reuse is refused");
}

#[test]
fn a_reuse_that_does_not_end_the_session() {
    let mut story = begun();
    story.refresh(8.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.rotate(9.0, "a", 2, 3);
    story.breaks("R3 a reuse is refused");
}

#[test]
fn a_reuse_that_nobody_is_told_of() {
    let mut story = begun();
    story.refresh(8.0, 1, Answer::Refused);
    story.breaks("R3 a reuse is reported");
    // Twice, or without one.
    let mut story = begun();
    story.say("a", "reuse detected");
    story.breaks("R3 a reuse is reported");
}

#[test]
fn a_replay_after_the_end() {
    let mut story = begun();
    story.logout(3.0, 2, Answer::Done);
    story.replay(4.0, "a", 1, 2);
    story.breaks("R4");
}

#[test]
fn a_forged_token_that_is_accepted() {
    let mut story = begun();
    story.request(3.0, What::Forged, Answer::Done);
    story.breaks("R5");
    // Or asked the store about.
    let mut story = begun();
    story.request(3.0, What::Forged, Answer::Unavailable);
    story.breaks("R5");
    // Or ends a session.
    let mut story = begun();
    story.request(3.0, What::Forged, Answer::Refused);
    story.refresh(4.0, 2, Answer::Refused);
    story.breaks("R12");
}

#[test]
fn a_store_that_lost_what_it_acknowledged() {
    for message in ["the store was behind", "the store is behind"] {
        let mut story = begun();
        story.say("a", message);
        story.breaks("R6");
    }
}

#[test]
fn a_session_that_is_over_and_goes_on() {
    // Not used for too long.
    let mut story = begun();
    story.rotate(23.0, "a", 2, 3);
    story.breaks("R7");
    // Nor does a replay prolong it.
    let mut story = begun();
    story.replay(6.0, "a", 1, 2);
    story.rotate(24.0, "a", 2, 3);
    story.breaks("R7");
    // For longer than any session.
    let mut story = Story::new();
    story.login(0.0, "a", 1);
    for n in 1..9_u32 {
        story.rotate(f64::from(n) * 10.0, "a", n.into(), u64::from(n) + 1);
    }
    assert_eq!(story.broken(), [""; 0]);
    story.rotate(91.0, "a", 9, 10);
    story.end_later(-9);
    story.breaks("R7");
    // An access token.
    let mut story = begun();
    story.ask(10.5, What::Me, 1002, Answer::Done);
    story.breaks("R7");
}

#[test]
fn a_token_that_is_good_for_too_long() {
    let mut story = begun();
    story.last().got.as_mut().unwrap().expires_at += 3600;
    story.breaks("R8");
}

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 315_360_000;

#[test]
fn a_clock_that_is_set_is_no_breach() {
    // Back: no time has passed, as far as the server can know.
    let mut story = begun();
    story.step(3.0, -HOUR);
    story.replay(30.0, "a", 1, 2);
    story.end_later(-HOUR);
    story.ask(31.0, What::Me, 1002, Answer::Early);
    story.rotate(40.0, "a", 2, 3);
    story.end_later(-HOUR);
    story.ask(41.0, What::Me, 1003, Answer::Done);
    // And on again.
    story.step(42.0, 0);
    story.refresh(43.0, 3, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    // Forward: every session has expired, until the clock is set back.
    let mut story = begun();
    story.step(3.0, TEN_YEARS);
    story.ask(4.0, What::Me, 1002, Answer::Expired);
    story.refresh(4.0, 2, Answer::Refused);
    story.login(5.0, "b", 10);
    story.end_later(TEN_YEARS);
    assert_eq!(story.broken(), [""; 0]);
    story.step(6.0, 0);
    story.rotate(7.0, "a", 2, 3);
    story.ask(8.0, What::Me, 1010, Answer::Early);
    assert_eq!(story.broken(), [""; 0]);
    // A sweep that began in the meantime goes on with that time.
    let mut story = Story::new();
    story.step(1.0, TEN_YEARS);
    story.step(2.0, 0);
    story.login(3.0, "a", 1);
    story.refresh(4.0, 1, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    // While it is set, it may show either time.
    let mut story = begun();
    story.step(4.2, TEN_YEARS);
    story.rotate(4.0, "a", 2, 3);
    story.refresh(4.1, 3, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_clock_that_is_set_and_prolongs_something() {
    // The session, or its access token.
    let mut story = begun();
    story.step(3.0, TEN_YEARS);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R7");
    let mut story = begun();
    story.step(3.0, TEN_YEARS);
    story.ask(4.0, What::Live, 1002, Answer::Done);
    story.breaks("R7");
    // A token that is made counts by the clock as it is.
    let mut story = begun();
    story.step(3.0, -HOUR);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R8");
    // Nor does one outlive its session.
    let mut story = begun();
    for n in 2..20_u32 {
        story.rotate(f64::from(n) * 4.0, "a", n.into(), u64::from(n) + 1);
    }
    story.rotate(82.5, "a", 20, 21);
    story.end_later(1);
    assert_eq!(story.broken(), [""; 0]);
    story.end_later(1);
    story.breaks("R8");
    // The grace.
    let mut story = begun();
    story.step(3.0, 10);
    story.replay(4.0, "a", 1, 2);
    story.breaks("R3 a reuse is refused");
}

/// A session that ended for another reason than its time stays ended.
#[test]
fn a_clock_that_is_set_and_brings_something_back() {
    let mut story = begun();
    story.logout(3.0, 2, Answer::Done);
    story.step(4.0, -HOUR);
    story.rotate(5.0, "a", 2, 3);
    story.breaks("R10");
    let mut story = begun();
    story.refresh(8.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.step(9.0, -HOUR);
    story.ask(10.0, What::Live, 1002, Answer::Done);
    story.breaks("R11");
    // Its time does not come again as long as the clock goes on.
    let mut story = begun();
    story.step(3.0, TEN_YEARS);
    story.refresh(4.0, 2, Answer::Refused);
    story.list(5.0, 1002, &["a"]);
    story.breaks("R11");
}

/// The clock of a server is set forward while it answers: the others show the session alive.
#[test]
fn a_session_that_is_over_by_the_clock_of_one_server() {
    let story = |set: f64| {
        let mut story = begun();
        story.rotate(3.0, "a", 2, 3);
        story.0.stepped.push(Stepped { host: 1, from: 0, to: 0, offset: 0 });
        story.step(set, TEN_YEARS);
        story.refresh(4.0, 3, Answer::Refused);
        story.ask(5.0, What::Live, 1003, Answer::Done);
        story.last().server = 1;
        story
    };
    assert_eq!(story(4.1).broken(), [""; 0]);
    // It is set after the answer.
    story(4.6).breaks("R12");
    // The server is the only one.
    let mut story = story(4.1);
    story.last().server = 0;
    story.0.stepped.remove(0);
    story.breaks("R11");
}

#[test]
fn a_token_that_is_refused_as_early_and_is_not() {
    let mut story = begun();
    story.ask(3.0, What::Me, 1002, Answer::Early);
    story.breaks("R12");
    let mut story = begun();
    story.step(3.0, HOUR);
    story.ask(4.0, What::Me, 1002, Answer::Early);
    story.breaks("R12");
}

#[test]
fn a_token_of_somebody_else() {
    let mut story = begun();
    story.last().got.as_mut().unwrap().subject = "two".to_owned();
    story.breaks("R9");
    let mut story = begun();
    story.last().got.as_mut().unwrap().session = "b".to_owned();
    story.breaks("R9");
    let mut story = begun();
    story.login(3.0, "b", 10);
    story.last().user = 2;
    story.breaks("R9");
}

#[test]
fn a_user_who_is_gone_and_goes_on() {
    let leave = |at, answer| {
        let mut story = begun();
        story.request(at, What::Leave, answer);
        story
    };
    let mut story = leave(3.0, Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R9 who is gone");
    // A replay is refused too.
    let mut story = leave(3.0, Answer::Done);
    story.replay(4.0, "a", 1, 2);
    story.breaks("R9 who is gone");
    // The session is there after its user was removed.
    let mut story = leave(3.0, Answer::Done);
    story.ask(4.0, What::Live, 1002, Answer::Done);
    story.breaks("R9 who is gone");
    // For no reason.
    let mut story = begun();
    story.say("a", "denied");
    story.breaks("R9 a session is denied");
    // The session is there after it was refused.
    let mut story = leave(3.0, Answer::Broken);
    story.refresh(4.0, 2, Answer::Refused);
    story.say("a", "denied");
    story.ask(5.0, What::Live, 1002, Answer::Done);
    story.breaks("R11");
    // All is well: an access token is good until it expires, and what is in doubt may not have been
    // done.
    let mut story = leave(3.0, Answer::Done);
    story.ask(4.0, What::Me, 1002, Answer::Done);
    story.ask(4.5, What::Live, 1002, Answer::Refused);
    story.refresh(5.0, 2, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    let mut story = leave(3.0, Answer::Broken);
    story.fault(FaultKind::Kill, 3.0, 3.1);
    story.rotate(4.0, "a", 2, 3);
    story.ask(4.5, What::Live, 1002, Answer::Done);
    story.refresh(5.0, 3, Answer::Refused);
    story.say("a", "denied");
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_logout_that_is_not_final() {
    let mut story = begun();
    story.logout(3.0, 1, Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R10");
    // Of all.
    let mut story = begun();
    story.ask(3.0, What::LogoutAll, 1002, Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R10");
    // Of the others.
    let mut story = begun();
    story.login(2.0, "b", 10);
    story.ask(3.0, What::LogoutOthers, 1010, Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R10");
}

#[test]
fn an_access_token_that_outlives_its_session() {
    // The logout is answered at 3.5.
    for (at, breaks) in [(3.9, false), (4.5, false), (4.6, true)] {
        let mut story = begun();
        story.logout(3.0, 1, Answer::Done);
        story.ask(at, What::Me, 1002, Answer::Done);
        if breaks {
            story.breaks("R19");
        } else {
            assert_eq!(story.broken(), [""; 0]);
        }
    }
    // Another session of the user goes on.
    let mut story = begun();
    story.login(2.0, "b", 10);
    story.logout(3.0, 1, Answer::Done);
    story.ask(6.0, What::Me, 1010, Answer::Done);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_session_that_comes_back() {
    let mut story = begun();
    story.refresh(8.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.ask(9.0, What::Live, 1002, Answer::Done);
    story.breaks("R11");
    let mut story = begun();
    story.login(2.0, "b", 10);
    story.logout(3.0, 1, Answer::Done);
    story.list(4.0, 1010, &["a", "b"]);
    story.breaks("R11");
    let mut story = begun();
    story.ask(3.0, What::LogoutAll, 1002, Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R11");
}

#[test]
fn a_session_that_ends_for_no_reason() {
    let mut story = begun();
    story.refresh(3.0, 2, Answer::Refused);
    story.breaks("R12");
    let mut story = begun();
    story.ask(3.0, What::Live, 1002, Answer::Refused);
    story.breaks("R12");
    let mut story = begun();
    story.login(3.0, "b", 10);
    story.list(4.0, 1010, &["b"]);
    story.breaks("R12");
    // A request that was not sent is not a reason, and neither is the logout of another user.
    let mut story = begun();
    story.logout(3.0, 2, Answer::Unsent);
    story.request(3.0, What::LogoutAll, Answer::Done).user = 2;
    story.refresh(4.0, 2, Answer::Refused);
    story.breaks("R12");
}

#[test]
fn an_answer_that_nobody_foresaw() {
    let mut story = begun();
    story.request(3.0, What::Me, Answer::Odd);
    story.breaks("R12");
}

#[test]
fn a_stall_is_no_breach() {
    // A client that presents the token before the commit gets its successor, however long that
    // takes; the first gave up.
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.refresh(9.5, 2, Answer::Unavailable);
    story.answered(12.5);
    story.rotate(18.0, "a", 2, 3);
    story.answered(20.5);
    story.replay(19.0, "a", 2, 3);
    story.answered(20.5);
    assert_eq!(story.broken(), [""; 0]);
    // And within the grace after it.
    story.replay(24.0, "a", 2, 3);
    assert_eq!(story.broken(), [""; 0]);
    // Later it is a reuse.
    story.refresh(26.0, 2, Answer::Refused);
    story.say("a", "reuse detected");
    assert_eq!(story.broken(), [""; 0]);
    // A rotation that was committed before the stall, and whose answer was lost: it is too late for
    // a retry.
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.refresh(8.9, 2, Answer::Unavailable);
    story.answered(11.9);
    story.refresh(19.0, 2, Answer::Refused);
    story.answered(20.5);
    story.say("a", "rotated");
    story.say("a", "reuse detected");
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_stall_that_makes_a_reuse_of_a_retry() {
    // Before the commit, which the end of the stall bounds from below.
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.rotate(9.5, "a", 2, 3);
    story.answered(20.5);
    story.refresh(18.0, 2, Answer::Refused);
    story.answered(20.6);
    story.say("a", "reuse detected");
    story.breaks("R2");
    // Where the rotation is only known by a request that was given up.
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.refresh(9.5, 2, Answer::Unavailable);
    story.answered(12.5);
    story.refresh(18.0, 2, Answer::Refused);
    story.answered(20.6);
    story.say("a", "rotated");
    story.say("a", "reuse detected");
    story.breaks("R2");
    // Within the grace after the commit, but for the part of it that a store may not notice.
    for (at, is_breach) in [(23.0, true), (24.5, false)] {
        let mut story = begun();
        story.stall(9.0, 20.0);
        story.rotate(9.5, "a", 2, 3);
        story.answered(20.5);
        story.refresh(at, 2, Answer::Refused);
        story.say("a", "reuse detected");
        assert_eq!(story.broken().contains(&"R2"), is_breach, "{at}");
    }
    // No stall is known: then what the answers bound counts.
    let mut story = begun();
    story.rotate(9.0, "a", 2, 3);
    story.answered(12.0);
    story.refresh(10.0, 2, Answer::Refused);
    story.answered(12.5);
    story.say("a", "reuse detected");
    story.breaks("R2");
}

/// The idle end of `begun` is between 22 s and 22.5 s.
fn begun_and_refused_while_a_refresh_waits() -> Story {
    let mut story = begun();
    story.stall(21.0, 24.0);
    story.rotate(21.5, "a", 2, 3);
    story.answered(24.5);
    story.refresh(23.0, 2, Answer::Refused);
    story.ask(23.0, What::Live, 1002, Answer::Refused);
    story
}

#[test]
fn a_refresh_that_waits_for_the_store_brings_an_expired_session_back() {
    let mut story = begun_and_refused_while_a_refresh_waits();
    story.replay(25.0, "a", 2, 3);
    story.ask(25.0, What::Live, 1003, Answer::Done);
    story.list(25.0, 1003, &["a"]);
    story.rotate(26.0, "a", 3, 4);
    assert_eq!(story.broken(), [""; 0]);
    // Nobody got the answer to it. The store makes the change when the stall ends.
    let mut story = begun();
    story.stall(21.0, 24.0);
    story.refresh(21.5, 2, Answer::Unavailable);
    story.say("a", "rotated");
    story.refresh(23.0, 2, Answer::Refused);
    story.replay(25.0, "a", 2, 3);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn an_expired_session_that_no_waiting_refresh_brings_back() {
    // The one that succeeds is presented after the answer.
    let mut story = begun();
    story.stall(21.0, 24.0);
    story.refresh(23.0, 2, Answer::Refused);
    story.rotate(24.0, "a", 2, 3);
    story.breaks("R11");
    // The one that waited was presented too late as well.
    let mut story = begun();
    story.stall(21.0, 24.0);
    story.rotate(22.9, "a", 2, 3);
    story.answered(24.5);
    story.refresh(23.0, 2, Answer::Refused);
    story.ask(25.0, What::Live, 1003, Answer::Done);
    story.breaks("R11");
    // It was refused, too.
    let mut story = begun();
    story.stall(21.0, 24.0);
    story.refresh(21.5, 2, Answer::Refused);
    story.answered(24.5);
    story.refresh(23.0, 2, Answer::Refused);
    story.ask(25.0, What::Live, 1002, Answer::Done);
    story.breaks("R11");
    // The store cannot have made its change yet.
    let mut story = begun_and_refused_while_a_refresh_waits();
    story.ask(23.55, What::Live, 1002, Answer::Done);
    story.answered(23.9);
    story.breaks("R11");
    // It no longer waited: the stall had ended long before.
    let mut story = begun();
    story.stall(3.0, 6.0);
    story.refresh(3.5, 2, Answer::Unavailable);
    story.refresh(30.0, 2, Answer::Refused);
    story.rotate(32.0, "a", 2, 3);
    story.breaks("R11");
    // A replay waited, which moves no end.
    let mut story = begun();
    story.rotate(3.0, "a", 2, 3);
    story.replay(8.0, "a", 2, 3);
    story.answered(24.0);
    story.refresh(23.6, 3, Answer::Refused);
    story.ask(25.0, What::Live, 1003, Answer::Done);
    story.breaks("R11");
    // The session ended for another reason.
    let mut story = begun_and_refused_while_a_refresh_waits();
    story.logout(25.0, 2, Answer::Done);
    story.rotate(26.0, "a", 3, 4);
    story.breaks("R11");
    // It was refused before its time.
    let mut story = begun();
    story.stall(11.0, 14.0);
    story.rotate(11.5, "a", 2, 3);
    story.answered(14.5);
    story.refresh(13.0, 2, Answer::Refused);
    story.replay(15.0, "a", 2, 3);
    story.breaks("R11");
}

#[test]
fn a_change_that_is_acknowledged_and_not_made() {
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.login(10.0, "b", 10);
    story.breaks("R6 no change");
    let mut story = begun();
    story.stall(9.0, 20.0);
    story.rotate(10.0, "a", 2, 3);
    story.breaks("R6 no change");
    let mut story = begun();
    story.replace_file(9.0, 20.0);
    story.logout(10.0, 2, Answer::Done);
    story.breaks("R6 no change");
    let mut story = begun();
    story.replace_file(9.0, 20.0);
    story.ask(10.0, What::LogoutAll, 1002, Answer::Done);
    story.breaks("R6 no change");
    // Calls that need no change, or have time for it.
    let mut story = begun();
    story.rotate(6.0, "a", 2, 3);
    story.stall(7.0, 11.0);
    story.replay(8.0, "a", 2, 3);
    story.rotate(10.0, "a", 3, 4);
    story.answered(11.1);
    story.logout(12.0, 4, Answer::Done);
    story.stall(13.0, 20.0);
    story.logout(14.0, 4, Answer::Done);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_failover_is_no_breach() {
    // Nothing of it is lost.
    let mut story = begun();
    story.fail_over(9.0, 9.5);
    story.refresh(9.7, 2, Answer::Unavailable);
    story.rotate(11.0, "a", 2, 3);
    assert_eq!(story.broken(), [""; 0]);
    // A rotation, which is made again, by either token.
    let mut story = begun();
    story.rotate(9.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.rotate(17.0, "a", 2, 3);
    assert_eq!(story.broken(), [""; 0]);
    let mut story = begun();
    story.rotate(9.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.replay(17.0, "a", 3, 4);
    story.say("a", "the store was behind");
    assert_eq!(story.broken(), [""; 0]);
    // With it the longer life that it gave.
    let mut story = Story::new();
    story.login(0.0, "a", 1);
    story.rotate(9.0, "a", 1, 2);
    story.fail_over(9.0, 10.0);
    story.login(12.0, "b", 10);
    story.refresh(25.0, 2, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    // A login.
    let mut story = Story::new();
    story.login(9.0, "a", 1);
    story.fail_over(9.0, 10.0);
    story.refresh(12.0, 1, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    // A logout, or the end by a reuse, which comes again.
    let mut story = begun();
    story.rotate(6.0, "a", 2, 3);
    story.logout(9.0, 3, Answer::Done);
    story.fail_over(9.0, 10.0);
    story.ask(11.0, What::Live, 1003, Answer::Done);
    story.rotate(12.0, "a", 3, 4);
    assert_eq!(story.broken(), [""; 0]);
    let mut story = begun();
    story.refresh(9.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.fail_over(9.0, 10.0);
    story.rotate(12.0, "a", 2, 3);
    story.refresh(13.0, 1, Answer::Refused);
    story.say("a", "reuse detected");
    story.refresh(14.0, 3, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
}

/// All of it happened before what may be lost, or would be seen before the failover, or is another
/// thing.
#[test]
fn a_failover_that_loses_too_much() {
    let mut story = begun();
    story.logout(7.0, 2, Answer::Done);
    story.fail_over(9.0, 10.0);
    story.ask(11.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
    let mut story = begun();
    story.logout(9.0, 2, Answer::Done);
    story.fail_over(9.0, 11.0);
    story.ask(9.6, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
    let mut story = begun();
    story.rotate(7.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.say("a", "the store was behind");
    story.breaks("R6 the store");
    let mut story = begun();
    story.rotate(7.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.rotate(17.0, "a", 2, 3);
    story.breaks("R1 a token");
    story.breaks("R3 a reuse is refused");
    let mut story = Story::new();
    story.login(7.0, "a", 1);
    story.fail_over(9.0, 10.0);
    story.refresh(12.0, 1, Answer::Refused);
    story.breaks("R12");
    // After a rotation that is lost there are not two others.
    let mut story = begun();
    story.rotate(9.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.rotate(12.0, "a", 2, 4);
    story.breaks("R1 all");
    // Nor does anyone end the session.
    let mut story = begun();
    story.rotate(9.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.refresh(12.0, 3, Answer::Refused);
    story.breaks("R12");
    // A logout on the new server stays.
    let mut story = begun();
    story.logout(9.0, 2, Answer::Done);
    story.fail_over(9.0, 10.0);
    story.logout(11.0, 2, Answer::Done);
    story.ask(12.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
}

#[test]
fn a_session_that_an_old_server_shows() {
    for what in [What::Live, What::List] {
        let mut story = begun();
        story.fault(FaultKind::Failover, 3.0, 5.0);
        story.ask(6.0, What::LogoutAll, 1002, Answer::Done);
        story.ask(7.0, what, 1002, Answer::Done);
        story.last().listed = vec!["a".to_owned()];
        story.breaks("R16 after");
    }
    // It began before.
    let mut story = begun();
    story.ask(6.0, What::LogoutAll, 1002, Answer::Done);
    story.ask(6.4, What::Live, 1002, Answer::Done);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_server_that_does_not_get_on_by_itself() {
    for answer in [Answer::Unavailable, Answer::Broken, Answer::Unsent] {
        for (at, is_breach) in [(4.0, false), (12.9, false), (13.1, true)] {
            let mut story = begun();
            story.fault(FaultKind::Failover, 3.0, 5.0);
            story.login(5.0, "b", 10);
            story.ask(at, What::Live, 1010, answer);
            assert_eq!(story.broken().contains(&"R16"), is_breach, "{at} {answer:?}");
        }
        // Nothing was done to it.
        let mut story = begun();
        story.ask(3.0, What::Live, 1002, answer);
        story.breaks("R16 the server");
    }
    // A sweep by the time before the clock was set back removes the session of a login under way,
    // and nothing else.
    for (at, what, is_breach) in
        [(4.0, What::Login, false), (4.0, What::Live, true), (13.2, What::Login, true)]
    {
        let mut story = begun();
        story.step(3.0, -HOUR);
        story.ask(at, what, 1002, Answer::Unavailable);
        assert_eq!(story.broken().contains(&"R16"), is_breach, "{at} {what:?}");
    }
    // It answers, and changes nothing.
    let mut story = begun();
    story.fault(FaultKind::Failover, 3.0, 5.0);
    for at in [6.0, 9.0, 14.0] {
        story.request(at, What::Forged, Answer::Refused);
    }
    story.breaks("R16 the server");
    story.login(12.4, "b", 10);
    assert_eq!(story.broken(), [""; 0]);
}

/// Where the clients may have nothing to write, the first refresh on a server may find an old
/// connection, and the next one may not.
#[test]
fn a_sparse_server_that_does_not_get_on() {
    let story = |server: u32, again: f64| {
        let mut story = begun();
        story.0.settings.is_sparse = true;
        story.fault(FaultKind::Failover, 3.0, 5.0);
        story.refresh(6.0, 2, Answer::Unavailable);
        story.refresh(again, 2, Answer::Unavailable);
        story.last().server = server;
        story.request(14.0, What::Forged, Answer::Refused);
        story
    };
    assert_eq!(story(1, 8.0).broken(), [""; 0]);
    assert_eq!(story(0, 6.2).broken(), [""; 0], "both were under way");
    story(0, 8.0).breaks("R16 the server");
}

#[test]
fn a_failure_that_uses_a_token_up() {
    // A session that is gone after a 500.
    let mut story = begun();
    story.replace_file(9.0, 15.0);
    story.refresh(10.0, 2, Answer::Failed);
    story.refresh(16.0, 2, Answer::Refused);
    story.breaks("R17");
    // It is used up by another.
    let mut story = begun();
    story.replace_file(9.0, 15.0);
    story.refresh(10.0, 2, Answer::Failed);
    story.rotate(16.0, "a", 2, 3);
    story.refresh(22.0, 2, Answer::Refused);
    story.say("a", "reuse detected");
    assert_eq!(story.broken(), [""; 0]);
    // It may have been used up in the moment in which the file went.
    let mut story = begun();
    story.replace_file(9.0, 15.0);
    story.refresh(8.8, 2, Answer::Failed);
    story.refresh(16.0, 2, Answer::Refused);
    story.say("a", "rotated");
    story.say("a", "reuse detected");
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn an_answer_that_comes_too_late() {
    let limits = [
        (What::Live, 5.0),
        (What::Login, 11.0),
        (What::Refresh, 11.0),
        (What::Me, 2.0),
        (What::Forged, 2.0),
    ];
    for (what, limit) in limits {
        for (more, is_breach) in [(0.0, false), (0.1, true)] {
            let mut story = begun();
            story.ask(3.0, what, 1002, Answer::Refused);
            story.answered(3.0 + limit + more);
            assert_eq!(story.broken().contains(&"R18"), is_breach, "{what:?}");
        }
    }
    // It never comes.
    let mut story = begun();
    story.ask(3.0, What::Live, 1002, Answer::Broken);
    story.last().ended = NEVER;
    story.breaks("R18 every answer");
}

#[test]
fn a_fault_of_the_server_itself() {
    let mut story = begun();
    story.stall(2.5, 4.0);
    story.refresh(3.0, 2, Answer::Failed);
    story.breaks("R18 no answer");
    let mut story = begun();
    story.replace_file(3.0, 6.0);
    story.refresh(4.0, 2, Answer::Failed);
    assert_eq!(story.broken(), [""; 0]);
    story.refresh(7.0, 2, Answer::Failed);
    story.breaks("R18 no answer");
}

#[test]
fn a_logout_that_does_not_do_what_it_says() {
    // It ends nothing, though it has a token of the session: of any generation, or an access token,
    // expired or not.
    for answer in [Answer::Refused, Answer::Expired, Answer::Early] {
        let mut story = begun();
        story.logout(3.0, 1, answer);
        story.breaks("R21 a logout ends");
        for at in [3.0, 15.0] {
            let mut story = begun();
            story.ask(at, What::Logout, 1002, answer);
            story.breaks("R21 a logout ends");
        }
    }
    // Or a second time, when it is as well.
    let mut story = begun();
    story.logout(3.0, 1, Answer::Done);
    story.logout(4.0, 1, Answer::Refused);
    story.breaks("R21 a logout ends");
    // It says that it is done, and is not.
    let mut story = begun();
    story.ask(15.0, What::Logout, 1002, Answer::Done);
    story.rotate(16.0, "a", 2, 3);
    story.breaks("R10");
    let mut story = begun();
    story.ask(3.0, What::Logout, 1002, Answer::Done);
    story.ask(4.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
    // Without a token that proves anything.
    let mut story = begun();
    story.request(3.0, What::FalseLogout, Answer::Done);
    story.breaks("R21 a logout of nothing");
    story.breaks("R5");
    // A logout that ended nothing is not a reason for an end.
    let mut story = begun();
    story.request(3.0, What::FalseLogout, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    story.logout(3.0, 1, Answer::Refused);
    story.refresh(4.0, 2, Answer::Refused);
    story.breaks("R12");
    // All is well: with an access token, which has expired, and again.
    let mut story = begun();
    story.ask(15.0, What::Logout, 1002, Answer::Done);
    story.ask(16.0, What::Logout, 1002, Answer::Done);
    story.refresh(17.0, 2, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_logout_by_id_that_does_not_do_what_it_says() {
    // It is done, and has ended nothing.
    let mut story = begun();
    story.end(3.0, "a", Answer::Done);
    story.rotate(4.0, "a", 2, 3);
    story.breaks("R10");
    // There is no such session, and it is alive.
    let mut story = begun();
    story.end(3.0, "a", Answer::Absent);
    story.breaks("R12");
    // Another user ends it.
    let mut story = begun();
    story.end(3.0, "a", Answer::Done).user = 2;
    story.breaks("R21 a logout of nothing");
    // Another user does not, and it ends all the same.
    let mut story = begun();
    story.end(3.0, "a", Answer::Absent).user = 2;
    assert_eq!(story.broken(), [""; 0]);
    story.refresh(4.0, 2, Answer::Refused);
    story.breaks("R12");
    // It is ended twice.
    let mut story = begun();
    story.end(3.0, "a", Answer::Done);
    story.end(4.0, "a", Answer::Done);
    story.breaks("R21 a logout of nothing");
    // All is well: it ends, and has ended then.
    let mut story = begun();
    story.end(3.0, "a", Answer::Done);
    story.end(4.0, "a", Answer::Absent);
    story.refresh(5.0, 2, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    story.ask(5.5, What::Me, 1002, Answer::Done);
    story.breaks("R19");
}

#[test]
fn a_machine_that_was_busy_is_no_breach() {
    for (at, is_breach) in [(2.4, false), (4.4, false), (4.6, true)] {
        let mut story = begun();
        story.fault(FaultKind::Busy, 2.5, 3.5);
        story.ask(at, What::Live, 1002, Answer::Unavailable);
        assert_eq!(story.broken().contains(&"R16"), is_breach, "{at}");
    }
    // The time in which it was busy counts neither for an answer nor for the end of a fault.
    for (from, is_breach) in [(8.4, true), (7.0, false)] {
        let mut story = begun();
        story.fault(FaultKind::Failover, 3.0, 5.0);
        story.fault(FaultKind::Busy, from, 8.5);
        story.request(14.0, What::Forged, Answer::Refused);
        assert_eq!(story.broken().contains(&"R16"), is_breach, "{from}");
    }
    for (at, is_breach) in [(5.9, false), (6.1, true)] {
        let mut story = begun();
        story.fault(FaultKind::Busy, 4.0, 5.0);
        story.ask(3.0, What::Me, 1002, Answer::Done);
        story.answered(at);
        assert_eq!(story.broken().contains(&"R18"), is_breach, "{at}");
    }
}

/// By name, so that a rule that is added is tested too.
#[test]
fn each_rule_has_a_bad_log() {
    let tests = concat!(
        include_str!("bad_logs.rs"),
        include_str!("bad_logs/keys.rs"),
        include_str!("bad_logs/limit.rs"),
        include_str!("bad_logs/lost.rs")
    );
    for name in rules() {
        let is_tested = tests.split("breaks(\"").skip(1).any(|rest| {
            let rule = rest.split('"').next().unwrap();
            is_rule(name, rule)
        });
        assert!(is_tested, "{name}");
    }
}
