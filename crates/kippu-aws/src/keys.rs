//! The three labels of a rotation: the versions with these labels in, the keys and their roles out.
//! Refused are an older current version after a newer one, until it has been answered for some
//! time, and one `kid` for two secrets.
//!
//! Secrets Manager moves a version from AWSPENDING to AWSCURRENT to AWSPREVIOUS. A request returns
//! the version with one label.

use std::{collections::HashMap, thread, time::Duration};

use kippu::{Jwk, JwkSet, Key, KeyFormat, KeySet, KeySourceError, NumericDate};
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    error::SecretsManagerError,
    version::{Label, Version},
};

/// How long an answer may be stale. By default the Secrets Manager Agent and the Lambda extension
/// cache an answer for five minutes, and another server may notice a change five minutes after this
/// one.
pub(crate) const STALE: Duration = Duration::from_secs(600);

/// The versions with the labels. A version may have several labels.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pending: Option<Version>,
    pub(crate) current: Version,
    pub(crate) previous: Option<Version>,
}

impl Answer {
    /// Reads the labels in the order in which a version passes through them. A version that moves
    /// on meanwhile is read twice, and no version is missed.
    pub(crate) fn ask(
        secret: &str,
        mut read: impl FnMut(Label) -> Result<Option<Version>, SecretsManagerError>,
    ) -> Result<Self, SecretsManagerError> {
        const TRIES: u32 = 3;
        const PAUSE: Duration = Duration::from_millis(200);
        let mut tries = 0;
        loop {
            let pending = read(Label::Pending)?;
            let current = read(Label::Current)?
                .ok_or_else(|| SecretsManagerError::NotFound { secret: secret.to_owned() })?;
            let answer = Self { pending, current, previous: read(Label::Previous)? };
            tries += 1;
            if tries == TRIES || !answer.lacks_a_version() {
                return Ok(answer);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Returns whether the current version is also the previous one, without another version. Then
    /// AWSCURRENT has probably moved to a version that this answer does not have. An operator may
    /// also have set the labels like this, so the answer is accepted if it stays the same.
    fn lacks_a_version(&self) -> bool {
        let is_current = |version: &Option<Version>| {
            version.as_ref().is_some_and(|version| version.id == self.current.id)
        };
        is_current(&self.previous) && (self.pending.is_none() || is_current(&self.pending))
    }
}

/// The versions that a source has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The version that was last seen as the current one, and the ones before it, the latest last.
    current: Option<String>,
    superseded: Vec<String>,
    /// The previous version, and the time at which it was first seen as the previous one.
    previous: Option<(String, NumericDate)>,
    /// The versions that were pending, each with the time at which it was last seen.
    pending: Vec<(Version, NumericDate)>,
    stale_since: Option<NumericDate>,
}

/// The versions with their roles.
#[derive(Debug)]
pub(crate) struct Roles {
    current: Version,
    accepted: Vec<Version>,
    retired: Option<(Version, NumericDate)>,
}

/// The number of earlier versions that are remembered. It is more than a label goes back.
const MAX_SUPERSEDED: usize = 16;

impl Memory {
    /// Records an answer of the time `now`, and returns the roles. A pending version is accepted.
    /// So is a version that was pending within [`STALE`] and has not been seen with another label
    /// since: it may be the current one already, and this answer may be too old to show it. The
    /// previous version retires `token_lifetime` plus [`STALE`] after it was first seen as the
    /// previous one.
    pub(crate) fn note(
        &mut self,
        secret: &str,
        answer: Answer,
        token_lifetime: Duration,
        now: NumericDate,
    ) -> Result<Roles, SecretsManagerError> {
        let Answer { pending, current, previous } = answer;
        self.note_current(secret, &current, previous.as_ref(), now)?;
        let answered = [pending.as_ref(), Some(&current), previous.as_ref()];
        self.pending.retain(|(version, seen)| {
            let is_seen = answered.iter().flatten().any(|one| one.id == version.id);
            !is_seen && *seen <= now && now < seen.saturating_add(STALE)
        });
        let since = match (&self.previous, &previous) {
            (Some((known, since)), Some(previous)) if *known == previous.id => *since,
            _ => now,
        };
        self.previous = previous.as_ref().map(|previous| (previous.id.clone(), since));
        let until = since.saturating_add(token_lifetime).saturating_add(STALE);
        let retired = previous.filter(|previous| previous.id != current.id);
        let is_other = |version: &Version| {
            version.id != current.id && retired.as_ref().is_none_or(|one| one.id != version.id)
        };
        self.pending.extend(pending.filter(is_other).map(|version| (version, now)));
        let accepted = self.pending.iter().map(|(version, _)| version.clone()).collect();
        Ok(Roles { accepted, retired: retired.map(|version| (version, until)), current })
    }

    /// Records the current version. If an operator moves AWSCURRENT back, AWSPREVIOUS moves to the
    /// version that it comes from. If AWSCURRENT has moved back and AWSPREVIOUS has not, the answer
    /// is stale, or the operator has removed that version. Such an answer is accepted after
    /// [`STALE`].
    fn note_current(
        &mut self,
        secret: &str,
        current: &Version,
        previous: Option<&Version>,
        now: NumericDate,
    ) -> Result<(), SecretsManagerError> {
        let Some(known) = self.current.clone().filter(|known| *known != current.id) else {
            self.current = Some(current.id.clone());
            self.stale_since = None;
            return Ok(());
        };
        let goes_back = self.superseded.contains(&current.id);
        if goes_back && previous.is_none_or(|previous| previous.id != known) {
            let since = *self.stale_since.get_or_insert(now);
            if since <= now && now < since.saturating_add(STALE) {
                return Err(SecretsManagerError::Stale {
                    secret: secret.to_owned(),
                    found: current.id.clone(),
                    known,
                    believed_after: STALE,
                });
            }
        }
        self.stale_since = None;
        self.superseded.retain(|version| *version != current.id);
        self.superseded.push(known);
        if self.superseded.len() > MAX_SUPERSEDED {
            self.superseded.remove(0);
        }
        self.current = Some(current.id.clone());
        Ok(())
    }
}

/// How a source reads its secret.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) secret: String,
    pub(crate) token_lifetime: Duration,
    pub(crate) deadline: Duration,
    pub(crate) format: KeyFormat,
    pub(crate) field: Option<String>,
    pub(crate) verify_only: bool,
    pub(crate) tries_all: bool,
}

impl Reading {
    pub(crate) fn new(secret: String, token_lifetime: Duration) -> Self {
        Self {
            secret,
            token_lifetime,
            deadline: Duration::from_secs(10),
            format: KeyFormat::Jwk,
            field: None,
            verify_only: false,
            tries_all: false,
        }
    }

    /// Returns the keys of these versions. A current version without usable keys is an error. Any
    /// other such version has signed nothing, or cannot be promoted. It is left out with a warning,
    /// so that it does not stop a server.
    pub(crate) fn key_set(&self, roles: &Roles) -> Result<KeySet, KeySourceError> {
        let mut known = KnownKeys::default();
        let origin = roles.current.origin(&self.secret, Label::Current);
        let set = self.keys(&roles.current, &origin).and_then(|keys| {
            let keys = JwkSet::new(keys)?;
            known.add_all(&origin, keys.keys())?;
            Ok(if self.verify_only {
                KeySet::verify_only_from_jwk_set(&keys)?
            } else {
                KeySet::from_jwk_set(&keys)?
            })
        });
        let set = set.map_err(|error| match error {
            KeySourceError::Unusable(error) => KeySourceError::Keys { origin, error },
            error => error,
        })?;
        let mut set = if self.tries_all { set.try_all_without_kid() } else { set };
        let accepted = roles.accepted.iter().map(|version| (version, Label::Pending, None));
        let retired = roles.retired.iter();
        let retired = retired.map(|(version, until)| (version, Label::Previous, Some(*until)));
        for (version, label, until) in accepted.chain(retired) {
            let origin = version.origin(&self.secret, label);
            let keys = self.keys(version, &origin).unwrap_or_else(|error| {
                warn!(%error, "a version of a secret makes no keys, and is left out");
                Vec::new()
            });
            for jwk in keys {
                let key = Key::from_jwk(&jwk)?;
                if known.add(&origin, &jwk)? {
                    set = match until {
                        None => set.accept(key)?,
                        Some(until) => set.retire(key, until)?,
                    };
                }
            }
        }
        Ok(set)
    }

    fn keys(&self, version: &Version, origin: &str) -> Result<Vec<Jwk>, KeySourceError> {
        version.keys(origin, self.format, self.field.as_deref())
    }
}

/// The keys that are in the set already, as JSON, by their ids.
#[derive(Default)]
struct KnownKeys(HashMap<String, Zeroizing<String>>);

impl KnownKeys {
    fn add_all(&mut self, origin: &str, keys: &[Jwk]) -> Result<(), KeySourceError> {
        keys.iter().try_for_each(|key| self.add(origin, key).map(|_| ()))
    }

    /// Adds a key, and returns whether it is new. The JWK Sets of several versions may have the
    /// same key.
    fn add(&mut self, origin: &str, key: &Jwk) -> Result<bool, KeySourceError> {
        let kid = key.kid().unwrap_or_default().to_owned();
        // A key is the same key whether or not it may sign.
        let text = Jwk::from_json(&key.expose_json())?.verify_only().expose_json();
        match self.0.get(&kid) {
            Some(known) if *known == text => Ok(false),
            Some(_) => Err(SecretsManagerError::SameKid { origin: origin.to_owned(), kid }.into()),
            None => {
                self.0.insert(kid, text);
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(900);
    const START: NumericDate = NumericDate::from_seconds(1_800_000_000);

    fn version(id: &str) -> Version {
        Version { id: id.to_owned(), content: Vec::new().into() }
    }

    fn answer(pending: &str, current: &str, previous: &str) -> Answer {
        let optional = |id: &str| (!id.is_empty()).then(|| version(id));
        Answer {
            pending: optional(pending),
            current: version(current),
            previous: optional(previous),
        }
    }

    /// The current version, those that are accepted, and the one that is retired with the minutes
    /// until its end.
    fn note(memory: &mut Memory, minute: u64, labels: [&str; 3]) -> Result<String, String> {
        let [pending, current, previous] = labels;
        let now = START.saturating_add(Duration::from_secs(60 * minute));
        let roles = memory.note("keys", answer(pending, current, previous), LIFETIME, now);
        let roles = roles.map_err(|error| error.to_string())?;
        let accepted = roles.accepted.iter().map(|version| format!("+{}", version.id));
        let retired = roles.retired.iter().map(|(version, until)| {
            format!("-{}:{}", version.id, until.saturating_since(START).as_secs() / 60)
        });
        let all = [roles.current.id.clone()].into_iter().chain(accepted).chain(retired);
        Ok(all.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_version_passes_through_its_roles() {
        let mut memory = Memory::default();
        for (minute, labels, roles) in [
            (0, ["", "a", ""], "a"),
            (1, ["b", "a", ""], "a +b"),
            // 15 minutes are the lifetime of the tokens, 10 the time in which all servers learn of
            // the change.
            (2, ["", "b", "a"], "b -a:27"),
            (3, ["b", "b", "a"], "b -a:27"),
            (90, ["c", "b", "a"], "b +c -a:27"),
            (91, ["c", "c", "b"], "c -b:116"),
            (92, ["", "c", ""], "c"),
            // A label that is put on a version again counts from then on.
            (93, ["", "c", "b"], "c -b:118"),
        ] {
            assert_eq!(note(&mut memory, minute, labels).unwrap(), roles, "{minute}");
        }
    }

    #[test]
    fn a_pending_version_that_vanishes_is_accepted_for_ten_minutes_or_until_it_is_seen_further_on()
    {
        let mut memory = Memory::default();
        note(&mut memory, 0, ["b", "a", ""]).unwrap();
        assert_eq!(note(&mut memory, 9, ["", "a", ""]).unwrap(), "a +b");
        assert_eq!(note(&mut memory, 9, ["c", "a", ""]).unwrap(), "a +b +c");
        assert_eq!(note(&mut memory, 10, ["", "a", ""]).unwrap(), "a +c");
        assert_eq!(note(&mut memory, 11, ["", "c", "a"]).unwrap(), "c -a:36");
        // Taken away by the operator, because it has leaked.
        assert_eq!(note(&mut memory, 12, ["", "d", ""]).unwrap(), "d");
    }

    #[test]
    fn an_older_current_version_after_a_newer_one_is_stale_until_it_has_lasted() {
        let mut memory = Memory::default();
        note(&mut memory, 0, ["b", "a", ""]).unwrap();
        note(&mut memory, 1, ["b", "b", "a"]).unwrap();
        for previous in ["", "a", "z"] {
            let error = note(&mut memory, 2, ["", "a", previous]).unwrap_err();
            assert!(error.contains("version a of") && error.contains("newer b"), "{error}");
        }
        // A right answer ends it; the next stale one counts from then on.
        assert_eq!(note(&mut memory, 3, ["", "b", "a"]).unwrap(), "b -a:26");
        note(&mut memory, 4, ["", "a", "z"]).unwrap_err();
        note(&mut memory, 13, ["", "a", "z"]).unwrap_err();
        assert_eq!(note(&mut memory, 14, ["", "a", "z"]).unwrap(), "a -z:39");
    }

    #[test]
    fn a_label_that_is_moved_back_by_command_is_believed_at_once() {
        let mut memory = Memory::default();
        note(&mut memory, 0, ["", "a", ""]).unwrap();
        note(&mut memory, 1, ["b", "b", "a"]).unwrap();
        // AWSPENDING is still on the version that failed: as the previous one it ends.
        assert_eq!(note(&mut memory, 2, ["b", "a", "b"]).unwrap(), "a -b:27");
        assert_eq!(note(&mut memory, 3, ["b", "b", "a"]).unwrap(), "b -a:28");
    }

    /// At whatever moment between two requests the label moves, all versions that a server may sign
    /// with are seen.
    #[test]
    fn a_rotation_between_the_requests_of_one_answer_hides_no_version() {
        for moved_before in 0..4 {
            let mut requests = 0;
            let answer = Answer::ask("keys", |label| {
                let is_after = requests >= moved_before;
                requests += 1;
                Ok(match label {
                    // The label is taken off at once.
                    Label::Pending => (!is_after).then(|| version("b")),
                    Label::Current => Some(version(if is_after { "b" } else { "a" })),
                    Label::Previous => Some(version(if is_after { "a" } else { "z" })),
                })
            });
            assert_eq!(requests, 3, "{moved_before}: it was asked again");
            let roles = Memory::default().note("keys", answer.unwrap(), LIFETIME, START).unwrap();
            let mut seen: Vec<_> = roles.accepted.iter().map(|version| &*version.id).collect();
            seen.extend([&*roles.current.id]);
            seen.extend(roles.retired.iter().map(|(version, _)| &*version.id));
            assert!(seen.contains(&"a") && seen.contains(&"b"), "{moved_before}: {seen:?}");
        }
    }

    #[test]
    fn an_answer_that_lacks_the_newest_version_is_asked_for_again() {
        let mut requests = 0;
        let answer = Answer::ask("keys", |label| {
            requests += 1;
            Ok(match label {
                Label::Pending => None,
                // Stale at first.
                Label::Current => Some(version(if requests < 4 { "a" } else { "b" })),
                Label::Previous => Some(version("a")),
            })
        });
        assert_eq!((answer.unwrap().current.id.as_str(), requests), ("b", 6));
        // Labels that someone has set so are taken in the end.
        let answer =
            Answer::ask("keys", |label| Ok((label != Label::Pending).then(|| version("a"))));
        assert_eq!(answer.unwrap().current.id, "a");
    }

    #[test]
    fn a_secret_without_a_current_version_is_not_found() {
        let error = Answer::ask("api/keys", |_| Ok(None)).unwrap_err().to_string();
        assert!(error.contains("\"api/keys\" has the label AWSCURRENT"), "{error}");
    }

    fn jwk(kid: &str, byte: u8) -> Jwk {
        Jwk::new(kippu::Algorithm::Hs256, [byte; 32]).unwrap().with_kid(kid)
    }

    fn holding<const N: usize>(id: &str, keys: [Jwk; N]) -> Version {
        let set = JwkSet::new(keys).unwrap();
        Version { id: id.to_owned(), content: set.expose_json().as_bytes().to_vec().into() }
    }

    fn key_set(pending: Version, current: Version, previous: Version) -> Result<KeySet, String> {
        let reading = Reading::new("api/keys".to_owned(), LIFETIME);
        let roles = Roles { current, accepted: vec![pending], retired: Some((previous, START)) };
        reading.key_set(&roles).map_err(|error| error.to_string())
    }

    /// As an operator rotates within a JWK Set, beside the labels.
    #[test]
    fn a_key_of_several_versions_has_the_role_of_the_first() {
        let keys = key_set(
            holding("3", [jwk("c", 3), jwk("b", 2).verify_only()]),
            holding("2", [jwk("b", 2), jwk("a", 1).verify_only()]),
            holding("1", [jwk("a", 1), jwk("z", 9).verify_only()]),
        );
        let keys = keys.unwrap();
        assert_eq!(keys.kids().collect::<Vec<_>>(), ["b", "a", "c", "z"]);
        assert_eq!(keys.signing_key().unwrap().kid(), Some("b"));
    }

    #[test]
    fn one_kid_for_two_secrets_is_an_error() {
        let error = key_set(
            holding("3", [jwk("key", 3)]),
            holding("2", [jwk("key", 2)]),
            holding("1", [jwk("a", 1)]),
        );
        let error = error.unwrap_err();
        assert!(
            error.contains("version 3 (AWSPENDING), has a key with the kid \"key\""),
            "{error}"
        );
    }

    #[test]
    fn a_version_that_makes_no_keys_is_left_out_unless_it_is_the_current_one() {
        let broken = || Version { id: "x".to_owned(), content: b"half a k".to_vec().into() };
        let current = || holding("2", [jwk("b", 2)]);
        let keys = key_set(broken(), current(), broken()).unwrap();
        assert_eq!(keys.kids().collect::<Vec<_>>(), ["b"]);
        let error = key_set(current(), broken(), current()).unwrap_err();
        assert!(error.contains("version x (AWSCURRENT)"), "{error}");
        let nothing_signs = holding("2", [jwk("b", 2).verify_only()]);
        let error = key_set(broken(), nothing_signs, broken()).unwrap_err();
        assert!(error.contains("version 2 (AWSCURRENT)") && error.contains("may sign"), "{error}");
    }
}
