//! A user logs in: what the application says of it, and the session that begins.

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
    record::{MAX_LABEL_LEN, MAX_NAME_LEN, RevokeReason, SessionRecord},
    refresh_token,
    rotation::Successor,
    store::{InsertOutcome, InsertRequest, RefreshStore, SessionLimit, StoreError, StoreErrorKind},
};
use crate::key_set::KeySet;

/// A login of a user whom the application has authenticated, and the policy of its session.
///
/// A value that is not set here is that of the [`SessionsBuilder`](super::SessionsBuilder). The values hold for the whole
/// session, through all its refreshes.
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
    /// A login of `subject`: the name that the application knows its user by for ever, 1 to 512 bytes without control
    /// characters.
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

    /// Names the session for its user's list of sessions, for example with the `User-Agent` of the request.
    ///
    /// Any text will do: a longer one is cut after 128 bytes, at the end of a character, and each character that
    /// would disturb a list (controls, line separators, changes of the writing direction) becomes U+FFFD.
    #[must_use]
    pub fn label(self, label: impl AsRef<str>) -> Self {
        Self { label: Some(shown(label.as_ref())), ..self }
    }

    /// Logs in to this client: one of those that the builder [names](super::SessionsBuilder::client), the first of them
    /// unless this is called.
    #[must_use]
    pub fn client(self, client: impl Into<String>) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    /// With `false`, for a computer that others use too: the session's cookies end with the browser, and the session ends after
    /// [`Sessions::UNREMEMBERED_IDLE_LIFETIME`](super::Sessions::UNREMEMBERED_IDLE_LIFETIME) without a refresh, and after
    /// [`Sessions::UNREMEMBERED_ABSOLUTE_LIFETIME`](super::Sessions::UNREMEMBERED_ABSOLUTE_LIFETIME) at the latest, where the
    /// builder's lifetimes are not shorter, but never before an access token would. `true` unless this is called.
    #[must_use]
    pub fn remember(self, remembered: bool) -> Self {
        Self { remembered, ..self }
    }

    /// How long this session lives without a refresh, whatever the builder says; at least as long as an access token, and no
    /// longer than the session lives at all.
    #[must_use]
    pub fn idle_lifetime(self, lifetime: Duration) -> Self {
        Self { idle_lifetime: Some(lifetime), ..self }
    }

    /// How long this session lives at most, whatever the builder says.
    #[must_use]
    pub fn absolute_lifetime(self, lifetime: Duration) -> Self {
        Self { absolute_lifetime: Some(lifetime), ..self }
    }

    /// Keeps these data with the session.
    #[must_use]
    pub fn data(self, data: SessionData) -> Self {
        Self { data, ..self }
    }

    /// How many live sessions the subject may have after this login, whatever the builder says. The sessions that make room
    /// stay in the store until they are purged, and each login with a limit reads those of its subject: limit how often a user
    /// can log in.
    #[must_use]
    pub fn limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        if is_name(&self.subject) { Ok(()) } else { Err(SessionError::Subject) }
    }
}

/// A text that comes from the client, as it can be stored and shown.
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

/// Controls (Cc), the line and paragraph separators, and the characters that set the direction of the text around them
/// (Unicode Standard Annex #9 §2).
fn disturbs(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    ) || char.is_control()
}

/// What can be a subject or a client.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && !text.contains(char::is_control)
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
    /// Begins a session, after the application has made sure who it is. `claims` go into the access token
    /// beside those of RFC 9068 §2.2. They are not stored: `authorize` returns them at each refresh.
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
    /// [`SessionError`]: a subject, label or claims that cannot be, a store that is full or at fault.
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

    /// As [`Sessions::login`], for an application that looks at the user's account once more when the session is
    /// in the store already: so a password that is changed, or an account that is closed, while this login is
    /// under way, with a [`Sessions::logout_all`] after it, leaves no session behind.
    ///
    /// `authorize` answers as that of [`Sessions::refresh`], but always with claims, and has to compare what the login was granted for: not
    /// whether the user is welcome, but whether the password is still the one that was checked.
    ///
    /// The sessions that a [limit](Login::limit) has ended for this login stay ended when `authorize` refuses it.
    ///
    /// ```
    /// # use kippu::session::{MemoryStore, NoClaims, Session, SessionError, Sessions};
    /// # struct Account { password_version: u32 }
    /// # async fn load(_: &str) -> Result<Account, std::io::Error> { Ok(Account { password_version: 7 }) }
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
    /// As [`Sessions::login`] and [`Sessions::refresh`]; in all cases no session is left that can be used. A session that
    /// the store lost meanwhile, as in a failover, is [`SessionError::Store`]: try again.
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
            // Somebody may have ended all sessions of the user meanwhile.
            self.live(&record.id, &record.subject, now).await.map_err(|error| match error {
                // No logout removes a record. A failover to a replica that lagged does, and a purge that began before
                // the clock was set back.
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
                // No client has a token of it: it would only be one more session in a list.
                let _ = self.store.revoke(&record.id, RevokeReason::Denied, now).await;
                Err(error)
            }
        }
    }

    /// A new session, not stored yet.
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
            idle_lifetime: has_own_idle_lifetime.then_some(idle),
            data: login.data,
            expires_at: now.saturating_add(idle).min(end),
            ..SessionRecord::new(id, login.subject, client, kid, now, end)
        };
        Ok((InsertRequest { limit, ..InsertRequest::new(record) }, now))
    }

    /// The lifetimes of a login: what it says itself, and else what the builder has said.
    fn lifetimes_of(&self, login: &Login) -> Result<Lifetimes, ConfigError> {
        let mut lifetimes = self.lifetimes;
        if !login.remembered {
            // An access token lasts that long without a refresh, whatever the session does.
            let at_most =
                |lifetime: Duration, most: Duration| lifetime.min(most.max(lifetimes.access));
            lifetimes.absolute = at_most(lifetimes.absolute, Self::UNREMEMBERED_ABSOLUTE_LIFETIME);
            lifetimes.idle = at_most(lifetimes.idle, Self::UNREMEMBERED_IDLE_LIFETIME);
        }
        lifetimes.absolute = login.absolute_lifetime.unwrap_or(lifetimes.absolute);
        lifetimes.idle = login.idle_lifetime.unwrap_or(lifetimes.idle.min(lifetimes.absolute));
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
            // A driver may send a step again when its answer is lost; then what is there is what was sent.
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

/// As stores keep it.
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
        // A character that replaces a shorter one is counted as it is stored.
        assert_eq!(label(&"\n".repeat(1 << 20)), "\u{fffd}".repeat(42));
    }

    #[test]
    fn replaces_what_disturbs_a_list() {
        assert_eq!(label("a\0b\r\nc\u{7f}\u{85}"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}");
        for char in
            "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            assert_eq!(label(&char.to_string()), "\u{fffd}", "{char:?}");
        }
        // A joiner is a part of many an emoji, and the rest are letters.
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
