//! 173 tokens, most of them attacks. Each gets the expected verdict, for the expected reason.

#[path = "../../examples/verify_corpus/corpus.rs"]
mod corpus;

use corpus::Case;

#[test]
fn every_case_gets_the_expected_verdict_and_reason() {
    let lines = include_str!("../vectors/attacks.jsonl").lines();
    let cases: Vec<Case> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 173);
    let differences: Vec<_> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, case.difference()?)))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
