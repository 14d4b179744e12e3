//! No branch and no address depends on a secret. Memcheck checks this in code that is optimised as for users, except for
//! `-C no-vectorize-slp`, which `scripts/nightly constant_time` sets with the reason. A leaky twin of each operation shows that
//! memcheck finds what it looks for.

use std::process::Command;

/// One thing that was done under memcheck.
#[derive(Debug)]
struct Case {
    name: String,
    reports: usize,
    /// How many verdicts it tells; none for a leaky twin.
    verdicts: Option<usize>,
}

/// What happened, and what memcheck says of it.
fn run() -> (Vec<Case>, String) {
    let output = Command::new("valgrind")
        .args(["-q", "--error-limit=no", "--num-callers=40"])
        // Sums and differences bit by bit, not from the lowest undefined bit upwards.
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

/// The part of memcheck's log that is about one case.
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
        // One branch for each verdict: what is more comes from the secret, what is less did not see it.
        let log = log_of(&log, &case.name);
        assert_eq!(Some(case.reports), case.verdicts, "{}\n{log}", case.name);
    }
    for twin in twins {
        // More than any verdicts.
        assert!(twin.reports > 2, "the leaky twin of {} is not found out", twin.name);
    }
}
