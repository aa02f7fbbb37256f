//! Opening what lies beneath a storage's directory, and nothing else.
//!
//! Whoever may write in the storage may put symlinks, hard links and special files there, and may do so at any moment. So
//! the kernel resolves each path (openat2(2), `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`); where it cannot (before
//! Linux 5.6, or in a sandbox that does not know the call), the components are opened one after the other, none of them
//! through a symlink. Files are opened without waiting for anybody, and only regular ones are used.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Set when the kernel turned out not to resolve paths as it is wanted here.
static WALK: AtomicBool = AtomicBool::new(false);

const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A handle on a directory that only serves to reach names.
const REACH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// For what may turn out to be a fifo or a terminal.
const WARY: OFlags =
    OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whoever can open a lock can keep others waiting.
const LOCK_MODE: u32 = 0o600;

/// A directory and everything beneath it.
#[derive(Debug)]
pub(super) struct Beneath(OwnedFd);

impl Beneath {
    /// Opens a directory by a path that the user has chosen, whose symlinks are followed.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(directory, flags, Mode::empty())?))
    }

    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        if !WALK.load(Ordering::Relaxed) {
            match rustix::fs::openat2(&self.0, path, flags, mode, STRICT) {
                // Sandboxes of containers used to answer EPERM to calls that they do not know.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return opened,
            }
            let probed = rustix::fs::openat2(&self.0, ".", REACH, Mode::empty(), STRICT);
            WALK.store(probed.is_err(), Ordering::Relaxed);
        }
        walk(self.as_fd(), path, flags, mode)
    }

    /// Opens a directory.
    pub(super) fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.resolve(path, flags, Mode::empty())?)
    }

    /// Opens the directory that a path is in, and says which name the path has there.
    pub(super) fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        Ok((self.resolve(parent, REACH, Mode::empty())?, name))
    }

    /// The metadata of what has a path, without following a symlink; `None` if nothing has it.
    pub(super) fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let found = self.parent(path).and_then(|(parent, name)| {
            Ok(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
        });
        absent(found)
    }

    /// Opens a regular file for reading; `None` if nothing is there.
    pub(super) fn file(&self, path: &str) -> io::Result<Option<File>> {
        let opened = self.resolve(path, OFlags::RDONLY | WARY, Mode::empty());
        let Some(file) = absent(opened.map_err(io::Error::from))?.map(File::from) else {
            return Ok(None);
        };
        if !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(Some(file))
    }

    /// Makes a directory that may be there already.
    pub(super) fn make_directory(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Opens a file that serves as a lock, and makes it if it is not there: a regular one with no other name, which only its
    /// owner can open.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        let mode = Mode::from_raw_mode(LOCK_MODE);
        let flags = OFlags::RDWR | OFlags::CREATE | WARY;
        let file = File::from(self.resolve(name, flags, mode)?);
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(not_regular());
        }
        // Without a name it is about to be replaced, which the caller has to look for.
        if found.nlink() > 1 {
            return Err(io::Error::other("it has another name, too; remove this one"));
        }
        let is_open_to_others = found.mode() & 0o777 & !LOCK_MODE != 0;
        if is_open_to_others && found.uid() == rustix::process::geteuid().as_raw() {
            file.set_permissions(PermissionsExt::from_mode(LOCK_MODE))?;
        }
        Ok(file)
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this is the metadata of a regular file.
pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file; remove it")
}

/// `None` for an answer that nothing is there.
fn absent<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What openat2(2) does, component by component.
fn walk(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let (above, last) =
        path.rsplit_once('/').map_or((None, path), |(above, last)| (Some(above), last));
    let mut at: Option<OwnedFd> = None;
    let components = above.into_iter().flat_map(|above| above.split('/'));
    for name in components.chain([last]) {
        if name.is_empty() || name == ".." || (name == "." && path != ".") {
            return Err(Errno::XDEV);
        }
    }
    for name in above.into_iter().flat_map(|above| above.split('/')) {
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(rustix::fs::openat(from, name, REACH | OFlags::NOFOLLOW, Mode::empty())?);
    }
    let from = at.as_ref().map_or(root, AsFd::as_fd);
    rustix::fs::openat(from, last, flags | OFlags::NOFOLLOW, mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways to resolve a path.
    fn ways(root: &Beneath, path: &str) -> [rustix::io::Result<OwnedFd>; 2] {
        let flags = OFlags::RDONLY | WARY;
        [
            rustix::fs::openat2(root, path, flags, Mode::empty(), STRICT),
            walk(root.as_fd(), path, flags, Mode::empty()),
        ]
    }

    #[test]
    fn nothing_leads_out() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("root/data/ab")).unwrap();
        fs::create_dir_all(at("outside/ab")).unwrap();
        for file in ["root/data/ab/x", "outside/ab/x", "outside/x"] {
            fs::write(at(file), file).unwrap();
        }
        symlink("../outside", at("root/link")).unwrap();
        symlink("data", at("root/inside")).unwrap();
        symlink("/etc/passwd", at("root/data/ab/link")).unwrap();
        let root = Beneath::open(&at("root")).unwrap();
        for (path, is_there) in [
            ("data/ab/x", true),
            ("data/ab/link", false),
            ("link/ab/x", false),
            ("inside/ab/x", false),
            ("../outside/x", false),
            ("data/../../outside/x", false),
            ("/etc/passwd", false),
        ] {
            for opened in ways(&root, path) {
                assert_eq!(opened.is_ok(), is_there, "{path}: {opened:?}");
            }
        }
        for path in [".", "data", "data/ab"] {
            assert!(ways(&root, path).iter().all(Result::is_ok), "{path}");
        }
        assert!(root.parent("link/x").is_err() && root.parent("inside/ab/x").is_err());
    }

    #[test]
    fn only_regular_files_are_read_and_nobody_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let root = Beneath::open(place.path()).unwrap();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(place.path().join("directory")).unwrap();
        for name in ["fifo", "directory"] {
            assert!(root.file(name).is_err(), "{name}");
            assert!(root.lock_file(name).is_err(), "{name}");
        }
        assert!(root.file("nothing").unwrap().is_none());
    }

    #[test]
    fn a_lock_is_no_other_file() {
        let place = tempfile::tempdir().unwrap();
        let victim = place.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        fs::set_permissions(&victim, PermissionsExt::from_mode(0o644)).unwrap();
        fs::create_dir(place.path().join("root")).unwrap();
        let root = Beneath::open(&place.path().join("root")).unwrap();
        let lock = place.path().join("root/lock");
        fs::hard_link(&victim, &lock).unwrap();
        assert!(root.lock_file("lock").is_err());
        fs::remove_file(&lock).unwrap();
        for target in [victim.as_path(), &place.path().join("new")] {
            symlink(target, &lock).unwrap();
            assert!(root.lock_file("lock").is_err());
            fs::remove_file(&lock).unwrap();
        }
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644);
        assert!(!place.path().join("new").exists());
        fs::write(&lock, "").unwrap();
        fs::set_permissions(&lock, PermissionsExt::from_mode(0o644)).unwrap();
        root.lock_file("lock").unwrap();
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
    }
}
