//! Rates of requests: token buckets by whoever asks, in tables that are bounded.
//!
//! PURE. It must not know who asks, nor the clock: a key and the time are handed in. Shared by all
//! workers, sharded, a lock is held for one look-up. Each bucket is one number, by the generic cell
//! rate algorithm (ITU-T I.371, Annex A): the time at which it is full again. Invariant: within any
//! stretch of time t, somebody who stays in the table takes no more than burst + t * rate tokens.
//! The least recently used goes where there is no room, and begins anew with a full bucket.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::limits::{RATE_COUNT_MAX, RATE_KEYS_MAX, RATE_SHARDS};
use crate::time::Instant;

/// So many requests in a second or a minute, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRate;

impl Rate {
    /// Requests that may come at once after a silence.
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How long a token takes to come, rounded up: never more come than were granted.
    fn interval_ns(self) -> u64 {
        let period: u64 = match self.period {
            Period::Second => 1_000_000_000,
            Period::Minute => 60_000_000_000,
        };
        period.div_ceil(u64::from(self.count.get()))
    }
}

/// `100/s`, `30/m`, `100/s burst 200`. Without a burst, it is the count: all of a period at once.
impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        let mut words = text.split(' ');
        let (count, unit) = words.next().and_then(|word| word.split_once('/')).ok_or(NoRate)?;
        let count = number(count)?;
        let period = match unit {
            "s" => Period::Second,
            "m" => Period::Minute,
            _ => return Err(NoRate),
        };
        let burst = match (words.next(), words.next(), words.next()) {
            (None, ..) => count,
            (Some("burst"), Some(burst), None) => number(burst)?,
            _ => return Err(NoRate),
        };
        Ok(Self { count, period, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period {
            Period::Second => "s",
            Period::Minute => "m",
        };
        write!(f, "{}/{unit} burst {}", self.count, self.burst)
    }
}

fn number(text: &str) -> Result<NonZeroU32, NoRate> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|it: &NonZeroU32| it.get() <= RATE_COUNT_MAX);
    number.filter(|_| is_number).ok_or(NoRate)
}

/// By key, the nanosecond at which its bucket is full.
type Buckets = LruCache<[u8; 32], u64>;

/// How many requests each of many may make.
pub struct RateLimiter {
    rate: Rate,
    keys_per_shard_max: usize,
    shards: Arc<[Mutex<Option<Buckets>>]>,
}

impl RateLimiter {
    /// Everybody's bucket is full. It remembers so many keys, [`RATE_KEYS_MAX`] at most.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_per_shard_max: keys_max.clamp(RATE_SHARDS, RATE_KEYS_MAX) / RATE_SHARDS,
            shards: (0..RATE_SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// What it grants.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// This one with the buckets of `earlier`, where both grant the same: a new configuration is no
    /// new burst for everybody. Requests that still go by the old one count too.
    pub fn carry(&self, earlier: &Self) -> Option<Self> {
        let Self { rate, keys_per_shard_max, .. } = *self;
        (rate == earlier.rate).then(|| Self {
            rate,
            keys_per_shard_max,
            shards: Arc::clone(&earlier.shards),
        })
    }

    /// Takes one token of the bucket of `who`, a digest.
    ///
    /// # Errors
    /// How long it takes until there is one; nothing was taken. [`retry_after_s`] has it for the
    /// client.
    pub fn take(&self, who: &[u8; 32], now: Instant) -> Result<(), Duration> {
        let now = now.as_nanos();
        let interval = self.rate.interval_ns();
        let depth = interval * u64::from(self.rate.burst.get());
        let mut shard = self.shard(who);
        let buckets = shard.get_or_insert_with(LruCache::unbounded);
        // Another worker may have looked at the clock a moment later.
        let full = buckets.get(who).copied().unwrap_or(0).max(now);
        let would_be = full.saturating_add(interval);
        let wait = would_be.saturating_sub(now).saturating_sub(depth);
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        buckets.put(*who, would_be);
        // More than one only where a new configuration made the table smaller.
        while buckets.len() > self.keys_per_shard_max && buckets.pop_lru().is_some() {}
        Ok(())
    }

    /// Keys that it remembers.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).as_ref().map_or(0, LruCache::len)).sum()
    }

    /// Whether it remembers nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, who: &[u8; 32]) -> MutexGuard<'_, Option<Buckets>> {
        // All bytes, for a short key may be the same in most of them.
        let sum = who.iter().fold(0_u32, |sum, byte| {
            (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193) // FNV-1a
        });
        lock(&self.shards[sum as usize % RATE_SHARDS])
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// A bucket is one number, written in one go: whoever panicked has broken none.
fn lock(shard: &Mutex<Option<Buckets>>) -> MutexGuard<'_, Option<Buckets>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value of `Retry-After` (RFC 9110, 10.2.3) for a wait: whole seconds, rounded up, so that who
/// comes back then finds a token.
pub fn retry_after_s(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
