//! Makes the first inputs of all fuzz targets with our own writers: `cargo run --example seeds -- corpus`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use cvmfs_repository::Result;
use cvmfs_repository::catalog::row::{ChunkColumns, Columns, Location};
use cvmfs_repository::catalog::{CatalogStore, CatalogUpdate, Mount};
use cvmfs_repository::compression::Compression;
use cvmfs_repository::entry::{Chunk, Content, Device, Entry, EntryKind, File, Links, Time};
use cvmfs_repository::hash::{Algorithm, ContentHash};
use cvmfs_repository::manifest::Manifest;
use cvmfs_repository::path::{PathHash, TreePath};
use cvmfs_repository::scratch::Scratch;
use cvmfs_repository::whitelist::Whitelist;
use cvmfs_repository::xattr::Xattrs;
use cvmfs_repository_fuzz::RowInput;

fn main() {
    let corpus = std::env::args().nth(1).expect("the directory to write into");
    let seeds = [
        ("manifest", manifests()),
        ("whitelist", whitelists()),
        ("xattr", xattrs()),
        ("catalog_row", rows()),
        ("catalog", catalogs()),
    ];
    for (target, seeds) in seeds {
        let directory = Path::new(&corpus).join(target);
        fs::create_dir_all(&directory).expect("a directory for the seeds");
        for (number, seed) in seeds.into_iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed");
        }
    }
}

fn hash(algorithm: Algorithm) -> ContentHash {
    algorithm.hash(b"seed")
}

/// A file of lines with its hash, and something for a signature.
fn letter(mut text: Vec<u8>, algorithm: Algorithm) -> Vec<u8> {
    let hash = algorithm.hash(&text);
    text.extend_from_slice(format!("--\n{hash}\nsignature").as_bytes());
    text
}

fn manifests() -> Vec<Vec<u8>> {
    let smallest = Manifest {
        root: hash(Algorithm::Sha1),
        root_size: None,
        ttl: 240,
        revision: 1,
        garbage_collectable: false,
        alternative_paths: false,
        name: "a.org".parse().expect("a name"),
        certificate: None,
        history: None,
        timestamp: None,
        metainfo: None,
        reflog: None,
    };
    let full = Manifest {
        root: hash(Algorithm::Shake128),
        root_size: Some(16_384),
        garbage_collectable: true,
        certificate: Some(hash(Algorithm::Sha1)),
        history: Some(hash(Algorithm::Rmd160)),
        timestamp: Some(1_795_328_025),
        metainfo: Some(hash(Algorithm::Sha1)),
        reflog: Some(hash(Algorithm::Shake128)),
        ..smallest.clone()
    };
    [smallest, full].map(|it| letter(it.text().into_bytes(), it.root.algorithm)).to_vec()
}

fn whitelists() -> Vec<Vec<u8>> {
    let signed = UNIX_EPOCH + Duration::from_secs(1_795_328_025);
    let name = "a.org".parse().expect("a name");
    let empty = Whitelist::new(name, signed + Duration::from_secs(3600)).expect("a whitelist");
    let empty = empty.text(signed).expect("a whitelist");
    let fingerprint = [["AB"; 20].join(":"), "-SHAKE128 # comment\n\n# more\n".to_owned()].concat();
    let full = [empty.as_slice(), fingerprint.as_bytes()].concat();
    let other = [empty.as_slice(), b"Vpkcs7\nWcachain\n"].concat();
    [empty, full, other].map(|text| letter(text, Algorithm::Sha1)).to_vec()
}

fn attributes() -> Xattrs {
    let list =
        [("trusted.overlay.opaque", "y"), ("user.a", ""), ("security.capability", "\x01\x02")];
    let list: BTreeMap<Vec<u8>, Vec<u8>> = list
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    Xattrs::pack(&list).0
}

fn xattrs() -> Vec<Vec<u8>> {
    let one = Xattrs::pack(&BTreeMap::from([(b"user.a".to_vec(), b"b".to_vec())])).0;
    [attributes(), one].iter().filter_map(|it| it.blob().map(<[u8]>::to_vec)).collect()
}

/// One of every kind, by name.
fn entries() -> Vec<(&'static str, Entry)> {
    let time = Time { seconds: 1_795_328_025, nanoseconds: Some(5) };
    let directory = Entry::directory(0o755, time);
    let file =
        |content| EntryKind::File(File { size: 30, compression: Compression::Zlib, content });
    let chunk = |offset, size| Chunk { offset, size, hash: hash(Algorithm::Sha1) };
    let chunks = vec![chunk(0, 20), chunk(20, 10)];
    let device = Device { major: 259, minor: 65_537 };
    let of = |kind| Entry { kind, ..directory.clone() };
    let whole = of(file(Content::Whole(hash(Algorithm::Rmd160))));
    vec![
        ("dir", Entry { xattrs: attributes(), ..directory.clone() }),
        ("whole", Entry { links: Links { group: 1, count: 2 }, mode: 0o4755, ..whole }),
        ("chunked", of(file(Content::Chunks(Algorithm::Sha1, chunks)))),
        ("external", of(file(Content::External(None)))),
        ("link", of(EntryKind::Symlink(b"$(HOME)/\xff".to_vec()))),
        ("char", of(EntryKind::Character(device))),
        ("block", of(EntryKind::Block(device))),
        ("fifo", of(EntryKind::Fifo)),
        ("socket", Entry { hidden: true, ..of(EntryKind::Socket) }),
    ]
}

fn rows() -> Vec<Vec<u8>> {
    let row = |(name, entry): &(&str, Entry)| {
        let path = PathHash([7; 16]);
        let location = Location { path, parent: PathHash::NONE, name: name.as_bytes() };
        let columns = Columns::encode(location, entry, Mount::None, 2);
        let chunks = match &entry.kind {
            EntryKind::File(File { content: Content::Chunks(_, chunks), .. }) => chunks.as_slice(),
            _ => &[],
        };
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| ChunkColumns {
                offset: chunk.offset.cast_signed(),
                size: chunk.size.cast_signed(),
                hash: &chunk.hash.digest,
            })
            .collect();
        RowInput::new(&columns, &chunks).write()
    };
    entries().iter().map(row).collect()
}

/// Keeps the databases.
#[derive(Default)]
struct Databases(Mutex<Vec<Vec<u8>>>);

impl CatalogStore for Databases {
    fn store_catalog(&self, database: &[u8]) -> Result<ContentHash> {
        self.0.lock().expect("one thread").push(database.to_vec());
        Ok(Algorithm::Sha1.hash(database))
    }

    fn store_compressed_catalog(&self, stored: Vec<u8>, _size: u64) -> Result<ContentHash> {
        Ok(Algorithm::Sha1.hash(&stored))
    }

    fn empty_file(&self) -> Result<File> {
        let content = Content::Whole(hash(Algorithm::Sha1));
        Ok(File { size: 0, compression: Compression::Zlib, content })
    }
}

fn catalogs() -> Vec<Vec<u8>> {
    let databases = Databases::default();
    let scratch = Scratch::new().expect("a scratch directory");
    let root = Entry::directory(0o755, Time::default());
    for content in [Vec::new(), entries()] {
        let mut catalog = CatalogUpdate::root(&root, &scratch).expect("a catalog");
        for (name, mut entry) in content {
            entry.links = Links::ONE;
            catalog.put(&TreePath::ROOT.join(name.as_bytes()), &entry).expect("an entry");
        }
        catalog.set_revision(1);
        catalog.finish(&databases).expect("a catalog");
    }
    databases.0.into_inner().expect("one thread")
}
