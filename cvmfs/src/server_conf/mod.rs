//! Stock servers on the same machine: what they say about a repository, and how to stay out of their way.
//!
//! | file | what it is for |
//! |---|---|
//! | `assignments` | reads `server.conf` and the configuration of S3 storage |
//! | `upstream` | what the server calls its storage |
//! | `locks` | keeps the server's tools away while we publish |
//! | `after_publish` | tells the server what we have published |

mod after_publish;
mod assignments;
mod locks;
mod upstream;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use locks::Locks;

use crate::compression::Compression;
use crate::fqrn::Fqrn;
use crate::hash::Algorithm;
use crate::keys;
use crate::objects::Chunking;
use crate::storage::StorageUrl;
use crate::{AutoTags, Error, Result};
use assignments::Assignments;

/// Where stock servers keep their configuration: a directory with one directory for each repository.
pub const CONFIGURATION: &str = "/etc/cvmfs/repositories.d";

/// The configuration of a repository of which a stock server on this machine is the stratum 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConf {
    /// The repository (`CVMFS_REPOSITORY_NAME`).
    pub fqrn: Fqrn,
    /// Where it is stored, as the server spells it (`CVMFS_UPSTREAM_STORAGE`).
    pub upstream: String,
    /// The hash that names new objects (`CVMFS_HASH_ALGORITHM`).
    pub hash_algorithm: Algorithm,
    /// How file content is stored (`CVMFS_COMPRESSION_ALGORITHM`).
    pub compression: Compression,
    /// How large files are cut, if they are (`CVMFS_USE_FILE_CHUNKING`, `CVMFS_MIN_CHUNK_SIZE` and so on).
    pub chunking: Option<Chunking>,
    /// Whether objects may be collected (`CVMFS_GARBAGE_COLLECTION`).
    pub garbage_collection: bool,
    /// The system's user who owns it (`CVMFS_USER`).
    pub user: String,
    /// The server's state of it (`CVMFS_SPOOL_DIR`).
    pub spool: PathBuf,
    /// Where its keys are (`CVMFS_KEYS_DIR`).
    pub keys: PathBuf,
    /// Seconds after which clients check for a new revision, if set (`CVMFS_REPOSITORY_TTL`).
    pub ttl: Option<u64>,
    /// Whether the server stores extended attributes (`CVMFS_INCLUDE_XATTRS`).
    pub include_xattrs: bool,
    /// Whether the server leaves devices, FIFOs and sockets out instead of refusing them
    /// (`CVMFS_IGNORE_SPECIAL_FILES`).
    pub ignore_special_files: bool,
    /// Whether the server stores nanoseconds (`CVMFS_ENABLE_MTIME_NS`).
    pub nanoseconds: bool,
    /// Which names revisions get by themselves (`CVMFS_AUTO_TAG`, `CVMFS_AUTO_TAG_TIMESPAN`).
    pub auto_tags: AutoTags,
}

/// Whether there is a repository of that name below `configuration` (usually [`CONFIGURATION`]).
pub fn is_known(configuration: &Path, fqrn: &Fqrn) -> bool {
    file(configuration, fqrn).is_file()
}

fn file(configuration: &Path, fqrn: &Fqrn) -> PathBuf {
    configuration.join(fqrn.as_str()).join("server.conf")
}

impl ServerConf {
    /// Reads the configuration of a repository below `configuration` (usually [`CONFIGURATION`]). It is not run as
    /// the server does it; assignments are read.
    ///
    /// # Errors
    /// [`Error::UnknownToServer`] if there is none, [`Error::Settings`] if it is a replica's, or something in it
    /// cannot be used.
    pub fn read(configuration: &Path, fqrn: &Fqrn) -> Result<Self> {
        let path = file(configuration, fqrn);
        let script = match fs::read(&path) {
            Ok(script) => script,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::UnknownToServer { fqrn: fqrn.clone(), path });
            }
            Err(cause) => return Err(Error::System { action: "read", path, cause }),
        };
        Self::parse(&String::from_utf8_lossy(&script), fqrn)
            .map_err(|reason| Error::Settings { path, reason })
    }

    fn parse(script: &str, fqrn: &Fqrn) -> Result<Self, String> {
        let assignments = Assignments::parse(script);
        let get = |name: &'static str| assignments.get(name);
        let needed =
            |name: &'static str| get(name)?.ok_or_else(|| format!("it does not set {name}"));
        let or =
            |name, default: &'static str| Ok::<_, String>(get(name)?.unwrap_or(default).to_owned());
        // The server's scripts compare with `true` and nothing else.
        let flag =
            |name, default| Ok::<_, String>(get(name)?.map_or(default, |value| value == "true"));
        let number = |name: &'static str| {
            let parse = |value: &str| {
                value.parse().map_err(|_| format!("{name} is {value:?} and no number"))
            };
            get(name)?.map(parse).transpose()
        };

        let name = needed("CVMFS_REPOSITORY_NAME")?;
        if name != fqrn.as_str() {
            return Err(format!("it is that of {name}"));
        }
        let kind = or("CVMFS_REPOSITORY_TYPE", "stratum0")?;
        if kind != "stratum0" {
            return Err(format!("the repository is a {kind}; publish on its stratum 0"));
        }
        let algorithm = or("CVMFS_HASH_ALGORITHM", "sha1")?;
        let compression = or("CVMFS_COMPRESSION_ALGORITHM", "default")?;
        let default = Chunking::default();
        let chunking = Chunking {
            minimum: number("CVMFS_MIN_CHUNK_SIZE")?.unwrap_or(default.minimum),
            average: number("CVMFS_AVG_CHUNK_SIZE")?.unwrap_or(default.average),
            maximum: number("CVMFS_MAX_CHUNK_SIZE")?.unwrap_or(default.maximum),
        };
        if chunking.minimum >= chunking.average || chunking.average >= chunking.maximum {
            return Err(
                "the sizes of chunks are not in order (minimum, average, maximum)".to_owned()
            );
        }
        Ok(Self {
            fqrn: fqrn.clone(),
            upstream: needed("CVMFS_UPSTREAM_STORAGE")?.to_owned(),
            hash_algorithm: algorithm
                .parse()
                .map_err(|_| format!("the hash algorithm {algorithm:?} is not known"))?,
            compression: match compression.as_str() {
                "default" | "zlib" => Compression::Zlib,
                "none" => Compression::None,
                other => return Err(format!("the compression {other:?} is not known")),
            },
            chunking: flag("CVMFS_USE_FILE_CHUNKING", true)?.then_some(chunking),
            garbage_collection: flag("CVMFS_GARBAGE_COLLECTION", false)?,
            user: needed("CVMFS_USER")?.to_owned(),
            spool: needed("CVMFS_SPOOL_DIR")?.into(),
            keys: or("CVMFS_KEYS_DIR", keys::DEFAULT_DIRECTORY)?.into(),
            ttl: number("CVMFS_REPOSITORY_TTL")?,
            include_xattrs: flag("CVMFS_INCLUDE_XATTRS", false)?,
            ignore_special_files: flag("CVMFS_IGNORE_SPECIAL_FILES", false)?,
            nanoseconds: flag("CVMFS_ENABLE_MTIME_NS", false)?,
            auto_tags: AutoTags {
                named: flag("CVMFS_AUTO_TAG", false)?,
                kept_since: get("CVMFS_AUTO_TAG_TIMESPAN")?.map(str::to_owned),
            },
        })
    }

    /// Where it is stored. The configuration file of S3 storage is read.
    ///
    /// # Errors
    /// If it is another kind of storage than a directory or S3, or the S3 configuration cannot be used.
    pub fn storage(&self) -> Result<StorageUrl> {
        upstream::parse(&self.upstream)
    }
}

#[cfg(test)]
mod tests;
