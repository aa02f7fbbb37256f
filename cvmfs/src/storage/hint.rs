//! What to do about a storage's answer.

use std::error::Error as StdError;
use std::{fmt, io};

use rustix::io::Errno;

use crate::Error;

type Cause = Box<dyn StdError + Send + Sync>;

/// An answer followed by advice.
#[derive(Debug)]
struct Hint {
    cause: Cause,
    advice: &'static str,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.advice)
    }
}

impl StdError for Hint {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

/// The error of a storage that refused; `advice` says what to do, if it is known.
pub(super) fn refused(
    action: &'static str,
    object: &str,
    storage: &str,
    cause: Cause,
    advice: Option<&'static str>,
) -> Error {
    let cause = match advice {
        Some(advice) => Box::new(Hint { cause, advice }),
        None => cause,
    };
    Error::Storage { action, object: object.to_owned(), storage: storage.to_owned(), cause }
}

/// What to do about an answer of the operating system.
pub(super) fn advice(error: &io::Error) -> Option<&'static str> {
    if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        return Some(
            "a symlink stands there, which could lead out of the storage: remove it, or mount there what it leads to",
        );
    }
    Some(match error.kind() {
        io::ErrorKind::StorageFull => {
            "free some space; what is already stored is used by the next run"
        }
        io::ErrorKind::QuotaExceeded => "raise the quota or publish as another user",
        io::ErrorKind::PermissionDenied => "publish as the user who owns the repository",
        io::ErrorKind::ReadOnlyFilesystem => "the file system must be mounted for writing",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "is this the right directory?",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        for (errno, expected) in [
            (Errno::NOSPC, "free some space"),
            (Errno::DQUOT, "raise the quota"),
            (Errno::ACCESS, "the user who owns the repository"),
            (Errno::ROFS, "mounted for writing"),
            (Errno::NOENT, "the right directory"),
            (Errno::LOOP, "a symlink stands there"),
        ] {
            let cause = io::Error::from(errno);
            let advice = advice(&cause);
            let error = refused("write", "data/ab/cd", "/srv/x", cause.into(), advice);
            assert_eq!(error.to_string(), "cannot write data/ab/cd in /srv/x");
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains(expected), "{cause}");
        }
        assert_eq!(advice(&Errno::IO.into()), None);
    }
}
