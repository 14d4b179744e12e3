//! The history of a run, which the checker of the simulation judges, and its clock.

use std::{
    cell::Cell,
    fmt::{Arguments, Write},
};

use kippu::Clock;
use kippu_simulation::{
    checker::check,
    log::{
        Answer, Fault, FaultKind, Keys, Line, Log, Micros, Request, Said, Settings, Stepped, What,
    },
    workload::{Recorder, lines},
};

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// A clock for each thread, which only moves when a step sets it.
pub(crate) struct Still;

impl Clock for Still {
    fn unix_millis(&self) -> i64 {
        NOW.get()
    }
}

/// Sets the clock to a time in milliseconds since the epoch.
pub(crate) fn set_now(millis: i64) {
    NOW.set(millis);
}

/// An arbitrary day, in seconds since the epoch.
pub(super) const BEGAN: u64 = 1_760_000_000;
/// The clock does not leave these times, which are in 2001 and in 2103.
const FIRST: i64 = 1_000_000_000_000;
const LAST: i64 = 4_200_000_000_000;

/// A history of one thread. Only a refresh that waits for the application spans several steps.
pub(super) struct History {
    pub(super) recorder: Recorder,
    pub(super) settings: Settings,
    /// Since the run began. No two requests begin or end at the same microsecond.
    at: Micros,
    /// How many seconds the clock has been set ahead; it is behind when negative.
    ahead: i64,
    /// All errors and events, as an application logs them.
    logged: String,
}

impl History {
    pub(super) fn new(settings: Settings) -> Self {
        let recorder = Recorder::default();
        let history = Self { recorder, settings, at: 123_000, ahead: 0, logged: String::new() };
        history.show();
        history
    }

    fn show(&self) {
        let millis = signed(BEGAN * 1000 + self.at / 1000);
        set_now(millis + self.ahead * 1000);
    }

    /// The time that the clock shows, in milliseconds since the epoch.
    pub(super) fn now() -> i64 {
        NOW.get()
    }

    fn tick(&mut self) -> Micros {
        self.at += 1;
        self.at
    }

    /// Gives a step the microseconds that it needs within one millisecond.
    pub(super) fn begin_step(&mut self) {
        if self.at % 1000 > 900 {
            self.wait(1);
        }
    }

    /// Moves the clock, unless it would leave its times.
    pub(super) fn wait(&mut self, millis: i64) {
        if !(FIRST..LAST).contains(&(Self::now() + millis)) {
            return;
        }
        let mut forward = millis;
        if millis < 0 {
            // The history has whole seconds: the clock is set back further, and goes on.
            let back = -millis.div_euclid(1000);
            forward += back * 1000;
            self.ahead -= back;
            let at = self.tick();
            let offset = self.ahead;
            self.recorder.note(Line::Stepped(Stepped { host: 0, from: at, to: at, offset }));
            self.tick();
        }
        self.at = match u64::try_from(forward) {
            Ok(1..) => (self.at / 1000 + forward.unsigned_abs()) * 1000,
            _ => self.at,
        };
        self.show();
    }

    /// Begins a request.
    pub(super) fn ask(&mut self, what: What, user: u8) -> Request {
        Request::new(what, user.into(), self.tick())
    }

    /// Ends a request.
    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        let ended = self.tick();
        if answer == Answer::Unavailable {
            self.fault(FaultKind::Network, (ended - 1, ended), None);
        }
        self.recorder.note(Line::Request(Request { ended, answer, ..request }));
    }

    /// Notes that the store has lost all changes since a moment.
    pub(super) fn lost(&mut self, since: Micros) {
        let at = self.tick();
        self.fault(FaultKind::Failover, (at, at), Some((since, at)));
    }

    fn fault(&self, kind: FaultKind, span: (Micros, Micros), lost: Option<(Micros, Micros)>) {
        self.recorder.note(Line::Fault(Fault { lost, ..Fault::new(kind, "a fault", span) }));
    }

    /// Notes the keys from now on.
    pub(super) fn keys(&mut self, signing: u8, retired: Vec<(u64, u64)>) -> Micros {
        let at = self.tick();
        let signing = u64::from(signing);
        self.recorder.note(Line::Keys(Keys { host: 0, from: at, to: at, signing, retired }));
        at
    }

    /// Notes a moment.
    pub(super) fn moment(&mut self) -> Micros {
        self.tick()
    }

    /// Notes what an application would log.
    pub(super) fn log(&mut self, line: Arguments<'_>) {
        writeln!(self.logged, "{line}").expect("a string takes every line");
    }

    /// Notes that the settings were refused.
    pub(super) fn refused_to_begin(&self) {
        let message = "refused to begin".to_owned();
        let session = String::new();
        self.recorder.note(Line::Said(Said { session, message, reason: None }));
    }

    /// Ends the history, and lets the checker judge it.
    pub(super) fn judge(self) {
        self.recorder.search(&self.logged, &[]);
        let log = Log { settings: self.settings, ..self.recorder.take() };
        let breaches = check(&log);
        assert!(breaches.is_empty(), "{breaches:#?} in\n{}", lines(&log).join("\n"));
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a time of this age")
}
