//! A repository with one image.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cvmfs_repository::compression::Compression;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::storage::Storage;
use cvmfs_repository::{Creation, Repository as Engine};
use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::record::LayerRecord;
use layer_layout::{ChainId, ImagePlace, LayerPath};

use super::at;
use crate::image_config::ImageConfig;
use crate::inventory::tests::model::{Image, diff_id, layer};
use crate::layer::{Content, ContentProgress, Entry, Kind, Metadata, Segment, Timestamp};
use crate::repository::{Cvmfs, Directory, Repository, Stratum0};
use crate::singularity;

/// The image: its upper layer removes something, and brings a program with a setuid bit.
pub(crate) fn image() -> Image {
    Image::new(&["a", "b"], 1)
}

fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    let metadata = Metadata { mode, mtime, ..Metadata::default() };
    Entry { path: LayerPath::clean(path.as_bytes()).unwrap(), kind, metadata }
}

fn file(path: &str, content: &str, mode: u32) -> (Entry, Vec<u8>) {
    (entry(path, Kind::File { size: content.len() as u64 }, mode), content.into())
}

fn other(path: &str, kind: Kind, mode: u32) -> (Entry, Vec<u8>) {
    (entry(path, kind, mode), Vec::new())
}

fn entries(name: &str) -> Vec<(Entry, Vec<u8>)> {
    match name {
        "a" => vec![
            other("etc", Kind::Directory, 0o755),
            file("etc/passwd", "root", 0o644),
            file("etc/gone", "old", 0o644),
            other("usr", Kind::Directory, 0o755),
            other("usr/old", Kind::Directory, 0o755),
            file("usr/old/file", "old", 0o600),
        ],
        "b" => vec![
            other("etc", Kind::Directory, 0o750),
            other("etc/gone", Kind::Whiteout, 0),
            other("usr", Kind::Directory, 0o755),
            other("usr/old", Kind::Directory, 0o711),
            other("usr/old", Kind::Opaque, 0),
            other("usr/bin", Kind::Directory, 0o755),
            file("usr/bin/tool", "tool", 0o4755),
            other("usr/bin/link", Kind::Symlink { target: "tool".into() }, 0o777),
        ],
        name => vec![file(name, name, 0o644)],
    }
}

/// Publishes an image as the converter does.
pub(crate) fn publish(repository: &dyn Repository, place: &ImagePlace, image: &Image) {
    let transaction = repository.begin(&mut |text| panic!("{text}")).unwrap();
    let mut stack = Vec::new();
    for name in &image.layers {
        let path = path::layerfs(&layer(name));
        stack.insert(0, path.clone());
        if repository.lookup(&path).unwrap().is_some() {
            continue;
        }
        let mut writer = transaction.layer_writer(&path).unwrap();
        for (entry, content) in entries(name) {
            let length = content.len() as u64;
            let segments =
                if length > 0 { vec![Segment { offset: 0, length }] } else { Vec::new() };
            let mut progress = ContentProgress::new(length, segments);
            let mut data = content.as_slice();
            writer.apply(&entry, &mut Content::new(&mut progress, &mut data)).unwrap();
        }
        writer.finish().unwrap();
        let record = LayerRecord::new(layer(name), diff_id(name), 1, String::new());
        let records = path::layer_metadata(&layer(name), LayerMetadata::Layers);
        transaction.write_file(&records, &record.to_json()).unwrap();
    }
    let chains = ChainId::of_layers(&image.diff_ids());
    let rootfs = path::chain_rootfs(chains.last().unwrap());
    transaction.merge(&rootfs, &stack).unwrap();
    let flat = path::flat(&image.config());
    let mut tree = transaction.share(&flat, Some(&rootfs)).unwrap();
    let config = ImageConfig::parse(image.config_json().as_bytes()).unwrap();
    singularity::add_files(&mut *tree, &config).unwrap();
    drop(tree);
    for (chain, path) in chains.iter().zip(stack.iter().rev()) {
        let link = path::chain_layer(chain);
        if repository.lookup(&link).unwrap().is_some() {
            continue;
        }
        transaction.symlink(&link, &link.link_to(path)).unwrap();
    }
    let manifest = place.metadata(ImageMetadata::Manifest);
    transaction.write_file(&manifest, image.manifest_json().as_bytes()).unwrap();
    let config = place.metadata(ImageMetadata::Config);
    transaction.write_file(&config, image.config_json().as_bytes()).unwrap();
    transaction.symlink(&place.link(), &place.link().link_to(&flat)).unwrap();
    transaction.commit().unwrap();
}

/// A directory with the image, which can be damaged.
pub(crate) struct Scene {
    directory: tempfile::TempDir,
    pub(crate) repository: Box<dyn Repository>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
        let closed = PermissionsExt::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(closed).tempdir_in(below).unwrap();
        let repository = Directory::open(directory.path(), None).unwrap();
        publish(&repository, &at(), &image());
        Self { directory, repository: Box::new(repository) }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Removes something from a directory that keeps its time.
    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        self.keep_time(&path, |path| {
            if path.symlink_metadata().unwrap().is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        });
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        self.remove(path);
        std::os::unix::fs::symlink(target, self.path(path)).unwrap();
    }

    /// Writes a file of its own, whose directory keeps its time.
    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        self.keep_time(&path, |path| {
            let _ = std::fs::remove_file(path);
            std::fs::write(path, content).unwrap();
        });
    }

    /// Gives a file a mode, and nothing else, without changing its other names.
    pub(super) fn mode(&self, path: &str, mode: u32) {
        let path = self.path(path);
        self.keep_time(&path, |path| {
            let time = std::fs::metadata(path).unwrap().modified().unwrap();
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        });
    }

    fn keep_time(&self, path: &Path, change: impl FnOnce(&Path)) {
        let directory = std::fs::File::open(path.parent().unwrap()).unwrap();
        let time = directory.metadata().unwrap().modified().unwrap();
        change(path);
        directory.set_modified(time).unwrap();
    }
}

/// A native repository with the image.
pub(crate) fn native() -> (tempfile::TempDir, Arc<dyn Repository>) {
    let (place, repository, _) = native_twice();
    (place, repository)
}

/// What native repositories are called.
pub(super) const FQRN: &str = "verify.example.org";

/// A native repository with the image, opened by two who know nothing of each other.
pub(crate) fn native_twice() -> (tempfile::TempDir, Arc<dyn Repository>, Arc<dyn Repository>) {
    let (place, one, other) = empty_native_twice();
    publish(&*one, &at(), &image());
    (place, one, other)
}

/// A native repository without images.
pub(super) fn empty_native() -> (tempfile::TempDir, Arc<dyn Repository>) {
    let (place, repository, _) = empty_native_twice();
    (place, repository)
}

fn empty_native_twice() -> (tempfile::TempDir, Arc<dyn Repository>, Arc<dyn Repository>) {
    let place = tempfile::tempdir().unwrap();
    let (data, keys) = (place.path().join("data"), place.path().join("keys"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&keys).unwrap();
    let fqrn: cvmfs_repository::fqrn::Fqrn = FQRN.parse().unwrap();
    Keys::generate(&fqrn).unwrap().save(&keys, &fqrn).unwrap();
    let storage = Storage::local(&data);
    let objects = || Stratum0::new_objects(&storage, Algorithm::Sha1, Compression::Zlib);
    let load = || Keys::load(&keys, &fqrn).unwrap();
    let open = |repository| {
        let stratum0 =
            Stratum0 { repository, objects: objects(), server: None, catalog_entries: None };
        Arc::new(Cvmfs::open(stratum0, None).unwrap())
    };
    let creation = Creation::default();
    let created = Engine::create(storage.clone(), fqrn.clone(), load(), &objects(), &creation);
    let one = open(created.unwrap());
    let other = open(Engine::open(storage.clone(), fqrn.clone(), load()));
    (place, one, other)
}
