//! SECURITY.md names a test for each thing that it claims: each of them is there, and no row of a table of claims is
//! without one.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, fs, path::Path};

/// The last column of a table whose rows have to name tests.
const SHOWN_BY: &str = "shown by";

fn read(file: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()
}

/// What stands in back quotes as `file::name`.
fn references(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|quoted| quoted.split_once("::"));
    named
        .filter(|(file, _)| [Some("rs"), Some("jsonl")].contains(&file.split('.').next_back()))
        .collect()
}

/// Rows of the tables whose last column is [`SHOWN_BY`].
fn rows(text: &str) -> Vec<&str> {
    let mut is_wanted = false;
    let mut rows = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let next = lines.get(number + 1).copied().unwrap_or_default();
        if !line.starts_with('|') {
            is_wanted = false;
        } else if next.starts_with("|---") {
            is_wanted = cells(line).last() == Some(&SHOWN_BY);
        } else if is_wanted && !line.starts_with("|---") {
            rows.push(*line);
        }
    }
    rows
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// Why a reference leads nowhere.
fn flaw(file: &str, name: &str) -> Option<String> {
    let path = match file {
        "attacks.jsonl" => "tests/vectors/attacks.jsonl".to_owned(),
        file if file.contains('/') => file.to_owned(),
        file => format!("tests/{file}"),
    };
    let Some(text) = read(&path) else { return Some(format!("there is no {path}")) };
    if file == "attacks.jsonl" {
        let is_there = text.contains(&format!(r#"{{"name": "{name}","#));
        return (!is_there).then(|| format!("{path} has no {name}"));
    }
    (!is_test(&text, name)).then(|| format!("{path} has no test {name}"))
}

/// Whether a text has a function of this name that is run as a test: under an attribute that says so, with other
/// attributes and comments between them.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    let is_head =
        |line: &str| line.starts_with(&head) || line.starts_with(&format!("async {head}"));
    lines.iter().enumerate().any(|(number, line)| {
        let above = lines[..number].iter().rev();
        let mut attributes =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        is_head(line)
            && attributes
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_test_that_is_named_exists() {
    let text = read("SECURITY.md").unwrap();
    let named: BTreeSet<_> = references(&text).into_iter().collect();
    assert!(named.len() > 100, "{}", named.len());
    let flaws: Vec<_> = named.iter().filter_map(|(file, name)| flaw(file, name)).collect();
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn every_row_names_a_test() {
    let text = read("SECURITY.md").unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 90, "{}", rows.len());
    for row in rows {
        let cells = cells(row);
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {row}");
        assert!(!references(cells.last().unwrap()).is_empty(), "no test: {row}");
    }
}

/// Every test of the threats is a row of them.
#[test]
fn every_threat_that_is_tested_is_told() {
    let (text, tests) = (read("SECURITY.md").unwrap(), read("tests/threats.rs").unwrap());
    let names =
        tests.lines().filter_map(|line| line.trim().strip_prefix("async fn ")?.split_once('('));
    let tested: Vec<_> = names.map(|(name, _)| name).filter(|name| is_test(&tests, name)).collect();
    assert!(tested.len() >= 8, "{tested:?}");
    for name in tested {
        assert!(references(&text).contains(&("threats.rs", name)), "{name} stands in no row");
    }
}

/// All sections of RFC 8725 and its successor are there.
#[test]
fn every_section_of_rfc_8725_has_a_row() {
    let text = read("SECURITY.md").unwrap();
    let first_cells: Vec<_> = rows(&text).iter().map(|row| cells(row)[0]).collect();
    for section in 1..=15 {
        assert!(first_cells.contains(&&*format!("3.{section}")), "3.{section}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    let table = "| a | shown by |\n|---|---|\n| b | `x.rs::y` `z` `k::l` |\n| c | d |\n\n| a | b |\n|---|---|\n| c | d |\n";
    let found = rows(table);
    assert_eq!(found, ["| b | `x.rs::y` `z` `k::l` |", "| c | d |"]);
    assert_eq!(references(found[0]), [("x.rs", "y")]);
    assert_eq!(references(found[1]), []);
    let code = "#[test]\n// why\nfn a() {}\nfn b() {}\n#[tokio::test(x)]\nasync fn c() {}\n// fn d()\n#[test]\nfn dd() {}";
    let names = ["a", "b", "c", "d", "dd", "c()"];
    assert_eq!(names.map(|name| is_test(code, name)), [true, false, true, false, true, false]);
    assert!(flaw("nowhere.rs", "a").is_some() && flaw("attacks.jsonl", "nothing").is_some());
    assert!(flaw("security_table.rs", "flaw").is_some());
    assert_eq!(flaw("security_table.rs", "what_is_wrong_is_found"), None);
}
