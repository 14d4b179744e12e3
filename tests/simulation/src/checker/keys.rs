//! R13: the refresh keys of the hosts, which change while the run goes on. Without the lines about
//! keys in a log there is nothing to check.

use std::collections::{BTreeMap, HashMap};

use super::{
    clock::{Clock, When, micros, seconds},
    rules::{refreshes, told},
    story::Story,
};
use crate::log::{Keys, Log, Micros, Request, Span, What};

pub(super) struct Keyring {
    began: i64,
    /// Of each host, in the order of time.
    of_host: BTreeMap<u32, Vec<Keys>>,
    /// Which key made which refresh token.
    of_token: HashMap<u64, u64>,
}

impl Keyring {
    pub(super) fn of(log: &Log) -> Self {
        let mut of_host: BTreeMap<u32, Vec<Keys>> = BTreeMap::new();
        for keys in &log.keys {
            of_host.entry(keys.host).or_default().push(keys.clone());
        }
        for all in of_host.values_mut() {
            all.sort_by_key(|keys| keys.from);
        }
        let given = log.requests.iter().filter_map(|request| request.got.as_ref());
        let of_token = given.filter_map(|got| Some((got.token, got.key?))).collect();
        Self { began: micros(log.settings.began), of_host, of_token }
    }

    /// The keys that a host may have had within these times.
    fn shown(&self, host: u32, (from, to): Span) -> impl Iterator<Item = &Keys> {
        let all = self.of_host.get(&host).map_or(&[][..], Vec::as_slice);
        let ends = all.iter().skip(1).map(|next| next.to).chain([Micros::MAX]);
        let within = all.iter().zip(ends);
        within.filter(move |(keys, end)| keys.from <= to && from <= *end).map(|(keys, _)| keys)
    }

    /// When the key of the token that a request presents is retired, by each set of keys that its
    /// server may have had.
    fn ends(&self, request: &Request) -> impl Iterator<Item = Option<i64>> {
        let key = request.token.and_then(|token| self.of_token.get(&token)).copied();
        let shown = self.shown(request.server, request.span());
        shown.filter(move |_| key.is_some()).map(move |keys| {
            let mut retired = keys.retired.iter().filter(|(retired, _)| Some(*retired) == key);
            retired.next().map(|(_, until)| seconds(*until) - self.began)
        })
    }

    /// Whether a token may have been refused because its key is retired.
    pub(super) fn may_refuse(&self, request: &Request, clock: &Clock) -> bool {
        let latest = clock.latest(When::of(request)) + clock.slack();
        self.ends(request).flatten().any(|end| end <= latest)
    }

    /// Whether it has to be.
    fn refuses(&self, request: &Request, clock: &Clock) -> bool {
        let earliest = clock.earliest(When::of(request)) - clock.slack();
        let mut ends = self.ends(request).peekable();
        ends.peek().is_some() && ends.all(|end| end.is_some_and(|end| end <= earliest))
    }

    /// Whether a server may have signed with a key within these times.
    fn may_sign(&self, host: u32, span: Span, key: u64) -> bool {
        let is_unknown = !self.of_host.contains_key(&host);
        is_unknown || self.shown(host, span).any(|keys| keys.signing == key)
    }
}

/// Its server's, or that of another request which may have made the successor before.
pub(super) fn current_key(story: &Story<'_>) -> Vec<String> {
    let server = story.server;
    let mut found = refreshes(story, |life, generation, request| {
        let Some(key) = request.got.as_ref().and_then(|got| got.key) else { return false };
        let mut makers = life.refreshes[generation].iter().filter(|maker| {
            maker.sent <= request.ended && (maker.is_done() || server.is_in_doubt(maker))
        });
        !makers.any(|maker| {
            let span = (maker.sent, server.made_by(maker));
            server.keyring.may_sign(maker.server, span, key)
        })
    });
    for life in &story.lives {
        let key = life.login.got.as_ref().and_then(|got| got.key);
        let (host, span) = (life.login.server, life.login.span());
        if key.is_some_and(|key| !server.keyring.may_sign(host, span, key)) {
            found.push(told(life, life.login));
        }
    }
    found
}

/// That it is good before is R2 and R12.
pub(super) fn retired_key(story: &Story<'_>) -> Vec<String> {
    refreshes(story, |_, _, request| {
        request.what == What::Refresh
            && request.is_done()
            && story.server.keyring.refuses(request, &story.server.clock)
    })
}
