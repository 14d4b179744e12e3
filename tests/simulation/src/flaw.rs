//! The faults that are known, each behind a switch: of the simulated store, or of the server around
//! the sessions. None is in the product.

use std::{fmt, str::FromStr};

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

impl Flaw {
    pub const ALL: [Self; 15] = [
        Self::GraceFromPresentation,
        Self::ReadsDemoted,
        Self::KeepsConnection,
        Self::ChecksAfterCommit,
        Self::TimeCursor,
        Self::SequenceCursor,
        Self::FreshFromTheEnd,
        Self::CountsWithoutLock,
        Self::Upserts,
        Self::RollsBackRevocation,
        Self::SlidingGrace,
        Self::PurgesByOneClock,
        Self::LogoutClaimsSuccess,
        Self::ForgetsTheKey,
        Self::LogsTokens,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::GraceFromPresentation => "grace-from-presentation",
            Self::ReadsDemoted => "reads-demoted",
            Self::KeepsConnection => "keeps-connection",
            Self::ChecksAfterCommit => "checks-after-commit",
            Self::TimeCursor => "time-cursor",
            Self::SequenceCursor => "sequence-cursor",
            Self::FreshFromTheEnd => "fresh-from-the-end",
            Self::CountsWithoutLock => "counts-without-lock",
            Self::Upserts => "upserts",
            Self::RollsBackRevocation => "rolls-back-revocation",
            Self::SlidingGrace => "sliding-grace",
            Self::PurgesByOneClock => "purges-by-one-clock",
            Self::LogoutClaimsSuccess => "logout-claims-success",
            Self::ForgetsTheKey => "forgets-the-key",
            Self::LogsTokens => "logs-tokens",
        }
    }

    /// The rules of which at least one has to find it.
    pub const fn rules(self) -> &'static [&'static str] {
        match self {
            Self::GraceFromPresentation => &["R2", "R3"],
            Self::ReadsDemoted => &["R16", "R10", "R11", "R19"],
            Self::KeepsConnection => &["R16"],
            Self::ChecksAfterCommit => &["R17"],
            Self::TimeCursor | Self::SequenceCursor | Self::FreshFromTheEnd => &["R19"],
            Self::CountsWithoutLock => &["R20"],
            Self::Upserts => &["R10", "R11"],
            Self::RollsBackRevocation | Self::SlidingGrace => &["R3"],
            Self::PurgesByOneClock => &["R12"],
            Self::LogoutClaimsSuccess => &["R10", "R16", "R11"],
            Self::ForgetsTheKey => &["R1", "R13"],
            Self::LogsTokens => &["R15"],
        }
    }
}

impl Flaw {
    /// The rule that shows this flaw, if one does.
    pub fn is_found_in(self, breaches: &Breaches) -> Option<&'static str> {
        let number =
            |rule: &&&str| rule.split(' ').next().is_some_and(|it| self.rules().contains(&it));
        breaches.keys().find(number).copied()
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Flaw {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|flaw| flaw.name() == name);
        named.ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("no flaw is called {name:?}: it is one of {all}")
        })
    }
}
