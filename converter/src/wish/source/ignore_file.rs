//! The file that `DUCC_IGNORE_ERRORS_FILE` names.

use std::path::{Path, PathBuf};

use crate::wish::fault::{Fault, Severity};
use crate::wish::ignore::IgnoreErrors;
use crate::wish::list;
use crate::wish::yaml;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreFileError {
    /// It could not be read.
    #[error("cannot read {}, which DUCC_IGNORE_ERRORS_FILE names", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// It was read, but means nothing.
    #[error("{}:{fault}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// The first thing that is wrong.
        fault: Box<Fault>,
    },
}

/// Reads the file: YAML with the key `ignoreErrors`, as in a list. Also gives what is wrong but harmless.
///
/// # Errors
/// If it cannot be read or used. DUCC goes on without it.
pub fn ignore_errors_file(path: &Path) -> Result<(IgnoreErrors, Vec<Fault>), IgnoreFileError> {
    let failed = |cause| IgnoreFileError::Unreadable { path: path.to_owned(), cause };
    let bytes = yaml::read(path).map_err(failed)?;
    let (ignore, faults) = list::parse_ignore_errors(&bytes);
    match faults.iter().find(|fault| fault.severity == Severity::List) {
        None => Ok((ignore, faults)),
        Some(fault) => {
            let (path, fault) = (path.to_owned(), Box::new(fault.clone()));
            Err(IgnoreFileError::Broken { path, fault })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_same_key_as_a_list() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = directory.path().join("ignore.yaml");
            std::fs::write(&path, text).unwrap();
            ignore_errors_file(&path)
        };
        let (ignore, faults) = read("ignoreErrors:\n  - 'https://r.io/*:1'\n").unwrap();
        assert!(ignore.covers("https://r.io/a:1") && !ignore.covers("https://r.io/a:2"));
        assert_eq!(faults.len(), 0);
        // As DUCC does, what is not understood is left out.
        let (ignore, faults) = read("ignoreErrors: ['[', 'a']\nother: 1\n").unwrap();
        assert!(ignore.covers("a"));
        assert_eq!(faults.len(), 2);
        for (text, part) in [("- a\n", "1:1"), ("ignoreErrors: {a: b}\n", "1:15"), ("a: [", "YAML")]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("ignore.yaml"), "{text:?}: {error}");
        }
        let error = ignore_errors_file(&directory.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("DUCC_IGNORE_ERRORS_FILE"), "{error}");
    }
}
