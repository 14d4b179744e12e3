//! Converts the columns of an SQL row into a session record. Rejects values that no store can have
//! written.

use std::time::Duration;

use kippu::session::{Revoked, SessionData, SessionId, SessionRecord, UnixMillis};

pub(crate) struct Columns<'r> {
    pub(crate) id: &'r [u8],
    pub(crate) subject: String,
    pub(crate) client: String,
    pub(crate) label: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) absolute_expires_at: i64,
    pub(crate) generation: i64,
    pub(crate) kid: String,
    pub(crate) rotated_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) revoked_reason: Option<&'r str>,
    pub(crate) remembered: bool,
    /// Whole milliseconds.
    pub(crate) idle_lifetime: Option<i64>,
    /// `None` in a row that a process with an earlier version has inserted.
    pub(crate) auth_time: Option<i64>,
    pub(crate) data: &'r [u8],
}

impl Columns<'_> {
    pub(crate) fn into_record(self) -> Option<SessionRecord> {
        let revoked = match (self.revoked_at, self.revoked_reason) {
            (None, None) => None,
            (Some(at), Some(word)) => Some(Revoked { at: time(at)?, reason: word.parse().ok()? }),
            _ => return None,
        };
        let mut record = SessionRecord::new(
            SessionId::from_bytes(self.id.try_into().ok()?),
            self.subject,
            self.client,
            self.kid,
            time(self.created_at)?,
            time(self.absolute_expires_at)?,
        );
        record.label = self.label;
        record.remembered = self.remembered;
        let idle_lifetime = self.idle_lifetime.map(u64::try_from).transpose().ok()?;
        record.idle_lifetime = idle_lifetime.map(Duration::from_millis);
        // A version without this column knew no time of authentication but that of the login.
        record.auth_time = self.auth_time.map_or(Some(record.created_at), time)?;
        record.data = SessionData::new(self.data).ok()?;
        record.generation = u64::try_from(self.generation).ok()?;
        record.rotated_at = time(self.rotated_at)?;
        record.expires_at = time(self.expires_at)?;
        record.revoked = revoked;
        record.is_well_formed().then_some(record)
    }
}

/// Converts a stored time. Rejects a value that is out of range, which no store writes.
pub(crate) fn time(millis: i64) -> Option<UnixMillis> {
    let time = UnixMillis::new(millis);
    (time.get() == millis).then_some(time)
}

/// Returns a lifetime in whole milliseconds, as it is stored and added to a time. A lifetime longer
/// than the whole range of times is shortened to that range, so that the sum does not overflow.
pub(crate) fn millis(lifetime: Duration) -> i64 {
    const LONGEST: i64 = UnixMillis::MAX.get() - UnixMillis::MIN.get();
    i64::try_from(lifetime.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}
