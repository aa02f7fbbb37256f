//! Looking up single paths in a stack of layers.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::area::Area;
use super::attributes::{self, Holder};
use super::beneath::{Beneath, components, join, split};
use super::listing::{class_of, is_opaque, root_sources};
use crate::layer::Metadata;
use crate::repository::{EntryError, Result};
use crate::tree::{Class, Listing, Merged, seen, stack};

/// Linux follows at most 40 symlinks in one look-up (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// A directory as it is seen, or would be if it existed, with the way to it.
#[derive(Debug)]
pub(super) struct Place {
    /// Path in every layer that has it.
    pub(super) path: Vec<u8>,
    /// The layers that contribute to it, topmost first; none if it does not exist.
    pub(super) sources: Vec<usize>,
    parent: Option<Rc<Self>>,
}

impl Place {
    /// The same and all directories above it, the root first.
    pub(super) fn way(self: &Rc<Self>) -> Vec<Rc<Self>> {
        let mut way = vec![self.clone()];
        let mut at = self;
        while let Some(parent) = &at.parent {
            way.push(parent.clone());
            at = parent;
        }
        way.reverse();
        way
    }

    /// A directory in this one.
    pub(super) fn below(self: &Rc<Self>, name: &[u8], sources: Vec<usize>) -> Rc<Self> {
        let path = join(&self.path, name);
        Rc::new(Self { path, sources, parent: Some(self.clone()) })
    }
}

/// What is seen of a name.
#[derive(Debug)]
pub(super) enum Seen {
    Nothing,
    Directory(Rc<Place>),
    /// Anything else, in one layer.
    Leaf {
        layer: usize,
        path: Vec<u8>,
    },
}

/// A stack of layers, topmost first.
pub(super) struct Stack<'a> {
    area: &'a Area,
    layers: &'a [Arc<Beneath>],
    root: Rc<Place>,
}

impl<'a> Stack<'a> {
    pub(super) fn new(area: &'a Area, layers: &'a [Arc<Beneath>]) -> Result<Self> {
        let sources = root_sources(area, layers)?;
        let root = Rc::new(Place { path: Vec::new(), sources, parent: None });
        Ok(Self { area, layers, root })
    }

    pub(super) fn root(&self) -> Rc<Place> {
        self.root.clone()
    }

    /// What is seen of `name` in a directory.
    pub(super) fn look(&self, directory: &Rc<Place>, name: &[u8]) -> Result<Seen> {
        let path = join(&directory.path, name);
        let mut listings = Vec::new();
        for &layer in &directory.sources {
            let tree = &self.layers[layer];
            let class = || -> Result<_, Errno> {
                let opened = self.area.directory(tree, &directory.path)?;
                match class_of(&opened, name)? {
                    Some(Class::Directory { .. }) => {
                        let opaque = is_opaque(self.area.directory(tree, &path)?)?;
                        Ok(Some(Class::Directory { opaque }))
                    }
                    class => Ok(class),
                }
            };
            if let Some(class) = class().map_err(tree.failed("look at", &path))? {
                listings.push(Listing::from([(name.to_vec(), (class, layer))]));
            }
        }
        Ok(match seen(stack(listings)).remove(name) {
            None | Some(Merged::Whiteout) => Seen::Nothing,
            Some(Merged::Leaf(layer)) => Seen::Leaf { layer, path },
            Some(Merged::Directory { sources, .. }) => {
                Seen::Directory(directory.below(name, sources))
            }
        })
    }

    /// Follows a symlink that stands in `directory` to a directory, with the root of the stack as `/`, as
    /// in a container. What does not exist on the way is taken for directories that are to be made. `None`
    /// if something else than a directory is on the way or too many symlinks are.
    pub(super) fn follow(
        &self,
        directory: &Rc<Place>,
        layer: usize,
        path: &[u8],
    ) -> Result<Result<Rc<Place>, EntryError>> {
        let mut at = directory.clone();
        let mut way = VecDeque::new();
        let mut link = Some((layer, path.to_vec()));
        for _ in 0..=MAX_SYMLINKS {
            let Some((layer, path)) = link.take() else { return Ok(Ok(at)) };
            let Some(target) = self.symlink(layer, &path)? else {
                return Ok(Err(EntryError::NotADirectoryBelow));
            };
            if target.first() == Some(&b'/') {
                at = self.root();
            }
            for name in components(&target).rev() {
                way.push_front(name.to_vec());
            }
            while let Some(name) = way.pop_front() {
                if name == b".." {
                    at = at.parent.clone().unwrap_or(at);
                    continue;
                }
                match self.look(&at, &name)? {
                    Seen::Directory(place) => at = place,
                    Seen::Nothing => at = at.below(&name, Vec::new()),
                    Seen::Leaf { layer, path } => {
                        link = Some((layer, path));
                        break;
                    }
                }
            }
        }
        Ok(match link {
            None => Ok(at),
            Some(_) => Err(EntryError::SymlinkLoop),
        })
    }

    /// The target of a symlink; `None` if it is none.
    fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let tree = &self.layers[layer];
        let (parent, name) = split(path);
        let read = || -> Result<_, Errno> {
            let parent = self.area.directory(tree, parent)?;
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(None);
            }
            Ok(Some(rustix::fs::readlinkat(&parent, name, Vec::new())?.into_bytes()))
        };
        read().map_err(tree.failed("read", path))
    }

    /// The attributes of a directory; `None` if it does not exist.
    pub(super) fn attributes(&self, place: &Place) -> Result<Option<Metadata>> {
        let Some(&layer) = place.sources.first() else { return Ok(None) };
        let tree = &self.layers[layer];
        let read = || -> Result<_, Errno> {
            let directory = self.area.directory(tree, &place.path)?;
            let stat = rustix::fs::fstat(&directory)?;
            attributes::read(Holder::Open(directory.as_fd()), &stat)
        };
        let mut metadata: Metadata =
            read().map_err(tree.failed("read the attributes of", &place.path))?;
        metadata.mode = self.area.original_mode(tree, &place.path, metadata.mode);
        Ok(Some(metadata))
    }
}
