//! The clocks of the hosts, which may have been set while the run went on: what they can have shown
//! at its times.

use crate::log::{Log, Micros, Request, Span, Stepped};

/// Some of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hosts(u64);

impl Hosts {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u64::MAX);

    pub(super) fn one(host: u32) -> Self {
        Self(1_u64.checked_shl(host).expect("a log has at most 64 hosts"))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All hosts, where none of them is known.
    pub(super) fn or_all(self) -> Self {
        if self == Self::NONE { Self::ALL } else { self }
    }

    fn has(self, host: usize) -> bool {
        u32::try_from(host).is_ok_and(|host| self.0 & Self::one(host).0 != 0)
    }
}

/// When something happened, and by whose clock it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) span: Span,
    pub(super) by: Hosts,
    /// When that clock was read, at the earliest: what happens later counts from this reading on,
    /// whatever was set since.
    pub(super) read_from: Option<Micros>,
}

impl When {
    pub(super) fn new(span: Span, by: Hosts) -> Self {
        Self { span, by, read_from: None }
    }

    /// When a request was judged, by the server that answered it.
    pub(super) fn of(request: &Request) -> Self {
        Self::new(request.span(), Hosts::one(request.server))
    }
}

pub(super) struct Clock {
    /// Of each host, when it may have been ahead of the run by how much, in microseconds; behind it
    /// when negative.
    offsets: Vec<Vec<(Span, i64)>>,
    /// All that the log names.
    known: Hosts,
    /// Those that answer requests.
    servers: Hosts,
    slack: i64,
    /// Clocks show multiples of this.
    tick: i64,
}

impl Clock {
    pub(super) fn of(log: &Log) -> Self {
        let Log { settings, requests, stepped, .. } = log;
        let all = |hosts: &mut dyn Iterator<Item = u32>| {
            hosts.map(Hosts::one).fold(Hosts::NONE, Hosts::and)
        };
        let stores = all(&mut settings.store_hosts.iter().copied());
        let set = all(&mut stepped.iter().map(|step| step.host));
        let asked = all(&mut requests.iter().map(|request| request.server));
        let known = asked.and(set).and(stores);
        let servers = Hosts(known.0 & !stores.0);
        let last = stepped.iter().map(|step| step.host).max().unwrap_or_default();
        let offsets = (0..=last).map(|host| offsets(stepped, host)).collect();
        let tick = if settings.margins.is_exact { 1_000 } else { 1 };
        Self { offsets, known, servers, slack: micros(settings.margins.slack), tick }
    }

    pub(super) fn slack(&self) -> i64 {
        self.slack
    }

    /// The earliest time that it can have shown.
    pub(super) fn earliest(&self, when: When) -> i64 {
        self.shown(when).map(|(first, _)| first).min().expect("it always shows a time")
    }

    /// The latest time that it can have shown.
    pub(super) fn latest(&self, when: When) -> i64 {
        self.shown(when).map(|(_, last)| last).max().expect("it always shows a time")
    }

    /// The offsets of some hosts. A clock that was never set is at the time of the run.
    fn of_hosts(&self, by: Hosts) -> impl Iterator<Item = &[(Span, i64)]> {
        let by = if by.0 & self.known.0 == 0 { by } else { Hosts(by.0 & self.known.0) };
        let set = self.offsets.iter().enumerate().filter(move |(host, _)| by.has(*host));
        let set = set.map(|(_, offsets)| &**offsets);
        let unset = (self.offsets.len()..64).find(|host| by.has(*host));
        set.chain(unset.map(|_| UNSET))
    }

    /// From when to when it can have shown, for each offset that it may have had.
    fn shown(&self, when: When) -> impl Iterator<Item = (i64, i64)> {
        let When { span: (from, to), by, read_from } = when;
        let (since, tick) = (read_from.unwrap_or(from).min(from), self.tick);
        let offsets = self.of_hosts(by).flatten();
        let within = offsets.filter(move |((start, end), _)| *start <= to && since <= *end);
        within.map(move |((start, end), offset)| {
            let last = if read_from.is_some() { to } else { to.min(*end) };
            let cut = |at| micros(at).div_euclid(tick) * tick + offset;
            (cut(from.max(*start)), cut(last))
        })
    }

    /// Whether more than so many microseconds passed from something to something else, for certain.
    pub(super) fn passed(&self, lifetime: i64, from: When, to: When) -> bool {
        self.earliest(to) - self.latest(from) > lifetime + self.slack
    }

    /// Whether they may have passed.
    pub(super) fn may_have_passed(&self, lifetime: i64, from: When, to: When) -> bool {
        self.latest(to) - self.earliest(from) > lifetime - self.slack
    }

    /// Until when no server shows an earlier time than the one that judged a request, counted on.
    pub(super) fn goes_on_from(&self, judged: &Request) -> Micros {
        let (sent, ended) = judged.span();
        let of_server = self.of_hosts(Hosts::one(judged.server)).flatten();
        let within = of_server.filter(|((start, end), _)| *start <= ended && sent <= *end);
        let offset = within.map(|(_, offset)| *offset).max().unwrap_or_default();
        let behind = self.of_hosts(self.servers).flatten();
        let behind = behind.filter(|((_, end), other)| *other < offset && sent <= *end);
        behind.map(|((start, _), _)| sent.max(*start)).min().unwrap_or(Micros::MAX)
    }
}

/// The offsets of a clock that was never set.
const UNSET: &[(Span, i64)] = &[((0, Micros::MAX), 0)];

fn offsets(steps: &[Stepped], host: u32) -> Vec<(Span, i64)> {
    let mut steps: Vec<_> = steps.iter().filter(|step| step.host == host).collect();
    steps.sort_by_key(|step| step.from);
    let end = |next: usize| steps.get(next).map_or(Micros::MAX, |step| step.to);
    let mut offsets = vec![((0, end(0)), 0)];
    for (number, step) in steps.iter().enumerate() {
        offsets.push(((step.from, end(number + 1)), step.offset * 1_000_000));
    }
    offsets
}

pub(super) fn seconds(seconds: u64) -> i64 {
    micros(seconds.saturating_mul(1_000_000))
}

/// A request without an observed end ends long after everything else.
pub(super) fn micros(at: Micros) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Settings;

    fn step(host: u32, from: Micros, to: Micros, offset: i64) -> Stepped {
        Stepped { host, from, to, offset }
    }

    fn log(steps: &[Stepped], stores: &[u32]) -> Log {
        let settings = Settings { store_hosts: stores.to_vec(), ..Settings::default() };
        Log { settings, stepped: steps.to_vec(), ..Log::default() }
    }

    fn judged(server: u32, (sent, ended): Span) -> Request {
        let text = format!(
            r#"{{"sent":{sent},"ended":{ended},"server":{server},"user":0,"who":"owner","what":"live","answer":"refused"}}"#
        );
        serde_json::from_str(&text).expect("a request")
    }

    #[test]
    fn a_time_goes_on_until_a_server_is_set_behind_it() {
        let clock = Clock::of(&log(&[step(0, 10, 12, -1), step(0, 20, 22, 5)], &[]));
        let ends = [(0, 1), (11, 11), (13, 14), (19, 23), (23, 30)];
        let ends = ends.map(|span| clock.goes_on_from(&judged(0, span)));
        // While a clock is set, it may show what it showed before, or not.
        assert_eq!(ends, [10, 11, Micros::MAX, 19, Micros::MAX]);
    }

    fn by(span: Span, by: Hosts) -> When {
        When::new(span, by)
    }

    #[test]
    fn a_clock_shows_what_it_was_set_to() {
        let steps = [step(0, 10, 12, -1), step(0, 20, 22, 5)];
        let clock = Clock::of(&log(&steps, &[]));
        let shown = |span| {
            let when = by(span, Hosts::one(0));
            (clock.earliest(when), clock.latest(when))
        };
        assert_eq!(shown((3, 4)), (3, 4));
        // While it is set, it shows either.
        assert_eq!(shown((11, 11)), (11 - 1_000_000, 11));
        assert_eq!(shown((9, 13)), (10 - 1_000_000, 12));
        assert_eq!(shown((13, 19)), (13 - 1_000_000, 19 - 1_000_000));
        assert_eq!(shown((19, 30)), (19 - 1_000_000, 30 + 5_000_000));
        assert!(shown((30, Micros::MAX)).1 > 1 << 60);
    }

    #[test]
    fn each_host_has_a_clock() {
        let clock = Clock::of(&log(&[step(0, 0, 0, 0), step(1, 0, 0, 7)], &[2]));
        let shown = |hosts| {
            let when = by((1, 2), hosts);
            (clock.earliest(when), clock.latest(when))
        };
        assert_eq!(shown(Hosts::one(0)), (1, 2));
        assert_eq!(shown(Hosts::one(1)).1, 2 + 7_000_000);
        assert_eq!(shown(Hosts::one(2)), (1, 2));
        assert_eq!(shown(Hosts::ALL), (1, 2 + 7_000_000));
        let goes_on = |server, span| clock.goes_on_from(&judged(server, span));
        assert_eq!(goes_on(0, (5, 6)), Micros::MAX, "no other is behind it");
        assert_eq!(goes_on(1, (5, 6)), 5, "another is behind it");
    }

    /// A time that was read before the clock was set counts on from there.
    #[test]
    fn a_time_that_was_read_before_counts_on() {
        let clock = Clock::of(&log(&[step(0, 10, 10, 5)], &[]));
        let when = by((20, 30), Hosts::one(0));
        assert_eq!(clock.earliest(when), 20 + 5_000_000);
        assert_eq!(clock.earliest(When { read_from: Some(9), ..when }), 20);
    }

    #[test]
    fn what_is_within_the_slack_may_have_passed_or_not() {
        let clock = Clock::of(&Log::default());
        let until = |at: Micros| by((at, at), Hosts::ALL);
        for (at, surely, maybe) in [
            (1_750_000, false, false),
            (1_750_001, false, true),
            (2_250_000, false, true),
            (2_250_001, true, true),
        ] {
            assert_eq!(clock.passed(seconds(2), until(0), until(at)), surely, "{at}");
            assert_eq!(clock.may_have_passed(seconds(2), until(0), until(at)), maybe, "{at}");
        }
    }
}
