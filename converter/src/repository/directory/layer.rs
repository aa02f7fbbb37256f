//! Unpacking an untrusted layer.
//!
//! Rule: OCI image-spec, `layer.md`, "Applying Changesets". Every directory is opened beneath the layer's
//! root without following a symlink, every name is made anew: what an earlier entry left there is removed
//! first, never written to or through.
//!
//! Where the specification leaves room:
//! - Of several entries with one name the last counts; a directory over a directory only changes its
//!   attributes.
//! - A path through a symlink or file *of the same layer* is an error: no layer that was made by comparing
//!   trees has one. (A directory that the layer only implies and that is a symlink in a lower layer is
//!   another matter, see `complete`.)
//! - Whiteouts and opaque marks concern the lower layers only, wherever in the tar they stand. A removed
//!   name that the layer has itself is no whiteout; if it is a directory, it is opaque. A whiteout where
//!   nothing lower is seen is dropped: overlayfs would show a name that cannot be looked at.
//! - A whiteout has mode 0, owner 0:0 and time 0, so that a layer is always unpacked alike.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use layer_layout::RepositoryPath;
use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE, USER_OPAQUE, WHITEOUT_DEVICE};
use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::area::{Area, CREATE, refused};
use super::attributes::Holder;
use super::beneath::Beneath;
use super::names::{Marks, Names};
use super::remove::remove;
use super::shortfall::Shortfalls;
use crate::layer::{Content, Entry, Kind, LayerPath, Metadata, Timestamp};
use crate::repository::{EntryError, Error, LayerWriter, OpenEnds, Result};

/// Content is copied in pieces of this size: most files are one.
const BUFFER: usize = 256 * 1024;

/// Mode of a directory that no entry describes: what container engines make.
const IMPLIED_MODE: u32 = 0o755;

/// Unpacks one layer.
pub(super) struct Writer {
    area: Arc<Area>,
    path: RepositoryPath,
    tree: Beneath,
    names: Names,
    /// The directory of the previous entry.
    last: Option<(LayerPath, Arc<OwnedFd>)>,
    missing: Shortfalls,
    buffer: Vec<u8>,
}

/// The attributes of a directory that no entry describes.
pub(super) fn implied() -> Metadata {
    Metadata { mode: IMPLIED_MODE, ..Metadata::default() }
}

impl Writer {
    pub(super) fn new(area: Arc<Area>, path: RepositoryPath, tree: Beneath) -> Self {
        let (names, missing) = (Names::new(), Shortfalls::default());
        Self { area, path, tree, names, last: None, missing, buffer: vec![0; BUFFER] }
    }

    fn failed(
        &self,
        action: &'static str,
        path: &LayerPath,
    ) -> impl FnOnce(Errno) -> Error + use<> {
        self.tree.failed(action, path.as_bytes())
    }

    /// A handle on a directory that the layer has.
    fn open(&mut self, directory: &LayerPath) -> Result<Arc<OwnedFd>> {
        if let Some((last, handle)) = &self.last
            && last == directory
        {
            return Ok(handle.clone());
        }
        let handle = match self.names.opened(directory) {
            Some(handle) => handle,
            None => {
                let opened = self.tree.directory(directory.as_bytes());
                let handle = Arc::new(opened.map_err(self.failed("open", directory))?);
                self.names.keep_open(directory, handle.clone());
                handle
            }
        };
        self.last = Some((directory.clone(), handle.clone()));
        Ok(handle)
    }

    /// Opens the directory that holds `path`, making what is not there of it.
    fn parent<'p>(&mut self, path: &'p LayerPath) -> Result<(LayerPath, &'p [u8], Arc<OwnedFd>)> {
        let (parent, name) = path.split().ok_or_else(|| Error::entry(path, EntryError::Root))?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != parent) {
            self.ensure_directory(path, &parent)?;
        }
        let handle = self.open(&parent)?;
        Ok((parent, name, handle))
    }

    /// Makes a directory and its parents unless they are there. `entry` is what needs them.
    fn ensure_directory(&mut self, entry: &LayerPath, directory: &LayerPath) -> Result<()> {
        let mut absent = Vec::new();
        let mut at = directory.clone();
        while !self.names.contains(&at) {
            let Some((parent, _)) = at.split() else { break };
            absent.push(std::mem::replace(&mut at, parent));
        }
        for directory in absent.into_iter().rev() {
            let Some((parent, name)) = directory.split() else { continue };
            let handle = self.open(&parent)?;
            if self.names.link(&parent, name).is_some() {
                return Err(Error::entry(entry, EntryError::ThroughFile(directory)));
            }
            match rustix::fs::mkdirat(&*handle, name, Mode::RWXU) {
                Ok(()) => self.names.insert(directory, None),
                Err(Errno::EXIST) => {
                    return Err(self.obstacle(entry, &directory, &handle, name));
                }
                Err(error) => return Err(self.failed("make", &directory)(error)),
            }
        }
        Ok(())
    }

    /// The error for a component that is no directory.
    fn obstacle(
        &self,
        entry: &LayerPath,
        component: &LayerPath,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Error {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Error::entry(entry, EntryError::ThroughSymlink(component.clone()))
            }
            Ok(_) => Error::entry(entry, EntryError::ThroughFile(component.clone())),
            Err(error) => self.failed("look at", component)(error),
        }
    }

    /// Makes a name by `make`, in place of what had it.
    fn create<T>(
        &mut self,
        path: &LayerPath,
        make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<(Arc<OwnedFd>, rustix::io::Result<T>)> {
        let (parent, name, handle) = self.parent(path)?;
        let mut made = make(&handle, name);
        if made.as_ref().is_err_and(|error| *error == Errno::EXIST) {
            self.vacate(path, name, &handle)?;
            made = make(&handle, name);
        }
        self.names.remove_link(&parent, name);
        Ok((handle, made))
    }

    /// Removes what has a name: a file, or a directory with all in it.
    fn vacate(&mut self, path: &LayerPath, name: &[u8], parent: &OwnedFd) -> Result<()> {
        if self.names.contains(path) {
            self.names.remove_tree(path);
            self.last = None;
        }
        remove(parent, name).map_err(self.failed("remove", path))
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        if let Some(node) = self.names.get_mut(&entry.path) {
            node.described = Some(entry.metadata.clone());
            return Ok(());
        }
        let (_, made) =
            self.create(&entry.path, |parent, name| rustix::fs::mkdirat(parent, name, Mode::RWXU))?;
        made.map_err(self.failed("make", &entry.path))?;
        self.names.insert(entry.path.clone(), Some(entry.metadata.clone()));
        Ok(())
    }

    fn file(&mut self, entry: &Entry, size: u64, content: &mut Content<'_>) -> Result<()> {
        let mode = self.area.fresh.creation_mode(&entry.metadata);
        let (_, made) = self
            .create(&entry.path, |parent, name| rustix::fs::openat(parent, name, CREATE, mode))?;
        let file = File::from(made.map_err(self.failed("make", &entry.path))?);
        let path = &entry.path;
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
            rustix::fs::ftruncate(&file, size).map_err(self.failed("write", &entry.path))?;
        }
        self.dress(Holder::Open(file.as_fd()), entry)
    }

    fn dress(&mut self, holder: Holder<'_>, entry: &Entry) -> Result<()> {
        self.area
            .fresh
            .dress(holder, &entry.metadata, &mut self.missing)
            .map_err(refused(&self.tree, entry.path.as_bytes()))
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        let (parent, made) =
            self.create(&entry.path, |parent, name| rustix::fs::symlinkat(target, parent, name))?;
        made.map_err(self.failed("make", &entry.path))?;
        let Some((_, name)) = entry.path.split() else { return Ok(()) };
        self.dress(Holder::Symlink(parent.as_fd(), name), entry)
    }

    fn special(&mut self, entry: &Entry, kind: FileType, device: (u32, u32)) -> Result<()> {
        if kind == FileType::CharacterDevice && device == WHITEOUT_DEVICE {
            return Err(Error::entry(&entry.path, EntryError::WhiteoutDevice));
        }
        let mode = Mode::from_raw_mode(entry.metadata.mode & 0o777);
        let number = rustix::fs::makedev(device.0, device.1);
        let (parent, made) = self.create(&entry.path, |parent, name| {
            rustix::fs::mknodat(parent, name, kind, mode, number)
        })?;
        match made {
            Ok(()) => {}
            Err(Errno::PERM) => {
                self.missing.devices += 1;
                return Ok(());
            }
            Err(error) => return Err(self.failed("make", &entry.path)(error)),
        }
        let Some((_, name)) = entry.path.split() else { return Ok(()) };
        self.dress(Holder::Special(parent.as_fd(), name), entry)
    }

    fn hard_link(&mut self, path: &LayerPath, target: &LayerPath) -> Result<()> {
        if path == target {
            return Err(Error::entry(path, EntryError::LinkToItself));
        }
        // The target may be a directory just because the link stands in it.
        self.parent(path)?;
        if self.names.contains(target) {
            return Err(Error::entry(path, EntryError::LinkToDirectory(target.clone())));
        }
        let Some((other, other_name)) = target.split() else { return Ok(()) };
        let lower = if !self.names.contains(&other) {
            self.check_way(path, &other)?;
            Some(target.clone())
        } else if let Some(lower) = self.names.link(&other, other_name) {
            Some(lower.clone())
        } else {
            let directory = self.open(&other)?;
            let (_, made) = self.create(path, |parent, name| {
                rustix::fs::linkat(&*directory, other_name, parent, name, AtFlags::empty())
            })?;
            match made {
                Ok(()) => None,
                Err(Errno::NOENT) => Some(target.clone()),
                Err(error) => return Err(self.failed("link", path)(error)),
            }
        };
        if let Some(lower) = lower {
            let (parent, name, handle) = self.parent(path)?;
            self.vacate(path, name, &handle)?;
            self.names.add_link(&parent, name, lower);
        }
        Ok(())
    }

    /// Checks that a directory which the layer does not have could be one of a lower layer: nothing of
    /// this layer is in the way.
    fn check_way(&mut self, entry: &LayerPath, directory: &LayerPath) -> Result<()> {
        let mut at = directory.clone();
        while let Some((parent, name)) = at.split() {
            if self.names.contains(&parent) {
                if self.names.link(&parent, name).is_some() {
                    return Err(Error::entry(entry, EntryError::ThroughFile(at.clone())));
                }
                let handle = self.open(&parent)?;
                let stat = rustix::fs::statat(&*handle, name, AtFlags::SYMLINK_NOFOLLOW);
                return match stat {
                    Err(Errno::NOENT) => Ok(()),
                    _ => Err(self.obstacle(entry, &at, &handle, name)),
                };
            }
            at = parent;
        }
        Ok(())
    }

    /// The hard links to lower layers, after a look that this layer does not hide their targets.
    fn lower_links(&mut self) -> Result<Vec<(LayerPath, LayerPath)>> {
        let mut links = Vec::new();
        for (directory, node) in self.names.iter() {
            for (name, target) in &node.links {
                links.push((directory.join(name), target.clone()));
            }
        }
        // The lower file gets its own name in this layer, too, as overlayfs would have it.
        for (name, target) in &links {
            if let Some((parent, _)) = target.split() {
                self.ensure_directory(name, &parent)?;
            }
        }
        let marks = Marks::of(&self.names);
        for (name, target) in &links {
            let Some((parent, last)) = target.split() else { continue };
            let removed = self.names.get(&parent).is_some_and(|n| n.whiteouts.contains(last));
            if removed || marks.covers_all(&parent) {
                return Err(Error::entry(name, EntryError::LinkToNothing(target.clone())));
            }
        }
        Ok(links)
    }

    /// Writes the whiteouts of a directory, its opaque mark and its attributes.
    fn finish_directory(&mut self, path: &LayerPath, marks: &Marks) -> Result<()> {
        let opened = self.names.opened(path);
        let handle = match opened {
            Some(handle) => handle,
            None => {
                let opened = self.tree.directory(path.as_bytes());
                Arc::new(opened.map_err(self.failed("open", path))?)
            }
        };
        let Some(node) = self.names.get(path) else { return Ok(()) };
        if !marks.covers_all(path) {
            for name in node.whiteouts.iter().filter(|name| !node.links.contains_key(*name)) {
                whiteout(&handle, name).map_err(self.failed("remove below", &path.join(name)))?;
            }
        }
        if marks.opaque.contains(path) {
            mark_opaque(&handle).map_err(self.failed("mark as opaque", path))?;
        }
        let holder = Holder::Open(handle.as_fd());
        let metadata = node.described.clone().unwrap_or_else(implied);
        self.area
            .fresh
            .redress(holder, &metadata, &mut self.missing)
            .map_err(refused(&self.tree, path.as_bytes()))
    }
}

/// Puts a whiteout unless the layer has the name itself.
fn whiteout(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let device = rustix::fs::makedev(WHITEOUT_DEVICE.0, WHITEOUT_DEVICE.1);
    match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), device) {
        Ok(()) => Holder::Special(directory.as_fd(), name).set_mtime(Timestamp::default()),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Marks a directory for both kinds of overlay mounts; one has to be possible.
pub(super) fn mark_opaque(directory: impl AsFd) -> rustix::io::Result<()> {
    let set =
        |name: &str| rustix::fs::fsetxattr(&directory, name, OPAQUE_VALUE, XattrFlags::empty());
    let trusted = set(TRUSTED_OPAQUE);
    match set(USER_OPAQUE) {
        Err(Errno::OPNOTSUPP) if trusted.is_ok() => Ok(()),
        user => user,
    }
}

impl LayerWriter for Writer {
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        match &entry.kind {
            Kind::Directory => self.directory(entry),
            _ if entry.path.is_root() && entry.kind != Kind::Opaque => {
                Err(Error::entry(&entry.path, EntryError::Root))
            }
            Kind::File { size } => self.file(entry, *size, content),
            Kind::Symlink { target } => self.symlink(entry, target),
            Kind::HardLink { target } => self.hard_link(&entry.path, target),
            Kind::CharacterDevice { major, minor } => {
                self.special(entry, FileType::CharacterDevice, (*major, *minor))
            }
            Kind::BlockDevice { major, minor } => {
                self.special(entry, FileType::BlockDevice, (*major, *minor))
            }
            Kind::Fifo => self.special(entry, FileType::Fifo, (0, 0)),
            Kind::Whiteout => {
                let (parent, name, _) = self.parent(&entry.path)?;
                if let Some(node) = self.names.get_mut(&parent) {
                    node.whiteouts.insert(name.to_vec());
                }
                Ok(())
            }
            Kind::Opaque => {
                self.ensure_directory(&entry.path, &entry.path)?;
                if let Some(node) = self.names.get_mut(&entry.path) {
                    node.opaque = true;
                }
                Ok(())
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<OpenEnds> {
        self.last = None;
        let lower_links = self.lower_links()?;
        let marks = Marks::of(&self.names);
        let mut implied_directories = Vec::new();
        let mut directories = Vec::new();
        for (path, node) in self.names.iter() {
            let open = !marks.closed.contains(path) && !marks.replacing.contains(path);
            if node.described.is_none() && open && !path.is_root() {
                implied_directories.push(path.clone());
            }
            directories.push(path.clone());
        }
        // Children first: a directory that forbids to look into it is closed when all below is done.
        for path in directories.iter().rev() {
            self.finish_directory(path, &marks)?;
        }
        self.area.tally.add(std::mem::take(&mut self.missing));
        self.area.complete(&self.path);
        Ok(OpenEnds { implied_directories, lower_links })
    }
}
