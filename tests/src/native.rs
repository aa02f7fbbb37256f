//! A CernVM-FS repository written by our converter, and what a client would see in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use cvmfs_repository::Repository;
use cvmfs_repository::entry::{Entry, EntryKind};
use cvmfs_repository::keys::Keys;
use cvmfs_repository::link_target::without_variables;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::{Directory, Snapshot};
use cvmfs_repository::storage::Storage;
use faulty_s3::{ACCESS_KEY, FaultyS3, SECRET_KEY};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::ducc::Convert;
use crate::process::{Output, run};
use crate::tools;
use crate::tree::{Facts, FileKind, Tree};

/// The name of the tests' repository.
pub const FQRN: &str = "images.example.org";

/// A repository, with its keys.
pub struct Native {
    dir: TempDir,
    fqrn: String,
    /// The server, if the storage is in a bucket, and more settings of its URL. That keeps objects as files of their names.
    bucket: Option<(FaultyS3, String)>,
}

/// What the storage in a bucket is called there.
const PREFIX: &str = "images";

impl Native {
    /// Creates one with `ducc repository create`.
    pub fn create() -> Result<Self> {
        Self::create_with(&[])
    }

    /// Creates one below another directory.
    pub fn create_in(place: &Path) -> Result<Self> {
        Self::create_at(TempDir::new_in(place)?, &[])
    }

    /// Creates one with further options.
    pub fn create_with(options: &[&str]) -> Result<Self> {
        Self::create_at(TempDir::new_in("/dev/shm")?, options)
    }

    fn create_at(dir: TempDir, options: &[&str]) -> Result<Self> {
        Self { dir, fqrn: FQRN.to_owned(), bucket: None }.created(options)
    }

    /// Creates one in a bucket of a server of its own, with more settings for the URL (`name=value&…`).
    pub fn create_in_bucket(settings: &str) -> Result<Self> {
        Self::empty_in_bucket(FQRN, settings)?.created(&[])
    }

    fn created(self, options: &[&str]) -> Result<Self> {
        let create = ["repository", "create", &self.fqrn, "--storage", &self.url()];
        run(self.ducc()?.args(create).args(options))?;
        Ok(self)
    }

    /// Another empty repository with the same keys, because making keys takes longest.
    pub fn again(&self) -> Result<Self> {
        let native = match &self.bucket {
            None => Self::empty(&self.fqrn)?,
            Some((_, settings)) => Self::empty_in_bucket(&self.fqrn, settings)?,
        };
        run(Command::new("cp").arg("-a").arg(self.keys()).arg(native.keys()))?;
        native.created(&[])
    }

    /// A place for a repository of this name: `storage` and `keys` are to be put into its directory.
    pub fn empty(fqrn: &str) -> Result<Self> {
        Ok(Self { dir: TempDir::new_in("/dev/shm")?, fqrn: fqrn.to_owned(), bucket: None })
    }

    fn empty_in_bucket(fqrn: &str, settings: &str) -> Result<Self> {
        let server = FaultyS3::start_in(Path::new("/dev/shm"))?;
        Ok(Self { bucket: Some((server, settings.to_owned())), ..Self::empty(fqrn)? })
    }

    /// The directory of everything that belongs to it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory that a web server would serve, or in which the server of the bucket keeps the objects.
    pub fn storage(&self) -> PathBuf {
        match &self.bucket {
            None => self.dir.path().join("storage"),
            Some((server, _)) => server.directory(PREFIX),
        }
    }

    /// The server of the bucket, if the storage is in one.
    pub fn server(&self) -> Option<&FaultyS3> {
        self.bucket.as_ref().map(|(server, _)| server)
    }

    /// The URL of the storage.
    fn url(&self) -> String {
        match &self.bucket {
            None => format!("file://{}", self.storage().display()),
            Some((server, settings)) => server.url(PREFIX, settings),
        }
    }

    /// The directory of the keys.
    pub fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Its locator, as `ducc` takes it.
    pub fn locator(&self) -> String {
        format!("cvmfs+{}", self.url())
    }

    /// The environment variables that whoever writes it needs: where the keys are, and the login for the bucket.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("DUCC_KEYS", self.keys().into_os_string())];
        if self.bucket.is_some() {
            variables.push(("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()));
            variables.push(("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()));
        }
        variables
    }

    /// A conversion into it.
    pub fn convert(&self, image: &str) -> Convert {
        let convert = Convert::into_locator(image, self.locator());
        let set = |convert: Convert, (name, value)| convert.env(name, value);
        self.own_environment().fold(convert, set)
    }

    /// `ducc` with this repository's keys, and a cache and a memory of its own.
    pub fn ducc(&self) -> Result<Command> {
        let mut command = Command::new(tools::ducc()?);
        command.envs(self.own_environment());
        Ok(command)
    }

    /// The same with a cache and a memory of what was published that lie beside the repository.
    fn own_environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let beside = [("DUCC_CACHE", "cache"), ("DUCC_STATE", "state")];
        let beside = beside.map(|(name, directory)| (name, self.dir.path().join(directory).into()));
        self.environment().into_iter().chain(beside)
    }

    /// Runs `ducc repository COMMAND` on it.
    pub fn repository(&self, command: &str, options: &[&str]) -> Result<Output> {
        run(self.ducc()?.args(["repository", command, &self.locator()]).args(options))
    }

    /// Checks all of it, including the content of every object.
    pub fn check(&self) -> Result<()> {
        self.repository("check", &["--data"]).map(drop)
    }

    /// Its newest revision, verified.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let fqrn = self.fqrn.parse()?;
        let keys = Keys::load(&self.keys(), &fqrn)?;
        Ok(Repository::open(Storage::local(&self.storage()), fqrn, keys).snapshot()?)
    }

    /// The number of its newest revision.
    pub fn revision(&self) -> Result<u64> {
        Ok(self.snapshot()?.manifest().revision)
    }

    /// Everything below a path, as a client shows it, without the format's own marker files.
    pub fn tree(&self, path: impl AsRef<Path>) -> Result<Tree> {
        tree(&self.snapshot()?, path)
    }
}

/// Everything below a path in a revision. Symlinks in the path are followed if they lead to a path in the repository.
pub fn tree(snapshot: &Snapshot, path: impl AsRef<Path>) -> Result<Tree> {
    let path = resolve(snapshot, path.as_ref())?;
    let directory =
        snapshot.directory(&path)?.with_context(|| format!("there is no directory {path}"))?;
    let mut tree = Tree::default();
    tree.0.insert(Vec::new(), facts(snapshot, directory.entry())?);
    read(snapshot, &directory, &[], &mut tree)?;
    Ok(tree)
}

/// The content of a file in the root file system that a public path leads to; `None` if there is no such public path.
pub fn read_in(snapshot: &Snapshot, public_path: &str, name: &str) -> Result<Option<String>> {
    let link = TreePath::parse(public_path.as_bytes()).context("a clean path")?;
    if snapshot.lookup(&link)?.is_none() {
        return Ok(None);
    }
    let path = resolve(snapshot, Path::new(public_path))?.join(name.as_bytes());
    Ok(Some(String::from_utf8(read_file(snapshot, &path.to_string())?)?))
}

/// The content of a file.
pub fn read_file(snapshot: &Snapshot, path: &str) -> Result<Vec<u8>> {
    let path = TreePath::parse(path.as_bytes()).context("a clean path")?;
    match snapshot.lookup(&path)?.with_context(|| format!("there is no {path}"))?.kind {
        EntryKind::File(file) => Ok(snapshot.read(&file)?),
        _ => bail!("{path} is no file"),
    }
}

/// The directories with which nested catalogs begin, sorted.
pub fn catalogs(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![snapshot.root()?];
    while let Some(directory) = open.pop() {
        let mut children = Vec::new();
        directory.for_each(&mut |child| {
            children.push(child);
            Ok(())
        })?;
        for child in children {
            if child.marker {
                found.push(directory.path().to_string());
            } else if child.entry.is_directory() {
                open.push(directory.open(&child)?);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Resolves a path whose last component may be a relative symlink.
fn resolve(snapshot: &Snapshot, path: &Path) -> Result<TreePath> {
    let text = path.to_str().context("a path in UTF-8")?;
    let path = TreePath::parse(text.as_bytes()).context("a clean path")?;
    let entry = snapshot.lookup(&path)?.with_context(|| format!("there is no {path}"))?;
    let (EntryKind::Symlink(target), Some((mut at, _))) = (entry.kind, path.split()) else {
        return Ok(path);
    };
    for component in target.split(|&byte| byte == b'/') {
        at = match component {
            b".." => at.split().context("a link out of the repository")?.0,
            name => at.join(name),
        };
    }
    Ok(at)
}

fn read(snapshot: &Snapshot, directory: &Directory, below: &[u8], tree: &mut Tree) -> Result<()> {
    let mut children = Vec::new();
    directory.for_each(&mut |child| {
        if !child.marker {
            children.push(child);
        }
        Ok(())
    })?;
    let mut groups: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
    for child in children {
        let mut path = below.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&child.name);
        let facts = facts(snapshot, &child.entry)?;
        ensure!(tree.0.insert(path.clone(), facts).is_none(), "a name is there twice: {path:?}");
        if child.entry.is_directory() {
            read(snapshot, &directory.open(&child)?, &path, tree)?;
        } else if child.entry.links.count > 1 {
            groups.entry(child.entry.links.group).or_default().push(path);
        }
    }
    for mut paths in groups.into_values() {
        paths.sort();
        for path in &paths {
            if let Some(facts) = tree.0.get_mut(path) {
                facts.linked = paths.first().cloned();
            }
        }
    }
    Ok(())
}

fn facts(snapshot: &Snapshot, entry: &Entry) -> Result<Facts> {
    let mut facts = Facts {
        kind: FileKind::Dir,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: Some(0),
        mtime: (entry.mtime.seconds, entry.mtime.nanoseconds.unwrap_or_default().into()),
        device: None,
        xattrs: entry.xattrs.unpack().context("damaged extended attributes")?,
        target: None,
        linked: None,
        content: None,
    };
    match &entry.kind {
        EntryKind::Directory => facts.size = None,
        EntryKind::File(file) => {
            let content = snapshot.read(file)?;
            facts.kind = FileKind::File;
            facts.size = Some(file.size);
            facts.content = Some(hex::encode(Sha256::digest(&content)));
        }
        EntryKind::Symlink(target) => {
            facts.kind = FileKind::Symlink;
            let target = without_variables(target).into_owned();
            facts.size = Some(target.len() as u64);
            facts.target = Some(target);
        }
        EntryKind::Character(device) => {
            facts.kind = FileKind::CharDevice;
            facts.device = Some((device.major, device.minor));
        }
        EntryKind::Block(device) => {
            facts.kind = FileKind::BlockDevice;
            facts.device = Some((device.major, device.minor));
        }
        EntryKind::Fifo => facts.kind = FileKind::Fifo,
        EntryKind::Socket => facts.kind = FileKind::Socket,
    }
    Ok(facts)
}
