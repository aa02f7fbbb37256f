//! Unpacking an untrusted layer as the [rules](crate::repository::layer_rules) say.
//!
//! Every directory is opened beneath the layer's root without following a symlink, and a name is made only
//! where nothing is: nothing is ever written to or through what an earlier entry left.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE, USER_OPAQUE, WHITEOUT_DEVICE};
use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::area::{Area, CREATE, ItemKind, refused};
use super::attributes::Holder;
use super::beneath::{Beneath, split};
use super::notes::{Directories, DirectoryId};
use super::remove::remove;
use super::shortfall::{Shortfall, Shortfalls};
use crate::layer::{Content, Entry, LayerPath, Metadata, Timestamp};
use crate::repository::layer_rules::{
    self, LayerRules, LayerStore, Leaf, Linked, Marks, Obstacle, Subdirectory, implied,
};
use crate::repository::ledger::Announcement;
use crate::repository::{Error, LayerWriter, OpenEnds, Result};

/// Content is copied in pieces of this size: most files are one.
const BUFFER: usize = 256 * 1024;

type Name<'a> = layer_rules::Name<'a, DirectoryId>;

/// Unpacks one layer.
pub(super) struct Writer {
    rules: LayerRules<LayerTree>,
    announced: Announcement,
}

impl Writer {
    pub(super) fn new(area: Arc<Area>, announced: Announcement, tree: Beneath) -> Self {
        Self { rules: LayerRules::new(LayerTree::new(area, tree)), announced }
    }
}

impl LayerWriter for Writer {
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        self.rules.apply(entry, content)
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        let (LayerTree { area, missing, .. }, open_ends) = self.rules.finish()?;
        area.tally.add(missing);
        area.complete(&self.announced, ItemKind::Tree);
        Ok(open_ends)
    }
}

/// The tree of a layer on disk while it is unpacked.
struct LayerTree {
    area: Arc<Area>,
    tree: Beneath,
    directories: Directories,
    missing: Shortfalls,
    buffer: Vec<u8>,
}

impl LayerTree {
    fn new(area: Arc<Area>, tree: Beneath) -> Self {
        let (directories, missing) = (Directories::new(), Shortfalls::default());
        Self { area, tree, directories, missing, buffer: vec![0; BUFFER] }
    }

    fn failed(
        &self,
        action: &'static str,
        path: &LayerPath,
    ) -> impl FnOnce(Errno) -> Error + use<> {
        self.tree.failed(action, path.as_bytes())
    }

    fn unmarkable(&self, path: &LayerPath, cause: Errno) -> Error {
        Error::Unmarkable { path: self.tree.shown(path.as_bytes()), cause: cause.into() }
    }

    fn open(&mut self, directory: DirectoryId, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if let Some(handle) = self.directories.opened(directory) {
            return Ok(handle);
        }
        let opened = self.tree.directory(path).map_err(self.tree.failed("open", path))?;
        let handle = Arc::new(opened);
        self.directories.keep_open(directory, handle.clone());
        Ok(handle)
    }

    /// Opens the directory of a name.
    fn parent(&mut self, at: Name<'_>) -> Result<Arc<OwnedFd>> {
        self.open(at.directory, split(at.path.as_bytes()).0)
    }

    /// The result of making a name; `None` if the name is taken.
    fn made<T>(&self, at: Name<'_>, result: rustix::io::Result<T>) -> Result<Option<T>> {
        match result {
            Ok(made) => Ok(Some(made)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(self.failed("make", at.path)(error)),
        }
    }

    fn make_file(
        &mut self,
        at: Name<'_>,
        size: u64,
        metadata: &Metadata,
        content: &mut Content<'_>,
    ) -> Result<bool> {
        let keeps = self.area.fresh.keeps_owner(metadata);
        self.area.admit(at.path, self.area.exposure.of_file(metadata, keeps))?;
        let mode = self.area.fresh.creation_mode(metadata);
        let made = rustix::fs::openat(self.parent(at)?, at.name, CREATE, mode);
        let Some(file) = self.made(at, made)?.map(File::from) else { return Ok(false) };
        let path = at.path;
        let mut end = 0;
        while let Some((offset, bytes)) = content
            .read_data(&mut self.buffer)
            .map_err(|cause| Error::Content { path: path.clone(), cause })?
        {
            file.write_all_at(bytes, offset)
                .map_err(|cause| Error::system("write", self.tree.shown(path.as_bytes()), cause))?;
            end = offset + bytes.len() as u64;
        }
        if end < size {
            rustix::fs::ftruncate(&file, size).map_err(self.failed("write", path))?;
        }
        self.dress(Holder::Open(file.as_fd()), at, metadata)
    }

    fn make_symlink(&mut self, at: Name<'_>, target: &[u8], metadata: &Metadata) -> Result<bool> {
        let parent = self.parent(at)?;
        let made = rustix::fs::symlinkat(target, &parent, at.name);
        match self.made(at, made)? {
            Some(()) => self.dress(Holder::Symlink(parent.as_fd(), at.name), at, metadata),
            None => Ok(false),
        }
    }

    /// Makes a device or fifo. A device that this process may not make is left out.
    fn make_special(
        &mut self,
        at: Name<'_>,
        kind: FileType,
        device: (u32, u32),
        metadata: &Metadata,
    ) -> Result<bool> {
        let parent = self.parent(at)?;
        let mode = Mode::from_raw_mode(metadata.mode & 0o777);
        let number = rustix::fs::makedev(device.0, device.1);
        let made = rustix::fs::mknodat(&parent, at.name, kind, mode, number);
        if made.is_err_and(is_forbidden) {
            self.missing.count(Shortfall::Device);
            return Ok(true);
        }
        match self.made(at, made)? {
            Some(()) => {
                self.area.admit(at.path, self.area.exposure.of_special(kind))?;
                self.dress(Holder::Special(parent.as_fd(), at.name), at, metadata)
            }
            None => Ok(false),
        }
    }

    /// Sets the attributes of what was just made; tells that it was.
    fn dress(&mut self, holder: Holder<'_>, at: Name<'_>, metadata: &Metadata) -> Result<bool> {
        self.area
            .fresh
            .dress(holder, metadata, &mut self.missing)
            .map_err(refused(&self.tree, at.path.as_bytes()))?;
        Ok(true)
    }
}

impl LayerStore for LayerTree {
    type Directory = DirectoryId;

    fn root(&self) -> DirectoryId {
        DirectoryId::ROOT
    }

    fn directory(&mut self, at: Name<'_>) -> Result<Option<DirectoryId>> {
        Ok(self.directories.find(at.directory, at.name))
    }

    fn obstacle(&mut self, at: Name<'_>) -> Result<Option<Obstacle>> {
        match rustix::fs::statat(self.parent(at)?, at.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Ok(Some(Obstacle::Symlink))
            }
            Ok(_) => Ok(Some(Obstacle::Other)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", at.path)(error)),
        }
    }

    fn symlink(&mut self, at: Name<'_>) -> Result<Option<Vec<u8>>> {
        match rustix::fs::readlinkat(self.parent(at)?, at.name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            // Nothing, or something else.
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(self.failed("read", at.path)(error)),
        }
    }

    fn make_directory(
        &mut self,
        at: Name<'_>,
        metadata: Option<&Metadata>,
    ) -> Result<Option<DirectoryId>> {
        let made = rustix::fs::mkdirat(self.parent(at)?, at.name, Mode::RWXU);
        let made = self.made(at, made)?;
        Ok(made.map(|()| self.directories.insert(at.directory, at.name, metadata.cloned())))
    }

    fn make_leaf(
        &mut self,
        at: Name<'_>,
        leaf: Leaf<'_>,
        metadata: &Metadata,
        content: &mut Content<'_>,
    ) -> Result<bool> {
        match leaf {
            Leaf::File { size } => self.make_file(at, size, metadata, content),
            Leaf::Symlink { target } => self.make_symlink(at, target, metadata),
            Leaf::CharacterDevice { major, minor } => {
                self.make_special(at, FileType::CharacterDevice, (major, minor), metadata)
            }
            Leaf::BlockDevice { major, minor } => {
                self.make_special(at, FileType::BlockDevice, (major, minor), metadata)
            }
            Leaf::Fifo => self.make_special(at, FileType::Fifo, (0, 0), metadata),
        }
    }

    fn link(&mut self, at: Name<'_>, target: Name<'_>) -> Result<Linked> {
        if self.directories.find(target.directory, target.name).is_some() {
            return Ok(Linked::ToDirectory);
        }
        let (source, parent) = (self.parent(target)?, self.parent(at)?);
        match rustix::fs::linkat(source, target.name, parent, at.name, AtFlags::empty()) {
            Ok(()) => Ok(Linked::Done),
            Err(Errno::NOENT) => Ok(Linked::NoTarget),
            Err(Errno::EXIST) => Ok(Linked::Taken),
            Err(error) => Err(self.failed("link", at.path)(error)),
        }
    }

    fn remove(&mut self, at: Name<'_>) -> Result<bool> {
        let parent = self.parent(at)?;
        let was_directory = self.directories.remove(at.directory, at.name);
        remove(&parent, at.name).map_err(self.failed("remove", at.path))?;
        Ok(was_directory)
    }

    fn describe(
        &mut self,
        directory: DirectoryId,
        _: &LayerPath,
        metadata: &Metadata,
    ) -> Result<()> {
        self.directories.get_mut(directory).described = Some(metadata.clone());
        Ok(())
    }

    fn mark_opaque(&mut self, directory: DirectoryId, _: &LayerPath) -> Result<()> {
        self.directories.get_mut(directory).opaque = true;
        Ok(())
    }

    fn marks(&mut self, directory: DirectoryId, _: &LayerPath) -> Result<Marks> {
        Ok(self.directories.get(directory).marks())
    }

    fn note_removed(&mut self, at: Name<'_>) -> Result<()> {
        self.directories.get_mut(at.directory).removed.insert(at.name.to_vec());
        Ok(())
    }

    fn is_removed(&mut self, at: Name<'_>) -> Result<bool> {
        Ok(self.directories.get(at.directory).removed.contains(at.name))
    }

    fn removed(&mut self, directory: DirectoryId) -> Result<Vec<Vec<u8>>> {
        Ok(self.directories.get(directory).removed.iter().cloned().collect())
    }

    fn subdirectories(&mut self, directory: DirectoryId) -> Result<Vec<Subdirectory<DirectoryId>>> {
        let subdirectories = self.directories.get(directory).subdirectories.iter();
        Ok(subdirectories
            .map(|(name, &directory)| {
                let marks = self.directories.get(directory).marks();
                Subdirectory { name: name.clone(), directory, marks }
            })
            .collect())
    }

    fn make_whiteout(&mut self, at: Name<'_>) -> Result<()> {
        let parent = self.parent(at)?;
        let device = rustix::fs::makedev(WHITEOUT_DEVICE.0, WHITEOUT_DEVICE.1);
        let kind = FileType::CharacterDevice;
        match rustix::fs::mknodat(&parent, at.name, kind, Mode::empty(), device) {
            Ok(()) => Holder::Special(parent.as_fd(), at.name)
                .set_mtime(Timestamp::default())
                .map_err(self.failed("set the time of", at.path)),
            Err(Errno::EXIST) => Ok(()),
            Err(error) if is_forbidden(error) => Err(self.unmarkable(at.path, error)),
            Err(error) => Err(self.failed("remove below", at.path)(error)),
        }
    }

    fn close_directory(&mut self, directory: DirectoryId, path: &LayerPath) -> Result<()> {
        let handle = self.open(directory, path.as_bytes())?;
        let notes = self.directories.get(directory);
        if notes.opaque {
            mark_opaque(&handle).map_err(|error| match error {
                Errno::PERM | Errno::OPNOTSUPP => self.unmarkable(path, error),
                error => self.failed("mark as opaque", path)(error),
            })?;
        }
        let implied = implied();
        let metadata = notes.described.as_ref().unwrap_or(&implied);
        self.area
            .fresh
            .redress(Holder::Open(handle.as_fd()), metadata, &mut self.missing)
            .map_err(refused(&self.tree, path.as_bytes()))
    }
}

/// Whether this is the answer of a kernel or a file system that does not let this process make such a node.
fn is_forbidden(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)
}

/// Marks a directory for both kinds of overlay mounts; one has to be possible.
fn mark_opaque(directory: impl AsFd) -> rustix::io::Result<()> {
    let set =
        |name: &str| rustix::fs::fsetxattr(&directory, name, OPAQUE_VALUE, XattrFlags::empty());
    let trusted = set(TRUSTED_OPAQUE);
    match set(USER_OPAQUE) {
        Err(Errno::OPNOTSUPP) if trusted.is_ok() => Ok(()),
        user => user,
    }
}
