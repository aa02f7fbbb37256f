//! What this machine has last seen of a repository, so that nobody can put an older revision back unnoticed.
//!
//! An old manifest stays signed for ever. Who can write in a storage can put one back: clients that have seen the newer one
//! refuse it, but a publisher would publish on top of it, and so sign that everything since has never been there, under
//! numbers that have been used. Therefore a publisher remembers, outside of the storage, the newest revision that it has
//! signed or built on, for each storage. It also remembers which repository is in the storage, since a manifest that is not
//! verified yet may name another one.
//!
//! What was never seen here cannot be missed. Then only the storage itself may tell: a reference log that is newer than the
//! manifest, or a tag of a later revision (`repository.rs`).

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;
use serde::{Deserialize, Serialize};

use crate::fqrn::Fqrn;
use crate::hash::{Algorithm, ContentHash};
use crate::manifest::Manifest;
use crate::storage::Storage;
use crate::{Error, Result};

/// The directory of these notes, in the one that the program keeps its state in.
const DIRECTORY: &str = "seen";
/// Locked while a note is changed.
const LOCK: &str = "lock";
const UNFINISHED: &str = ".new";
/// Notes are some 200 bytes.
const LIMIT: u64 = 64 << 10;

/// A point in the life of a repository: a revision can be signed several times (tags), with later times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// Number of the revision.
    pub revision: u64,
    /// When it was signed, in seconds since 1970.
    pub timestamp: u64,
}

impl Progress {
    /// That of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self { revision: manifest.revision, timestamp: manifest.timestamp.unwrap_or_default() }
    }
}

/// The note on one storage.
#[derive(Debug, Clone)]
pub struct LastSeen {
    path: PathBuf,
    storage: String,
    accepts_rollback: bool,
}

/// What a note says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// For people: file names are hashes of it.
    storage: String,
    name: String,
    revision: u64,
    timestamp: u64,
    root: String,
    /// The highest number that a revision has had.
    highest: u64,
}

impl LastSeen {
    /// The note on a storage; `state` is the directory in which this program keeps its state.
    pub fn of(state: &Path, storage: &Storage) -> Self {
        let storage = match storage.local_directory() {
            Some(directory) => {
                let canonical = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
                canonical.display().to_string()
            }
            None => storage.name().to_owned(),
        };
        let name = format!("{}.json", Algorithm::Shake128.hash(storage.as_bytes()));
        let name = name.replace('/', "_");
        Self { path: state.join(DIRECTORY).join(name), storage, accepts_rollback: false }
    }

    /// The same for a publisher who means to go on from an older revision.
    #[must_use]
    pub fn accepting_rollback(self, accepts: bool) -> Self {
        Self { accepts_rollback: accepts, ..self }
    }

    /// Whether an older revision is what is meant.
    pub(crate) fn accepts_rollback(&self) -> bool {
        self.accepts_rollback
    }

    /// The repository that was in the storage, if it was seen.
    ///
    /// # Errors
    /// If the note is there and cannot be read.
    pub fn name(&self) -> Result<Option<Fqrn>> {
        Ok(self.read()?.and_then(|note| note.name.parse().ok()))
    }

    /// The highest number of a revision that was seen of a repository, also of one that was given up since.
    pub(crate) fn highest(&self, name: &Fqrn) -> Result<Option<u64>> {
        Ok(self.read()?.filter(|note| note.name == name.as_str()).map(|note| note.highest))
    }

    /// Checks that a verified manifest is not older than what was seen, nor another one of the same number.
    ///
    /// # Errors
    /// [`Error::RolledBack`] if it is.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<()> {
        let Some(note) = self.read()? else { return Ok(()) };
        if note.name != manifest.name.as_str() || self.accepts_rollback {
            return Ok(());
        }
        let found = Progress::of(manifest);
        let is_another = note.revision == found.revision && note.root != manifest.root.to_string();
        if found < note.progress() || is_another {
            return Err(Error::RolledBack {
                fqrn: manifest.name.clone(),
                found: found.revision,
                evidence: format!(
                    "this machine has seen revision {} of {} there ({})",
                    note.revision,
                    note.root,
                    self.path.display()
                ),
            });
        }
        Ok(())
    }

    /// Takes note of a verified manifest. An older one does not count.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note(&self, manifest: &Manifest) -> Result<()> {
        let is_newer = |before: &Note| {
            before.name != manifest.name.as_str() || before.progress() < Progress::of(manifest)
        };
        if self.read()?.as_ref().is_none_or(is_newer) {
            self.write(manifest, &|before| is_newer(before))?;
        }
        Ok(())
    }

    /// Takes note of a manifest that this publisher has signed, on whatever older one it was built.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub(crate) fn signed(&self, manifest: &Manifest) -> Result<()> {
        if self.accepts_rollback { self.write(manifest, &|_| true) } else { self.note(manifest) }
    }

    /// Forgets what was seen before: there is a new repository in the storage.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn begin(&self, manifest: &Manifest) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("remove")(cause));
            }
            _ => {}
        }
        self.write(manifest, &|_| true)
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> Error {
        let path = self.path.clone();
        move |cause| Error::System { action, path: path.clone(), cause }
    }

    fn read(&self) -> Result<Option<Note>> {
        let content = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found if found.as_ref().is_ok_and(|found| found.len() > LIMIT || !found.is_file()) => {
                Err(io::Error::other("it is no note of this program; remove it"))
            }
            _ => fs::read(&self.path),
        };
        let content = content.map_err(self.failed("read"))?;
        let note = serde_json::from_slice(&content).map_err(|error| Error::Corrupt {
            what: format!("{}", self.path.display()),
            reason: format!("{error}; remove it if the newest revision is what it should be"),
        })?;
        Ok(Some(note))
    }

    /// Writes the note if `replaces` says so of the one before, or if there is none.
    fn write(&self, manifest: &Manifest, replaces: &dyn Fn(&Note) -> bool) -> Result<()> {
        let mut note = Note {
            highest: manifest.revision,
            storage: self.storage.clone(),
            name: manifest.name.to_string(),
            revision: manifest.revision,
            timestamp: manifest.timestamp.unwrap_or_default(),
            root: manifest.root.to_string(),
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let failed = self.failed("write");
        let locked = (|| {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            lock(&directory.join(LOCK))
        })();
        let _lock = locked.map_err(&failed)?;
        // Another process may have been faster.
        if let Some(before) = self.read().ok().flatten() {
            if !replaces(&before) {
                return Ok(());
            }
            if before.name == note.name {
                note.highest = note.highest.max(before.highest);
            }
        }
        let bytes = serde_json::to_vec_pretty(&note).expect("texts and numbers can be JSON");
        let unfinished = self.path.with_extension(UNFINISHED);
        let write = || -> io::Result<()> {
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::create_new(&unfinished)?;
            file.write_all(&bytes)?;
            // After a power failure it must not be empty: nothing would protect from older revisions then.
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        };
        write().map_err(failed)
    }
}

impl Note {
    fn progress(&self) -> Progress {
        Progress { revision: self.revision, timestamp: self.timestamp }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

/// The root catalogs of a reference log that were added after a manifest was signed, the latest first.
pub(crate) fn later_roots(
    entries: &[crate::reflog::Reference],
    manifest: &Manifest,
) -> Vec<ContentHash> {
    let signed = manifest.timestamp.unwrap_or_default();
    let is_later = |line: &&crate::reflog::Reference| {
        line.kind == crate::reflog::RefKind::Catalog
            && line.hash != manifest.root
            && line.timestamp > signed
    };
    entries.iter().rev().filter(is_later).map(|line| line.hash).collect()
}
