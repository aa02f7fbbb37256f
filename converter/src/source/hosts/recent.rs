//! A map of limited size.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets what has not been used for longest. When it is full, it forgets half at once, so that
/// forgetting costs little on average.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    limit: usize,
    clock: u64,
    /// With the time of the last use.
    entries: HashMap<K, (u64, V)>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// `limit` is the largest number of entries, at least 1.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), clock: 0, entries: HashMap::new() }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= self.limit {
            let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            let forgotten = (self.limit / 2).max(1);
            let (_, last_use, _) = uses.select_nth_unstable(forgotten - 1);
            let last_use = *last_use;
            self.entries.retain(|_, (used, _)| *used > last_use);
        }
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut map = Recent::new(4);
        for key in 0..100 {
            map.insert(key, key);
            assert_eq!(map.get(&0), Some(0), "{key}");
            assert_eq!(map.get(&key), Some(key));
            assert!(map.len() <= 4);
        }
        assert_eq!(map.get(&1), None);
        let mut map = Recent::new(1);
        map.insert("a", 1);
        map.insert("b", 2);
        assert_eq!((map.get(&"a"), map.get(&"b")), (None, Some(2)));
    }
}
