//! Inserting and loading: a load returns what was inserted, and nothing is overwritten.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{GRACE, HOUR, MILLI, Stage, Verdict, same},
    },
    data::SessionData,
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::MAX_GENERATION,
    store::{InsertOutcome, RefreshStore},
};

const EXACT: Case = Case(
    "insert/keeps_every_field",
    "C1",
    "store all fields, with types and widths that represent them exactly; bind values, never paste them into a statement",
);
const TEXTS: Case = Case(
    "insert/keeps_every_text",
    "C1",
    "store texts as their bytes: up to 512 bytes, any UTF-8, no trimming, folding or normalizing",
);
const LABELS: Case = Case(
    "insert/tells_no_label_from_an_empty_one",
    "C1",
    "distinguish an absent label from an empty one: a column that may be NULL, a field that may be missing",
);
const REVOKED: Case = Case(
    "insert/keeps_a_revocation",
    "C1",
    "store both the time and the reason; use the words of RevokeReason::as_str, which parse() reads",
);
const DUPLICATE: Case = Case(
    "insert/never_overwrites",
    "C2",
    "insert only if no session has the id (a primary key, ON CONFLICT DO NOTHING, NX), and otherwise answer Duplicate",
);
const UNKNOWN: Case = Case(
    "load/unknown_is_none",
    "C3",
    "answer None for an id that is not stored; absence is not an error, and a load creates nothing",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(EXACT, keeps_every_field(stage)).await;
    book.case(TEXTS, keeps_every_text(stage)).await;
    book.case(LABELS, tells_labels_apart(stage)).await;
    book.case(REVOKED, keeps_a_revocation(stage)).await;
    book.case(DUPLICATE, never_overwrites(stage)).await;
    book.case(UNKNOWN, unknown_is_none(stage)).await;
}

async fn keeps_every_field<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    for generation in [0, 1, u64::from(u32::MAX), 1 << 52, MAX_GENERATION] {
        let session = SessionRecord {
            client: "a client".to_string(),
            label: Some("a label".to_string()),
            kid: "a kid".to_string(),
            rotated_at: stage.at(GRACE),
            expires_at: stage.at(HOUR),
            remembered: generation == 0,
            idle_lifetime: (generation > 1)
                .then_some(MILLI * u32::try_from(generation).unwrap_or(7)),
            auth_time: stage.at(MILLI),
            data: SessionData::new(bytes.repeat(4)).unwrap_or_default(),
            generation,
            ..stage.session(&stage.subject()?)?
        };
        stage.add(&session).await?;
        stage.holds("a session that was inserted", &session).await?;
    }
    Ok(())
}

/// Texts that stores have changed, or that broke a statement. None has control characters.
fn texts() -> [String; 18] {
    [
        "x".to_string(),
        " ".to_string(),
        " spaces around and a no-break one\u{a0} ".to_string(),
        "'; DROP TABLE sessions; --".to_string(),
        r#"'single' "double" `back` \backslash\"#.to_string(),
        r"\u0000 \x00 \0 %00 &#0;".to_string(),
        "{braces} [brackets] {{twice}} $1 :name ?1 @p #{x} ${y}".to_string(),
        "100 %% _ * %s %d".to_string(),
        r#"{"json":[null,true,1]}"#.to_string(),
        "null".to_string(),
        "0123456789.0".to_string(),
        "1e5".to_string(),
        "👩🏽‍🚀 🇯🇵 𝔘𝔫𝔦 日本語 עברית".to_string(),
        "e\u{301} \u{e9} \u{fb01} \u{212b}".to_string(),
        "\u{feff}\u{200b}\u{2028}\u{fffd}\u{10ffff}".to_string(),
        "x".repeat(512),
        "é".repeat(256),
        "😀".repeat(128),
    ]
}

/// Returns as much of a text as a field can have.
fn within(text: &str, limit: usize) -> String {
    text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= limit).map(|(_, c)| c).collect()
}

async fn keeps_every_text<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for text in texts() {
        // The subject has to be unique, and as long as a subject can be.
        let subject = format!("{text} {}", stage.subject()?);
        let subject: String = subject.chars().rev().collect();
        let session = SessionRecord {
            client: within(&text, 512),
            label: Some(within(&text, 128)),
            kid: within(&text, 64),
            ..stage.session(&within(&subject, 512))?
        };
        stage.add(&session).await?;
        stage.holds("a session that was inserted", &session).await?;
        let listed = stage.list(&session.subject, stage.now).await?;
        same("the list of a subject with one session", &*listed, &[session])?;
    }
    Ok(())
}

async fn tells_labels_apart<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for label in [None, Some(""), Some(" "), Some("null")] {
        let label = label.map(String::from);
        let session = SessionRecord { label, ..stage.session(&stage.subject()?)? };
        stage.add(&session).await?;
        stage.holds("a session that was inserted", &session).await?;
        let listed = stage.list(&session.subject, stage.now).await?;
        same("the list of a subject with one session", &*listed, &[session])?;
    }
    Ok(())
}

async fn keeps_a_revocation<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for &reason in RevokeReason::ALL {
        let mut session = stage.logged_in().await?;
        let at = stage.at(GRACE);
        stage.revoke(&session.id, reason, at).await?;
        session.revoked = Some(Revoked { at, reason });
        stage.holds("a session that was revoked", &session).await?;
        // As when sessions are copied from one store to another.
        let copy = SessionRecord { id: SessionId::generate(&session.subject)?, ..session };
        stage.add(&copy).await?;
        stage.holds("a session that was inserted as revoked", &copy).await?;
    }
    Ok(())
}

async fn never_overwrites<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let refused = async |other: &SessionRecord, session: &SessionRecord| {
        let outcome = stage.insert(other).await?;
        same("insert of an id that is there", &outcome, &InsertOutcome::Duplicate)?;
        stage.holds("a session whose id was inserted again", session).await
    };
    refused(&session, &session).await?;
    let other = SessionRecord { label: None, kid: "other".into(), ..session.clone() };
    refused(&other, &session).await?;
    stage.present(&mut session, &stage.request(&other, 0)).await?;
    refused(&other, &session).await?;
    let (at, reason) = (stage.at(GRACE), RevokeReason::Logout);
    stage.revoke(&session.id, reason, at).await?;
    session.revoked = Some(Revoked { at, reason });
    refused(&other, &session).await?;
    // Also long after the session has expired, as long as it is stored.
    let late = SessionRecord {
        created_at: session.absolute_expires_at,
        absolute_expires_at: session.absolute_expires_at.saturating_add(HOUR),
        ..other
    };
    refused(&late, &session).await
}

async fn unknown_is_none<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let session = stage.session(&stage.subject()?)?;
    for _ in 0..2 {
        stage.lacks("load of an id that was never inserted", &session.id).await?;
    }
    same("the list of an unknown subject", &*stage.list(&session.subject, stage.now).await?, &[])
}
