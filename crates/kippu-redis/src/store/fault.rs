//! Turns the driver's errors into those of the store, by their kind and code, never by their text.

use kippu::session::{StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Turns an error of the driver into one of the store. The driver's error stays the source, unless
/// it is about how to connect: it could then show a part of a URL that contains a password.
pub(super) fn fault(error: RedisError) -> StoreError {
    let (kind, message) = classify(&error);
    match error.kind() {
        ErrorKind::Io | ErrorKind::Server(_) | ErrorKind::Extension => {
            StoreError::from_driver(kind, error).with_message(message)
        }
        _ => StoreError::new(kind, message),
    }
}

/// Returns the error for an answer that the scripts never give: another program wrote under the
/// prefix.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        "a key under the store's prefix has a value that the store did not write",
    )
}

/// Returns the error for data that a newer version of kippu wrote.
pub(super) fn newer() -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, NEWER)
}

const NEWER: &str =
    "the sessions in Redis were written by a newer version of kippu: update this server";

/// Returns whether the server itself has answered with an error, so that the connection works.
pub(super) fn is_server_error(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Returns whether the server says that it is a replica, with or without a link to its primary.
pub(super) fn is_not_primary(error: &RedisError) -> bool {
    let replicas = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    replicas.iter().any(|&kind| error.kind() == ErrorKind::Server(kind))
}

/// Returns whether another server may have become the primary: this one is a replica, is cut off
/// from its replicas, or has just started.
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
            (Unavailable, "the node of the Redis cluster that has the session cannot be reached")
        }
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => (
            Unavailable,
            "the Redis sentinels know no primary of this name that can be reached: a failover is in progress, or the name is wrong",
        ),
        ErrorKind::AuthenticationFailed => (
            Misconfigured,
            "Redis rejects the user or the password of the connection: correct them in its URL",
        ),
        ErrorKind::Parse => {
            (Misconfigured, "the server does not speak the protocol of Redis: correct the address")
        }
        ErrorKind::UnexpectedReturnType => {
            (Corrupt, "Redis answers with a value of an unexpected type")
        }
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
            "the Redis cluster is down: a primary is missing, or this node is cut off from the cluster",
        ),
        ServerErrorKind::TryAgain | ServerErrorKind::Ask => {
            (Unavailable, "the Redis cluster is moving the session to another node")
        }
        ServerErrorKind::MasterDown => (
            Unavailable,
            "this Redis is a replica that has lost its primary: a failover is in progress, or the address does not lead to the primary",
        ),
        ServerErrorKind::ReadOnly => (
            Unavailable,
            "this Redis is a replica: a failover is in progress, or the address does not lead to the primary",
        ),
        ServerErrorKind::Moved | ServerErrorKind::CrossSlot => {
            (Misconfigured, "this Redis is one node of a cluster: connect with RedisStore::cluster")
        }
        ServerErrorKind::NoPerm => (
            Misconfigured,
            "the Redis user lacks a permission that the store needs: RedisStore's documentation lists the permissions",
        ),
        ServerErrorKind::ResponseError => (
            Misconfigured,
            "Redis cannot run the store's scripts (see the source): use Redis 7.0 or later, or Valkey",
        ),
        _ => (Unavailable, "Redis rejected the step"),
    }
}

fn classify_code(code: &str) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match code {
        "OOM" => (
            Unavailable,
            "Redis has reached its maxmemory and accepts no new session: raise it, and keep maxmemory-policy at noeviction",
        ),
        "MISCONF" => (
            Unavailable,
            "Redis accepts no writes, because it cannot save them to disk: check its log and its disk",
        ),
        "NOREPLICAS" => (
            Unavailable,
            "Redis accepts no writes, because fewer replicas are connected than min-replicas-to-write requires",
        ),
        "BUSY" => (Unavailable, "Redis is busy running the script of another client"),
        "NOAUTH" => (
            Misconfigured,
            "Redis requires a password, and the connection has none: add it to its URL",
        ),
        "WRONGPASS" => (
            Misconfigured,
            "Redis rejects the user or the password of the connection: correct them in its URL",
        ),
        "DENIED" => (
            Misconfigured,
            "Redis is in protected mode and rejects clients on other machines: set a password, or bind it to an address",
        ),
        "NEWER" => (Misconfigured, NEWER),
        "WRONGTYPE" | "CORRUPT" => {
            (Corrupt, "a key under the store's prefix has a value that the store did not write")
        }
        _ => (Unavailable, "Redis rejected the step"),
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, format, io};

    use redis::make_extension_error;

    use super::*;

    #[test]
    fn each_driver_error_has_its_kind_and_message() {
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
                "the node of the Redis cluster",
            ),
            (client(ErrorKind::MasterNameNotFoundBySentinel), Unavailable, "know no primary"),
            (client(ErrorKind::AuthenticationFailed), Misconfigured, "the user or the password"),
            (client(ErrorKind::Parse), Misconfigured, "the protocol of Redis"),
            (client(ErrorKind::Client), Misconfigured, "cannot connect with its settings"),
            (client(ErrorKind::UnexpectedReturnType), Corrupt, "unexpected type"),
            (server(ServerErrorKind::BusyLoading), Unavailable, "is loading its data"),
            (server(ServerErrorKind::ClusterDown), Unavailable, "the Redis cluster is down"),
            (server(ServerErrorKind::TryAgain), Unavailable, "to another node"),
            (server(ServerErrorKind::MasterDown), Unavailable, "has lost its primary"),
            (server(ServerErrorKind::ReadOnly), Unavailable, "this Redis is a replica"),
            (server(ServerErrorKind::NoPerm), Misconfigured, "lacks a permission"),
            (server(ServerErrorKind::Moved), Misconfigured, "one node of a cluster"),
            (server(ServerErrorKind::ResponseError), Misconfigured, "7.0 or later"),
            (server(ServerErrorKind::CrossSlot), Misconfigured, "one node of a cluster"),
            (server(ServerErrorKind::ExecAbort), Unavailable, "Redis rejected the step"),
            (code("OOM"), Unavailable, "maxmemory"),
            (code("MISCONF"), Unavailable, "cannot save them to disk"),
            (code("NOREPLICAS"), Unavailable, "min-replicas-to-write"),
            (code("BUSY"), Unavailable, "another client"),
            (code("NOAUTH"), Misconfigured, "requires a password"),
            (code("WRONGPASS"), Misconfigured, "the user or the password"),
            (code("DENIED"), Misconfigured, "protected mode"),
            (code("WRONGTYPE"), Corrupt, "did not write"),
            (code("CORRUPT"), Corrupt, "did not write"),
            (code("NEWER"), Misconfigured, "written by a newer version of kippu"),
            (code("NEWCODE"), Unavailable, "Redis rejected the step"),
        ] {
            let text = format!("{error}");
            let fault = fault(error);
            assert_eq!(fault.kind(), kind, "{text}");
            assert!(format!("{fault}").contains(words), "{fault}");
        }
    }

    #[test]
    fn recognizes_a_server_that_may_not_be_the_primary() {
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
    fn an_error_shows_no_part_of_the_url() {
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
