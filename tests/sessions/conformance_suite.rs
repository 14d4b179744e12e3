//! Tests the conformance suite: a store that keeps the contract passes, and the case for each flaw
//! detects it.

use std::{sync::Arc, time::Duration};

use broken_stores::{Broken, Flaw};
use kippu::session::{
    BoxStore, MemoryStore,
    conformance::{self, CaseResult, Harness, Stall, Suite},
};
use kippu_test_support::broken_stores;
use tokio::{sync::Semaphore, task::JoinSet};

/// Handles that share one store.
struct Memory(Arc<MemoryStore>);

impl Harness for Memory {
    type Store = BoxStore;

    async fn open(&self) -> BoxStore {
        BoxStore::new(self.0.clone())
    }

    async fn stall(&self) -> Option<Stall> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_passes_repeatedly() {
    let harness = Memory(Arc::new(MemoryStore::new(10_000)));
    for _ in 0..2 {
        let report = Suite::new().shares_the_clock().run(&harness).await;
        println!("{report}");
        report.assert_passed();
    }
}

/// Each flaw, and the cases that have to detect it, each by itself. Other cases may detect it, too.
const FLAWS: &[(Flaw, &[&str])] = &[
    (Flaw::InsertOverwrites, &["insert/never_overwrites", "faults/every_step_can_be_repeated"]),
    (Flaw::InsertIsNotAtomic, &["races/one_insert"]),
    (Flaw::EmptyLabelIsNone, &["insert/tells_no_label_from_an_empty_one"]),
    (Flaw::TextsAreTrimmed, &["insert/keeps_every_text"]),
    (Flaw::GenerationIsFloat, &["insert/keeps_every_field", "rotate/ends_at_the_last_generation"]),
    (Flaw::RememberedIsForgotten, &["insert/keeps_every_field"]),
    (Flaw::DataAreText, &["insert/keeps_every_field", "rotate/replaces_the_data"]),
    (Flaw::RevocationLosesItsTime, &["insert/keeps_a_revocation", "revoke/ends_the_session"]),
    (Flaw::LoadMakesSessions, &["load/unknown_is_none", "model/random_operations"]),
    (Flaw::RotateIsNotAtomic, &["races/one_rotation_wins", "races/one_heals"]),
    (
        Flaw::RotateWritesWholeRecords,
        &["races/no_rotation_undoes_a_revocation", "races/no_rotation_undoes_a_proof"],
    ),
    (Flaw::RotateUpserts, &["races/purge_and_rotations"]),
    (Flaw::RotateMakesSessions, &["rotate/unknown_stays_unknown", "purge/gone_is_gone"]),
    (Flaw::GraceSlides, &["rotate/a_replay_writes_nothing"]),
    (Flaw::GraceProlongs, &["rotate/a_replay_writes_nothing"]),
    (Flaw::GraceIsInSeconds, &["rotate/replays_within_the_grace"]),
    (Flaw::GraceIsEndless, &["rotate/replays_within_the_grace", "rotate/reuse_revokes"]),
    (Flaw::WaitIsForgotten, &["rotate/begins_after_the_wait"]),
    (Flaw::WaitExpires, &["rotate/begins_after_the_wait"]),
    (Flaw::StallIsForgotten, &["stall/the_grace_begins_with_the_change"]),
    (Flaw::StallIsGuessed, &["rotate/advances", "stall/the_grace_begins_with_the_change"]),
    (Flaw::WaitsForEver, &["stall/every_step_ends_in_time"]),
    (Flaw::OvertakenIsReuse, &["stall/an_overtaken_token_is_replayed"]),
    (Flaw::GraceOfZeroIsAccepted, &["rotate/a_grace_of_zero_is_none"]),
    (Flaw::GrandparentsReplay, &["rotate/a_grandparent_is_reuse"]),
    (Flaw::ReplaysRevoked, &["rotate/revoked_stays_revoked"]),
    (Flaw::ReplaysExpired, &["rotate/expired_never_replays"]),
    (Flaw::ReplaysTheRequestedKid, &["rotate/a_replay_has_the_stored_kid"]),
    (Flaw::ReuseRollsBack, &["rotate/reuse_revokes", "faults/a_lost_reuse_stays_revoked"]),
    (Flaw::ReuseIsReportedTwice, &["rotate/reuse_revokes", "races/one_reuse"]),
    (Flaw::KidIsNotStored, &["rotate/advances", "rotate/a_replay_has_the_stored_kid"]),
    (Flaw::AheadIsReuse, &["rotate/ahead_heals", "rotate/ahead_can_be_refused"]),
    (Flaw::AheadIsHealedFromTheStored, &["rotate/ahead_heals"]),
    (Flaw::AheadIsAlwaysHealed, &["rotate/ahead_can_be_refused"]),
    (Flaw::GenerationsEndAtI64, &["rotate/ends_at_the_last_generation"]),
    (Flaw::LosesAnswers, &["faults/a_lost_rotation_is_replayed"]),
    (Flaw::IdleLifetimeIsTheRequests, &["rotate/by_the_idle_lifetime_of_the_session"]),
    (Flaw::DataAreNotReplaced, &["rotate/replaces_the_data"]),
    (Flaw::DataAreReplacedByReplays, &["rotate/replaces_the_data"]),
    (Flaw::ProofIsNotStored, &["rotate/notes_a_new_proof"]),
    (Flaw::EveryRotationIsAProof, &["rotate/notes_a_new_proof"]),
    (Flaw::ProofRotatesWithinTheGrace, &["rotate/a_proof_within_the_grace_keeps_the_token"]),
    (Flaw::ProofSlidesTheGrace, &["rotate/a_proof_within_the_grace_keeps_the_token"]),
    (Flaw::ProofIsNotReplayed, &["rotate/a_proof_is_replayed_within_the_grace"]),
    (Flaw::OvertakenProofIsReuse, &["rotate/an_overtaken_proof_revokes_nothing"]),
    (Flaw::ExpiresOnlyBySweep, &["times/idle_expiry_is_decided_at_use"]),
    (Flaw::ExpiresLate, &["times/idle_expiry_is_decided_at_use"]),
    (Flaw::SecondsOnly, &["times/are_kept_to_the_millisecond"]),
    (Flaw::AbsoluteEndMoves, &["times/the_absolute_end_never_moves"]),
    (Flaw::FirstExpiryStays, &["times/use_outlives_the_first_idle_expiry"]),
    (Flaw::BackwardClockIsReuse, &["times/clock_steps_prolong_nothing"]),
    (Flaw::ForwardClockRevokes, &["times/clock_steps_prolong_nothing"]),
    (Flaw::DurationsOverflow, &["times/extremes"]),
    (Flaw::RevokeOverwrites, &["revoke/keeps_the_first_reason"]),
    (Flaw::RevokeFindsOnlyLive, &["revoke/ends_what_is_expired"]),
    (Flaw::RevokeLeavesTombstones, &["revoke/unknown_stays_unknown"]),
    (Flaw::RevokeIsNotDone, &["revoke/ends_the_session"]),
    (Flaw::RevokeSubjectIgnoresKeep, &["revoke_subject/keeps_the_one_to_keep"]),
    (
        Flaw::RevokeSubjectIsNotAtomic,
        &["races/revoke_subject_gets_all", "races/revoke_subject_and_logins"],
    ),
    (Flaw::RevokeSubjectOverwrites, &["revoke_subject/keeps_first_reasons"]),
    (Flaw::RevokeSubjectCountsAll, &["revoke_subject/keeps_first_reasons"]),
    (Flaw::IndexPerHandle, &["revoke_subject/ends_all", "handles/one_opened_later_sees_all"]),
    (Flaw::ListsRevoked, &["list/only_live_in_order"]),
    (Flaw::ListsInOrderOfIds, &["list/only_live_in_order"]),
    (Flaw::ListHasPages, &["list/has_no_last_page"]),
    (Flaw::ListIgnoresAfter, &["list/has_pages"]),
    (Flaw::ListIgnoresLimit, &["list/has_pages"]),
    (Flaw::LimitIsIgnored, &["limit/evicts_the_oldest", "limit/can_refuse"]),
    (Flaw::LimitIsNotAtomic, &["limit/holds_for_logins_at_once"]),
    (Flaw::LimitIsOffByOne, &["limit/evicts_the_oldest"]),
    (Flaw::LimitCountsTheEnded, &["limit/counts_the_live_alone"]),
    (Flaw::LimitEvictsTheNewest, &["limit/evicts_the_oldest"]),
    (Flaw::LimitAlwaysEvicts, &["limit/can_refuse"]),
    (Flaw::LimitIsALogout, &["limit/evicts_the_oldest"]),
    (Flaw::LimitIsNotLogged, &["limit/logs_what_it_evicts"]),
    (Flaw::LimitMakesRoomForDuplicates, &["limit/a_repeated_id_evicts_nothing"]),
    (Flaw::SubjectsIgnoreCase, &["subjects/never_mix"]),
    (Flaw::SubjectsAreShards, &["subjects/of_one_shard_never_mix"]),
    (Flaw::PurgeTakesLive, &["purge/live_sessions_stay"]),
    (Flaw::PurgeTakesRevoked, &["purge/revoked_sessions_stay_until_they_are_over"]),
    (Flaw::PurgeIgnoresTheLimit, &["purge/keeps_to_the_limit"]),
    (Flaw::PurgeDoesNothing, &["purge/removes_what_is_over"]),
    (Flaw::PurgeIsNotAtomic, &["races/purge_and_rotations"]),
    (Flaw::PurgeCountsTwice, &["races/two_purgers"]),
    (Flaw::PurgeLeavesTheIndex, &["purge/gone_is_gone"]),
    (Flaw::PurgeTrustsTheCaller, &["purge/a_clock_ahead_removes_nothing_live"]),
    (Flaw::LogMissesReuse, &["ended/has_every_revocation"]),
    (Flaw::LogMissesUnknown, &["ended/has_unknown_ids"]),
    (Flaw::LogMissesExpired, &["ended/has_every_revocation"]),
    (Flaw::LogHasTheKept, &["ended/has_every_revocation"]),
    (Flaw::LogIsLate, &["ended/misses_none_in_a_race"]),
    (Flaw::LogIsPurgedWithTheSession, &["ended/outlives_the_session"]),
    (Flaw::LogNumbersAreDrawnEarly, &["ended/misses_none_in_a_race"]),
    (Flaw::LogNumbersRepeat, &["ended/is_trimmed_by_its_age"]),
    (Flaw::LogIsNotTrimmed, &["ended/is_trimmed_by_its_age"]),
    (Flaw::LogIsTrimmedWhole, &["ended/is_trimmed_by_its_age"]),
    (Flaw::LogBelievesCursors, &["ended/begins_again_at_a_foreign_cursor"]),
    (Flaw::LogHasNoCursor, &["ended/has_every_revocation"]),
    (Flaw::CachePerHandle, &["handles/none_reads_what_was"]),
    (Flaw::SnapshotPerHandle, &["handles/one_opened_later_sees_all"]),
];

/// Runs fewer rounds than usual: a flaw here shows reliably.
fn short_suite() -> Suite {
    Suite::new().rounds(2).deadline(broken_stores::DEADLINE)
}

/// Returns the last report if this case does not detect the flaw.
async fn missed(flaw: Flaw, case: &str) -> Option<String> {
    let mut last = None;
    // Whether a race shows depends on chance and on the load of the machine.
    for _ in 0..6 {
        let report = short_suite().only(case).run(&Broken::new(flaw)).await;
        if report.failures().any(|failure| failure.name() == case) {
            return None;
        }
        last = Some(format!("{case} does not detect {flaw:?}:\n{report}"));
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_without_a_flaw_passes() {
    let mut runs = JoinSet::new();
    for flaw in [Flaw::None, Flaw::Swaps] {
        // A caller may run the suite in a separate task.
        runs.spawn(async move { conformance::run(&Broken::new(flaw)).await });
    }
    runs.join_all().await.iter().for_each(conformance::Report::assert_passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_flaw_is_detected_and_each_case_detects_one() {
    let whole = tokio::spawn(async { short_suite().run(&Broken::new(Flaw::None)).await });
    // A case waits most of the time, so that many of them share the threads.
    let turns = Arc::new(Semaphore::new(48));
    let mut runs = JoinSet::new();
    for &(flaw, cases) in FLAWS {
        for case in cases {
            let turns = Arc::clone(&turns);
            runs.spawn(async move {
                let _turn = turns.acquire_owned().await;
                missed(flaw, case).await
            });
        }
    }
    let missed: Vec<_> = runs.join_all().await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    // A case that detects no flaw tests nothing.
    let report = whole.await.unwrap();
    let names = report.cases().iter().map(conformance::CaseReport::name);
    let idle: Vec<_> =
        names.filter(|name| !FLAWS.iter().any(|(_, cases)| cases.contains(name))).collect();
    assert_eq!(idle, ["handles/race_on_several_threads"]);
}

/// Returns the findings of the cases with this prefix, with a short time limit.
async fn found(flaw: Flaw, prefix: &str) -> Vec<String> {
    let suite = Suite::new().only(prefix).time_limit(Duration::from_millis(200));
    let report = suite.run(&Broken::new(flaw)).await;
    assert!(!report.passed());
    let found = report.cases().iter().map(|case| match case.result() {
        CaseResult::Failed(found) => found.clone(),
        other => panic!("{other:?}: {case}"),
    });
    found.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_panics_or_hangs_fails_the_case_and_not_the_run() {
    assert_eq!(found(Flaw::Panics, "load/").await, ["a panic: a load that panics"]);
    assert_eq!(found(Flaw::Hangs, "load/").await, ["no answer within 200ms: is there a deadlock?"]);
}

#[tokio::test]
async fn the_suite_requires_more_than_one_thread() {
    let report = conformance::run(&Broken::new(Flaw::None)).await;
    let failed: Vec<_> = report.failures().map(conformance::CaseReport::name).collect();
    assert_eq!(failed, ["handles/race_on_several_threads"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_seed_repeats_the_operations() {
    // Compares the kind of operation, without the ids and subjects, which are new each time.
    let first = async || {
        let suite = Suite::new().only("model/").seed(7).rounds(50);
        let report = suite.run(&Broken::new(Flaw::GrandparentsReplay)).await;
        assert_eq!(report.seed(), 7);
        let found = report.failures().next().unwrap().to_string();
        let end = found.find("; the last operations").unwrap();
        let start = found.find("found: ").unwrap();
        let (round, found) = found[start..end].split_once(": Rotate(RotateRequest").unwrap();
        let (_, answer) = found.rsplit_once(" }): ").unwrap();
        format!("{round}: {answer}")
    };
    let once = first().await;
    assert!(once.starts_with("found: seed 7, round "), "{once}");
    assert!(once.ends_with(", and not Rotate(Reused)"), "{once}");
    assert_eq!(first().await, once);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_removes_sessions_by_itself_passes() {
    let run = |flaw| {
        let suite = Suite::new().removes_by_itself().deadline(broken_stores::DEADLINE);
        tokio::spawn(async move { suite.run(&Broken::new(flaw)).await })
    };
    let passes = run(Flaw::PurgeDoesNothing);
    let flaws = [Flaw::PurgeTakesLive, Flaw::RotateIsNotAtomic, Flaw::SecondsOnly];
    let runs = flaws.map(|flaw| (flaw, run(flaw)));
    let report = passes.await.unwrap();
    report.assert_passed();
    let not_run = |case: &&conformance::CaseReport| matches!(case.result(), CaseResult::NotRun(_));
    assert_eq!(report.cases().iter().filter(not_run).count(), 7);
    for (flaw, run) in runs {
        assert!(!run.await.unwrap().passed(), "{flaw:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[should_panic(expected = "0 cases, 0 failed")]
async fn a_run_without_cases_fails() {
    Suite::new().only("no such case").run(&Broken::new(Flaw::None)).await.assert_passed();
}

/// Flaws that sequential random operations cannot show: races, unusual texts, many sessions,
/// similar subjects.
const BEYOND_THE_MODEL: &[Flaw] = &[
    Flaw::InsertIsNotAtomic,
    Flaw::EmptyLabelIsNone,
    Flaw::TextsAreTrimmed,
    Flaw::GenerationIsFloat,
    Flaw::RotateIsNotAtomic,
    Flaw::RotateWritesWholeRecords,
    Flaw::RotateUpserts,
    Flaw::StallIsForgotten,
    Flaw::WaitsForEver,
    Flaw::DurationsOverflow,
    Flaw::RevokeSubjectIsNotAtomic,
    Flaw::ListHasPages,
    Flaw::LimitIsNotAtomic,
    Flaw::SubjectsIgnoreCase,
    Flaw::SubjectsAreShards,
    Flaw::PurgeIsNotAtomic,
    Flaw::PurgeCountsTwice,
    Flaw::PurgeTrustsTheCaller,
    Flaw::LogIsLate,
    Flaw::LogNumbersAreDrawnEarly,
    Flaw::LogNumbersRepeat,
    Flaw::LogIsNotTrimmed,
    Flaw::LogIsTrimmedWhole,
    Flaw::LogBelievesCursors,
    Flaw::SnapshotPerHandle,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_model_case_alone_detects_sequential_flaws() {
    // A seed does not choose the ids. By chance their order can be the correct one.
    let is_detected = async |flaw: Flaw| {
        for seed in 1..=5 {
            let suite = Suite::new().only("model/").rounds(100).seed(seed);
            if !suite.run(&Broken::new(flaw)).await.passed() {
                return true;
            }
        }
        false
    };
    let mut missed = Vec::new();
    for (flaw, _) in FLAWS.iter().filter(|(flaw, _)| !BEYOND_THE_MODEL.contains(flaw)) {
        if !is_detected(*flaw).await {
            missed.push(flaw);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
