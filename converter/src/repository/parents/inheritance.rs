//! What a layer takes from its parents, the layers that it lies on, found out without looking at the layer.
//!
//! A layer tar may hold `lib/foo` and nothing of `lib`. Container engines apply it to the merged root, so
//! what `lib` is below decides:
//! - a directory: the layer's `lib` has its attributes;
//! - a symlink (Debian's `lib → usr/lib`): it is followed, with the merged root as `/`, and `foo` goes
//!   where it leads;
//! - nothing: `lib` is made, 0755 and owned by root;
//! - anything else: the layer cannot be applied.
//!
//! And a hard link's target may be a file of a lower layer. The link then means that very file, which
//! overlayfs would copy up under its old name, too.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use layer_layout::{Digest, RepositoryPath};
use serde_json::{Value, json};

use super::Layers;
use super::lookup::{Lookup, Seen, SeenDirectory};
use crate::layer::{LayerPath, Metadata};
use crate::repository::byte_path::join;
use crate::repository::{Completion, EntryError, Error, OpenEnds, Result};

/// A directory as it has to be; without attributes if nothing is known of it.
pub(super) type Wanted = (Vec<u8>, Option<Metadata>);

/// A directory that the layer only implies.
#[derive(Debug)]
pub(super) struct Implied {
    /// Where the tar has it.
    pub(super) tar: LayerPath,
    /// Where the layer's tree has it, when the redirections above it are done.
    pub(super) from: Vec<u8>,
    /// Where it belongs: the directories from the top to itself.
    pub(super) way: Vec<Wanted>,
}

impl Implied {
    /// Where it belongs.
    pub(super) fn to(&self) -> &[u8] {
        self.way.last().map_or(b"", |(path, _)| path)
    }

    /// Whether a symlink below leads elsewhere.
    pub(super) fn is_redirected(&self) -> bool {
        self.from != self.to()
    }
}

/// A hard link to a file of a lower layer.
#[derive(Debug)]
pub(in crate::repository) struct LowerLink {
    /// Where the link belongs.
    pub(in crate::repository) name: Vec<u8>,
    /// Where the file is seen; the layer gets that name, too.
    pub(in crate::repository) target: Vec<u8>,
    /// The layer that has the file, counted from the top.
    pub(in crate::repository) layer: usize,
    layer_path: RepositoryPath,
}

/// All that a layer takes from its parents.
#[derive(Debug)]
pub(in crate::repository) struct Inheritance {
    /// Parents before children.
    pub(super) implied: Vec<Implied>,
    pub(super) links: Vec<LowerLink>,
}

/// Finds out what a layer with these open ends takes from `layers`, its parents, which stand at
/// `parents`.
pub(in crate::repository) fn inherit(
    open_ends: &OpenEnds,
    parents: &[RepositoryPath],
    layers: &impl Layers,
) -> Result<Inheritance> {
    let lookup = Lookup::new(layers)?;
    let mut directories = Directories {
        known: HashMap::from([(LayerPath::ROOT, lookup.root())]),
        implied: open_ends.implied_directories.iter().collect(),
        lookup: &lookup,
    };
    let mut implied = Vec::new();
    for tar in &open_ends.implied_directories {
        let directory = directories.of(tar)?;
        let Some((parent, name)) = tar.split() else { continue };
        let from = join(&directories.of(&parent)?.path, name);
        // The way matters only if it has to be made.
        let way = if directory.path == from { vec![directory.clone()] } else { directory.way() };
        let way = way.into_iter().filter(|directory| !directory.path.is_empty());
        let way = way.map(|directory| Ok((directory.path.clone(), lookup.attributes(&directory)?)));
        implied.push(Implied { tar: tar.clone(), from, way: way.collect::<Result<_>>()? });
    }
    let mut links = Vec::new();
    for (name, target) in &open_ends.lower_links {
        let refused = |reason| Err(Error::entry(name, reason));
        let (Some((name_parent, last)), Some((parent, target_last))) =
            (name.split(), target.split())
        else {
            return refused(EntryError::LinkToDirectory(target.clone()));
        };
        let name_parent = directories.of(&name_parent)?;
        match lookup.look(&directories.of(&parent)?, target_last)? {
            Seen::Nothing => return refused(EntryError::LinkToNothing(target.clone())),
            Seen::Directory(_) => return refused(EntryError::LinkToDirectory(target.clone())),
            Seen::Leaf { layer, path } => links.push(LowerLink {
                name: join(&name_parent.path, last),
                target: path,
                layer,
                layer_path: parents[layer].clone(),
            }),
        }
    }
    Ok(Inheritance { implied, links })
}

/// Where the directories of a layer are among its parents.
struct Directories<'a, L> {
    known: HashMap<LayerPath, Rc<SeenDirectory>>,
    implied: HashSet<&'a LayerPath>,
    lookup: &'a Lookup<'a, L>,
}

impl<L: Layers> Directories<'_, L> {
    fn of(&mut self, directory: &LayerPath) -> Result<Rc<SeenDirectory>> {
        let mut unknown = Vec::new();
        let mut at = directory.clone();
        let mut seen = loop {
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            match at.split() {
                Some((parent, _)) => unknown.push(std::mem::replace(&mut at, parent)),
                None => break self.lookup.root(),
            }
        };
        for path in unknown.into_iter().rev() {
            let Some((_, name)) = path.split() else { continue };
            seen = self.step(&seen, name, &path)?;
            self.known.insert(path, seen.clone());
        }
        Ok(seen)
    }

    fn step(
        &self,
        parent: &Rc<SeenDirectory>,
        name: &[u8],
        path: &LayerPath,
    ) -> Result<Rc<SeenDirectory>> {
        Ok(match self.lookup.look(parent, name)? {
            Seen::Directory(directory) => directory,
            Seen::Nothing => parent.below(name, Vec::new()),
            // An entry of the layer replaces the lower name by a directory.
            Seen::Leaf { .. } if !self.implied.contains(path) => parent.below(name, Vec::new()),
            Seen::Leaf { layer, path: lower } => self
                .lookup
                .follow(parent, layer, &lower)?
                .map_err(|reason| Error::entry(path, reason))?,
        })
    }
}

impl Inheritance {
    /// The fingerprint: everything by value, except that a lower file is named by its layer, whose path
    /// stands for its content.
    pub(in crate::repository) fn completion(&self) -> Completion {
        let directory =
            |(path, metadata): &Wanted| json!([hex::encode(path), metadata.as_ref().map(value)]);
        let implied = self.implied.iter().map(|implied| {
            let way: Vec<Value> = implied.way.iter().map(directory).collect();
            json!([hex::encode(&implied.from), way])
        });
        let links = self.links.iter().map(|link| {
            let (name, target) = (hex::encode(&link.name), hex::encode(&link.target));
            json!([name, target, link.layer_path.as_str()])
        });
        let all = json!([implied.collect::<Vec<_>>(), links.collect::<Vec<_>>()]);
        Digest::of(all.to_string().as_bytes()).into()
    }
}

fn value(metadata: &Metadata) -> Value {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    let xattrs: Vec<_> =
        xattrs.iter().map(|(name, value)| (hex::encode(name), hex::encode(value))).collect();
    json!([mode, uid, gid, mtime.seconds, mtime.nanoseconds, xattrs])
}
