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

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Beneath, is_regular};
use super::file::{Expected, Listed, Version};
use super::presence::Put;
use super::{hint, limits};
use crate::hash::{Algorithm, ContentHash};
use crate::{Error, Result};

/// Where objects are; relative to the storage.
const OBJECTS: &str = "data";
/// Where files are written before they get their names; relative to the storage.
const UNFINISHED: &str = "data/txn";
/// Beginning of the names of unfinished files, to tell them from those of stock tools.
const UNFINISHED_PREFIX: &str = "ducc-";
/// The same of those that are to become files of the root. They are written under a lock, so whoever holds it knows that
/// those of others are abandoned.
const UNFINISHED_OF_ROOT: &str = "ducc-root-";
/// Locked with flock(2) while a file of the root is replaced. It is not part of the repository: no client asks a web
/// server for it, and stock tools search `data/` only.
const LOCK: &str = ".ducc.lock";
/// How long others may take to replace a file. That takes them milliseconds, so whoever holds the lock for longer is stopped,
/// or no publisher.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause before the lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// Mode of new files, before the umask: readable for the web server.
const MODE: Mode = Mode::from_raw_mode(0o644);
/// How many levels of directories are searched for objects. There is one.
const DEPTH: usize = 4;
/// Files are hashed in pieces of this many bytes.
const PIECE: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Local {
    directory: PathBuf,
    name: String,
    /// The directory. It stays open as long as the storage is in use, so that everything is in the same one.
    root: OnceLock<Beneath>,
    /// Where files are written before they get their names.
    unfinished: OnceLock<OwnedFd>,
}

/// An unfinished file, removed unless it got its name.
struct Unfinished {
    directory: OwnedFd,
    name: String,
    file: File,
    named: bool,
}

impl Local {
    pub(super) fn new(directory: &Path) -> Self {
        let name = directory.display().to_string();
        let (root, unfinished) = (OnceLock::new(), OnceLock::new());
        Self { directory: directory.to_owned(), name, root, unfinished }
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

    fn root(&self) -> io::Result<&Beneath> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let root = Beneath::open(&self.directory)?;
        Ok(self.root.get_or_init(|| root))
    }

    /// The directory of unfinished files, as it was when the first object was put.
    fn unfinished(&self) -> io::Result<&OwnedFd> {
        if let Some(unfinished) = self.unfinished.get() {
            return Ok(unfinished);
        }
        let unfinished = self.root()?.directory(UNFINISHED)?;
        Ok(self.unfinished.get_or_init(|| unfinished))
    }

    /// Puts an object there unless one of that size is there, with the same bytes if `all` of them are compared. Returns
    /// whether it was put.
    pub(super) fn put_if_absent(&self, path: &str, stored: &[u8], all: bool) -> Result<Put> {
        let mut damaged = false;
        match self.add(path, stored) {
            Ok(()) => return Ok(Put::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let same_size = self.size(path)? == Some(stored.len() as u64);
                if same_size && (!all || self.has_content(path, stored)?) {
                    return Ok(Put::There);
                }
                damaged = same_size;
            }
            // The other way works, or its error tells why neither does.
            Err(_) => {}
        }
        self.put(path, stored).map(|()| if damaged { Put::Damaged } else { Put::New })
    }

    /// Whether a file holds exactly these bytes.
    fn has_content(&self, path: &str, expected: &[u8]) -> Result<bool> {
        let failed = self.failed("read", path);
        let Some(mut file) = self.root().and_then(|root| root.file(path)).map_err(&failed)? else {
            return Ok(false);
        };
        let (mut rest, mut piece) = (expected, vec![0; PIECE.min(expected.len() + 1)]);
        loop {
            let count = retry_read(&mut file, &mut piece).map_err(&failed)?;
            match rest.split_at_checked(count) {
                Some((same, _)) if *same != piece[..count] => return Ok(false),
                None => return Ok(false),
                Some((_, [])) if count == 0 => return Ok(true),
                Some(_) if count == 0 => return Ok(false),
                Some((_, further)) => rest = further,
            }
        }
    }

    /// Writes an object without a name, and then gives it its name, unless that is taken.
    fn add(&self, path: &str, stored: &[u8]) -> io::Result<()> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(self.unfinished()?, ".", flags, MODE)?);
        file.write_all(stored)?;
        let (directory, name) = self.root()?.parent(path)?;
        match rustix::fs::linkat(&file, "", &directory, name, AtFlags::EMPTY_PATH) {
            // Before Linux 6.10, only root may link by descriptor.
            Err(Errno::NOENT) => {
                let file = format!("/proc/self/fd/{}", file.as_raw_fd());
                Ok(rustix::fs::linkat(CWD, file, directory, name, AtFlags::SYMLINK_FOLLOW)?)
            }
            other => Ok(other?),
        }
    }

    fn put(&self, path: &str, stored: &[u8]) -> Result<()> {
        self.write(path, stored, false).map_err(self.failed("write", path))
    }

    /// Writes a file and gives it its name, which may be taken already. One of the root is synced.
    fn write(&self, path: &str, content: &[u8], of_root: bool) -> io::Result<()> {
        let prefix = if of_root { UNFINISHED_OF_ROOT } else { UNFINISHED_PREFIX };
        let mut unfinished = self.unfinished_file(prefix)?;
        unfinished.file.write_all(content)?;
        if of_root {
            unfinished.file.sync_data()?;
        }
        let root = self.root()?;
        let rename = || -> io::Result<()> {
            let (directory, name) = root.parent(path)?;
            Ok(rustix::fs::renameat(&unfinished.directory, &unfinished.name, directory, name)?)
        };
        match rename() {
            // Stock tools make the directories beforehand, but a copy of a repository may lack the empty ones.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some((parent, _)) = path.rsplit_once('/') {
                    root.make_directory(parent)?;
                }
                rename()?;
            }
            other => other?,
        }
        unfinished.named = true;
        Ok(())
    }

    fn unfinished_file(&self, prefix: &str) -> io::Result<Unfinished> {
        let root = self.root()?;
        let directory = match root.directory(UNFINISHED) {
            // The directory is made when it is needed, but the storage itself must exist: a misspelled path or a file system
            // that is not mounted must not be published into.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_unfinished(root)?;
                root.directory(UNFINISHED)?
            }
            other => other?,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        loop {
            let name = format!("{prefix}{:016x}", fastrand::u64(..));
            match rustix::fs::openat(&directory, &name, flags, MODE) {
                Ok(file) => {
                    return Ok(Unfinished { directory, name, file: file.into(), named: false });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn make_unfinished(&self, root: &Beneath) -> io::Result<()> {
        root.make_directory(OBJECTS)?;
        root.make_directory(UNFINISHED)
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        match self.root() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            root => root?.stat(path),
        }
    }

    pub(super) fn size(&self, path: &str) -> Result<Option<u64>> {
        let found = self.stat(path).map_err(self.failed("look for", path))?;
        Ok(found.filter(is_regular).and_then(|stat| u64::try_from(stat.st_size).ok()))
    }

    /// Reads a file of at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Bytes>> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let Some(file) = self.open(path)? else { return Ok(None) };
            let size = file.metadata()?.len();
            limits::check(size, limit)?;
            let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            file.take(limit + 1).read_to_end(&mut content)?;
            limits::check(content.len() as u64, limit)?;
            Ok(Some(content))
        };
        Ok(read().map_err(self.failed("read", path))?.map(Bytes::from))
    }

    fn open(&self, path: &str) -> io::Result<Option<File>> {
        match self.root() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            root => root?.file(path),
        }
    }

    /// The hash of a file, which is not kept in memory.
    pub(super) fn hash(&self, path: &str, algorithm: Algorithm) -> Result<Option<ContentHash>> {
        let hash = || -> io::Result<Option<ContentHash>> {
            let Some(mut file) = self.open(path)? else { return Ok(None) };
            let (mut hasher, mut piece) = (algorithm.hasher(), vec![0; PIECE]);
            loop {
                match retry_read(&mut file, &mut piece)? {
                    0 => return Ok(Some(hasher.finish())),
                    count => hasher.update(&piece[..count]),
                }
            }
        };
        hash().map_err(self.failed("read", path))
    }

    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let remove = || -> io::Result<()> {
            let (directory, name) = self.root()?.parent(path)?;
            Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?)
        };
        match remove() {
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
        self.list_below(directory, DEPTH, each)
    }

    fn list_below(
        &self,
        directory: &str,
        depth: usize,
        each: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let failed = self.failed("list", directory);
        let opened = match self.root().and_then(|root| root.directory(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(&failed)?,
        };
        let refused = |errno: Errno| failed(errno.into());
        for entry in Dir::read_from(&opened).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed by a garbage collection in the meantime.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(refused)?,
            };
            let path = format!("{directory}/{}", name.to_string_lossy());
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                each(Listed { path, size, modified: modified(&stat) })?;
            } else if depth > 0 {
                self.list_below(&path, depth - 1, each)?;
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
        let _lock = self.lock(LOCK_PATIENCE)?;
        // What cannot be removed only takes space.
        let _ = self.remove_unfinished_where(UNFINISHED_OF_ROOT, |_| true);
        let current = self.read(name, limits::of_file(name))?;
        let as_expected = match (expected, &current) {
            (Expected::Any, _) | (Expected::Absent, None) => true,
            (Expected::Version(version), Some(current)) => Version::of(current) == *version,
            (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
        };
        if !as_expected {
            return Ok(None);
        }
        self.write(name, content, true)
            .and_then(|()| Ok(rustix::fs::fsync(self.root()?)?))
            .map_err(self.failed("replace", name))?;
        Ok(Some(Version::of(content)))
    }

    /// The right to replace files of the root, until it is dropped.
    pub(super) fn lock(&self, patience: Duration) -> Result<File> {
        let lock = || -> io::Result<File> {
            let file = self.root()?.lock_file(LOCK)?;
            let begun = Instant::now();
            loop {
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => return Ok(file),
                    Err(Errno::INTR) => {}
                    Err(Errno::WOULDBLOCK) if begun.elapsed() < patience => {
                        std::thread::sleep(LOCK_POLL.mul_f64(fastrand::f64()));
                    }
                    Err(Errno::WOULDBLOCK) => {
                        return Err(io::Error::other(format!(
                            "somebody has held it for {} seconds; end that process, or remove the file",
                            patience.as_secs()
                        )));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        lock().map_err(self.failed("lock", LOCK))
    }

    /// Opens a file of the root that serves as a lock, and makes it if it is not there.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        self.root()?.lock_file(name)
    }

    /// Whether a file still has its name in the root.
    pub(super) fn is_named(&self, name: &str, file: &File) -> io::Result<bool> {
        let (held, named) = (file.metadata()?, self.stat(name)?);
        Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (held.dev(), held.ino())))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.root()
            .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
            .map_err(self.failed("write back", "the objects"))
    }

    pub(super) fn make_skeleton(&self) -> Result<()> {
        let make = || {
            fs::create_dir_all(&self.directory)?;
            let root = self.root()?;
            self.make_unfinished(root)?;
            (0..=u8::MAX)
                .try_for_each(|shard| root.make_directory(&format!("{OBJECTS}/{shard:02x}")))
        };
        make().map_err(self.failed("make", "the directories of data/"))
    }

    pub(super) fn remove_unfinished(&self, before: SystemTime) -> Result<u64> {
        self.remove_unfinished_where(UNFINISHED_PREFIX, |stat| modified(stat) < before)
    }

    fn remove_unfinished_where(
        &self,
        prefix: &str,
        is_abandoned: impl Fn(&Stat) -> bool,
    ) -> Result<u64> {
        let failed = self.failed("clean", UNFINISHED);
        let refused = |errno: Errno| failed(errno.into());
        let directory = match self.root().and_then(|root| root.directory(UNFINISHED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            directory => directory.map_err(&failed)?,
        };
        let mut removed = 0;
        for entry in Dir::read_from(&directory).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name();
            if !name.to_bytes().starts_with(prefix.as_bytes()) {
                continue;
            }
            let remove = || -> rustix::io::Result<bool> {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let abandoned = is_abandoned(&rustix::fs::statat(&directory, name, flags)?);
                if abandoned {
                    rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
                }
                Ok(abandoned)
            };
            match remove() {
                Ok(abandoned) => removed += u64::from(abandoned),
                // It got its name in the meantime.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(removed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            // If this fails, a later `remove_unfinished` does it.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Reads what is available, even if signals interrupt it.
fn retry_read(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// When a file was changed; 1970 if that was before.
fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}
