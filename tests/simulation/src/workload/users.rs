//! Users with several devices, browsers whose tabs share a cookie, thieves, and an administrator: a
//! task for each, at random, until the end of the plan.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::join;

use super::{Client, PATIENT, Recorder, Reply, Tokens, World};
use crate::{
    executor::micros,
    log::{Answer, Micros, Terms, What},
    server::Policy,
    time::Time,
};

/// How much there is to do, and how fast, in microseconds.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part of the workload")]
pub struct Plan {
    pub users: u32,
    /// Of each user. There may be room for fewer sessions than that.
    pub devices: u64,
    pub until: Micros,
    /// Between two actions of a tab, on average.
    pub pause: Micros,
    /// How long a client waits that has logged in too often, at most.
    pub login_pause: Micros,
    /// Of the servers.
    pub policy: Policy,
    /// Whether the administrator has something to do.
    pub has_administrator: bool,
    /// Whether accounts are removed.
    pub has_leavers: bool,
    /// Whether some logins are not remembered.
    pub has_terms: bool,
    /// Whether these set their own lifetimes and limits, too.
    pub has_lifetimes: bool,
    /// Whether users give their passwords again.
    pub has_reauthentication: bool,
}

/// The number that a user has after leaving, and coming back as somebody else.
const BACK: u32 = 1000;

const SECOND: Micros = 1_000_000;

/// A user, who may become another.
struct Person {
    number: Mutex<u32>,
}

/// Where a device keeps its tokens: the cookies that the tabs of a browser share, or the storage of
/// an app.
#[derive(Default)]
struct Jar {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    tokens: Option<(u32, Tokens)>,
    is_logging_in: bool,
}

/// A user, and the id of a session.
type Shown = Arc<Mutex<Option<(u32, String)>>>;

/// A tab of a browser, or an app.
#[derive(Clone)]
struct Tab<W> {
    world: W,
    recorder: Recorder,
    plan: Arc<Plan>,
    person: Arc<Person>,
    jar: Arc<Jar>,
    /// The last session that any user was shown in a list.
    shown: Shown,
    /// Its answers are lost, and it is killed before it saves them.
    is_mobile: bool,
}

/// Starts the tasks of all clients. They end with the plan.
pub fn run<W: World>(world: &W, recorder: &Recorder, plan: &Plan) {
    let (plan, shown) = (Arc::new(plan.clone()), Shown::default());
    for user in 0..plan.users {
        let person = Arc::new(Person { number: Mutex::new(user) });
        for device in 0..plan.devices {
            let jar = Arc::new(Jar::default());
            let is_mobile = device % 2 == 1;
            let tabs = if is_mobile { 1 } else { 2 };
            for _ in 0..tabs {
                let (person, jar, plan) =
                    (Arc::clone(&person), Arc::clone(&jar), Arc::clone(&plan));
                let (world, recorder) = (world.clone(), recorder.clone());
                let shown = Arc::clone(&shown);
                let tab = Tab { world, recorder, plan, person, jar, shown, is_mobile };
                tab.world.clone().spawn(tab.run());
            }
        }
    }
    if plan.has_administrator {
        world.spawn(administrate(world.clone(), recorder.clone(), Arc::clone(&plan), shown));
    }
}

/// Changes passwords, each of which ends all sessions of its user, and ends single sessions.
async fn administrate<W: World>(world: W, recorder: Recorder, plan: Arc<Plan>, shown: Shown) {
    while world.now() < plan.until {
        world.sleep(world.random(16 * SECOND)).await;
        let seen = shown.lock().clone();
        if let Some((user, id)) = seen.filter(|_| world.random(2) == 0) {
            Client::new(&world, &recorder, user).end(&id, None).await;
            continue;
        }
        let user = u32::try_from(world.random(plan.users.into())).unwrap_or_default();
        let administrator = Client::new(&world, &recorder, user);
        while administrator.order(What::LogoutAll).await.answer != Answer::Done {
            if world.now() >= plan.until {
                return;
            }
            world.sleep(SECOND).await;
        }
    }
}

impl Jar {
    fn tokens(&self) -> Option<(u32, Tokens)> {
        self.held.lock().tokens.clone()
    }

    fn put(&self, user: u32, tokens: Tokens) {
        self.held.lock().tokens = Some((user, tokens));
    }

    /// Drops tokens, unless there are others by now.
    fn forget(&self, tokens: &Tokens) {
        let mut held = self.held.lock();
        if held.tokens.as_ref().is_some_and(|(_, other)| other.refresh == tokens.refresh) {
            held.tokens = None;
        }
    }

    /// Returns false while another tab logs in.
    fn begin_login(&self) -> bool {
        !std::mem::replace(&mut self.held.lock().is_logging_in, true)
    }

    fn end_login(&self) {
        self.held.lock().is_logging_in = false;
    }
}

impl Person {
    fn number(&self) -> u32 {
        *self.number.lock()
    }

    /// Says no if somebody else has done it.
    fn become_another(&self, user: u32) -> bool {
        let mut number = self.number.lock();
        let is_first = *number == user;
        if is_first {
            *number += BACK;
        }
        is_first
    }
}

impl<W: World> Tab<W> {
    async fn run(self) {
        while !self.is_over() {
            self.pause().await;
            match self.jar.tokens() {
                None => self.log_in().await,
                Some((user, tokens)) => self.act(user, tokens).await,
            }
        }
    }

    fn is_over(&self) -> bool {
        self.world.now() >= self.plan.until
    }

    fn chance(&self, percent: u64) -> bool {
        self.world.random(100) < percent
    }

    async fn pause(&self) {
        // Sometimes at once, and sometimes for long.
        let most = match self.world.random(8) {
            0 => self.plan.pause / 50,
            1 => 5 * self.plan.pause,
            _ => 2 * self.plan.pause,
        };
        self.world.sleep(self.world.random(most)).await;
    }

    /// About this time: a little less or more, or any part of it, or up to as much again.
    fn around(&self, time: Duration) -> Micros {
        let time = micros(time);
        match self.world.random(4) {
            0 => time.saturating_sub(self.world.random(SECOND / 5)),
            1 => time + self.world.random(SECOND / 5),
            2 => self.world.random(time),
            _ => time + self.world.random(time),
        }
    }

    fn client(&self, user: u32) -> Client<W> {
        let client = Client::new(&self.world, &self.recorder, user);
        let client = Client { is_browser: !self.is_mobile, ..client };
        if !self.is_mobile || !self.chance(15) {
            return client;
        }
        client.with_patience(self.world.random(SECOND / 10))
    }

    /// Where there is no room for another session, one user in three ends the oldest at once, one
    /// after having been asked, and one does not log in.
    async fn log_in(&self) {
        if !self.jar.begin_login() {
            return;
        }
        let user = self.person.number();
        let client = Client { terms: self.terms(), ..self.client(user) };
        let third = user % 3;
        let first = Client { keeps_others: third > 0, ..client.clone() };
        let mut reply = first.login().await;
        if reply.answer == Answer::NoRoom && third == 1 {
            reply = client.login().await;
        }
        if reply.answer == Answer::Limited && self.plan.login_pause > 0 {
            self.world.sleep(self.world.random(self.plan.login_pause)).await;
        }
        if let Some(tokens) = reply.tokens {
            self.jar.put(user, tokens);
        }
        self.jar.end_login();
    }

    fn terms(&self) -> Terms {
        if !self.plan.has_terms {
            return Terms::default();
        }
        if !self.plan.has_lifetimes {
            return Terms { is_forgotten: self.chance(30), ..Terms::default() };
        }
        let one_of = |choices: [u64; 3]| {
            let place = usize::try_from(self.world.random(3)).unwrap_or_default();
            choices.get(place).copied().filter(|choice| *choice > 0)
        };
        // At least an access token's lifetime, and not longer than the session's.
        let Policy { access, idle, absolute, .. } = &self.plan.policy;
        let lifetime = (absolute.as_secs() / 2).max(idle.as_secs());
        let idle = (access.as_secs() + 2).min(idle.as_secs());
        Terms {
            max_sessions: one_of([0, 1, 2]).and_then(|max| usize::try_from(max).ok()),
            idle_lifetime: one_of([0, 0, idle]),
            session_lifetime: one_of([0, 0, lifetime]),
            is_forgotten: self.chance(30),
        }
    }

    async fn act(&self, user: u32, tokens: Tokens) {
        match self.world.random(100) {
            0..5 if self.plan.has_reauthentication => self.reauthenticate(user, tokens).await,
            0..12 => self.look(What::Me, user, tokens).await,
            12..20 => self.look(What::Live, user, tokens).await,
            20..23 => self.look(What::List, user, tokens).await,
            23..26 => self.end_by_id(user, tokens).await,
            26..50 => drop(self.refresh(user, tokens).await),
            50..56 => self.two_at_once(user, tokens).await,
            56..62 => self.impatience(user, tokens).await,
            62..68 => {
                let within = self.world.random(micros(self.plan.policy.grace));
                self.retry(user, tokens, false, within).await;
            }
            68..72 => self.stutter(user, tokens).await,
            72..75 => self.forge(user, &tokens).await,
            75..79 => self.theft(user, tokens).await,
            79..85 => {
                let around = self.around(self.plan.policy.grace);
                self.retry(user, tokens, self.chance(50), around).await;
            }
            85..87 => {
                self.world.sleep(self.around(self.plan.policy.idle)).await;
                self.refresh(user, tokens).await;
            }
            87..93 => self.logout(user, tokens).await,
            93..95 => self.logout_by_access(user, tokens).await,
            95..97 => self.logout_everywhere(user, tokens).await,
            97 if self.plan.has_leavers => self.leave(user, tokens).await,
            _ => drop(self.client(user).ask(What::LogoutOthers, &tokens).await),
        }
    }

    async fn look(&self, what: What, user: u32, tokens: Tokens) {
        match self.client(user).ask(what, &tokens).await.answer {
            Answer::Refused => self.jar.forget(&tokens),
            Answer::Expired | Answer::Early => drop(self.refresh(user, tokens).await),
            _ => {}
        }
    }

    /// Ends one of the sessions of a list, or tries to end that of another user. Later requests
    /// show whether it has ended.
    async fn end_by_id(&self, user: u32, tokens: Tokens) {
        let client = self.client(user);
        let listed = client.ask(What::List, &tokens).await.listed;
        let own = self.world.time().any(&listed).map(|id| (user, id.clone()));
        let other =
            self.shown.lock().clone().filter(|(other, _)| *other != user && self.chance(20));
        let Some((_, id)) = other.or_else(|| own.clone()) else { return };
        *self.shown.lock() = own;
        let reply = client.end(&id, Some(&tokens)).await;
        let is_over = matches!(reply.answer, Answer::Done | Answer::Absent) && id == tokens.session;
        if is_over || reply.answer == Answer::Refused {
            self.jar.forget(&tokens);
        }
        if is_over {
            self.try_later(user, [tokens.clone(), tokens]);
        }
    }

    /// Keeps what came back: of two answers, the browser keeps that which comes last.
    fn keep(&self, user: u32, presented: &Tokens, reply: &Reply) -> Option<Tokens> {
        match &reply.tokens {
            Some(tokens) => self.jar.put(user, tokens.clone()),
            None if reply.answer == Answer::Refused => self.jar.forget(presented),
            None => {}
        }
        reply.tokens.clone()
    }

    /// Tries again while the server, or its store, is away.
    async fn refresh(&self, user: u32, tokens: Tokens) -> Option<Tokens> {
        loop {
            let reply = self.client(user).refresh(&tokens).await;
            if reply.tokens.is_some() || reply.answer == Answer::Refused {
                return self.keep(user, &tokens, &reply);
            }
            if self.is_over() {
                return None;
            }
            self.world.sleep(SECOND / 10 + self.world.random(SECOND)).await;
        }
    }

    /// Alone, or while another tab refreshes.
    async fn reauthenticate(&self, user: u32, tokens: Tokens) {
        let client = self.client(user);
        let asked = client.ask(What::Reauthenticate, &tokens);
        let (one, other) = if self.chance(50) {
            let (one, other) = join!(asked, client.refresh(&tokens));
            (one, Some(other))
        } else {
            (asked.await, None)
        };
        // An access token that is refused says nothing of the refresh token.
        if let Some(next) = &one.tokens {
            self.jar.put(user, next.clone());
        }
        if let Some(other) = &other {
            self.keep(user, &tokens, other);
        } else if one.tokens.is_none() {
            self.refresh(user, tokens).await;
        }
    }

    /// Both get the same.
    async fn two_at_once(&self, user: u32, tokens: Tokens) {
        let client = self.client(user);
        let (one, other) = join!(client.refresh(&tokens), client.refresh(&tokens));
        let kept = self.keep(user, &tokens, &one).or(self.keep(user, &tokens, &other));
        if kept.is_none() {
            self.refresh(user, tokens).await;
        }
    }

    /// Presents the token again while a refresh that was not answered within the grace is in
    /// flight, or has just been answered.
    async fn impatience(&self, user: u32, tokens: Tokens) {
        let client = self.client(user).with_patience(PATIENT);
        let later = async {
            self.world.sleep(self.around(self.plan.policy.grace)).await;
            client.refresh(&tokens).await
        };
        let (one, other) = join!(client.refresh(&tokens), later);
        self.keep(user, &tokens, &one);
        self.keep(user, &tokens, &other);
    }

    /// The answer to a refresh does not arrive, or the token would be too long, for a while, so
    /// that nothing is used up: it is asked for again, in time or too late.
    async fn retry(&self, user: u32, tokens: Tokens, is_large: bool, after: Micros) {
        let client = self.client(user);
        if is_large {
            client.large_refresh(&tokens).await;
        } else {
            client.refresh(&tokens).await;
        }
        self.world.sleep(after).await;
        self.refresh(user, tokens).await;
    }

    /// A client that presents one token again and again.
    async fn stutter(&self, user: u32, tokens: Tokens) {
        let gap = micros(self.plan.policy.grace) / 2;
        for _ in 0..2 + self.world.random(5) {
            let reply = self.client(user).refresh(&tokens).await;
            if reply.answer == Answer::Refused {
                break;
            }
            self.world.sleep(gap / 2 + self.world.random(gap)).await;
        }
        self.refresh(user, tokens).await;
    }

    async fn forge(&self, user: u32, tokens: &Tokens) {
        let client = self.client(user);
        client.forge(What::Forged, tokens).await;
        client.forge(What::FalseLogout, tokens).await;
    }

    /// A thief copies the token, and uses it before its owner does, or after; and goes on with the
    /// token of the answer.
    async fn theft(&self, user: u32, tokens: Tokens) {
        let thief = Self { jar: Arc::default(), is_mobile: false, ..self.clone() };
        let copy = tokens.clone();
        let is_first = self.chance(50);
        let pause =
            if is_first { 0 } else { self.world.random(2 * micros(self.plan.policy.grace)) };
        self.world.spawn(async move {
            thief.world.sleep(pause).await;
            let client = Client::new(&thief.world, &thief.recorder, user).thief();
            let mut stolen = Some(copy);
            while let Some(tokens) = stolen {
                if thief.is_over() {
                    return;
                }
                let reply = client.refresh(&tokens).await;
                if let Some(tokens) = &reply.tokens {
                    client.ask(What::Me, tokens).await;
                }
                stolen = reply.tokens;
                thief.pause().await;
            }
        });
        if is_first {
            self.pause().await;
        }
        self.refresh(user, tokens).await;
    }

    /// And what somebody kept a copy of is tried at once, while its grace would last, and later.
    async fn logout(&self, user: u32, tokens: Tokens) {
        let Some(next) = self.refresh(user, tokens.clone()).await else { return };
        let client = self.client(user);
        let reply = if self.chance(60) {
            // A refresh is under way.
            join!(client.logout(&tokens), client.refresh(&next)).0
        } else {
            client.logout(&next).await
        };
        if reply.answer == Answer::Done {
            self.jar.forget(&next);
        }
        self.try_later(user, [tokens, next]);
    }

    /// With nothing but an access token, which has expired or not.
    async fn logout_by_access(&self, user: u32, tokens: Tokens) {
        if self.chance(50) {
            self.world.sleep(self.around(self.plan.policy.access)).await;
        }
        let client = Client { is_browser: false, ..self.client(user) };
        while client.ask(What::Logout, &tokens).await.answer != Answer::Done {
            if self.is_over() {
                return;
            }
            self.world.sleep(SECOND / 10 + self.world.random(SECOND)).await;
        }
        self.jar.forget(&tokens);
        self.try_later(user, [tokens.clone(), tokens]);
    }

    /// Somebody has a copy of tokens whose session has ended: of the access tokens around the lag
    /// of the verifiers, of the refresh tokens now and much later.
    fn try_later(&self, user: u32, tokens: [Tokens; 2]) {
        let copy = Self { jar: Arc::default(), is_mobile: false, ..self.clone() };
        let [before, last] = tokens;
        self.world.spawn(async move {
            let thief = Client::new(&copy.world, &copy.recorder, user).thief();
            thief.ask(What::Live, &last).await;
            if copy.chance(50) {
                thief.refresh(&before).await;
            }
            for _ in 0..12 {
                copy.world.sleep(copy.world.random(micros(copy.plan.policy.max_lag) / 2)).await;
                thief.ask(What::Me, &last).await;
            }
            thief.refresh(&last).await;
            copy.world.sleep(copy.world.random(micros(copy.plan.policy.absolute) / 2)).await;
            if !copy.is_over() {
                thief.ask(What::Live, &last).await;
                thief.refresh(&last).await;
            }
        });
    }

    /// While the other device refreshes.
    async fn logout_everywhere(&self, user: u32, tokens: Tokens) {
        let Some(tokens) = self.refresh(user, tokens).await else { return };
        let client = self.client(user);
        let (reply, refreshed) =
            join!(client.ask(What::LogoutAll, &tokens), client.refresh(&tokens));
        if reply.answer == Answer::Done {
            self.jar.forget(&tokens);
        }
        let last = refreshed.tokens.unwrap_or_else(|| tokens.clone());
        self.try_later(user, [tokens, last]);
    }

    /// The account is removed, and what is left of its tokens is tried: first while that is under
    /// way. Comes back as somebody else.
    async fn leave(&self, user: u32, tokens: Tokens) {
        if !self.person.become_another(user) {
            return;
        }
        let client = self.client(user);
        let (mut reply, _) = join!(client.order(What::Leave), client.refresh(&tokens));
        // Refused, where it was done the time before.
        while !matches!(reply.answer, Answer::Done | Answer::Refused) {
            if self.is_over() {
                return;
            }
            self.world.sleep(SECOND / 10 + self.world.random(SECOND)).await;
            reply = client.order(What::Leave).await;
        }
        self.jar.forget(&tokens);
        self.try_later(user, [tokens.clone(), tokens]);
    }
}
