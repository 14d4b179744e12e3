//! Presents a refresh token. A plain rotation is one script. In every other case the store reads
//! the record, and `RotateRequest::decide` decides. A reauthentication reads the record first,
//! because whether it rotates depends on the time of the last rotation.

use std::{str, time::Instant};

use kippu::session::{
    StoreError, StoreErrorKind, UnixMillis,
    rotation::{
        AheadPolicy, Change, Decision, MAX_GENERATION, RotateOutcome, RotateRequest, Successor,
    },
};
use redis::{Value, aio::ConnectionLike};

use super::{
    RedisStore,
    clock::micros,
    fault::corrupt,
    record,
    step::{LOAD, REPLACE_SEEN, REVOKE_SEEN, ROTATE},
    tag_of, truth,
    value::encode,
};

/// How often the store tries a rotation. A try fails only when another caller has changed the
/// session meanwhile, which happens a few times in a grace period at most.
const TRIES: usize = 8;

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Presents a token for a call that began at `begun`. The script makes the plain rotation. This
    /// function makes the other decisions, and repeats when another caller has changed the session
    /// in between.
    pub(super) async fn present(
        &self,
        request: &RotateRequest,
        begun: Instant,
    ) -> Result<RotateOutcome, StoreError> {
        let RotateRequest { id, generation, kid, now, .. } = request;
        let (name, keys) = (id.to_string(), [self.key(id.shard())]);
        let tag = tag_of(id.shard());
        // Computed from the request's idle lifetime. The script reads the session's own idle
        // lifetime from its value.
        let idle_end = request.rotated_at().saturating_add(request.idle_lifetime);
        let auth_time = request.auth_time.map(|time| time.to_string()).unwrap_or_default();
        // The prefix distinguishes empty data from none.
        let data = match &request.data {
            Some(data) => [b"=", data.as_bytes()].concat(),
            None => Vec::new(),
        };
        let mut may_rotate = request.auth_time.is_none() && *generation < MAX_GENERATION;
        for _ in 0..TRIES {
            let known = self.clocks.at(tag, begun);
            let answer = match known {
                Some((server, begun)) if may_rotate => {
                    let args = [
                        name.clone(),
                        generation.to_string(),
                        (generation + 1).to_string(),
                        u8::from(request.ahead == AheadPolicy::Heal).to_string(),
                        kid.clone(),
                        now.to_string(),
                        request.rotated_at().to_string(),
                        idle_end.to_string(),
                        auth_time.clone(),
                        format!("{server:016x}"),
                        begun.to_string(),
                        micros(self.deadline).to_string(),
                    ];
                    let args = args.each_ref().map(String::as_bytes);
                    let [first @ .., server, begun, limit] = args;
                    let args = [&first[..], &[&*data, server, begun, limit]].concat();
                    self.run_on(&ROTATE, tag, &keys, &args).await?
                }
                // Loading the session also shows the server's clock. The last generation has no
                // successor; the script does not check that.
                _ => self.run_on(&LOAD, tag, &keys, &[name.as_bytes()]).await?,
            };
            let (seen, value) = match &answer {
                Value::Nil => return Ok(RotateOutcome::Unknown),
                // AGAIN: the server has changed, its clock was set, or the call has waited for
                // longer than the deadline.
                Value::SimpleString(_) => {
                    if let Some((server, _)) = known {
                        self.clocks.forget(server);
                    }
                    continue;
                }
                Value::Array(made) => return rotation(request, made),
                Value::BulkString(value) => (record(*id, value)?, value),
                _ => return Err(corrupt()),
            };
            let Decision { outcome, change, .. } = request.decide(&seen);
            match change {
                None => return Ok(outcome),
                // Only the script rotates, because it measures how long the call has waited.
                Some(Change::Advance { .. }) => may_rotate = true,
                Some(change) => {
                    let ends = matches!(change, Change::Revoke { .. });
                    let mut new = seen.clone();
                    new.apply(change);
                    // The script compares `value`, the bytes as they were read, whatever their
                    // version.
                    let new = encode(&new);
                    let args = [name.as_bytes(), value, &new];
                    let is_done = if ends {
                        let channel = self.channel();
                        let args = [&args[..], &[channel.as_bytes()]].concat();
                        let keys = [self.key(id.shard()), self.log(tag).await?];
                        self.run_on(&REVOKE_SEEN, tag, &keys, &args).await?
                    } else {
                        self.run_on(&REPLACE_SEEN, tag, &keys, &args).await?
                    };
                    if truth(&is_done)? {
                        return Ok(outcome);
                    }
                }
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Contention,
            "other callers changed the session during every try: try again",
        ))
    }
}

/// Reads the script's answer to a rotation that it has made: the previous generation, and the new
/// end.
fn rotation(request: &RotateRequest, made: &[Value]) -> Result<RotateOutcome, StoreError> {
    let [Value::BulkString(before), Value::Int(expires_at)] = made else { return Err(corrupt()) };
    let before = str::from_utf8(before).ok().and_then(|before| before.parse().ok());
    let lost = before.and_then(|before| request.generation.checked_sub(before));
    let (generation, expires_at) = (request.generation + 1, UnixMillis::new(*expires_at));
    let successor = Successor::new(generation, request.kid.clone(), expires_at);
    match lost.ok_or_else(corrupt)? {
        0 => Ok(RotateOutcome::Rotated(successor)),
        lost => Ok(RotateOutcome::Healed { successor, lost }),
    }
}
