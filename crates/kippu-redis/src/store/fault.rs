//! Turns the driver's errors into the store's, by their kind and code, never by their text.

use kippu::session::{StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Keeps the driver's error as the source, unless it is about how to connect: that could show a part of a URL, in which
/// there is a password.
pub(super) fn fault(error: RedisError) -> StoreError {
    let (kind, message) = classify(&error);
    match error.kind() {
        ErrorKind::Io | ErrorKind::Server(_) | ErrorKind::Extension => {
            StoreError::from_driver(kind, error).with_message(message)
        }
        _ => StoreError::new(kind, message),
    }
}

/// The error for an answer that the scripts do not give: another program wrote there.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        "a key under the store's prefix holds something that the store did not write",
    )
}

/// The error for what a newer version of kippu wrote.
pub(super) fn newer() -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, NEWER)
}

const NEWER: &str =
    "the sessions in Redis were written by a newer version of kippu: update this server";

/// Whether the server, which is there, has answered with an error.
pub(super) fn is_server_error(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Whether the server says that it is a replica: one that serves nothing but what it got, or not even that.
pub(super) fn is_not_primary(error: &RedisError) -> bool {
    let replicas = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    replicas.iter().any(|&kind| error.kind() == ErrorKind::Server(kind))
}

/// Whether another server may be the primary by now: this one is a replica, is cut off from its replicas, or has just started.
pub(super) fn may_be_superseded(error: &RedisError) -> bool {
    is_not_primary(error)
        || error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading)
        || error.code() == Some("NOREPLICAS")
}

fn classify(error: &RedisError) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error.kind() {
        ErrorKind::Io => (Unavailable, "the connection to Redis was refused, lost, or too slow"),
        ErrorKind::ClusterConnectionNotFound => {
            (Unavailable, "no node of the Redis cluster can be reached that has the session")
        }
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => (
            Unavailable,
            "the Redis sentinels know of no primary by this name that can be reached: a failover is under way, or the name is another",
        ),
        ErrorKind::AuthenticationFailed => (
            Misconfigured,
            "Redis refuses the user or the password of the connection: correct them in its URL",
        ),
        ErrorKind::Parse => (Misconfigured, "what answers does not speak the protocol of Redis"),
        ErrorKind::UnexpectedReturnType => (Corrupt, "Redis answers with another type"),
        ErrorKind::Server(kind) => classify_known(kind),
        ErrorKind::Extension => classify_code(error.code().unwrap_or_default()),
        _ => (Misconfigured, "the Redis client cannot connect with its settings: correct them"),
    }
}

fn classify_known(kind: ServerErrorKind) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Misconfigured, Unavailable};

    match kind {
        ServerErrorKind::BusyLoading => (Unavailable, "Redis is loading its data"),
        ServerErrorKind::ClusterDown => (
            Unavailable,
            "the Redis cluster is down: it misses a primary, or this node is cut off from it",
        ),
        ServerErrorKind::TryAgain | ServerErrorKind::Ask => {
            (Unavailable, "the Redis cluster is moving the session to another node")
        }
        ServerErrorKind::MasterDown => (
            Unavailable,
            "this Redis is a replica that has lost its primary: a failover is under way, or the address is not the primary's",
        ),
        ServerErrorKind::ReadOnly => (
            Unavailable,
            "this Redis is a replica: a failover is under way, or the address is not the primary's",
        ),
        ServerErrorKind::Moved | ServerErrorKind::CrossSlot => {
            (Misconfigured, "this Redis is one node of a cluster: connect with RedisStore::cluster")
        }
        ServerErrorKind::NoPerm => (
            Misconfigured,
            "Redis does not let this user do what the store needs: see RedisStore's documentation for the permissions",
        ),
        ServerErrorKind::ResponseError => (
            Misconfigured,
            "Redis cannot run the store's scripts (see the source): it has to be Redis 7.0 or later, or Valkey",
        ),
        _ => (Unavailable, "Redis refused the step"),
    }
}

fn classify_code(code: &str) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match code {
        "OOM" => (
            Unavailable,
            "Redis has reached its maxmemory and takes no new session: raise it, and leave maxmemory-policy at noeviction",
        ),
        "MISCONF" => (
            Unavailable,
            "Redis takes no writes, because it cannot save them to disk: look at its log, and at its disk",
        ),
        "NOREPLICAS" => (
            Unavailable,
            "Redis takes no writes, because fewer replicas follow than its min-replicas-to-write",
        ),
        "BUSY" => (Unavailable, "Redis is busy with the script of another client"),
        "NOAUTH" => (
            Misconfigured,
            "Redis wants a password, and the connection has none: add it to its URL",
        ),
        "WRONGPASS" => (
            Misconfigured,
            "Redis refuses the user or the password of the connection: correct them in its URL",
        ),
        "DENIED" => (
            Misconfigured,
            "Redis is in protected mode, and refuses other machines: give it a password, or bind it to an address",
        ),
        "NEWER" => (Misconfigured, NEWER),
        "WRONGTYPE" | "CORRUPT" => {
            (Corrupt, "a key under the store's prefix holds something that the store did not write")
        }
        _ => (Unavailable, "Redis refused the step"),
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, format, io};

    use redis::make_extension_error;

    use super::*;

    #[test]
    fn faults_have_their_kinds() {
        use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

        let io = |kind| RedisError::from(io::Error::from(kind));
        let server = |kind| RedisError::from((ErrorKind::Server(kind), ""));
        let code = |code: &str| make_extension_error(code.into(), None);
        let client = |kind| RedisError::from((kind, ""));
        for (error, kind, words) in [
            (io(io::ErrorKind::ConnectionRefused), Unavailable, "refused, lost, or too slow"),
            (io(io::ErrorKind::TimedOut), Unavailable, "refused, lost, or too slow"),
            (io(io::ErrorKind::UnexpectedEof), Unavailable, "refused, lost, or too slow"),
            (
                client(ErrorKind::ClusterConnectionNotFound),
                Unavailable,
                "no node of the Redis cluster",
            ),
            (client(ErrorKind::MasterNameNotFoundBySentinel), Unavailable, "know of no primary"),
            (client(ErrorKind::AuthenticationFailed), Misconfigured, "the user or the password"),
            (client(ErrorKind::Parse), Misconfigured, "the protocol of Redis"),
            (client(ErrorKind::Client), Misconfigured, "cannot connect with its settings"),
            (client(ErrorKind::UnexpectedReturnType), Corrupt, "another type"),
            (server(ServerErrorKind::BusyLoading), Unavailable, "is loading its data"),
            (server(ServerErrorKind::ClusterDown), Unavailable, "the Redis cluster is down"),
            (server(ServerErrorKind::TryAgain), Unavailable, "to another node"),
            (server(ServerErrorKind::MasterDown), Unavailable, "has lost its primary"),
            (server(ServerErrorKind::ReadOnly), Unavailable, "this Redis is a replica"),
            (server(ServerErrorKind::NoPerm), Misconfigured, "the permissions"),
            (server(ServerErrorKind::Moved), Misconfigured, "one node of a cluster"),
            (server(ServerErrorKind::ResponseError), Misconfigured, "7.0 or later"),
            (server(ServerErrorKind::CrossSlot), Misconfigured, "one node of a cluster"),
            (server(ServerErrorKind::ExecAbort), Unavailable, "Redis refused the step"),
            (code("OOM"), Unavailable, "maxmemory"),
            (code("MISCONF"), Unavailable, "cannot save them to disk"),
            (code("NOREPLICAS"), Unavailable, "min-replicas-to-write"),
            (code("BUSY"), Unavailable, "another client"),
            (code("NOAUTH"), Misconfigured, "wants a password"),
            (code("WRONGPASS"), Misconfigured, "the user or the password"),
            (code("DENIED"), Misconfigured, "protected mode"),
            (code("WRONGTYPE"), Corrupt, "did not write"),
            (code("CORRUPT"), Corrupt, "did not write"),
            (code("NEWER"), Misconfigured, "written by a newer version of kippu"),
            (code("NEWCODE"), Unavailable, "Redis refused the step"),
        ] {
            let text = format!("{error}");
            let fault = fault(error);
            assert_eq!(fault.kind(), kind, "{text}");
            assert!(format!("{fault}").contains(words), "{fault}");
        }
    }

    #[test]
    fn a_server_may_not_be_the_primary() {
        let server = |kind| RedisError::from((ErrorKind::Server(kind), ""));
        let code = |code: &str| make_extension_error(code.into(), None);
        for (error, is_replica, is_doubtful) in [
            (server(ServerErrorKind::ReadOnly), true, true),
            (server(ServerErrorKind::MasterDown), true, true),
            (server(ServerErrorKind::BusyLoading), false, true),
            (code("NOREPLICAS"), false, true),
            (code("MISCONF"), false, false),
            (code("BUSY"), false, false),
            (server(ServerErrorKind::ResponseError), false, false),
        ] {
            assert!(is_server_error(&error));
            assert_eq!(is_not_primary(&error), is_replica, "{error}");
            assert_eq!(may_be_superseded(&error), is_doubtful, "{error}");
        }
        assert!(!is_server_error(&RedisError::from((ErrorKind::Parse, ""))));
    }

    #[test]
    fn no_error_shows_how_to_connect() {
        let detail = "connecting to redis://:hunter2@db".into();
        let error = fault(RedisError::from((ErrorKind::Client, "no", detail)));
        let message = "the session store is not set up: the Redis client cannot connect with its settings: correct them";
        assert_eq!(format!("{error}"), message);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(error.source().is_none());
        let lost = fault(RedisError::from(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert!(lost.source().is_some());
    }
}
