//! Writes the rows of `sessions.rs` as JSON and as charts: rotations a second, and the wait of the
//! slowest of a hundred, by the number of concurrent callers.

use std::{fs, io, path::Path};

use serde::Serialize;
use serde_json::json;

use crate::{
    chart::{Axis, Series, Style, Words, lines, one_two_five},
    machine::Machine,
};

/// One operation by a number of concurrent callers; waits in microseconds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) store: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) callers: usize,
    pub(crate) a_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// The targets of a store's rotations: callers, and rotations a second.
const TARGETS: [(&str, &[(f64, f64)]); 3] = [
    ("sqlite", &[(8.0, 3_000.0), (32.0, 9_000.0)]),
    ("postgres", &[(32.0, 10_000.0)]),
    ("redis", &[(32.0, 20_000.0)]),
];
/// The longest wait that 99 of a hundred rotations may take.
const LONGEST_WAIT: f64 = 100_000.0;

/// Writes the files. `loaded` is the number of sessions that existed before.
pub(crate) fn write(folder: &Path, loaded: usize, rows: &[Row]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let machine = Machine::here();
    let report = json!({ "machine": machine, "loaded": loaded, "rows": rows });
    fs::write(folder.join("sessions.json"), serde_json::to_vec_pretty(&report)?)?;
    let others = grouped(loaded);
    let words = |title: &str, subtitle: String| Words {
        title: title.into(),
        subtitle,
        source: vec![
            format!("{} Servers and callers share the cores.", machine.sentence()),
            format!("cargo bench -p kippu-benches --bench sessions -- --loaded={loaded}"),
        ],
    };
    let rates = words(
        "Rotations of refresh tokens, by concurrent callers",
        format!(
            "With {others} other sessions. Higher is better; a diamond is the target of its store."
        ),
    );
    let waits = words(
        "How long a rotation takes, by concurrent callers",
        format!("With {others} other sessions. 99 of a hundred are faster; lower is better."),
    );
    fs::write(
        folder.join("rotations.svg"),
        picture(&rates, "rotations a second", rows, Kind::Rate),
    )?;
    fs::write(folder.join("waits.svg"), picture(&waits, "99th percentile", rows, Kind::Wait))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rate,
    Wait,
}

fn picture(words: &Words, label: &'static str, rows: &[Row], kind: Kind) -> String {
    let rotations: Vec<&Row> = rows.iter().filter(|row| row.operation == "rotate").collect();
    let mut callers: Vec<f64> = rotations.iter().map(|row| number(row.callers)).collect();
    callers.sort_by(f64::total_cmp);
    callers.dedup();
    let (Some(&fewest), Some(&most)) = (callers.first(), callers.last()) else {
        return String::new();
    };
    let mut series: Vec<Series> = ["memory", "sqlite", "postgres", "redis", "mysql"]
        .into_iter()
        .zip(2..)
        .map(|(store, index)| {
            let own = rotations.iter().filter(|row| row.store == store);
            let value = |row: &&&Row| if kind == Kind::Rate { row.a_second } else { row.p99 };
            let points = own.map(|row| (number(row.callers), value(&row))).collect();
            let targets = TARGETS.iter().find(|(name, _)| *name == store && kind == Kind::Rate);
            let targets = targets.map_or(&[][..], |(_, targets)| targets).to_vec();
            Series { name: name(store).into(), style: Style::plain(index), points, targets }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    for series in &mut series {
        series.targets.retain(|(callers, _)| (fewest..=most).contains(callers));
    }
    if kind == Kind::Wait {
        let points = vec![(fewest, LONGEST_WAIT), (most, LONGEST_WAIT)];
        let name = "target: 100 ms".into();
        let style = Style { is_dashed: true, ..Style::plain(8) };
        series.push(Series { name, style, points, targets: vec![] });
    }
    let values = series.iter().flat_map(|series| series.points.iter().chain(&series.targets));
    let ticks = one_two_five(values.map(|(_, value)| *value));
    let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else { return String::new() };
    // Only 1 and 5 of each decade, because the numbers would touch otherwise.
    let shown = ticks.iter().filter(|tick| !format!("{tick:e}").starts_with('2'));
    let text = |value: f64| if kind == Kind::Rate { rate_text(value) } else { wait_text(value) };
    let y = Axis { label, first, last, ticks: shown.map(|tick| (*tick, text(*tick))).collect() };
    let x = Axis {
        label: "concurrent callers",
        first: fewest,
        last: most,
        ticks: callers.iter().map(|callers| (*callers, callers.to_string())).collect(),
    };
    lines(words, &x, &y, &series)
}

fn name(store: &str) -> &'static str {
    match store {
        "memory" => "MemoryStore",
        "sqlite" => "SqliteStore",
        "postgres" => "PostgresStore",
        "mysql" => "MySqlStore",
        _ => "RedisStore",
    }
}

fn number(callers: usize) -> f64 {
    f64::from(u32::try_from(callers).expect("a few hundred"))
}

/// Formats a number like 1,000,000.
fn grouped(number: usize) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", grouped(number / 1000), number % 1000)
}

fn rate_text(rate: f64) -> String {
    if rate >= 1e6 {
        format!("{} M", rate / 1e6)
    } else if rate >= 1e3 {
        format!("{} k", rate / 1e3)
    } else {
        rate.to_string()
    }
}

fn wait_text(microseconds: f64) -> String {
    if microseconds >= 1e6 {
        format!("{} s", microseconds / 1e6)
    } else if microseconds >= 1e3 {
        format!("{} ms", microseconds / 1e3)
    } else {
        format!("{microseconds} µs")
    }
}
