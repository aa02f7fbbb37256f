//! A private directory for databases and for what does not fit into memory.
//!
//! Its process keeps a file in it locked. So what a killed one has left can be told from what is in use, and the next one
//! removes it.
//!
//! Several machines may share the place. Not every network file system tells one of the locks of another, so the name says
//! on which machine the process runs, and the others leave the directory alone. It gets this name when it is locked already:
//! one with such a name and without a lock is abandoned.
//!
//! Until then it has a hidden name, under which a process that is killed in between leaves it. Nobody can tell such a one
//! from one that is just being made, so whoever sweeps takes both, and whose directory was taken makes another.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// How the names of these directories begin. The machine's identity follows, and something random.
const PREFIX: &str = "ducc-scratch-";
/// What is before that until it is locked.
const UNLOCKED: &str = ".";
/// The file that is locked.
const LOCK: &str = "lock";
/// How often a directory is made that others sweep away at once. Each process sweeps once.
const ATTEMPTS: u32 = 100;

/// A directory of this process, mode 0700. It is removed when the last clone and everything that was made in it are gone.
#[derive(Debug, Clone)]
pub struct Scratch(Arc<Locked>);

/// A directory, and the lock in it.
#[derive(Debug)]
struct Locked {
    path: PathBuf,
    lock: Option<File>,
}

/// A database in a scratch directory; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    file: NamedTempFile,
    /// Keeps the directory at least as long.
    _directory: Scratch,
}

impl Scratch {
    /// Makes a directory in the place for temporary files: the one that the program was told, or `TMPDIR`, or `/tmp`. The
    /// first one of a process also removes there what killed ones have left.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> Result<Self> {
        Self::sweep();
        Self::below(&tempfile::env::temp_dir())
    }

    /// Removes what killed processes have left in the place for temporary files. Only the first call of a process does.
    pub fn sweep() {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&tempfile::env::temp_dir(), &Machine::this()));
    }

    /// Makes a directory in another place.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn below(directory: &Path) -> Result<Self> {
        // SQLite is given paths as URLs, which have no relative form.
        let made =
            std::path::absolute(directory).and_then(|directory| make(&directory, &Machine::this()));
        let locked = made.map_err(|cause| Error::System {
            action: "make a temporary directory in",
            path: directory.to_owned(),
            cause,
        })?;
        Ok(Self(Arc::new(locked)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// An empty file without a name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn file(&self) -> Result<File> {
        tempfile::tempfile_in(self.path()).map_err(|cause| self.refused(cause))
    }

    /// An empty file with a name of its own, for libraries that want one.
    pub(crate) fn named(&self) -> Result<ScratchFile> {
        let file = NamedTempFile::new_in(self.path()).map_err(|cause| self.refused(cause))?;
        Ok(ScratchFile { file, _directory: self.clone() })
    }

    /// The error of an operation on a file in it.
    pub(crate) fn refused(&self, cause: io::Error) -> Error {
        Error::System { action: "keep a temporary file in", path: self.path().to_owned(), cause }
    }
}

impl ScratchFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its content.
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // NFS keeps the name of a removed file that is open. If another process takes the directory for abandoned from here
        // on, it only helps.
        self.lock.take();
        // What cannot be removed only takes space, and the next process tries it again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The machine on which a process runs, in names of directories.
#[derive(Debug)]
struct Machine {
    /// Of the running kernel, the same in all containers; empty if it is not known.
    boot: String,
    /// The name of the machine or container, which outlives a reboot.
    node: String,
}

impl Machine {
    fn this() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let node = rustix::system::uname();
        Self {
            boot: boot.chars().filter(char::is_ascii_hexdigit).collect(),
            node: node
                .nodename()
                .to_string_lossy()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
                .collect(),
        }
    }

    /// How the names of its directories begin.
    fn prefix(&self) -> String {
        format!("{PREFIX}{}-{}-", self.boot, self.node)
    }

    /// Whether a directory with this name is of a process of this machine, maybe one before it was rebooted.
    fn has_made(&self, name: &str) -> bool {
        let Some((boot, rest)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
        else {
            return false;
        };
        let node = rest.rsplit_once('-').map(|(node, _random)| node);
        (boot == self.boot && !boot.is_empty()) || node == Some(&self.node)
    }
}

fn make(place: &Path, machine: &Machine) -> io::Result<Locked> {
    let mut attempt = 1;
    loop {
        match try_make(place, machine) {
            Ok(Some(locked)) => return Ok(locked),
            Ok(None) if attempt < ATTEMPTS => attempt += 1,
            Ok(None) => return Err(io::Error::other("other processes remove it again and again")),
            Err(error) => return Err(error),
        }
    }
}

/// Makes a directory; `None` if somebody has swept it away before it was locked and had its name.
fn try_make(place: &Path, machine: &Machine) -> io::Result<Option<Locked>> {
    let prefix = format!("{UNLOCKED}{}", machine.prefix());
    let unlocked = tempfile::Builder::new().prefix(&prefix).rand_bytes(12).tempdir_in(place)?;
    let Some(lock) = unless_swept(File::create_new(unlocked.path().join(LOCK)))? else {
        return Ok(None);
    };
    match try_lock(&lock) {
        // Where nobody can lock anything, nobody removes anything either.
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let name = unlocked.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.expect("a temporary directory has a name");
    let path = place.join(&name[UNLOCKED.len()..]);
    if unless_swept(fs::rename(unlocked.path(), &path))?.is_none() {
        return Ok(None);
    }
    // There is nothing at the old name any more.
    let _ = unlocked.keep();
    Ok(Some(Locked { path, lock: Some(lock) }))
}

/// `None` if what it was done to is not there any more.
fn unless_swept<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn try_lock(lock: &File) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive))
}

/// What is known of a directory with a name of this machine.
enum Use {
    /// Nobody uses it. Who holds this lock keeps others from using it.
    Abandoned(File),
    /// It has no lock.
    Unlockable,
    /// It is somebody's.
    Used,
}

/// Whether somebody uses a directory with a name of this machine. It has to belong to this user.
fn usage(path: &Path) -> rustix::io::Result<Use> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags | OFlags::DIRECTORY, Mode::empty())?;
    if rustix::fs::fstat(&directory)?.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(Use::Used);
    }
    match rustix::fs::openat(directory.as_fd(), LOCK, flags | OFlags::RDWR, Mode::empty()) {
        Ok(lock) => {
            let lock = File::from(lock);
            try_lock(&lock)?;
            Ok(Use::Abandoned(lock))
        }
        Err(Errno::NOENT) => Ok(Use::Unlockable),
        Err(error) => Err(error),
    }
}

/// Removes the directories of this machine's processes that are gone. What cannot be removed stays, and only takes space.
fn sweep(place: &Path, machine: &Machine) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let hidden = name.strip_prefix(UNLOCKED);
        if !machine.has_made(hidden.unwrap_or(&name)) {
            continue;
        }
        let path = entry.path();
        let _removed = match usage(&path) {
            // The lock is held meanwhile: a directory that is being made must not lose its content when it has its name.
            Ok(Use::Abandoned(_lock)) => fs::remove_dir_all(path),
            // There is nothing in it yet; if there is by now, it stays.
            Ok(Use::Unlockable) if hidden.is_some() => fs::remove_dir(path),
            // Its process was about to remove it.
            Ok(Use::Unlockable) => fs::remove_dir_all(path),
            Ok(Use::Used) | Err(_) => continue,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn machine(boot: &str, node: &str) -> Machine {
        Machine { boot: boot.to_owned(), node: node.to_owned() }
    }

    /// A directory as a killed process of a machine leaves it.
    fn killed(place: &Path, machine: &Machine) -> PathBuf {
        let mut locked = make(place, machine).unwrap();
        fs::write(locked.path.join("database"), "half").unwrap();
        locked.lock.take();
        let path = std::mem::take(&mut locked.path);
        drop(locked);
        path
    }

    #[test]
    fn only_what_nobody_uses_is_swept_away() {
        let place = tempfile::tempdir().unwrap();
        let this = Machine::this();
        let used = Scratch::below(place.path()).unwrap();
        let kept = used.named().unwrap();
        let abandoned = killed(place.path(), &this);
        let half_removed = killed(place.path(), &this);
        fs::remove_file(half_removed.join(LOCK)).unwrap();
        let of_others = place.path().join("other");
        fs::create_dir(&of_others).unwrap();
        let link = place.path().join(format!("{}link", this.prefix()));
        std::os::unix::fs::symlink(&of_others, &link).unwrap();
        sweep(place.path(), &this);
        assert!(!abandoned.exists() && !half_removed.exists());
        assert!(kept.path().exists());
        assert!(of_others.exists() && link.symlink_metadata().is_ok());
    }

    /// A process can be killed before its directory has its name: with or without the file, locked or not.
    #[test]
    fn what_was_being_made_is_swept_away_unless_it_is_locked() {
        let place = tempfile::tempdir().unwrap();
        let this = Machine::this();
        let hidden = |name: &str| place.path().join(format!("{UNLOCKED}{}{name}", this.prefix()));
        let [empty, unlocked, locked, full] = ["empty", "unlocked", "locked", "full"].map(hidden);
        for directory in [&empty, &unlocked, &locked, &full] {
            fs::create_dir(directory).unwrap();
        }
        File::create_new(unlocked.join(LOCK)).unwrap();
        let lock = File::create_new(locked.join(LOCK)).unwrap();
        try_lock(&lock).unwrap();
        fs::write(full.join("mine"), "not made by this program").unwrap();
        let of_others = place.path().join(format!("{UNLOCKED}other"));
        fs::create_dir(&of_others).unwrap();
        sweep(place.path(), &this);
        assert!(!empty.exists() && !unlocked.exists());
        assert!(locked.join(LOCK).exists() && full.exists() && of_others.exists());
        drop(lock);
        sweep(place.path(), &this);
        assert!(!locked.exists());
    }

    /// Whoever has a directory keeps it, whatever others sweep meanwhile.
    #[test]
    fn directories_are_made_while_others_sweep() {
        const DIRECTORIES: usize = 300;
        let place = tempfile::tempdir().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        sweep(place.path(), &Machine::this());
                        std::thread::yield_now();
                    }
                });
            }
            for _ in 0..DIRECTORIES {
                let scratch = Scratch::below(place.path()).unwrap();
                fs::write(scratch.path().join("file"), "content").unwrap();
                assert!(scratch.path().join(LOCK).exists());
                assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"content");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        sweep(place.path(), &Machine::this());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_other_machines_have_left_stays() {
        let place = tempfile::tempdir().unwrap();
        let this = machine("b007", "build-1");
        let rebooted = killed(place.path(), &machine("01d", "build-1"));
        let container = killed(place.path(), &machine("b007", "4711"));
        let other = killed(place.path(), &machine("07e2", "build-2"));
        sweep(place.path(), &this);
        assert!(!rebooted.exists() && !container.exists());
        assert!(other.join("database").exists());
        // Not even if it does not know itself.
        let unknown = killed(place.path(), &machine("", "build-2"));
        sweep(place.path(), &machine("", "build-1"));
        assert!(unknown.exists());
    }

    #[test]
    fn a_file_is_locked_and_not_only_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(place.path()).unwrap();
        let lock = File::options().write(true).open(scratch.path().join(LOCK)).unwrap();
        let taken = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(taken, Err(Errno::WOULDBLOCK));
    }

    #[test]
    fn it_goes_when_the_last_user_goes() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(place.path()).unwrap();
        let path = scratch.path().to_owned();
        scratch.file().unwrap().write_all(b"content").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "only the lock has a name");

        let named = scratch.named().unwrap();
        drop(scratch);
        assert!(named.path().starts_with(&path));
        named.as_file().write_all(b"content").unwrap();
        drop(named);
        assert!(!path.exists());
    }
}
