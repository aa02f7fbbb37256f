//! The names of an untrusted layer.
//!
//! Rule: OCI image-spec, `layer.md`, "Applying Changesets". Where the specification leaves room, this is what
//! the [directory target](crate::repository::directory) does, too:
//! - Of several entries with one name the last counts; a directory over a directory only changes its
//!   attributes.
//! - A path through a symlink or file *of the same layer* is an error: no layer that was made by comparing
//!   trees has one.
//! - Whiteouts and opaque marks concern the lower layers only, wherever in the tar they stand.

use std::collections::HashMap;
use std::path::Path;

use cvmfs_repository::entry::{Device, File};
use layer_layout::overlay::WHITEOUT_DEVICE;

use super::database::{Attributes, DESCRIBED, Database, Inode, InodeKind, LINKED, OPAQUE, ROOT};
use crate::layer::{Entry, Kind, LayerPath};
use crate::repository::{EntryError, Error, Result};

/// How many directories are known without asking the database. A tar comes directory by directory, so a few
/// would do.
const KNOWN: usize = 256;

/// A layer that is being unpacked.
pub(in super::super) struct Layer {
    pub(super) database: Database,
    pub(super) next: i64,
    /// Directories that were in use.
    known: HashMap<LayerPath, i64>,
    /// The directory of the previous entry.
    last: Option<(LayerPath, i64)>,
    /// Whether the layer ever had a link to a lower layer, so that most layers need not look.
    pub(super) has_lower_links: bool,
}

impl Layer {
    /// Begins a layer with nothing but its root.
    pub(in super::super) fn create(path: &Path) -> Result<Self> {
        let database = Database::create(path, &super::finish::implied())?;
        database.begin()?;
        Ok(Self {
            database,
            next: ROOT + 1,
            known: HashMap::new(),
            last: None,
            has_lower_links: false,
        })
    }

    /// Applies an entry that has these attributes. For a file, gives the number under which its
    /// [content](Self::set_content) is expected, unless it is empty.
    pub(in super::super) fn apply(
        &mut self,
        entry: &Entry,
        attributes: Attributes,
    ) -> Result<Option<i64>> {
        if entry.path.is_root() && !matches!(entry.kind, Kind::Directory | Kind::Opaque) {
            return Err(Error::entry(&entry.path, EntryError::Root));
        }
        let (kind, value, target) = match &entry.kind {
            Kind::Directory => return self.directory(entry, attributes).map(|()| None),
            Kind::HardLink { target } => return self.hard_link(&entry.path, target).map(|()| None),
            Kind::Whiteout => {
                let (parent, name) = self.parent(&entry.path)?;
                return self.database.set_removed(parent, name).map(|()| None);
            }
            Kind::Opaque => return self.opaque(&entry.path).map(|()| None),
            Kind::File { size } => (InodeKind::File, *size, None),
            Kind::Symlink { target } => (InodeKind::Symlink, 0, Some(target.clone())),
            Kind::CharacterDevice { major, minor } if (*major, *minor) == WHITEOUT_DEVICE => {
                return Err(Error::entry(&entry.path, EntryError::WhiteoutDevice));
            }
            Kind::CharacterDevice { major, minor } => {
                (InodeKind::CharacterDevice, Device { major: *major, minor: *minor }.packed(), None)
            }
            Kind::BlockDevice { major, minor } => {
                (InodeKind::BlockDevice, Device { major: *major, minor: *minor }.packed(), None)
            }
            Kind::Fifo => (InodeKind::Fifo, 0, None),
        };
        let (parent, name) = self.parent(&entry.path)?;
        let number = self.number();
        self.put(parent, name, &Inode { number, kind, attributes, value, target, flags: 0 })?;
        Ok((kind == InodeKind::File && value > 0).then_some(number))
    }

    /// Notes what a file holds.
    pub(in super::super) fn set_content(&mut self, number: i64, file: &File) -> Result<()> {
        self.database.set_content(number, file)
    }

    /// Notes what empty files hold.
    pub(in super::super) fn set_empty(&mut self, file: &File) -> Result<()> {
        self.database.set_empty(file)
    }

    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }

    /// Puts a name in place of what had it.
    fn put(&mut self, parent: i64, name: &[u8], inode: &Inode) -> Result<()> {
        if self.database.insert(parent, name, inode)? {
            return Ok(());
        }
        self.vacate(parent, name)?;
        self.database.insert(parent, name, inode).map(drop)
    }

    /// Removes what has a name: a file, or a directory with all in it.
    fn vacate(&mut self, parent: i64, name: &[u8]) -> Result<()> {
        let Some(inode) = self.database.find(parent, name)? else { return Ok(()) };
        if inode.kind == InodeKind::Directory {
            self.known.clear();
            self.last = None;
        }
        self.database.remove(parent, name, &inode)
    }

    /// The directory that holds `path`, made if it is not there, and the name in it.
    fn parent<'p>(&mut self, path: &'p LayerPath) -> Result<(i64, &'p [u8])> {
        let (parent, name) = path.split().ok_or_else(|| Error::entry(path, EntryError::Root))?;
        if let Some((last, number)) = &self.last
            && *last == parent
        {
            return Ok((*number, name));
        }
        let number = self.ensure_directory(path, &parent)?;
        self.last = Some((parent, number));
        Ok((number, name))
    }

    /// The number of a directory; `None` if the layer has no directory there.
    pub(super) fn find(&mut self, directory: &LayerPath) -> Result<Option<i64>> {
        Ok(match self.walk(directory, &mut |_, _, _, _| Ok(None))? {
            Way::End(number) => Some(number),
            Way::Blocked(_) => None,
        })
    }

    /// Makes a directory and its parents unless they are there. `entry` is what needs them.
    pub(super) fn ensure_directory(
        &mut self,
        entry: &LayerPath,
        directory: &LayerPath,
    ) -> Result<i64> {
        let way = self.walk(directory, &mut |layer, parent, name, there| {
            if there {
                return Ok(None);
            }
            let made = layer.number();
            let inode = Inode::directory(made, super::finish::implied(), 0);
            layer.put(parent, name, &inode)?;
            Ok(Some(made))
        })?;
        match way {
            Way::End(number) => Ok(number),
            Way::Blocked(at) => Err(self.obstacle(entry, &at)?),
        }
    }

    /// Goes down to a directory. What is no directory on the way is shown to `other`: its parent, its name,
    /// and whether anything is there; it may give a directory instead.
    fn walk(&mut self, directory: &LayerPath, other: &mut Other<'_>) -> Result<Way> {
        let mut unknown = Vec::new();
        let mut at = directory.clone();
        let mut number = loop {
            if let Some(&number) = self.known.get(&at) {
                break number;
            }
            match at.split() {
                Some((parent, _)) => unknown.push(std::mem::replace(&mut at, parent)),
                None => break ROOT,
            }
        };
        for path in unknown.into_iter().rev() {
            let Some((_, name)) = path.split() else { continue };
            let there = self.database.find(number, name)?;
            number = match there {
                Some(inode) if inode.kind == InodeKind::Directory => inode.number,
                there => match other(self, number, name, there.is_some())? {
                    Some(number) => number,
                    None => return Ok(Way::Blocked(path)),
                },
            };
            if self.known.len() == KNOWN {
                self.known.clear();
            }
            self.known.insert(path, number);
        }
        Ok(Way::End(number))
    }

    /// The error for a component that is no directory.
    fn obstacle(&mut self, entry: &LayerPath, component: &LayerPath) -> Result<Error> {
        let mut symlink = false;
        if let Some((parent, name)) = component.split()
            && let Some(parent) = self.find(&parent)?
        {
            let there = self.database.find(parent, name)?;
            symlink = there.is_some_and(|inode| inode.kind == InodeKind::Symlink);
        }
        let component = component.clone();
        Ok(Error::entry(
            entry,
            match symlink {
                true => EntryError::ThroughSymlink(component),
                false => EntryError::ThroughFile(component),
            },
        ))
    }

    fn directory(&mut self, entry: &Entry, attributes: Attributes) -> Result<()> {
        let Some((_, name)) = entry.path.split() else {
            let flags = self.database.root()?.flags | DESCRIBED;
            return self.database.update_root(&attributes, flags);
        };
        let (parent, _) = self.parent(&entry.path)?;
        match self.database.find(parent, name)? {
            Some(there) if there.kind == InodeKind::Directory => {
                self.database.update(parent, name, &attributes, there.flags | DESCRIBED)
            }
            _ => {
                let inode = Inode::directory(self.number(), attributes, DESCRIBED);
                self.put(parent, name, &inode)
            }
        }
    }

    fn opaque(&mut self, path: &LayerPath) -> Result<()> {
        self.ensure_directory(path, path)?;
        match path.split() {
            None => self.database.flag_root(OPAQUE),
            Some((_, name)) => {
                let (parent, _) = self.parent(path)?;
                self.database.flag(parent, name, OPAQUE)
            }
        }
    }

    fn hard_link(&mut self, path: &LayerPath, target: &LayerPath) -> Result<()> {
        if path == target {
            return Err(Error::entry(path, EntryError::LinkToItself));
        }
        let Some((other, other_name)) = target.split() else {
            return Err(Error::entry(path, EntryError::LinkToDirectory(target.clone())));
        };
        // The target may be a directory just because the link stands in it.
        self.parent(path)?;
        let lower = match self.find(&other)? {
            None => {
                self.check_way(path, &other)?;
                target.as_bytes().to_vec()
            }
            Some(directory) => match self.database.find(directory, other_name)? {
                None => target.as_bytes().to_vec(),
                Some(inode) => match inode.kind {
                    InodeKind::Directory => {
                        let reason = EntryError::LinkToDirectory(target.clone());
                        return Err(Error::entry(path, reason));
                    }
                    InodeKind::LowerLink => inode.target.unwrap_or_default(),
                    _ => {
                        let (parent, name) = self.parent(path)?;
                        self.vacate(parent, name)?;
                        // The link may have taken the place of a directory that held its own target.
                        match self.database.find(directory, other_name)? {
                            None => target.as_bytes().to_vec(),
                            Some(mut inode) => {
                                self.database.flag(directory, other_name, LINKED)?;
                                inode.flags |= LINKED;
                                return self.put(parent, name, &inode);
                            }
                        }
                    }
                },
            },
        };
        let (parent, name) = self.parent(path)?;
        self.has_lower_links = true;
        let inode = Inode {
            number: self.number(),
            kind: InodeKind::LowerLink,
            attributes: Attributes::default(),
            value: 0,
            target: Some(lower),
            flags: 0,
        };
        self.put(parent, name, &inode)
    }

    /// Checks that a directory which the layer does not have could be one of a lower layer: nothing of
    /// this layer is in the way.
    fn check_way(&mut self, entry: &LayerPath, directory: &LayerPath) -> Result<()> {
        let mut blocked = false;
        let way = self.walk(directory, &mut |_, _, _, there| {
            blocked = there;
            Ok(None)
        })?;
        match way {
            Way::Blocked(at) if blocked => Err(self.obstacle(entry, &at)?),
            _ => Ok(()),
        }
    }
}

/// What to do where no directory is, see [`Layer::walk`].
type Other<'a> = dyn FnMut(&mut Layer, i64, &[u8], bool) -> Result<Option<i64>> + 'a;

/// Where a way down ended.
enum Way {
    /// In the directory of this number.
    End(i64),
    /// Before this component, which is no directory.
    Blocked(LayerPath),
}
