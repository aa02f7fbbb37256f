//! A repository in a plain directory, laid out as by the converter, and a client that pulls from it as containerd
//! does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cvmfs_snapshotter::proto::snapshots::Kind;
use layer_layout::path::{self, LayerMetadata};
use layer_layout::{ChainId, DiffId, Digest, LayerDigest, RepositoryPath, label};
use tempfile::TempDir;
use tonic::Code;

use crate::client::{Client, Labels};

/// An image layer, published or not.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub diff: DiffId,
    pub digest: LayerDigest,
}

pub fn layer(name: &str) -> Layer {
    let digest = |what: &str| Digest::of(format!("{what} {name}").as_bytes());
    Layer { diff: digest("diff").into(), digest: digest("blob").into() }
}

pub fn chains(layers: &[Layer]) -> Vec<ChainId> {
    ChainId::of_layers(&layers.iter().map(|layer| layer.diff).collect::<Vec<_>>())
}

pub struct Repository(TempDir);

impl Repository {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("repo-").tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, path: &RepositoryPath) -> PathBuf {
        self.path().join(path)
    }

    pub fn layerfs(&self, layer: &Layer) -> PathBuf {
        self.at(&path::layerfs(&layer.digest))
    }

    /// Publishes a layer with one file that has the layer's name.
    pub fn add(&self, name: &str) -> Layer {
        let layer = layer(name);
        let root = self.layerfs(&layer);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join(name), name).unwrap();
        self.write_metadata(
            &layer,
            LayerMetadata::Layers,
            &format!(
                r#"[{{"id":"{}","diff-digest":"{}","diff-size":1,"layerfs":"overlayfs"}}]"#,
                layer.diff.hex(),
                layer.diff
            ),
        );
        layer
    }

    pub fn write_metadata(&self, layer: &Layer, file: LayerMetadata, text: &str) {
        let file = self.at(&path::layer_metadata(&layer.digest, file));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Links a chain's top layer.
    pub fn link(&self, chain: &ChainId, target: &Path) {
        let link = self.at(&path::chain_layer(chain));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }

    /// Publishes an image: all its chains.
    pub fn publish(&self, layers: &[Layer]) -> Vec<ChainId> {
        let chains = chains(layers);
        for (chain, layer) in chains.iter().zip(layers) {
            if !self.at(&path::chain(chain)).exists() {
                let target = path::chain_layer(chain).link_to(&path::layerfs(&layer.digest));
                self.link(chain, Path::new(&target));
            }
        }
        chains
    }

    /// Publishes an image with these layers.
    pub fn image(&self, names: &[&str]) -> (Vec<Layer>, Vec<ChainId>) {
        let layers: Vec<_> = names.iter().map(|name| self.add(name)).collect();
        let chains = self.publish(&layers);
        (layers, chains)
    }

    /// Publishes a chain's merged root with one file.
    pub fn merge(&self, chain: &ChainId, file: &str) -> PathBuf {
        let root = self.at(&path::chain_rootfs(chain));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join(file), file).unwrap();
        root
    }
}

/// A layer after a pull: its snapshot's name, and whether it was served without a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub name: String,
    pub remote: bool,
}

/// Pulls chains as containerd's metadata store and unpacker do.
pub async fn pull(client: &Client, namespace: &str, chains: &[ChainId]) -> Vec<Pulled> {
    let images: Vec<_> = chains.iter().map(|chain| (*chain, vec![])).collect();
    pull_with(client, namespace, &images).await
}

/// The same with more labels for each layer.
pub async fn pull_with(
    client: &Client,
    namespace: &str,
    chains: &[(ChainId, Vec<(&str, String)>)],
) -> Vec<Pulled> {
    let mut pulled: Vec<Pulled> = Vec::new();
    for (number, (chain, more)) in chains.iter().enumerate() {
        let parent = pulled.last().map_or("", |parent| &parent.name).to_owned();
        let target = chain.to_string();
        let mut labels = vec![(label::TARGET, target.as_str())];
        labels.extend(more.iter().map(|(key, value)| (*key, value.as_str())));
        pulled.push(pull_layer(client, namespace, number, &target, &parent, &labels).await);
    }
    pulled
}

pub async fn pull_layer(
    client: &Client,
    namespace: &str,
    number: usize,
    target: &str,
    parent: &str,
    labels: Labels<'_>,
) -> Pulled {
    let key = format!("{namespace}/{number}/extract-1-ab {target}");
    match client.prepare(&key, parent, labels).await {
        Ok(_) => {
            let name = format!("{namespace}/{number}/{target}");
            client.commit(&name, &key, labels).await.unwrap();
            Pulled { name, remote: false }
        }
        Err(status) if status.code() == Code::AlreadyExists => {
            let filter = format!("labels.{:?}=={target},parent=={parent:?}", label::TARGET);
            let found = client.list(&[&filter]).await.unwrap();
            let found: Vec<_> =
                found.iter().filter(|info| info.kind() == Kind::Committed).collect();
            assert_eq!(found.len(), 1, "containerd would fail the pull: {found:?}");
            assert_eq!(
                (&found[0].parent, &found[0].labels[label::TARGET]),
                (&parent.to_owned(), &target.to_owned())
            );
            Pulled { name: found[0].name.clone(), remote: true }
        }
        Err(status) => panic!("the pull would fail: {status}"),
    }
}

pub fn remotes(pulled: &[Pulled]) -> Vec<bool> {
    pulled.iter().map(|layer| layer.remote).collect()
}

pub fn top(pulled: &[Pulled]) -> &str {
    &pulled.last().unwrap().name
}
