//! Layers of the registry, to compare published trees with.
//!
//! Each is fetched once, however many trees and images have it, and nothing of it is stored: its tar becomes a tree in
//! memory with the hashes of its files.

use std::collections::BTreeMap;
use std::sync::Arc;

use layer_layout::{DiffId, ImageReference, LayerDigest, PublicName, RepositoryPath};
use tokio::task::JoinSet;

use super::content::{self, Finding};
use super::registry::reason;
use crate::error::LayerError;
use crate::layer::Limits;
use crate::repository::expected::ExpectedTree;
use crate::repository::{self, OpenEnds, Repository};
use crate::source::{BlobReader, LayerDescriptor, Options, Source};
use crate::{Error, Result};

/// The most layers that are compared at a time: the tree of each is in memory.
const AT_A_TIME: usize = 4;

/// The published tree of a layer.
#[derive(Debug, Clone)]
pub(super) struct LayerTree {
    /// An image that has the layer, by whose name its registry is found.
    pub(super) name: PublicName,
    /// A blob that holds the layer.
    pub(super) layer: LayerDescriptor,
    /// The digest that its tar has to have.
    pub(super) diff_id: DiffId,
    /// The trees that it lies on, topmost first.
    pub(super) parents: Vec<RepositoryPath>,
}

/// How layers are fetched and compared.
pub(super) struct Tars<'a> {
    pub(super) repository: Arc<dyn Repository>,
    pub(super) options: &'a Options,
    pub(super) limits: Limits,
}

/// The trees that are to be compared with one layer.
type Trees = Vec<(RepositoryPath, LayerTree)>;

/// What came of comparing trees, or why they were not compared.
type Findings = Vec<(RepositoryPath, Result<Finding, String>)>;

impl Tars<'_> {
    /// Compares trees with their layers.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub(super) async fn compare(
        &self,
        trees: BTreeMap<RepositoryPath, LayerTree>,
    ) -> Result<Findings> {
        let mut by_layer: BTreeMap<LayerDigest, Trees> = BTreeMap::new();
        for (path, tree) in trees {
            by_layer.entry(tree.layer.digest).or_default().push((path, tree));
        }
        let at_a_time = match self.options.max_concurrent_downloads {
            0 => AT_A_TIME,
            wanted => wanted.min(AT_A_TIME),
        };
        let (mut tasks, mut findings) = (JoinSet::new(), Findings::new());
        for trees in by_layer.into_values() {
            if tasks.len() >= at_a_time
                && let Some(compared) = tasks.join_next().await
            {
                findings.extend(compared.map_err(Error::from)??);
            }
            let (repository, options) = (Arc::clone(&self.repository), self.options.clone());
            let limits = self.limits;
            tasks.spawn(async move { of_layer(repository, &options, limits, trees).await });
        }
        while let Some(compared) = tasks.join_next().await {
            findings.extend(compared.map_err(Error::from)??);
        }
        Ok(findings)
    }
}

async fn of_layer(
    repository: Arc<dyn Repository>,
    options: &Options,
    limits: Limits,
    trees: Trees,
) -> Result<Findings> {
    let Some((_, LayerTree { name, layer, .. })) = trees.first() else { return Ok(Vec::new()) };
    let (image, digest) = (name.to_string(), layer.digest);
    let none = |trees: Trees, error: &Error| {
        let reason = reason(error);
        Ok(trees.into_iter().map(|(tree, _)| (tree, Err(reason.clone()))).collect())
    };
    let blob = match fetch(name, layer, options).await {
        Ok(blob) => blob,
        Err(error) => return none(trees, &error),
    };
    let comparing = tokio::task::spawn_blocking(move || {
        let (tree, open_ends, diff_id) = match ExpectedTree::read(blob, limits) {
            Ok(read) => read,
            Err(error) => return none(trees, &Error::of_layer(&image, digest, error)),
        };
        let compare = |(path, wanted): (RepositoryPath, LayerTree)| {
            let found = compare_one(&*repository, &path, &wanted, (&tree, &open_ends, diff_id))?;
            Ok::<_, Error>((path, found))
        };
        trees.into_iter().map(compare).collect()
    });
    comparing.await?
}

async fn fetch(
    name: &PublicName,
    layer: &LayerDescriptor,
    options: &Options,
) -> Result<BlobReader> {
    let reference = ImageReference::Registry(name.to_string().parse()?);
    let source = Source::open(&reference, options).await?;
    Ok(source.layer(layer, Arc::new(|_| {})).await?)
}

fn compare_one(
    repository: &dyn Repository,
    path: &RepositoryPath,
    wanted: &LayerTree,
    (tree, open_ends, diff_id): (&ExpectedTree, &OpenEnds, DiffId),
) -> Result<Result<Finding, String>> {
    let digest = wanted.layer.digest;
    if diff_id != wanted.diff_id {
        let error = LayerError::DiffId { expected: wanted.diff_id, got: diff_id };
        return Ok(Err(format!("layer {digest}: {error}")));
    }
    if open_ends.is_empty() {
        return Ok(Ok(content::compare(repository, digest, path, tree)?));
    }
    let mut tree = tree.clone();
    match tree.complete(open_ends, repository, &wanted.parents) {
        Ok(()) => {
            let mut finding = content::compare(repository, digest, path, &tree)?;
            if !open_ends.lower_links.is_empty() {
                finding.leans_on.clone_from(&wanted.parents);
            }
            Ok(Ok(finding))
        }
        Err(error @ repository::Error::Entry { .. }) => {
            Ok(Err(format!("layer {digest}: {}", reason(&error))))
        }
        Err(error) => Err(error.into()),
    }
}
