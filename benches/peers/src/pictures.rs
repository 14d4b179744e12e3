//! Draws a report as charts: time over the size of the claims, and a bar for each crate.

use crate::{
    bars::{Bar, Panel, bars},
    chart::{Axis, Series, Style, Words, lines, one_two_five},
    fixture::USUAL,
    peers::{BORROWED, LIMIT, OWNED, are_parts},
    report::{Case, Report, Row, count},
    work::Operation,
};

/// Returns the file names and their contents.
pub(crate) fn of(report: &Report) -> [(&'static str, String); 3] {
    [
        ("decode.svg", over_sizes(report, Operation::Decode, "Decode and verify a token")),
        ("encode.svg", over_sizes(report, Operation::Encode, "Sign a token")),
        ("peers.svg", side_by_side(report)),
    ]
}

fn over_sizes(report: &Report, operation: Operation, title: &str) -> String {
    let cases: Vec<&Case> = report.of(operation, "HS256").collect();
    let first = cases.first().expect("a case for each size");
    let series: Vec<Series> = drawn(first)
        .map(|(name, style)| {
            let point = |case: &&Case| {
                let row = case.row(name).expect("the same in each case");
                (bytes(case), row.nanoseconds)
            };
            Series {
                name: label(name),
                style,
                points: cases.iter().map(point).collect(),
                targets: vec![],
            }
        })
        .collect();
    let x = Axis {
        label: "bytes of claims, as JSON",
        first: bytes(first),
        last: bytes(cases.last().expect("a case for each size")),
        ticks: cases.iter().map(|case| (bytes(case), case.claims_bytes.to_string())).collect(),
    };
    let times = series.iter().flat_map(|series| series.points.iter().map(|(_, time)| *time));
    let ticks = one_two_five(times);
    let y = Axis {
        label: "time a token",
        first: *ticks.first().expect("there are times"),
        last: *ticks.last().expect("there are times"),
        ticks: ticks.iter().map(|time| (*time, time_text(*time))).collect(),
    };
    let work = match operation {
        Operation::Encode => "From a struct of claims to a token",
        _ => "Signature, exp, iss and aud checked, claims into a struct",
    };
    let words = Words {
        title: format!("{title}, by size"),
        subtitle: format!("HS256. {work}. Both axes are logarithmic; lower is faster."),
        source: source(report),
    };
    lines(&words, &x, &y, &series)
}

fn side_by_side(report: &Report) -> String {
    let panels = [Operation::Decode, Operation::Encode, Operation::Forged, Operation::Expired];
    let panels = panels.map(|operation| {
        let case = report.case(operation, "HS256", USUAL);
        let bar = |(name, style): (&'static str, Style)| {
            let Row { nanoseconds, times_kippu, .. } = case.row(name).expect("it is drawn");
            let time = time_text(*nanoseconds);
            let is_other = ![LIMIT, OWNED, BORROWED].contains(&name);
            let text = if is_other { format!("{time}, {times_kippu:.1} ×") } else { time };
            Bar { name: label(name), style, value: *nanoseconds, text }
        };
        Panel { title: operation.title(), bars: drawn(case).map(bar).collect() }
    });
    let words = Words {
        title: "kippu beside its peers".into(),
        subtitle: format!(
            "HS256, {USUAL} bytes of claims. Time a call, and how many times as long as kippu; shorter is faster."
        ),
        source: source(report),
    };
    bars(&words, &panels)
}

/// Returns the rows of a case, and their style.
fn drawn(case: &Case) -> impl Iterator<Item = (&'static str, Style)> {
    let mut number = 0;
    let rows = case.rows.iter().filter(|row| !are_parts(row.name));
    rows.map(move |row| {
        let style = match row.name {
            LIMIT => Style { is_dashed: true, ..Style::plain(8) },
            OWNED => Style { is_bold: true, ..Style::plain(0) },
            BORROWED => Style { is_bold: true, ..Style::plain(1) },
            _ => {
                number += 1;
                Style::plain(1 + number)
            }
        };
        (row.name, style)
    })
}

/// Shortens a name for its place.
fn label(name: &str) -> String {
    if name == LIMIT { "the limit: its hash blocks".into() } else { name.replace(", ", " · ") }
}

fn bytes(case: &Case) -> f64 {
    count(case.claims_bytes)
}

fn time_text(nanoseconds: f64) -> String {
    let (value, unit) =
        if nanoseconds < 999.5 { (nanoseconds, "ns") } else { (nanoseconds / 1000.0, "µs") };
    // At most three digits, and no trailing zero after the point.
    let digits =
        usize::from(unit == "µs" && value < 100.0) + usize::from(unit == "µs" && value < 10.0);
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

fn source(report: &Report) -> Vec<String> {
    let josekit = if cfg!(feature = "josekit") { " --features josekit" } else { "" };
    let machine = report.machine.sentence();
    let mut lines = vec![format!("{machine} Medians of interleaved rounds in one process.")];
    lines.extend(report.crates.chunks(5).map(|some| some.join(", ")));
    lines.push(format!("cargo run --release -p kippu-peers{josekit}"));
    lines
}
