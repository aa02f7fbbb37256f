//! The reference log, `.cvmfsreflog`: every root catalog, certificate, tag database and description that was ever
//! current, and is not collected yet.
//!
//! It is what garbage collection walks: objects that are reachable from no catalog of the log are never deleted.
//! A plain SQLite file, not compressed; the manifest holds its hash (`Y`).

use std::collections::BTreeMap;

use rusqlite::params;

use crate::Result;
use crate::database::{self, Database, signed, unsigned};
use crate::fqrn::Fqrn;
use crate::hash::{ContentHash, ObjectKind};
use crate::manifest::Manifest;

/// The log's name in a repository's storage.
pub const NAME: &str = ".cvmfsreflog";

const WHAT: &str = "the reference log (.cvmfsreflog)";
const SCHEMA_REVISION: u32 = 0;
const SCHEMA: &str = "CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER, \
                      CONSTRAINT pk_refs PRIMARY KEY (hash));";

/// What a line of the log refers to; the numbers are those of its column `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefKind {
    /// A root catalog. Nested ones are never listed.
    Catalog = 0,
    /// A certificate.
    Certificate = 1,
    /// A tag database.
    History = 2,
    /// A description of the repository.
    Metainfo = 3,
}

impl RefKind {
    const ALL: [Self; 4] = [Self::Catalog, Self::Certificate, Self::History, Self::Metainfo];

    /// What kind of object it is.
    pub fn object(self) -> ObjectKind {
        match self {
            Self::Catalog => ObjectKind::Catalog,
            Self::Certificate => ObjectKind::Certificate,
            Self::History => ObjectKind::History,
            Self::Metainfo => ObjectKind::Metainfo,
        }
    }
}

/// A line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// The object.
    pub hash: ContentHash,
    /// What it is.
    pub kind: RefKind,
    /// When it was added last, in seconds since 1970. Garbage collection counts a catalog's age from here.
    pub timestamp: u64,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reflog {
    fqrn: Fqrn,
    references: BTreeMap<ContentHash, Reference>,
}

impl Reflog {
    /// An empty log.
    pub fn create(fqrn: &Fqrn) -> Self {
        Self { fqrn: fqrn.clone(), references: BTreeMap::new() }
    }

    /// Reads a log.
    ///
    /// # Errors
    /// If it is damaged, or of a schema that is not known.
    pub fn open(bytes: &[u8]) -> Result<Self> {
        let database = Database::open(bytes, WHAT, SCHEMA_REVISION)?;
        let rows = database.rows("SELECT hash, type, timestamp FROM refs", |row| {
            let (hash, kind, timestamp): (String, i64, i64) = row.try_into()?;
            Ok(reference(&hash, kind, timestamp))
        })?;
        let references = rows.into_iter().map(|reference| (reference.hash, reference)).collect();
        Ok(Self { fqrn: database.fqrn()?, references })
    }

    /// Adds a line; if the object is listed already, it counts as added now.
    pub fn add(&mut self, hash: ContentHash, kind: RefKind, timestamp: u64) {
        self.references.insert(hash, Reference { hash, kind, timestamp });
    }

    /// Whether an object is listed.
    pub fn contains(&self, hash: ContentHash, kind: RefKind) -> bool {
        self.references.get(&hash).is_some_and(|reference| reference.kind == kind)
    }

    /// Removes a line; returns whether it was there.
    pub fn remove(&mut self, hash: ContentHash, kind: RefKind) -> bool {
        self.contains(hash, kind) && self.references.remove(&hash).is_some()
    }

    /// Removes all lines that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&Reference) -> bool) {
        self.references.retain(|_, reference| keep(reference));
    }

    /// All lines, oldest first.
    pub fn entries(&self) -> Vec<Reference> {
        let mut entries: Vec<_> = self.references.values().copied().collect();
        entries.sort_by_key(|reference| (reference.timestamp, reference.kind, reference.hash));
        entries
    }

    /// The file. The same lines give the same bytes.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        database::build(WHAT, SCHEMA_REVISION, &self.fqrn, SCHEMA, |connection| {
            let mut insert = connection
                .prepare("INSERT INTO refs (hash, type, timestamp) VALUES (?1, ?2, ?3)")?;
            for reference in self.entries() {
                insert.execute(params![
                    reference.hash.to_string(),
                    reference.kind as i64,
                    signed(reference.timestamp)
                ])?;
            }
            Ok(())
        })
    }
}

/// What the log must list for a manifest.
pub(crate) fn references(manifest: &Manifest) -> impl Iterator<Item = (ContentHash, RefKind)> {
    [
        (Some(manifest.root), RefKind::Catalog),
        (manifest.history, RefKind::History),
        (manifest.certificate, RefKind::Certificate),
        (manifest.metainfo, RefKind::Metainfo),
    ]
    .into_iter()
    .filter_map(|(hash, kind)| Some((hash?, kind)))
}

fn reference(hash: &str, kind: i64, timestamp: i64) -> std::result::Result<Reference, String> {
    let known = RefKind::ALL.into_iter().find(|known| *known as i64 == kind);
    Ok(Reference {
        hash: hash.parse().map_err(|error| format!("{error}"))?,
        kind: known.ok_or_else(|| format!("{hash} is of the unknown type {kind}"))?,
        timestamp: unsigned(timestamp, "a timestamp")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::hash::Algorithm;

    fn fqrn() -> Fqrn {
        "test.example.org".parse().unwrap()
    }

    fn log() -> (Reflog, [ContentHash; 4]) {
        let mut log = Reflog::create(&fqrn());
        let hashes = [Algorithm::Sha1, Algorithm::Rmd160, Algorithm::Shake128, Algorithm::Sha1];
        let hashes = hashes.map(|algorithm| algorithm.hash(algorithm.name().as_bytes()));
        let hashes = [hashes[0], hashes[1], hashes[2], Algorithm::Sha1.hash(b"other")];
        for ((hash, kind), timestamp) in hashes.into_iter().zip(RefKind::ALL).zip([30, 20, 10, 10])
        {
            log.add(hash, kind, timestamp);
        }
        (log, hashes)
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let (log, [catalog, certificate, history, metainfo]) = log();
        let bytes = log.to_bytes().unwrap();
        let read = Reflog::open(&bytes).unwrap();
        assert_eq!(read, log);
        assert_eq!(read.to_bytes().unwrap(), bytes, "the bytes depend on the content alone");
        let order: Vec<_> = read.entries().iter().map(|reference| reference.hash).collect();
        assert_eq!(order, [history, metainfo, certificate, catalog]);
        let empty = Reflog::create(&fqrn());
        assert_eq!(Reflog::open(&empty.to_bytes().unwrap()).unwrap(), empty);
    }

    #[test]
    fn lines_come_and_go() {
        let (mut log, [catalog, certificate, history, metainfo]) = log();
        assert!(
            log.contains(catalog, RefKind::Catalog) && !log.contains(catalog, RefKind::History)
        );
        assert!(!log.remove(catalog, RefKind::History) && log.remove(catalog, RefKind::Catalog));
        assert!(!log.remove(catalog, RefKind::Catalog));
        log.add(history, RefKind::History, 99);
        assert_eq!(log.entries().last().unwrap().timestamp, 99);
        assert_eq!(log.entries().len(), 3);
        log.retain(|reference| reference.kind == RefKind::Metainfo);
        assert!(log.contains(metainfo, RefKind::Metainfo));
        assert!(!log.contains(certificate, RefKind::Certificate));
    }

    #[test]
    fn damage_is_told() {
        let bytes = log().0.to_bytes().unwrap();
        for (change, reason) in [
            ("UPDATE refs SET type = 4", "unknown type 4"),
            ("UPDATE refs SET type = NULL WHERE timestamp = 30", "type"),
            ("UPDATE refs SET hash = 'x' WHERE timestamp = 30", "no content hash"),
            ("UPDATE refs SET timestamp = -1", "timestamp is -1"),
            ("DROP TABLE refs", "no such table"),
            (
                "DROP TABLE refs; CREATE VIEW refs AS SELECT '' AS hash, 0 AS type, 0 AS timestamp",
                "view",
            ),
            ("DELETE FROM properties WHERE key = 'fqrn'", "names no repository"),
            (
                "UPDATE properties SET value = '1.1' WHERE key = 'schema'",
                "has schema 1.1 revision 0",
            ),
            ("DELETE FROM properties WHERE key = 'schema'", "has schema none revision 0"),
        ] {
            let error = Reflog::open(&database::tests::changed(&bytes, change)).unwrap_err();
            assert!(error.to_string().contains(reason), "{change}: {error}");
        }
        let ends = [0, 1, 99, 100, 512, 1024, bytes.len() - 1024];
        for cut in ends.map(|end| bytes[..end].to_vec()).into_iter().chain([vec![b'x'; 4096]]) {
            assert!(
                matches!(Reflog::open(&cut), Err(Error::Corrupt { .. })),
                "{} bytes",
                cut.len()
            );
        }
    }
}
