//! Counts the instructions that kippu takes with callgrind, and compares them with those in
//! `baseline.txt`.
//!
//!     RUSTFLAGS='--cfg sha2_backend="soft"' \
//!     cargo run --profile instructions -p kippu-instructions [-- --update]
//!
//! An increase of more than three in a hundred is a failure. If it is intended, `--update` writes
//! the new numbers, which belong into the same commit. Unlike times, the counts are the same in
//! each run and independent of the path of the checkout. They say little about time.
//!
//! A case runs in a separate process, once a few times and once more often. The difference is the
//! cost of the additional runs, without the start. The cost of the hash is subtracted, because it
//! would hide everything else.

mod cases;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::cases::{CASES, Case, Fixture, HASH};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FEW: u32 = 10;
const MORE: u32 = 110;

/// An increase up to here, in percent, counts as a variation of the compiler.
const TOLERANCE: u64 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(),
        ["--update"] => update(),
        // This program runs itself with these arguments, under callgrind.
        ["--run", name, times] => run(name, times).map(|()| ExitCode::SUCCESS),
        _ => Err("usage: kippu-instructions [--update]".into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.txt")
}

fn check() -> Result<ExitCode> {
    let text = fs::read_to_string(baseline_file())?;
    let baseline = parse(&text)?;
    let counted = count_all()?;
    let mut grown = vec![];
    println!("{:>8} {:>8}", "baseline", "now");
    for (name, now) in &counted {
        let before = *baseline.get(name).ok_or_else(|| format!("the baseline has no {name:?}"))?;
        println!("{before:>8} {now:>8}  {name}");
        if now * 100 > before * (100 + TOLERANCE) {
            grown.push(format!("{name}: {before} instructions before, {now} now"));
        } else if now * (100 + TOLERANCE) < before * 100 {
            println!(
                "                   fewer than before: update the baseline, so that they stay few"
            );
        }
    }
    if let Some((name, _)) = baseline.iter().find(|(name, _)| !counted.contains_key(*name)) {
        return Err(format!("the baseline has {name:?}, which is not a case: remove it").into());
    }
    if grown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "error: more instructions than benches/instructions/baseline.txt allows, by over {TOLERANCE} %:"
    );
    for line in grown {
        eprintln!("  {line}");
    }
    let (then, now) = (text.lines().next().unwrap_or_default(), compiler()?);
    if then != now {
        eprintln!(
            "The baseline was made by another compiler ({then}; this is {now}), which may be the only reason."
        );
    }
    eprintln!(
        "If it is on purpose, run this with --update, and commit the new baseline with the change that it is the price of:\n  \
         RUSTFLAGS='--cfg sha2_backend=\"soft\"' cargo run --profile instructions -p kippu-instructions -- --update"
    );
    Ok(ExitCode::FAILURE)
}

fn update() -> Result<ExitCode> {
    let mut text = format!("{}\n", compiler()?);
    for (name, count) in count_all()? {
        writeln!(text, "{count:>8}  {name}")?;
    }
    fs::write(baseline_file(), &text)?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Parses the counts of a baseline, whose first line is the compiler.
fn parse(text: &str) -> Result<BTreeMap<String, u64>> {
    let counts = text.lines().skip(1).map(|line| {
        let (count, name) = line.trim_start().split_once("  ").ok_or("a count and a name")?;
        Ok((name.to_owned(), count.parse()?))
    });
    counts.collect()
}

fn compiler() -> Result<String> {
    let version = Command::new("rustc").arg("--version").output()?.stdout;
    Ok(String::from_utf8(version)?.trim().to_owned())
}

/// Returns the instructions of each case, without those of the hash.
fn count_all() -> Result<BTreeMap<String, u64>> {
    let hash = count(&HASH)?;
    let counts = CASES.iter().map(|case| {
        let all = count(case)?;
        let own = all.checked_sub(if case.hashes { hash } else { 0 });
        Ok((case.name.to_owned(), own.ok_or("a token costs its hash at least")?))
    });
    counts.collect()
}

/// Returns the instructions of one operation.
fn count(case: &Case) -> Result<u64> {
    let (few, more) = (collected(case, FEW)?, collected(case, MORE)?);
    let difference = more.checked_sub(few).filter(|difference| *difference > 0);
    Ok(difference.ok_or("nothing was done")? / u64::from(MORE - FEW))
}

/// Returns what callgrind counts in a process that runs the operation a number of times.
fn collected(case: &Case, times: u32) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--run", case.name, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => Err(format!("{}: {report}", case.name).into()),
    }
}

fn run(name: &str, times: &str) -> Result<()> {
    let case = CASES.iter().chain([&HASH]).find(|case| case.name == name).ok_or("no such case")?;
    (case.run)(&Fixture::new(), times.parse()?);
    Ok(())
}
