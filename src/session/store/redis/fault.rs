//! The driver's errors as the store's, told apart by their kind and code, never by their text.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::session::store::{StoreError, StoreErrorKind};

/// The driver's error stays the source, but for one about how to connect: it could show a part of a URL, in which
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

/// What answers, but not as the scripts do: somebody else wrote there.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        "a key under the store's prefix holds something that the store did not write",
    )
}

fn classify(error: &RedisError) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error.kind() {
        ErrorKind::Io => (Unavailable, "the connection to Redis was refused, lost, or too slow"),
        ErrorKind::ClusterConnectionNotFound => {
            (Unavailable, "no node of the Redis cluster can be reached that has the session")
        }
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => {
            (Unavailable, "the Redis sentinels know of no master")
        }
        ErrorKind::AuthenticationFailed => {
            (Misconfigured, "Redis refuses the user or the password of the connection")
        }
        ErrorKind::Parse => (Misconfigured, "what answers does not speak the protocol of Redis"),
        ErrorKind::UnexpectedReturnType => (Corrupt, "Redis answers with another type"),
        ErrorKind::Server(kind) => classify_known(kind),
        ErrorKind::Extension => classify_code(error.code().unwrap_or_default()),
        _ => (Misconfigured, "the Redis client cannot connect as it was told to"),
    }
}

fn classify_known(kind: ServerErrorKind) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Misconfigured, Unavailable};

    match kind {
        ServerErrorKind::BusyLoading => (Unavailable, "Redis is loading its data"),
        ServerErrorKind::ClusterDown => (Unavailable, "the Redis cluster is down"),
        ServerErrorKind::TryAgain | ServerErrorKind::Ask => {
            (Unavailable, "the Redis cluster is moving the session to another node")
        }
        ServerErrorKind::MasterDown => (Unavailable, "the Redis replica has lost its master"),
        ServerErrorKind::ReadOnly => (
            Unavailable,
            "this Redis is a replica: a failover is under way, or the connection should go to the master",
        ),
        ServerErrorKind::Moved | ServerErrorKind::CrossSlot => {
            (Misconfigured, "this Redis is one node of a cluster: connect with a ClusterConnection")
        }
        ServerErrorKind::NoPerm => (
            Misconfigured,
            "Redis does not let this user do what the store needs: see RedisStore's documentation for the permissions",
        ),
        ServerErrorKind::ResponseError => (
            Misconfigured,
            "Redis answers with an error (see the source): is it Redis 7.0 or later, or Valkey, with connections to spare?",
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
        "MISCONF" => (Unavailable, "Redis takes no writes, because it cannot save them to disk"),
        "NOREPLICAS" => (Unavailable, "Redis takes no writes, because too few replicas follow"),
        "BUSY" => (Unavailable, "Redis is busy with somebody's script"),
        "NOAUTH" => (Misconfigured, "Redis wants a password, and the connection was given none"),
        "WRONGPASS" => (Misconfigured, "Redis refuses the user or the password of the connection"),
        "WRONGTYPE" | "CORRUPT" => {
            (Corrupt, "a key under the store's prefix holds something that the store did not write")
        }
        _ => (Unavailable, "Redis refused the step"),
    }
}

#[cfg(test)]
mod tests {
    use core::error::Error as _;
    use std::io;

    use redis::make_extension_error;

    use super::*;

    #[test]
    fn faults_have_their_kinds() {
        use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

        let io = |kind| RedisError::from(io::Error::from(kind));
        let server = |kind| RedisError::from((ErrorKind::Server(kind), ""));
        let code = |code: &str| make_extension_error(code.into(), None);
        for (error, kind) in [
            (io(io::ErrorKind::ConnectionRefused), Unavailable),
            (io(io::ErrorKind::TimedOut), Unavailable),
            (io(io::ErrorKind::UnexpectedEof), Unavailable),
            (RedisError::from((ErrorKind::ClusterConnectionNotFound, "")), Unavailable),
            (RedisError::from((ErrorKind::AuthenticationFailed, "")), Misconfigured),
            (RedisError::from((ErrorKind::Client, "")), Misconfigured),
            (RedisError::from((ErrorKind::UnexpectedReturnType, "")), Corrupt),
            (server(ServerErrorKind::BusyLoading), Unavailable),
            (server(ServerErrorKind::ClusterDown), Unavailable),
            (server(ServerErrorKind::TryAgain), Unavailable),
            (server(ServerErrorKind::MasterDown), Unavailable),
            (server(ServerErrorKind::ReadOnly), Unavailable),
            (server(ServerErrorKind::NoPerm), Misconfigured),
            (server(ServerErrorKind::Moved), Misconfigured),
            (server(ServerErrorKind::ResponseError), Misconfigured),
            (code("OOM"), Unavailable),
            (code("MISCONF"), Unavailable),
            (code("NOREPLICAS"), Unavailable),
            (code("NOAUTH"), Misconfigured),
            (code("WRONGPASS"), Misconfigured),
            (code("WRONGTYPE"), Corrupt),
            (code("CORRUPT"), Corrupt),
            (code("NEWCODE"), Unavailable),
        ] {
            let text = alloc::format!("{error}");
            assert_eq!(fault(error).kind(), kind, "{text}");
        }
    }

    #[test]
    fn no_error_shows_how_to_connect() {
        let detail = "connecting to redis://:hunter2@db".into();
        let error = fault(RedisError::from((ErrorKind::Client, "no", detail)));
        let message =
            "the session store is not set up: the Redis client cannot connect as it was told to";
        assert_eq!(alloc::format!("{error}"), message);
        assert!(!alloc::format!("{error:?}").contains("hunter2"));
        assert!(error.source().is_none());
        let lost = fault(RedisError::from(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert!(lost.source().is_some());
    }
}
