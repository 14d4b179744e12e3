//! A session as a row of SQL has it: columns in, a record out, or nothing, where no store can have written them.

use alloc::string::String;

use crate::session::{
    id::SessionId,
    record::{MAX_KID_LEN, MAX_LABEL_LEN, MAX_NAME_LEN, Revoked, SessionRecord},
    rotation::MAX_GENERATION,
    time::UnixMillis,
};

pub(super) struct Columns<'r> {
    pub(super) id: &'r [u8],
    pub(super) subject: String,
    pub(super) client: String,
    pub(super) label: Option<String>,
    pub(super) created_at: i64,
    pub(super) absolute_expires_at: i64,
    pub(super) generation: i64,
    pub(super) kid: String,
    pub(super) rotated_at: i64,
    pub(super) expires_at: i64,
    pub(super) revoked_at: Option<i64>,
    pub(super) revoked_reason: Option<&'r str>,
}

impl Columns<'_> {
    pub(super) fn into_record(self) -> Option<SessionRecord> {
        let text = |text: String, longest| (1..=longest).contains(&text.len()).then_some(text);
        let is_label = self.label.as_ref().is_none_or(|label| label.len() <= MAX_LABEL_LEN);
        let generation = u64::try_from(self.generation).ok()?;
        let revoked = match (self.revoked_at, self.revoked_reason) {
            (None, None) => None,
            (Some(at), Some(word)) => Some(Revoked { at: time(at)?, reason: word.parse().ok()? }),
            _ => return None,
        };
        let mut record = SessionRecord::new(
            SessionId::from_bytes(self.id.try_into().ok()?),
            text(self.subject, MAX_NAME_LEN)?,
            text(self.client, MAX_NAME_LEN)?,
            text(self.kid, MAX_KID_LEN)?,
            time(self.created_at)?,
            time(self.absolute_expires_at)?,
        );
        record.label = self.label;
        record.generation = generation;
        record.rotated_at = time(self.rotated_at)?;
        record.expires_at = time(self.expires_at)?;
        record.revoked = revoked;
        (is_label && generation <= MAX_GENERATION).then_some(record)
    }
}

/// A time that a store can have written: no other is ever made.
pub(super) fn time(millis: i64) -> Option<UnixMillis> {
    let time = UnixMillis::new(millis);
    (time.get() == millis).then_some(time)
}
