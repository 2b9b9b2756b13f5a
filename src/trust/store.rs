//! The sessions of all workers: what a stateful ticket of TLS 1.3, or a session id of TLS 1.2,
//! stands for.
//!
//! Sharded, for any worker may get any client; a lock is held for one look-up. Bounded in bytes,
//! for a session holds the client's chain: the least recently used goes first. It must not know
//! what a session is bound to.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use lru::LruCache;

use super::session::Binding;
use crate::limits::{SESSION_BYTES_MAX, SESSION_ENTRY_BYTES, SESSION_SHARDS};

/// A session that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is bound to.
    pub binding: Binding,
    /// rustls' part of it, which holds its secret.
    pub value: Vec<u8>,
}

#[derive(Default)]
struct Shard {
    sessions: Option<LruCache<Box<[u8]>, Stored>>,
    bytes: usize,
}

/// See the module's description.
pub struct SessionStore {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: usize,
}

impl SessionStore {
    /// An empty store of so many bytes at the most.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SESSION_SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / SESSION_SHARDS,
        }
    }

    /// Keeps a session; whether it was taken. Others go where there is no room.
    pub fn put(&self, id: Vec<u8>, stored: Stored) -> bool {
        let bytes = bytes_of(&id, &stored);
        if stored.value.len() > SESSION_BYTES_MAX || bytes > self.shard_bytes_max {
            return false;
        }
        let mut shard = self.shard(&id);
        let Shard { sessions, bytes: held } = &mut *shard;
        let sessions = sessions.get_or_insert_with(LruCache::unbounded);
        *held += bytes;
        if let Some((id, replaced)) = sessions.push(id.into_boxed_slice(), stored) {
            *held -= bytes_of(&id, &replaced);
        }
        while *held > self.shard_bytes_max
            && let Some((id, evicted)) = sessions.pop_lru()
        {
            *held -= bytes_of(&id, &evicted);
        }
        true
    }

    /// A session, which stays.
    pub fn get(&self, id: &[u8]) -> Option<Stored> {
        self.shard(id).sessions.as_mut()?.get(id).cloned()
    }

    /// A session, which nobody gets again.
    pub fn take(&self, id: &[u8]) -> Option<Stored> {
        let mut shard = self.shard(id);
        let stored = shard.sessions.as_mut()?.pop(id)?;
        shard.bytes -= bytes_of(id, &stored);
        Some(stored)
    }

    /// Sessions that are kept, and their bytes.
    pub fn len(&self) -> (usize, usize) {
        self.shards.iter().map(lock).fold((0, 0), |(count, bytes), shard| {
            let here = shard.sessions.as_ref().map_or(0, LruCache::len);
            (count + here, bytes + shard.bytes)
        })
    }

    fn shard(&self, id: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard_of(id)])
    }
}

/// What is kept is kept under ids that rustls drew at random, so nobody can fill one shard.
fn shard_of(id: &[u8]) -> usize {
    id.last().map_or(0, |byte| usize::from(*byte)) % SESSION_SHARDS
}

const _: () = assert!(SESSION_SHARDS <= 256);

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    match shard.lock() {
        Ok(shard) => shard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

fn bytes_of(id: &[u8], stored: &Stored) -> usize {
    let links =
        stored.binding.client.as_ref().map_or(0, |client| size_of_val(&*client.chain.links));
    SESSION_ENTRY_BYTES + id.len() + stored.value.len() + links
}

const _: () = assert!(SESSION_ENTRY_BYTES >= size_of::<Stored>());

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
