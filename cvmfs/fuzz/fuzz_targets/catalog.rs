//! Any bytes as a catalog's database: everything that it says is read or refused.
#![no_main]

use std::io::Write;
use std::path::Path;

use cvmfs_repository::catalog::{Catalog, verify};
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::scratch::Scratch;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|database: &[u8]| {
    let scratch = Scratch::below(Path::new("/dev/shm")).expect("a place in memory");
    let mut stored = ZlibEncoder::new(Vec::new(), Compression::none());
    stored.write_all(database).expect("memory");
    let stored = stored.finish().expect("memory");
    let Ok(catalog) = Catalog::from_stored(&stored, Algorithm::Sha1.hash(&stored), &scratch) else {
        return;
    };
    drop(catalog.for_each_row(&mut |row| {
        drop(row.entry.xattrs.unpack());
        Ok(())
    }));
    for path in ["", "/dir", "/a/b"] {
        let path = TreePath::parse(path.as_bytes()).expect("a path");
        drop(catalog.lookup(&path));
        drop(catalog.for_each_child(&path, &mut |_| Ok(())));
        drop(catalog.nested_at(&path));
    }
    drop((catalog.nested(), catalog.bind_mountpoints()));
    let _ = (catalog.previous(), catalog.ttl(), catalog.revision(), catalog.last_modified());
    drop(verify(&catalog, None));
});
