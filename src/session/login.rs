//! Logins: the options of a login, and the session that begins.

use alloc::{boxed::Box, string::String};
use core::{error::Error, future::Future, time::Duration};

use serde::Serialize;

use super::{
    Lifetimes, Sessions, TokenResponse, UnixMillis,
    builder::{self, ConfigError},
    data::SessionData,
    error::SessionError,
    event::EventKind,
    id::SessionId,
    list::Session,
    record::{MAX_LABEL_LEN, RevokeReason, SessionRecord, is_name},
    refresh_token,
    rotation::Successor,
    store::{InsertOutcome, InsertRequest, RefreshStore, SessionLimit, StoreError, StoreErrorKind},
};
use crate::key_set::KeySet;

/// A login of a user whom the application has authenticated, with the policy of its session.
///
/// A value that is not set here is that of the [`SessionsBuilder`](super::SessionsBuilder). The
/// values apply to the whole session, through all its refreshes.
///
/// ```
/// use kippu::session::{Login, SessionLimit};
///
/// let login = Login::new("user-12345")
///     .label("Firefox on Linux")
///     .remember(false) // a public computer
///     .limit(SessionLimit::evict_oldest(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(super) subject: String,
    pub(super) label: Option<String>,
    pub(super) client: Option<String>,
    pub(super) remembered: bool,
    pub(super) idle_lifetime: Option<Duration>,
    pub(super) absolute_lifetime: Option<Duration>,
    pub(super) data: SessionData,
    pub(super) limit: Option<SessionLimit>,
}

impl Login {
    /// Makes a login of `subject`: a name of the user that never changes, with 1 to 512 bytes and
    /// no control characters.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            label: None,
            client: None,
            remembered: true,
            idle_lifetime: None,
            absolute_lifetime: None,
            data: SessionData::default(),
            limit: None,
        }
    }

    /// Sets the name of the session in its user's list of sessions, for example the `User-Agent` of
    /// the request.
    ///
    /// Any text is accepted. A longer text is cut after at most 128 bytes, at the end of a
    /// character. A character that would disturb a list (controls, line separators, changes of the
    /// writing direction) becomes U+FFFD.
    #[must_use]
    pub fn label(self, label: impl AsRef<str>) -> Self {
        Self { label: Some(shown(label.as_ref())), ..self }
    }

    /// Sets the client, which has to be one of those that the builder
    /// [names](super::SessionsBuilder::client). The default is the first of them.
    #[must_use]
    pub fn client(self, client: impl Into<String>) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    /// Sets whether the session is remembered; the default is `true`. Use `false` for a computer
    /// that others use too. The session's cookies then end with the browser session. The session
    /// ends after [`UNREMEMBERED_IDLE_LIFETIME`] without a refresh, and after
    /// [`UNREMEMBERED_ABSOLUTE_LIFETIME`] at the latest, unless the builder's lifetimes are
    /// shorter. It never ends before an access token would.
    ///
    /// [`UNREMEMBERED_ABSOLUTE_LIFETIME`]: super::Sessions::UNREMEMBERED_ABSOLUTE_LIFETIME
    /// [`UNREMEMBERED_IDLE_LIFETIME`]: super::Sessions::UNREMEMBERED_IDLE_LIFETIME
    #[must_use]
    pub fn remember(self, remembered: bool) -> Self {
        Self { remembered, ..self }
    }

    /// Sets how long this session lives without a refresh, instead of the builder's value. It has
    /// to be at least the lifetime of an access token, and at most the absolute lifetime of the
    /// session.
    #[must_use]
    pub fn idle_lifetime(self, lifetime: Duration) -> Self {
        Self { idle_lifetime: Some(lifetime), ..self }
    }

    /// Sets how long this session lives at most, instead of the builder's value.
    #[must_use]
    pub fn absolute_lifetime(self, lifetime: Duration) -> Self {
        Self { absolute_lifetime: Some(lifetime), ..self }
    }

    /// Stores these data with the session.
    #[must_use]
    pub fn data(self, data: SessionData) -> Self {
        Self { data, ..self }
    }

    /// Limits the live sessions of the subject, including this one, instead of the builder's limit.
    /// Sessions that are evicted stay in the store until they are purged, and each login with a
    /// limit reads the sessions of its subject: limit how often a user can log in.
    #[must_use]
    pub fn limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        if is_name(&self.subject) { Ok(()) } else { Err(SessionError::Subject) }
    }
}

/// Returns a text of the client in a form that can be stored and shown.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_LABEL_LEN));
    for char in text.chars() {
        let char = if disturbs(char) { char::REPLACEMENT_CHARACTER } else { char };
        if shown.len() + char.len_utf8() > MAX_LABEL_LEN {
            break;
        }
        shown.push(char);
    }
    shown
}

/// Returns whether a character disturbs a list: controls (Cc), the line and paragraph separators,
/// and the characters that set the direction of the text around them (Unicode Standard Annex #9
/// §2).
fn disturbs(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    ) || char.is_control()
}

impl From<&str> for Login {
    fn from(subject: &str) -> Self {
        Self::new(subject)
    }
}

impl From<String> for Login {
    fn from(subject: String) -> Self {
        Self::new(subject)
    }
}

impl<S: RefreshStore> Sessions<S> {
    /// Begins a session of a user whom the application has authenticated. `claims` are added to
    /// those of RFC 9068 §2.2 in the access token. They are not stored: `authorize` returns them at
    /// each refresh.
    ///
    /// ```
    /// # use kippu::{Algorithm, Key, session::{Login, MemoryStore, NoClaims, Sessions}};
    /// # async fn example(sessions: Sessions<MemoryStore>) -> Result<(), kippu::session::SessionError> {
    /// let tokens = sessions.login(Login::new("user-12345").label("Firefox"), &NoClaims {}).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`], for example if the subject or the claims are invalid, or if the store is
    /// full or fails.
    pub async fn login<C: Serialize>(
        &self,
        login: impl Into<Login>,
        claims: &C,
    ) -> Result<TokenResponse, SessionError> {
        let keys = self.refresh_keys.load();
        let (request, now) = self.begin(login.into(), &keys)?;
        let access_token = self.access_token(&request.session, now, claims)?;
        self.insert(&request).await?;
        self.logged_in(&request.session, access_token, &keys, now)
    }

    /// Begins a session, like [`Sessions::login`], and checks the user's account once more after
    /// the session is stored. Suppose that a password is changed, or an account closed, while this
    /// login is in flight, and [`Sessions::logout_all`] follows. Then this login leaves no session
    /// behind.
    ///
    /// `authorize` returns the same as that of [`Sessions::refresh`], but always with claims. It
    /// has to compare the account with what the login was granted for: not whether the user may log
    /// in, but whether the password is still the one that was checked.
    ///
    /// If `authorize` denies the login, the sessions that a [limit](Login::limit) has ended for it
    /// stay ended.
    ///
    /// ```
    /// # use kippu::session::{MemoryStore, NoClaims, Session, SessionError, Sessions};
    /// # struct Account { password_version: u32 }
    /// # async fn load(_: &str) -> Result<Account, std::io::Error> {
    /// #     Ok(Account { password_version: 7 })
    /// # }
    /// # async fn example(sessions: Sessions<MemoryStore>) -> Result<(), Box<dyn std::error::Error>> {
    /// let checked = load("user-12345").await?; // … its password is right
    /// let tokens = sessions
    ///     .login_checked("user-12345", async |session: Session| {
    ///         let account = load(&session.subject).await?;
    ///         let is_same = account.password_version == checked.password_version;
    ///         Ok::<_, std::io::Error>(is_same.then_some(NoClaims {}))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Sessions::login`] and [`Sessions::refresh`]. After an error no session is left
    /// that can be used. If the store has lost the session meanwhile, for example in a failover,
    /// the error is [`SessionError::Store`]: try again.
    pub async fn login_checked<C, E, F>(
        &self,
        login: impl Into<Login>,
        authorize: impl FnOnce(Session) -> F,
    ) -> Result<TokenResponse, SessionError>
    where
        C: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Option<C>, E>>,
    {
        let keys = self.refresh_keys.load();
        let (request, now) = self.begin(login.into(), &keys)?;
        self.insert(&request).await?;
        let record = request.session;
        let checked = async {
            let claims = self.authorized(&record, now, authorize).await?;
            // Another request may have ended all sessions of the user meanwhile.
            self.live(&record.id, &record.subject, now).await.map_err(|error| match error {
                // A logout never removes a record. Two things do: a failover to a replica that
                // lagged, and a purge that began before the clock was set back.
                SessionError::InvalidToken => StoreError::new(
                    StoreErrorKind::Unavailable,
                    "the store has lost the session of a login: try again",
                )
                .into(),
                error => error,
            })?;
            self.access_token(&record, now, &claims)
        };
        match checked.await {
            Ok(access_token) => self.logged_in(&record, access_token, &keys, now),
            Err(error @ (SessionError::Denied | SessionError::Revoked(_))) => Err(error),
            Err(error) => {
                // No client has a token of this session. Without the revocation it would appear in
                // a list.
                let _ = self.store.revoke(&record.id, RevokeReason::Denied, now).await;
                Err(error)
            }
        }
    }

    /// Returns a new session, which is not stored yet.
    fn begin(
        &self,
        login: Login,
        keys: &KeySet,
    ) -> Result<(InsertRequest, UnixMillis), SessionError> {
        login.check()?;
        let limit = login.limit.or(self.limit);
        builder::check_limit(limit)?;
        let Lifetimes { idle, absolute, .. } = self.lifetimes_of(&login)?;
        let has_own_idle_lifetime = login.idle_lifetime.is_some() || !login.remembered;
        let client = match (login.client, &*self.clients) {
            (None, [client, ..]) => client.clone(),
            (Some(client), clients) if clients.contains(&client) => client,
            _ => return Err(SessionError::Client),
        };
        let now = self.now();
        let id = SessionId::generate(&login.subject).map_err(|_| SessionError::NoRandomness)?;
        let kid = refresh_token::check_key(keys.signing_key()?)?;
        let end = now.saturating_add(absolute);
        let record = SessionRecord {
            label: login.label,
            remembered: login.remembered,
            // Stored in the record, so that every later refresh applies it.
            idle_lifetime: has_own_idle_lifetime.then_some(idle),
            data: login.data,
            expires_at: now.saturating_add(idle).min(end),
            ..SessionRecord::new(id, login.subject, client, kid, now, end)
        };
        Ok((InsertRequest { limit, ..InsertRequest::new(record) }, now))
    }

    /// Returns the lifetimes of a login: its own, or else those of the builder.
    fn lifetimes_of(&self, login: &Login) -> Result<Lifetimes, ConfigError> {
        let mut lifetimes = self.lifetimes;
        if !login.remembered {
            // An access token is valid that long without a refresh, so the session must not end
            // earlier.
            let at_most =
                |lifetime: Duration, most: Duration| lifetime.min(most.max(lifetimes.access));
            lifetimes.absolute = at_most(lifetimes.absolute, Self::UNREMEMBERED_ABSOLUTE_LIFETIME);
            lifetimes.idle = at_most(lifetimes.idle, Self::UNREMEMBERED_IDLE_LIFETIME);
        }
        lifetimes.absolute = login.absolute_lifetime.unwrap_or(lifetimes.absolute);
        lifetimes.idle = login.idle_lifetime.unwrap_or(lifetimes.idle.min(lifetimes.absolute));
        // `SessionRecord::is_well_formed` accepts only whole milliseconds.
        lifetimes.idle = in_whole_millis(lifetimes.idle);
        lifetimes.check()?;
        Ok(lifetimes)
    }

    async fn insert(&self, request: &InsertRequest) -> Result<(), SessionError> {
        let record = &request.session;
        match self.store.insert(request).await? {
            InsertOutcome::Inserted { evicted } => {
                let kind = EventKind::Revoked { reason: RevokeReason::Limit, sessions: 1 };
                for id in evicted {
                    self.tell(kind, Some(id), Some(&record.subject));
                }
                Ok(())
            }
            InsertOutcome::LimitReached => Err(SessionError::TooManySessions),
            InsertOutcome::Full => Err(SessionError::Full),
            // A driver may repeat a step whose answer was lost. Then the stored session is the one
            // that was sent.
            InsertOutcome::Duplicate => match self.store.load(&record.id).await? {
                Some(stored) if stored == *record => Ok(()),
                _ => Err(SessionError::NoRandomness),
            },
        }
    }

    fn logged_in(
        &self,
        record: &SessionRecord,
        access_token: String,
        keys: &KeySet,
        now: UnixMillis,
    ) -> Result<TokenResponse, SessionError> {
        self.tell(EventKind::LoggedIn, Some(record.id), Some(&record.subject));
        let first = Successor {
            generation: record.generation,
            kid: record.kid.clone(),
            expires_at: record.expires_at,
        };
        self.respond(record, &first, access_token, keys, now)
    }
}

/// Rounds a duration down to milliseconds, as stores keep it.
fn in_whole_millis(time: Duration) -> Duration {
    UnixMillis::new(0).saturating_add(time).saturating_since(UnixMillis::new(0))
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, string::ToString};

    use super::*;

    fn label(text: &str) -> String {
        Login::new("alice").label(text).label.unwrap()
    }

    #[test]
    fn cuts_a_label_at_the_end_of_a_character() {
        assert_eq!(label("Firefox on Linux"), "Firefox on Linux");
        assert_eq!(label(""), "");
        assert_eq!(label(&"a".repeat(128)), "a".repeat(128));
        assert_eq!(label(&"a".repeat(135)), "a".repeat(128));
        assert_eq!(label(&"é".repeat(100)), "é".repeat(64));
        assert_eq!(label(&"€".repeat(100)), "€".repeat(42));
        assert_eq!(label(&("a".to_owned() + &"🔑".repeat(100))), "a".to_owned() + &"🔑".repeat(31));
        // A replaced character is counted with the length of U+FFFD, which may be longer than the
        // original.
        assert_eq!(label(&"\n".repeat(1 << 20)), "\u{fffd}".repeat(42));
    }

    #[test]
    fn replaces_characters_that_disturb_a_list() {
        assert_eq!(label("a\0b\r\nc\u{7f}\u{85}"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}");
        for char in
            "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            assert_eq!(label(&char.to_string()), "\u{fffd}", "{char:?}");
        }
        // Many emoji contain a joiner, and the others are letters.
        for kept in ["👩\u{200d}💻", "שלום", "\u{202f}", "\u{2065}", "<b>'\"&"] {
            assert_eq!(label(kept), kept);
        }
    }

    #[test]
    fn a_subject_has_to_be_a_name() {
        for subject in ["a", " ", "alice@example.org", &"s".repeat(512), "名"] {
            assert!(Login::new(subject).check().is_ok(), "{subject:?}");
        }
        for subject in ["", "a\0", "a\nb", "\u{85}", &"s".repeat(513)] {
            assert!(
                matches!(Login::new(subject).check(), Err(SessionError::Subject)),
                "{subject:?}"
            );
        }
    }
}
