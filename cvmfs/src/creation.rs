//! A new repository.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::catalog::CatalogUpdate;
use crate::compression::Compression;
use crate::entry::{Entry, Time};
use crate::fqrn::Fqrn;
use crate::hash::ObjectKind;
use crate::history::History;
use crate::keys::Keys;
use crate::manifest::{self, Manifest};
use crate::objects::Objects;
use crate::reflog::{self, RefKind, Reflog};
use crate::repository::{COMPRESSION, NOT_COMPRESSED, Repository};
use crate::scratch::Scratch;
use crate::storage::{Expected, Storage};
use crate::unix_time::unix_seconds;
use crate::whitelist::{self, Whitelist};
use crate::{Error, Result};

/// Its existence tells stratum 1 servers that they may replicate.
const MASTER_REPLICA: &str = ".cvmfs_master_replica";

/// How to create a repository.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Seconds after which clients check for a new revision.
    pub ttl: u64,
    /// Whether objects that no revision refers to may be removed.
    pub garbage_collectable: bool,
    /// For how long the whitelist is signed.
    pub whitelist_validity: Duration,
}

impl Default for Creation {
    fn default() -> Self {
        Self {
            ttl: manifest::DEFAULT_TTL,
            garbage_collectable: true,
            whitelist_validity: whitelist::DEFAULT_VALIDITY,
        }
    }
}

impl Repository {
    /// Creates a repository in an empty storage: whitelist, empty root catalog, tag database, reference log
    /// and a manifest of revision 1.
    ///
    /// # Errors
    /// If there is one already, the master key is missing, or the storage refuses.
    pub fn create(
        storage: Storage,
        fqrn: Fqrn,
        keys: Keys,
        objects: &Objects,
        creation: &Creation,
    ) -> Result<Self> {
        Self::refuse_existing(&storage)?;
        let now = SystemTime::now();
        storage.make_skeleton()?;
        let publisher = keys.publisher()?;
        let algorithm = objects.settings().algorithm;
        let mut whitelist = Whitelist::new(fqrn.clone(), now + creation.whitelist_validity)?;
        whitelist.add(&publisher.certificate, algorithm);
        let whitelist = whitelist.sign(now, algorithm, keys.master()?)?;
        let scratch = Scratch::new()?;
        let time = Time { seconds: unix_seconds(now), nanoseconds: None };
        let mut root = CatalogUpdate::root(&Entry::directory(0o755, time), &scratch)?;
        root.set_revision(1);
        root.set_last_modified(time.seconds);
        root.set_property("TTL", &creation.ttl.to_string());
        if objects.settings().compression == Compression::None {
            root.set_property(COMPRESSION, NOT_COMPRESSED);
        }
        let (root, ..) = root.finish(objects)?;

        let timestamp = u64::try_from(time.seconds).unwrap_or_default();
        let mut history = History::create(&fqrn);
        history.move_trunk(root.hash, root.size, 1, timestamp);
        let history = objects.store(ObjectKind::History, &history.to_bytes()?)?;
        let certificate = objects.store_certificate(publisher.certificate.pem())?;
        let mut reflog = Reflog::create(&fqrn);
        for (hash, kind) in [
            (root.hash, RefKind::Catalog),
            (history, RefKind::History),
            (certificate, RefKind::Certificate),
        ] {
            reflog.add(hash, kind, timestamp);
        }
        let reflog = reflog.to_bytes()?;
        let manifest = Manifest {
            root: root.hash,
            root_size: Some(root.size),
            ttl: creation.ttl,
            revision: 1,
            garbage_collectable: creation.garbage_collectable,
            alternative_paths: false,
            name: fqrn.clone(),
            certificate: Some(certificate),
            history: Some(history),
            timestamp: Some(timestamp),
            metainfo: None,
            reflog: Some(algorithm.hash(&reflog)),
        };
        storage.sync()?;
        storage.replace_file(whitelist::NAME, whitelist.into(), Expected::Any)?;
        storage.replace_file(reflog::NAME, reflog.into(), Expected::Any)?;
        storage.replace_file(
            MASTER_REPLICA,
            Bytes::from_static(b"This file marks the storage as the origin of replicas\n"),
            Expected::Any,
        )?;
        let signed = manifest.sign(&publisher.key)?;
        if storage.replace_file(manifest::NAME, signed.into(), Expected::Absent)?.is_none() {
            return Err(Error::RepositoryExists(storage.name().to_owned()));
        }
        Ok(Self::open(storage, fqrn, keys))
    }

    /// Checks that there is no repository in a storage.
    ///
    /// # Errors
    /// If there is one.
    pub fn refuse_existing(storage: &Storage) -> Result<()> {
        match storage.read_file(manifest::NAME)? {
            None => Ok(()),
            Some(_) => Err(Error::RepositoryExists(storage.name().to_owned())),
        }
    }
}
