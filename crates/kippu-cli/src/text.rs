//! Text for a terminal: escapes control characters in foreign text, formats times, adds colours.

use std::{io::IsTerminal, time::Duration};

use kippu::NumericDate;

/// Returns whether a terminal displays this character, and does not interpret it as a command.
pub(crate) fn is_printable(character: char) -> bool {
    // Rust's tables know the control and format characters; of the printable ones it escapes these.
    matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1
}

/// Escapes each character that a terminal would interpret or hide, line ends included.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            printable.push(character);
        } else {
            printable.extend(character.escape_debug());
        }
    }
    printable
}

/// Formats a time as `2026-11-24T18:20:36Z, 5 min ago`. Returns `None` outside the years 0 to 9999.
pub(crate) fn human_time(time: NumericDate, now: NumericDate) -> Option<String> {
    let utc = utc(time.seconds())?;
    let (ahead, ago) = (time.saturating_since(now), now.saturating_since(time));
    Some(match (ahead, ago) {
        (Duration::ZERO, Duration::ZERO) => format!("{utc}, now"),
        (Duration::ZERO, ago) => format!("{utc}, {} ago", roughly(ago)),
        (ahead, _) => format!("{utc}, in {}", roughly(ahead)),
    })
}

/// Rounds down to the largest unit that the duration contains at least twice. The result is too
/// small by less than a third.
fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(31_556_952, "years"), (86_400, "days"), (3600, "hours"), (60, "min")];
    match units.into_iter().find(|(length, _)| seconds >= 2 * length) {
        Some((length, unit)) => format!("{} {unit}", seconds / length),
        None => format!("{seconds} s"),
    }
}

/// Formats a time as RFC 3339 does. Counts the days of the Gregorian calendar from 1 March of the
/// year 0.
fn utc(seconds: i64) -> Option<String> {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_10000: i64 = 253_402_300_800;
    if !(YEAR_0..YEAR_10000).contains(&seconds) {
        return None;
    }
    let (days, of_day) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    // An era is 400 years; a year here begins in March, so that the leap day is its last.
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Colours for a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    colours: bool,
}

impl Paint {
    /// Uses colours if standard output is a terminal that supports them, unless `NO_COLOR` is set
    /// to a text that is not empty (<https://no-color.org>).
    pub(crate) fn for_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { colours: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
