//! The test data: where it is, and what the stock tools say is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cvmfs_repository::hash::ContentHash;
use cvmfs_repository::manifest::Manifest;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::storage::Storage;
use serde::Deserialize;
use tempfile::TempDir;

/// The repositories, each a folder.
pub(crate) const REPOSITORIES: [&str; 7] =
    ["plain", "overlay", "ducc", "shake", "none", "mixed", "gc"];

/// Where the data is, or a line for people who wonder why nothing is tested.
pub(crate) fn directory() -> Result<PathBuf, String> {
    let directory = std::env::var_os("GOLDEN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
        PathBuf::from,
    );
    let there = REPOSITORIES.iter().all(|name| directory.join(name).is_dir());
    there.then_some(directory.clone()).ok_or_else(|| {
        format!(
            "golden repositories: none in {}; GOLDEN_DIR names another place",
            directory.display()
        )
    })
}

/// A repository unpacked into a private directory.
pub(crate) struct Golden {
    pub(crate) storage: Storage,
    pub(crate) manifest: Manifest,
    _unpacked: TempDir,
}

impl Golden {
    /// Unpacks `storage.tar.zst` of a folder, and reads the manifest without verifying it.
    pub(crate) fn unpack(folder: &Path) -> Self {
        let unpacked = unpack(&folder.join("storage.tar.zst"));
        let manifest = std::fs::read(unpacked.path().join(".cvmfspublished")).unwrap();
        let manifest = Manifest::parse(&manifest).unwrap().unverified().clone();
        Self { storage: Storage::local(unpacked.path()), manifest, _unpacked: unpacked }
    }
}

/// Unpacks an archive into a private directory.
pub(crate) fn unpack(archive: &Path) -> TempDir {
    let unpacked = TempDir::new().unwrap();
    let archive = std::fs::File::open(archive).unwrap();
    let archive = zstd::Decoder::new(archive).unwrap();
    tar::Archive::new(archive).unpack(unpacked.path()).unwrap();
    unpacked
}

/// `tree.json` and its like.
#[derive(Deserialize)]
pub(crate) struct Tree {
    pub(crate) root_hash: String,
    pub(crate) entries: Vec<Listed>,
}

/// A line of `tree.json`. Texts are escaped, [`Text::bytes`] gives what they stand for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) path: Text,
    pub(crate) r#type: String,
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) stored_uid: Option<u32>,
    pub(crate) stored_gid: Option<u32>,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) mtime_ns: u32,
    pub(crate) nlink: u32,
    pub(crate) hardlink: Option<Text>,
    pub(crate) rdev: Option<String>,
    pub(crate) target: Option<Text>,
    pub(crate) stored_target: Option<Text>,
    #[serde(default)]
    pub(crate) xattrs: BTreeMap<Text, String>,
    pub(crate) sha256: Option<String>,
}

/// A line of `catalogs.json`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ListedCatalog {
    pub(crate) path: Text,
    pub(crate) entries: u64,
    pub(crate) size: u64,
    pub(crate) hash: String,
}

/// An escaped text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn escape(bytes: &[u8]) -> Self {
        let escaped = bytes.iter().map(|&byte| match byte {
            b'%' => "%25".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        });
        Self(escaped.collect())
    }

    pub(crate) fn of_path(path: &TreePath) -> Self {
        if path.is_root() { Self("/".to_owned()) } else { Self::escape(path.as_bytes()) }
    }
}

/// The text of a value of an extended attribute.
pub(crate) fn value(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Reads one of the JSON files of a folder.
pub(crate) fn json<T: for<'a> Deserialize<'a>>(folder: &Path, name: &str) -> T {
    let bytes = std::fs::read(folder.join(name)).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All listings of a folder: `tree.json`, `tree-<tag>.json`. Those of merged layers are something else.
pub(crate) fn trees(folder: &Path) -> Vec<(String, Tree)> {
    let mut trees = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.starts_with("tree") && name.ends_with(".json") {
            let tree = json(folder, &name);
            trees.push((name, tree));
        }
    }
    trees
}

/// The hash of a listing.
pub(crate) fn hash(text: &str) -> ContentHash {
    text.parse().unwrap()
}
