//! Several handles on the same data: each sees at once what another handle has answered.

use alloc::{format, sync::Arc};

use crate::session::{
    conformance::{
        Harness,
        report::{Book, Case},
        stage::{
            Complaint, GRACE, RACE, Stage, Verdict, as_stalled, ensure, list, load, same,
            same_record,
        },
    },
    record::{RevokeReason, Revoked, SessionRecord},
    store::{InsertRequest, ListRequest, RefreshStore},
    time::UnixMillis,
};

const STALE: Case = Case(
    "handles/none_reads_what_was",
    "C7",
    "read from the server that is written to: no cache in a handle, no replica, no snapshot that stays open",
);
const LATER: Case = Case(
    "handles/one_opened_later_sees_all",
    "C7",
    "keep everything in the data and nothing in the handle; open must not create, clear or migrate away existing data",
);
const THREADS: Case = Case(
    "handles/race_on_several_threads",
    "C7",
    "run the suite on a runtime with several threads: #[tokio::test(flavor = \"multi_thread\")]",
);

pub(super) async fn run<H: Harness>(harness: &H, stage: &Stage<H::Store>, book: &mut Book) {
    book.case(STALE, none_is_stale(stage)).await;
    book.case(LATER, opened_later(harness, stage)).await;
    book.case(THREADS, async { has_threads() }).await;
}

/// Compares what every handle reads.
async fn all_see<S: RefreshStore>(
    handles: &[Arc<S>],
    after: &str,
    session: &SessionRecord,
    now: UnixMillis,
) -> Verdict {
    for (number, store) in handles.iter().enumerate() {
        let found = load(&**store, &session.id).await?;
        same_record(format_args!("handle {number} after {after}"), found.as_ref(), session)?;
        let live = session.is_live(now).then(|| session.clone());
        let listed = list(&**store, &ListRequest::new(&*session.subject, now)).await?;
        same(format_args!("the list of handle {number} after {after}"), &*listed, live.as_slice())?;
    }
    Ok(())
}

async fn none_is_stale<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let handles = stage.handles();
    // Each handle writes once. Before that, every handle has read that there is no session.
    for writer in handles {
        let now = stage.now;
        let mut session = stage.session(&stage.subject()?)?;
        let fault = |error| Complaint(format!("a step failed: {error}"));
        for store in handles {
            same("load of an unknown id", &load(&**store, &session.id).await?, &None)?;
            let listed = list(&**store, &ListRequest::new(&*session.subject, now)).await?;
            same("the list of an unknown subject", &*listed, &[])?;
        }
        writer.insert(&InsertRequest::new(session.clone())).await.map_err(fault)?;
        all_see(handles, "an insert", &session, now).await?;
        let request = stage.request(&session, 0);
        writer.rotate(&request).await.map_err(fault)?;
        let stored = load(&**writer, &session.id).await?;
        let request = as_stalled(&request, &session, stored.as_ref(), RACE);
        if let Some(change) = request.decide(&session).change {
            session.apply(change);
        }
        all_see(handles, "a rotation", &session, now).await?;
        let (at, reason) = (stage.at(GRACE), RevokeReason::Logout);
        let mut other =
            SessionRecord { id: stage.session(&session.subject)?.id, ..session.clone() };
        writer.revoke(&session.id, reason, at).await.map_err(fault)?;
        session.revoked = Some(Revoked { at, reason });
        all_see(handles, "a revocation", &session, now).await?;
        writer.insert(&InsertRequest::new(other.clone())).await.map_err(fault)?;
        all_see(handles, "another insert", &other, now).await?;
        let reason = RevokeReason::LogoutAll;
        writer.revoke_subject(&other.subject, None, reason, at).await.map_err(fault)?;
        other.revoked = Some(Revoked { at, reason });
        all_see(handles, "revoke_subject", &other, now).await?;
        if !stage.keeps {
            continue;
        }
        writer.purge_expired(session.expires_at, 1000).await.map_err(fault)?;
        for store in handles {
            let found = load(&**store, &session.id).await?;
            same("load of what another handle has purged", &found, &None)?;
        }
    }
    Ok(())
}

async fn opened_later<H: Harness>(harness: &H, stage: &Stage<H::Store>) -> Verdict {
    let mut session = stage.logged_in().await?;
    stage.use_token(&mut session, 0).await?;
    let later = [Arc::new(harness.open().await)];
    all_see(&later, "it was opened", &session, stage.now).await?;
    stage.use_token(&mut session, 1).await?;
    all_see(&later, "another rotated", &session, stage.now).await?;
    let alone = Stage::new(later.to_vec(), stage.keeps, stage.rounds, stage.seed);
    let request = stage.request(&session, 2);
    alone.present(&mut session, &request).await?;
    all_see(stage.handles(), "a later one rotated", &session, stage.now).await?;
    drop((later, alone));
    stage.holds("a session, after another handle was closed", &session).await
}

fn has_threads() -> Verdict {
    let flavor = tokio::runtime::Handle::current().runtime_flavor();
    ensure(flavor != tokio::runtime::RuntimeFlavor::CurrentThread, || {
        "one thread takes one step after the other, and races nothing".into()
    })
}
