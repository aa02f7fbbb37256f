//! Giving a layer what it takes from its parents: its [`inheritance`](super::inheritance).

use std::collections::HashSet;

use super::inheritance::{Implied, Inheritance, LowerLink};
use crate::layer::{LayerPath, Metadata};
use crate::repository::byte_path::join;
use crate::repository::{EntryError, Error, Result};

/// What has a name in the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Existing {
    Directory,
    Whiteout,
    Symlink,
    Other,
}

/// The tree of a layer that is being completed. A change of the names in a directory leaves its attributes
/// alone.
pub(in crate::repository) trait Incomplete {
    /// What is at a path.
    fn existing(&self, path: &[u8]) -> Result<Option<Existing>>;

    /// The names in a directory.
    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Makes a directory where nothing is.
    fn make_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()>;

    /// The attributes of a directory, without the marks of overlayfs.
    fn attributes(&self, directory: &[u8]) -> Result<Metadata>;

    /// Sets the attributes of a directory; an opaque mark stays.
    fn dress(&mut self, directory: &[u8], metadata: &Metadata) -> Result<()>;

    /// Whether a directory hides its lower namesakes.
    fn is_opaque(&self, directory: &[u8]) -> Result<bool>;

    /// Makes a directory hide its lower namesakes.
    fn make_opaque(&mut self, directory: &[u8]) -> Result<()>;

    /// Moves what is at a path, with all in it, to where nothing is.
    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()>;

    /// Removes what is at a path, with all in it.
    fn remove(&mut self, path: &[u8]) -> Result<()>;

    /// Gives further names, in this layer, to the file of a lower layer that a link means.
    fn link(&mut self, link: &LowerLink, names: &[&[u8]]) -> Result<()>;
}

/// Completes a layer. Directories that no layer describes get the attributes `unknown`.
pub(in crate::repository) fn complete(
    inheritance: &Inheritance,
    layer: &mut impl Incomplete,
    unknown: &Metadata,
) -> Result<()> {
    let mut completer = Completer {
        layer,
        unknown,
        implied: inheritance.implied.iter().map(|implied| implied.tar.as_bytes()).collect(),
        placeholders: HashSet::new(),
        described: HashSet::new(),
    };
    // A directory that is there already, although nothing was moved yet, comes from an entry.
    for implied in &inheritance.implied {
        let literal = implied.from == implied.tar.as_bytes();
        if literal || completer.layer.existing(&implied.from)?.is_none() {
            completer.placeholders.insert(implied.from.clone());
        }
    }
    for implied in inheritance.implied.iter().filter(|implied| implied.is_redirected()) {
        completer.redirect(implied)?;
    }
    completer.link(&inheritance.links)?;
    // Attributes last and children first: a mode may forbid access to what is inside.
    for implied in inheritance.implied.iter().rev().filter(|implied| !implied.is_redirected()) {
        if let Some((path, Some(metadata))) = implied.way.last()
            && !completer.described.contains(path)
        {
            completer.layer.dress(path, metadata)?;
        }
    }
    Ok(())
}

struct Completer<'a, L> {
    layer: &'a mut L,
    unknown: &'a Metadata,
    /// Paths in the tar of directories that it only implies.
    implied: HashSet<&'a [u8]>,
    /// Paths in the layer of directories that no entry describes.
    placeholders: HashSet<Vec<u8>>,
    /// Directories that have got the attributes of an entry after all.
    described: HashSet<Vec<u8>>,
}

impl<L: Incomplete> Completer<'_, L> {
    /// The parents have a symlink where the tar has a directory: moves what is in that directory to where the
    /// symlink leads.
    fn redirect(&mut self, implied: &Implied) -> Result<()> {
        for (path, metadata) in &implied.way {
            match self.layer.existing(path)? {
                Some(Existing::Directory) => continue,
                Some(what) => return Err(in_the_way(implied, path, what)),
                None => {}
            }
            self.layer.make_directory(path, metadata.as_ref().unwrap_or(self.unknown))?;
            self.placeholders.insert(path.clone());
        }
        let mut work = vec![(implied.from.clone(), implied.to().to_vec(), implied.tar.clone())];
        while let Some((from, to, tar)) = work.pop() {
            self.move_content(&from, &to, &tar, &mut work)?;
        }
        self.layer.remove(&implied.from)
    }

    /// Moves the names of one directory to another. Directories of one name are left for later in `work`.
    /// If there are two entries for one name, the one that the tar has there directly stays.
    fn move_content(
        &mut self,
        from: &[u8],
        to: &[u8],
        tar: &LayerPath,
        work: &mut Vec<(Vec<u8>, Vec<u8>, LayerPath)>,
    ) -> Result<()> {
        let names = self.layer.names(from)?;
        if self.layer.is_opaque(from)? {
            self.layer.make_opaque(to)?;
        }
        for name in names {
            let (old, new) = (join(from, &name), join(to, &name));
            match (self.layer.existing(&old)?, self.layer.existing(&new)?) {
                (_, None) => {}
                (Some(Existing::Directory), Some(Existing::Directory)) => {
                    let tar = tar.join(&name);
                    self.unite(&old, &new, &tar)?;
                    work.push((old, new, tar));
                    continue;
                }
                (Some(Existing::Directory), Some(Existing::Whiteout)) => {
                    self.layer.remove(&new)?;
                    self.layer.make_opaque(&old)?;
                }
                (_, Some(Existing::Whiteout)) => self.layer.remove(&new)?,
                (Some(Existing::Whiteout), Some(Existing::Directory)) => {
                    self.layer.make_opaque(&new)?;
                    continue;
                }
                _ => continue,
            }
            self.layer.rename(&old, &new)?;
        }
        Ok(())
    }

    /// Two directories become one: an entry's attributes count more than none.
    fn unite(&mut self, old: &[u8], new: &[u8], tar: &LayerPath) -> Result<()> {
        if !self.placeholders.contains(new) {
            self.described.insert(new.to_vec());
        } else if !self.implied.contains(tar.as_bytes()) {
            let metadata = self.layer.attributes(old)?;
            self.layer.dress(new, &metadata)?;
            self.placeholders.remove(new);
            self.described.insert(new.to_vec());
        }
        Ok(())
    }

    /// Gives lower files their names in the layer: that of the link, and that of the file itself.
    fn link(&mut self, links: &[LowerLink]) -> Result<()> {
        for link in links {
            let mut names = Vec::new();
            for path in [link.name.as_slice(), link.target.as_slice()] {
                if self.layer.existing(path)?.is_none() {
                    names.push(path);
                }
            }
            self.layer.link(link, &names)?;
        }
        Ok(())
    }
}

fn in_the_way(implied: &Implied, path: &[u8], what: Existing) -> Error {
    let component = match LayerPath::clean(path) {
        Ok(component) => component,
        Err(_) => implied.tar.clone(),
    };
    let reason = match what {
        Existing::Symlink => EntryError::ThroughSymlink(component),
        _ => EntryError::ThroughFile(component),
    };
    Error::entry(&implied.tar, reason)
}
