//! The log of ended sessions: one stream, and in a cluster one for each hash tag, because a step
//! can only reach one slot.

use std::str;

use kippu::session::{
    SessionId, StoreError,
    store::{EndedCursor, EndedPage},
};
use redis::{Value, aio::ConnectionLike};
use tokio::task::JoinSet;

use super::{
    RedisStore, TAGS, count,
    fault::{corrupt, fault},
    step::{ENDED, TRIM},
};

/// How many ids the store reads from a log in one step.
const PAGE: usize = 10_000;

/// How many logs the store reads concurrently.
const AT_ONCE: usize = 64;

/// A place in one log: the server that wrote it, and the id of the last entry that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    server: u64,
    millis: u64,
    number: u64,
}

/// The ids that one step has read from a log, and the place after them.
struct Read {
    ids: Vec<SessionId>,
    place: Place,
}

impl Place {
    const LEN: usize = 24;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts = [self.server, self.millis, self.number];
        for (to, part) in bytes.chunks_exact_mut(8).zip(parts) {
            to.copy_from_slice(&part.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.chunks_exact(8).map(|part| part.try_into().map(u64::from_be_bytes));
        let mut next = || parts.next()?.ok();
        Some(Self { server: next()?, millis: next()?, number: next()? })
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Returns the key of the log that the steps on a tag write to.
    pub(super) async fn log(&self, tag: u16) -> Result<String, StoreError> {
        let prefix = &self.prefix;
        Ok(if self.is_cluster().await? {
            format!("{prefix}:{{{tag:03x}}}:ended")
        } else {
            format!("{prefix}:ended")
        })
    }

    /// Returns whether the server is a node of a cluster. The mode of a server never changes while
    /// it runs, so the answer is cached.
    async fn is_cluster(&self) -> Result<bool, StoreError> {
        if let Some(is_cluster) = self.is_cluster.get() {
            return Ok(*is_cluster);
        }
        let mut connection = self.connection.clone();
        let info = redis::cmd("INFO").arg("cluster").query_async::<Value>(&mut connection).await;
        let is_cluster = says(&info.map_err(fault)?, "cluster_enabled:1");
        Ok(*self.is_cluster.get_or_init(|| is_cluster))
    }

    /// Reads all logs from the cursor on.
    pub(super) async fn read_logs(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let tags = if self.is_cluster().await? { TAGS } else { 1 };
        let places: Vec<Place> =
            cursor.as_bytes().chunks(Place::LEN).filter_map(Place::from_bytes).collect();
        let place = |tag: u16| {
            // A cursor with another number of places comes from another server: all logs are read
            // from the beginning.
            let is_whole = places.len() == usize::from(tags);
            places.get(usize::from(tag)).filter(|_| is_whole).copied().unwrap_or_default()
        };
        let read = self
            .each(tags, |store, tag| {
                let place = place(tag);
                async move { store.read_log(tag, place).await }
            })
            .await?;
        let is_last = read.iter().all(|read| read.ids.len() < PAGE);
        let next: Vec<u8> = read.iter().flat_map(|read| read.place.to_bytes()).collect();
        let ids = read.into_iter().flat_map(|read| read.ids).collect();
        let next = EndedCursor::new(next);
        Ok(if is_last { EndedPage::last(ids, next) } else { EndedPage::more(ids, next) })
    }

    async fn read_log(&self, tag: u16, place: Place) -> Result<Read, StoreError> {
        let Place { server, millis, number } = place;
        let args = [format!("{server:016x}"), format!("{millis}-{number}"), PAGE.to_string()];
        let args = args.each_ref().map(String::as_bytes);
        let answer = self.run_on(&ENDED, tag, &[self.log(tag).await?], &args).await?;
        read(&answer).ok_or_else(corrupt)
    }

    /// Removes old ids from all logs.
    pub(super) async fn trim_logs(&self, millis: u128) -> Result<u64, StoreError> {
        let tags = if self.is_cluster().await? { TAGS } else { 1 };
        let removed = self
            .each(tags, |store, tag| async move {
                let key = store.log(tag).await?;
                count(&store.run_on(&TRIM, tag, &[key], &[millis.to_string().as_bytes()]).await?)
            })
            .await?;
        Ok(removed.iter().sum())
    }

    /// Runs `work` for each tag, many at once. Returns the results in the order of the tags.
    async fn each<T, F>(
        &self,
        tags: u16,
        work: impl Fn(Self, u16) -> F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut done = Vec::with_capacity(tags.into());
        let mut tasks = JoinSet::new();
        for tag in 0..tags {
            if tasks.len() == AT_ONCE {
                done.extend(tasks.join_next().await);
            }
            let work = work(self.clone(), tag);
            tasks.spawn(async move { (tag, work.await) });
        }
        done.extend(tasks.join_all().await.into_iter().map(Ok));
        let mut all = Vec::with_capacity(done.len());
        for task in done {
            let (tag, work) = task.map_err(|_| super::purge::ended())?;
            all.push((tag, work?));
        }
        all.sort_by_key(|(tag, _)| *tag);
        Ok(all.into_iter().map(|(_, work)| work).collect())
    }
}

fn read(answer: &Value) -> Option<Read> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(server), Value::BulkString(place), Value::Array(ids)] = &**parts else {
        return None;
    };
    let server = u64::from_str_radix(str::from_utf8(server).ok()?, 16).ok()?;
    let (millis, number) = str::from_utf8(place).ok()?.split_once('-')?;
    let place = Place { server, millis: millis.parse().ok()?, number: number.parse().ok()? };
    let ids = ids.iter().map(|id| match id {
        Value::BulkString(id) => str::from_utf8(id).ok()?.parse().ok(),
        _ => None,
    });
    Some(Read { ids: ids.collect::<Option<_>>()?, place })
}

/// Returns whether the answer of at least one node contains `words`.
fn says(answer: &Value, words: &str) -> bool {
    match answer {
        Value::BulkString(text) => str::from_utf8(text).is_ok_and(|text| text.contains(words)),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.contains(words),
        Value::Array(parts) => parts.iter().any(|part| says(part, words)),
        // A connection to a cluster asks all nodes, and returns a map of their answers.
        Value::Map(nodes) => nodes.iter().any(|(_, part)| says(part, words)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_a_round_trip() {
        let place = Place { server: u64::MAX, millis: 1_795_478_400_000, number: 7 };
        assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
        assert_eq!(Place::from_bytes(&place.to_bytes()[..23]), None);
    }

    #[test]
    fn recognizes_a_cluster_by_the_answer_of_any_node() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |said| (text("127.0.0.1:1"), text(said));
        let cluster = "# Cluster\r\ncluster_enabled:1\r\n";
        assert!(says(&text(cluster), "cluster_enabled:1"));
        assert!(says(&Value::Map(vec![node(""), node(cluster)]), "cluster_enabled:1"));
        assert!(!says(&text("# Cluster\r\ncluster_enabled:0\r\n"), "cluster_enabled:1"));
    }
}
