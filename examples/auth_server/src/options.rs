//! The options of the command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand};
use kippu::{
    ReloadedKeys,
    session::{Lifetimes, rotation::AheadPolicy},
};

use crate::{
    app::Policy,
    import,
    keys::{KeyLocation, Times},
    logs,
    proxies::ProxyOptions,
    serve::ConnectionOptions,
};

/// A server with logins by kippu, and a page that shows its tokens at work.
#[derive(Parser)]
#[command(name = "auth_server")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The URL that users have, if a proxy with TLS is in front of the server. By default that of
    /// its address
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Where sessions and accounts are kept: memory, sqlite:PATH, postgres://…, mysql://…
    /// (MariaDB), redis://…, or redis-sentinel://HOST:PORT,HOST:PORT/NAME for the primary that
    /// Redis Sentinel calls NAME
    // Parsed later: clap's error for a wrong value would contain the password.
    #[arg(
        long,
        value_name = "STORE",
        default_value = "sqlite:auth_server.db",
        env = "AUTH_SERVER_STORE",
        hide_env_values = true,
        global = true
    )]
    pub(crate) store: String,
    /// Where the keys are. `PATH` or `file:PATH`: in the files PATH.access.jwk, PATH.refresh.jwk
    /// and PATH.audit.jwk, which the server makes if they are missing. `dir:PATH`: in the
    /// directories PATH/access, PATH/refresh and PATH/audit. `aws:NAME`: in the secrets
    /// NAME/access, NAME/refresh and NAME/audit of AWS Secrets Manager, if the server is built with
    /// the feature aws. By default in files, whose PATH is that of the SQLite file, and
    /// `auth_server` for other databases; with the store in memory the keys are in memory too
    #[arg(long, value_name = "PLACE")]
    pub(crate) keys: Option<KeyLocation>,
    /// How often the access and refresh keys are read again
    #[arg(long, value_name = "SECONDS", default_value_t = ReloadedKeys::INTERVAL.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    reload_keys_every: u64,
    /// How long an access token is accepted: so short that its end can be watched
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    access_lifetime: u64,
    /// How long after a refresh its token can be presented again
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
    /// How long a session lives without a refresh
    #[arg(long, value_name = "SECONDS", default_value_t = Lifetimes::default().idle().as_secs())]
    idle_lifetime: u64,
    /// How long a session lives at most
    #[arg(long, value_name = "SECONDS", default_value_t = Lifetimes::default().absolute().as_secs())]
    session_lifetime: u64,
    /// How many sessions a user may have at once, any number by default. A login beyond them ends
    /// the oldest session, or is refused if its client asks for that
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: Option<u32>,
    /// How long ago a user may have authenticated who ends other sessions: so short that it can be
    /// watched
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    recent: u64,
    /// Refuse access tokens with a 503 while the store cannot be read for the sessions that have
    /// ended. By default the API goes on, and a logout may be overlooked until the store is back
    #[arg(long)]
    refuse_when_stale: bool,
    /// Refuse a refresh token that is newer than the state of its session, because the store lost
    /// commits in a failover or comes from a backup. By default the session goes on
    #[arg(long)]
    refuse_ahead: bool,
    /// How often expired sessions are removed
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    purge_every: u64,
    /// How many passwords are hashed at once, each in 19 MiB of memory. By default one less than
    /// there are processors, but at least one and at most three
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) hashes_at_once: Option<u16>,
    /// The level of the log, or levels by target, as in info,sqlx=warn
    #[arg(long, value_name = "FILTER", default_value = "info,sqlx=warn", global = true)]
    pub(crate) log: logs::Filter,
    #[command(flatten, next_help_heading = "Proxies")]
    pub(crate) proxies: ProxyOptions,
    #[command(flatten, next_help_heading = "Connections")]
    pub(crate) connections: ConnectionOptions,
}

/// A command that runs instead of the server.
#[derive(Subcommand)]
pub(crate) enum Command {
    Import(import::Options),
}

impl Options {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            access: Duration::from_secs(self.access_lifetime),
            grace: Duration::from_secs(self.grace),
            idle: Duration::from_secs(self.idle_lifetime),
            session: Duration::from_secs(self.session_lifetime),
            max_sessions: self.max_sessions,
            recent: Duration::from_secs(self.recent),
            refuses_when_stale: self.refuse_when_stale,
            ahead: if self.refuse_ahead { AheadPolicy::Refuse } else { AheadPolicy::Heal },
        }
    }

    /// A refresh token is accepted for as long as its session lives without a refresh.
    pub(crate) fn key_times(&self) -> Times {
        Times {
            reload_every: Duration::from_secs(self.reload_keys_every),
            access_lifetime: Duration::from_secs(self.access_lifetime),
            refresh_lifetime: Duration::from_secs(self.idle_lifetime),
        }
    }

    pub(crate) fn purge_every(&self) -> Duration {
        Duration::from_secs(self.purge_every)
    }
}
