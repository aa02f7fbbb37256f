//! What a repository cannot keep of an image.
//!
//! An image is not worth losing for any of it, but nobody should have to find out by themselves. So it is
//! counted by kind and told once, with examples where paths are at hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::layer::LayerPath;

/// How many paths are told for each kind.
const EXAMPLES: usize = 3;

/// A kind of shortfall. They are told in the order of their kinds.
pub(super) trait Shortfall: Ord {
    /// What people are told, as it continues a number.
    fn text(&self) -> String;
}

/// How often something could not be kept, and where first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Cases {
    count: u64,
    examples: Vec<LayerPath>,
}

/// Counts of what could not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortfalls<K>(BTreeMap<K, Cases>);

impl<K> Default for Shortfalls<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Shortfall> Shortfalls<K> {
    /// Counts one more.
    pub(super) fn count(&mut self, kind: K) {
        self.0.entry(kind).or_default().count += 1;
    }

    /// Counts one more, and shows its path if there is room for an example.
    pub(super) fn count_at(&mut self, kind: K, path: &LayerPath) {
        let cases = self.0.entry(kind).or_default();
        cases.count += 1;
        if cases.examples.len() < EXAMPLES {
            cases.examples.push(path.clone());
        }
    }

    /// Takes the cases of another.
    pub(super) fn merge(&mut self, other: Self) {
        for (kind, cases) in other.0 {
            let known = self.0.entry(kind).or_default();
            known.count += cases.count;
            let room = EXAMPLES - known.examples.len();
            known.examples.extend(cases.examples.into_iter().take(room));
        }
    }

    /// One line per kind, for people.
    fn lines(&self) -> Vec<String> {
        let line = |(kind, cases): (&K, &Cases)| {
            let mut line = format!("{} {}", cases.count, kind.text());
            if !cases.examples.is_empty() {
                let examples: Vec<_> = cases.examples.iter().map(ToString::to_string).collect();
                let more = if cases.count > EXAMPLES as u64 { ", …" } else { "" };
                line += &format!(": {}{more}", examples.join(", "));
            }
            line
        };
        self.0.iter().map(line).collect()
    }
}

/// The shortfalls of a whole transaction; its threads add to them.
#[derive(Debug)]
pub(super) struct Tally<K>(Mutex<Shortfalls<K>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Shortfall> Tally<K> {
    pub(super) fn add(&self, shortfalls: Shortfalls<K>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(shortfalls);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}
