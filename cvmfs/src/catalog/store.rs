//! What stores finished catalogs.

use crate::Result;
use crate::entry::File;
use crate::hash::{ContentHash, ObjectKind};
use crate::objects::Objects;

/// Takes finished catalogs.
pub trait CatalogStore: Send + Sync {
    /// Stores a database as a zlib stream.
    ///
    /// # Errors
    /// If the storage refuses.
    fn store_catalog(&self, database: &[u8]) -> Result<ContentHash>;

    /// Stores a database that is a zlib stream already, because it is too large to be in memory; `size` is
    /// that of the database, in bytes.
    ///
    /// # Errors
    /// If the storage refuses.
    fn store_compressed_catalog(&self, stored: Vec<u8>, size: u64) -> Result<ContentHash>;

    /// The empty file, for the marker in the root of nested catalogs. It is stored when this returns.
    ///
    /// # Errors
    /// If the storage refuses.
    fn empty_file(&self) -> Result<File>;
}

impl CatalogStore for Objects {
    fn store_catalog(&self, database: &[u8]) -> Result<ContentHash> {
        self.store(ObjectKind::Catalog, database)
    }

    fn store_compressed_catalog(&self, stored: Vec<u8>, size: u64) -> Result<ContentHash> {
        self.store_compressed(ObjectKind::Catalog, stored, size)
    }

    fn empty_file(&self) -> Result<File> {
        self.store_file(b"")
    }
}
