//! R13, R14 and R15: keys that change and retire, settings, and logs that show a secret; and the
//! reauthentications and terms of a login.

use super::*;
use kippu_simulation::log::{Keys, Leak};

impl Story {
    /// The server signs with a key from a time on, and others are retired at seconds of the run.
    fn keys(&mut self, at: f64, signing: u64, retired: &[(u64, u64)]) {
        let retired = retired.iter().map(|(key, until)| (*key, BEGAN + until)).collect();
        self.0.keys.push(Keys { host: 0, from: micros(at), to: micros(at), signing, retired });
    }

    /// The last refresh token was made with a key.
    fn made_with(&mut self, key: u64) {
        self.last().got.as_mut().unwrap().key = Some(key);
    }
}

/// A login with the first key. The second signs from 5 s on, and the first is retired at 12 s.
fn rotated() -> Story {
    let mut story = Story::new();
    story.0.settings.rotates_keys = true;
    story.keys(0.0, 1, &[]);
    story.keys(5.0, 2, &[(1, 12)]);
    story.login(0.0, "a", 1);
    story.made_with(1);
    story
}

#[test]
fn a_key_that_is_replaced_is_no_breach() {
    let mut story = rotated();
    story.rotate(8.0, "a", 1, 2);
    story.made_with(2);
    // Its answer is repeated, with the key of the rotation.
    story.keys(9.0, 3, &[(1, 12), (2, 30)]);
    story.replay(10.0, "a", 1, 2);
    story.made_with(2);
    // A login of today.
    story.login(11.0, "b", 10);
    story.made_with(3);
    assert_eq!(story.broken(), [""; 0]);
    // The token of a retired key is refused, and its session lives on.
    let mut story = rotated();
    story.login(8.0, "b", 10);
    story.made_with(2);
    story.refresh(13.0, 1, Answer::Refused);
    story.list(14.0, 1010, &["a", "b"]);
    story.logout(15.0, 1, Answer::Done);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_key_that_is_not_the_one_of_its_time() {
    let mut story = rotated();
    story.rotate(8.0, "a", 1, 2);
    story.made_with(1);
    story.breaks("R13 the successor");
    let mut story = rotated();
    story.login(8.0, "b", 10);
    story.made_with(1);
    story.breaks("R13 the successor");
    // A replay with the key of today.
    let mut story = rotated();
    story.rotate(4.0, "a", 1, 2);
    story.made_with(1);
    story.replay(6.0, "a", 1, 3);
    story.made_with(2);
    story.breaks("R1 all");
}

#[test]
fn a_retired_key_that_is_good_for_too_long_or_too_short() {
    let mut story = rotated();
    story.rotate(13.0, "a", 1, 2);
    story.made_with(2);
    story.breaks("R13 a token of a retired key");
    let mut story = rotated();
    story.refresh(8.0, 1, Answer::Refused);
    story.breaks("R12");
}

#[test]
fn settings_that_cannot_be_safe() {
    for change in [
        |settings: &mut Settings| settings.access_lifetime = 0,
        |settings: &mut Settings| settings.grace = 8,
        |settings: &mut Settings| settings.idle_lifetime = 7,
        |settings: &mut Settings| settings.session_lifetime = 19,
    ] {
        let mut story = Story::new();
        change(&mut story.0.settings);
        story.say("", "refused to begin");
        assert_eq!(story.broken(), [""; 0]);
        story.login(0.0, "a", 1);
        story.breaks("R14");
    }
    let mut story = Story::new();
    story.say("", "refused to begin");
    story.breaks("R14");
    // Of one login.
    let mut story = begun();
    story.0.requests[0].terms.idle_lifetime = Some(7);
    story.breaks("R14");
}

#[test]
fn a_log_that_shows_a_token() {
    let mut story = begun();
    story.0.leaks.push(Leak { what: "token 1 is in a log".to_owned() });
    story.breaks("R15");
}

#[test]
fn a_login_has_its_own_terms() {
    // Its session expires earlier than others.
    for (at, is_breach) in [(10.0, true), (13.0, false)] {
        let mut story = begun();
        story.0.requests[0].terms.idle_lifetime = Some(10);
        story.refresh(at, 2, Answer::Refused);
        assert_eq!(story.broken().contains(&"R12"), is_breach, "{at}");
        let mut story = begun();
        story.0.requests[0].terms.idle_lifetime = Some(10);
        story.rotate(at, "a", 2, 3);
        assert_eq!(story.broken().contains(&"R7"), !is_breach, "{at}");
    }
    // It is not remembered, and each answer says so.
    let mut story = begun();
    story.0.requests[0].terms.is_forgotten = true;
    story.breaks("R9 tokens");
    // It allows no other session beside its own, where others allow it.
    let mut story = Story::new();
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.last().terms.max_sessions = Some(1);
    story.ask(3.0, What::Live, 1001, Answer::Done);
    story.breaks("R20 no more");
}

#[test]
fn a_reauthentication_uses_a_token_up() {
    let story = |next: u64| {
        let mut story = begun();
        story.ask(8.0, What::Reauthenticate, 1002, Answer::Done);
        story.last().got = Some(got(8.0, "a", 3));
        story.last().got.as_mut().unwrap().generation = Some(2);
        story.say("a", "reauthenticated");
        story.rotate(9.0, "a", 3, next);
        story
    };
    let mut right = story(4);
    right.replay(10.0, "a", 2, 3);
    assert_eq!(right.broken(), ["R3"], "a later token was used up before");
    assert_eq!(story(4).broken(), [""; 0]);
    // The token that it used up is refused after the grace.
    let mut late = begun();
    late.ask(8.0, What::Reauthenticate, 1002, Answer::Done);
    late.last().got = Some(got(8.0, "a", 3));
    late.last().got.as_mut().unwrap().generation = Some(2);
    late.say("a", "reauthenticated");
    late.replay(15.0, "a", 2, 3);
    late.breaks("R3 a reuse is refused");
}

#[test]
fn a_token_ahead_of_the_store_is_trusted_or_not_as_the_settings_say() {
    let story = |refuses: bool| {
        let mut story = begun();
        story.0.settings.refuses_ahead = refuses;
        story.rotate(9.0, "a", 2, 3);
        story.fail_over(9.0, 10.0);
        story
    };
    // The session goes on with the token that the store knows.
    let mut refused = story(true);
    refused.refresh(12.0, 3, Answer::Refused);
    refused.say("a", "the store is behind");
    refused.rotate(13.0, "a", 2, 3);
    assert_eq!(refused.broken(), [""; 0]);
    let mut trusted = story(true);
    trusted.replay(12.0, "a", 3, 4);
    trusted.say("a", "the store was behind");
    trusted.breaks("R6 the store");
    let mut refused = story(false);
    refused.refresh(12.0, 3, Answer::Refused);
    refused.breaks("R12");
    // Nothing was lost.
    let mut refused = begun();
    refused.0.settings.refuses_ahead = true;
    refused.refresh(12.0, 2, Answer::Refused);
    refused.breaks("R12");
}

/// Without a grace a token is good once, whatever the clocks show.
#[test]
fn without_a_grace_the_clocks_do_not_matter() {
    let story = |at: f64| {
        let mut story = Story::new();
        story.0.settings.grace = 0;
        story.login(0.0, "a", 1);
        story.rotate(2.0, "a", 1, 2);
        story.step(2.2, -3600);
        story.refresh(at, 1, Answer::Refused);
        story.say("a", "reuse detected");
        story
    };
    assert_eq!(story(2.3).broken(), [""; 0]);
    let mut replayed = story(4.0);
    replayed.replay(3.0, "a", 1, 2);
    replayed.breaks("R3 a reuse is refused");
}
