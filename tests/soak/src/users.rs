//! The users: one task for each acts at random until the time has ended.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use kippu_simulation::log::{Answer, What, Who};
use tokio::{
    sync::{RwLock, Semaphore},
    task::JoinSet,
    time,
};

use crate::client::{Client, Reply, Tokens};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// How fast time goes in a run, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) pause: f64,
    pub(crate) grace: u64,
    pub(crate) access_lifetime: u64,
    pub(crate) idle_lifetime: u64,
    pub(crate) session_lifetime: u64,
    /// Whether all of it is of seconds, and stalls too.
    pub(crate) is_short: bool,
}

pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) rng: Rng,
    pub(crate) pace: Pace,
    pub(crate) until: Instant,
    /// A hash of a password takes as much as many other requests.
    pub(crate) logins: Arc<Semaphore>,
    /// Held for reading while accounts come and go.
    pub(crate) accounts: Arc<RwLock<()>>,
}

/// The number that a user has after leaving, and coming back as somebody else.
const BACK: u32 = 1000;

/// A user has as many live sessions, at most.
pub(crate) const MAX_SESSIONS: usize = 2;

/// On as many devices, at most: on more than there is room for.
const DEVICES: usize = 3;

/// The address of a user.
pub(crate) fn email(user: u32) -> String {
    format!("user-{user}@example.com")
}

fn in_seconds(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64()
}

/// Where there is no room for another session, one user in three ends the oldest at once, one after
/// having been asked, and one does not log in.
async fn log_in(client: Client, turns: Arc<Semaphore>) -> Reply {
    let third = client.user % 3;
    let _turn = turns.acquire().await;
    let first = Client { keeps_others: third > 0, ..client.clone() };
    let reply = first.login(&email(client.user), PASSWORD).await;
    if reply.answer == Answer::NoRoom && third == 1 {
        return client.login(&email(client.user), PASSWORD).await;
    }
    reply
}

impl User {
    pub(crate) async fn run(mut self) {
        let mut held: Vec<Tokens> = Vec::new();
        while Instant::now() < self.until {
            self.pause().await;
            if held.is_empty() || (held.len() < DEVICES && self.rng.u8(..100) < 15) {
                let count = if self.rng.bool() { 1 } else { DEVICES - held.len() };
                let is_limited = self.login(count, &mut held).await;
                if held.is_empty() {
                    self.wait_for_a_login(is_limited).await;
                }
                continue;
            }
            let tokens = held.swap_remove(self.rng.usize(..held.len()));
            let left = self.act(tokens, &mut held).await;
            held.extend(left);
        }
    }

    async fn pause(&mut self) {
        let seconds = 2.0 * self.rng.f64() * self.pace.pause;
        self.wait(seconds).await;
    }

    /// Not much beyond the end of the run.
    async fn wait(&self, seconds: f64) {
        let left = self.until.saturating_duration_since(Instant::now());
        time::sleep(Duration::from_secs_f64(seconds).min(left)).await;
    }

    /// On so many devices at once. Says whether the server wants fewer tries.
    async fn login(&self, count: usize, held: &mut Vec<Tokens>) -> bool {
        let mut logins = JoinSet::new();
        for _ in 0..count {
            let (client, turns) = (self.client.clone(), Arc::clone(&self.logins));
            logins.spawn(log_in(client, turns));
        }
        let replies = logins.join_all().await;
        let is_limited = replies.iter().any(|reply| reply.answer == Answer::Limited);
        held.extend(replies.into_iter().filter_map(|reply| reply.tokens));
        is_limited
    }

    /// The server lets a user try five times, and then once in twelve seconds.
    async fn wait_for_a_login(&mut self, is_limited: bool) {
        let most = if is_limited { 36.0 } else { 1.0 };
        let seconds = 0.1 + self.rng.f64() * most;
        self.wait(seconds).await;
    }

    /// Does something with a session, and returns what is left.
    async fn act(&mut self, tokens: Tokens, others: &mut Vec<Tokens>) -> Option<Tokens> {
        match self.rng.u8(..100) {
            0..15 => self.look(What::Me, tokens).await,
            15..27 => self.look(What::Live, tokens).await,
            27..35 => self.look(What::List, tokens).await,
            35..55 => self.refresh(tokens).await,
            55..65 => self.impatience(tokens).await,
            65..75 => self.two_tabs(tokens).await,
            75..82 => self.lost_answer(tokens).await,
            82..86 => self.forge(tokens).await,
            86..90 => self.theft(tokens).await,
            90..92 => self.late_retry(tokens).await,
            92..94 => {
                self.wait(in_seconds(self.pace.idle_lifetime) + 1.0).await;
                self.refresh(tokens).await
            }
            94..96 => self.logout(tokens).await,
            96 => self.logout_by_what_is_left(tokens).await,
            97 => self.logout_everywhere(tokens, others).await,
            98 => self.leave(tokens, others).await,
            _ => {
                self.client.ask(What::LogoutOthers, &tokens.access).await;
                Some(tokens)
            }
        }
    }

    async fn look(&mut self, what: What, tokens: Tokens) -> Option<Tokens> {
        match self.client.ask(what, &tokens.access).await.answer {
            Answer::Refused => None,
            Answer::Expired | Answer::Early => self.refresh(tokens).await,
            _ => Some(tokens),
        }
    }

    /// Tries again while the server, or its store, is away.
    async fn refresh(&mut self, tokens: Tokens) -> Option<Tokens> {
        loop {
            let reply = self.client.refresh(&tokens.refresh).await;
            if reply.tokens.is_some() || reply.answer == Answer::Refused {
                return reply.tokens;
            }
            if Instant::now() >= self.until {
                return None;
            }
            let seconds = 0.1 + self.rng.f64();
            self.wait(seconds).await;
        }
    }

    /// Both get the same.
    async fn two_tabs(&mut self, tokens: Tokens) -> Option<Tokens> {
        let (one, other) = tokio::join!(
            self.client.refresh(&tokens.refresh),
            self.client.refresh(&tokens.refresh)
        );
        match one.tokens.or(other.tokens) {
            Some(next) => Some(next),
            None => self.refresh(tokens).await,
        }
    }

    /// Presents the token again while a refresh that was not answered within the grace is in
    /// flight.
    async fn impatience(&mut self, tokens: Tokens) -> Option<Tokens> {
        let patience = (1.0 + 0.2 * self.rng.f64()) * in_seconds(self.pace.grace);
        let next = {
            let mut first = pin!(self.client.refresh(&tokens.refresh));
            let patience = Duration::from_secs_f64(patience);
            if let Ok(reply) = time::timeout(patience, &mut first).await {
                reply.tokens
            } else {
                let (one, other) = tokio::join!(first, self.client.refresh(&tokens.refresh));
                one.tokens.or(other.tokens)
            }
        };
        match next {
            Some(next) => Some(next),
            None => self.refresh(tokens).await,
        }
    }

    /// The answer to a refresh does not arrive, as far as the user knows: it is asked for again.
    async fn lost_answer(&mut self, tokens: Tokens) -> Option<Tokens> {
        self.client.refresh(&tokens.refresh).await;
        let seconds = self.rng.f64() * in_seconds(self.pace.grace);
        self.wait(seconds).await;
        self.refresh(tokens).await
    }

    /// The same, too late.
    async fn late_retry(&mut self, tokens: Tokens) -> Option<Tokens> {
        self.client.refresh(&tokens.refresh).await;
        self.wait(in_seconds(self.pace.grace) + 1.0).await;
        self.refresh(tokens).await
    }

    async fn forge(&mut self, tokens: Tokens) -> Option<Tokens> {
        // Neither in the prefix nor in the last symbol, some bits of which are none.
        let place = self.rng.usize(tokens.refresh.len() / 2..tokens.refresh.len() - 1);
        let mut forged = tokens.refresh.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        if let Ok(forged) = String::from_utf8(forged) {
            self.client.forge(&forged).await;
            self.client.forge_logout(&forged).await;
        }
        self.client.logout_from_elsewhere(&tokens).await;
        Some(tokens)
    }

    /// A thief copies the token, uses it before or after its owner does, and goes on with the
    /// result.
    async fn theft(&mut self, tokens: Tokens) -> Option<Tokens> {
        let mut thief = User {
            client: Client { who: Who::Thief, ..self.client.clone() },
            rng: self.rng.fork(),
            pace: self.pace,
            until: self.until,
            logins: Arc::clone(&self.logins),
            accounts: Arc::clone(&self.accounts),
        };
        let copy = tokens.clone();
        let is_first = self.rng.bool();
        let pause = if is_first { 0.0 } else { self.rng.f64() * 2.0 * in_seconds(self.pace.grace) };
        tokio::spawn(async move {
            thief.wait(pause).await;
            let mut stolen = thief.refresh(copy).await;
            while let Some(tokens) = stolen {
                if Instant::now() >= thief.until {
                    return;
                }
                thief.pause().await;
                stolen = thief.refresh(tokens).await;
            }
        });
        if is_first {
            self.pause().await;
        }
        self.refresh(tokens).await
    }

    /// And what somebody kept a copy of is tried at once, while its grace would last, and much
    /// later, when the clock may have been set.
    async fn logout(&mut self, tokens: Tokens) -> Option<Tokens> {
        let next = self.refresh(tokens.clone()).await?;
        let reply = if self.rng.bool() {
            // A refresh is under way.
            let (reply, _) = tokio::join!(
                self.client.logout(&tokens.refresh),
                self.client.refresh(&next.refresh)
            );
            reply
        } else {
            self.client.logout(&next.refresh).await
        };
        let thief = Client { who: Who::Thief, ..self.client.clone() };
        thief.ask(What::Live, &next.access).await;
        thief.refresh(&tokens.refresh).await;
        thief.refresh(&next.refresh).await;
        if self.rng.bool() {
            self.client.logout(&next.refresh).await;
        }
        let late = self.rng.f64() * in_seconds(self.pace.session_lifetime);
        let kept = next.refresh.clone();
        tokio::spawn(async move {
            time::sleep(Duration::from_secs_f64(late)).await;
            thief.refresh(&kept).await;
        });
        (reply.answer != Answer::Done).then_some(next)
    }

    /// The client has nothing left but an access token, which has expired or not, or one cookie; it
    /// tries again while the server, or its store, is away.
    async fn logout_by_what_is_left(&mut self, tokens: Tokens) -> Option<Tokens> {
        if self.rng.bool() {
            self.wait(in_seconds(self.pace.access_lifetime) + 1.0).await;
        }
        let left = self.rng.u8(..3);
        loop {
            let reply = match left {
                0 => self.client.ask(What::Logout, &tokens.access).await,
                left => self.client.logout_by_cookie(&tokens, left == 1).await,
            };
            if reply.answer == Answer::Done {
                break;
            }
            if Instant::now() >= self.until {
                return None;
            }
            let seconds = 0.1 + self.rng.f64();
            self.wait(seconds).await;
        }
        self.client.ask(What::Live, &tokens.access).await;
        self.client.refresh(&tokens.refresh).await;
        None
    }

    /// The account is removed, and what somebody kept of its tokens is tried: first while that is
    /// under way. Comes back with another address.
    async fn leave(&mut self, tokens: Tokens, others: &mut Vec<Tokens>) -> Option<Tokens> {
        let accounts = Arc::clone(&self.accounts);
        let _held = accounts.read().await;
        let gone = self.client.clone();
        let address = email(gone.user);
        let (mut answer, next) =
            tokio::join!(gone.leave(&address, PASSWORD), gone.refresh(&tokens.refresh));
        // Refused, where it was done the time before.
        while !matches!(answer, Answer::Done | Answer::Refused) {
            if Instant::now() >= self.until {
                return None;
            }
            let seconds = 0.1 + self.rng.f64();
            self.wait(seconds).await;
            answer = gone.leave(&address, PASSWORD).await;
        }
        for tokens in [Some(tokens), next.tokens].into_iter().flatten().chain(others.drain(..)) {
            gone.ask(What::Live, &tokens.access).await;
            if gone.refresh(&tokens.refresh).await.answer == Answer::Refused {
                gone.ask(What::Live, &tokens.access).await;
                gone.refresh(&tokens.refresh).await;
            }
        }
        self.client.user += BACK;
        // In doubt, it may be there.
        while !matches!(
            self.client.register(&email(self.client.user), PASSWORD).await,
            Some(201 | 409)
        ) {
            if Instant::now() >= self.until {
                return None;
            }
            let seconds = 0.1 + self.rng.f64();
            self.wait(seconds).await;
        }
        None
    }

    /// While the other device refreshes.
    async fn logout_everywhere(
        &mut self,
        tokens: Tokens,
        others: &mut Vec<Tokens>,
    ) -> Option<Tokens> {
        let tokens = self.refresh(tokens).await?;
        let other = others.pop().unwrap_or_else(|| tokens.clone());
        let (reply, refreshed) = tokio::join!(
            self.client.ask(What::LogoutAll, &tokens.access),
            self.client.refresh(&other.refresh)
        );
        let other = refreshed.tokens.unwrap_or(other);
        self.client.refresh(&other.refresh).await;
        self.client.refresh(&tokens.refresh).await;
        (reply.answer != Answer::Done).then_some(tokens)
    }
}
