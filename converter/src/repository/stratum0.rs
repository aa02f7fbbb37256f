//! A CernVM-FS repository with what is needed to work on it: its storage, its keys, and how it stores
//! content.

use std::path::{Path, PathBuf};

use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::manifest::{self, Manifest};
use cvmfs_repository::objects::{Index, Objects, Settings};
use cvmfs_repository::server_conf::{self, ServerConf};
use cvmfs_repository::storage::{Storage, StorageUrl};
use cvmfs_repository::{Distrust, Error, LastSeen, Repository, Result};

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
    /// Whether other users of this machine may have what images in a plain directory give to whoever can enter it.
    pub trust_local_users: bool,
    /// The directory of what is remembered of repositories; `None` for the default.
    pub state: Option<PathBuf>,
    /// Whether an older revision than was seen is meant.
    pub accept_rollback: bool,
    /// Whether every object that is there already is read before it is relied on, and not only a sample.
    pub inspect_objects: bool,
}

/// Where stock tools keep keys.
const SYSTEM_KEYS: &str = "/etc/cvmfs/keys";
/// Where a publisher that is root keeps what it remembers.
const SYSTEM_CACHE: &str = "/var/cache/ducc";
/// Where a publisher that is root keeps what must not be forgotten.
const SYSTEM_STATE: &str = "/var/lib/ducc";

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

    /// The directory of what is remembered: what was given, or `/var/lib/ducc` for root, or `$XDG_STATE_HOME/ducc`
    /// (`~/.local/state/ducc`) for others.
    pub fn state_directory(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| {
            own_directory(SYSTEM_STATE, "XDG_STATE_HOME", ".local/state", "ducc")
        })
    }

    /// What this machine has seen in a storage.
    pub fn last_seen(&self, storage: &Storage) -> LastSeen {
        LastSeen::of(&self.state_directory(), storage).accepting_rollback(self.accept_rollback)
    }

    /// The name of the repository in a storage, which its manifest only claims as long as nothing is verified. It has to be
    /// the one that the user has said, or was seen there, or is the storage's own last name and one of the keys at hand, or
    /// the only one of the keys. Without any keys nothing can be verified, and the claim is as good as any.
    fn name(&self, storage: &Storage, url: &StorageUrl, said: Option<&Fqrn>) -> Result<Fqrn> {
        let claimed = Repository::name_in(storage)?;
        let known = Keys::known_in(&self.keys_directory());
        let expected = match said {
            Some(said) => Some(said.clone()),
            None => self.last_seen(storage).name().unwrap_or_default(),
        };
        let own = || url.last_name().and_then(|name| known.iter().find(|it| it.as_str() == name));
        match expected.as_ref().or_else(own) {
            Some(expected) => expect(storage, &claimed, expected)?,
            None => match &known[..] {
                [] => {}
                [only] => expect(storage, &claimed, only)?,
                _ => {
                    let storage = storage.name().to_owned();
                    return Err(Error::Unnamed { storage, claimed, known });
                }
            },
        }
        Ok(claimed)
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

/// Checks that a storage holds the repository that it should.
fn expect(storage: &Storage, claimed: &Fqrn, expected: &Fqrn) -> Result<()> {
    if claimed == expected {
        return Ok(());
    }
    let (found, expected) = (claimed.clone(), expected.clone());
    Err(Error::Untrusted {
        what: format!("{} in {}", manifest::NAME, storage.name()),
        reason: Distrust::OtherRepository { found, expected },
    })
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
    /// Opens the repository in a storage. Its `name` need not be said if that is known otherwise.
    ///
    /// # Errors
    /// If there is none, it is another one than expected, or its keys cannot be read.
    pub fn in_storage(url: &StorageUrl, name: Option<&Fqrn>, access: &Access) -> Result<Self> {
        let storage = Storage::open(url)?;
        let fqrn = access.name(&storage, url, name)?;
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
        if access.inspect_objects {
            storage.inspect_all();
        }
        let auto_tags = server.as_ref().map(|server| server.auto_tags.clone()).unwrap_or_default();
        let repository = Repository::open(storage.clone(), fqrn, keys)
            .with_auto_tags(auto_tags)
            .remembering(access.last_seen(&storage));
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

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    /// A storage whose manifest claims a name, and keys of repositories. Keys and signatures are for later.
    struct Scene {
        place: tempfile::TempDir,
        url: StorageUrl,
        access: Access,
    }

    impl Scene {
        fn new(directory: &str, claimed: &str, keys: &[&str]) -> Self {
            let place = tempfile::tempdir().unwrap();
            let at = |name: &str| place.path().join(name);
            std::fs::create_dir_all(at(directory)).unwrap();
            std::fs::create_dir_all(at("keys")).unwrap();
            let manifest = format!(
                "C{HASH}\nRd41d8cd98f00b204e9800998ecf8427e\nD240\nS1\nN{claimed}\n--\n{HASH}\nsignature"
            );
            std::fs::write(at(directory).join(manifest::NAME), manifest).unwrap();
            for name in keys {
                std::fs::write(at("keys").join(name), "").unwrap();
            }
            let access =
                Access { keys: Some(at("keys")), state: Some(at("state")), ..Access::default() };
            Self { url: StorageUrl::Local(at(directory)), place, access }
        }

        fn name(&self, said: Option<&str>) -> Result<Fqrn> {
            let said = said.map(|said| said.parse().unwrap());
            self.access.name(&Storage::open(&self.url)?, &self.url, said.as_ref())
        }
    }

    #[test]
    fn a_manifest_does_not_choose_the_repository() {
        let (a, b) = ("a.example.org", "b.example.org");
        let (key_a, key_b) = ("a.example.org.pub", "b.example.org.masterkey");
        for (directory, keys, said, claimed, expected) in [
            // What is said counts, whatever keys there are.
            ("x", &[key_a, key_b][..], Some(a), a, Ok(())),
            ("x", &[key_a, key_b], Some(a), b, Err("not of a.example.org")),
            ("x", &[], Some(a), b, Err("not of a.example.org")),
            // So does the only key.
            ("x", &[key_a], None, a, Ok(())),
            ("x", &[key_a], None, b, Err("not of a.example.org")),
            ("x", &[key_a, "notes.txt", "a.example.org.crt"], None, a, Ok(())),
            // And the name of the storage, if it is that of a repository.
            (a, &[key_a, key_b], None, a, Ok(())),
            (a, &[key_a, key_b], None, b, Err("not of a.example.org")),
            ("data.v2", &[key_a, key_b], None, a, Err("there are keys of")),
            // Nothing is known.
            ("x", &[key_a, key_b], None, a, Err("keys of a.example.org, b.example.org")),
            // Nothing can be verified either.
            ("x", &[], None, a, Ok(())),
        ] {
            let found = Scene::new(directory, claimed, keys).name(said);
            let case = format!("{directory}, {keys:?}, {said:?}, {claimed}: {found:?}");
            match (found, expected) {
                (Ok(found), Ok(())) => assert_eq!(found.as_str(), claimed, "{case}"),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                _ => panic!("{case}"),
            }
        }
    }

    #[test]
    fn a_storage_holds_the_repository_that_was_seen_there() {
        let scene = Scene::new("x", "a.example.org", &["a.example.org.pub", "b.example.org.pub"]);
        assert!(scene.name(None).is_err());
        let storage = Storage::open(&scene.url).unwrap();
        let (file, _) = storage.read_file(manifest::NAME).unwrap().unwrap();
        let manifest = Manifest::parse(&file).unwrap().unverified().clone();
        scene.access.last_seen(&storage).note(&manifest).unwrap();
        assert_eq!(scene.name(None).unwrap().as_str(), "a.example.org");
        let other = String::from_utf8_lossy(&file).replace("a.example.org", "b.example.org");
        std::fs::write(scene.place.path().join("x").join(manifest::NAME), other).unwrap();
        let error = scene.name(None).unwrap_err().to_string();
        assert!(error.contains("that of b.example.org, not of a.example.org"), "{error}");
        assert_eq!(scene.name(Some("b.example.org")).unwrap().as_str(), "b.example.org");
    }
}
