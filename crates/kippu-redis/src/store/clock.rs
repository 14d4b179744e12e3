//! Remembers the clocks of the servers as their answers show them. A rotation measures with them
//! how long it waited before it ran.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The clocks of the servers, and the server of each hash tag.
pub(super) struct Clocks {
    seen: Mutex<Vec<Seen>>,
    /// The server of each tag; 0 when it is unknown.
    servers: Box<[AtomicU64]>,
}

#[derive(Clone, Copy)]
struct Seen {
    server: u64,
    /// Microseconds since the epoch by the server's clock, at `at` or shortly before.
    clock: i64,
    at: Instant,
}

/// How long the store extrapolates a clock. A free-running clock drifts by 200 millionths at most,
/// which is 2 ms in this time.
const FRESH: Duration = Duration::from_secs(10);

impl Clocks {
    pub(super) fn new(tags: u16) -> Self {
        let servers = (0..tags).map(|_| AtomicU64::new(0)).collect();
        Self { seen: Mutex::default(), servers }
    }

    /// Records that an answer of `server` has just arrived, in which its clock showed `clock`. Of
    /// several answers, the one with the shortest way back is the most exact: it gives the latest
    /// time.
    pub(super) fn see(&self, tag: u16, server: u64, clock: i64) {
        let at = Instant::now();
        if let Some(of_tag) = self.servers.get(usize::from(tag)) {
            // Relaxed: the id guards no other memory. A stale one only costs a second try, because
            // the script compares it with its own server.
            of_tag.store(server, Ordering::Relaxed);
        }
        let mut seen = self.seen();
        seen.retain(|seen| at.saturating_duration_since(seen.at) <= FRESH);
        match seen.iter_mut().find(|seen| seen.server == server) {
            Some(seen) if seen.clock_at(at) >= clock => {}
            Some(seen) => *seen = Seen { server, clock, at },
            None => seen.push(Seen { server, clock, at }),
        }
    }

    /// Returns the server of `tag` and a lower bound for its clock at `begun`. The bound is early
    /// by the time that the answer took to arrive. Returns nothing if no answer arrived in the last
    /// ten seconds.
    pub(super) fn at(&self, tag: u16, begun: Instant) -> Option<(u64, i64)> {
        let server = self.servers.get(usize::from(tag))?.load(Ordering::Relaxed);
        let seen = self.seen();
        let seen = match &seen[..] {
            // The only known server serves all tags, unless an answer has shown another for this
            // tag.
            [only] if server == 0 => only,
            all => all.iter().find(|seen| seen.server == server)?,
        };
        (seen.at.elapsed() <= FRESH).then(|| (seen.server, seen.clock_at(begun)))
    }

    /// Forgets the clock of a server, because somebody has set it.
    pub(super) fn forget(&self, server: u64) {
        self.seen().retain(|seen| seen.server != server);
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn clock_at(&self, time: Instant) -> i64 {
        let since = micros(time.saturating_duration_since(self.at));
        let before = micros(self.at.saturating_duration_since(time));
        self.clock.saturating_add(since).saturating_sub(before)
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_between_answers() {
        let clocks = Clocks::new(2);
        let before = Instant::now();
        assert_eq!(clocks.at(0, before), None);
        clocks.see(0, 7, 1_000_000);
        let after = Instant::now();
        // The answer arrived between the two.
        let ((7, first), (7, last)) = (clocks.at(0, before).unwrap(), clocks.at(0, after).unwrap())
        else {
            panic!("another server")
        };
        assert!(first <= 1_000_000 && last >= 1_000_000, "{first} {last}");
        let between = micros(after - before);
        assert!((between - 1..=between + 1).contains(&(last - first)));
        let hour = Duration::from_secs(3600);
        assert_eq!(clocks.at(0, after + hour), Some((7, last + 3_600_000_000)));

        // A slower answer does not replace a better one, until the clock is forgotten.
        clocks.see(0, 7, 500_000);
        assert_eq!(clocks.at(0, before), Some((7, first)));
        clocks.see(0, 7, 2_000_000);
        assert!(clocks.at(0, after).unwrap().1 > 1_900_000);
        clocks.forget(7);
        assert_eq!(clocks.at(0, after), None);
        clocks.see(0, 7, 500_000);
        assert!(clocks.at(0, after).unwrap().1 < 600_000);
    }

    #[test]
    fn each_server_has_its_own_clock() {
        let clocks = Clocks::new(3);
        clocks.see(0, 7, 1_000_000);
        let now = Instant::now();
        // Tag 1 uses the only known server, until there is another.
        assert_eq!(clocks.at(1, now).map(|(server, _)| server), Some(7));
        clocks.see(1, 8, 9_000_000);
        assert!(clocks.at(0, now).is_some_and(|(server, clock)| server == 7 && clock < 2_000_000));
        assert!(clocks.at(1, now).is_some_and(|(server, clock)| server == 8 && clock > 8_000_000));
        assert_eq!((clocks.at(2, now), clocks.at(3, now)), (None, None));
        // The tag moves to the other server.
        clocks.see(0, 8, 9_000_000);
        assert_eq!(clocks.at(0, now).map(|(server, _)| server), Some(8));
    }

    #[test]
    fn a_clock_is_forgotten_after_a_while() {
        let clocks = Clocks::new(1);
        for (age, is_known) in [(FRESH / 2, true), (FRESH + Duration::from_millis(1), false)] {
            let at = Instant::now().checked_sub(age).unwrap();
            *clocks.seen() = std::vec![Seen { server: 7, clock: 0, at }];
            assert_eq!(clocks.at(0, Instant::now()).is_some(), is_known, "{age:?}");
            clocks.see(0, 8, 0);
            assert_eq!(clocks.seen().len(), 1 + usize::from(is_known));
        }
    }
}
