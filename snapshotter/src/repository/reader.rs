//! A process that looks into one repository on behalf of the daemon.
//!
//! The daemon starts its own program with the hidden command [`COMMAND`]. Only these processes touch a repository,
//! so only they can get stuck in one. Between questions they keep nothing open there, so that the repository can
//! be unmounted.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::RecordedLayer;
use layer_layout::{ChainId, DiffId, LayerDigest, RepositoryPath, overlay};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use xattr::FileExt;

use super::question::{Answer, Found, FoundBy, Miss, Parent, Question};

/// The subcommand that makes this program a reader process.
pub const COMMAND: &str = "repository-reader";

/// The most bytes of a `layers.json`, which has a few hundred.
const MAX_METADATA: u64 = 64 * 1024;

/// openat2(2) fails with EAGAIN on a path with `..` (the links of chains have them) if anything is renamed or
/// mounted anywhere on the system at the same time. On a busy node that happens again and again.
const MAX_ATTEMPTS: usize = 10_000;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Answers the questions on standard input until it closes.
///
/// # Errors
/// If the daemon is gone, or a question cannot be understood.
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

/// Why a layer is not found, or a directory not confirmed.
enum Failure {
    /// The layer, or a part of it, is not there or cannot be used.
    Miss(Miss),
    /// The repository does not work.
    Broken(String),
}

impl From<Miss> for Failure {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

impl Failure {
    fn of_opening(path: &str, error: Errno) -> Self {
        let path = path.to_owned();
        match error {
            Errno::NOENT | Errno::NOTDIR => Miss::Absent.into(),
            Errno::XDEV => Miss::LeadsOutside { path }.into(),
            Errno::LOOP => Miss::LeadsInCircle { path }.into(),
            error => Self::Broken(format!("{path}: {error}")),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Miss(miss) => miss.to_string(),
            Failure::Broken(reason) => reason,
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
        Err(Failure::Miss(miss)) => Answer::Miss(miss),
        Err(Failure::Broken(reason)) => Answer::Broken { reason },
    }
}

/// A repository for the time of one question.
struct OpenRepository {
    root: OwnedFd,
    /// The root's path without symbolic links. Resolved paths inside the repository begin with it.
    resolved: PathBuf,
}

/// The path of an open file, without symbolic links (proc_pid_fd(5)).
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
    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<File, Failure> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_ATTEMPTS {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(error) => return Err(Failure::of_opening(path, error)),
                Ok(file) => return Ok(file.into()),
            }
        }
        Err(Failure::of_opening(path, Errno::AGAIN))
    }

    /// Opens a directory and returns it with its resolved path, relative to the root.
    fn directory(&self, path: &RepositoryPath) -> Result<(File, String), Failure> {
        let directory = self.open_beneath(path.as_str(), DIRECTORY)?;
        let target =
            resolved_path(&directory).map_err(|e| Failure::Broken(format!("{path}: {e}")))?;
        let relative = target.strip_prefix(&self.resolved).ok().and_then(Path::to_str);
        match relative {
            Some(relative) if !relative.is_empty() => Ok((directory, relative.to_owned())),
            _ => {
                let (path, target) = (path.to_string(), target.display().to_string());
                Err(Miss::Unusable { path, target }.into())
            }
        }
    }

    fn find(
        &self,
        chain: &ChainId,
        layers: &[LayerDigest],
        parent: Parent,
    ) -> Result<Answer, Failure> {
        let mut unusable = None;
        match self.directory(&path::chain_layer(chain)) {
            Ok((layer, name)) => {
                let rootfs = match self.directory(&path::chain_rootfs(chain)) {
                    Ok((_, name)) => Some(name),
                    Err(Failure::Miss(_)) => None,
                    Err(broken) => return Err(broken),
                };
                return found(&layer, name, rootfs, FoundBy::Chain);
            }
            Err(Failure::Miss(Miss::Absent)) => {}
            Err(Failure::Miss(miss)) => unusable = Some(miss),
            Err(broken) => return Err(broken),
        }
        for digest in layers {
            match self.by_digest(digest, chain, parent) {
                Ok((layer, name)) => return found(&layer, name, None, FoundBy::Digest),
                Err(Failure::Miss(Miss::Absent)) => {}
                Err(Failure::Miss(miss)) => unusable = Some(miss),
                Err(broken) => return Err(broken),
            }
        }
        if let Some(miss) = unusable {
            return Err(miss.into());
        }
        // An empty mount point has neither.
        let published = [path::chains(), path::layers()]
            .iter()
            .any(|index| self.open_beneath(index.as_str(), DIRECTORY).is_ok());
        let miss = if published { Miss::Absent } else { Miss::NoImages };
        Err(miss.into())
    }

    /// Finds a layer by its blob's digest. Nobody has checked what a manifest says about a layer, but containerd
    /// will rely on having the chain. So the layer must be the one that leads from the parent to the chain, and it
    /// must not have been completed from the layers below it, which were perhaps others.
    fn by_digest(
        &self,
        digest: &LayerDigest,
        chain: &ChainId,
        parent: Parent,
    ) -> Result<(File, String), Failure> {
        let layer = self.directory(&path::layerfs(digest))?;
        let completed = path::layer_metadata(digest, LayerMetadata::Parent);
        match self.open_beneath(completed.as_str(), OFlags::PATH | OFlags::CLOEXEC) {
            Err(Failure::Miss(Miss::Absent)) => {}
            Err(other) => return Err(other),
            Ok(_) => return Err(Miss::Completed { layer: *digest }.into()),
        }
        let diff = self.diff_id(digest)?;
        let leads_to = match parent {
            Parent::None => ChainId::base(diff),
            Parent::Chain(parent) => parent.child(diff),
            Parent::Unknown => return Err(Miss::UnknownParent { layer: *digest }.into()),
        };
        if leads_to != *chain {
            return Err(Miss::OtherChain { layer: *digest }.into());
        }
        Ok(layer)
    }

    /// The DiffID that was recorded when the layer was published, if it was in overlayfs form. Whatever is wrong with
    /// the record, it is wrong with this layer only.
    fn diff_id(&self, digest: &LayerDigest) -> Result<DiffId, Failure> {
        let path = path::layer_metadata(digest, LayerMetadata::Layers);
        let unknown = |reason: String| {
            let path = path.to_string();
            Failure::from(Miss::NoDiffId { layer: *digest, path, reason })
        };
        let json = self.read(&path).map_err(unknown)?;
        let recorded = RecordedLayer::parse(&json).map_err(|error| unknown(error.to_string()))?;
        if recorded.is_overlayfs {
            Ok(recorded.diff_id)
        } else {
            Err(Miss::OtherForm { layer: *digest }.into())
        }
    }

    /// Reads a small regular file. Neither the file nor its name is trusted: opening a FIFO waits for somebody who
    /// writes, and opening a device may do anything. So it is looked at before it is opened, and opened in a way that
    /// does not wait if it has been replaced in between.
    fn read(&self, path: &RepositoryPath) -> Result<Vec<u8>, String> {
        const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
        let mut content = Vec::new();
        for flags in [OFlags::PATH, OPEN] {
            let file = self.open_beneath(path.as_str(), flags | OFlags::CLOEXEC)?;
            let metadata = file.metadata().map_err(|error| error.to_string())?;
            if !metadata.is_file() {
                return Err("it is not a regular file".to_owned());
            }
            if metadata.len() > MAX_METADATA {
                return Err(format!("it has {} bytes, too many", metadata.len()));
            }
            if flags == OPEN {
                let read = file.take(MAX_METADATA).read_to_end(&mut content);
                read.map_err(|error| error.to_string())?;
            }
        }
        Ok(content)
    }

    fn check(&self, paths: &[String]) -> Result<Answer, Failure> {
        for path in paths {
            match self.open_beneath(path, DIRECTORY | OFlags::PATH) {
                Ok(_) => {}
                Err(Failure::Miss(Miss::Absent)) => return Ok(Answer::Gone { path: path.clone() }),
                Err(Failure::Miss(miss)) => return Err(Failure::Broken(miss.to_string())),
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
) -> Result<Answer, Failure> {
    let broken = |error: io::Error| Failure::Broken(format!("{name}: {error}"));
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
