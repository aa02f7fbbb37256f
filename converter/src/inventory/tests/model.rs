//! A repository in memory, as far as it is listings, links and small files.

use std::collections::BTreeMap;

use layer_layout::path::{self, ImageMetadata, LayerMetadata, Unit};
use layer_layout::record::LayerRecord;
use layer_layout::{
    ChainId, ConfigDigest, DiffId, Digest, ImagePlace, LayerDigest, RepositoryPath,
};

use crate::inventory::View;
use crate::repository::{Error, Occupant, Published, Result};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(String),
}

/// A repository in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Model(BTreeMap<String, Node>);

/// An image: layers by name, base first, and what makes its configuration differ from others with the same layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) layers: Vec<String>,
    pub(crate) version: u32,
}

/// A layer of this name is content, of which a registry may have several compressed forms: the name before a dash says
/// which content.
pub(crate) fn layer(name: &str) -> LayerDigest {
    Digest::of(format!("blob {name}").as_bytes()).into()
}

pub(crate) fn diff_id(name: &str) -> DiffId {
    let content = name.split('-').next().unwrap_or_default();
    Digest::of(format!("tar {content}").as_bytes()).into()
}

impl Image {
    pub(crate) fn new(layers: &[&str], version: u32) -> Self {
        Self { layers: layers.iter().map(ToString::to_string).collect(), version }
    }

    pub(crate) fn diff_ids(&self) -> Vec<DiffId> {
        self.layers.iter().map(|name| diff_id(name)).collect()
    }

    pub(crate) fn config_json(&self) -> String {
        let ids: Vec<_> =
            self.diff_ids().iter().map(|id| format!("{:?}", id.to_string())).collect();
        format!(
            r#"{{"os":"linux","architecture":"amd64","version":{},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            self.version,
            ids.join(",")
        )
    }

    pub(crate) fn config(&self) -> ConfigDigest {
        Digest::of(self.config_json().as_bytes()).into()
    }

    pub(crate) fn manifest_json(&self) -> String {
        let layer = |name: &String| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":1,"digest":"{}"}}"#,
                layer(name)
            )
        };
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":
            "application/vnd.oci.image.config.v1+json","size":{},"digest":"{}"}},"layers":[{}]}}"#,
            self.config_json().len(),
            self.config(),
            self.layers.iter().map(layer).collect::<Vec<_>>().join(",")
        )
    }
}

impl Model {
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn file(&mut self, path: &str, content: impl AsRef<[u8]>) {
        self.put(path, Node::File(content.as_ref().to_vec()));
    }

    pub(crate) fn link(&mut self, path: &str, target: impl Into<String>) {
        self.put(path, Node::Link(target.into()));
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.put(path, Node::Directory);
    }

    fn put(&mut self, path: &str, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.0.insert(path[..at].to_owned(), Node::Directory);
        }
        self.0.insert(path.to_owned(), node);
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|name, _| name != path && !name.starts_with(&below));
    }

    /// Publishes an image as the converter does: what is there already stays as it is.
    pub(crate) fn publish(&mut self, place: &ImagePlace, image: &Image) {
        for name in &image.layers {
            let digest = layer(name);
            self.directory(path::layerfs(&digest).as_str());
            let record = LayerRecord::new(digest, diff_id(name), 1, String::new());
            let path = path::layer_metadata(&digest, LayerMetadata::Layers);
            self.file(path.as_str(), record.to_json());
        }
        for (name, chain) in image.layers.iter().zip(ChainId::of_layers(&image.diff_ids())) {
            let link = path::chain_layer(&chain);
            if !self.has(link.as_str()) {
                self.link(link.as_str(), link.link_to(&path::layerfs(&layer(name))));
            }
        }
        if let Some(top) = ChainId::of_layers(&image.diff_ids()).last() {
            self.directory(path::chain_rootfs(top).as_str());
        }
        let flat = path::flat(&image.config());
        self.directory(&format!("{flat}/.singularity.d"));
        self.file(place.metadata(ImageMetadata::Manifest).as_str(), image.manifest_json());
        self.file(place.metadata(ImageMetadata::Config).as_str(), image.config_json());
        self.link(place.link().as_str(), place.link().link_to(&flat));
    }

    /// What is missing of an image that has a name.
    pub(crate) fn missing(&self, place: &ImagePlace, image: &Image) -> Vec<String> {
        let documents = [ImageMetadata::Manifest, ImageMetadata::Config];
        let documents = documents.map(|file| place.metadata(file));
        let absent = documents.iter().filter(|path| !self.has(path.as_str()));
        let mut missing: Vec<String> = absent.map(ToString::to_string).collect();
        missing.extend(self.leads_nowhere(&place.link()));
        missing.extend(self.missing_content(image));
        missing
    }

    /// What is missing of an image apart from its names.
    pub(crate) fn missing_content(&self, image: &Image) -> Vec<String> {
        let mut needed: Vec<RepositoryPath> = vec![path::flat(&image.config())];
        needed.extend(image.layers.iter().map(|name| path::layerfs(&layer(name))));
        let chains = ChainId::of_layers(&image.diff_ids());
        needed.extend(chains.last().map(path::chain_rootfs));
        let absent = needed.iter().filter(|path| !self.has(path.as_str()));
        let mut missing: Vec<String> = absent.map(ToString::to_string).collect();
        missing.extend(
            chains.iter().filter_map(|chain| self.leads_nowhere(&path::chain_layer(chain))),
        );
        missing
    }

    fn leads_nowhere(&self, link: &RepositoryPath) -> Option<String> {
        let unit = match self.0.get(link.as_str()) {
            Some(Node::Link(target)) => Unit::of_link_target(target),
            _ => None,
        };
        let is_there = unit.is_some_and(|unit| self.has(unit.path().as_str()));
        (!is_there).then(|| format!("what {link} leads to"))
    }

    /// The layers, chains and flat roots.
    pub(crate) fn content(&self) -> std::collections::BTreeSet<Unit> {
        let path = |name: &String| {
            let mut path: Option<RepositoryPath> = None;
            for part in name.split('/') {
                path = RepositoryPath::of_name(path.as_ref(), part);
            }
            path
        };
        let units = self.0.keys().filter_map(path).filter_map(|path| Unit::of_path(&path));
        units.collect()
    }
}

impl View for Model {
    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        match self.0.get(path.as_str()) {
            None => Ok(None),
            Some(Node::File(content)) => Ok(Some(content.clone())),
            Some(_) => Err(Error::Occupied { path: path.clone(), by: Occupant::NotAFile }),
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        Ok(self.0.get(path.as_str()).map(published))
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        let prefix = directory.map_or_else(String::new, |path| format!("{path}/"));
        let below =
            self.0.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let names = below.filter_map(|(path, node)| {
            let name = &path[prefix.len()..];
            (!name.contains('/')).then(|| (name.to_owned(), published(node)))
        });
        Ok(names.collect())
    }
}

fn published(node: &Node) -> Published {
    match node {
        Node::Directory => Published::Directory,
        Node::File(_) => Published::Other,
        Node::Link(target) => Published::Symlink(target.clone()),
    }
}
