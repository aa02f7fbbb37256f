//! Looking up single paths in the layers that a layer lies on, as they are seen through each other.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Layers;
use crate::layer::Metadata;
use crate::repository::Result;
use crate::repository::byte_path::{components, join};
use crate::tree::{Listing, Merged, seen, stack};

/// Linux follows at most 40 symlinks in one look-up (path_resolution(7)).
pub(in crate::repository) const MAX_SYMLINKS: usize = 40;

/// A directory as it is seen, or would be if it existed, with the way to it.
#[derive(Debug)]
pub(in crate::repository) struct SeenDirectory {
    /// Path in every layer that has it.
    pub(in crate::repository) path: Vec<u8>,
    /// The layers that contribute to it, topmost first; none if it does not exist.
    pub(in crate::repository) sources: Vec<usize>,
    pub(in crate::repository) parent: Option<Rc<Self>>,
}

impl SeenDirectory {
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
    fn below(self: &Rc<Self>, name: &[u8], sources: Vec<usize>) -> Rc<Self> {
        let path = join(&self.path, name);
        Rc::new(Self { path, sources, parent: Some(self.clone()) })
    }
}

/// What is seen of a name.
#[derive(Debug)]
pub(in crate::repository) enum Seen {
    Nothing,
    Directory(Rc<SeenDirectory>),
    /// Anything else, in one layer.
    Leaf {
        layer: usize,
        path: Vec<u8>,
    },
}

/// The layers whose root directories contribute to what is seen: an opaque root ends the stack. (The kernel
/// takes no notice of the mark there, since it reads a mark when it looks a name up, and a root has none. So
/// whoever mounts the layers has to leave out those below.)
pub(in crate::repository) fn root_sources(layers: &impl Layers) -> Result<Vec<usize>> {
    Ok(match one_name(layers, 0..layers.count(), b"")? {
        Some(Merged::Directory { sources, .. }) => sources,
        _ => Vec::new(),
    })
}

/// What is seen of one path of the given layers.
fn one_name(
    layers: &impl Layers,
    sources: impl IntoIterator<Item = usize>,
    path: &[u8],
) -> Result<Option<Merged<usize>>> {
    let mut listings = Vec::new();
    for layer in sources {
        if let Some(class) = layers.class(layer, path)? {
            listings.push(Listing::from([(Vec::new(), (class, layer))]));
        }
    }
    Ok(seen(stack(listings)).into_values().next())
}

/// What is seen of layers, path by path.
pub(in crate::repository) struct Lookup<'a, L> {
    layers: &'a L,
    root: Rc<SeenDirectory>,
}

impl<'a, L: Layers> Lookup<'a, L> {
    pub(in crate::repository) fn new(layers: &'a L) -> Result<Self> {
        let sources = root_sources(layers)?;
        let root = Rc::new(SeenDirectory { path: Vec::new(), sources, parent: None });
        Ok(Self { layers, root })
    }

    pub(in crate::repository) fn root(&self) -> Rc<SeenDirectory> {
        self.root.clone()
    }

    /// What is seen of `name` in a directory.
    pub(in crate::repository) fn look(
        &self,
        directory: &Rc<SeenDirectory>,
        name: &[u8],
    ) -> Result<Seen> {
        let path = join(&directory.path, name);
        let merged = one_name(self.layers, directory.sources.iter().copied(), &path)?;
        Ok(match merged {
            None | Some(Merged::Whiteout) => Seen::Nothing,
            Some(Merged::Leaf(layer)) => Seen::Leaf { layer, path },
            Some(Merged::Directory { sources, .. }) => {
                Seen::Directory(directory.below(name, sources))
            }
        })
    }

    /// The target of a symlink in one layer; `None` if it is none.
    pub(super) fn symlink(&self, layer: usize, path: &[u8]) -> Result<Option<Vec<u8>>> {
        self.layers.symlink(layer, path)
    }

    /// The directory to which a path leads from `directory`, with the root of what is seen as `/` and all symlinks
    /// followed, as in a container; `None` if it leads to none, or through too many symlinks.
    pub(super) fn walk(
        &self,
        directory: &Rc<SeenDirectory>,
        path: &[u8],
    ) -> Result<Option<Rc<SeenDirectory>>> {
        let mut at = directory.clone();
        let mut names = VecDeque::new();
        let mut further = Some(path.to_vec());
        for _ in 0..=MAX_SYMLINKS {
            let Some(path) = further.take() else { break };
            if path.first() == Some(&b'/') {
                at = self.root();
            }
            for name in components(&path).rev() {
                names.push_front(name.to_vec());
            }
            while let Some(name) = names.pop_front() {
                if name == b".." {
                    at = at.parent.clone().unwrap_or(at);
                    continue;
                }
                match self.look(&at, &name)? {
                    Seen::Directory(seen) => at = seen,
                    Seen::Nothing => return Ok(None),
                    Seen::Leaf { layer, path } => match self.symlink(layer, &path)? {
                        Some(target) => {
                            further = Some(target);
                            break;
                        }
                        None => return Ok(None),
                    },
                }
            }
        }
        Ok(further.is_none().then_some(at))
    }

    /// The attributes of a directory; `None` if it does not exist.
    pub(super) fn attributes(&self, directory: &SeenDirectory) -> Result<Option<Metadata>> {
        let Some(&layer) = directory.sources.first() else { return Ok(None) };
        self.layers.attributes(layer, &directory.path).map(Some)
    }
}
