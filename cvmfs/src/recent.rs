//! What was used last, as long as all of it together is not too large.

use std::collections::BTreeMap;

/// Values by their keys, each with a size. What was not used for the longest time goes first. The value that was used
/// last stays even if it is too large alone.
pub(crate) struct Recent<K, V> {
    limit: u64,
    /// The sizes of all values together.
    size: u64,
    values: BTreeMap<K, Held<V>>,
    /// Keys in the order of their last use.
    order: BTreeMap<u64, K>,
    /// How often values were used.
    uses: u64,
}

struct Held<V> {
    value: V,
    size: u64,
    used: u64,
}

impl<K: Ord + Copy, V: Clone> Recent<K, V> {
    /// Holds values whose sizes do not add up to more than `limit`.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, size: 0, values: BTreeMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    /// Uses a value.
    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        let held = self.values.get_mut(&key)?;
        self.order.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.order.insert(self.uses, key);
        Some(held.value.clone())
    }

    /// Holds a value, in place of any with its key, and forgets others until there is room for it.
    pub(crate) fn put(&mut self, key: K, value: V, size: u64) {
        if let Some(former) = self.values.remove(&key) {
            self.forget(&former);
        }
        while self.size.saturating_add(size) > self.limit
            && let Some((_, oldest)) = self.order.first_key_value()
            && let Some(held) = self.values.remove(&oldest.clone())
        {
            self.forget(&held);
        }
        self.uses += 1;
        self.order.insert(self.uses, key);
        self.values.insert(key, Held { value, size, used: self.uses });
        self.size += size;
    }

    fn forget(&mut self, held: &Held<V>) {
        self.order.remove(&held.used);
        self.size -= held.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(recent: &Recent<u32, u32>) -> Vec<u32> {
        recent.order.values().copied().collect()
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_makes_room() {
        let mut recent = Recent::new(10);
        for key in [1, 2, 3] {
            recent.put(key, key * 10, 3);
        }
        assert_eq!((recent.get(1), held(&recent)), (Some(10), vec![2, 3, 1]));
        recent.put(4, 40, 1);
        assert_eq!(held(&recent), [2, 3, 1, 4], "there is room for one of size 1");
        recent.put(5, 50, 4);
        assert_eq!((recent.get(2), recent.get(3), held(&recent)), (None, None, vec![1, 4, 5]));
        recent.put(4, 41, 2);
        assert_eq!((recent.get(4), held(&recent), recent.size), (Some(41), vec![1, 5, 4], 9));
    }

    #[test]
    fn one_that_is_too_large_alone_stays_until_the_next_comes() {
        let mut recent = Recent::new(10);
        recent.put(1, 1, 5);
        recent.put(2, 2, 100);
        assert_eq!((held(&recent), recent.size), (vec![2], 100));
        assert_eq!(recent.get(2), Some(2));
        recent.put(3, 3, 5);
        recent.put(4, 4, 5);
        assert_eq!((held(&recent), recent.size), (vec![3, 4], 10));
    }

    #[test]
    fn the_sizes_never_add_up_to_more_than_the_limit() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut recent = Recent::new(1_000);
        for _ in 0..10_000 {
            let key = random.u32(0..100);
            match random.bool() {
                true => recent.put(key, key, random.u64(1..200)),
                false => assert!(recent.get(key).is_none_or(|value| value == key)),
            }
            let sizes: u64 = recent.values.values().map(|held| held.size).sum();
            assert_eq!((recent.size, recent.order.len()), (sizes, recent.values.len()));
            assert!(sizes <= 1_000);
        }
    }
}
