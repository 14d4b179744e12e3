//! Every order of a small scope: none breaks a rule, and a fault that is known shows in one of
//! them.

use kippu_simulation::{
    database::Replication,
    exhaustive::{Act, Scope, explore},
    flaw::Flaw,
};

const SCOPE: Scope =
    Scope { act: Act::Logout, replication: Replication::Sync, flaw: None, depth: 20 };

#[test]
fn no_order_breaks_a_rule() {
    for act in [Act::Refresh, Act::Logout] {
        for replication in [Replication::Sync, Replication::Async] {
            let explored = explore(&Scope { act, replication, ..SCOPE });
            assert!(explored.breach.is_none(), "{act:?} {replication:?}: {explored:?}");
            assert!(explored.states > 500, "{explored:?}");
        }
    }
}

#[test]
fn an_order_shows_each_fault_that_needs_no_time() {
    for flaw in [Flaw::Upserts, Flaw::LogoutClaimsSuccess] {
        let explored = explore(&Scope { flaw: Some(flaw), depth: 60, ..SCOPE });
        let (_, breaches) = explored.breach.unwrap_or_else(|| panic!("{flaw:?} is not found"));
        assert!(flaw.is_found_in(&breaches).is_some(), "{flaw:?}: {breaches:#?}");
    }
}
