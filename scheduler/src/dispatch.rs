//! From a work key to the message: what the templates read, the items' bytes, and nothing parsed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use engine::machine::{Brief, Run};
use proto::{
    SCHEMA, codec,
    id::{Digest, ItemIndex, Shard},
    items::ItemSet,
    json::Json,
    limits::MANIFEST_BYTES_MAX,
    manifest::ManifestRef,
    outcome::ItemsPart,
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Range, Work, WorkKey},
};

use crate::{
    programs::Known,
    store::{self, Store},
};

/// Parts of item lists that are kept in memory, at most 1 MiB each.
const PARTS_MAX: usize = 64;
/// Manifests and definitions that are remembered to be in the store.
const STORED_MAX: usize = 10_000;

/// A part of an item list: its bytes and where each item begins.
#[derive(Debug)]
struct Sliced {
    values: Bytes,
    offsets: Vec<u32>,
}

/// Writes work messages, and keeps what the next ones of the same fan-out need.
#[derive(Debug)]
pub(crate) struct Dispatch {
    store: Arc<Store>,
    parts: HashMap<Digest, Arc<Sliced>>,
    parts_in_order: VecDeque<Digest>,
    stored: HashSet<Digest>,
}

/// A work message that is ready to be sent once the turn is committed.
#[derive(Debug)]
pub(crate) struct Ready {
    pub key: WorkKey,
    pub pool: proto::id::PoolName,
    pub body: Bytes,
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A part of an item list is gone or not what it should be.
    #[error("items of {key} are not to be had: {why}")]
    Items { key: WorkKey, why: String },
}

impl Dispatch {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, parts: HashMap::new(), parts_in_order: VecDeque::new(), stored: HashSet::new() }
    }

    /// The message for `key`, or `None` when it is no longer wanted. Values that it names and the store may not have
    /// yet are pushed to `values`, for the turn's commit.
    pub(crate) async fn write(
        &mut self,
        known: &Known,
        run: &Run,
        shard: Shard,
        key: &WorkKey,
        now: Timestamp,
        values: &mut Vec<(Digest, Bytes)>,
    ) -> Result<Option<Ready>, Error> {
        let workflow = known.program.workflow();
        let Some(brief) = run.brief(workflow, key) else { return Ok(None) };
        let Brief { task, attempt, retries, pool, ended, range, child } = brief;
        let reads = known.program.reads(task, key.phase);
        let manifest = run.manifest(workflow, key, reads.paths.iter().map(|read| read.path.as_str()));
        let manifest = self.manifest(manifest, values);
        let range = match range {
            Some((items, parts)) => Some(self.range(key, items, parts, values).await?),
            None => None,
        };
        let work = Work {
            schema: SCHEMA,
            key: key.clone(),
            shard,
            definition: known.stored,
            run: run.info(),
            attempt,
            retries,
            manifest,
            range,
            ended,
            child,
            dispatched_at: now,
        };
        let pool = pool.unwrap_or_else(default_pool);
        Ok(Some(Ready { key: key.clone(), pool, body: codec::encode(&work).into() }))
    }

    /// Keeps a small manifest as it is, and makes a value of a large one, once.
    fn manifest(&mut self, manifest: proto::manifest::Manifest, values: &mut Vec<(Digest, Bytes)>) -> ManifestRef {
        let bytes = codec::encode(&manifest);
        if bytes.len() <= MANIFEST_BYTES_MAX {
            return ManifestRef::Inline(manifest);
        }
        let stored = Stored::of(&bytes);
        if self.is_new(stored.digest) {
            values.push((stored.digest, bytes.into()));
        }
        ManifestRef::Stored(stored)
    }

    /// Whether a manifest or definition was not stored lately, so that the turn's commit must bring it.
    pub(crate) fn is_new(&mut self, digest: Digest) -> bool {
        if self.stored.len() >= STORED_MAX {
            self.stored.clear();
        }
        self.stored.insert(digest)
    }

    /// A commit failed: what it was to store may not be there.
    pub(crate) fn forget(&mut self) {
        self.stored.clear();
    }

    async fn range(
        &mut self,
        key: &WorkKey,
        items: &ItemSet,
        parts: &[ItemsPart],
        fresh: &[(Digest, Bytes)],
    ) -> Result<Range, Error> {
        let mut text = String::from("[");
        let mut first_of_part = 0u32;
        for part in parts {
            let end_of_part = first_of_part + part.count;
            if items.between(first_of_part, end_of_part).next().is_some() {
                let sliced = self.sliced(key, part, fresh).await?;
                for ItemIndex(item) in items.between(first_of_part, end_of_part) {
                    let value = sliced.item(item - first_of_part).ok_or_else(|| broken(key, "an offset is wrong"))?;
                    if text.len() > 1 {
                        text.push(',');
                    }
                    text.push_str(value);
                }
            }
            first_of_part = end_of_part;
        }
        text.push(']');
        let values = Json::from_canonical(text).map_err(|error| broken(key, &error.to_string()))?;
        Ok(Range { items: items.clone(), values })
    }

    async fn sliced(
        &mut self,
        key: &WorkKey,
        part: &ItemsPart,
        fresh: &[(Digest, Bytes)],
    ) -> Result<Arc<Sliced>, Error> {
        let digest = match &part.values {
            ValueRef::Stored(stored) => stored.digest,
            ValueRef::Inline(json) => Digest::of(json.as_bytes()),
            ValueRef::List(_) => return Err(broken(key, "a part is itself a list")),
        };
        if let Some(sliced) = self.parts.get(&digest) {
            return Ok(sliced.clone());
        }
        let values = self.bytes(key, &part.values, fresh).await?;
        let offsets = self.bytes(key, &part.offsets, fresh).await?;
        let offsets: Vec<u32> = serde_json::from_slice(&offsets).map_err(|error| broken(key, &error.to_string()))?;
        let sliced = Arc::new(Sliced { values, offsets });
        if self.parts_in_order.len() >= PARTS_MAX
            && let Some(oldest) = self.parts_in_order.pop_front()
        {
            self.parts.remove(&oldest);
        }
        self.parts_in_order.push_back(digest);
        self.parts.insert(digest, sliced.clone());
        Ok(sliced)
    }

    async fn bytes(&self, key: &WorkKey, value: &ValueRef, fresh: &[(Digest, Bytes)]) -> Result<Bytes, Error> {
        match value {
            ValueRef::Inline(json) => Ok(Bytes::copy_from_slice(json.as_bytes())),
            ValueRef::Stored(stored) => match fresh.iter().find(|(digest, _)| *digest == stored.digest) {
                Some((_, bytes)) => Ok(bytes.clone()),
                None => self.store.value(stored.digest).await?.ok_or_else(|| broken(key, "a part is not in the store")),
            },
            ValueRef::List(_) => Err(broken(key, "a part is itself a list")),
        }
    }
}

impl Sliced {
    /// The bytes of the item at `at` in this part.
    fn item(&self, at: u32) -> Option<&str> {
        let begin = *self.offsets.get(at as usize)? as usize;
        let end = (*self.offsets.get(at as usize + 1)? as usize).checked_sub(1)?;
        std::str::from_utf8(self.values.get(begin..end)?).ok()
    }
}

fn broken(key: &WorkKey, why: &str) -> Error {
    Error::Items { key: key.clone(), why: why.to_owned() }
}

/// The pool that evaluates what belongs to no task.
pub(crate) fn default_pool() -> proto::id::PoolName {
    "default".parse().expect("a valid pool name")
}
