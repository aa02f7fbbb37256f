//! What a layer that is being unpacked has so far, as far as the file system does not tell.
//!
//! Directories are few beside files, so they are kept in memory: their attributes wait for the end (their
//! content would change the time, and a strict mode would lock us out), and so do marks that concern the
//! layers below. Files are not kept: whether a name is taken is what the kernel answers anyway.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::layer::{LayerPath, Metadata};

/// How many directories are kept open. A tar comes directory by directory, so a few would do.
const OPEN: usize = 64;

/// One directory of the layer.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// From the last entry that describes the directory; `None` if only its content implies it.
    pub(super) described: Option<Metadata>,
    /// Whether an entry says that nothing of the lower layers is seen in it.
    pub(super) opaque: bool,
    /// Names that entries remove from the lower layers.
    pub(super) whiteouts: BTreeSet<Vec<u8>>,
    /// Names of hard links whose target this layer does not have, with the target.
    pub(super) links: BTreeMap<Vec<u8>, LayerPath>,
    open: Option<Arc<OwnedFd>>,
}

/// The directories of a layer.
#[derive(Debug)]
pub(super) struct Names {
    directories: BTreeMap<LayerPath, Node>,
    /// Those that are open, the first opened first.
    open: VecDeque<LayerPath>,
    /// Whether any directory was ever left a link to a lower layer, so that most layers need not look.
    links: bool,
}

impl Names {
    /// A layer with nothing but its root.
    pub(super) fn new() -> Self {
        Self {
            directories: BTreeMap::from([(LayerPath::ROOT, Node::default())]),
            open: VecDeque::new(),
            links: false,
        }
    }

    pub(super) fn get(&self, path: &LayerPath) -> Option<&Node> {
        self.directories.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &LayerPath) -> Option<&mut Node> {
        self.directories.get_mut(path)
    }

    pub(super) fn contains(&self, path: &LayerPath) -> bool {
        self.directories.contains_key(path)
    }

    pub(super) fn insert(&mut self, path: LayerPath, described: Option<Metadata>) {
        self.directories.insert(path, Node { described, ..Node::default() });
    }

    /// All directories, each before what it holds.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&LayerPath, &Node)> {
        self.directories.iter()
    }

    /// The handle of a directory that is open.
    pub(super) fn opened(&self, path: &LayerPath) -> Option<Arc<OwnedFd>> {
        self.directories.get(path)?.open.clone()
    }

    /// Keeps a handle; the oldest is given up for it.
    pub(super) fn keep_open(&mut self, path: &LayerPath, handle: Arc<OwnedFd>) {
        if self.open.len() == OPEN
            && let Some(oldest) = self.open.pop_front()
            && let Some(node) = self.directories.get_mut(&oldest)
        {
            node.open = None;
        }
        if let Some(node) = self.directories.get_mut(path) {
            node.open = Some(handle);
            self.open.push_back(path.clone());
        }
    }

    /// Forgets a directory and all in it.
    pub(super) fn remove_tree(&mut self, path: &LayerPath) {
        let below = path.join(b"");
        let inside =
            |other: &LayerPath| other == path || other.as_bytes().starts_with(below.as_bytes());
        let gone: Vec<LayerPath> = self
            .directories
            .range(path.clone()..)
            .map(|(other, _)| other)
            .take_while(|other| other.as_bytes().starts_with(path.as_bytes()))
            .filter(|other| inside(other))
            .cloned()
            .collect();
        for path in gone {
            self.directories.remove(&path);
        }
        self.open.retain(|other| !inside(other));
    }

    /// Records a hard link to a lower layer.
    pub(super) fn add_link(&mut self, parent: &LayerPath, name: &[u8], target: LayerPath) {
        if let Some(node) = self.directories.get_mut(parent) {
            node.links.insert(name.to_vec(), target);
            self.links = true;
        }
    }

    /// Where the hard link `name` leads, if it is one to a lower layer.
    pub(super) fn link(&self, parent: &LayerPath, name: &[u8]) -> Option<&LayerPath> {
        if !self.links {
            return None;
        }
        self.directories.get(parent)?.links.get(name)
    }

    /// Forgets a hard link, because the name becomes something else.
    pub(super) fn remove_link(&mut self, parent: &LayerPath, name: &[u8]) {
        if self.links
            && let Some(node) = self.directories.get_mut(parent)
        {
            node.links.remove(name);
        }
    }
}

/// What the marks of a layer mean for its directories, once all entries are known.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Directories in which nothing lower is seen, by a mark of their own or because the layer removes the
    /// lower one of that name and has a new one.
    pub(super) opaque: BTreeSet<LayerPath>,
    /// Of those, the ones that replace a removed directory.
    pub(super) replacing: BTreeSet<LayerPath>,
    /// Directories somewhere below an opaque one.
    pub(super) closed: BTreeSet<LayerPath>,
}

impl Marks {
    pub(super) fn of(names: &Names) -> Self {
        let mut marks = Self::default();
        for (path, node) in names.iter() {
            if let Some((parent, name)) = path.split() {
                if marks.covers_all(&parent) {
                    marks.closed.insert(path.clone());
                } else if names.get(&parent).is_some_and(|node| node.whiteouts.contains(name)) {
                    marks.replacing.insert(path.clone());
                    marks.opaque.insert(path.clone());
                }
            }
            if node.opaque {
                marks.opaque.insert(path.clone());
            }
        }
        marks
    }

    /// Whether nothing of the lower layers is seen in a directory.
    pub(super) fn covers_all(&self, directory: &LayerPath) -> bool {
        self.opaque.contains(directory) || self.closed.contains(directory)
    }
}
