//! Catalogs that are written, read back and damaged in memory.

mod damage;
mod model;
mod pages;
mod places;
mod rows;
mod small;
mod trees;
mod updates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use crate::Result;
use crate::compression::Compression;
use crate::entry::{Content, File, Time};
use crate::hash::{Algorithm, ContentHash};
use crate::path::TreePath;
use crate::scratch::Scratch;

use super::{Catalog, CatalogSink, CatalogStore};

/// A storage for catalogs.
#[derive(Default)]
struct Memory {
    objects: Mutex<HashMap<ContentHash, Vec<u8>>>,
}

impl Memory {
    fn sink(self: &Arc<Self>, scratch: &Scratch, threads: usize) -> CatalogSink {
        CatalogSink::new(Arc::clone(self) as Arc<dyn CatalogStore>, scratch, threads).unwrap()
    }

    fn open(&self, hash: ContentHash, scratch: &Scratch) -> Result<Catalog> {
        let stored = self.objects.lock().unwrap().get(&hash).expect("a stored catalog").clone();
        Catalog::from_stored(&stored, hash, scratch)
    }

    /// A copy of a catalog on which statements have been run.
    fn changed(&self, hash: ContentHash, sql: &str, scratch: &Scratch) -> ContentHash {
        let database = self.open(hash, scratch).unwrap().database().unwrap();
        let file = scratch.named().unwrap();
        std::fs::write(file.path(), database).unwrap();
        let connection = Connection::open(file.path()).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA journal_mode = OFF").unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        self.store_catalog(&std::fs::read(file.path()).unwrap()).unwrap()
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::default();
    let mut stored = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let size = compressor.zlib_compress(bytes, &mut stored).unwrap();
    stored.truncate(size);
    stored
}

impl CatalogStore for Memory {
    fn store_catalog(&self, database: &[u8]) -> Result<ContentHash> {
        self.store_compressed_catalog(zlib(database), database.len() as u64)
    }

    fn store_compressed_catalog(&self, stored: Vec<u8>, _: u64) -> Result<ContentHash> {
        let hash = Algorithm::Sha1.hash(&stored);
        self.objects.lock().unwrap().insert(hash, stored);
        Ok(hash)
    }

    fn empty_file(&self) -> Result<File> {
        Ok(file(0, Algorithm::Sha1.hash(&zlib(b""))))
    }
}

fn file(size: u64, hash: ContentHash) -> File {
    File { size, compression: Compression::Zlib, content: Content::Whole(hash) }
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

const TIME: Time = Time { seconds: 1_700_000_000, nanoseconds: Some(123_456_789) };
