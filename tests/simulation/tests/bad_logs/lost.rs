//! Failovers that lose commits: logs in which the lost step is made again, and logs that no loss
//! explains.

use super::*;

/// A rotation that a failover loses, with refresh keys that change.
fn lost_rotation() -> Story {
    let mut story = begun();
    story.0.settings.rotates_keys = true;
    story.rotate(9.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story
}

#[test]
fn a_lost_generation_that_is_made_again_with_another_key_is_no_breach() {
    let mut story = lost_rotation();
    story.rotate(12.0, "a", 2, 4);
    story.rotate(13.0, "a", 4, 5);
    // Both tokens are of the generation before the current one.
    story.replay(14.0, "a", 3, 5);
    story.replay(14.5, "a", 4, 5);
    story.rotate(15.0, "a", 5, 6);
    // Both are two generations old.
    story.refresh(16.0, 3, Answer::Refused);
    story.say("a", "reuse detected");
    assert_eq!(story.broken(), [""; 0]);
    // A second failover loses the second one.
    let mut story = lost_rotation();
    story.rotate(12.0, "a", 2, 4);
    story.fail_over(12.0, 13.0);
    story.rotate(15.0, "a", 2, 5);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn two_tokens_of_one_generation_that_no_loss_explains() {
    // The keys do not change.
    let mut story = lost_rotation();
    story.0.settings.rotates_keys = false;
    story.rotate(12.0, "a", 2, 4);
    story.breaks("R1 all");
    // Both were given before the loss, or after it.
    let mut story = lost_rotation();
    story.replay(9.1, "a", 2, 4);
    story.breaks("R1 all");
    let mut story = lost_rotation();
    story.rotate(12.0, "a", 2, 4);
    story.replay(13.0, "a", 2, 5);
    story.breaks("R1 all");
    // The lost changes came later.
    let mut story = begun();
    story.0.settings.rotates_keys = true;
    story.rotate(5.0, "a", 2, 3);
    story.fail_over(9.0, 10.0);
    story.rotate(12.0, "a", 2, 4);
    story.breaks("R1 all");
    // One failover loses one rotation.
    let mut story = lost_rotation();
    story.rotate(12.0, "a", 2, 4);
    story.say("a", "rotated");
    story.breaks("R1 a token");
}

#[test]
fn a_reuse_of_a_generation_that_was_made_again() {
    // The token that was lost is as old as the one that took its place.
    for reused in [3, 4] {
        let mut story = lost_rotation();
        story.rotate(12.0, "a", 2, 4);
        story.rotate(13.0, "a", 4, 5);
        story.rotate(14.0, "a", 5, 6);
        story.replay(15.0, "a", reused, 5);
        story.breaks("R3 a reuse is refused");
    }
}

#[test]
fn an_eviction_that_is_lost_and_comes_again_is_no_breach() {
    // The server that has seen the end in the log of ended sessions still refuses the session.
    let story = |again: f64| {
        let mut story = Story::new();
        story.0.settings.max_sessions = Some(2);
        story.login(0.0, "a", 1);
        story.login(1.0, "b", 2);
        story.login(3.0, "c", 3);
        story.evict("a");
        story.fail_over(3.0, 4.0);
        story.ask(5.2, What::Me, 1001, Answer::Refused);
        story.login(again, "d", 4);
        story.evict("a");
        story.refresh(again + 1.0, 1, Answer::Refused);
        story
    };
    assert_eq!(story(6.0).broken(), [""; 0]);
    // Without a loss it is ended once.
    let mut story = story(6.0);
    story.0.faults.clear();
    story.breaks("R20 a session is evicted");
}

/// A logout of all that was not answered waits for the end of a stall, and then in line.
#[test]
fn a_login_that_a_waiting_logout_ends() {
    let story = |login: f64| {
        let mut story = Story::new();
        story.stall(1.0, 4.0);
        story.request(1.5, What::LogoutAll, Answer::Unavailable);
        story.request(login, What::Login, Answer::Refused);
        story
    };
    assert_eq!(story(4.9).broken(), [""; 0]);
    story(5.1).breaks("R12");
}

/// Two servers are primaries from 3 to 6 s.
fn split() -> Story {
    let mut story = begun();
    story.fail_over(3.0, 6.0);
    story.0.faults[0].is_split = true;
    story
}

#[test]
fn two_primaries_at_once_do_not_know_what_the_other_did() {
    // A logout, and a refresh by the one that does not know of it, or of the rotation.
    for until in [4.0, 8.0] {
        let mut story = split();
        story.logout(3.2, 2, Answer::Done);
        story.ask(until, What::Live, 1002, Answer::Done);
        story.rotate(until + 0.2, "a", 2, 3);
        assert_eq!(story.broken(), [""; 0]);
    }
    let mut story = split();
    story.rotate(3.2, "a", 2, 3);
    story.rotate(4.0, "a", 2, 3);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_logout_that_two_primaries_do_not_explain() {
    // Both know what came before.
    let mut story = split();
    story.logout(2.4, 2, Answer::Done);
    story.ask(4.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
    // There was one of them until the end of the loss.
    let mut story = split();
    story.0.faults[0].is_split = false;
    story.logout(3.2, 2, Answer::Done);
    story.ask(4.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
    // There is one of them again.
    let mut story = split();
    story.logout(6.2, 2, Answer::Done);
    story.ask(7.0, What::Live, 1002, Answer::Done);
    story.breaks("R16 after");
}
