//! The lock that DUCC takes on everything it writes on a machine, for those who still run DUCC beside this program.
//!
//! Rule: DUCC. A POSIX record lock (fcntl(2)) for writing on the whole of `/tmp/DUCC.lock`, held from the beginning of a
//! transaction to its end. DUCC goes on without the lock if it cannot open the file; this does not.
//!
//! Such a lock belongs to the process, and closing any handle on the file gives it up. So the process has one handle,
//! which those who hold the lock at a time share. They are kept apart by the locks of their repositories.
//!
//! `/tmp` is everybody's. The file is opened without following a link, has to be a regular file with one name, and has to
//! belong to this user, to root, or to the owner of the repository, as whom DUCC runs: anybody else could keep publishers
//! waiting for ever. It is never written to. Whoever can read it can lock it for reading, which keeps writers waiting, too,
//! so only its owner may.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::{Error, Result};

/// Where DUCC has it.
const PATH: &str = "/tmp/DUCC.lock";

/// For the owner only. DUCC opens it for reading and writing.
const MODE: u32 = 0o600;

/// The pause before the lock is tried again.
const POLL: Duration = Duration::from_millis(100);

/// How often somebody who waits is told so.
const REMINDER: Duration = Duration::from_secs(3 * 60);

/// The locks that this process holds, with the number of those who do. A file is opened and closed only while this is
/// held: closing one gives up the lock that another thread has just taken.
static HELD: LazyLock<Mutex<HashMap<PathBuf, (usize, File)>>> = LazyLock::new(Mutex::default);

fn held() -> MutexGuard<'static, HashMap<PathBuf, (usize, File)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// DUCC's lock.
#[derive(Debug, Clone)]
pub(super) struct DuccLock {
    path: PathBuf,
    /// The user as whom DUCC runs, if that is known.
    owner: Option<u32>,
    reminder: Duration,
}

/// The right to write while DUCC does not, held until it is dropped.
#[derive(Debug)]
pub(super) struct DuccGuard(PathBuf);

/// What came of trying to take the lock.
enum Attempt {
    Held(DuccGuard),
    /// Another process has it.
    Busy(Option<i32>),
}

impl DuccLock {
    /// The lock of this machine's DUCC, which runs as the owner of a repository, if that is known.
    pub(super) fn of_this_machine(owner: Option<u32>) -> Self {
        Self { path: PATH.into(), owner, reminder: REMINDER }
    }

    /// Waits until no DUCC is at work. If one is, `wait` is asked whether to wait, at once and again every few minutes.
    ///
    /// # Errors
    /// [`Error::Busy`] if `wait` said no; [`Error::DuccLock`] if the file cannot be trusted or opened.
    pub(super) fn acquire(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<DuccGuard> {
        let mut told: Option<Instant> = None;
        loop {
            let holder = match self.attempt()? {
                Attempt::Held(guard) => return Ok(guard),
                Attempt::Busy(holder) => holder,
            };
            if told.is_none_or(|told| told.elapsed() >= self.reminder) {
                let path = self.path.display();
                let busy = match holder {
                    Some(pid) => {
                        format!("DUCC is publishing on this machine ({path}, process {pid})")
                    }
                    None => format!("DUCC is publishing on this machine ({path})"),
                };
                if !wait(&busy) {
                    return Err(Error::Busy(busy));
                }
                told = Some(Instant::now());
            }
            std::thread::sleep(POLL);
        }
    }

    fn attempt(&self) -> Result<Attempt> {
        let mut held = held();
        if let Some((count, _)) = held.get_mut(&self.path) {
            *count += 1;
            return Ok(Attempt::Held(DuccGuard(self.path.clone())));
        }
        loop {
            let file = self.open()?;
            let lock = FlockOperation::NonBlockingLockExclusive;
            match retry_on_intr(|| rustix::fs::fcntl_lock(&file, lock)) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(Attempt::Busy(holder(&file))),
                Err(error) => return Err(self.failed("lock")(error)),
            }
            // Somebody may have tidied up `/tmp` meanwhile, and DUCC have made another file.
            if is_at(&file, &self.path).map_err(self.failed("look at"))? {
                held.insert(self.path.clone(), (1, file));
                return Ok(Attempt::Held(DuccGuard(self.path.clone())));
            }
        }
    }

    fn open(&self) -> Result<File> {
        loop {
            let flags = OFlags::RDWR
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC;
            // Without O_CREAT at first: with it, the kernel refuses another user's file in /tmp even to root
            // (fs.protected_regular).
            match rustix::fs::open(&self.path, flags, Mode::empty()) {
                Ok(file) => {
                    let stat = rustix::fs::fstat(&file).map_err(self.failed("look at"))?;
                    self.check(&stat)?;
                    let is_open_to_others = stat.st_mode & 0o777 & !MODE != 0;
                    let own = rustix::process::geteuid();
                    if is_open_to_others && (own.is_root() || own.as_raw() == stat.st_uid) {
                        rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE))
                            .map_err(self.failed("close to others"))?;
                    }
                    return Ok(file.into());
                }
                Err(Errno::NOENT) => {}
                Err(Errno::LOOP) => return Err(self.refused("it is a symlink".to_owned())),
                Err(error) => return Err(self.failed("open")(error)),
            }
            let mode = Mode::from_raw_mode(MODE);
            match rustix::fs::open(&self.path, flags | OFlags::CREATE | OFlags::EXCL, mode) {
                Ok(file) => {
                    // DUCC must be able to open it.
                    if let (true, Some(owner)) = (is_root(), self.owner) {
                        rustix::fs::fchown(&file, Some(Uid::from_raw(owner)), None)
                            .map_err(self.failed("give to the repository's owner"))?;
                    }
                    return Ok(file.into());
                }
                // Another has just made it.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.failed("make")(error)),
            }
        }
    }

    fn check(&self, stat: &Stat) -> Result<()> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(self.refused("it is no ordinary file with one name".to_owned()));
        }
        let own = rustix::process::geteuid().as_raw();
        if ![0, own].contains(&stat.st_uid) && self.owner != Some(stat.st_uid) {
            return Err(self.refused(format!(
                "it belongs to user {}, who is neither this one nor root nor the repository's owner",
                stat.st_uid
            )));
        }
        Ok(())
    }

    fn refused(&self, reason: String) -> Error {
        Error::DuccLock { path: self.path.clone(), reason }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> Error + use<> {
        let path = self.path.clone();
        move |cause| Error::DuccLock { path, reason: format!("cannot {action} it: {cause}") }
    }
}

impl Drop for DuccGuard {
    fn drop(&mut self) {
        let mut held = held();
        if let Some((count, _)) = held.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.0);
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The process that keeps this one from locking a file, if that is known.
fn holder(file: &File) -> Option<i32> {
    let lock = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok()??;
    lock.pid.map(|pid| pid.as_raw_nonzero().get())
}

/// Whether a file is the one with this name.
fn is_at(file: &File, path: &Path) -> rustix::io::Result<bool> {
    let held = rustix::fs::fstat(file)?;
    match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn at(path: &Path) -> DuccLock {
        DuccLock { path: path.to_owned(), owner: None, reminder: REMINDER }
    }

    fn no_wait(_: &str) -> bool {
        false
    }

    /// Another process that holds the lock as DUCC does, until its input ends.
    fn ducc(path: &Path) -> Child {
        let script = "import fcntl, sys\n\
                      f = open(sys.argv[1], 'a')\n\
                      fcntl.lockf(f, fcntl.LOCK_EX)\n\
                      print('held', flush=True)\n\
                      sys.stdin.read()\n";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "held\n");
        child
    }

    /// Whether another process gets the lock.
    fn is_free(path: &Path) -> bool {
        let script = "import fcntl, sys\n\
                      f = open(sys.argv[1], 'a')\n\
                      fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(path).stderr(Stdio::null());
        python.status().unwrap().success()
    }

    #[test]
    fn it_keeps_ducc_away_until_the_last_holder_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("DUCC.lock");
        let first = at(&path).acquire(&mut no_wait).unwrap();
        let second = at(&path).acquire(&mut no_wait).unwrap();
        assert!(!is_free(&path));
        drop(first);
        assert!(!is_free(&path), "the second still holds it");
        drop(second);
        assert!(is_free(&path));
    }

    #[test]
    fn it_waits_for_ducc() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("DUCC.lock");
        let mut ducc = ducc(&path);
        assert!(matches!(at(&path).acquire(&mut no_wait), Err(Error::Busy(_))));
        let mut asked = 0;
        let pid = ducc.id();
        let mut wait = |text: &str| {
            assert!(text.ends_with(&format!(", process {pid})")), "{text}");
            asked += 1;
            // It ends when it has no input any more.
            drop(ducc.stdin.take());
            true
        };
        let guard = at(&path).acquire(&mut wait).unwrap();
        assert_eq!(asked, 1);
        assert!(!is_free(&path));
        drop(guard);
        ducc.wait().unwrap();
    }

    #[test]
    fn who_waits_is_told_again_and_keeps_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("DUCC.lock");
        let mut ducc = ducc(&path);
        let impatient = DuccLock { reminder: Duration::ZERO, ..at(&path) };
        let mut asked = 0;
        let mut wait = |_: &str| {
            asked += 1;
            // Another thread learns at once that the lock is taken.
            let other = std::thread::scope(|scope| {
                scope.spawn(|| at(&path).acquire(&mut no_wait)).join().unwrap()
            });
            assert!(matches!(other, Err(Error::Busy(_))));
            asked < 3
        };
        assert!(matches!(impatient.acquire(&mut wait), Err(Error::Busy(_))));
        assert_eq!(asked, 3);

        // Nor does somebody who goes on waiting.
        let (told, is_told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                at(&path).acquire(&mut |_| {
                    told.send(()).unwrap();
                    true
                })
            });
            is_told.recv().unwrap();
            let elsewhere = directory.path().join("elsewhere");
            let (done, is_done) = std::sync::mpsc::channel();
            scope.spawn(move || done.send(at(&elsewhere).acquire(&mut no_wait).is_ok()));
            let got = is_done.recv_timeout(Duration::from_secs(60));
            drop(ducc.stdin.take());
            assert_eq!(got, Ok(true));
            waiting.join().unwrap().unwrap();
        });
        ducc.wait().unwrap();
    }

    #[test]
    fn nobody_else_may_open_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("DUCC.lock");
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        at(&path).acquire(&mut no_wait).map(drop).unwrap();
        assert_eq!(mode(), 0o600);
        // As DUCC makes it.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        at(&path).acquire(&mut no_wait).map(drop).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_and_never_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let victim = path("victim");
        std::fs::write(&victim, "content").unwrap();
        symlink(&victim, path("symlink")).unwrap();
        std::fs::hard_link(&victim, path("hard")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        for (name, part) in [
            ("symlink", "symlink"),
            ("dangling", "symlink"),
            ("hard", "one name"),
            ("directory", "open"),
            ("no/such", "make"),
        ] {
            let error = at(&path(name)).acquire(&mut no_wait).unwrap_err().to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "content");
        assert!(!path("nowhere").exists());
        if !is_root() {
            return;
        }
        let file = path("file");
        std::fs::write(&file, "").unwrap();
        chown(&file, Some(4711), None).unwrap();
        let error = at(&file).acquire(&mut no_wait).unwrap_err().to_string();
        assert!(error.contains("user 4711"), "{error}");
        let owner = DuccLock { owner: Some(4711), ..at(&file) };
        owner.acquire(&mut no_wait).map(drop).unwrap();
        // A new one belongs to the user as whom DUCC runs.
        std::fs::remove_file(&file).unwrap();
        owner.acquire(&mut no_wait).map(drop).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), 4711);
    }
}
