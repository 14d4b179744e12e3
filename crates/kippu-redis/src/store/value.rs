//! Encodes a session as the bytes of a value, and decodes it. Decoding rejects any bytes that the
//! encoder does not write.

use std::{
    fmt::Display,
    str::{self, FromStr},
    time::Duration,
};

use kippu::session::{Revoked, SessionData, SessionId, SessionRecord, UnixMillis};

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version of kippu wrote it.
    Newer,
    /// No version of kippu wrote it.
    Corrupt,
}

/// Encodes a session as `session.lua` describes it.
pub(super) fn encode(session: &SessionRecord) -> Vec<u8> {
    let SessionRecord { id: _, subject, client, label, kid, generation, data, .. } = session;
    let SessionRecord { created_at, absolute_expires_at, rotated_at, expires_at, .. } = session;
    let auth_time = match session.auth_time {
        time if time == *created_at => "-".to_owned(),
        time => time.to_string(),
    };
    let revoked = match session.revoked {
        Some(Revoked { at, reason }) => format!("{at}:{reason}"),
        None => "-".to_owned(),
    };
    let idle_lifetime = session.idle_lifetime.map(|time| time.as_millis().to_string());
    let policy = match (session.remembered, idle_lifetime) {
        (true, None) => "-".to_owned(),
        (true, Some(millis)) => millis,
        (false, millis) => format!("t{}", millis.unwrap_or_default()),
    };
    let label_length = match label {
        Some(label) => label.len().to_string(),
        None => "-".to_owned(),
    };
    let (kid_length, data_length, client_length) = (kid.len(), data.as_bytes().len(), client.len());
    let numbers = format!(
        "2 {generation} {rotated_at} {expires_at} {absolute_expires_at} {created_at} {auth_time} {revoked} {policy} \
         {kid_length} {data_length} {client_length} {label_length}\n"
    );
    let label = label.as_deref().unwrap_or_default();
    let texts = [kid.as_bytes(), data.as_bytes(), client.as_bytes(), label.as_bytes()];
    [&[numbers.as_bytes()], &texts[..], &[subject.as_bytes()]].concat().concat()
}

/// Decodes a value. Rejects any that [`encode`] or its first version does not write.
pub(super) fn decode(id: SessionId, value: &[u8]) -> Result<SessionRecord, Unreadable> {
    let read = match version(value) {
        Some(1) => decode_first(id, value),
        Some(2) => decode_second(id, value),
        Some(3..) => return Err(Unreadable::Newer),
        _ => None,
    };
    read.filter(SessionRecord::is_well_formed).ok_or(Unreadable::Corrupt)
}

/// Reads the first word of a value: one or two digits.
fn version(value: &[u8]) -> Option<u8> {
    let (version, _) = str::from_utf8(value.get(..3)?).ok()?.split_once(' ')?;
    exact(version)
}

fn decode_second(id: SessionId, value: &[u8]) -> Option<SessionRecord> {
    let (numbers, texts) = line(value)?;
    let [_, generation, rotated_at, expires_at, absolute_expires_at, rest @ ..] =
        words::<13>(numbers)?;
    let [created_at, auth_time, revoked, policy, rest @ ..] = rest;
    let [kid_length, data_length, client_length, label_length] = rest;
    let (kid, texts) = text(texts, kid_length)?;
    let (data, texts) = texts.split_at_checked(exact(data_length)?)?;
    let (client, texts) = text(texts, client_length)?;
    let (label, texts) = label(texts, label_length)?;
    let subject = str::from_utf8(texts).ok()?;

    let (created_at, absolute_expires_at) = (time(created_at)?, time(absolute_expires_at)?);
    let mut session = SessionRecord::new(id, subject, client, kid, created_at, absolute_expires_at);
    session.label = label;
    session.generation = exact(generation)?;
    session.rotated_at = time(rotated_at)?;
    session.expires_at = time(expires_at)?;
    if auth_time != "-" {
        // A session has one spelling, because the scripts compare values as texts.
        session.auth_time = time(auth_time).filter(|time| *time != created_at)?;
    }
    (session.remembered, session.idle_lifetime) = match (policy, policy.strip_prefix('t')) {
        ("-", _) => (true, None),
        (_, Some("")) => (false, None),
        (_, Some(millis)) => (false, Some(Duration::from_millis(exact(millis)?))),
        (millis, None) => (true, Some(Duration::from_millis(exact(millis)?))),
    };
    session.data = SessionData::new(data).ok()?;
    if revoked != "-" {
        let (at, reason) = revoked.split_once(':')?;
        session.revoked = Some(Revoked { at: time(at)?, reason: reason.parse().ok()? });
    }
    Some(session)
}

fn decode_first(id: SessionId, value: &[u8]) -> Option<SessionRecord> {
    let (mutable, rest) = line(value)?;
    let [_, generation, rotated_at, expires_at, revoked_at, reason, kid_length] = words(mutable)?;
    let (kid, fixed) = text(rest, kid_length)?;
    let (numbers, texts) = line(fixed)?;
    let [absolute_expires_at, created_at, client_length, label_length] = words(numbers)?;
    let (client, texts) = text(texts, client_length)?;
    let (label, texts) = label(texts, label_length)?;
    let subject = str::from_utf8(texts).ok()?;

    let (created_at, absolute_expires_at) = (time(created_at)?, time(absolute_expires_at)?);
    let mut session = SessionRecord::new(id, subject, client, kid, created_at, absolute_expires_at);
    session.label = label;
    session.generation = exact(generation)?;
    session.rotated_at = time(rotated_at)?;
    session.expires_at = time(expires_at)?;
    session.revoked = match (revoked_at, reason) {
        ("-", "-") => None,
        (at, reason) => Some(Revoked { at: time(at)?, reason: reason.parse().ok()? }),
    };
    Some(session)
}

/// Splits off the first line.
fn line(value: &[u8]) -> Option<(&str, &[u8])> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = value.split_at_checked(end)?;
    Some((str::from_utf8(line).ok()?, rest.get(1..)?))
}

fn words<const N: usize>(line: &str) -> Option<[&str; N]> {
    let mut words = line.split(' ');
    let mut all = [""; N];
    for word in &mut all {
        *word = words.next()?;
    }
    words.next().is_none().then_some(all)
}

/// Splits off a text of this length.
fn text<'v>(bytes: &'v [u8], length: &str) -> Option<(&'v str, &'v [u8])> {
    let (text, rest) = bytes.split_at_checked(exact(length)?)?;
    Some((str::from_utf8(text).ok()?, rest))
}

fn label<'v>(bytes: &'v [u8], length: &str) -> Option<(Option<String>, &'v [u8])> {
    if length == "-" {
        return Some((None, bytes));
    }
    let (label, rest) = text(bytes, length)?;
    Some((Some(label.to_owned()), rest))
}

/// Parses a number that has exactly one spelling: the scripts compare numbers as texts.
fn exact<T: FromStr + Display>(word: &str) -> Option<T> {
    let number: T = word.parse().ok()?;
    (number.to_string() == word).then_some(number)
}

fn time(word: &str) -> Option<UnixMillis> {
    let millis = exact(word)?;
    let time = UnixMillis::new(millis);
    (time.get() == millis).then_some(time)
}

#[cfg(test)]
mod tests {
    use kippu::session::{RevokeReason, rotation::MAX_GENERATION};
    use proptest::prelude::*;

    use super::*;

    const CORRUPT: Result<SessionRecord, Unreadable> = Err(Unreadable::Corrupt);

    fn session() -> SessionRecord {
        let (id, at) = (SessionId::from_bytes([7; 16]), UnixMillis::new);
        let mut session = SessionRecord::new(id, "alice", "web app", "2026 1", at(1000), at(9000));
        session.label = Some("Firefox".to_owned());
        session.generation = 3;
        (session.rotated_at, session.expires_at) = (at(2000), at(4000));
        session
    }

    fn text(value: &[u8]) -> &str {
        str::from_utf8(value).unwrap()
    }

    #[test]
    fn encodes_a_session_as_described() {
        let mut session = session();
        let numbers = "2 3 2000 4000 9000 1000 - - - 6 0 7 7";
        assert_eq!(text(&encode(&session)), format!("{numbers}\n2026 1web appFirefoxalice"));
        session.label = None;
        let at = UnixMillis::new(-5);
        session.revoked = Some(Revoked { at, reason: RevokeReason::LogoutAll });
        session.auth_time = UnixMillis::new(1500);
        session.data = SessionData::new(*b"a\nb").unwrap();
        for (remembered, idle_lifetime, policy) in [
            (true, None, "-"),
            (true, Some(Duration::from_secs(5)), "5000"),
            (false, None, "t"),
            (false, Some(Duration::ZERO), "t0"),
        ] {
            (session.remembered, session.idle_lifetime) = (remembered, idle_lifetime);
            let numbers = format!("2 3 2000 4000 9000 1000 1500 -5:logout_all {policy} 6 3 7 -");
            assert_eq!(text(&encode(&session)), format!("{numbers}\n2026 1a\nbweb appalice"));
        }
    }

    #[test]
    fn a_session_survives_a_round_trip() {
        let texts = ["a", " ", "\n", "- - 1\n", "\0", "{x}", "'\";--", "\u{1f511}\u{301}"];
        let times = [UnixMillis::MIN, UnixMillis::new(-1), UnixMillis::new(0), UnixMillis::MAX];
        let idle_lifetimes = [0, 1, 1_800_000, MAX_GENERATION].map(Duration::from_millis);
        let bytes = [&b""[..], b"\0", b"\xff\xfe", b"\n 2 \r\n", &[b'\n'; SessionData::MAX_LEN]];
        let mut session = session();
        for (turn, text) in texts.into_iter().enumerate() {
            for (place, other) in texts.into_iter().enumerate() {
                let time = times[place % 4];
                session.subject = text.to_owned();
                session.kid = other.to_owned();
                session.client = other.to_owned() + text;
                session.label = (turn % 2 == 0).then(|| text.repeat(turn));
                session.created_at = time;
                session.auth_time = times[turn % 4];
                session.expires_at = time;
                session.revoked =
                    RevokeReason::ALL.get(turn).map(|&reason| Revoked { at: time, reason });
                session.remembered = turn % 3 == 0;
                session.idle_lifetime = idle_lifetimes.get(place).copied();
                session.data = SessionData::new(bytes[(turn + place) % 5]).unwrap();
                session.generation = MAX_GENERATION;
                let value = encode(&session);
                assert_eq!(decode(session.id, &value), Ok(session.clone()), "{value:?}");
            }
        }
    }

    #[test]
    fn rejects_a_value_that_the_encoder_does_not_write() {
        let id = session().id;
        let value = encode(&session());
        let value = text(&value);
        assert_eq!(decode(id, value.as_bytes()), Ok(session()));
        for (from, to) in [
            ("2 3", "0 3"),
            ("2 3 ", "2 "),
            ("2 3", "02 3"),
            ("2 3", "03 3"),
            ("2 3", "1764000000000 2 3"),
            ("2 3 ", "2 03 "),
            ("2 3 ", "2 +3 "),
            ("2 3 ", "2 -3 "),
            ("2 3 ", "2 3.0 "),
            ("2 3 ", "2 3  "),
            ("2 3 ", "2 9007199254740992 "),
            ("2000", "2e3"),
            ("2000", "-0"),
            ("4000", "9007199254740992"),
            ("1000 -", "1000 1000"),
            ("1000 -", "1000 +5"),
            ("- - -", "- logout -"),
            ("- - -", "- 7: -"),
            ("- - -", "- 7:boredom -"),
            ("- - -", "- 07:logout -"),
            ("- - -", "- - 05"),
            ("- - -", "- - t-"),
            ("- - -", "- - t05"),
            ("- - -", "- - -5"),
            ("- - -", "- - 9007199254740992"),
            ("- 6 0", "- 600 0"),
            ("- 6 0", "- 18446744073709551616 0"),
            ("- 6 0", "- 6 00"),
            ("- 6 0", "- 6 -"),
            ("- 6 0", "- 6 0 0"),
            ("7 7", "7 x"),
            ("7 7", "7 13"),
            ("7 7", "7 12"),
            ("\n", " "),
        ] {
            let other = value.replacen(from, to, 1);
            assert_ne!(other, value);
            assert_eq!(decode(id, other.as_bytes()), CORRUPT, "{other}");
        }
        for length in 0..=value.len() - "alice".len() {
            assert_eq!(decode(id, &value.as_bytes()[..length]), CORRUPT, "{length}");
        }
        assert_eq!(decode(id, &[value.as_bytes(), &[0xff]].concat()), CORRUPT);
        let long = value.replacen("6 0", "6 1025", 1).replace("web", &("x".repeat(1025) + "web"));
        assert_eq!(decode(id, long.as_bytes()), CORRUPT);
        assert_eq!(id.to_string().len(), 22);
    }

    #[test]
    fn reads_a_value_of_the_first_version() {
        let mut session = session();
        let value = "1 3 2000 4000 - - 6\n2026 19000 1000 7 7\nweb appFirefoxalice";
        assert_eq!(decode(session.id, value.as_bytes()), Ok(session.clone()));
        let revoked = Some(Revoked { at: UnixMillis::new(-5), reason: RevokeReason::LogoutAll });
        (session.label, session.revoked) = (None, revoked);
        let other = "1 3 2000 4000 -5 logout_all 6\n2026 19000 1000 7 -\nweb appalice";
        assert_eq!(decode(session.id, other.as_bytes()), Ok(session.clone()));
        for (from, to) in [
            ("1 3 ", "1 03 "),
            ("1 3 ", "1 3  "),
            ("2000", "-0"),
            ("4000", "9007199254740992"),
            ("- -", "- logout"),
            ("- -", "7 -"),
            ("- -", "7 boredom"),
            ("- - 6", "- - 600"),
            ("19000", "109000"),
            ("7 7", "7 07"),
            ("7 7", "7 13"),
            ("\n", " "),
        ] {
            let other = value.replacen(from, to, 1);
            assert_ne!(other, value);
            assert_eq!(decode(session.id, other.as_bytes()), CORRUPT, "{other}");
        }
    }

    #[test]
    fn recognizes_a_value_of_a_newer_version() {
        let id = session().id;
        for value in ["3 1 2 3", "3 \n", "10 x", "99 and so on"] {
            assert_eq!(decode(id, value.as_bytes()), Err(Unreadable::Newer), "{value}");
        }
        for value in ["", "3", "3\n3", "03 1", "+3 1", "100 1", "-3 1"] {
            assert_eq!(decode(id, value.as_bytes()), CORRUPT, "{value}");
        }
    }

    proptest! {
        /// A value that can be read is the one that `encode` writes for it.
        #[test]
        fn a_value_has_one_spelling(
            at in 0_usize..60,
            removed in 0_usize..3,
            new in "[-0-9: t\n]{0,3}",
        ) {
            let id = session().id;
            let mut value = encode(&session());
            let at = at.min(value.len());
            value.splice(at..(at + removed).min(value.len()), new.into_bytes());
            if let Ok(read) = decode(id, &value) {
                prop_assert_eq!(encode(&read), value);
            }
        }
    }
}
