//! A CernVM-FS repository with what is needed to work on it: its storage, its keys, and how it stores
//! content.

use std::path::{Path, PathBuf};

use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::manifest::Manifest;
use cvmfs_repository::objects::{Index, Objects, Settings};
use cvmfs_repository::server_conf::{self, ServerConf};
use cvmfs_repository::storage::{Storage, StorageUrl};
use cvmfs_repository::{Error, Repository, Result};

/// Where keys and caches of this machine are.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The directory of the key files; `None` for the default.
    pub keys: Option<PathBuf>,
    /// The directory of the index of known content; `None` for the default.
    pub cache: Option<PathBuf>,
    /// The number of entries above which a tree is split into nested catalogs; `None` for the default.
    pub catalog_entries: Option<u32>,
    /// Whether DUCC's lock is held while something is published, because DUCC runs on this machine, too.
    pub ducc_lock: bool,
}

/// Where stock tools keep keys.
const SYSTEM_KEYS: &str = "/etc/cvmfs/keys";
/// Where a publisher that is root keeps what it remembers.
const SYSTEM_CACHE: &str = "/var/cache/ducc";

impl Access {
    /// The directory of the key files: what was given, or `/etc/cvmfs/keys` for root, or
    /// `$XDG_CONFIG_HOME/ducc/keys` (`~/.config/ducc/keys`) for others.
    pub fn keys_directory(&self) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| {
            own_directory(SYSTEM_KEYS, "XDG_CONFIG_HOME", ".config", "ducc/keys")
        })
    }

    /// The directory of the index: what was given, or `/var/cache/ducc` for root, or `$XDG_CACHE_HOME/ducc`
    /// (`~/.cache/ducc`) for others.
    fn cache_directory(&self) -> PathBuf {
        self.cache
            .clone()
            .unwrap_or_else(|| own_directory(SYSTEM_CACHE, "XDG_CACHE_HOME", ".cache", "ducc"))
    }

    /// The index of a repository. It only saves work, so a publisher goes on without if it cannot be opened.
    fn index(&self, fqrn: &Fqrn) -> Option<Index> {
        let path = self.cache_directory().join(format!("{fqrn}.content"));
        let opened = std::fs::create_dir_all(self.cache_directory())
            .map_err(|cause| Error::System { action: "make", path: self.cache_directory(), cause })
            .and_then(|()| Index::open(&path));
        opened
            .inspect_err(|error| {
                tracing::warn!("content that is known already is compressed again: {error}");
            })
            .ok()
    }
}

/// Where a program keeps something of its own: `system` for root, else `below` in the directory that `variable` of the
/// XDG base directory specification names, or in `home` below the user's home directory.
pub fn own_directory(system: &str, variable: &str, home: &str, below: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(system);
    }
    let base = std::env::var_os(variable).filter(|value| Path::new(value).is_absolute());
    match (base, std::env::var_os("HOME")) {
        (Some(base), _) => PathBuf::from(base).join(below),
        (None, Some(user)) => PathBuf::from(user).join(home).join(below),
        (None, None) => PathBuf::from(system),
    }
}

/// A repository that can be worked on.
pub struct Stratum0 {
    /// The repository.
    pub repository: Repository,
    /// Its objects.
    pub objects: Objects,
    /// What its stock server is told, if it has one on this machine.
    pub server: Option<ServerConf>,
    /// How its trees are split.
    pub catalog_entries: Option<u32>,
}

impl Stratum0 {
    /// Opens the repository in a storage.
    ///
    /// # Errors
    /// If there is none, or its keys cannot be read.
    pub fn in_storage(url: &StorageUrl, access: &Access) -> Result<Self> {
        let storage = Storage::open(url)?;
        let fqrn = Repository::name_in(&storage)?;
        let keys = Keys::load(&access.keys_directory(), &fqrn)?;
        Self::open(storage, fqrn, keys, None, access)
    }

    /// Opens a repository that a stock server on this machine knows.
    ///
    /// # Errors
    /// If the server's configuration cannot be used, and as for [`Self::in_storage`].
    pub fn of_server(fqrn: &Fqrn, access: &Access) -> Result<Self> {
        let server = ServerConf::read(Path::new(server_conf::CONFIGURATION), fqrn)?;
        let storage = Storage::open(&server.storage()?)?;
        let keys = Keys::load(&access.keys_directory(), fqrn)?;
        Self::open(storage, fqrn.clone(), keys, Some(server), access)
    }

    fn open(
        storage: Storage,
        fqrn: Fqrn,
        keys: Keys,
        server: Option<ServerConf>,
        access: &Access,
    ) -> Result<Self> {
        let index = access.index(&fqrn);
        let auto_tags = server.as_ref().map(|server| server.auto_tags.clone()).unwrap_or_default();
        let repository = Repository::open(storage.clone(), fqrn, keys).with_auto_tags(auto_tags);
        let settings = match &server {
            Some(server) => Settings {
                algorithm: server.hash_algorithm,
                compression: server.compression,
                chunking: server.chunking,
                ..Settings::default()
            },
            None => repository.settings()?,
        };
        let objects = Objects::new(storage, settings, index);
        Ok(Self { repository, objects, server, catalog_entries: access.catalog_entries })
    }

    /// Keeps the stock server's tools away as long as the guard lives; nothing if there is no stock server.
    ///
    /// # Errors
    /// If one of them is at work.
    pub fn lock(&self) -> Result<Option<server_conf::Locks>> {
        self.server.as_ref().map(ServerConf::lock).transpose()
    }

    /// Tells the stock server of a manifest that it has not signed itself.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn tell_server(&self, manifest: &Manifest) -> Result<()> {
        match &self.server {
            Some(server) => server.after_publish(manifest),
            None => Ok(()),
        }
    }

    /// Objects for a repository that is about to be created.
    pub fn new_objects(
        storage: &Storage,
        algorithm: Algorithm,
        compression: Compression,
    ) -> Objects {
        let settings = Settings { algorithm, compression, ..Settings::default() };
        Objects::new(storage.clone(), settings, None)
    }
}
