//! The faults that are known, each behind a switch: of the simulated store, or of the server around
//! the sessions. None is in the product.

use crate::checker::Breaches;

/// A known fault that a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The grace is counted from the presentation of a token, and not from the commit.
    GraceFromPresentation,
    /// A read is answered by a primary that was demoted.
    ReadsDemoted,
    /// A connection to a primary that was demoted is kept.
    KeepsConnection,
    /// The length of the access token is checked once the refresh token is used up.
    ChecksAfterCommit,
    /// The log of ended sessions is read on from the latest time that was seen.
    TimeCursor,
    /// The same, from a number that is drawn before the commit.
    SequenceCursor,
    /// A verifier is fresh from the end of its reading, and not from the beginning.
    FreshFromTheEnd,
    /// The sessions of a limit are counted without a lock.
    CountsWithoutLock,
    /// A rotation writes the whole record, whether it is still there or not.
    Upserts,
    /// The revocation is rolled back with the error that reports it.
    RollsBackRevocation,
    /// A replay begins the grace again.
    SlidingGrace,
    /// A sweep goes by the clock of the server that asks for it.
    PurgesByOneClock,
    /// A logout that the store did not confirm is answered as done.
    LogoutClaimsSuccess,
    /// A replay is answered with the key of today, and not with that of the rotation.
    ForgetsTheKey,
    /// The application logs the tokens that it is asked with.
    LogsTokens,
}

/// The rules of which at least one has to find it.
type Rules = &'static [&'static str];

impl Flaw {
    pub const ALL: [(Self, &'static str, Rules); 15] = [
        (Self::GraceFromPresentation, "grace-from-presentation", &["R2", "R3"]),
        (Self::ReadsDemoted, "reads-demoted", &["R16", "R10", "R11", "R19"]),
        (Self::KeepsConnection, "keeps-connection", &["R16"]),
        (Self::ChecksAfterCommit, "checks-after-commit", &["R17"]),
        (Self::TimeCursor, "time-cursor", &["R19"]),
        (Self::SequenceCursor, "sequence-cursor", &["R19"]),
        (Self::FreshFromTheEnd, "fresh-from-the-end", &["R19"]),
        (Self::CountsWithoutLock, "counts-without-lock", &["R20"]),
        (Self::Upserts, "upserts", &["R10", "R11"]),
        (Self::RollsBackRevocation, "rolls-back-revocation", &["R3"]),
        (Self::SlidingGrace, "sliding-grace", &["R3"]),
        (Self::PurgesByOneClock, "purges-by-one-clock", &["R12"]),
        (Self::LogoutClaimsSuccess, "logout-claims-success", &["R10", "R16", "R11"]),
        (Self::ForgetsTheKey, "forgets-the-key", &["R1", "R13"]),
        (Self::LogsTokens, "logs-tokens", &["R15"]),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, other, _)| *other == name).map(|(flaw, ..)| flaw)
    }

    /// The rule that shows this flaw, if one does.
    pub fn is_found_in(self, breaches: &Breaches) -> Option<&'static str> {
        let (_, _, rules) = Self::ALL.into_iter().find(|(flaw, ..)| *flaw == self)?;
        let is_of = |rule: &&str| rule.split(' ').next().is_some_and(|it| rules.contains(&it));
        breaches.keys().copied().find(is_of)
    }
}
