//! A layer while it is unpacked: its names in a database, its content on the way into the storage.

use std::path::Path;

use cvmfs_repository::catalog::MARKER;
use cvmfs_repository::entry::Device;
use cvmfs_repository::link_target::literal;
use cvmfs_repository::objects::{Objects, Upload};

use super::database::{
    Attributes, DESCRIBED, Database, Inode, InodeKind, LINKED, OPAQUE, OUTSIDE, ROOT,
};
use super::{Place, Staged};
use crate::layer::{Content, LayerPath, Metadata};
use crate::repository::byte_path::split;
use crate::repository::cvmfs::attributes::{NodeType, pack};
use crate::repository::cvmfs::shortfall::{Shortfall, Shortfalls};
use crate::repository::layer_rules::{
    self, LayerStore, Leaf, Linked, Marks, Obstacle, Subdirectory,
};
use crate::repository::{Error, Result};

/// How many files are sent before the finished ones are collected.
const COLLECT_AFTER: u32 = 256;

/// A layer that is being unpacked.
pub(in super::super) struct Layer {
    place: Place,
    database: Database,
    /// The inode number that is given out next.
    next: i64,
    upload: Upload,
    /// Files that were sent since it was last asked which are stored.
    sent: u32,
    has_empty_files: bool,
    shortfalls: Shortfalls,
}

/// A directory: its inode number, and that of the directory which holds it.
#[derive(Clone, Copy)]
pub(in super::super) struct Directory {
    parent: i64,
    number: i64,
}

type Name<'a> = layer_rules::Name<'a, Directory>;

impl Layer {
    /// Begins a layer with nothing but its root, in a database at `path`. Content goes to `upload`.
    pub(in super::super) fn create(path: &Path, upload: Upload) -> Result<Self> {
        let database = Database::create(path, &Attributes::implied())?;
        let place = Place(path.to_owned());
        database.begin()?;
        Ok(Self {
            place,
            database,
            next: ROOT + 1,
            upload,
            sent: 0,
            has_empty_files: false,
            shortfalls: Shortfalls::default(),
        })
    }

    /// Shortfalls that the format has no place for something, or that clients show something else.
    pub(in super::super) fn count(&mut self, shortfall: Shortfall, path: &LayerPath) {
        self.shortfalls.count_at(shortfall, path);
    }

    /// Waits for the content and ends the layer. Gives its tree, with shortfalls on what is missing in it.
    pub(in super::super) fn finish(self, objects: &Objects) -> Result<(Staged, Shortfalls)> {
        let Self { place, database, next, upload, has_empty_files, shortfalls, .. } = self;
        for (number, file) in upload.wait()? {
            database.set_content(number.cast_signed(), &file)?;
        }
        if has_empty_files {
            database.set_empty(&objects.store_file(b"")?)?;
        }
        database.commit()?;
        Ok((Staged::new(place, next), shortfalls))
    }

    /// Puts a new inode at a name unless that is taken. Tells whether it was free: only then is there something
    /// to remark, since the rules try again.
    fn insert(&mut self, at: Name<'_>, inode: &Inode) -> Result<bool> {
        let is_free = self.database.insert(at.directory.number, at.name, inode)?;
        self.next += i64::from(is_free);
        Ok(is_free)
    }

    fn find(&self, at: Name<'_>) -> Result<Option<Inode>> {
        self.database.find(at.directory.number, at.name)
    }

    /// Sends the content of a file.
    fn send(
        &mut self,
        path: &LayerPath,
        number: i64,
        size: u64,
        content: &mut Content<'_>,
    ) -> Result<()> {
        self.upload.file(number.cast_unsigned(), size, content).map_err(|error| match error {
            cvmfs_repository::Error::Content(cause) => Error::Content { path: path.clone(), cause },
            error => error.into(),
        })?;
        self.sent += 1;
        if self.sent == COLLECT_AFTER {
            self.sent = 0;
            for (number, file) in self.upload.finished() {
                self.database.set_content(number.cast_signed(), &file)?;
            }
        }
        Ok(())
    }
}

/// A directory's own name, which is empty for the root.
fn own_name(path: &LayerPath) -> &[u8] {
    split(path.as_bytes()).1
}

impl LayerStore for Layer {
    type Directory = Directory;

    fn root(&self) -> Directory {
        Directory { parent: OUTSIDE, number: ROOT }
    }

    fn directory(&mut self, at: Name<'_>) -> Result<Option<Directory>> {
        let found = self.find(at)?.filter(|inode| inode.kind == InodeKind::Directory);
        Ok(found.map(|Inode { number, .. }| Directory { parent: at.directory.number, number }))
    }

    fn obstacle(&mut self, at: Name<'_>) -> Result<Option<Obstacle>> {
        Ok(self.find(at)?.map(|inode| match inode.kind {
            InodeKind::Symlink => Obstacle::Symlink,
            _ => Obstacle::Other,
        }))
    }

    fn symlink(&mut self, at: Name<'_>) -> Result<Option<Vec<u8>>> {
        Ok(self.find(at)?.and_then(|inode| match inode.kind {
            InodeKind::Symlink => inode.target,
            _ => None,
        }))
    }

    fn make_directory(
        &mut self,
        at: Name<'_>,
        metadata: Option<&Metadata>,
    ) -> Result<Option<Directory>> {
        let mut shortfalls = Shortfalls::default();
        let (attributes, flags) = match metadata {
            Some(metadata) => {
                (pack(metadata, NodeType::Directory, at.path, &mut shortfalls), DESCRIBED)
            }
            None => (Attributes::implied(), 0),
        };
        let inode = Inode::directory(self.next, attributes, flags);
        if !self.insert(at, &inode)? {
            return Ok(None);
        }
        self.shortfalls.merge(shortfalls);
        Ok(Some(Directory { parent: at.directory.number, number: inode.number }))
    }

    fn make_leaf(
        &mut self,
        at: Name<'_>,
        leaf: Leaf<'_>,
        metadata: &Metadata,
        content: &mut Content<'_>,
    ) -> Result<bool> {
        let device = |major, minor| Device { major, minor }.packed();
        let (kind, node_type, value, target) = match leaf {
            Leaf::File { size } => (InodeKind::File, NodeType::File, size, None),
            Leaf::Symlink { target } => (InodeKind::Symlink, NodeType::Symlink, 0, Some(target)),
            Leaf::CharacterDevice { major, minor } => {
                (InodeKind::CharacterDevice, NodeType::Special, device(major, minor), None)
            }
            Leaf::BlockDevice { major, minor } => {
                (InodeKind::BlockDevice, NodeType::Special, device(major, minor), None)
            }
            Leaf::Fifo => (InodeKind::Fifo, NodeType::Special, 0, None),
        };
        let mut shortfalls = Shortfalls::default();
        let attributes = pack(metadata, node_type, at.path, &mut shortfalls);
        let target = target.map(|target| literal(target).into_owned());
        let number = self.next;
        if !self.insert(at, &Inode { number, kind, attributes, value, target, flags: 0 })? {
            return Ok(false);
        }
        self.shortfalls.merge(shortfalls);
        match leaf {
            Leaf::File { size: 0 } => self.has_empty_files = true,
            Leaf::File { size } => self.send(at.path, number, size, content)?,
            _ => {}
        }
        Ok(true)
    }

    fn link(&mut self, at: Name<'_>, target: Name<'_>) -> Result<Linked> {
        let Some(mut inode) = self.find(target)? else { return Ok(Linked::NoTarget) };
        if inode.kind == InodeKind::Directory {
            return Ok(Linked::ToDirectory);
        }
        inode.flags |= LINKED;
        if !self.database.insert(at.directory.number, at.name, &inode)? {
            return Ok(Linked::Taken);
        }
        self.database.flag(target.directory.number, target.name, LINKED)?;
        Ok(Linked::Done)
    }

    fn remove(&mut self, at: Name<'_>) -> Result<bool> {
        let Some(inode) = self.find(at)? else { return Ok(false) };
        self.database.remove(at.directory.number, at.name, &inode)?;
        Ok(inode.kind == InodeKind::Directory)
    }

    fn describe(
        &mut self,
        directory: Directory,
        path: &LayerPath,
        metadata: &Metadata,
    ) -> Result<()> {
        let attributes = pack(metadata, NodeType::Directory, path, &mut self.shortfalls);
        self.database.update(directory.parent, own_name(path), &attributes, DESCRIBED)
    }

    fn mark_opaque(&mut self, directory: Directory, path: &LayerPath) -> Result<()> {
        self.database.flag(directory.parent, own_name(path), OPAQUE)
    }

    fn marks(&mut self, directory: Directory, path: &LayerPath) -> Result<Marks> {
        match self.database.find(directory.parent, own_name(path))? {
            Some(inode) => Ok(marks(inode.flags)),
            None => Err(self.database.incomplete(directory.number)),
        }
    }

    fn note_removed(&mut self, at: Name<'_>) -> Result<()> {
        self.database.set_removed(at.directory.number, at.name)
    }

    fn is_removed(&mut self, at: Name<'_>) -> Result<bool> {
        self.database.is_removed(at.directory.number, at.name)
    }

    fn removed(&mut self, directory: Directory) -> Result<Vec<Vec<u8>>> {
        self.database.removed(directory.number)
    }

    fn subdirectories(&mut self, directory: Directory) -> Result<Vec<Subdirectory<Directory>>> {
        let parent = directory.number;
        let found = self.database.directories(parent)?.into_iter();
        Ok(found
            .map(|(name, number, flags)| {
                let directory = Directory { parent, number };
                Subdirectory { name, directory, marks: marks(flags) }
            })
            .collect())
    }

    fn make_whiteout(&mut self, at: Name<'_>) -> Result<()> {
        // The format keeps that name for itself, so no lower layer has it.
        if at.name != MARKER {
            let whiteout = Inode::whiteout(self.next);
            self.insert(at, &whiteout)?;
        }
        Ok(())
    }

    fn close_directory(&mut self, _: Directory, _: &LayerPath) -> Result<()> {
        // Its marks and attributes are in the database since they are known.
        Ok(())
    }
}

fn marks(flags: i64) -> Marks {
    Marks { described: flags & DESCRIBED != 0, opaque: flags & OPAQUE != 0 }
}
