//! The steps as the server runs them: scripts, which are sent by their names and with their code where it is unknown.

use std::sync::LazyLock;

use kippu::session::{StoreError, StoreErrorKind};
use redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value, aio::ConnectionLike,
};

use super::fault::fault;

/// A step: what the server runs in one piece.
pub(super) struct Step {
    code: &'static str,
    sha1: String,
}

/// A step is what all steps share, and its own file as the body of a function.
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

// Where memory is short, all may go on but what needs more of it. None has the flag `no-writes`: a replica, and a primary
// that is cut off from its replicas (`min-replicas-to-write`), refuse to run it even if it only reads.
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

    /// Runs it by its name, and with its code where the server does not know it: after a restart, a failover, or
    /// `SCRIPT FLUSH`. The code travels with the keys, so that it gets to the node that has them.
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

/// How often a step is sent again that the cluster's nodes still pass on to each other.
const FOLLOWED: usize = 8;

/// Sends a step until a node takes it.
///
/// A node that is being given a slot takes a request for it only right behind an `ASKING`, and on a connection that
/// tasks share, another's request can get in between: both nodes then point to the other, and under load that may
/// use up the connection's own retries. Nothing has run until then, so that it is safe to send it again.
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

/// Explains the code `ERR`, which servers have for much: it asks which commands the user may not run.
///
/// Redis 7.0 answers with `ERR` when a script runs a command without permission, older servers when they cannot
/// compile the script, and each of them when it has too many clients, to whom it says nothing more.
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
        "Redis runs the store's scripts, and answers this one with an error (see the source)".into()
    } else {
        format!(
            "Redis does not let this user run {names}: see RedisStore's documentation for the permissions"
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
    fn a_step_touches_no_key_but_those_it_declares() {
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
            // What the functions call `key` is one of those.
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

    /// A node that gives these answers, the last first, and takes the request then.
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

    /// A node that answers so often with an error.
    fn refuses(times: usize, kind: ServerErrorKind) -> Answers {
        Answers((0..times).map(|_| Err(refusal(kind))).collect())
    }

    /// What comes of an answer that nothing has to be waited for.
    fn now<T>(answer: impl Future<Output = T>) -> T {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it waits"),
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

    /// After any other error than that the script is unknown, the step may have happened.
    #[test]
    fn a_step_is_sent_again_only_where_its_script_is_unknown() {
        let answer = |times, kind| now(ROTATE.run(&mut refuses(times, kind), &[], &[]));
        assert!(matches!(answer(1, ServerErrorKind::NoScript), Ok(Value::Okay)));
        assert!(answer(2, ServerErrorKind::NoScript).is_err());
        for kind in [ServerErrorKind::ReadOnly, ServerErrorKind::ResponseError] {
            assert!(answer(1, kind).is_err());
        }
    }

    /// The code `ERR` is asked about, for it stands for a permission, an old server, and one with too many clients.
    #[test]
    fn a_refusal_without_a_code_is_explained() {
        use StoreErrorKind::{Misconfigured, Unavailable};

        let text = |text: &str| Value::BulkString(text.into());
        let lost = || RedisError::from((ErrorKind::Io, "closed"));
        for (answer, kind, words) in [
            (Ok(Value::Array(vec![text("ZADD"), text("INFO")])), Misconfigured, "run ZADD, INFO:"),
            (Ok(Value::Array(vec![])), Misconfigured, "answers this one with an error"),
            (Err(refusal(ServerErrorKind::ResponseError)), Misconfigured, "Redis 7.0 or later"),
            (Err(refusal(ServerErrorKind::NoPerm)), Misconfigured, "for the permissions"),
            (Err(lost()), Unavailable, "was refused, lost"),
        ] {
            let error = refusal(ServerErrorKind::ResponseError);
            let error = now(explain(&mut Answers(vec![answer]), &[], b"", error));
            assert_eq!(error.kind(), kind);
            assert!(format!("{error}").contains(words), "{error}");
        }
    }
}
