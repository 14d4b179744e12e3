//! Checks with memcheck that no branch and no address depends on a secret, in code that is
//! optimised as for users, except for `-C no-vectorize-slp`: `scripts/nightly constant_time` sets
//! it and gives the reason. memcheck must also find the leaks of the leaky twins.

use std::process::Command;

/// An operation that ran under memcheck.
#[derive(Debug)]
struct Case {
    name: String,
    reports: usize,
    /// The number of verdicts that it makes public; `None` for a leaky twin.
    verdicts: Option<usize>,
}

/// Runs the operations. Returns the results, and memcheck's log.
fn run() -> (Vec<Case>, String) {
    let output = Command::new("valgrind")
        .args(["-q", "--error-limit=no", "--num-callers=40"])
        // Computes the definedness of sums and differences for each bit, not from the lowest
        // undefined bit upwards.
        .arg("--expensive-definedness-checks=yes")
        .arg(env!("CARGO_BIN_EXE_kippu-constant-time"))
        .arg("memcheck")
        .output()
        .expect("valgrind is installed: as a Debian package, valgrind");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let lines = String::from_utf8(output.stdout).expect("it prints text");
    let cases = lines.lines().map(|line| {
        let [name, reports, verdicts] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (name, reports) = (name.to_owned(), reports.parse().expect("a count"));
        Case { name, reports, verdicts: verdicts.parse().ok() }
    });
    (cases.collect(), log)
}

/// Returns the part of memcheck's log about one case.
fn log_of(log: &str, name: &str) -> String {
    let begins = |line: &str| line.contains("** kippu: ");
    let mut is_wanted = false;
    let mut lines = Vec::new();
    for line in log.lines() {
        if begins(line) {
            is_wanted = line.ends_with(&format!("** kippu: {name}"));
        }
        if is_wanted {
            lines.push(line);
        }
    }
    lines.join("\n")
}

#[test]
fn no_branch_and_no_address_depends_on_a_secret() {
    let (cases, log) = run();
    let (twins, ours): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.verdicts.is_none());
    assert!(ours.len() >= 40 && twins.len() >= 7, "{cases:?}");
    for case in ours {
        // One branch for each verdict: further ones depend on the secret, and a missing one means
        // that the secret was not used.
        let log = log_of(&log, &case.name);
        assert_eq!(Some(case.reports), case.verdicts, "{}\n{log}", case.name);
    }
    for twin in twins {
        // More than the verdicts of any case.
        assert!(twin.reports > 2, "the leaky twin of {} was not detected", twin.name);
    }
}
