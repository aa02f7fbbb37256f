//! What happens, told to other programs in a file: DUCC's notifications.
//!
//! One JSON object for each line, all values strings, keys sorted; each has `action` and `time`. Rule: DUCC, whose
//! listeners follow the file. Several processes may append to one file: each line is written under the file's lock
//! (flock(2)), and a file that was renamed by log rotation is opened again under its old name.
//!
//! The actions are DUCC's, as far as this program does what they are about: it makes no chains in the old sense and no
//! Podman store.

mod conversion;
mod event;
mod time;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FlockOperation;

pub use conversion::Conversion;
pub use event::{Ended, Event, Id};

/// Mode of a new file, before the umask. Rule: DUCC.
const MODE: u32 = 0o660;

/// Where notifications go. Clones write to the same file; the default writes nowhere.
#[derive(Debug, Clone, Default)]
pub struct Notifications(Option<Arc<Sink>>);

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: Mutex<File>,
}

/// The notification file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the notification file {}", path.display())]
pub struct Error {
    /// What was tried, as a continuation of "cannot …".
    action: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl Notifications {
    /// Appends to the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn to(path: &Path) -> Result<Self, Error> {
        let file =
            open(path).map_err(|cause| Error { action: "open", path: path.to_owned(), cause })?;
        Ok(Self(Some(Arc::new(Sink { path: path.to_owned(), file: Mutex::new(file) }))))
    }

    /// Writes a line. A listener that cannot be told keeps nobody from publishing: a failure is logged.
    pub fn tell(&self, event: &Event<'_>) {
        let Some(sink) = &self.0 else { return };
        let mut line = event.to_json(&time::now());
        line.push(b'\n');
        if let Err(cause) = sink.append(&line) {
            let error = Error { action: "write to", path: sink.path.clone(), cause };
            tracing::error!(cause = %error.cause, "{error}");
        }
    }
}

impl Sink {
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_at(&file, &self.path)? {
            *file = open(&self.path)?;
        }
        let _lock = Lock::take(&file)?;
        file.write_all(line)
    }
}

/// The lock of a file as long as it lives.
struct Lock(File);

impl Lock {
    fn take(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock goes with the last handle at the latest.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Whether a path still leads to a file that is open.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_rotated_is_opened_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notifications");
        let notifications = Notifications::to(&path).unwrap();
        notifications.tell(&Event::Started);
        std::fs::rename(&path, place.path().join("old")).unwrap();
        notifications.tell(&Event::Started);
        for name in ["old", "notifications"] {
            let text = std::fs::read_to_string(place.path().join(name)).unwrap();
            assert_eq!(text.lines().count(), 1, "{name}: {text}");
        }
    }

    #[test]
    fn several_writers_share_a_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notifications");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let notifications = Notifications::to(&path).unwrap();
                    for _ in 0..100 {
                        notifications.tell(&Event::Started);
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 400);
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["action"], "start_ducc");
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Notifications::to(Path::new("/proc/no/such")).unwrap_err().to_string();
        assert_eq!(error, "cannot open the notification file /proc/no/such");
    }
}
