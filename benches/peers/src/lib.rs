//! The programs of this package: the comparison, and two that it runs, for the count of allocations
//! and for the first decode.

mod bars;
#[path = "../../chart.rs"]
mod chart;
mod codec;
#[path = "../../fixture.rs"]
mod fixture;
#[path = "../../machine.rs"]
mod machine;
mod peers;
mod pictures;
mod report;
mod rounds;
mod tables;
mod work;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
};

use kippu::Algorithm;

use crate::{
    fixture::{SECRET, Tokens, USUAL},
    report::{Allocations, Case, Codec, First, Part, Report, Threads},
    rounds::{Effort, Measured},
    work::{Given, Operation},
};

/// Bytes of claims.
const SIZES: [usize; 5] = [64, USUAL, 512, 2048, 8192];
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
/// Measured with each algorithm and size.
const OPERATIONS: [Operation; 4] =
    [Operation::Decode, Operation::Encode, Operation::Forged, Operation::Expired];

/// Compares, prints and writes.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(status) = without_backtraces() {
        return status;
    }
    let mut effort = Effort::FULL;
    let mut folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    for argument in env::args().skip(1) {
        match argument.strip_prefix("--out=") {
            Some(path) => folder = PathBuf::from(path),
            None if argument == "--quick" => effort = Effort::QUICK,
            None => {
                eprintln!("usage: kippu-peers [--quick] [--out=FOLDER]");
                return ExitCode::FAILURE;
            }
        }
    }
    let report = compare(effort);
    tables::print(&report);
    if let Err(error) = write(&folder, &report) {
        eprintln!("{}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// With these variables some crates record a backtrace at each rejection, which takes ten times as
/// long and which a server would not do. They cannot be unset in a running process, so the
/// comparison runs in another one.
fn without_backtraces() -> Option<ExitCode> {
    const VARIABLES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    VARIABLES.iter().find(|name| env::var_os(name).is_some())?;
    let mut again = Command::new(this_program());
    again.args(env::args_os().skip(1));
    for name in VARIABLES {
        again.env_remove(name);
    }
    let succeeded = again.status().expect("it runs").success();
    Some(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(effort: Effort) -> Report {
    let usual = Given::new(Algorithm::Hs256, USUAL);
    assert_eq!(usual.tokens.token.len(), 304);
    let given = ALGORITHMS.map(|algorithm| SIZES.map(|bytes| Given::new(algorithm, bytes)));
    let all = given.as_flattened().iter();
    let all = all.flat_map(|given| OPERATIONS.map(|operation| (given, operation)));
    let more = [Operation::DecodeVaried, Operation::DecodeForeign];
    let all: Vec<_> = more.map(|operation| (&usual, operation)).into_iter().chain(all).collect();
    let candidates: Vec<_> =
        all.iter().map(|&(given, operation)| peers::all(given, operation)).collect();
    let measured = Measured::of_each(&candidates, effort);
    let cases = all.iter().zip(&measured);
    let cases = cases.map(|(&(given, operation), measured)| Case::new(given, operation, measured));
    let threads = [Operation::Decode, Operation::Encode]
        .map(|operation| Threads::of(&usual, operation, effort));
    Report {
        machine: machine::Machine::here(),
        crates: crates(),
        cases: cases.collect(),
        parts: Part::of_all(&usual, effort),
        first: first(&usual, effort),
        base64url: [43, 223, 1024, 4096].map(|symbols| Codec::of(symbols, effort)).into(),
        threads: threads.into_iter().flatten().collect(),
        allocations: allocations(),
    }
}

/// Returns the names and versions of the compared crates.
fn crates() -> Vec<String> {
    let lock = include_str!("../../../Cargo.lock");
    let mut names = vec![
        "kippu",
        "jsonwebtoken",
        "aws-lc-rs",
        "jwt",
        "jwt-compact",
        "jwt-simple",
        "sha2",
        "serde_json",
    ];
    if cfg!(feature = "josekit") {
        names.push("josekit");
    }
    let version = |name| {
        // The lockfile may have older versions of some crates; kippu uses the newest.
        let (_, rest) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split_once('"')?.0))
    };
    names.into_iter().filter_map(version).collect()
}

/// Returns the output of the program that counts.
fn allocations() -> Vec<Allocations> {
    let output = run(cargo("run", "allocations"));
    serde_json::from_slice(&output.stdout).expect("what the program prints")
}

/// Runs many processes of each, which take turns.
fn first(given: &Given, effort: Effort) -> Vec<First> {
    run(cargo("build", "first"));
    let program = this_program().with_file_name("first");
    let Tokens { token, claims, .. } = &given.tokens;
    let secret = str::from_utf8(SECRET).expect("words");
    let mut all = ["kippu-borrowed", "kippu", "jsonwebtoken"].map(|name| (name, vec![]));
    for _ in 0..effort.processes {
        for (name, times) in &mut all {
            let mut first = Command::new(&program);
            first.args([*name, secret, token, &claims.iss, &claims.aud]);
            let printed = String::from_utf8(run(first).stdout).expect("digits");
            times.push(printed.trim().parse().expect("nanoseconds"));
        }
    }
    all.map(|(name, times)| First::new(name, times)).into()
}

/// Returns a cargo command for another program of this package, with the same profile.
fn cargo(what: &str, program: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([what, "--quiet", "--locked", "--bin", program]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let folder = this_program().ancestors().nth(2).map(Path::to_path_buf);
    cargo.arg("--target-dir").arg(folder.expect("that of the profile is in the target's"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if cfg!(feature = "josekit") {
        cargo.args(["--features", "josekit"]);
    }
    cargo
}

fn this_program() -> PathBuf {
    env::current_exe().expect("it runs")
}

fn run(mut command: Command) -> Output {
    let output = command.stderr(Stdio::inherit()).output().expect("it runs");
    assert!(output.status.success(), "{command:?}");
    output
}

/// Prints the allocations of each crate. `count` runs a function, and returns the number of
/// allocations and of their bytes.
///
/// # Panics
/// When a crate does not do what all crates have to do.
pub fn print_allocations(count: impl Fn(&dyn Fn()) -> (u64, u64)) {
    let usual = Given::new(Algorithm::Hs256, USUAL);
    let counted = OPERATIONS.iter().flat_map(|&operation| {
        let candidates = peers::all(&usual, operation);
        let count = |candidate: &rounds::Candidate<'_>| {
            // Allocations that happen once in a process happen here.
            candidate.run(1);
            let (once, twice) = (count(&|| candidate.run(1)), count(&|| candidate.run(2)));
            Allocations {
                operation: operation.name().into(),
                name: candidate.name.into(),
                count: twice.0 - once.0,
                bytes: twice.1 - once.1,
            }
        };
        candidates.iter().map(count).collect::<Vec<_>>()
    });
    let counted: Vec<Allocations> = counted.filter(|one| one.name != peers::AGAIN).collect();
    println!("{}", serde_json::to_string(&counted).expect("strings and numbers"));
}

fn write(folder: &Path, report: &Report) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("peers.json"), serde_json::to_vec_pretty(report)?)?;
    for (name, svg) in pictures::of(report) {
        fs::write(folder.join(name), svg)?;
    }
    println!("Written to {}: peers.json and the charts.", folder.canonicalize()?.display());
    Ok(())
}
