//! Snapshot labels and layer annotations, from which a snapshotter learns which layer is wanted.
//!
//! containerd passes a snapshotter the labels of the client and every annotation of the layer's descriptor
//! whose key begins with `containerd.io/snapshot/`, so **all values are untrusted**: an image's author can
//! set them. They are parsed into typed values here, and can only choose among what a node's
//! configuration allows.

use std::collections::HashMap;

use crate::{ChainId, Digest, LayerDigest};

/// The ChainID of the stack whose top layer will be unpacked into the snapshot. A `Prepare` with this label asks a
/// remote snapshotter for the layer.
pub const TARGET: &str = "containerd.io/snapshot.ref";

/// Prefix of the labels and annotations that containerd passes on to a snapshotter.
pub const INHERITED_PREFIX: &str = "containerd.io/snapshot/";

/// Annotation of a thin image's layer: the digest (`sha256:<hex>`) of the real layer.
pub const THIN_LAYER_DIGEST: &str = "containerd.io/snapshot/cvmfs.layer-digest";

/// Annotation of a thin image's layer: the fully qualified name of the repository that has the real layer.
pub const THIN_REPOSITORY: &str = "containerd.io/snapshot/cvmfs.repository";

/// Set by CRI, nerdctl, Docker and the transfer service: digest of the layer blob.
pub const CRI_LAYER_DIGEST: &str = "containerd.io/snapshot/cri.layer-digest";

/// Set together with [`CRI_LAYER_DIGEST`]: the image as its user named it. For logs only.
const CRI_IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";

/// Set by stargz's `ctr-remote`, and by BuildKit with a suffix `.<id>`: digest of the layer blob.
pub const STARGZ_LAYER_DIGEST: &str = "containerd.io/snapshot/remote/stargz.digest";

/// No client names a layer in more ways; an image's author can, and each is some work for a repository.
const MOST_LAYERS: usize = 8;

/// Maps user ids of a container's user namespace, `container:host:length`.
pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";

/// Maps group ids of a container's user namespace, `container:host:length`.
pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";

/// What the labels of a `Prepare` say about the wanted layer. Values that do not parse are ignored, because a
/// hostile or foreign label must not make a pull fail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedLayer {
    /// The ChainID of the stack, from [`TARGET`].
    pub chain: Option<ChainId>,
    /// Digests of the layer blob, most trustworthy first, without repetition and at most eight. A thin image's annotation comes
    /// first: in such an image, all other labels name the placeholder.
    pub layers: Vec<LayerDigest>,
    /// The repository that a thin image names.
    pub repository: Option<String>,
    /// The image as its user named it.
    pub image: Option<String>,
}

impl WantedLayer {
    /// Reads the labels of one `Prepare`.
    pub fn from_labels(labels: &HashMap<String, String>) -> Self {
        let get = |key: &str| labels.get(key).map(String::as_str);
        let mut suffixed: Vec<_> = labels
            .iter()
            .filter(|(key, _)| {
                key.strip_prefix(STARGZ_LAYER_DIGEST).is_some_and(|rest| rest.starts_with('.'))
            })
            .collect();
        suffixed.sort();
        let candidates = [THIN_LAYER_DIGEST, CRI_LAYER_DIGEST, STARGZ_LAYER_DIGEST]
            .into_iter()
            .filter_map(get)
            .chain(suffixed.into_iter().map(|(_, value)| value.as_str()));
        let mut layers = Vec::new();
        for layer in candidates.filter_map(|text| text.parse::<LayerDigest>().ok()) {
            if layers.len() < MOST_LAYERS && !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        Self {
            chain: get(TARGET).and_then(|text| text.parse().ok()),
            layers,
            repository: get(THIN_REPOSITORY).filter(|name| !name.is_empty()).map(str::to_owned),
            image: get(CRI_IMAGE_REF).map(str::to_owned),
        }
    }
}

/// The annotations of a thin image's layer descriptor.
pub fn thin_annotations(layer: &LayerDigest, repository: &str) -> [(&'static str, String); 2] {
    [(THIN_LAYER_DIGEST, layer.to_string()), (THIN_REPOSITORY, repository.to_owned())]
}

/// Annotation of a thin manifest: the digest of the full image's manifest, for registries and tools that
/// do not know `subject`.
const THIN_ORIGIN: &str = "org.cernvm.cvmfs.thin.origin";

/// The annotation of a thin manifest that names the full image's manifest.
pub fn thin_origin(manifest: &Digest) -> (&'static str, String) {
    (THIN_ORIGIN, manifest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_family_in_order_of_trust() {
        let d = |text: &str| LayerDigest::from(Digest::of(text.as_bytes()));
        let [a, b, c] = ["a", "b", "c"].map(|text| d(text).to_string());
        let suffixed = format!("{STARGZ_LAYER_DIGEST}.xyz");
        type Labels<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Labels<'_>, &[LayerDigest]); 6] = [
            (&[], &[]),
            (&[(CRI_LAYER_DIGEST, &a)], &[d("a")]),
            (&[(STARGZ_LAYER_DIGEST, &b), (CRI_LAYER_DIGEST, &a)], &[d("a"), d("b")]),
            (&[(CRI_LAYER_DIGEST, &a), (THIN_LAYER_DIGEST, &c)], &[d("c"), d("a")]),
            (&[(&suffixed, &a), (STARGZ_LAYER_DIGEST, &a)], &[d("a")]),
            (&[(CRI_LAYER_DIGEST, "sha256:../../etc"), (STARGZ_LAYER_DIGEST, "")], &[]),
        ];
        for (given, expected) in cases {
            assert_eq!(WantedLayer::from_labels(&labels(given)).layers, expected, "{given:?}");
        }
    }

    #[test]
    fn odd_values_count_as_absent() {
        let wanted =
            WantedLayer::from_labels(&labels(&[(TARGET, "moby/some name"), (THIN_REPOSITORY, "")]));
        assert_eq!(wanted, WantedLayer::default());
    }
}
