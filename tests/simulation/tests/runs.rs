//! Runs of the simulation: a seed decides all of them, what is known is found, and the product
//! breaks no rule.

use kippu_simulation::{flaw::Flaw, run::simulate, workload::lines};

/// How many seeds a flaw may take.
const TRIES: u64 = 100;

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 11] {
        let [one, other] = [(); 2].map(|()| simulate(seed, None));
        assert_eq!(lines(&one.log), lines(&other.log), "seed {seed}");
        assert_eq!((one.steps, one.digest), (other.steps, other.digest));
        assert_ne!(one.digest, simulate(seed + 1, None).digest);
    }
}

#[test]
fn no_rule_is_broken() {
    for seed in 0..20 {
        let run = simulate(seed, None);
        assert!(run.breaches.is_empty(), "seed {seed}: {:#?}", run.breaches);
    }
}

/// No token is in a history.
#[test]
fn a_history_shows_no_token() {
    let history = lines(&simulate(5, None).log).join("\n");
    for secret in ["kippu_rt", "eyJ"] {
        assert!(!history.contains(secret), "{secret}");
    }
}

#[test]
fn each_fault_that_is_known_is_found() {
    for (flaw, name, _) in Flaw::ALL {
        let found = (0..TRIES).find(|seed| {
            let run = simulate(*seed, Some(flaw));
            flaw.is_found_in(&run.breaches).is_some()
        });
        assert!(found.is_some(), "{name} is not found in {TRIES} seeds");
    }
}
