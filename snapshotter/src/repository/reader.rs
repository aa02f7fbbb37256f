//! A process that looks into one repository on behalf of the daemon.
//!
//! The program starts itself with the hidden command [`COMMAND`]. Only these processes touch a repository, so
//! only they can get stuck in one. Between questions they hold nothing open there, so that a repository can
//! be unmounted.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::LayerRecord;
use layer_layout::{ChainId, DiffId, LayerDigest, RepositoryPath, overlay};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use xattr::FileExt;

use super::question::{Answer, Found, FoundBy, Parent, Question};

/// The command line's word for a reader process.
pub const COMMAND: &str = "repository-reader";

/// A `layers.json` has a few hundred bytes.
const MAX_METADATA: u64 = 64 * 1024;

/// openat2(2) gives up on a path with `..` (the links of chains have them) whenever anything is renamed or
/// mounted anywhere on the system meanwhile. On a busy node that happens again and again.
const MAX_ATTEMPTS: usize = 10_000;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Answers the questions on standard input until it closes.
///
/// # Errors
/// If the daemon is gone or does not speak the language.
pub fn serve(root: &Path) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let mut answer = serde_json::to_vec(&answer(root, &serde_json::from_str(&line?)?))?;
        answer.push(b'\n');
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

/// Why a path in a repository cannot be opened.
enum Problem {
    /// It is not there.
    Absent,
    /// Its links lead out of the repository, or in a circle, or to something that is not wanted there.
    Refused(String),
    /// The repository does not work.
    Broken(String),
}

impl Problem {
    fn new(path: &str, error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::Absent,
            Errno::XDEV => Self::Refused(format!("{path} leads outside the repository")),
            Errno::LOOP => Self::Refused(format!("{path} leads in a circle")),
            error => Self::Broken(format!("{path}: {error}")),
        }
    }
}

/// Answers one question. Blocks as long as the file system does.
pub fn answer(root: &Path, question: &Question) -> Answer {
    let repository = match OpenRepository::open(root) {
        Ok(repository) => repository,
        Err(error) => return Answer::Broken { reason: format!("cannot open it: {error}") },
    };
    let result = match question {
        Question::Find { chain, layers, parent } => repository.find(chain, layers, *parent),
        Question::Check { paths } => repository.check(paths),
    };
    match result {
        Ok(answer) => answer,
        Err(Problem::Absent) => Answer::Miss { reason: "not there".to_owned() },
        Err(Problem::Refused(reason)) => Answer::Miss { reason },
        Err(Problem::Broken(reason)) => Answer::Broken { reason },
    }
}

/// A repository's root, open.
struct OpenRepository {
    root: OwnedFd,
    /// Without symbolic links, to tell what a path inside is called.
    resolved: PathBuf,
}

/// The name of what is open, without symbolic links (proc_pid_fd(5)).
fn resolved_path(file: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

impl OpenRepository {
    fn open(root: &Path) -> io::Result<Self> {
        let root = openat(CWD, root, DIRECTORY, Mode::empty())?;
        let resolved = resolved_path(&root)?;
        Ok(Self { root, resolved })
    }

    /// Opens a path without ever leaving the repository. Links inside it are followed.
    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<File, Problem> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_ATTEMPTS {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(error) => return Err(Problem::new(path, error)),
                Ok(file) => return Ok(file.into()),
            }
        }
        Err(Problem::new(path, Errno::AGAIN))
    }

    /// Opens a directory, and tells its resolved path relative to the root.
    fn directory(&self, path: &RepositoryPath) -> Result<(File, String), Problem> {
        let directory = self.open_beneath(path.as_str(), DIRECTORY)?;
        let name =
            resolved_path(&directory).map_err(|e| Problem::Broken(format!("{path}: {e}")))?;
        let refused =
            || Problem::Refused(format!("{path} leads to the unusable {}", name.display()));
        let relative = name.strip_prefix(&self.resolved).map_err(|_| refused())?;
        match relative.to_str() {
            Some(relative) if !relative.is_empty() => Ok((directory, relative.to_owned())),
            _ => Err(refused()),
        }
    }

    fn find(
        &self,
        chain: &ChainId,
        layers: &[LayerDigest],
        parent: Parent,
    ) -> Result<Answer, Problem> {
        let mut refused = None;
        match self.directory(&path::chain_layer(chain)) {
            Ok((layer, name)) => {
                let rootfs = match self.directory(&path::chain_rootfs(chain)) {
                    Ok((_, name)) => Some(name),
                    Err(Problem::Broken(reason)) => return Err(Problem::Broken(reason)),
                    Err(_) => None,
                };
                return found(&layer, name, rootfs, FoundBy::Chain);
            }
            Err(Problem::Absent) => {}
            Err(Problem::Refused(reason)) => refused = Some(reason),
            Err(broken) => return Err(broken),
        }
        for digest in layers {
            match self.by_digest(digest, chain, parent) {
                Ok((layer, name)) => return found(&layer, name, None, FoundBy::Digest),
                Err(Problem::Absent) => {}
                Err(Problem::Refused(reason)) => refused = Some(reason),
                Err(broken) => return Err(broken),
            }
        }
        if let Some(reason) = refused {
            return Err(Problem::Refused(reason));
        }
        // An empty mount point is no repository.
        let examples = [path::chain(chain), path::layer(&(*chain.digest()).into())];
        let published = examples.iter().any(|path| {
            let index = path.as_str().split('/').next().unwrap_or_default();
            self.open_beneath(index, DIRECTORY).is_ok()
        });
        if published {
            Err(Problem::Absent)
        } else {
            Err(Problem::Refused("no images in it; is it mounted?".to_owned()))
        }
    }

    /// A layer by its blob's digest. What a manifest says about a layer was checked by nobody, while the
    /// chain is what containerd will believe to have: so the layer must be the one that leads from the
    /// parent to the chain. And it must not depend on what it was first published upon.
    fn by_digest(
        &self,
        digest: &LayerDigest,
        chain: &ChainId,
        parent: Parent,
    ) -> Result<(File, String), Problem> {
        let layer = self.directory(&path::layerfs(digest))?;
        let completed = path::layer_metadata(digest, LayerMetadata::Parent);
        match self.open_beneath(completed.as_str(), OFlags::PATH | OFlags::CLOEXEC) {
            Err(Problem::Absent) => {}
            Err(other) => return Err(other),
            Ok(_) => {
                let reason = format!("{digest} is made for another chain");
                return Err(Problem::Refused(reason));
            }
        }
        let diff = self.diff_id(digest)?;
        let leads_to = match parent {
            Parent::None => ChainId::base(diff),
            Parent::Chain(parent) => parent.child(diff),
            Parent::Unknown => {
                let reason =
                    format!("{digest} cannot be checked: the parent's ChainID is not known");
                return Err(Problem::Refused(reason));
            }
        };
        if leads_to != *chain {
            return Err(Problem::Refused(format!("{digest} does not lead to this chain")));
        }
        Ok(layer)
    }

    /// The DiffID that was recorded when the layer was published.
    fn diff_id(&self, digest: &LayerDigest) -> Result<DiffId, Problem> {
        let path = path::layer_metadata(digest, LayerMetadata::Layers);
        let unknown = |reason: &dyn std::fmt::Display| {
            Problem::Refused(format!("{digest} has no usable DiffID ({path}: {reason})"))
        };
        let file = match self.open_beneath(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC) {
            Err(Problem::Absent) => return Err(unknown(&"not there")),
            other => other?,
        };
        let mut json = Vec::new();
        file.take(MAX_METADATA).read_to_end(&mut json).map_err(|error| unknown(&error))?;
        LayerRecord::recorded_diff_id(&json).map_err(|error| unknown(&error))
    }

    fn check(&self, paths: &[String]) -> Result<Answer, Problem> {
        for path in paths {
            match self.open_beneath(path, DIRECTORY | OFlags::PATH) {
                Ok(_) => {}
                Err(Problem::Absent) => return Ok(Answer::Gone { path: path.clone() }),
                Err(Problem::Refused(reason)) => return Err(Problem::Broken(reason)),
                Err(broken) => return Err(broken),
            }
        }
        Ok(Answer::Present)
    }
}

fn found(
    layer: &File,
    name: String,
    rootfs: Option<String>,
    by: FoundBy,
) -> Result<Answer, Problem> {
    let broken = |error: io::Error| Problem::Broken(format!("{name}: {error}"));
    let metadata = layer.metadata().map_err(broken)?;
    let mut opaque = false;
    for mark in [overlay::TRUSTED_OPAQUE, overlay::USER_OPAQUE] {
        match layer.get_xattr(mark) {
            Ok(value) => opaque |= value.as_deref() == Some(overlay::OPAQUE_VALUE),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(broken(error)),
        }
    }
    let root = crate::snapshot::LayerRoot { uid: metadata.uid(), gid: metadata.gid(), opaque };
    Ok(Answer::Found(Found { layer: name, rootfs, root, by }))
}

#[cfg(test)]
mod tests;
