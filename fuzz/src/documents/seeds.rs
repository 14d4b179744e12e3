//! The seeds, and tests of what they reach.

/// The seeds by name. The example `seeds` writes them to files.
pub const SEEDS: &[(&str, &str)] = &[
    ("empty", "\n{}"),
    ("nothing", "\n"),
    ("types", "\n{\"n\":-1.5e3,\"a\":[true,false,null,\"\\u00e9\\n\"],\"b\":{\"\":{}}}"),
    ("space", "\n \t\r\n{ \"a\" : [ 1 , 2 ] } \n"),
    ("array", "\n[]"),
    ("byte_order_mark", "\n@b{}"),
    ("behind", "\n{}x"),
    ("two", "\n{}{}"),
    ("duplicate", "\n{\"a\":1,\"a\":1}"),
    ("duplicate_escaped", "\n{\"a\":1,\"\\u0061\":1}"),
    ("duplicate_deep", "\n{\"a\":[{\"x\":1,\"y\":2,\"x\":3}]}"),
    ("reserved", "\n{\"a\":[{\"\\u0024serde_json::private::Number\":\"1\"}]}"),
    ("same_name_apart", "\n{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}"),
    ("surrogates", "\n{\"a\":\"@h@l\"}"),
    ("surrogate_high", "\n{\"a\":\"@h\"}"),
    ("surrogate_low", "\n{\"a\":\"@l@h\"}"),
    ("surrogate_in_a_name", "\n{\"@h\\n\":1}"),
    ("deep", "\n{\"a\":@o@o@c@c}"),
    ("too_deep", "\n{\"a\":[@o@o@c@c]}"),
    ("deep_objects", "\n{\"a\":@O@O1@C@C}"),
    ("too_deep_objects", "\n{\"a\":{\"a\":@O@O1@C@C}}"),
    ("integer", "\n{\"n\":18446744073709551615}"),
    ("integer_beyond", "\n{\"n\":18446744073709551616}"),
    ("integer_least", "\n{\"n\":-9223372036854775808}"),
    ("double_last", "\n{\"n\":@m@z}"),
    ("double_beyond", "\n{\"n\":@n9}"),
    ("double_digits", "\n{\"n\":@n}"),
    ("double_tiny", "\n{\"n\":0.@z@z1}"),
    ("double_half", "\n{\"n\":9007199254740993.0}"),
    ("zero_minus", "\n{\"n\":-0}"),
    ("zero_leading", "\n{\"n\":01}"),
    ("exponent_huge", "\n{\"n\":0e99999999999999999999}"),
    ("exponent_beyond", "\n{\"n\":1e99999999999999999999}"),
    ("number_ends", "\n{\"n\":1."),
    ("members_60", "\n{@a,\"a\":{\"x\":0,\"y\":0,\"z\":0}}"),
    ("members_65", "\n{@a,\"a\":{\"w\":0,\"x\":0,\"y\":0,\"z\":0}}"),
    ("member_65_broken", "\n{@a,\"a\":{\"v\":0,\"w\":0,\"x\":0,\"y\":0,\"z}}"),
    ("claim_of_another_type", "\n{\"exp\":\"1\"}"),
    ("control", "\n{\"a\":\"\n\"}"),
    ("escape", "\n{\"a\":\"\\x\"}"),
    ("comma", "\n{\"a\":[1,]}"),
    ("header", "\n{\"alg\":\"HS256\",\"typ\":null,\"kid\":\"\\u0000\"}"),
];

/// Returns the seeds that are choices or invalid UTF-8, as the example `seeds` writes them.
pub fn binary_seeds() -> Vec<(String, Vec<u8>)> {
    let mut state = 1_u64;
    let mut choice = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let written = (0..8).map(|number| {
        let choices: Vec<u8> = (0..160).map(|_| choice() | 1).collect();
        (format!("choices_{number}"), choices)
    });
    let odd: [(&str, &[u8]); 3] = [
        ("not_utf8", b"\n{\"a\":\"\xff\"}"),
        ("not_utf8_too_long", b"\n{\"a\":\"\xc0\x80\"}"),
        ("not_utf8_surrogate", b"\n{\"a\":\"\xed\xa0\x80\"}"),
    ];
    let odd = odd.into_iter().map(|(name, seed)| (name.to_owned(), seed.to_vec()));
    written.chain(odd).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        documents::{Happened, run, written},
        json::read_object,
    };

    /// The seeds decide what a fuzzer finds in its first minute.
    #[test]
    fn the_seeds_reach_every_verdict() {
        let mut happened: Happened =
            SEEDS.iter().flat_map(|(_, seed)| run(seed.as_bytes())).collect();
        happened.extend(binary_seeds().iter().flat_map(|(_, seed)| run(seed)));
        for wanted in [
            "accepted",
            "a claim",
            "a number",
            "payload: NotUtf8",
            "payload: NotAnObject",
            "payload: Syntax",
            "payload: DuplicateMember",
            "payload: ReservedMember",
            "header: NotUtf8",
            "header: NotAnObject",
            "header: Syntax",
            "header: DuplicateMember",
            "header: TooManyMembers",
        ] {
            assert!(happened.contains(wanted), "no seed for {wanted} in {happened:#?}");
        }
    }

    #[test]
    fn the_edges_are_where_the_seeds_say() {
        let accepted = |name: &str| {
            let seed = SEEDS.iter().find(|(known, _)| *known == name).expect("there is one");
            run(seed.1.as_bytes()).contains("accepted")
        };
        for name in ["deep", "deep_objects", "double_last", "double_digits", "members_65"] {
            assert!(accepted(name), "{name}");
        }
        for name in ["too_deep", "too_deep_objects", "double_beyond", "exponent_beyond"] {
            assert!(!accepted(name), "{name}");
        }
    }

    /// A writer of only invalid texts would test little.
    #[test]
    fn about_half_of_the_generated_texts_are_strict() {
        let mut state = 1_u64;
        let (mut strict, mut other) = (0, BTreeSet::new());
        for _ in 0..2_000 {
            let choices: Vec<u8> = (0..256)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            let reading = read_object(&written(&choices), usize::MAX);
            strict += u32::from(reading.members.is_some());
            other.extend(reading.defects);
        }
        assert!((400..1_600).contains(&strict), "{strict}");
        assert_eq!(other.len(), 4, "{other:?}");
    }
}
