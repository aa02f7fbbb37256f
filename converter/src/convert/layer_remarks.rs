//! What people should know of a layer that is published although container engines make something else of it.

use layer_layout::record::OpenEnds;
use layer_layout::{LayerDigest, LayerPath};

/// How many paths are told.
const EXAMPLES: usize = 3;

/// Remarks on a layer that leaves `open_ends` to its parents and has directories where those have symlinks.
pub(super) fn remarks(
    layer: LayerDigest,
    open_ends: &OpenEnds,
    replaced_symlinks: &[LayerPath],
) -> Vec<String> {
    let mut remarks = Vec::new();
    if !open_ends.lower_links.is_empty() {
        let links = open_ends.lower_links.iter();
        remarks.push(format!(
            "layer {layer} has hard links to files of lower layers ({}): containerd's overlayfs snapshotter, Docker and \
             Podman refuse such an image, so nodes run it from this repository only; rebuild it if it has to run elsewhere",
            examples(links.map(|(name, target)| format!("{name} to {target}")))
        ));
    }
    if !replaced_symlinks.is_empty() {
        remarks.push(format!(
            "layer {layer} has names below a symlink of a lower layer, and no entry for the directory itself ({}): the \
             directory takes the symlink's place, as in containerd, Docker and Podman, and what the symlink led to is not \
             seen there; rebuild the image if that is not meant",
            examples(replaced_symlinks.iter().map(ToString::to_string))
        ));
    }
    remarks
}

fn examples(mut all: impl ExactSizeIterator<Item = String>) -> String {
    let more = if all.len() > EXAMPLES { ", …" } else { "" };
    let shown: Vec<_> = all.by_ref().take(EXAMPLES).collect();
    shown.join(", ") + more
}

#[cfg(test)]
mod tests {
    use layer_layout::Digest;

    use super::*;

    #[test]
    fn paths_are_told_up_to_a_number() {
        let path = |name: &str| LayerPath::clean(name.as_bytes()).unwrap();
        let layer = LayerDigest::from(Digest::of(b""));
        let ends = |links: &[(&str, &str)]| OpenEnds {
            implied_directories: vec![path("d")],
            lower_links: links.iter().map(|(name, target)| (path(name), path(target))).collect(),
        };
        assert_eq!(remarks(layer, &ends(&[]), &[]), [""; 0]);
        let links = [("a", "f"), ("b", "f"), ("c", "d/g"), ("d", "f")];
        for (links, replaced, expected) in [
            (&links[..1], vec![], vec!["layers (/a to /f): containerd's"]),
            (&links[..3], vec![], vec!["layers (/a to /f, /b to /f, /c to /d/g): "]),
            (&links[..], vec![], vec!["/c to /d/g, …): "]),
            (&[], vec![path("lib")], vec!["directory itself (/lib): the directory takes"]),
            (&links[..1], vec![path("lib")], vec!["(/a to /f)", "(/lib)"]),
        ] {
            let remarks = remarks(layer, &ends(links), &replaced);
            assert_eq!(remarks.len(), expected.len(), "{remarks:?}");
            for (remark, part) in remarks.iter().zip(expected) {
                assert!(remark.starts_with(&format!("layer {layer} has ")), "{remark}");
                assert!(remark.contains(part), "{remark}");
            }
        }
    }
}
