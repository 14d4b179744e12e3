//! The seeds, and tests of what they reach.

/// The seeds by name. The example `seeds` writes them to files.
pub const SEEDS: &[(&str, &str)] = &[
    ("rotate", "\nl0r0r0r0"),
    ("replay", "\nl0r0r1r1"),
    ("grace_end", "\nl0r0w1r1"),
    ("grace_over", "\nl0r0w2r1r0"),
    ("grace_none", "0001\nl0r0r1"),
    ("grace_none_in_a_race", "0001\nl0b0b0f0f0"),
    ("grace_of_a_replay", "\nl0r0w1r1w1r1"),
    ("grace_of_a_late_commit", "\nl0b0w2f0r1"),
    ("idle_after_a_replay", "\nl0r0w1r1w4r0"),
    ("idle_after_a_late_commit", "\nl0b0w1f0w4r0"),
    ("reuse_of_an_older_one", "\nl0r0r0r2r0"),
    ("denied", "\nl0d0r0"),
    ("not_authorized", "\nl0e0r0"),
    ("idle_edge", "\nl0w4r0w4r0w5r0"),
    ("absolute_end", "221\nl0w4r0w4r0w4r0w4r0w7r0"),
    ("clock_back", "\nl0r0w;r1r0w>r0"),
    ("clock_ten_years_back", "\nl0w?r0r1w>r0"),
    ("race", "\nl0b0b0b0f0f0f0r0"),
    ("race_slow_application", "\nl0b0b0f0w2f0r0"),
    ("race_past_the_end", "\nl0b0w5f0r0"),
    ("logout", "\nl0o0r0o0"),
    ("logout_under_way", "\nl0b0o0f0"),
    ("logout_all", "\nl0l0l1a0r0r1r2a0"),
    ("logout_all_under_way", "\nl0b0a0f0"),
    ("denied_under_way", "\nl0b0b0n0f0"),
    ("logout_others", "\nl0l0l1x1r0r1r2"),
    ("logout_by_id", "\nl0l1s0r0s0"),
    ("logout_by_a_stranger", "\nl0sqr0"),
    ("logout_by_a_stranger_not_told", "\nl0t2sqr0"),
    ("purge", "\nl0l0w5p1p9r0r1"),
    ("purge_before_the_end", "\nl0w4p9r0"),
    ("purge_of_a_revoked_one", "\nl0o0p9r0"),
    ("purge_under_way", "\nl0b0w5p9f0"),
    ("keys", "\nl0k1r0r1r0k2r0r1"),
    ("key_retires", "\nl0k4r0w9r1r0"),
    ("key_retired", "\nl0k7r0"),
    ("key_left_out", "\nl0k:r0"),
    ("key_of_the_successor_left_out", "\nl0k1r0kBr1"),
    ("key_replaced_under_way", "\nl0k1b0kBb0f0f0"),
    ("healed", "\nl0m0r0r0u0r0r1"),
    ("ahead_refused", "00001\nl0m0r0u0r0r1"),
    ("login_lost", "\nm0l0u0r0"),
    ("logout_lost", "\nl0m0o0u0r0"),
    ("rotation_not_made", "\nl0t0r0r0"),
    ("rotation_not_told", "\nl0t1r0r0r0"),
    ("reuse_not_told", "\nl0r0r0t1r2r2"),
    ("load_fails", "\nl0t2r0r0t2v0t2s0"),
    ("logout_not_told", "\nl0t4o0t5o0r0"),
    ("logout_all_not_told", "\nl0t6a0t7a0r0"),
    ("denial_not_told", "\nl0t5d0r0"),
    ("full_of_expired", "000001\nl0w5l0l0"),
    ("logout_of_a_revoked_one", "\nl0o0w0o0w5s0"),
    ("full", "000001\nl0l0w5l0"),
    ("verified", "\nl0v0w3v0l0o0v0w;v0"),
    ("no_token", "\nl0g0g1g5gz"),
    ("limit_evicts", "\nl0l0l0c0r0r1c0r0"),
    ("limit_refuses", "\nl0c2c6o0c2"),
    ("limit_counts_the_live", "\nl0o0l0c2w5c2"),
    ("reauthenticated_within_the_grace", "\nl0r0w9i0r0r2"),
    ("reauthenticated", "\nl0i0r0r1i0o0i0"),
    ("reauthentication_not_told", "\nl0t1i0r0i0"),
    ("reauthentication_overtaken", "\nl0b0i0f0r0w2r1"),
    ("reauthentication_then_refresh", "\nl0i0r1w2r0r3"),
    ("refresh_then_reauthentication", "\nl0r0w1i0r2w2r0r4"),
    ("reauthentication_read_again", "\nl0b0w2i0f0r0"),
    ("reauthentication_not_read_again", "\nl0b0w2i0t2f0r1"),
    ("overtaken_and_the_clock_back", "\nl0b0w;b0f1f0"),
    ("lifetimes_refused", "4\nl0"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::{Happened, run};

    /// The seeds decide what a fuzzer finds in its first minute.
    #[test]
    fn the_seeds_reach_everything_that_can_happen() {
        let happened: Happened = SEEDS.iter().flat_map(|(_, seed)| run(seed.as_bytes())).collect();
        let wanted = Happened::from([
            "event: logged in",
            "event: rotated",
            "event: replayed",
            "event: reuse detected",
            "event: revoked",
            "event: healed",
            "event: ahead",
            "event: denied",
            "event: reauthenticated",
            "invalid",
            "ended before",
            "over",
            "reused",
            "ahead",
            "denied",
            "not authorized",
            "away",
            "no key",
            "full",
            "too many",
            "no access token",
            "purged",
            "verified",
            "the clock went back",
            "refused lifetimes",
        ]);
        assert_eq!(happened, wanted);
    }

    #[test]
    fn a_seed_ends_as_its_name_says() {
        let of = |name: &str| {
            let seed = SEEDS.iter().find(|(known, _)| *known == name).expect("there is one");
            run(seed.1.as_bytes())
        };
        assert!(of("grace_end").contains("event: replayed"));
        for reused in ["grace_over", "grace_none", "reuse_of_an_older_one"] {
            assert!(of(reused).contains("event: reuse detected"), "{reused}");
        }
        for ended in ["logout_under_way", "logout_all_under_way", "denied_under_way"] {
            assert!(!of(ended).contains("event: rotated"), "{ended}");
        }
        assert!(of("race").contains("event: replayed"));
        assert!(of("rotation_not_told").contains("event: replayed"));
        assert!(!of("rotation_not_made").contains("event: replayed"));
        assert!(of("purge_under_way").contains("invalid"));
        for together in ["reauthentication_then_refresh", "refresh_then_reauthentication"] {
            let happened = of(together);
            for event in ["reauthenticated", "rotated", "replayed", "reuse detected"] {
                assert!(happened.contains(&*format!("event: {event}")), "{together}: {event}");
            }
        }
    }
}
