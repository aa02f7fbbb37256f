//! What marks and links mean once all entries of a layer are known.

use std::vec::IntoIter;

use super::apply::{LayerRules, Way, name_in, still_taken};
use super::store::{LayerStore, Linked, Marks, Name, Subdirectory};
use crate::layer::LayerPath;
use crate::repository::{EntryError, Error, OpenEnds, Result};

/// A directory on the way down, with those in it that are still to be visited.
struct Frame<D> {
    path: LayerPath,
    directory: D,
    /// Whether nothing of the lower layers is seen in it.
    covered: bool,
    subdirectories: IntoIter<Subdirectory<D>>,
}

impl<S: LayerStore> LayerRules<S> {
    /// Ends the layer. Gives what it was unpacked into and what only the layers below can tell.
    pub(in crate::repository) fn finish(mut self) -> Result<(S, OpenEnds)> {
        let lower_links = self.settle_lower_links()?;
        let implied_directories = self.settle_directories()?;
        Ok((self.store, OpenEnds { implied_directories, lower_links }))
    }

    /// Makes the hard links whose targets came after them. Gives those to lower layers with their targets, after checking
    /// that this layer does not hide those.
    fn settle_lower_links(&mut self) -> Result<Vec<(LayerPath, LayerPath)>> {
        let mut links = Vec::new();
        for (path, target) in self.lower_links.with_last_targets() {
            if let Some(target) = self.link_unless_lower(&path, target)? {
                links.push((path, target));
            }
        }
        for (path, target) in &links {
            if self.hides(target)? {
                return Err(Error::entry(path, EntryError::LinkToNothing(target.clone())));
            }
        }
        Ok(links)
    }

    /// Makes a hard link if the layer has its target. If not, gives the target as the lower layers name it.
    fn link_unless_lower(
        &mut self,
        path: &LayerPath,
        target: LayerPath,
    ) -> Result<Option<LayerPath>> {
        let refused = |reason| Err(Error::entry(path, reason));
        let target = match self.with_resolved_parent(&target)? {
            Ok(target) => target,
            Err(reason) => return refused(reason),
        };
        let Some((parent, name)) = target.split() else {
            return refused(EntryError::LinkToDirectory(target));
        };
        let Way { directory, missing } = self.walk(&parent)?;
        if let Some(first) = missing.last().and_then(|path| name_in(directory, path)) {
            return match self.obstacle(first)? {
                Some(reason) => refused(reason),
                None => Ok(Some(target)),
            };
        }
        let at = self.name(path)?;
        match self.store.link(at, Name { directory, name, path: &target })? {
            Linked::Done => {
                self.lower_links.remove(path);
                Ok(None)
            }
            Linked::NoTarget => Ok(Some(target)),
            Linked::ToDirectory => refused(EntryError::LinkToDirectory(target.clone())),
            Linked::Taken => Err(still_taken(path)),
        }
    }

    /// Whether the layer keeps a path of the lower layers from being seen.
    fn hides(&mut self, path: &LayerPath) -> Result<bool> {
        let mut directory = self.store.root();
        let mut directory_path = LayerPath::ROOT;
        for name in path.components() {
            let path = directory_path.join(name);
            let at = Name { directory, name, path: &path };
            let opaque = self.store.marks(directory, &directory_path)?.opaque;
            if opaque || self.store.is_removed(at)? {
                return Ok(true);
            }
            match self.store.directory(at)? {
                Some(inner) => (directory, directory_path) = (inner, path),
                None => break,
            }
        }
        Ok(false)
    }

    /// Puts whiteouts and opaque marks where they belong and closes all directories, each after those in it: an
    /// ordinary user may be kept out by the attributes of a directory that is closed. Gives the directories
    /// that only the layers below can tell about, sorted.
    fn settle_directories(&mut self) -> Result<Vec<LayerPath>> {
        let mut implied = Vec::new();
        let root = self.store.root();
        let Marks { opaque, .. } = self.store.marks(root, &LayerPath::ROOT)?;
        let mut frames = vec![self.frame(LayerPath::ROOT, root, opaque)?];
        while let Some(frame) = frames.last_mut() {
            let Some(Subdirectory { name, directory, marks }) = frame.subdirectories.next() else {
                if let Some(Frame { path, directory, covered, .. }) = frames.pop() {
                    self.close(&path, directory, covered)?;
                }
                continue;
            };
            let path = frame.path.join(&name);
            let at = Name { directory: frame.directory, name: &name, path: &path };
            // The layer removes the lower directory and has a new one of that name.
            let replaces = !frame.covered && self.store.is_removed(at)?;
            if replaces {
                self.store.mark_opaque(directory, &path)?;
            }
            if !marks.described && !frame.covered && !replaces {
                implied.push(path.clone());
            }
            let covered = frame.covered || marks.opaque || replaces;
            frames.push(self.frame(path, directory, covered)?);
        }
        implied.sort();
        Ok(implied)
    }

    fn frame(
        &mut self,
        path: LayerPath,
        directory: S::Directory,
        covered: bool,
    ) -> Result<Frame<S::Directory>> {
        let subdirectories = self.store.subdirectories(directory)?.into_iter();
        Ok(Frame { path, directory, covered, subdirectories })
    }

    /// Makes the whiteouts in a directory and closes it.
    fn close(&mut self, path: &LayerPath, directory: S::Directory, covered: bool) -> Result<()> {
        if !covered {
            for name in self.store.removed(directory)? {
                let path = path.join(&name);
                if self.lower_links.get(&path).is_none() {
                    self.store.make_whiteout(Name { directory, name: &name, path: &path })?;
                }
            }
        }
        self.store.close_directory(directory, path)
    }
}
