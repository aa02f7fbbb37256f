//! What a layer takes from the layers below it, found out without looking at the layer.
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
use super::stack::{Place, Seen, Stack};
use crate::layer::{LayerPath, Metadata};
use crate::repository::names::join;
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
    /// The place in the stack of the layer that has the file.
    pub(in crate::repository) layer: usize,
    layer_path: RepositoryPath,
}

/// All that a layer takes from those below it.
#[derive(Debug)]
pub(in crate::repository) struct Plan {
    /// Parents before children.
    pub(super) implied: Vec<Implied>,
    pub(super) links: Vec<LowerLink>,
}

/// Finds out what a layer with these open ends takes from `layers`, the ones below it, which stand at
/// `parents`.
pub(in crate::repository) fn plan(
    open_ends: &OpenEnds,
    parents: &[RepositoryPath],
    layers: &impl Layers,
) -> Result<Plan> {
    let stack = Stack::new(layers)?;
    let mut places = Places {
        known: HashMap::from([(LayerPath::ROOT, stack.root())]),
        implied: open_ends.implied_directories.iter().collect(),
        stack: &stack,
    };
    let mut implied = Vec::new();
    for tar in &open_ends.implied_directories {
        let place = places.of(tar)?;
        let Some((parent, name)) = tar.split() else { continue };
        let from = join(&places.of(&parent)?.path, name);
        // The way matters only if it has to be made.
        let way = if place.path == from { vec![place.clone()] } else { place.way() };
        let way = way.into_iter().filter(|place| !place.path.is_empty());
        let way = way.map(|place| Ok((place.path.clone(), stack.attributes(&place)?)));
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
        let name_parent = places.of(&name_parent)?;
        match stack.look(&places.of(&parent)?, target_last)? {
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
    Ok(Plan { implied, links })
}

/// Where the directories of a layer are among the layers below.
struct Places<'a, L> {
    known: HashMap<LayerPath, Rc<Place>>,
    implied: HashSet<&'a LayerPath>,
    stack: &'a Stack<'a, L>,
}

impl<L: Layers> Places<'_, L> {
    fn of(&mut self, directory: &LayerPath) -> Result<Rc<Place>> {
        let mut unknown = Vec::new();
        let mut at = directory.clone();
        let mut place = loop {
            if let Some(place) = self.known.get(&at) {
                break place.clone();
            }
            match at.split() {
                Some((parent, _)) => unknown.push(std::mem::replace(&mut at, parent)),
                None => break self.stack.root(),
            }
        };
        for path in unknown.into_iter().rev() {
            let Some((_, name)) = path.split() else { continue };
            place = self.step(&place, name, &path)?;
            self.known.insert(path, place.clone());
        }
        Ok(place)
    }

    fn step(&self, parent: &Rc<Place>, name: &[u8], path: &LayerPath) -> Result<Rc<Place>> {
        Ok(match self.stack.look(parent, name)? {
            Seen::Directory(place) => place,
            Seen::Nothing => parent.below(name, Vec::new()),
            // An entry of the layer replaces the lower name by a directory.
            Seen::Leaf { .. } if !self.implied.contains(path) => parent.below(name, Vec::new()),
            Seen::Leaf { layer, path: lower } => self
                .stack
                .follow(parent, layer, &lower)?
                .map_err(|reason| Error::entry(path, reason))?,
        })
    }
}

impl Plan {
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
