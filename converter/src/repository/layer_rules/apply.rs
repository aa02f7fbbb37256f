//! What an entry does to what the layer has so far.

use std::io;

use layer_layout::overlay::WHITEOUT_DEVICE;

use super::known::KnownDirectories;
use super::lower_links::LowerLinks;
use super::store::{LayerStore, Leaf, Linked, Name, Obstacle};
use crate::layer::{Content, Entry, Kind, LayerPath, Metadata};
use crate::repository::{EntryError, Error, Result};

/// Unpacks one layer into a store.
pub(in crate::repository) struct LayerRules<S: LayerStore> {
    pub(super) store: S,
    pub(super) lower_links: LowerLinks,
    known: KnownDirectories<S::Directory>,
}

/// How far down a path there are directories of the layer.
pub(super) struct Way<D> {
    /// The last of them.
    pub(super) directory: D,
    /// The paths that are none, the deepest first. Empty if the whole path is a directory.
    pub(super) missing: Vec<LayerPath>,
}

impl<S: LayerStore> LayerRules<S> {
    /// Begins a layer in a store that has nothing but its root.
    pub(in crate::repository) fn new(store: S) -> Self {
        Self { store, lower_links: LowerLinks::default(), known: KnownDirectories::new() }
    }

    /// What the layer is unpacked into.
    pub(in crate::repository) fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// Applies one entry, which has this content if it is a file.
    pub(in crate::repository) fn apply(
        &mut self,
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<()> {
        match self.apply_literally(entry, content) {
            // Nothing has come of it yet.
            Err(Error::Entry { reason: EntryError::ThroughSymlink(_), .. }) => {
                let entry = self.follow(entry)?;
                self.apply_literally(&entry, content)
            }
            done => done,
        }
    }

    /// Applies an entry whose path goes through directories alone.
    fn apply_literally(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        let Entry { path, kind, metadata } = entry;
        let leaf = match kind {
            Kind::Directory => return self.directory(path, metadata),
            Kind::Opaque => return self.opaque(path),
            _ if path.is_root() => return Err(Error::entry(path, EntryError::Root)),
            Kind::HardLink { target } => return self.hard_link(path, target),
            Kind::Whiteout => {
                let at = self.name(path)?;
                return self.store.note_removed(at);
            }
            Kind::CharacterDevice { major, minor } if (*major, *minor) == WHITEOUT_DEVICE => {
                return Err(Error::entry(path, EntryError::WhiteoutDevice));
            }
            Kind::File { size } => Leaf::File { size: *size },
            Kind::Symlink { target } => Leaf::Symlink { target },
            &Kind::CharacterDevice { major, minor } => Leaf::CharacterDevice { major, minor },
            &Kind::BlockDevice { major, minor } => Leaf::BlockDevice { major, minor },
            Kind::Fifo => Leaf::Fifo,
        };
        let at = self.name(path)?;
        self.replace(at, |store| Ok(store.make_leaf(at, leaf, metadata, content)?.then_some(())))
    }

    /// The name of `path` in its directory, which is made if it is not there.
    pub(super) fn name<'p>(&mut self, path: &'p LayerPath) -> Result<Name<'p, S::Directory>> {
        let (parent, name) = path.split().ok_or_else(|| Error::entry(path, EntryError::Root))?;
        let directory = match self.known.last(&parent) {
            Some(directory) => directory,
            None => {
                let directory = self.ensure_directory(path, &parent)?;
                self.known.set_last(parent, directory);
                directory
            }
        };
        Ok(Name { directory, name, path })
    }

    /// Goes down to a directory, as far as there are directories.
    pub(super) fn walk(&mut self, path: &LayerPath) -> Result<Way<S::Directory>> {
        let mut missing = Vec::new();
        let mut at = path.clone();
        let mut directory = loop {
            if let Some(directory) = self.known.get(&at) {
                break directory;
            }
            match at.split() {
                Some((parent, _)) => missing.push(std::mem::replace(&mut at, parent)),
                None => break self.store.root(),
            }
        };
        while let Some(path) = missing.pop() {
            let found = match name_in(directory, &path) {
                Some(at) => self.store.directory(at)?,
                None => None,
            };
            let Some(found) = found else {
                missing.push(path);
                break;
            };
            directory = found;
            self.known.insert(path, directory);
        }
        Ok(Way { directory, missing })
    }

    /// Makes a directory and those above it unless they are there. `entry` is what needs them.
    pub(super) fn ensure_directory(
        &mut self,
        entry: &LayerPath,
        path: &LayerPath,
    ) -> Result<S::Directory> {
        let Way { mut directory, mut missing } = self.walk(path)?;
        while let Some(path) = missing.pop() {
            let Some(at) = name_in(directory, &path) else { break };
            let made = match self.lower_links.get(&path) {
                Some(_) => None,
                None => self.store.make_directory(at, None)?,
            };
            let Some(made) = made else {
                let reason = self.obstacle(at)?.unwrap_or(EntryError::ThroughFile(path.clone()));
                return Err(Error::entry(entry, reason));
            };
            directory = made;
            self.known.insert(path, directory);
        }
        Ok(directory)
    }

    /// Why a path cannot go on at a name that is no directory; `None` if nothing is there.
    pub(super) fn obstacle(&mut self, at: Name<'_, S::Directory>) -> Result<Option<EntryError>> {
        let through_file = || EntryError::ThroughFile(at.path.clone());
        if self.lower_links.get(at.path).is_some() {
            return Ok(Some(through_file()));
        }
        Ok(self.store.obstacle(at)?.map(|obstacle| match obstacle {
            Obstacle::Symlink => EntryError::ThroughSymlink(at.path.clone()),
            Obstacle::Other => through_file(),
        }))
    }

    /// Makes a name by `make`, in place of what had it. `make` gives `None` if the name is taken.
    fn replace<T>(
        &mut self,
        at: Name<'_, S::Directory>,
        mut make: impl FnMut(&mut S) -> Result<Option<T>>,
    ) -> Result<T> {
        self.lower_links.remove(at.path);
        if let Some(made) = make(&mut self.store)? {
            return Ok(made);
        }
        self.vacate(at)?;
        make(&mut self.store)?.ok_or_else(|| still_taken(at.path))
    }

    /// Removes what has a name: a leaf, or a directory with all in it.
    fn vacate(&mut self, at: Name<'_, S::Directory>) -> Result<()> {
        self.lower_links.remove(at.path);
        if self.store.remove(at)? {
            self.known.clear();
            self.lower_links.remove_below(at.path);
        }
        Ok(())
    }

    fn directory(&mut self, path: &LayerPath, metadata: &Metadata) -> Result<()> {
        if path.is_root() {
            return self.store.describe(self.store.root(), path, metadata);
        }
        let at = self.name(path)?;
        if let Some(directory) = self.store.directory(at)? {
            return self.store.describe(directory, path, metadata);
        }
        let made = self.replace(at, |store| store.make_directory(at, Some(metadata)))?;
        self.known.insert(path.clone(), made);
        Ok(())
    }

    fn opaque(&mut self, path: &LayerPath) -> Result<()> {
        let directory = self.ensure_directory(path, path)?;
        self.store.mark_opaque(directory, path)
    }

    fn hard_link(&mut self, path: &LayerPath, target: &LayerPath) -> Result<()> {
        let refused = |reason| Err(Error::entry(path, reason));
        if path == target {
            return refused(EntryError::LinkToItself);
        }
        // First, since the target may be a directory just because the link stands in it.
        let at = self.name(path)?;
        let Some((parent, target_name)) = target.split() else {
            return refused(EntryError::LinkToDirectory(target.clone()));
        };
        let mut vacated = false;
        let lower_target = loop {
            let Way { directory, missing } = self.walk(&parent)?;
            if let Some(first) = missing.last().and_then(|path| name_in(directory, path)) {
                // A lower layer may have that directory, unless something of this layer is in the way.
                match self.obstacle(first)? {
                    Some(reason) => return refused(reason),
                    None => break target,
                }
            }
            if let Some(lower_target) = self.lower_links.get(target) {
                break lower_target;
            }
            let target_at = Name { directory, name: target_name, path: target };
            match self.store.link(at, target_at)? {
                Linked::Done => {
                    self.lower_links.remove(path);
                    return Ok(());
                }
                Linked::NoTarget => break target,
                Linked::ToDirectory => {
                    return refused(EntryError::LinkToDirectory(target.clone()));
                }
                Linked::Taken if vacated => return Err(still_taken(path)),
                Linked::Taken => {
                    // That may be a directory which holds the target, so all is looked up again.
                    self.vacate(at)?;
                    vacated = true;
                }
            }
        };
        let lower_target = lower_target.clone();
        self.vacate(at)?;
        self.lower_links.insert(path, lower_target);
        Ok(())
    }
}

/// The name of `path` in a directory that is its parent; `None` for the root.
pub(super) fn name_in<D>(directory: D, path: &LayerPath) -> Option<Name<'_, D>> {
    let (_, name) = path.split()?;
    Some(Name { directory, name, path })
}

/// The error for a name that was vacated and is taken nevertheless: somebody else is at work there.
pub(super) fn still_taken(path: &LayerPath) -> Error {
    Error::system("make", path.to_string(), io::ErrorKind::AlreadyExists)
}
