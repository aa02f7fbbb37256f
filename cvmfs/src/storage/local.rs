//! A repository in a directory, as a web server hands it out.
//!
//! `object_store` has a local storage, too, but it writes `name#1` beside `name` and renames it. If it is killed in
//! between, the temporary file stays among the objects, where stock `cvmfs_server check -i` takes it for a
//! damaged one. Here, objects are written without a name, and get their name when they are complete. Where a file
//! system cannot do that, and when a file is replaced, it is done as stock tools do it: the file is written in
//! `data/txn`, which no tool searches, and moved into place.
//!
//! Objects are not synced one by one; [`Local::sync`] writes back the whole file system once before a revision
//! becomes visible.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::{Expected, Listed, Version};
use super::hint;
use crate::{Error, Result};

/// Where objects are; relative to the storage.
const OBJECTS: &str = "data";
/// Where files are written before they get their names; relative to the storage.
const UNFINISHED: &str = "data/txn";

/// Beginning of the names of unfinished files, to tell them from those of stock tools.
const UNFINISHED_PREFIX: &str = "ducc-";

/// What follows that in the names of those that are to become files of the root. They are written under a lock, so whoever
/// holds it knows that those of others are abandoned.
const OF_ROOT: &str = "root-";

/// Locked with flock(2) while a file of the root is replaced. It is not part of the repository: no client asks a web
/// server for it, and stock tools search `data/` only.
const LOCK: &str = ".ducc.lock";

/// Mode of new files, before the umask: readable for the web server.
const MODE: u32 = 0o644;

#[derive(Debug)]
pub(super) struct Local {
    directory: PathBuf,
    name: String,
    handles: OnceLock<Handles>,
}

/// Directories that objects are put into. They stay open as long as the storage is in use, so that the system need not
/// look up their paths for each object.
#[derive(Debug)]
struct Handles {
    objects: OwnedFd,
    unfinished: OwnedFd,
}

/// An unfinished file, removed unless it got its name.
struct Unfinished {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Local {
    pub(super) fn new(directory: &Path) -> Self {
        let name = directory.display().to_string();
        Self { directory: directory.to_owned(), name, handles: OnceLock::new() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn failed<'a>(
        &'a self,
        action: &'static str,
        object: &'a str,
    ) -> impl Fn(io::Error) -> Error + 'a {
        move |cause| {
            let advice = hint::advice(&cause);
            hint::refused(action, object, &self.name, cause.into(), advice)
        }
    }

    /// Puts an object there unless one of that size is there. Returns whether it was put.
    pub(super) fn put_if_absent(&self, path: &str, stored: &[u8]) -> Result<bool> {
        match self.add(path, stored) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.size(path)? == Some(stored.len() as u64) {
                    return Ok(false);
                }
            }
            // The other way works, or its error tells why neither does.
            Err(_) => {}
        }
        self.put(path, stored).map(|()| true)
    }

    fn handles(&self) -> io::Result<&Handles> {
        if let Some(handles) = self.handles.get() {
            return Ok(handles);
        }
        let open = |path| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(self.directory.join(path), flags, Mode::empty())
        };
        let handles = Handles { objects: open(OBJECTS)?, unfinished: open(UNFINISHED)? };
        Ok(self.handles.get_or_init(|| handles))
    }

    /// Writes an object without a name, and then gives it its name, unless that is taken.
    fn add(&self, path: &str, stored: &[u8]) -> io::Result<()> {
        let Handles { objects, unfinished } = self.handles()?;
        let name = Path::new(path).strip_prefix(OBJECTS).map_err(io::Error::other)?;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(unfinished, ".", flags, MODE.into())?);
        file.write_all(stored)?;
        match rustix::fs::linkat(&file, "", objects, name, AtFlags::EMPTY_PATH) {
            // Before Linux 6.10, only root may link by descriptor.
            Err(Errno::NOENT) => {
                let file = format!("/proc/self/fd/{}", file.as_raw_fd());
                Ok(rustix::fs::linkat(CWD, file, objects, name, AtFlags::SYMLINK_FOLLOW)?)
            }
            other => Ok(other?),
        }
    }

    fn put(&self, path: &str, stored: &[u8]) -> Result<()> {
        self.write(path, stored, false).map_err(self.failed("write", path))
    }

    /// Writes a file and gives it its name, which may be taken already. One of the root is synced.
    fn write(&self, path: &str, content: &[u8], of_root: bool) -> io::Result<()> {
        let mut unfinished = self.unfinished(if of_root { OF_ROOT } else { "" })?;
        unfinished.file.write_all(content)?;
        if of_root {
            unfinished.file.sync_data()?;
        }
        let target = self.directory.join(path);
        match fs::rename(&unfinished.path, &target) {
            // Stock tools make the directories beforehand, but a copy of a repository may lack the empty ones.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = target.parent() {
                    make_directory(parent)?;
                }
                fs::rename(&unfinished.path, &target)?;
            }
            other => other?,
        }
        unfinished.named = true;
        Ok(())
    }

    fn unfinished(&self, kind: &str) -> io::Result<Unfinished> {
        let directory = self.directory.join(UNFINISHED);
        loop {
            let name = format!("{UNFINISHED_PREFIX}{kind}{:016x}", fastrand::u64(..));
            let path = directory.join(name);
            match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => return Ok(Unfinished { path, file, named: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The directory is made when it is needed, but the storage itself must exist: a misspelled path or
                    // a file system that is not mounted must not be published into.
                    fs::metadata(&self.directory)?;
                    fs::create_dir_all(&directory)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn size(&self, path: &str) -> Result<Option<u64>> {
        match fs::metadata(self.directory.join(path)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look for", path)(error)),
        }
    }

    pub(super) fn read(&self, path: &str) -> Result<Option<Bytes>> {
        let open = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.directory.join(path))?;
            let size = usize::try_from(file.metadata()?.len()).unwrap_or_default();
            let mut content = Vec::with_capacity(size);
            file.read_to_end(&mut content)?;
            Ok(content)
        };
        match open() {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", path)(error)),
        }
    }

    pub(super) fn remove(&self, path: &str) -> Result<()> {
        match fs::remove_file(self.directory.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Lists a directory and those below it, although stock tools make none there.
    pub(super) fn list(
        &self,
        directory: &str,
        each: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let failed = self.failed("list", directory);
        let entries = match fs::read_dir(self.directory.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(&failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(&failed)?;
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            let metadata = match entry.metadata() {
                // Removed by a garbage collection in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.map_err(&failed)?,
            };
            if metadata.is_dir() {
                self.list(&path, each)?;
            } else {
                let modified = metadata.modified().map_err(&failed)?;
                each(Listed { path, size: metadata.len(), modified })?;
            }
        }
        Ok(())
    }

    pub(super) fn replace(
        &self,
        name: &str,
        content: &[u8],
        expected: &Expected,
    ) -> Result<Option<Version>> {
        let _lock = self.lock()?;
        self.remove_abandoned();
        let current = self.read(name)?;
        let as_expected = match (expected, &current) {
            (Expected::Any, _) | (Expected::Absent, None) => true,
            (Expected::Version(version), Some(current)) => Version::of(current) == *version,
            (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
        };
        if !as_expected {
            return Ok(None);
        }
        self.write(name, content, true)
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(self.failed("replace", name))?;
        Ok(Some(Version::of(content)))
    }

    /// The right to replace files of the root, until it is dropped.
    fn lock(&self) -> Result<File> {
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(MODE)
                .open(self.directory.join(LOCK))?;
            retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        };
        lock().map_err(self.failed("lock", LOCK))
    }

    /// Removes what killed processes have left of files of the root. To be called under the lock. What cannot be removed only
    /// takes space.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.directory.join(UNFINISHED)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.strip_prefix(UNFINISHED_PREFIX).is_some_and(|rest| rest.starts_with(OF_ROOT)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        File::open(&self.directory)
            .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
            .map_err(self.failed("write back", "the objects"))
    }

    pub(super) fn make_skeleton(&self) -> Result<()> {
        let make = || {
            fs::create_dir_all(self.directory.join(UNFINISHED))?;
            (0..=u8::MAX).try_for_each(|shard| {
                make_directory(&self.directory.join(format!("{OBJECTS}/{shard:02x}")))
            })
        };
        make().map_err(self.failed("make", "the directories of data/"))
    }

    pub(super) fn remove_unfinished(&self, before: SystemTime) -> Result<u64> {
        let failed = self.failed("clean", UNFINISHED);
        let mut removed = 0;
        let entries = match fs::read_dir(self.directory.join(UNFINISHED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries.map_err(&failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(&failed)?;
            if !entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
                continue;
            }
            let remove = || -> io::Result<bool> {
                let old = entry.metadata()?.modified()? < before;
                if old {
                    fs::remove_file(entry.path())?;
                }
                Ok(old)
            };
            match remove() {
                Ok(old) => removed += u64::from(old),
                // It got its name in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(removed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            // If this fails, a later `remove_unfinished` does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a directory that may be there already.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
