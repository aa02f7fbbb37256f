//! Where a tree is.

use std::collections::HashMap;
use std::sync::Arc;

use cvmfs_repository::hash::ContentHash;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::RepositoryPath;

use super::home::Home;
use super::staged::Staged;
use crate::repository::Result;

/// Where a tree is, so that any thread can open it.
#[derive(Clone)]
pub(super) enum Recipe {
    /// In a scratch database.
    Staged(Arc<Staged>),
    /// Published at this path in this revision.
    Published(Snapshot, RepositoryPath),
    /// Not stored: it is what is seen of these, topmost first.
    Merged(Arc<[Recipe]>),
}

impl Recipe {
    /// What lies on each other, topmost first, if it is not stored.
    pub(super) fn layers(&self) -> Option<&[Self]> {
        match self {
            Self::Merged(layers) => Some(layers),
            _ => None,
        }
    }

    /// Whether it is the same tree of the same change.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Staged(one), Self::Staged(other)) => Arc::ptr_eq(one, other),
            (Self::Merged(one), Self::Merged(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// Tells whether published trees still are what they were. Remembers what it has found out.
pub(super) struct Currency<'a> {
    newest: &'a Snapshot,
    home: &'a Home,
    known: HashMap<(ContentHash, RepositoryPath), bool>,
}

impl<'a> Currency<'a> {
    /// Compares with this revision.
    pub(super) fn of(newest: &'a Snapshot, home: &'a Home) -> Self {
        Self { newest, home, known: HashMap::new() }
    }

    /// A published tree of a recipe that is not the same any more, if there is one.
    pub(super) fn stale(&mut self, recipe: &Recipe) -> Result<Option<RepositoryPath>> {
        match recipe {
            Recipe::Staged(_) => Ok(None),
            Recipe::Published(seen, path) => {
                Ok((!self.is_current(seen, path)?).then(|| path.clone()))
            }
            Recipe::Merged(recipes) => {
                for recipe in &**recipes {
                    if let Some(stale) = self.stale(recipe)? {
                        return Ok(Some(stale));
                    }
                }
                Ok(None)
            }
        }
    }

    fn is_current(&mut self, seen: &Snapshot, path: &RepositoryPath) -> Result<bool> {
        let root = seen.manifest().root;
        if root == self.newest.manifest().root {
            return Ok(true);
        }
        let key = (root, path.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let current = seen.has_the_same_at(&self.home.path(path), self.newest)?;
        self.known.insert(key, current);
        Ok(current)
    }
}
