//! One image: its documents, links, chains and roots.

use std::collections::{BTreeMap, BTreeSet};

use layer_layout::path::{self, ImageMetadata, Unit};
use layer_layout::record::PublishedManifest;
use layer_layout::{
    ChainId, ConfigDigest, DiffId, Digest, ImagePlace, LayerDigest, LayerPath, RepositoryPath,
};

use super::content;
use super::fault::{Difference, Fault};
use super::layer::Layers;
use super::layer_tars::LayerTree;
use super::merged::{Allowed, differences};
use super::public_path;
use crate::image_config::ImageConfig;
use crate::inventory::{LayerRecords, leads_to_layer, read_manifest};
use crate::repository::{Published, Repository, Result};
use crate::singularity::{self, FlatFault};
use crate::source::LayerDescriptor;

/// Looks at images of one repository.
pub(super) struct Verifier<'a> {
    pub(super) repository: &'a dyn Repository,
    pub(super) layers: Layers,
    pub(super) records: LayerRecords,
    /// Whether the content of files is looked at, too. Then the trees of layers are collected.
    pub(super) data: bool,
    /// The trees of layers that the images stand on, each with what it takes to compare it with the layer.
    pub(super) trees: BTreeMap<RepositoryPath, LayerTree>,
}

/// An image while it is looked at.
struct Image<'a> {
    place: &'a ImagePlace,
    config: ConfigDigest,
    layers: Vec<LayerDescriptor>,
    diff_ids: Vec<DiffId>,
    faults: Vec<Fault>,
    /// The trees of its layers, if they are collected, each with its layer.
    trees: Vec<(RepositoryPath, LayerDigest)>,
    forbidden: Option<String>,
}

/// What was found out about an image.
pub(super) struct Looked {
    pub(super) faults: Vec<Fault>,
    /// The trees of its layers, if they are collected.
    pub(super) trees: Vec<RepositoryPath>,
    /// The layer of each tree.
    pub(super) layers: Vec<LayerDigest>,
    /// Why files of its own were not read.
    pub(super) forbidden: Option<String>,
}

impl Verifier<'_> {
    /// All that is wrong with an image. `config` is its configuration as the registry has it, if that is known.
    pub(super) fn image(&mut self, place: &ImagePlace, config: Option<&[u8]>) -> Result<Looked> {
        let metadata = place.metadata_directory();
        let manifest = match read_manifest(self.repository, &metadata) {
            Ok(manifest) => manifest,
            Err(reason) => {
                let faults = vec![Fault::Document { path: metadata, reason }];
                return Ok(Looked {
                    faults,
                    trees: Vec::new(),
                    layers: Vec::new(),
                    forbidden: None,
                });
            }
        };
        let mut image = Image {
            place,
            config: manifest.config.digest,
            layers: layers(&manifest),
            diff_ids: Vec::new(),
            faults: Vec::new(),
            trees: Vec::new(),
            forbidden: None,
        };
        self.configuration(&mut image, &manifest, config)?;
        self.image_layers(&mut image)?;
        let stack = self.chains(&mut image)?;
        let rootfs = self.rootfs(&mut image, stack.as_deref())?;
        self.flat(&mut image, rootfs, stack)?;
        let Image { faults, trees, forbidden, .. } = image;
        let (trees, layers) = trees.into_iter().unzip();
        Ok(Looked { faults, trees, layers, forbidden })
    }

    fn is_directory(&self, path: &RepositoryPath) -> Result<bool> {
        Ok(self.repository.lookup(path)? == Some(Published::Directory))
    }

    /// The configuration, which tells the DiffIDs. Without it that of the registry does, or the layers' records.
    fn configuration(
        &self,
        image: &mut Image<'_>,
        manifest: &PublishedManifest,
        of_registry: Option<&[u8]>,
    ) -> Result<()> {
        let path = image.place.metadata(ImageMetadata::Config);
        let wrong =
            |reason: &str| Fault::Document { path: path.clone(), reason: reason.to_owned() };
        let fault = match self.repository.read(&path)? {
            None => Fault::Missing(path),
            Some(json) if ConfigDigest::from(Digest::of(&json)) != manifest.config.digest => {
                wrong("it is not the configuration that the manifest names")
            }
            Some(json) => match ImageConfig::parse(&json) {
                Ok(config) => {
                    if config.diff_ids.len() != image.layers.len() {
                        image
                            .faults
                            .push(wrong("it has another number of layers than the manifest"));
                    }
                    image.diff_ids = config.diff_ids;
                    return Ok(());
                }
                Err(error) => wrong(&error.to_string()),
            },
        };
        image.faults.push(fault);
        if let Some(config) = of_registry.and_then(|json| ImageConfig::parse(json).ok()) {
            image.diff_ids = config.diff_ids;
            return Ok(());
        }
        for layer in &image.layers {
            match self.records.diff_id(self.repository, layer.digest)? {
                Some(diff_id) => image.diff_ids.push(diff_id),
                None => break,
            }
        }
        Ok(())
    }

    fn image_layers(&mut self, image: &mut Image<'_>) -> Result<()> {
        let mut seen = Vec::new();
        for (at, layer) in image.layers.iter().map(|layer| layer.digest).enumerate() {
            if seen.contains(&layer) {
                continue;
            }
            seen.push(layer);
            let fault = self.layers.fault(self.repository, layer)?;
            let is_missing = matches!(fault, Some(Fault::Missing(_)));
            let recorded = self.records.get(self.repository, layer)?;
            if !is_missing && recorded.is_some_and(|recorded| !recorded.is_overlayfs) {
                image.faults.push(Fault::DuccForm { layer });
            }
            image.faults.extend(fault);
            if let Some(&expected) = image.diff_ids.get(at)
                && !is_missing
            {
                let found = recorded.map(|recorded| recorded.diff_id);
                if found != Some(expected) {
                    image.faults.push(Fault::DiffId { layer, found, expected });
                }
            }
        }
        Ok(())
    }

    /// The links of all chains. Gives the layers that they lead to, topmost first, if all are right.
    fn chains(&mut self, image: &mut Image<'_>) -> Result<Option<Vec<RepositoryPath>>> {
        let chains = ChainId::of_layers(&image.diff_ids);
        let mut stack: Vec<RepositoryPath> = Vec::new();
        let mut missing = Vec::new();
        let before = image.faults.len();
        for ((chain, diff_id), layer) in
            chains.iter().zip(image.diff_ids.clone()).zip(image.layers.clone())
        {
            let link = path::chain_layer(chain);
            let expected = path::layerfs(&layer.digest);
            let found = match self.repository.lookup(&link)? {
                None => {
                    missing.push(Fault::Missing(link));
                    self.stand_on(image, &mut stack, expected, &layer, diff_id);
                    continue;
                }
                Some(Published::Symlink(target)) => target,
                Some(_) => "something that is no link".to_owned(),
            };
            match self.led_to(&found, chain, diff_id)? {
                Some(path) => {
                    if !self.is_directory(&path)? {
                        image.faults.push(Fault::Missing(path.clone()));
                    }
                    if path != expected {
                        self.collect(image, &stack, &expected, &layer, diff_id);
                    }
                    self.stand_on(image, &mut stack, path, &layer, diff_id);
                }
                None => {
                    self.stand_on(image, &mut stack, expected.clone(), &layer, diff_id);
                    let expected = link.link_to(&expected);
                    image.faults.push(match leads_to_layer(self.repository, &found)? {
                        true => Fault::Link { path: link, found, expected },
                        false => Fault::Dangling { path: link, target: found },
                    });
                }
            }
        }
        if !chains.is_empty() && missing.len() == chains.len() {
            image.faults.push(Fault::NoChains);
        } else {
            image.faults.extend(missing);
        }
        let complete = image.faults.len() == before && chains.len() == image.layers.len();
        Ok(complete.then_some(stack))
    }

    /// Puts the tree of a layer on a stack, topmost first.
    fn stand_on(
        &mut self,
        image: &mut Image<'_>,
        stack: &mut Vec<RepositoryPath>,
        tree: RepositoryPath,
        layer: &LayerDescriptor,
        diff_id: DiffId,
    ) {
        self.collect(image, stack, &tree, layer, diff_id);
        // The same directory twice in a stack shows what its topmost place alone shows.
        stack.retain(|lower| *lower != tree);
        stack.insert(0, tree);
    }

    /// Notes what the tree of a layer can be compared with.
    fn collect(
        &mut self,
        image: &mut Image<'_>,
        parents: &[RepositoryPath],
        tree: &RepositoryPath,
        layer: &LayerDescriptor,
        diff_id: DiffId,
    ) {
        if !self.data || image.faults.contains(&Fault::Missing(tree.clone())) {
            return;
        }
        image.trees.push((tree.clone(), layer.digest));
        self.trees.entry(tree.clone()).or_insert_with(|| LayerTree {
            name: image.place.name.clone(),
            layer: layer.clone(),
            diff_id,
            parents: parents.to_vec(),
        });
    }

    /// Where a chain's link leads, if it may lead there: to the layer, to a layer with the same content in another
    /// compressed form, or to the chain's own variant of it.
    fn led_to(
        &self,
        target: &str,
        chain: &ChainId,
        diff_id: DiffId,
    ) -> Result<Option<RepositoryPath>> {
        let path = match Unit::of_link_target(target) {
            Some(Unit::Layer(layer))
                if self.records.diff_id(self.repository, layer)? == Some(diff_id) =>
            {
                path::layerfs(&layer)
            }
            Some(Unit::Chain(own)) if own == *chain => path::chain_layerfs(chain),
            _ => return Ok(None),
        };
        Ok(target.ends_with(path.as_str()).then_some(path))
    }

    /// The merged root. Gives its path if it is right.
    fn rootfs(
        &self,
        image: &mut Image<'_>,
        stack: Option<&[RepositoryPath]>,
    ) -> Result<Option<RepositoryPath>> {
        let Some(stack) = stack else { return Ok(None) };
        let Some(top) = ChainId::of_layers(&image.diff_ids).pop() else { return Ok(None) };
        let rootfs = path::chain_rootfs(&top);
        if !self.is_directory(&rootfs)? {
            image.faults.push(Fault::Missing(rootfs));
            return Ok(None);
        }
        if image.has_faulty_layers() {
            return Ok(None);
        }
        let fault = self.tree(&rootfs, stack, |_| Allowed::Nothing)?;
        let is_right = fault.is_none();
        image.faults.extend(fault);
        Ok(is_right.then_some(rootfs))
    }

    /// The flat root and the link to it. An image that has neither was published without.
    fn flat(
        &self,
        image: &mut Image<'_>,
        rootfs: Option<RepositoryPath>,
        stack: Option<Vec<RepositoryPath>>,
    ) -> Result<()> {
        let flat = path::flat(&image.config);
        let link = image.place.link();
        let is_there = self.is_directory(&flat)?;
        let there = self.repository.lookup(&link)?;
        let found = match &there {
            Some(Published::Symlink(found)) => Some(found.as_str()),
            _ => None,
        };
        let expected = public_path::link(self.repository, image.place, image.config, found)?;
        match there {
            None if is_there => image.faults.push(Fault::Missing(link)),
            None => return Ok(()),
            Some(Published::Symlink(found)) => {
                if found != expected {
                    image.faults.push(Fault::Link { path: link, found, expected });
                }
            }
            Some(_) => {
                let found = "something that is no link".to_owned();
                image.faults.push(Fault::Link { path: link, found, expected });
            }
        }
        if !is_there {
            image.faults.push(Fault::Missing(flat));
            return Ok(());
        }
        for file in singularity::CONTRACT {
            if !singularity::has_file(self.repository, &flat, file)? {
                let file = file.to_owned();
                image.faults.push(Fault::Singularity { flat: flat.clone(), file });
            }
        }
        if singularity::fault(self.repository, &flat)? == Some(FlatFault::Closed) {
            let (tree, example) = (flat.clone(), LayerPath::ROOT);
            let what = Difference::Attributes;
            image.faults.push(Fault::Tree { tree, count: 1, example, what });
        }
        let below = rootfs.map(|rootfs| vec![rootfs]).or(stack);
        if let (Some(below), false) = (below, image.has_faulty_layers()) {
            let fault = self.tree(&flat, &below, added_for_singularity)?;
            image.faults.extend(fault);
        }
        // What comes from the layers is looked at there.
        if self.data && self.repository.expands_variables() {
            let added = |path: &LayerPath| added_for_singularity(path) == Allowed::Everything;
            let found = content::damage(self.repository, &flat, None, added)?;
            image.faults.extend(found.faults);
            image.forbidden = image.forbidden.take().or(found.forbidden);
        }
        Ok(())
    }

    fn tree(
        &self,
        tree: &RepositoryPath,
        layers: &[RepositoryPath],
        allowed: impl Fn(&LayerPath) -> Allowed,
    ) -> Result<Option<Fault>> {
        let found = differences(self.repository, layers, tree, self.data, allowed)?;
        let fault =
            |(example, what)| Fault::Tree { tree: tree.clone(), count: found.count, example, what };
        Ok(found.first.map(fault))
    }
}

impl Image<'_> {
    /// Whether there is a layer that has to be fetched again, so that comparing trees with it says nothing.
    fn has_faulty_layers(&self) -> bool {
        self.faults.iter().any(|fault| {
            matches!(fault, Fault::LiteralWhiteouts { .. } | Fault::DuccForm { .. })
                || matches!(fault, Fault::Missing(path)
                    if matches!(Unit::of_path(path), Some(Unit::Layer(_))))
        })
    }
}

/// The layers that a repository has for an image, base first.
fn layers(manifest: &PublishedManifest) -> Vec<LayerDescriptor> {
    let held: BTreeSet<_> = manifest.layers().collect();
    let layers = manifest.layers.iter().filter(|layer| held.contains(&layer.digest));
    let layers = layers.map(|layer| LayerDescriptor {
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
    });
    layers.collect()
}

/// What the files for Apptainer and Singularity change in a root.
fn added_for_singularity(path: &LayerPath) -> Allowed {
    let files = || singularity::added_files().map(str::as_bytes);
    let directories = || singularity::added_directories().map(str::as_bytes);
    let is_below = |path: &[u8], above: &[u8]| {
        path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
    };
    let path = path.as_bytes();
    if is_below(path, singularity::DIRECTORY.as_bytes()) || files().any(|file| file == path) {
        Allowed::Everything
    } else if path.is_empty() || files().chain(directories()).any(|added| is_below(added, path)) {
        Allowed::Attributes
    } else {
        Allowed::Nothing
    }
}
