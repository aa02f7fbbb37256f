//! One image: its documents, links, chains and roots.

use layer_layout::path::{self, ImageMetadata, Unit};
use layer_layout::record::PublishedManifest;
use layer_layout::{
    Architecture, ChainId, ConfigDigest, DiffId, Digest, ImagePlace, LayerDigest, LayerPath,
    RepositoryPath,
};

use super::fault::Fault;
use super::layer::Layers;
use super::merged::{Allowed, differences};
use crate::image_config::ImageConfig;
use crate::inventory::{LayerRecords, read_manifest};
use crate::repository::{Published, Repository, Result};
use crate::singularity;

/// Looks at images of one repository.
pub(super) struct Verifier<'a> {
    pub(super) repository: &'a dyn Repository,
    pub(super) layers: Layers,
    pub(super) records: LayerRecords,
}

/// An image while it is looked at.
struct Image<'a> {
    place: &'a ImagePlace,
    config: ConfigDigest,
    layers: Vec<LayerDigest>,
    diff_ids: Vec<DiffId>,
    faults: Vec<Fault>,
}

impl Verifier<'_> {
    /// All that is wrong with an image.
    pub(super) fn image(&mut self, place: &ImagePlace) -> Result<Vec<Fault>> {
        let metadata = place.metadata_directory();
        let manifest = match read_manifest(self.repository, &metadata) {
            Ok(manifest) => manifest,
            Err(reason) => return Ok(vec![Fault::Document { path: metadata, reason }]),
        };
        let mut image = Image {
            place,
            config: manifest.config.digest,
            layers: manifest.layers().collect(),
            diff_ids: Vec::new(),
            faults: Vec::new(),
        };
        self.configuration(&mut image, &manifest)?;
        self.image_layers(&mut image)?;
        let stack = self.chains(&mut image)?;
        let rootfs = self.rootfs(&mut image, stack.as_deref())?;
        self.flat(&mut image, rootfs, stack)?;
        Ok(image.faults)
    }

    fn is_directory(&self, path: &RepositoryPath) -> Result<bool> {
        Ok(self.repository.lookup(path)? == Some(Published::Directory))
    }

    /// The configuration, which tells the DiffIDs. Without it the layers' records do.
    fn configuration(&self, image: &mut Image<'_>, manifest: &PublishedManifest) -> Result<()> {
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
        for &layer in &image.layers {
            match self.records.diff_id(self.repository, layer)? {
                Some(diff_id) => image.diff_ids.push(diff_id),
                None => break,
            }
        }
        Ok(())
    }

    fn image_layers(&mut self, image: &mut Image<'_>) -> Result<()> {
        let mut seen = Vec::new();
        for (at, &layer) in image.layers.iter().enumerate() {
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
    fn chains(&self, image: &mut Image<'_>) -> Result<Option<Vec<RepositoryPath>>> {
        let chains = ChainId::of_layers(&image.diff_ids);
        let mut stack: Vec<RepositoryPath> = Vec::new();
        let mut missing = Vec::new();
        let before = image.faults.len();
        for ((chain, &diff_id), layer) in
            chains.iter().zip(&image.diff_ids).zip(image.layers.iter().copied())
        {
            let link = path::chain_layer(chain);
            let expected = path::layerfs(&layer);
            let found = match self.repository.lookup(&link)? {
                None => {
                    missing.push(Fault::Missing(link));
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
                    // The same directory twice in a stack shows what its topmost place alone shows.
                    stack.retain(|lower| *lower != path);
                    stack.insert(0, path);
                }
                None => {
                    let expected = link.link_to(&expected);
                    image.faults.push(Fault::Link { path: link, found, expected });
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
        let expected = link.link_to(&flat);
        match self.repository.lookup(&link)? {
            None if is_there => image.faults.push(Fault::Missing(link)),
            None => return Ok(()),
            Some(Published::Symlink(found)) => {
                if found != expected && !self.is_for_all_clients(&found, image.place)? {
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
            if !self.has_file(&flat, file)? {
                let file = file.to_owned();
                image.faults.push(Fault::Singularity { flat: flat.clone(), file });
            }
        }
        let below = rootfs.map(|rootfs| vec![rootfs]).or(stack);
        if let (Some(below), false) = (below, image.has_faulty_layers()) {
            let fault = self.tree(&flat, &below, added_for_singularity)?;
            image.faults.extend(fault);
        }
        Ok(())
    }

    /// Whether a public link leads clients to their own platforms, one of which is there.
    fn is_for_all_clients(&self, found: &str, place: &ImagePlace) -> Result<bool> {
        if !self.repository.expands_variables() || place.architecture.is_some() {
            return Ok(false);
        }
        for (directory, _) in self.repository.list(Some(&path::architectures()))? {
            let Ok(architecture) = directory.parse::<Architecture>() else { continue };
            if architecture.public_link_target(&place.name) != found {
                continue;
            }
            let own = ImagePlace { architecture: Some(architecture), ..place.clone() };
            if self.repository.lookup(&own.link())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_file(&self, tree: &RepositoryPath, file: &str) -> Result<bool> {
        let path = LayerPath::clean(file.as_bytes()).unwrap_or_default();
        let Some((directory, name)) = path.split() else { return Ok(false) };
        let directory = self.repository.read_directory(tree, &directory)?;
        Ok(directory
            .is_some_and(|directory| directory.entries.iter().any(|entry| entry.name == name)))
    }

    fn tree(
        &self,
        tree: &RepositoryPath,
        layers: &[RepositoryPath],
        allowed: impl Fn(&LayerPath) -> Allowed,
    ) -> Result<Option<Fault>> {
        let found = differences(self.repository, layers, tree, allowed)?;
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

/// What the files for Apptainer and Singularity change in a root.
fn added_for_singularity(path: &LayerPath) -> Allowed {
    let added = || singularity::added_paths().map(str::as_bytes);
    let is_below = |path: &[u8], above: &[u8]| {
        path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
    };
    let path = path.as_bytes();
    if is_below(path, singularity::DIRECTORY.as_bytes()) || added().any(|added| added == path) {
        Allowed::Everything
    } else if path.is_empty() || added().any(|added| is_below(added, path)) {
        Allowed::Attributes
    } else {
        Allowed::Nothing
    }
}
