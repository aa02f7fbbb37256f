//! The sign of a turn in a directory: a file that is locked. It says who holds it, so that the others see when it changes
//! hands.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::{Error, Result};

/// Only its owner may open the file: a lock on it needs no right to write.
const MODE: u32 = 0o600;

/// A lock that is held. It ends when this is dropped, or by itself when it was held for too long.
#[derive(Debug)]
pub(super) struct Lock {
    file: Arc<Mutex<Option<File>>>,
    /// Its end ends the thread that watches the time.
    _done: mpsc::Sender<()>,
}

/// A lock that somebody else holds.
#[derive(Debug)]
pub(super) struct Watched {
    file: (u64, u64),
    holder: Vec<u8>,
    since: Instant,
}

impl Lock {
    /// Takes the lock for at most `limit`; `None` if another publisher holds it, which is `watched`. Who has held it for
    /// longer than `limit` is stopped, or is no publisher, and keeps a file without a name.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn take(
        path: &Path,
        limit: Duration,
        watched: &mut Option<Watched>,
    ) -> Result<Option<Self>> {
        let failed = |cause| Error::System { action: "lock", path: path.to_owned(), cause };
        Self::attempt(path, limit, watched).map_err(failed)
    }

    fn attempt(
        path: &Path,
        limit: Duration,
        watched: &mut Option<Watched>,
    ) -> io::Result<Option<Self>> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(MODE)
            .open(path)?;
        let seen = file.metadata()?;
        let is_open_to_others = seen.mode() & 0o777 & !MODE != 0;
        if is_open_to_others && seen.uid() == rustix::process::geteuid().as_raw() {
            file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Another may have put a new file there meanwhile.
            Ok(()) if identity(path)? != Some((seen.dev(), seen.ino())) => Ok(None),
            Ok(()) => {
                file.write_all(format!("{:016x}", fastrand::u64(..)).as_bytes())?;
                Ok(Some(Self::hold(file, limit)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                file.take(64).read_to_end(&mut holder)?;
                let file = (seen.dev(), seen.ino());
                match watched {
                    Some(before) if before.file == file && before.holder == holder => {
                        if before.since.elapsed() >= limit && identity(path)? == Some(file) {
                            std::fs::remove_file(path)?;
                        }
                    }
                    _ => *watched = Some(Watched { file, holder, since: Instant::now() }),
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hold(file: File, limit: Duration) -> Self {
        let file = Arc::new(Mutex::new(Some(file)));
        let (done, is_done) = mpsc::channel::<()>();
        let held = Arc::clone(&file);
        let watch = move || {
            if is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                release(&held);
            }
        };
        // Without the thread, the others find out by themselves.
        let _ = std::thread::Builder::new().name("turn".to_owned()).spawn(watch);
        Self { file, _done: done }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        release(&self.file);
    }
}

fn release(file: &Mutex<Option<File>>) {
    file.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// The file that has this name now.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok(Some((named.dev(), named.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);

    fn once(path: &Path) -> Option<Lock> {
        Lock::take(path, FOREVER, &mut None).unwrap()
    }

    #[test]
    fn it_ends_by_itself() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let _held = Lock::take(&path, Duration::from_millis(1), &mut None).unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while once(&path).is_none() {
            assert!(Instant::now() < deadline, "it is held for ever");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_holds_it_for_too_long_is_not_respected() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        std::fs::write(&path, "").unwrap();
        let reader = File::open(&path).unwrap();
        rustix::fs::flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut watched = None;
        for _ in 0..3 {
            assert!(Lock::take(&path, FOREVER, &mut watched).unwrap().is_none(), "too early");
        }
        // The file is put aside, once for all.
        assert!(Lock::take(&path, Duration::ZERO, &mut watched).unwrap().is_none());
        let next = once(&path).unwrap();
        assert!(once(&path).is_none(), "two at a time");
        drop(next);
        assert!(once(&path).is_some());
    }

    #[test]
    fn it_is_seen_to_change_hands() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let mut watched = None;
        let first = once(&path).unwrap();
        assert!(Lock::take(&path, FOREVER, &mut watched).unwrap().is_none());
        drop(first);
        let second = once(&path).unwrap();
        // It has only just begun for the second.
        assert!(Lock::take(&path, Duration::ZERO, &mut watched).unwrap().is_none());
        drop(second);
        assert!(path.exists());
    }

    #[test]
    fn others_cannot_open_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        once(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        once(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
