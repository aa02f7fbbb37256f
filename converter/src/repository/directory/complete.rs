//! Giving a layer what it takes from the layers below it, as [`completion`](super::completion) has found.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::area::{Area, refused};
use super::attributes::{self, Holder};
use super::beneath::{Beneath, join, split};
use super::completion::{Implied, LowerLink, Plan};
use super::copy::Linker;
use super::layer::{self, mark_opaque};
use super::listing::{Lister, is_opaque, is_whiteout};
use super::remove::remove;
use super::shortfall::Shortfalls;
use super::unchanged::unchanged;
use crate::layer::{LayerPath, Metadata};
use crate::repository::{EntryError, Error, Result};

/// Completes the layer in `tree`.
pub(super) fn carry_out(
    area: &Area,
    tree: &Arc<Beneath>,
    plan: &Plan,
    layers: &[Arc<Beneath>],
) -> Result<()> {
    let mut completer = Completer {
        area,
        tree,
        implied: plan.implied.iter().map(|implied| implied.tar.as_bytes()).collect(),
        placeholders: HashSet::new(),
        settled: HashSet::new(),
        missing: Shortfalls::default(),
    };
    // A directory that is there already, although nothing was moved yet, comes from an entry.
    for implied in &plan.implied {
        let literal = implied.from == implied.tar.as_bytes();
        if literal || completer.there(&implied.from)?.is_none() {
            completer.placeholders.insert(implied.from.clone());
        }
    }
    for implied in plan.implied.iter().filter(|implied| implied.is_redirected()) {
        completer.redirect(implied)?;
    }
    completer.link(&plan.links, layers)?;
    // Attributes last and children first: a mode may forbid to look further.
    for implied in plan.implied.iter().rev().filter(|implied| !implied.is_redirected()) {
        if let Some((path, Some(metadata))) = implied.way.last()
            && !completer.settled.contains(path)
        {
            completer.dress(path, metadata)?;
        }
    }
    area.tally.add(completer.missing);
    Ok(())
}

struct Completer<'a> {
    area: &'a Area,
    tree: &'a Arc<Beneath>,
    /// Paths in the tar of directories that it only implies.
    implied: HashSet<&'a [u8]>,
    /// Paths in the layer of directories that no entry describes.
    placeholders: HashSet<Vec<u8>>,
    /// Directories that have got the attributes of an entry after all.
    settled: HashSet<Vec<u8>>,
    missing: Shortfalls,
}

/// What has a name in the layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Directory,
    Whiteout,
    Symlink,
    Other,
}

impl Completer<'_> {
    /// Opens a directory of the layer.
    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        self.area.directory(self.tree, path).map_err(self.tree.failed("open", path))
    }

    /// Changes the names in a directory of the layer and nothing else of it.
    fn change<T>(&self, path: &[u8], change: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let failed = |error| self.tree.failed("change", path)(error);
        unchanged(&self.open(path)?, failed, change)
    }

    fn there(&self, path: &[u8]) -> Result<Option<There>> {
        let stat = match self.tree.stat(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.tree.failed("look at", path)(error)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => There::Directory,
            FileType::Symlink => There::Symlink,
            _ if is_whiteout(&stat) => There::Whiteout,
            _ => There::Other,
        }))
    }

    fn dress(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let directory = self.open(path)?;
        self.area
            .fresh
            .redress(Holder::Open(directory.as_fd()), metadata, &mut self.missing)
            .map_err(refused(self.tree, path))
    }

    /// Moves what the tar has below a name to where the symlink leads that has this name below.
    fn redirect(&mut self, implied: &Implied) -> Result<()> {
        for (path, metadata) in &implied.way {
            match self.there(path)? {
                Some(There::Directory) => continue,
                Some(what) => return Err(in_the_way(implied, path, what)),
                None => {}
            }
            let (parent, name) = split(path);
            self.change(parent, |directory| {
                rustix::fs::mkdirat(directory, name, Mode::RWXU)
                    .map_err(self.tree.failed("make", path))
            })?;
            self.dress(path, metadata.as_ref().unwrap_or(&layer::implied()))?;
            self.placeholders.insert(path.clone());
        }
        let mut work = vec![(implied.from.clone(), implied.to().to_vec(), implied.tar.clone())];
        while let Some((from, to, tar)) = work.pop() {
            self.move_content(&from, &to, &tar, &mut work)?;
        }
        let (parent, name) = split(&implied.from);
        self.change(parent, |directory| {
            remove(directory, name).map_err(self.tree.failed("remove", &implied.from))
        })
    }

    /// Moves the names of one directory to another. Directories of one name are left for later in `work`.
    /// Two entries for one place: the one that the tar has there directly stays.
    fn move_content(
        &mut self,
        from: &[u8],
        to: &[u8],
        tar: &LayerPath,
        work: &mut Vec<(Vec<u8>, Vec<u8>, LayerPath)>,
    ) -> Result<()> {
        let source = self.open(from)?;
        let mut names = Vec::new();
        Lister::new()
            .names(&source, |name, _| {
                names.push(name.to_vec());
                Ok(())
            })
            .map_err(self.tree.failed("read", from))?;
        if is_opaque(&source).map_err(self.tree.failed("look at", from))? {
            self.make_opaque(to)?;
        }
        for name in names {
            let (old, new) = (join(from, &name), join(to, &name));
            match (self.there(&old)?, self.there(&new)?) {
                (_, None) => {}
                (Some(There::Directory), Some(There::Directory)) => {
                    let tar = tar.join(&name);
                    self.settle(&old, &new, &tar)?;
                    work.push((old, new, tar));
                    continue;
                }
                (Some(There::Directory), Some(There::Whiteout)) => {
                    self.replace(to, &name)?;
                    self.make_opaque(&old)?;
                }
                (_, Some(There::Whiteout)) => self.replace(to, &name)?,
                (Some(There::Whiteout), Some(There::Directory)) => {
                    self.make_opaque(&new)?;
                    continue;
                }
                _ => continue,
            }
            self.change(to, |directory| {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(
                    &source,
                    name.as_slice(),
                    directory,
                    name.as_slice(),
                    flags,
                )
                .map_err(self.tree.failed("move", &new))
            })?;
        }
        Ok(())
    }

    /// Two directories become one: an entry's attributes count more than none.
    fn settle(&mut self, old: &[u8], new: &[u8], tar: &LayerPath) -> Result<()> {
        if !self.placeholders.contains(new) {
            self.settled.insert(new.to_vec());
        } else if !self.implied.contains(tar.as_bytes()) {
            let directory = self.open(old)?;
            let read = rustix::fs::fstat(&directory)
                .and_then(|stat| attributes::read(Holder::Open(directory.as_fd()), &stat));
            let metadata = read.map_err(self.tree.failed("read the attributes of", old))?;
            self.dress(new, &metadata)?;
            self.placeholders.remove(new);
            self.settled.insert(new.to_vec());
        }
        Ok(())
    }

    /// Removes what gives way to another entry.
    fn replace(&self, directory: &[u8], name: &[u8]) -> Result<()> {
        self.change(directory, |opened| {
            remove(opened, name).map_err(self.tree.failed("remove", &join(directory, name)))
        })
    }

    fn make_opaque(&self, path: &[u8]) -> Result<()> {
        mark_opaque(self.open(path)?).map_err(self.tree.failed("mark as opaque", path))
    }

    /// Gives lower files their names in the layer.
    fn link(&mut self, links: &[LowerLink], layers: &[Arc<Beneath>]) -> Result<()> {
        let mut linker = Linker::new(self.tree, self.area.fresh);
        for link in links {
            let lower = &layers[link.layer];
            let (file_parent, file) = split(&link.target);
            let source = self.area.directory(lower, file_parent);
            let source = source.map_err(lower.failed("open", file_parent))?;
            for path in [&link.name, &link.target] {
                if self.there(path)?.is_some() {
                    continue;
                }
                let (parent, name) = split(path);
                self.change(parent, |directory| {
                    linker
                        .link((source.as_fd(), file), (directory.as_fd(), name), parent)
                        .map_err(refused(self.tree, path))
                })?;
            }
        }
        self.missing.add(linker.missing);
        Ok(())
    }
}

fn in_the_way(implied: &Implied, path: &[u8], what: There) -> Error {
    let component = match LayerPath::clean(path) {
        Ok(component) => component,
        Err(_) => implied.tar.clone(),
    };
    let reason = match what {
        There::Symlink => EntryError::ThroughSymlink(component),
        _ => EntryError::ThroughFile(component),
    };
    Error::entry(&implied.tar, reason)
}
