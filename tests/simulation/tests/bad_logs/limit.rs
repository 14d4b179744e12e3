//! R20: logs of a user who may have so many live sessions.

use super::*;

fn limited(max_sessions: usize) -> Story {
    let mut story = Story::new();
    story.0.settings.max_sessions = Some(max_sessions);
    story
}

impl Story {
    /// A login that ends no other session.
    fn login_beside(&mut self, at: f64, session: &str, token: u64) {
        self.login(at, session, token);
        self.last().keeps_others = true;
    }

    /// A login that ends no other session is refused.
    fn no_room(&mut self, at: f64) {
        self.request(at, What::Login, Answer::NoRoom).keeps_others = true;
    }

    /// A login is not answered, since the server is killed.
    fn lose_login(&mut self, at: f64) {
        self.fault(FaultKind::Kill, at, at + 0.1);
        self.request(at, What::Login, Answer::Broken);
    }

    fn is_alive(&mut self, at: f64, token: u64) {
        self.ask(at, What::Live, token + 1000, Answer::Done);
    }

    fn has_ended(&mut self, at: f64, token: u64) {
        self.ask(at, What::Live, token + 1000, Answer::Refused);
    }

    #[track_caller]
    fn holds(&self) {
        assert_eq!(check(&self.0), BTreeMap::default());
    }
}

/// Where there is room for two, the third ends the first.
fn evicted() -> Story {
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.login(2.0, "c", 3);
    story.evict("a");
    story
}

#[test]
fn a_login_that_ends_the_oldest_is_no_breach() {
    let mut story = evicted();
    story.ask(3.4, What::Me, 1001, Answer::Done);
    story.refresh(3.0, 1, Answer::Refused);
    story.has_ended(3.5, 1);
    story.rotate(4.0, "b", 2, 20);
    story.is_alive(5.0, 3);
    story.list(6.0, 1020, &["b", "c"]);
    // There is room again.
    story.logout(7.0, 20, Answer::Done);
    story.login(8.0, "d", 4);
    story.is_alive(9.0, 3);
    story.is_alive(9.0, 4);
    story.holds();
    // One that was made in the same millisecond may be older.
    for (sent, is_breach) in [(0.5005, false), (0.502, true)] {
        let mut story = limited(2);
        story.login(0.0, "a", 1);
        story.login(sent, "b", 2);
        story.login(2.0, "c", 3);
        story.evict("b");
        story.has_ended(3.0, 2);
        assert_eq!(story.broken().contains(&"R20"), is_breach, "{sent}");
        assert_eq!(story.broken().contains(&"R12"), is_breach, "{sent}");
    }
}

#[test]
fn a_login_that_is_refused_for_its_limit_is_no_breach() {
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login_beside(1.0, "b", 2);
    story.no_room(2.0);
    story.list(3.0, 1001, &["a", "b"]);
    story.logout(4.0, 1, Answer::Done);
    story.login_beside(5.0, "c", 3);
    story.is_alive(6.0, 2);
    story.is_alive(6.0, 3);
    story.holds();
    // By a session whose login was not answered.
    let mut story = limited(1);
    story.lose_login(0.0);
    story.no_room(2.0);
    story.holds();
}

#[test]
fn a_login_that_was_not_answered_may_have_ended_another_session() {
    for is_made in [false, true] {
        let mut story = limited(2);
        story.login(0.0, "a", 1);
        story.login(1.0, "b", 2);
        story.lose_login(2.0);
        if is_made {
            story.has_ended(3.0, 1);
            story.list(4.0, 1002, &["b", "lost"]);
        } else {
            story.is_alive(3.0, 1);
            story.list(4.0, 1002, &["a", "b"]);
        }
        story.holds();
    }
    // It waits in the store, and another one is faster.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.lose_login(2.0);
    story.0.faults.last_mut().unwrap().span.1 = micros(6.0);
    story.login_beside(5.0, "b", 2);
    story.has_ended(8.0, 1);
    story.holds();
    // It is the one that makes another session the oldest but one.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.lose_login(1.0);
    story.login(3.0, "c", 3);
    story.evict("a");
    story.has_ended(4.0, 1);
    story.holds();
}

#[test]
fn of_logins_at_once_any_may_be_the_last() {
    for ended in [1, 2] {
        let mut story = limited(1);
        story.login(2.0, "a", 1);
        story.login(2.2, "b", 2);
        story.evict(["a", "b"][ended - 1]);
        story.is_alive(3.0, [2, 1][ended - 1]);
        story.has_ended(3.0, [1, 2][ended - 1]);
        story.holds();
        // As where both wait for the store.
        let mut story = limited(1);
        story.stall(2.0, 5.0);
        story.login(2.0, "a", 1);
        story.answered(5.5);
        story.login(4.5, "b", 2);
        story.answered(5.5);
        story.has_ended(6.0, [1, 2][ended - 1]);
        story.is_alive(6.0, [2, 1][ended - 1]);
        story.holds();
    }
}

/// A session that has expired by the clock of the login takes no room.
#[test]
fn a_session_that_has_expired_is_no_breach_when_it_is_back() {
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(0.5, "b", 2);
    story.lose_login(1.0);
    story.step(2.0, TEN_YEARS);
    for (session, token) in [("c", 3), ("d", 4)] {
        story.login(3.0, session, token);
        story.end_later(TEN_YEARS);
    }
    story.step(4.0, 0);
    story.list(4.2, 1001, &["a", "b", "c", "d", "lost"]);
    for token in [1, 2] {
        story.is_alive(5.0, token);
    }
    for (session, token) in [("c", 3), ("d", 4)] {
        story.ask(5.0, What::Live, token + 1000, Answer::Early);
        story.rotate(5.0, session, token, token + 10);
    }
    story.holds();
    // A refresh that waited brings it back.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.stall(19.0, 22.0);
    story.rotate(19.5, "a", 1, 10);
    story.answered(22.5);
    story.login(21.0, "b", 2);
    story.answered(22.5);
    story.is_alive(24.0, 10);
    story.is_alive(24.0, 2);
    story.holds();
}

#[test]
fn the_age_of_a_session_is_that_of_the_servers_clock() {
    let set_back = || {
        let mut story = limited(2);
        story.login(0.0, "a", 1);
        story.login(1.0, "b", 2);
        story.step(2.0, -HOUR);
        for (at, session, token) in [(3.0, "c", 3), (4.0, "d", 4)] {
            story.login(at, session, token);
            story.end_later(-HOUR);
        }
        story.evict("a");
        story
    };
    let mut story = set_back();
    story.evict("c");
    story.has_ended(5.0, 3);
    story.is_alive(6.0, 2);
    story.holds();
    let mut story = set_back();
    story.evict("b");
    story.has_ended(5.0, 2);
    story.is_alive(6.0, 3);
    story.breaks("R20 a session is evicted");
    // It has certainly ended, though it began after the other.
    let mut story = set_back();
    story.is_alive(5.0, 3);
    story.is_alive(6.0, 2);
    story.breaks("R11");
}

#[test]
fn a_login_whose_session_has_ended_before_the_answer() {
    // By another login, or by a logout.
    let mut story = limited(1);
    story.login(2.0, "a", 1);
    story.request(2.2, What::Login, Answer::Refused);
    story.holds();
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.ask(2.0, What::LogoutAll, 1001, Answer::Done);
    story.request(2.2, What::Login, Answer::Refused);
    story.holds();
    // The clock was set in between.
    let mut story = limited(2);
    story.step(2.3, TEN_YEARS);
    story.request(2.2, What::Login, Answer::Refused);
    story.holds();
    // It has ended another session all the same.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.ask(2.0, What::LogoutOthers, 1002, Answer::Done);
    story.request(2.2, What::Login, Answer::Refused);
    story.evict("a");
    story.holds();
    // For no reason: the others were before or after it, they need no room, or are another user's.
    let mut story = limited(1);
    story.login(1.0, "a", 1);
    story.ask(1.6, What::LogoutAll, 1001, Answer::Done);
    story.request(2.2, What::Login, Answer::Refused);
    story.login(3.0, "b", 2);
    story.ask(4.0, What::LogoutAll, 1002, Answer::Done);
    story.breaks("R12");
    for max in [1, 2] {
        let mut story = limited(max);
        story.login(2.0, "a", 1);
        story.last().keeps_others = max == 1;
        story.request(2.2, What::Login, Answer::Refused);
        story.breaks("R12");
    }
    let mut story = limited(1);
    story.login(2.0, "a", 1);
    story.last().user = 2;
    story.request(2.1, What::LogoutAll, Answer::Done).user = 2;
    story.request(2.2, What::Login, Answer::Refused);
    story.breaks("R12");
}

#[test]
fn more_sessions_than_there_is_room_for() {
    // One after the other.
    let mut story = limited(2);
    for (at, session, token) in [(0.0, "a", 1), (1.0, "b", 2), (2.0, "c", 3)] {
        story.login(at, session, token);
    }
    story.is_alive(3.0, 1);
    story.is_alive(3.0, 2);
    story.breaks("R20 no more");
    // A refresh shows it too, and a list.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.rotate(2.0, "a", 1, 10);
    story.breaks("R20 no more");
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.list(2.0, 1002, &["a"]);
    story.breaks("R20 no more");
    // The last is not to end any.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login_beside(1.0, "b", 2);
    story.is_alive(2.0, 1);
    story.breaks("R20 no more");
    // At once.
    let mut story = limited(2);
    for (session, token) in [("a", 1), ("b", 2), ("c", 3)] {
        story.login(0.0, session, token);
        story.is_alive(1.0, token);
    }
    story.breaks("R20 no more");
    // In a list, with one whose login was not answered, or that began when the list was under way.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.lose_login(1.0);
    story.list(2.0, 1001, &["a", "lost"]);
    story.breaks("R20 no more");
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.list(1.2, 1001, &["a", "b"]);
    story.breaks("R20 no more");
    // All is well: an access token alone shows nothing, and sessions of others do not count.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.evict("a");
    story.ask(2.0, What::Me, 1001, Answer::Done);
    story.login(3.0, "c", 3);
    story.last().user = 2;
    story.last().got.as_mut().unwrap().subject = "two".to_owned();
    story.is_alive(4.0, 2);
    story.holds();
}

#[test]
fn a_session_that_no_limit_ends() {
    let unexplained = |story: &Story| {
        story.breaks("R12 a session ends");
        story.breaks("R20 a session is evicted");
    };
    // There is room.
    let mut story = limited(3);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.login(2.0, "c", 3);
    story.evict("a");
    story.has_ended(3.0, 1);
    unexplained(&story);
    // It is not the oldest.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.login(2.0, "c", 3);
    story.evict("b");
    story.has_ended(3.0, 2);
    unexplained(&story);
    // The other one was no longer live.
    let ends: [fn(&mut Story); 3] = [
        |story| story.logout(2.0, 2, Answer::Done),
        |story| story.has_ended(2.0, 2),
        |story| {
            story.fault(FaultKind::Kill, 2.0, 2.1);
        },
    ];
    for (number, end) in ends.iter().enumerate() {
        let mut story = limited(2);
        story.login(0.0, "a", 1);
        if number < 2 {
            story.login(1.0, "b", 2);
        } else {
            // It expires.
            story.request(1.0, What::Login, Answer::Broken);
            story.fault(FaultKind::Kill, 1.0, 1.1);
            story.rotate(15.0, "a", 1, 10);
        }
        end(&mut story);
        let (at, token) = if number < 2 { (3.0, 1) } else { (25.0, 10) };
        story.login(at, "c", 3);
        story.evict("a");
        story.has_ended(at + 1.0, token);
        unexplained(&story);
    }
    // The login that follows ends none.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login_beside(2.0, "b", 2);
    story.evict("a");
    story.has_ended(3.0, 1);
    unexplained(&story);
    // It is another user's, or was not done.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.login(2.0, "b", 2);
    story.last().user = 2;
    story.request(2.0, What::Login, Answer::Limited);
    story.request(2.0, What::Login, Answer::Unsent);
    story.no_room(2.0);
    story.evict("a");
    story.has_ended(3.0, 1);
    unexplained(&story);
    // It was before, or comes later.
    let mut story = limited(1);
    story.login(0.0, "b", 2);
    story.login(1.0, "a", 1);
    story.has_ended(2.0, 1);
    story.login(2.6, "c", 3);
    story.breaks("R12 a session ends");
    // Nor does it excuse what was seen before a failover.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.fail_over(1.5, 3.0);
    story.has_ended(1.6, 1);
    story.login(6.0, "b", 2);
    story.breaks("R12 a session ends");
}

#[test]
fn an_eviction_that_is_not_told_once() {
    let mut story = evicted();
    story.login(3.0, "d", 4);
    story.evict("b");
    story.has_ended(4.0, 1);
    story.holds();
    story.evict("a");
    story.breaks("R20 a session is evicted");
    let mut story = evicted();
    story.0.said.clear();
    story.has_ended(3.0, 1);
    story.breaks("R20 a session is evicted");
    // The end of a session that no login explains is another rule's breach.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.has_ended(1.0, 1);
    assert_eq!(story.broken(), ["R12"]);
    // Of a session that had ended before.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.logout(1.0, 1, Answer::Done);
    story.login(2.0, "b", 2);
    story.evict("a");
    story.breaks("R20 a session is evicted");
    // No report is needed where the login was not answered, or its answer from the store or the
    // log's last lines were lost.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.fault(FaultKind::Kill, 1.0, 1.1);
    story.request(2.0, What::Login, Answer::Unavailable);
    story.has_ended(3.0, 1);
    story.holds();
    let mut story = evicted();
    story.0.said.clear();
    story.has_ended(3.0, 1);
    story.fault(FaultKind::Failover, 2.4, 2.6);
    story.holds();
    let mut story = evicted();
    story.0.said.clear();
    story.has_ended(6.0, 1);
    story.fault(FaultKind::Kill, 2.55, 4.0).still = Some(span(2.56, 3.5));
    story.holds();
    // Nor where anything else may have ended it.
    let others: [fn(&mut Story); 3] = [
        |story| {
            story.fault(FaultKind::Kill, 3.0, 3.1);
            story.logout(3.0, 1, Answer::Broken);
            story.has_ended(5.0, 1);
        },
        |story| {
            story.fault(FaultKind::Kill, 1.6, 1.7);
            story.refresh(1.6, 1, Answer::Broken);
            story.refresh(8.0, 1, Answer::Refused);
        },
        |story| story.refresh(22.0, 1, Answer::Refused),
    ];
    for other in others {
        let mut story = evicted();
        story.0.said.clear();
        other(&mut story);
        story.holds();
    }
}

#[test]
fn a_session_that_outlives_its_eviction() {
    // It is shown as alive, or rotates.
    let mut story = evicted();
    story.is_alive(3.0, 1);
    story.is_alive(4.0, 2);
    story.breaks("R11");
    let mut story = evicted();
    story.rotate(3.0, "a", 1, 10);
    story.is_alive(4.0, 2);
    story.breaks("R11");
    // Its access token is accepted. The login is answered at 2.5.
    for (at, is_breach) in [(3.5, false), (3.6, true)] {
        let mut story = evicted();
        story.ask(at, What::Me, 1001, Answer::Done);
        story.is_alive(4.0, 2);
        assert_eq!(story.broken().contains(&"R19"), is_breach, "{at}");
    }
    // All is well: the younger one may have ended before.
    let mut story = evicted();
    story.0.said.clear();
    story.fault(FaultKind::Kill, 1.6, 1.7);
    story.logout(1.6, 2, Answer::Broken);
    story.is_alive(3.0, 1);
    story.ask(4.0, What::Me, 1001, Answer::Done);
    story.holds();
}

#[test]
fn a_login_that_is_refused_for_no_limit() {
    let is_breach = |max: usize, at: f64, before: fn(&mut Story)| {
        let mut story = limited(max);
        before(&mut story);
        story.no_room(at);
        story.broken().contains(&"R20")
    };
    // There is room: the other has not begun, or has ended.
    assert!(is_breach(2, 2.0, |story| story.login(0.0, "a", 1)));
    assert!(!is_breach(1, 2.0, |story| story.login(0.0, "a", 1)));
    assert!(is_breach(1, 2.0, |story| story.login(3.0, "a", 1)));
    assert!(is_breach(1, 2.0, |story| {
        story.login(0.0, "a", 1);
        story.logout(1.0, 1, Answer::Done);
    }));
    assert!(is_breach(1, 2.0, |story| {
        story.request(0.0, What::LogoutAll, Answer::Done);
        story.request(0.0, What::Login, Answer::Refused);
    }));
    // It has expired: a login, a refresh, and a login that was not answered.
    for (at, expected) in [(20.5, false), (21.5, true)] {
        assert_eq!(is_breach(1, at, |story| story.login(0.0, "a", 1)), expected, "{at}");
        assert_eq!(is_breach(1, at, |story| story.lose_login(0.0)), expected, "{at}");
        let refreshed = |story: &mut Story| {
            story.login(0.0, "a", 1);
            story.rotate(10.0, "a", 1, 10);
        };
        assert_eq!(is_breach(1, at + 10.0, refreshed), expected, "{at}");
    }
    // It was to end the oldest.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.request(2.0, What::Login, Answer::NoRoom);
    story.breaks("R20 a login is refused");
    // There is no limit.
    let mut story = begun();
    story.no_room(3.0);
    story.breaks("R20 a login is refused");
    // It has begun a session all the same.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.no_room(2.0);
    story.logout(3.0, 1, Answer::Done);
    story.list(4.0, 1002, &["b", "refused"]);
    story.lose_login(5.0);
    story.breaks("R20 a login is refused");
}

#[test]
fn a_failover_that_loses_an_eviction_is_no_breach() {
    // The login and what it has ended are lost together.
    let mut story = evicted();
    story.fail_over(2.0, 3.0);
    story.has_ended(2.6, 1);
    story.is_alive(2.6, 2);
    story.is_alive(5.0, 1);
    story.is_alive(5.0, 2);
    story.has_ended(5.0, 3);
    // It is ended again.
    story.login(6.0, "d", 4);
    story.evict("a");
    story.has_ended(7.0, 1);
    story.holds();
    // A logout made room for the login, and both are lost.
    let mut story = limited(1);
    story.login(0.0, "a", 1);
    story.logout(2.0, 1, Answer::Done);
    story.login(2.6, "b", 2);
    story.fail_over(2.0, 3.5);
    story.is_alive(3.2, 2);
    story.is_alive(5.0, 1);
    story.has_ended(6.0, 2);
    story.holds();
    // The one that was logged out is back, and had left room for the other.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.logout(2.0, 2, Answer::Done);
    story.login(2.6, "c", 3);
    story.fail_over(2.0, 4.5);
    story.is_alive(3.2, 1);
    story.is_alive(6.0, 2);
    story.has_ended(6.0, 3);
    story.holds();
    // The login waits for the new server, where the session that was logged out is live.
    let mut story = limited(2);
    story.login(0.0, "a", 1);
    story.login(1.0, "b", 2);
    story.logout(2.0, 2, Answer::Done);
    story.request(2.6, What::Login, Answer::Unavailable);
    story.fail_over(2.0, 3.5);
    story.has_ended(6.0, 1);
    story.holds();
    // Earlier changes are not lost.
    let mut story = evicted();
    story.fail_over(4.0, 5.0);
    story.is_alive(7.0, 1);
    story.is_alive(7.0, 2);
    story.breaks("R20 no more");
    story.breaks("R11");
}
