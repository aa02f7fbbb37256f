//! An image of one layer, with all that belongs to it.

use layer_layout::path::{self, ImageMetadata, LayerMetadata};
use layer_layout::{Digest, PublicName, RepositoryPath};

use super::describe::{With, dir, file, gone, symlink};
use super::{layerfs, rootfs, unpack};
use crate::repository::Transaction;

pub(in crate::repository) fn public_name(tag: &str) -> PublicName {
    format!("r.io/a:{tag}").parse().unwrap()
}

pub(in crate::repository) fn public_link(tag: &str) -> RepositoryPath {
    path::public_link(&public_name(tag))
}

pub(in crate::repository) fn manifest(tag: &str) -> RepositoryPath {
    path::image_metadata(&public_name(tag), ImageMetadata::Manifest)
}

pub(in crate::repository) fn flat(name: &str) -> RepositoryPath {
    path::flat(&Digest::of(name.as_bytes()).into())
}

pub(in crate::repository) fn layer_metadata(name: &str) -> RepositoryPath {
    path::layer_metadata(&Digest::of(name.as_bytes()).into(), LayerMetadata::Layers)
}

pub(in crate::repository) fn chain_layer(name: &str) -> RepositoryPath {
    path::chain_layer(&Digest::of(name.as_bytes()).into())
}

/// Prepares an image of one layer whose file `f` holds the image's name. Gives its paths.
pub(in crate::repository) fn prepare(
    transaction: &dyn Transaction,
    name: &str,
) -> Vec<RepositoryPath> {
    prepare_trees(transaction, name);
    prepare_names(transaction, name);
    paths(name)
}

/// Prepares the trees of the image and what belongs to its layer.
pub(in crate::repository) fn prepare_trees(transaction: &dyn Transaction, name: &str) {
    let layer = layerfs(name);
    let entries = [dir("").mode(0o555), file("f", name), gone("w"), symlink("s", "f")];
    unpack(transaction, &layer, &entries).unwrap();
    transaction.merge(&rootfs(name), &[layer]).unwrap();
    drop(transaction.share(&flat(name), Some(&rootfs(name))).unwrap());
}

/// Prepares the small files and links of the image.
pub(in crate::repository) fn prepare_names(transaction: &dyn Transaction, name: &str) {
    transaction.write_file(&layer_metadata(name), b"{}").unwrap();
    let link = chain_layer(name);
    transaction.symlink(&link, &link.link_to(&layerfs(name))).unwrap();
    transaction.write_file(&manifest(name), b"[]").unwrap();
    let link = public_link(name);
    transaction.symlink(&link, &link.link_to(&flat(name))).unwrap();
}

/// All paths of the image.
pub(in crate::repository) fn paths(name: &str) -> Vec<RepositoryPath> {
    vec![
        layerfs(name),
        layer_metadata(name),
        chain_layer(name),
        rootfs(name),
        flat(name),
        manifest(name),
        public_link(name),
    ]
}

/// The directories and names that removing the image removes: names first.
pub(in crate::repository) fn removal(name: &str) -> Vec<RepositoryPath> {
    let above = |path: &RepositoryPath| path.unit();
    vec![
        public_link(name),
        path::image_metadata_directory(&public_name(name)),
        flat(name),
        above(&rootfs(name)),
        above(&layerfs(name)),
    ]
}
