//! The steps that the server runs, as Lua scripts. They are called by their hash, and sent as code
//! where the server does not know them.

use std::sync::LazyLock;

use kippu::session::{StoreError, StoreErrorKind};
use redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value, aio::ConnectionLike,
};

use super::fault::fault;

/// A step: a script that the server runs atomically.
pub(super) struct Step {
    code: &'static str,
    sha1: String,
}

/// Makes a step: the code that all steps share, and the code in the step's file as the body of a
/// function.
macro_rules! step {
    ($name:ident, $file:literal, $flags:literal) => {
        pub(super) static $name: LazyLock<Step> = LazyLock::new(|| {
            Step::new(concat!(
                "#!lua",
                $flags,
                "\n",
                include_str!("session.lua"),
                "return answer(function()\n",
                include_str!(concat!($file, ".lua")),
                "end)\n",
            ))
        });
    };
}

// With `allow-oom`, a step runs even when Redis has reached `maxmemory`: only a login needs more
// memory. No step has the flag `no-writes`. A replica, and a primary that is cut off from its
// replicas (`min-replicas-to-write`), therefore refuse to run even a step that only reads.
step!(INSERT, "insert", "");
step!(LOAD, "load", " flags=allow-oom");
step!(ROTATE, "rotate", " flags=allow-oom");
step!(REPLACE_SEEN, "replace_seen", " flags=allow-oom");
step!(REVOKE_SEEN, "revoke_seen", " flags=allow-oom");
step!(REVOKE, "revoke", " flags=allow-oom");
step!(REVOKE_SUBJECT, "revoke_subject", " flags=allow-oom");
step!(LIST, "list", " flags=allow-oom");
step!(PURGE, "purge", " flags=allow-oom");
step!(ENDED, "ended", " flags=allow-oom");
step!(TRIM, "trim", " flags=allow-oom");

impl Step {
    fn new(code: &'static str) -> Self {
        Self { code, sha1: Script::new(code).get_hash().to_owned() }
    }

    /// Runs the step by its hash. Sends the code where the server does not know the hash: after a
    /// restart, a failover, or `SCRIPT FLUSH`. `EVAL` carries the keys, so that a cluster client
    /// sends the code to the node that has them.
    pub(super) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[String],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        match follow(connection, &command("EVALSHA", &self.sha1, keys, args)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                follow(connection, &command("EVAL", self.code, keys, args)).await
            }
            answer => answer,
        }
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[&[u8]]) -> Cmd {
    let size = keys.iter().map(String::len).chain(args.iter().map(|arg| arg.len())).sum();
    let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), size);
    command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}

/// How often the store sends a step again while the nodes of a cluster redirect it to each other.
const FOLLOWED: usize = 8;

/// Sends a step until a node accepts it.
///
/// A node that imports a slot accepts a request for it only directly after an `ASKING`. On a
/// connection that tasks share, a request of another task can get in between: both nodes then
/// redirect to each other, and under load that may use up the connection's own retries. A node that
/// redirects has not run the script, so that it is safe to send it again.
async fn follow(connection: &mut impl ConnectionLike, command: &Cmd) -> RedisResult<Value> {
    for _ in 0..FOLLOWED {
        match command.query_async(connection).await {
            Err(error) if is_redirect(&error) => {}
            answer => return answer,
        }
    }
    command.query_async(connection).await
}

fn is_redirect(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::Moved))
}

/// Explains the code `ERR`, which servers use for many faults, by asking which commands the user
/// may not run.
///
/// Redis 7.0 answers with `ERR` when a script runs a command without permission. Older servers
/// answer with it when they cannot compile the script. Any server answers with it when it has too
/// many clients; it then does not answer the question either.
pub(super) async fn explain(
    connection: &mut impl ConnectionLike,
    keys: &[String],
    channel: &[u8],
    error: RedisError,
) -> StoreError {
    let question = command("EVAL", include_str!("denied.lua"), keys, &[channel]);
    let denied = match follow(connection, &question).await {
        Ok(Value::Array(commands)) => commands,
        Err(answer) if answer.kind() != ErrorKind::Server(ServerErrorKind::ResponseError) => {
            return fault(answer);
        }
        _ => return fault(error),
    };
    let names = denied.iter().filter_map(|name| match name {
        Value::BulkString(name) => std::str::from_utf8(name).ok(),
        _ => None,
    });
    let names = names.collect::<std::vec::Vec<_>>().join(", ");
    let message = if names.is_empty() {
        "Redis can run the store's scripts, but answers this one with an error (see the source)"
            .into()
    } else {
        format!(
            "the Redis user may not run {names}: RedisStore's documentation lists the permissions"
        )
    };
    StoreError::from_driver(StoreErrorKind::Misconfigured, error).with_message(message)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, ready},
        pin::pin,
        task::{Context, Poll, Waker},
        vec,
    };

    use redis::RedisFuture;

    use super::*;

    #[test]
    fn a_step_touches_only_the_keys_that_it_declares() {
        let reading = [&LOAD, &LIST, &ENDED];
        let writing = [
            &INSERT,
            &ROTATE,
            &REPLACE_SEEN,
            &REVOKE,
            &REVOKE_SEEN,
            &REVOKE_SUBJECT,
            &PURGE,
            &TRIM,
        ];
        let steps = reading.into_iter().chain(writing).map(|step| step.code);
        for code in steps {
            assert!(code.starts_with("#!lua"));
            for call in code.split("call('").skip(1) {
                let (command, rest) = call.split_once('\'').unwrap();
                let is_keyless = ["TIME", "INFO", "PUBLISH"].contains(&command);
                let is_on_a_key =
                    [", key", ", log,", ", KEYS["].iter().any(|key| rest.starts_with(key));
                assert!(is_keyless || is_on_a_key, "{command}{rest:.20}");
            }
            // The functions' parameter `key` is one of the declared keys.
            let code = code.replace("string.find(", "").replace("local key, ", "");
            for name in ["adopt", "each_of_subject", "find", "range", "replace", "remove_expired"] {
                for call in code.split(&format!("{name}(")).skip(1) {
                    assert!(call.starts_with("key") || call.starts_with("KEYS["), "{call:.20}");
                }
            }
            for assigned in code.split(" key = ").skip(1) {
                assert!(assigned.starts_with("KEYS[1]"), "{assigned:.20}");
            }
        }
    }

    /// A node that gives these answers, the last one first, and then accepts the request.
    struct Answers(Vec<RedisResult<Value>>);

    impl ConnectionLike for Answers {
        fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
            Box::pin(ready(self.0.pop().unwrap_or(Ok(Value::Okay))))
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            _: &'a redis::Pipeline,
            _: usize,
            _: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            Box::pin(ready(Ok(Vec::new())))
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    fn refusal(kind: ServerErrorKind) -> RedisError {
        (ErrorKind::Server(kind), "").into()
    }

    /// Returns a node that answers this often with an error.
    fn refuses(times: usize, kind: ServerErrorKind) -> Answers {
        Answers((0..times).map(|_| Err(refusal(kind))).collect())
    }

    /// Returns the result of a future that is ready at once.
    fn now<T>(answer: impl Future<Output = T>) -> T {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("the future is pending"),
        }
    }

    #[test]
    fn a_step_follows_redirections() {
        let answer = |times, kind| now(follow(&mut refuses(times, kind), &redis::cmd("EVALSHA")));
        for kind in [ServerErrorKind::Ask, ServerErrorKind::Moved] {
            assert_eq!(answer(FOLLOWED, kind), Ok(Value::Okay));
            assert_eq!(answer(FOLLOWED + 1, kind).unwrap_err().kind(), ErrorKind::Server(kind));
        }
        assert!(answer(1, ServerErrorKind::TryAgain).is_err());
    }

    /// After any error other than an unknown script, the step may have happened.
    #[test]
    fn a_step_is_sent_again_only_if_the_server_does_not_know_its_script() {
        let answer = |times, kind| now(ROTATE.run(&mut refuses(times, kind), &[], &[]));
        assert!(matches!(answer(1, ServerErrorKind::NoScript), Ok(Value::Okay)));
        assert!(answer(2, ServerErrorKind::NoScript).is_err());
        for kind in [ServerErrorKind::ReadOnly, ServerErrorKind::ResponseError] {
            assert!(answer(1, kind).is_err());
        }
    }

    /// The store asks about the code `ERR`, which may mean a missing permission, an old server, or
    /// too many clients.
    #[test]
    fn a_refusal_without_a_code_is_explained() {
        use StoreErrorKind::{Misconfigured, Unavailable};

        let text = |text: &str| Value::BulkString(text.into());
        let lost = || RedisError::from((ErrorKind::Io, "closed"));
        for (answer, kind, words) in [
            (
                Ok(Value::Array(vec![text("ZADD"), text("INFO")])),
                Misconfigured,
                "not run ZADD, INFO:",
            ),
            (Ok(Value::Array(vec![])), Misconfigured, "answers this one with an error"),
            (Err(refusal(ServerErrorKind::ResponseError)), Misconfigured, "Redis 7.0 or later"),
            (Err(refusal(ServerErrorKind::NoPerm)), Misconfigured, "lacks a permission"),
            (Err(lost()), Unavailable, "was refused, lost"),
        ] {
            let error = refusal(ServerErrorKind::ResponseError);
            let error = now(explain(&mut Answers(vec![answer]), &[], b"", error));
            assert_eq!(error.kind(), kind);
            assert!(format!("{error}").contains(words), "{error}");
        }
    }
}
