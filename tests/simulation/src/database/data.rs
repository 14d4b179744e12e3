//! The data of a node: records, and the log of the sessions that have ended.

use std::collections::BTreeMap;

use kippu::session::{SessionId, SessionRecord, UnixMillis};

/// A part of a commit.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put(Box<SessionRecord>),
    Remove(SessionId),
    End(Ended),
    Trim(usize),
}

/// An entry of the log of ended sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) id: SessionId,
    /// Drawn when the step began, and not when it was committed.
    pub(super) number: u64,
    /// The time of the caller.
    pub(super) caller: UnixMillis,
    /// When it was written, by the clock of the node.
    pub(super) at: UnixMillis,
}

impl Write {
    /// The shard of the session that it removes.
    pub(super) fn removed(&self) -> Option<u16> {
        match self {
            Self::Remove(id) => Some(id.shard()),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    /// By the number of their insertion, which does not depend on what is random about an id.
    sessions: BTreeMap<u64, SessionRecord>,
    numbers: BTreeMap<SessionId, u64>,
    last: u64,
    ended: Vec<Ended>,
    /// How many entries were removed from the front of the log.
    pub(super) trimmed: usize,
    pub(super) last_number: u64,
    /// Of the primary that has written it.
    pub(super) timeline: u64,
}

impl Data {
    /// A primary goes on with it.
    pub(super) fn begin(&mut self, timeline: u64) {
        self.timeline = timeline;
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&SessionRecord> {
        self.sessions.get(self.numbers.get(id)?)
    }

    /// The sessions in the order of their insertion.
    pub(super) fn all(&self) -> impl Iterator<Item = &SessionRecord> {
        self.sessions.values()
    }

    pub(super) fn of(&self, subject: &str) -> impl Iterator<Item = &SessionRecord> {
        self.sessions.values().filter(move |record| record.subject == subject)
    }

    /// The log from a place on.
    pub(super) fn ended_from(&self, place: usize) -> &[Ended] {
        self.ended.get(place.saturating_sub(self.trimmed)..).unwrap_or_default()
    }

    /// The place behind the last entry.
    pub(super) fn end(&self) -> usize {
        self.trimmed + self.ended.len()
    }

    pub(super) fn apply(&mut self, write: &Write) {
        match write {
            Write::Put(record) => {
                let number = *self.numbers.entry(record.id).or_insert_with(|| {
                    self.last += 1;
                    self.last
                });
                self.sessions.insert(number, (**record).clone());
            }
            Write::Remove(id) => {
                if let Some(number) = self.numbers.remove(id) {
                    self.sessions.remove(&number);
                }
            }
            Write::End(ended) => {
                self.last_number = self.last_number.max(ended.number);
                self.ended.push(*ended);
            }
            Write::Trim(count) => {
                self.ended.drain(..(*count).min(self.ended.len()));
                self.trimmed += count;
            }
        }
    }

    pub(super) fn digest(&self, names: impl Fn(&SessionId) -> String) -> String {
        let sessions = self.sessions.values().map(|record| {
            let SessionRecord { id, generation, rotated_at, expires_at, revoked, .. } = record;
            format!("{}:{generation}:{rotated_at}:{expires_at}:{revoked:?}", names(id))
        });
        let sessions: Vec<_> = sessions.collect();
        let ended: Vec<_> = self.ended.iter().map(|ended| names(&ended.id)).collect();
        format!("{} {ended:?}", sessions.join(" "))
    }
}
