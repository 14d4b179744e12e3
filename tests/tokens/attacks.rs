//! 173 tokens, most of them attacks: each is answered as expected, and for the expected reason.

#[path = "../../examples/verify_corpus/corpus.rs"]
mod corpus;

use corpus::Case;

#[test]
fn every_case_is_answered_as_expected_and_for_the_expected_reason() {
    let lines = include_str!("../vectors/attacks.jsonl").lines();
    let cases: Vec<Case> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 173);
    let differences: Vec<_> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, case.difference()?)))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
