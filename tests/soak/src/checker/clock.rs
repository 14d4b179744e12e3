//! The clock of the server, which may have been set while it ran: what it can have shown at the times of the run.

use crate::log::{Micros, Span, Stepped};

/// How far apart the client's clock and the server's may be, in microseconds: both are of one machine, the server's is cut
/// to milliseconds, and is held to the time of day.
pub(super) const SLACK: i64 = 250_000;

pub(super) struct Clock {
    /// When it may have been ahead of the run by how much, in microseconds; behind it when negative.
    offsets: Vec<(Span, i64)>,
}

impl Clock {
    pub(super) fn of(steps: &[Stepped]) -> Self {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| step.from);
        let end = |next: usize| steps.get(next).map_or(Micros::MAX, |step| step.to);
        let mut offsets = vec![((0, end(0)), 0)];
        for (number, step) in steps.iter().enumerate() {
            offsets.push(((step.from, end(number + 1)), step.offset * 1_000_000));
        }
        Self { offsets }
    }

    /// The earliest time that it can have shown.
    pub(super) fn earliest(&self, span: Span) -> i64 {
        self.shown(span).map(|(first, _)| first).min().expect("it always shows a time")
    }

    /// The latest time that it can have shown.
    pub(super) fn latest(&self, span: Span) -> i64 {
        self.shown(span).map(|(_, last)| last).max().expect("it always shows a time")
    }

    /// From when to when it can have shown, for each offset that it may have had.
    fn shown(&self, (from, to): Span) -> impl Iterator<Item = (i64, i64)> {
        let within =
            self.offsets.iter().filter(move |((start, end), _)| *start <= to && from <= *end);
        within.map(move |((start, end), offset)| {
            (micros(from.max(*start)) + offset, micros(to.min(*end)) + offset)
        })
    }

    /// Whether more than so many microseconds passed on it from something to something else, for certain.
    pub(super) fn passed(&self, lifetime: i64, from: Span, to: Span) -> bool {
        self.earliest(to) - self.latest(from) > lifetime + SLACK
    }

    /// Whether they may have passed.
    pub(super) fn may_have_passed(&self, lifetime: i64, from: Span, to: Span) -> bool {
        self.latest(to) - self.earliest(from) > lifetime - SLACK
    }

    /// Until when it is not set back, from a time on.
    pub(super) fn goes_on_from(&self, at: Micros) -> Micros {
        let mut steps = self.offsets.iter().zip(self.offsets.iter().skip(1));
        let back = steps.find(|(((_, end), before), (_, offset))| offset < before && at < *end);
        back.map_or(Micros::MAX, |(_, ((start, _), _))| *start)
    }
}

pub(super) fn seconds(seconds: u64) -> i64 {
    micros(seconds.saturating_mul(1_000_000))
}

/// What nobody saw the end of ends long after everything else.
pub(super) fn micros(at: Micros) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_was_set_to() {
        let step = |from, to, offset| Stepped { from, to, offset };
        let clock = Clock::of(&[step(10, 12, -1), step(20, 22, 5)]);
        let shown = |span| (clock.earliest(span), clock.latest(span));
        assert_eq!(shown((3, 4)), (3, 4));
        // While it is set, it shows either.
        assert_eq!(shown((11, 11)), (11 - 1_000_000, 11));
        assert_eq!(shown((9, 13)), (10 - 1_000_000, 12));
        assert_eq!(shown((13, 19)), (13 - 1_000_000, 19 - 1_000_000));
        assert_eq!(shown((19, 30)), (19 - 1_000_000, 30 + 5_000_000));
        assert!(shown((30, Micros::MAX)).1 > 1 << 60);
        let ends = [0, 11, 12, 21, 30].map(|at| clock.goes_on_from(at));
        assert_eq!(ends, [10, 10, Micros::MAX, Micros::MAX, Micros::MAX]);
    }

    #[test]
    fn what_is_within_the_slack_may_have_passed_or_not() {
        let clock = Clock::of(&[]);
        let until = |at: Micros| (at, at);
        for (at, surely, maybe) in [
            (1_750_000, false, false),
            (1_750_001, false, true),
            (2_250_000, false, true),
            (2_250_001, true, true),
        ] {
            assert_eq!(clock.passed(seconds(2), (0, 0), until(at)), surely, "{at}");
            assert_eq!(clock.may_have_passed(seconds(2), (0, 0), until(at)), maybe, "{at}");
        }
    }
}
