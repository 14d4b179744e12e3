//! The page that says how the sessions are tested names what is there: each rule, each function of
//! the checker, and each promise word by word.

use std::{fs, path::Path};

const RULES: usize = 21;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

fn page() -> String {
    read("src/session/how_it_is_tested.md")
}

/// In one line, so that it does not matter where a line is broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The functions that are rules: those of a story alone.
fn functions(module: &str) -> Vec<String> {
    let source = read(&format!("tests/simulation/src/checker/{module}.rs"));
    let parts = source.split("fn ").skip(1);
    let rules = parts.filter_map(|part| part.split_once("(story: &Story<'_>) -> Vec<String>"));
    rules.map(|(name, _)| format!("`{module}::{name}`")).collect()
}

#[test]
fn the_page_names_each_rule_and_each_function_that_checks_one() {
    let page = page();
    let named: Vec<&str> = page.split(|char: char| !char.is_alphanumeric()).collect();
    for rule in 1..=RULES {
        assert!(named.contains(&&*format!("R{rule}")), "R{rule}");
    }
    let functions: Vec<_> =
        ["rules", "limit", "outages", "keys"].into_iter().flat_map(functions).collect();
    assert_eq!(functions.len(), kippu_simulation::checker::rules().count());
    for function in &functions {
        assert!(page.contains(&**function), "{function}");
    }
    let checkers = page.split('`').skip(1).step_by(2);
    let checkers = checkers.filter(|code| {
        code.split_once("::")
            .is_some_and(|(module, name)| !module.contains('.') && !name.contains("::"))
            && code.starts_with(|first: char| first.is_ascii_lowercase())
    });
    for code in checkers {
        assert!(functions.contains(&format!("`{code}`")), "{code} is not a rule");
    }
}

/// The number of the rule that a function checks.
fn rule_of(function: &str) -> String {
    let source = flat(&read("tests/simulation/src/checker/rules.rs"));
    let name = function.strip_prefix("rules::").unwrap_or(function);
    let (before, _) = source.split_once(&format!("\", {name}")).unwrap();
    before.rsplit('"').next().unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn each_row_names_the_rules_that_its_functions_check() {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| “"));
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let named = cells[3].split('`').skip(1).step_by(2);
        let named = named.filter(|code| !code.contains('.') && code.contains("::"));
        let mut checked: Vec<_> = named.map(rule_of).collect();
        checked.sort_unstable();
        checked.dedup();
        let mut rules: Vec<_> = cells[2].split(',').map(|rule| rule.trim().to_owned()).collect();
        rules.retain(|rule| !rule.is_empty());
        rules.sort_unstable();
        assert_eq!(rules, checked, "{row}");
    }
}

#[test]
fn the_page_quotes_each_promise_word_by_word() {
    let sources = ["README.md", "SECURITY.md", "docs/security-tests.md"];
    let (page, promises) = (page(), flat(&sources.map(read).concat()));
    let quoted: Vec<&str> =
        page.split('“').skip(1).filter_map(|rest| rest.split('”').next()).collect();
    assert!(quoted.len() > 20, "{}", quoted.len());
    for promise in quoted {
        assert!(promises.contains(&flat(promise)), "{promise}");
    }
}

/// Each sentence of a text, in one line.
fn sentences(text: &str) -> Vec<String> {
    flat(text).split_inclusive(". ").map(str::to_owned).collect()
}

#[test]
fn the_page_has_each_sentence_of_promise_about_logins() {
    let (readme, security) = (read("README.md"), read("SECURITY.md"));
    let logins = readme.split("## Logins").nth(1).unwrap();
    let points = logins.split("\n- ").skip(1).take(4);
    let points = points.map(|point| point.split("\n\n").next().unwrap());
    let promised = security.split("## What is promised").nth(1).unwrap();
    // The others are about single tokens, and about packages.
    let numbered = (3..=6).map(|number| {
        let rest = promised.split(&format!("\n{number}. ")).nth(1).unwrap();
        rest.split(&format!("\n{}. ", number + 1)).next().unwrap()
    });
    let page = flat(&page());
    for promise in points.chain(numbered).flat_map(sentences) {
        let begin: String = promise.trim().chars().take(40).collect();
        assert!(page.contains(&begin), "{promise}");
    }
}
