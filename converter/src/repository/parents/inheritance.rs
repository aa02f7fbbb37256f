//! What a layer takes from its parents, the layers that it lies on, found out without looking at the layer.
//!
//! A layer tar may hold `lib/foo` and nothing of `lib`. What `lib` is below decides its attributes:
//! - a directory, or a symlink that leads to one (Debian's `lib → usr/lib`): those of that directory;
//! - anything else, or nothing: 0755, owned by root.
//!
//! It is a directory in any case, and takes the place of anything else below. Rule: containerd's `archive` (`mkparent`);
//! Docker and Podman do so, too. The project's `docs/decisions/lower-symlinks.md` tells why a symlink is not followed.
//!
//! And a hard link's target may be a file of a lower layer, as it is seen there, symlinks above it followed. The link then
//! means that very file, which overlayfs would copy up under its old name, too.

use std::collections::HashMap;
use std::rc::Rc;

use layer_layout::{Digest, RepositoryPath};
use serde_json::{Value, json};

use super::Layers;
use super::lookup::{Lookup, Seen, SeenDirectory};
use crate::layer::{LayerPath, Metadata};
use crate::repository::byte_path::components;
use crate::repository::{Completion, EntryError, Error, Inherited, OpenEnds, Result};

/// A directory as it has to be; without attributes if nothing is known of it.
pub(super) type Wanted = (Vec<u8>, Option<Metadata>);

/// A directory that the layer only implies.
#[derive(Debug)]
pub(super) struct Implied {
    pub(super) directory: Wanted,
    /// Whether it takes the place of a symlink.
    replaces_symlink: bool,
}

/// A hard link to a file of a lower layer.
#[derive(Debug)]
pub(in crate::repository) struct LowerLink {
    /// Where the link belongs.
    pub(in crate::repository) name: Vec<u8>,
    /// Where the file is seen; the layer gets that name, too.
    pub(in crate::repository) target: Vec<u8>,
    /// The directories above that, from the top.
    pub(super) way: Vec<Wanted>,
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
    let root = Rc::new(LowerDirectory { leads_to: Some(lookup.root()), is_there: true });
    let mut directories =
        Directories { known: HashMap::from([(LayerPath::ROOT, root)]), lookup: &lookup };
    let mut implied = Vec::new();
    for path in &open_ends.implied_directories {
        implied.push(directories.implied(path)?);
    }
    let mut links = Vec::new();
    for (name, target) in &open_ends.lower_links {
        let refused = |reason| Err(Error::entry(name, reason));
        let Some((parent, last)) = target.split() else {
            return refused(EntryError::LinkToDirectory(target.clone()));
        };
        let Some(directory) = lookup.walk(&lookup.root(), parent.as_bytes())? else {
            return refused(EntryError::LinkToNothing(target.clone()));
        };
        match lookup.look(&directory, last)? {
            Seen::Nothing => return refused(EntryError::LinkToNothing(target.clone())),
            Seen::Directory(_) => return refused(EntryError::LinkToDirectory(target.clone())),
            Seen::Leaf { layer, path } => links.push(LowerLink {
                name: name.as_bytes().to_vec(),
                target: path,
                way: wanted(&lookup, &directory)?,
                layer,
                layer_path: parents[layer].clone(),
            }),
        }
    }
    Ok(Inheritance { implied, links })
}

/// A directory that is seen, with those above it, from the top, without the root.
fn wanted<L: Layers>(lookup: &Lookup<'_, L>, directory: &Rc<SeenDirectory>) -> Result<Vec<Wanted>> {
    let way = directory.way().into_iter().filter(|directory| !directory.path.is_empty());
    way.map(|directory| Ok((directory.path.clone(), lookup.attributes(&directory)?))).collect()
}

/// What the directories of a layer are among its parents.
struct Directories<'a, L> {
    known: HashMap<LayerPath, Rc<LowerDirectory>>,
    lookup: &'a Lookup<'a, L>,
}

/// What the parents have at the path of a directory of the layer.
struct LowerDirectory {
    /// The directory to which the path leads there, symlinks followed; `None` if it leads to none.
    leads_to: Option<Rc<SeenDirectory>>,
    /// Whether there is a directory at the path itself.
    is_there: bool,
}

impl<L: Layers> Directories<'_, L> {
    /// A directory that the layer only implies.
    fn implied(&mut self, path: &LayerPath) -> Result<Implied> {
        let (lower, replaces_symlink) = self.of(path)?;
        let attributes = match &lower.leads_to {
            Some(directory) => self.lookup.attributes(directory)?,
            None => None,
        };
        Ok(Implied { directory: (path.as_bytes().to_vec(), attributes), replaces_symlink })
    }

    /// What the parents have at a path, and whether that is a symlink.
    fn of(&mut self, path: &LayerPath) -> Result<(Rc<LowerDirectory>, bool)> {
        let mut unknown = Vec::new();
        let mut at = path.clone();
        let mut lower = loop {
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            match at.split() {
                Some((parent, _)) => unknown.push(std::mem::replace(&mut at, parent)),
                None => break Rc::new(LowerDirectory { leads_to: None, is_there: false }),
            }
        };
        let mut is_symlink = false;
        for path in unknown.into_iter().rev() {
            let Some((_, name)) = path.split() else { continue };
            let (child, leads_on) = self.child(&lower, name)?;
            is_symlink = leads_on && lower.is_there;
            lower = Rc::new(child);
            self.known.insert(path, lower.clone());
        }
        Ok((lower, is_symlink))
    }

    /// A name in a directory, and whether it is a symlink.
    fn child(&self, parent: &LowerDirectory, name: &[u8]) -> Result<(LowerDirectory, bool)> {
        let nothing = LowerDirectory { leads_to: None, is_there: false };
        let Some(directory) = &parent.leads_to else { return Ok((nothing, false)) };
        Ok(match self.lookup.look(directory, name)? {
            Seen::Nothing => (nothing, false),
            Seen::Directory(seen) => {
                (LowerDirectory { leads_to: Some(seen), is_there: parent.is_there }, false)
            }
            Seen::Leaf { layer, path } => match self.lookup.symlink(layer, &path)? {
                Some(target) => {
                    let leads_to = self.lookup.walk(directory, &target)?;
                    (LowerDirectory { leads_to, is_there: false }, true)
                }
                None => (nothing, false),
            },
        })
    }
}

impl Inheritance {
    /// What the layer takes, for those who have to know it.
    pub(in crate::repository) fn told(&self) -> Inherited {
        let replaced = self.implied.iter().filter(|implied| implied.replaces_symlink);
        let path = |implied: &Implied| {
            components(&implied.directory.0).fold(LayerPath::ROOT, |path, name| path.join(name))
        };
        Inherited { completion: self.completion(), replaced_symlinks: replaced.map(path).collect() }
    }

    /// The fingerprint: everything by value, except that a lower file is named by its layer, whose path
    /// stands for its content.
    fn completion(&self) -> Completion {
        let directory =
            |(path, metadata): &Wanted| json!([hex::encode(path), metadata.as_ref().map(value)]);
        let implied = self.implied.iter().map(|implied| {
            json!([hex::encode(&implied.directory.0), [directory(&implied.directory)]])
        });
        let links = self.links.iter().map(|link| {
            let (name, target) = (hex::encode(&link.name), hex::encode(&link.target));
            let way: Vec<Value> = link.way.iter().map(directory).collect();
            json!([name, target, link.layer_path.as_str(), way])
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
