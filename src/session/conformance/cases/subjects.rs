//! Subjects that look similar are different: no step for one of them changes a session of another.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::slice;
use std::collections::HashMap;

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{Complaint, Stage, Verdict, same},
    },
    id::SessionId,
    record::RevokeReason,
    store::RefreshStore,
};

const NEVER_MIX: Case = Case(
    "subjects/never_mix",
    "C5",
    "compare subjects byte for byte: a binary collation, no LIKE, no pattern, no trimming, no normalization, no separator \
     that a subject could contain",
);
const SHARD: Case = Case(
    "subjects/of_one_shard_never_mix",
    "C5",
    "SessionId::shard tells where to look, not whose session it is: compare the subject as well",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(NEVER_MIX, never_mix(stage)).await;
    book.case(SHARD, of_one_shard(stage)).await;
}

/// Subjects that some comparison treats as equal.
fn alike(unique: &str) -> Vec<String> {
    let long = "x".repeat(512 - unique.len() - 1);
    let mut subjects: Vec<String> = [
        "Alice",
        "alice",
        "ALICE",
        "alice ",
        " alice",
        "alice\u{a0}",
        "alic",
        "alicee",
        "al_ce",
        "al%",
        "%",
        "_",
        "*",
        "al?ce",
        "[a]lice",
        "alice:0",
        "alice/../alice",
        "{alice}",
        "alice'",
        "alice\\",
        "stra\u{df}e",
        "strasse",
        "caf\u{e9}",
        "cafe\u{301}",
        "cafe",
        "\u{212b}",
        "\u{c5}",
        "\u{ff41}lice",
        "al\u{131}ce",
        "al\u{130}ce",
        "al\u{200b}ice",
        "\u{0430}lice",
        "1",
        "01",
        "1.0",
        "\u{1f600}",
        "\u{1f601}",
    ]
    .into_iter()
    // The subject is unique at its start or at its end.
    .flat_map(|name| [format!("{unique}{name}"), format!("{name}{unique}")])
    .collect();
    subjects.extend([format!("{unique}{long}"), format!("{unique}{long}y")]);
    subjects.push(unique.to_string());
    subjects
}

async fn never_mix<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    apart(stage, &alike(&stage.subject()?)).await
}

/// Tests two subjects with the same shard. About 300 subjects are needed to find such a pair.
async fn of_one_shard<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let unique = stage.subject()?;
    let mut seen = HashMap::new();
    for number in 0..100_000 {
        let subject = format!("{unique} {number}");
        if let Some(other) = seen.insert(SessionId::shard_of(&subject), subject.clone()) {
            return apart(stage, &[subject, other]).await;
        }
    }
    Err(Complaint("100,000 subjects, and no two of one shard".to_string()))
}

async fn apart<S: RefreshStore>(stage: &Stage<S>, subjects: &[String]) -> Verdict {
    let mut sessions = Vec::new();
    for subject in subjects {
        let session = stage.session(subject)?;
        stage.add(&session).await?;
        sessions.push(session);
    }
    for session in &sessions {
        let listed = stage.list(&session.subject, stage.now).await?;
        same(
            format_args!("the list of {:?}", session.subject),
            &*listed,
            slice::from_ref(session),
        )?;
    }
    // Each subject is logged out in turn. The sessions that are left stay unchanged.
    while let Some(session) = sessions.pop() {
        let (subject, reason) = (&session.subject, RevokeReason::LogoutAll);
        let count = stage.revoke_subject(subject, None, reason, stage.now).await?;
        same(format_args!("revoke_subject of {subject:?}"), &count, &1)?;
    }
    Ok(())
}
