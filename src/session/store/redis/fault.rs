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
    use alloc::format;
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
            (client(ErrorKind::MasterNameNotFoundBySentinel), Unavailable, "know of no master"),
            (client(ErrorKind::AuthenticationFailed), Misconfigured, "the user or the password"),
            (client(ErrorKind::Parse), Misconfigured, "the protocol of Redis"),
            (client(ErrorKind::Client), Misconfigured, "cannot connect as it was told to"),
            (client(ErrorKind::UnexpectedReturnType), Corrupt, "another type"),
            (server(ServerErrorKind::BusyLoading), Unavailable, "is loading its data"),
            (server(ServerErrorKind::ClusterDown), Unavailable, "the Redis cluster is down"),
            (server(ServerErrorKind::TryAgain), Unavailable, "to another node"),
            (server(ServerErrorKind::MasterDown), Unavailable, "has lost its master"),
            (server(ServerErrorKind::ReadOnly), Unavailable, "this Redis is a replica"),
            (server(ServerErrorKind::NoPerm), Misconfigured, "the permissions"),
            (server(ServerErrorKind::Moved), Misconfigured, "one node of a cluster"),
            (server(ServerErrorKind::ResponseError), Misconfigured, "7.0 or later"),
            (server(ServerErrorKind::ExecAbort), Unavailable, "Redis refused the step"),
            (code("OOM"), Unavailable, "maxmemory"),
            (code("MISCONF"), Unavailable, "cannot save them to disk"),
            (code("NOREPLICAS"), Unavailable, "too few replicas"),
            (code("BUSY"), Unavailable, "somebody's script"),
            (code("NOAUTH"), Misconfigured, "wants a password"),
            (code("WRONGPASS"), Misconfigured, "the user or the password"),
            (code("WRONGTYPE"), Corrupt, "did not write"),
            (code("CORRUPT"), Corrupt, "did not write"),
            (code("NEWCODE"), Unavailable, "Redis refused the step"),
        ] {
            let text = format!("{error}");
            let fault = fault(error);
            assert_eq!(fault.kind(), kind, "{text}");
            assert!(format!("{fault}").contains(words), "{fault}");
        }
    }

    #[test]
    fn no_error_shows_how_to_connect() {
        let detail = "connecting to redis://:hunter2@db".into();
        let error = fault(RedisError::from((ErrorKind::Client, "no", detail)));
        let message =
            "the session store is not set up: the Redis client cannot connect as it was told to";
        assert_eq!(format!("{error}"), message);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(error.source().is_none());
        let lost = fault(RedisError::from(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert!(lost.source().is_some());
    }
}
