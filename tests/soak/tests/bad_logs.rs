//! The checker against logs made by hand: a good one passes, and each that breaks a rule is found.

use std::collections::BTreeMap;

use kippu_soak::{
    checker::{check, rules},
    log::{Answer, Got, Log, NEVER, Request, Said, Settings, Stepped, What, Who},
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
        };
        Self(Log { settings, ..Log::default() })
    }

    /// Sent at a time, and answered half a second later.
    fn request(&mut self, at: f64, what: What, answer: Answer) -> &mut Request {
        self.0.requests.push(Request {
            sent: micros(at),
            ended: micros(at + 0.5),
            user: 1,
            who: Who::Owner,
            what,
            answer,
            status: 0,
            token: None,
            access: None,
            got: None,
            listed: Vec::new(),
        });
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

    /// With the access token that came with a refresh token at a time.
    fn ask(&mut self, at: f64, what: What, access: u64, answer: Answer) {
        self.request(at, what, answer).access = Some(access);
    }

    fn list(&mut self, at: f64, access: u64, listed: &[&str]) {
        self.ask(at, What::List, access, Answer::Done);
        self.last().listed = listed.iter().map(|&id| id.to_owned()).collect();
    }

    fn say(&mut self, session: &str, message: &str) {
        self.0.said.push(Said { session: session.to_owned(), message: message.to_owned() });
    }

    /// The server's clock is set, within a tenth of a second.
    fn step(&mut self, at: f64, offset: i64) {
        self.0.stepped.push(Stepped { from: micros(at), to: micros(at + 0.1), offset });
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
        assert!(found.keys().any(|name| name.starts_with(rule)), "{rule}: {found:#?}");
    }
}

/// An access token has the number of its refresh token, and a thousand.
fn got(at: f64, session: &str, token: u64) -> Got {
    let (session, subject) = (session.to_owned(), "one".to_owned());
    let expires_at = BEGAN + 8 + micros(at) / 1_000_000;
    Got { token, access: token + 1000, session, subject, expires_at }
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
        story.refresh(3.0, 2, answer);
        story.refresh(10.0, 2, Answer::Refused);
        assert_eq!(story.broken(), [""; 0]);
        story.say("a", "rotated");
        story.say("a", "reuse detected");
        assert_eq!(story.broken(), [""; 0]);
        // Not done.
        let mut story = begun();
        story.refresh(3.0, 2, answer);
        story.rotate(10.0, "a", 2, 3);
        assert_eq!(story.broken(), [""; 0]);
        // A logout, whose end nobody saw.
        let mut story = begun();
        story.logout(3.0, 2, answer);
        story.last().ended = NEVER;
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
    // And one that is used up by nobody.
    let mut story = begun();
    story.0.said.clear();
    story.breaks("R1 a token");
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
    story.breaks("R3 a reuse is told");
    // Twice, or without one.
    let mut story = begun();
    story.say("a", "reuse detected");
    story.breaks("R3 a reuse is told");
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
    // Forward: everything is over, until the time comes again.
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

/// What ended for another reason than its time stays over.
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
    // All is well: an access token is good until it expires, and what is in doubt may not have been done.
    let mut story = leave(3.0, Answer::Done);
    story.ask(4.0, What::Me, 1002, Answer::Done);
    story.ask(4.5, What::Live, 1002, Answer::Refused);
    story.refresh(5.0, 2, Answer::Refused);
    assert_eq!(story.broken(), [""; 0]);
    let mut story = leave(3.0, Answer::Broken);
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
    // Refused, instead of done again.
    let mut story = begun();
    story.logout(3.0, 1, Answer::Done);
    story.logout(4.0, 1, Answer::Refused);
    story.breaks("R10");
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
    // What was kept from being sent is no reason, and neither is another's logout.
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

/// By name, so that a rule that is added is tested too.
#[test]
fn each_rule_has_a_bad_log() {
    let tests = include_str!("bad_logs.rs");
    for name in rules() {
        let is_tested = tests.split("breaks(\"").skip(1).any(|rest| {
            let rule = rest.split('"').next().unwrap();
            name.starts_with(rule)
        });
        assert!(is_tested, "{name}");
    }
}
