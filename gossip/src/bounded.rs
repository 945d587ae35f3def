//! Memories that cannot grow without bound.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A set of at most `max` keys; the oldest makes room for the newest.
pub(crate) struct Recent<K> {
    keys: HashSet<K>,
    queue: VecDeque<K>,
    max: usize,
}

impl<K: Hash + Eq + Clone> Recent<K> {
    pub(crate) fn new(max: usize) -> Self {
        Self { keys: HashSet::new(), queue: VecDeque::new(), max }
    }

    pub(crate) fn insert(&mut self, key: K) {
        if self.max == 0 || !self.keys.insert(key.clone()) {
            return;
        }
        self.queue.push_back(key);
        while self.queue.len() > self.max {
            if let Some(oldest) = self.queue.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.keys.contains(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A map of at most `max` entries, each of which is forgotten some time after it was made.
pub(crate) struct Expiring<K, V> {
    entries: HashMap<K, (Instant, V)>,
    life: Duration,
    max: usize,
}

impl<K: Hash + Eq, V> Expiring<K, V> {
    pub(crate) fn new(max: usize, life: Duration) -> Self {
        Self { entries: HashMap::new(), life, max }
    }

    /// Whether a further entry fits.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < self.max
    }

    /// Adds an entry, unless there is no room for a new one.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Instant) -> bool {
        let fits = self.has_room() || self.entries.contains_key(&key);
        if fits {
            self.entries.insert(key, (now, value));
        }
        fits
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let life = self.life;
        self.entries.retain(|_, (made, _)| now.saturating_duration_since(*made) < life);
    }
}

/// A small generator for jitter; nothing secret depends on it.
pub(crate) struct Jitter(u64);

impl Jitter {
    /// Seeded by the randomness that the standard library seeds its maps with.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Self(RandomState::new().build_hasher().finish())
    }

    /// A number below `bound`, about evenly (SplitMix64, reduced by multiplication).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }

    /// A time between half and one and a half of the mean.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        let mean = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX / 4);
        Duration::from_millis(mean / 2 + self.below(mean.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_makes_room() {
        let mut recent = Recent::new(2);
        recent.insert(1);
        recent.insert(2);
        recent.insert(2);
        recent.insert(3);
        assert!(!recent.contains(&1) && recent.contains(&2) && recent.contains(&3));
        assert_eq!(recent.len(), 2);
    }

    #[test]
    fn entries_expire_and_are_bounded() {
        let start = Instant::now();
        let mut map = Expiring::new(2, Duration::from_secs(10));
        assert!(map.insert(1, 'a', start) && map.insert(2, 'b', start + Duration::from_secs(5)));
        assert!(!map.insert(3, 'c', start), "no room");
        assert!(map.insert(2, 'd', start + Duration::from_secs(5)), "not a new one");
        map.sweep(start + Duration::from_secs(10));
        assert!(!map.contains(&1));
        assert_eq!(map.remove(&2), Some('d'));
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let mut jitter = Jitter::new();
        for _ in 0..1000 {
            let t = jitter.around(Duration::from_millis(100));
            assert!(t >= Duration::from_millis(50) && t <= Duration::from_millis(150));
            assert!(jitter.below(3) < 3);
        }
    }
}
