//! The sign of a turn in a directory: a file that is locked. It says who holds it, so that the others see when it changes
//! hands.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::storage::Storage;
use crate::{Error, Result};

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
        storage: &Storage,
        name: &str,
        limit: Duration,
        watched: &mut Option<Watched>,
    ) -> Result<Option<Self>> {
        let path = storage.local_directory().unwrap_or(Path::new("")).join(name);
        let failed = |cause| Error::System { action: "lock", path, cause };
        Self::attempt(storage, name, limit, watched).map_err(failed)
    }

    fn attempt(
        storage: &Storage,
        name: &str,
        limit: Duration,
        watched: &mut Option<Watched>,
    ) -> io::Result<Option<Self>> {
        let Some(mut file) = storage.lock_file(name)? else { return Ok(None) };
        let seen = file.metadata()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Another may have put a new file there meanwhile.
            Ok(()) if !storage.is_named(name, &file)? => Ok(None),
            Ok(()) => {
                file.write_all(format!("{:016x}", fastrand::u64(..)).as_bytes())?;
                Ok(Some(Self::hold(file, limit)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                (&file).take(64).read_to_end(&mut holder)?;
                let identity = (seen.dev(), seen.ino());
                match watched {
                    Some(before) if before.file == identity && before.holder == holder => {
                        if before.since.elapsed() >= limit && storage.is_named(name, &file)? {
                            storage.remove_file(name).map_err(io::Error::other)?;
                        }
                    }
                    _ => {
                        *watched = Some(Watched { file: identity, holder, since: Instant::now() });
                    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);

    const NAME: &str = "lock";

    fn take(path: &Path, limit: Duration, watched: &mut Option<Watched>) -> Option<Lock> {
        let storage = Storage::local(path.parent().unwrap());
        Lock::take(&storage, NAME, limit, watched).unwrap()
    }

    fn once(path: &Path) -> Option<Lock> {
        take(path, FOREVER, &mut None)
    }

    #[test]
    fn it_ends_by_itself() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let _held = take(&path, Duration::from_millis(1), &mut None).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while once(&path).is_none() {
            assert!(Instant::now() < deadline, "it is held for ever");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_holds_it_for_too_long_is_not_respected() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        std::fs::write(&path, "").unwrap();
        let reader = File::open(&path).unwrap();
        rustix::fs::flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut watched = None;
        for _ in 0..3 {
            assert!(take(&path, FOREVER, &mut watched).is_none(), "too early");
        }
        // The file is put aside, once for all.
        assert!(take(&path, Duration::ZERO, &mut watched).is_none());
        let next = once(&path).unwrap();
        assert!(once(&path).is_none(), "two at a time");
        drop(next);
        assert!(once(&path).is_some());
    }

    #[test]
    fn it_is_seen_to_change_hands() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let mut watched = None;
        let first = once(&path).unwrap();
        assert!(take(&path, FOREVER, &mut watched).is_none());
        drop(first);
        let second = once(&path).unwrap();
        // It has only just begun for the second.
        assert!(take(&path, Duration::ZERO, &mut watched).is_none());
        drop(second);
        assert!(path.exists());
    }

    #[test]
    fn others_cannot_open_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        once(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        once(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
