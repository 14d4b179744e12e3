//! A session as the bytes that are stored, and back: what is not exactly what was written is refused.

use std::str::{self, FromStr};

use kippu::session::{Revoked, SessionId, SessionRecord, UnixMillis};

/// Writes the value of a session as `session.lua` describes it.
pub(super) fn encode(session: &SessionRecord) -> String {
    let SessionRecord { id: _, subject, client, label, kid, generation, .. } = session;
    let SessionRecord { created_at, absolute_expires_at, rotated_at, expires_at, .. } = session;
    let (revoked_at, reason) = match session.revoked {
        Some(Revoked { at, reason }) => (format!("{at}"), reason.as_str()),
        None => ("-".to_owned(), "-"),
    };
    let label_length = match label {
        Some(label) => format!("{}", label.len()),
        None => "-".to_owned(),
    };
    let (kid_length, client_length) = (kid.len(), client.len());
    let label = label.as_deref().unwrap_or_default();
    format!(
        "1 {generation} {rotated_at} {expires_at} {revoked_at} {reason} {kid_length}\n\
         {kid}{absolute_expires_at} {created_at} {client_length} {label_length}\n\
         {client}{label}{subject}"
    )
}

/// Reads a value, and refuses any that [`encode`] does not write.
pub(super) fn decode(id: SessionId, value: &[u8]) -> Option<SessionRecord> {
    let value = str::from_utf8(value).ok()?;
    let (mutable, rest) = value.split_once('\n')?;
    let [version, generation, rotated_at, expires_at, revoked_at, reason, kid_length] =
        words(mutable)?;
    if version != "1" {
        return None;
    }
    let (kid, fixed) = rest.split_at_checked(kid_length.parse().ok()?)?;
    let (numbers, texts) = fixed.split_once('\n')?;
    let [absolute_expires_at, created_at, client_length, label_length] = words(numbers)?;
    let (client, texts) = texts.split_at_checked(client_length.parse().ok()?)?;
    let (label, subject) = match label_length {
        "-" => (None, texts),
        length => {
            let (label, subject) = texts.split_at_checked(length.parse().ok()?)?;
            (Some(label.to_owned()), subject)
        }
    };
    let revoked = match (revoked_at, reason) {
        ("-", "-") => None,
        (at, reason) => Some(Revoked { at: time(at)?, reason: reason.parse().ok()? }),
    };
    let (created_at, absolute_expires_at) = (time(created_at)?, time(absolute_expires_at)?);
    let mut session = SessionRecord::new(id, subject, client, kid, created_at, absolute_expires_at);
    session.label = label;
    session.generation = generation.parse().ok()?;
    session.rotated_at = time(rotated_at)?;
    session.expires_at = time(expires_at)?;
    session.revoked = revoked;
    // Numbers have one spelling each: scripts compare them as texts.
    (encode(&session) == value).then_some(session)
}

fn words<const N: usize>(line: &str) -> Option<[&str; N]> {
    let mut words = line.split(' ');
    let mut all = [""; N];
    for word in &mut all {
        *word = words.next()?;
    }
    words.next().is_none().then_some(all)
}

fn time(word: &str) -> Option<UnixMillis> {
    i64::from_str(word).ok().map(UnixMillis::new)
}

#[cfg(test)]
mod tests {

    use kippu::session::{RevokeReason, rotation::MAX_GENERATION};

    use super::*;

    fn session() -> SessionRecord {
        let (id, at) = (SessionId::from_bytes([7; 16]), UnixMillis::new);
        let mut session = SessionRecord::new(id, "alice", "web app", "2026 1", at(1000), at(9000));
        session.label = Some("Firefox".to_owned());
        session.generation = 3;
        (session.rotated_at, session.expires_at) = (at(2000), at(4000));
        session
    }

    #[test]
    fn it_is_written_as_described() {
        let live = session();
        let text = "1 3 2000 4000 - - 6\n2026 19000 1000 7 7\nweb appFirefoxalice";
        assert_eq!(encode(&live), text);
        let revoked = Some(Revoked { at: UnixMillis::new(-5), reason: RevokeReason::LogoutAll });
        let mut bare = live;
        (bare.label, bare.revoked) = (None, revoked);
        let text = "1 3 2000 4000 -5 logout_all 6\n2026 19000 1000 7 -\nweb appalice";
        assert_eq!(encode(&bare), text);
    }

    #[test]
    fn it_comes_back_as_it_went() {
        let texts = ["", "a", " ", "\n", "- - 1\n", "\0", "{x}", "'\";--", "\u{1f511}\u{301}"];
        let times = [UnixMillis::MIN, UnixMillis::new(-1), UnixMillis::new(0), UnixMillis::MAX];
        let mut session = session();
        for (turn, text) in texts.into_iter().enumerate() {
            for (other, time) in texts.into_iter().zip(times.into_iter().cycle()) {
                session.subject = text.to_owned();
                session.kid = other.to_owned();
                session.client = other.to_owned() + text;
                session.label = (turn % 2 == 0).then(|| text.to_owned());
                session.created_at = time;
                session.expires_at = time;
                session.revoked =
                    RevokeReason::ALL.get(turn).map(|&reason| Revoked { at: time, reason });
                session.generation = MAX_GENERATION;
                let value = encode(&session);
                assert_eq!(decode(session.id, value.as_bytes()), Some(session.clone()), "{value}");
            }
        }
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let id = session().id;
        let value = encode(&session());
        assert_eq!(decode(id, value.as_bytes()), Some(session()));
        for (from, to) in [
            ("1 3", "2 3"),
            ("1 3", "3"),
            ("1 3", "1764000000000 1 3"),
            ("1 3 ", "1 03 "),
            ("1 3 ", "1 +3 "),
            ("1 3 ", "1 -3 "),
            ("1 3 ", "1 3.0 "),
            ("1 3 ", "1 3  "),
            ("2000", "2e3"),
            ("2000", "-0"),
            ("4000", "9007199254740992"),
            ("- -", "- logout"),
            ("- -", "7 -"),
            ("- -", "7 boredom"),
            ("- - 6", "- - 600"),
            ("- - 6", "- - 18446744073709551616"),
            ("7 7", "7 x"),
            ("7 7", "7 13"),
            ("\n", " "),
        ] {
            let other = value.replacen(from, to, 1);
            assert_ne!(other, value);
            assert_eq!(decode(id, other.as_bytes()), None, "{other}");
        }
        for length in 0..value.len() - "alice".len() {
            assert_eq!(decode(id, &value.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(decode(id, &[value.as_bytes(), &[0xff]].concat()), None);
        assert_eq!(id.to_string().len(), 22);
    }
}
