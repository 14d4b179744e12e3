//! Histories without tolerances: of one thread whose store never waits, with clocks of whole
//! milliseconds.

use kippu_simulation::log::Margins;

use super::*;

/// A session of token 1. A request ends a microsecond after it was sent.
fn exact() -> Story {
    let mut story = Story::new();
    story.0.settings.margins = Margins::exact();
    story.login(1.0, "a", 1);
    story.answered(1.000_001);
    story
}

fn rotated(at: f64) -> Story {
    let mut story = exact();
    story.rotate(at, "a", 1, 2);
    story.answered(at + 0.000_001);
    story
}

/// The clock is set back by so many seconds before the rotation.
fn set_back(by: i64) -> Story {
    let mut story = exact();
    let offset = -by;
    story.0.stepped.push(Stepped { host: 0, from: 1_600_000, to: 1_600_000, offset });
    story.rotate(2.0, "a", 1, 2);
    story.answered(2.000_001);
    story.end_later(-by);
    story
}

/// The numbers of the rules that a story breaks with one more request. It presents token 1, was
/// sent at a time, and ended at another.
fn broken_by(mut story: Story, (sent, ended): (f64, f64), got: Option<u64>) -> Vec<&'static str> {
    match got {
        Some(next) => story.replay(sent, "a", 1, next),
        None => story.refresh(sent, 1, Answer::Refused),
    }
    story.answered(ended);
    story.broken()
}

fn at(time: f64) -> (f64, f64) {
    (time, time + 0.000_001)
}

#[test]
fn the_grace_ends_behind_its_last_millisecond() {
    assert_eq!(broken_by(rotated(2.0), at(7.000_9), Some(2)), [""; 0]);
    assert_eq!(broken_by(rotated(2.0), at(7.000_9), None), ["R2"]);
    assert_eq!(broken_by(rotated(2.0), at(7.001), Some(2)), ["R3"]);
    let mut told = rotated(2.0);
    told.say("a", "reuse detected");
    assert_eq!(broken_by(told, at(7.001), None), [""; 0]);
}

#[test]
fn a_session_ends_at_the_millisecond_of_its_end() {
    let used = || {
        let mut story = exact();
        story.say("a", "rotated");
        story
    };
    assert_eq!(broken_by(used(), at(20.999_9), Some(2)), [""; 0]);
    assert_eq!(broken_by(exact(), at(20.999_9), None), ["R12"]);
    assert_eq!(broken_by(used(), at(21.0), Some(2)), ["R7"]);
    assert_eq!(broken_by(exact(), at(21.0), None), [""; 0]);
}

/// However long the application takes to answer, and whatever the clock shows.
#[test]
fn a_token_that_was_presented_before_the_rotation_is_replayed() {
    let late = (1.5, 12.0);
    assert_eq!(broken_by(rotated(2.0), late, Some(2)), [""; 0]);
    assert_eq!(broken_by(rotated(2.0), late, None), ["R2"]);
    assert_eq!(broken_by(set_back(10), late, Some(2)), [""; 0]);
    assert_eq!(broken_by(set_back(10), late, None), ["R2"]);
}

/// The end of a session that another clock has moved: it counts when a token is presented (R7).
#[test]
fn a_clock_that_was_set_back_since_the_presentation_explains_a_refusal() {
    let broken = |by| {
        let mut story = set_back(by);
        story.refresh(1.5, 1, Answer::Refused);
        story.answered(3.0);
        // The session goes on by the clock of now.
        story.rotate(4.0, "a", 2, 3);
        story.answered(4.000_001);
        story.end_later(-by);
        story.broken()
    };
    assert_eq!(broken(100), [""; 0]);
    assert_eq!(broken(10), ["R11", "R2"]);
}

#[test]
fn a_change_behind_a_logout_is_a_breach_though_it_was_asked_before() {
    let logged_out = || {
        let mut story = exact();
        story.say("a", "rotated");
        story.logout(2.0, 1, Answer::Done);
        story.answered(2.000_001);
        story
    };
    assert_eq!(broken_by(logged_out(), (1.5, 3.0), Some(2)), ["R10", "R11"]);
    let mut inexact = logged_out();
    inexact.0.settings.margins = Margins::default();
    assert_eq!(broken_by(inexact, (1.5, 3.0), Some(2)), [""; 0]);
}

#[test]
fn without_a_grace_no_presentation_is_early_enough() {
    let mut story = rotated(2.0);
    story.0.settings.grace = 0;
    assert_eq!(broken_by(story, (1.5, 3.0), Some(2)), ["R3"]);
}
