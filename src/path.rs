//! Every path of a repository.
//!
//! ```text
//! .layers/<hh>/<layer digest>/layerfs/                  one layer, unpacked in overlayfs form
//! .layers/<hh>/<layer digest>/.metadata/origin.json     the images that use it (DUCC)
//! .layers/<hh>/<layer digest>/.metadata/layers.json     its DiffID and size (DUCC)
//! .layers/<hh>/<layer digest>/.metadata/parent.json     see below
//! .chains/<hh>/<ChainID>/layer                          relative symlink to the top layer's layerfs
//! .chains/<hh>/<ChainID>/layerfs/                       see below
//! .chains/<hh>/<ChainID>/rootfs/                        the chain's merged root file system
//! .flat/<hh>/<config digest>/                           the same with the Singularity files
//! .metadata/<public name>/{manifest,config,index}.json  raw bytes, as the source had them
//! .metadata/remove-schedule.json                        images to be removed
//! .metadata/.wishes/<hex>.json                          which images a wish list wants
//! .multiarch/…, .metadata/.multiarch/…                  images for several platforms, see [`Architecture`]
//! <public name>                                         relative symlink to .flat/…
//! .ducc/                                                lock, staging area and leftovers of a running publisher
//! ```
//!
//! `<hh>` is the first two hex digits of what follows; digests are lower-case hex without `sha256:`.
//! [`crate::record`] has the types of the JSON files.
//!
//! **Layers that need their parents.** A layer tar can hold a hard link to a file of a lower layer, or
//! entries below a directory that it does not describe itself. What such names mean is known only when the
//! layers below are known. The first publication completes `.layers/…/layerfs` from those and writes
//! `parent.json`, which holds
//! - `parent`: the ChainID of the layers below;
//! - `openEnds`: the directories and links that the layer itself leaves open;
//! - `completion`: a fingerprint of what they were completed with.
//!
//! Above another chain, the publisher works out from `openEnds` what the layer would be completed with there.
//! If the fingerprint is that of `completion`, the layer is shared; if not, it gets a `layerfs` of its own in
//! `.chains/…`, and `layer` points there. So a look-up by ChainID is always right, and one by layer digest is
//! right if there is no `parent.json`.

mod architecture;
mod place;
mod unit;

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::{ChainId, ConfigDigest, Digest, LayerDigest, PublicName};

use self::architecture::MULTIARCH;
pub use self::architecture::{
    Architecture, aliases, architectures, architectures_metadata, is_alias,
    is_through_architectures,
};
pub use self::place::ImagePlace;
pub use self::unit::Unit;

/// A path inside a repository: relative, clean, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPath(String);

const LAYERS: &str = ".layers";
const CHAINS: &str = ".chains";
const FLAT: &str = ".flat";
const METADATA: &str = ".metadata";

/// Name of a layer's content directory below its own directory, and of a chain's own variant of a layer.
const LAYERFS: &str = "layerfs";

impl RepositoryPath {
    /// The path as text, for instance `.flat/ab/ab…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that holds this name; `None` if that is the repository's root.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// What a relative symlink at `self` has to say to lead to `target`.
    pub fn link_to(&self, target: &Self) -> String {
        "../".repeat(self.0.matches('/').count()) + &target.0
    }

    /// The directory that appears and disappears as a whole and has this path in it: that of a layer or a chain.
    /// For any other path, the path itself.
    pub fn unit(&self) -> Self {
        let mut parts = self.0.splitn(4, '/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(root @ (LAYERS | CHAINS)), Some(shard), Some(id), Some(_)) => {
                Self(format!("{root}/{shard}/{id}"))
            }
            _ => self.clone(),
        }
    }

    /// Parses a path as [`Self::as_str`] gives it; `None` if it is not relative, clean and with at least one name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut names = text.split('/');
        let first = Self::of_name(None, names.next()?)?;
        names.try_fold(first, |path, name| Self::of_name(Some(&path), name))
    }

    /// Whether a directory at this path stays when nothing is in it any more: those in the repository's root whose
    /// names begin with a dot. Any other directory above published things goes with the last of them.
    pub fn is_permanent(&self) -> bool {
        self.0.starts_with('.') && !self.0.contains('/')
    }

    /// The path of a name in the directory `parent`, or in the repository's root. `None` if no file can have that
    /// name: it is empty, `.` or `..`, or holds a slash or a NUL.
    pub fn of_name(parent: Option<&Self>, name: &str) -> Option<Self> {
        let possible = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        possible.then(|| match parent {
            Some(parent) => parent.below(name),
            None => Self(name.to_owned()),
        })
    }

    fn below(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }
}

/// It compares, orders and hashes as its text does.
impl Borrow<str> for RepositoryPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for RepositoryPath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Serialize for RepositoryPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Directories above `path`, outermost first, that should have a catalog of their own where trees are kept in
/// catalogs (CernVM-FS): those that grow with the number of images. Then a new image changes a few catalogs with
/// few names each, however many images there are. The trees themselves (`layerfs`, `rootfs`, `.flat/…`) are not
/// among these directories.
pub fn catalog_roots(path: &RepositoryPath) -> impl Iterator<Item = RepositoryPath> + use<> {
    let mut names = path.0.split('/');
    let depth = match (names.next(), names.next()) {
        // One for each platform, and for each registry there.
        (Some(METADATA), Some(MULTIARCH)) => 4,
        (Some(MULTIARCH), _) => 3,
        (Some(LAYERS | CHAINS | FLAT | METADATA), _) => 2,
        // The registry of a public name.
        _ => 1,
    };
    let ends = path.0.match_indices('/').take(depth).map(|(end, _)| end);
    let roots: Vec<_> = ends.map(|end| RepositoryPath(path.0[..end].to_owned())).collect();
    roots.into_iter()
}

fn sharded(root: &str, hex: &str) -> RepositoryPath {
    RepositoryPath(format!("{root}/{}/{hex}", &hex[..2]))
}

/// `.layers`: all layers.
pub fn layers() -> RepositoryPath {
    RepositoryPath(LAYERS.to_owned())
}

/// `.layers/<hh>/<hex>`: everything of one layer. It appears and disappears as a whole.
pub fn layer(layer: &LayerDigest) -> RepositoryPath {
    sharded(LAYERS, &layer.hex())
}

/// `.layers/<hh>/<hex>/layerfs`: the layer's content in overlayfs form.
pub fn layerfs(digest: &LayerDigest) -> RepositoryPath {
    layer(digest).below(LAYERFS)
}

/// A file in a layer's `.metadata` directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerMetadata {
    /// `origin.json`: an [`OriginRecord`](crate::record::OriginRecord).
    Origin,
    /// `layers.json`: a [`LayerRecord`](crate::record::LayerRecord).
    Layers,
    /// `parent.json`: a [`ParentRecord`](crate::record::ParentRecord), present if `layerfs` was completed
    /// from the layers below. Without it the layer stands for itself.
    Parent,
}

/// `.layers/<hh>/<hex>/.metadata/<file>`.
pub fn layer_metadata(digest: &LayerDigest, file: LayerMetadata) -> RepositoryPath {
    layer(digest).below(METADATA).below(match file {
        LayerMetadata::Origin => "origin.json",
        LayerMetadata::Layers => "layers.json",
        LayerMetadata::Parent => "parent.json",
    })
}

/// `.chains`: all chains.
pub fn chains() -> RepositoryPath {
    RepositoryPath(CHAINS.to_owned())
}

/// `.flat`: all flat roots.
pub fn flats() -> RepositoryPath {
    RepositoryPath(FLAT.to_owned())
}

/// `.dirty-chains`: where DUCC notes which of its chains are unfinished.
pub fn dirty_chains() -> RepositoryPath {
    RepositoryPath(".dirty-chains".to_owned())
}

/// `podmanStore`: DUCC's store for Podman, whose links lead to layers and flat roots.
pub fn podman_store() -> RepositoryPath {
    RepositoryPath("podmanStore".to_owned())
}

/// `.chains/<hh>/<hex>`: everything of one chain.
pub fn chain(chain: &ChainId) -> RepositoryPath {
    sharded(CHAINS, &chain.hex())
}

/// `.chains/<hh>/<hex>/layer`: symlink to the content of the chain's top layer.
pub fn chain_layer(id: &ChainId) -> RepositoryPath {
    chain(id).below("layer")
}

/// `.chains/<hh>/<hex>/layerfs`: the content of the chain's top layer. Only there if the layer is completed in
/// another way above this chain's parent than in `.layers` (see the module's head).
pub fn chain_layerfs(id: &ChainId) -> RepositoryPath {
    chain(id).below(LAYERFS)
}

/// `.chains/<hh>/<hex>/rootfs`: the merged root file system of the chain.
pub fn chain_rootfs(id: &ChainId) -> RepositoryPath {
    chain(id).below("rootfs")
}

/// `.flat/<hh>/<hex>`: the merged root file system with the Singularity files.
pub fn flat(config: &ConfigDigest) -> RepositoryPath {
    sharded(FLAT, &config.hex())
}

/// A file in an image's metadata directory. Its bytes are those of the source, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageMetadata {
    /// `manifest.json`: the manifest of the published platform.
    Manifest,
    /// `config.json`: the image configuration.
    Config,
    /// `index.json`: the index or manifest list, if the image was found through one.
    Index,
}

impl ImageMetadata {
    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest.json",
            Self::Config => "config.json",
            Self::Index => "index.json",
        }
    }
}

/// `.metadata`: the metadata of all images.
pub fn metadata() -> RepositoryPath {
    RepositoryPath(METADATA.to_owned())
}

/// `.metadata/<public name>`: the metadata of the image behind a public name.
pub fn image_metadata_directory(name: &PublicName) -> RepositoryPath {
    RepositoryPath(format!("{METADATA}/{name}"))
}

/// `.metadata/<public name>/<file>`.
pub fn image_metadata(name: &PublicName, file: ImageMetadata) -> RepositoryPath {
    image_metadata_directory(name).below(file.name())
}

/// `.metadata/.wishes`: a [`WishRecord`](crate::record::WishRecord) for each wish list.
pub fn wishes() -> RepositoryPath {
    RepositoryPath(format!("{METADATA}/.wishes"))
}

/// `.metadata/.wishes/<hex>.json`, named by the digest of what the list is called: its path or URL.
pub fn wish_record(list: &str) -> RepositoryPath {
    wishes().below(&format!("{}.json", Digest::of(list.as_bytes()).hex()))
}

/// `.metadata/remove-schedule.json`: a [`RemoveSchedule`](crate::record::RemoveSchedule).
pub fn remove_schedule() -> RepositoryPath {
    RepositoryPath(format!("{METADATA}/remove-schedule.json"))
}

/// `<public name>`: the symlink that people type.
pub fn public_link(name: &PublicName) -> RepositoryPath {
    RepositoryPath(name.to_string())
}

/// `.ducc`: the publisher's own directory. Only there while a publisher runs, or after one was killed.
pub fn publisher() -> RepositoryPath {
    RepositoryPath(".ducc".to_owned())
}

/// `.ducc/lock`: held by the one publisher that may change the repository.
pub fn publisher_lock() -> RepositoryPath {
    publisher().below("lock")
}

/// `.ducc/staging`: what is being prepared. Nothing in it is published.
pub fn publisher_staging() -> RepositoryPath {
    publisher().below("staging")
}

/// `.ducc/journal.json`: what a publisher is moving into place. If it is killed, the next one finishes the moves.
pub fn publisher_journal() -> RepositoryPath {
    publisher().below("journal.json")
}

/// `.ducc/removed`: what a publisher has taken out of sight and is about to delete.
pub fn publisher_removed() -> RepositoryPath {
    publisher().below("removed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn paths_are_those_of_the_design() {
        let digest = Digest::of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let (l, c, i) = (digest.into(), digest.into(), digest.into());
        let name: PublicName = "r.io:5000/a/b:1".parse().unwrap();
        for (path, expected) in [
            (layerfs(&l), format!(".layers/e3/{hex}/layerfs")),
            (
                layer_metadata(&l, LayerMetadata::Layers),
                format!(".layers/e3/{hex}/.metadata/layers.json"),
            ),
            (chain_layer(&c), format!(".chains/e3/{hex}/layer")),
            (chain_rootfs(&c), format!(".chains/e3/{hex}/rootfs")),
            (flat(&i), format!(".flat/e3/{hex}")),
            (
                image_metadata(&name, ImageMetadata::Manifest),
                ".metadata/r.io:5000/a/b:1/manifest.json".to_owned(),
            ),
            (remove_schedule(), ".metadata/remove-schedule.json".to_owned()),
            (public_link(&name), "r.io:5000/a/b:1".to_owned()),
        ] {
            assert_eq!(path.as_str(), expected);
        }
    }

    #[test]
    fn layers_and_chains_are_units() {
        let digest = Digest::of(b"");
        let (l, c, i) = (digest.into(), digest.into(), digest.into());
        let name: PublicName = "r.io/a/b/c:1".parse().unwrap();
        for (path, expected) in [
            (layerfs(&l), layer(&l)),
            (layer_metadata(&l, LayerMetadata::Origin), layer(&l)),
            (chain_layer(&c), chain(&c)),
            (chain_rootfs(&c), chain(&c)),
            (flat(&i), flat(&i)),
            (public_link(&name), public_link(&name)),
        ] {
            assert_eq!(path.unit(), expected);
        }
    }

    #[test]
    fn catalogs_begin_where_names_gather() {
        let digest = Digest::of(b"");
        let (l, c, i) = (digest.into(), digest.into(), digest.into());
        let name: PublicName = "r.io:5000/a/b:1".parse().unwrap();
        let architecture = Some("arm64:v8".parse().unwrap());
        let of_arm = ImagePlace { name: name.clone(), architecture };
        for (path, expected) in [
            (layerfs(&l), [".layers", ".layers/e3"].as_slice()),
            (layer_metadata(&l, LayerMetadata::Origin), &[".layers", ".layers/e3"]),
            (chain_layer(&c), &[".chains", ".chains/e3"]),
            (chain_rootfs(&c), &[".chains", ".chains/e3"]),
            (flat(&i), &[".flat", ".flat/e3"]),
            (image_metadata(&name, ImageMetadata::Manifest), &[".metadata", ".metadata/r.io:5000"]),
            (remove_schedule(), &[".metadata"]),
            (public_link(&name), &["r.io:5000"]),
            (
                of_arm.metadata(ImageMetadata::Config),
                &[
                    ".metadata",
                    ".metadata/.multiarch",
                    ".metadata/.multiarch/arm64:v8",
                    ".metadata/.multiarch/arm64:v8/r.io:5000",
                ],
            ),
            (
                of_arm.link(),
                &[".multiarch", ".multiarch/arm64:v8", ".multiarch/arm64:v8/r.io:5000"],
            ),
        ] {
            let roots: Vec<_> = catalog_roots(&path).map(|root| root.to_string()).collect();
            assert_eq!(roots, expected, "{path}");
        }
    }

    #[test]
    fn names_make_paths() {
        let directory = RepositoryPath::of_name(None, "r.io").unwrap();
        assert_eq!(directory.as_str(), "r.io");
        let below = RepositoryPath::of_name(Some(&directory), ".a:1").unwrap();
        assert_eq!(below.as_str(), "r.io/.a:1");
        for name in ["", ".", "..", "a/b", "/", "a\0"] {
            assert_eq!(RepositoryPath::of_name(Some(&directory), name), None, "{name:?}");
        }
    }

    #[test]
    fn texts_are_paths_if_they_are_clean() {
        for text in ["r.io", "r.io/a:1", ".layers/ab/x/layerfs"] {
            assert_eq!(RepositoryPath::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "/", "/etc", "../x", "a/../b", "a//b", "a/", "a/./b", "a\0"] {
            assert_eq!(RepositoryPath::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn directories_of_the_layout_are_permanent() {
        for (text, permanent) in
            [(".layers", true), (".layers/ab", false), ("r.io", false), ("r.io/a", false)]
        {
            assert_eq!(RepositoryPath::parse(text).unwrap().is_permanent(), permanent, "{text}");
        }
    }

    #[test]
    fn links_are_relative() {
        let digest = Digest::of(b"");
        let name: PublicName = "r.io/a/b:1".parse().unwrap();
        let hex = digest.hex();
        let (layer, chain) = (digest.into(), digest.into());
        assert_eq!(
            public_link(&name).link_to(&flat(&digest.into())),
            format!("../../.flat/e3/{hex}")
        );
        assert_eq!(
            chain_layer(&chain).link_to(&layerfs(&layer)),
            format!("../../../.layers/e3/{hex}/layerfs")
        );
    }
}
