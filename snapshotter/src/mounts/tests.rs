use super::*;
use crate::snapshot::{Labels, LayerRoot};

const PLAIN: Kernel = Kernel { index: false, userxattr: false, mapped_layers: true };

/// A layer from a short text: `3` local, `3r` in a repository as layer 3, `3r7` as layer 7, a `m` for a merged
/// root of the same number, `o` for an opaque root.
fn layer(text: &str) -> Layer {
    let (id, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: String = rest.chars().filter(char::is_ascii_digit).collect();
    let number = if number.is_empty() { id } else { &number };
    let remote = rest.contains('r').then(|| Remote {
        repository: "r.org".to_owned(),
        layer: format!("layer{number}"),
        rootfs: rest.contains('m').then(|| format!("rootfs{number}")),
    });
    let root = LayerRoot { opaque: rest.contains('o'), ..LayerRoot::default() };
    Layer { id: SnapshotId(id.parse().unwrap()), root, remote }
}

fn chain(text: &str) -> Vec<Layer> {
    text.split_ascii_whitespace().map(layer).collect()
}

#[test]
fn which_layers_are_mounted() {
    for (given, expected) in [
        ("", ""),
        ("3 2 1", "3/fs 2/fs 1/fs"),
        ("3r 2r 1r", "3/fs 2/fs 1/fs"),
        ("3 2r 1r", "3/fs 2/fs 1/fs"),
        // A merged root ends the chain, the topmost first.
        ("3r 2rm 1r", "3/fs 2/rootfs"),
        ("3rm 2rm 1r", "3/rootfs"),
        ("4 3r 2rm 1rm", "4/fs 3/fs 2/rootfs"),
        // So does an opaque root.
        ("3r 2ro 1r", "3/fs 2/fs"),
        ("3o 2rm 1r", "3/fs"),
        // The same directory once, at its topmost place.
        ("5r1 4r2 3r1 2r2 1r1", "5/fs 4/fs"),
        ("3r1 2r1 1r1", "3/fs"),
        ("4r1 3r2 2r1m", "4/fs 3/fs 2/rootfs"),
        // An opaque layer ends it at its topmost place already.
        ("4r1 3r2o 2r1 1r3", "4/fs 3/fs"),
    ] {
        let chain = chain(given);
        let lowers: Vec<_> = lowers(&chain)
            .iter()
            .map(|l| format!("{}/{}", l.id, if l.merged { "rootfs" } else { "fs" }))
            .collect();
        assert_eq!(lowers.join(" "), expected, "{given}");
    }
}

#[test]
fn the_same_path_in_two_repositories_is_not_the_same_directory() {
    let mut chain = chain("2r1 1r1");
    chain[1].remote.as_mut().unwrap().repository = "other.org".to_owned();
    assert_eq!(lowers(&chain).len(), 2);
}

fn mapping() -> IdMapping {
    let labels: Labels = [layer_layout::label::UID_MAPPING, layer_layout::label::GID_MAPPING]
        .map(|key| (key.to_owned(), "0:9:1".to_owned()))
        .into();
    IdMapping::from_labels(&labels).unwrap().unwrap()
}

/// As one text, with the snapshots directory as `R`.
fn shape(kind: SnapshotKind, given: &str, kernel: Kernel, mapping: Option<&IdMapping>) -> String {
    let root = tempfile::tempdir().unwrap();
    let directories = Directories::open(root.path()).unwrap();
    let snapshots = root.path().join("snapshots").display().to_string();
    match mounts(&directories, kernel, SnapshotId(9), kind, &chain(given), mapping) {
        Ok(mounts) => {
            let [mount] = mounts.as_slice() else { panic!("{mounts:?}") };
            format!("{} {} {}", mount.mount_type, mount.source, mount.options.join(" "))
                .replace(&snapshots, "R")
        }
        Err(Error::FailedPrecondition(message)) => format!("refused: {message}"),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn shapes() {
    let upper = "workdir=R/9/work upperdir=R/9/fs";
    for (kind, given, expected) in [
        (SnapshotKind::Active, "", "bind R/9/fs rw rbind".to_owned()),
        (SnapshotKind::View, "", "bind R/9/fs ro rbind".to_owned()),
        (SnapshotKind::View, "1", "bind R/1/fs ro rbind".to_owned()),
        (SnapshotKind::View, "1r", "bind R/1/fs ro rbind".to_owned()),
        (SnapshotKind::View, "2 1", "overlay overlay lowerdir=R/2/fs:R/1/fs".to_owned()),
        (SnapshotKind::View, "2 1r", "overlay overlay lowerdir=R/2/fs:R/1/fs".to_owned()),
        // Repositories alone: an empty directory on top.
        (SnapshotKind::View, "2r 1r", "overlay overlay lowerdir=R/9/fs:R/2/fs:R/1/fs".to_owned()),
        (
            SnapshotKind::View,
            "3r 2rm 1r",
            "overlay overlay lowerdir=R/9/fs:R/3/fs:R/2/rootfs".to_owned(),
        ),
        (SnapshotKind::View, "2rm 1r", "bind R/2/rootfs ro rbind".to_owned()),
        // What is left over of several layers may hold whiteouts, which a bind mount would show.
        (SnapshotKind::View, "2r1 1r1", "overlay overlay lowerdir=R/9/fs:R/2/fs".to_owned()),
        (SnapshotKind::View, "2o 1", "overlay overlay lowerdir=R/9/fs:R/2/fs".to_owned()),
        (SnapshotKind::Active, "1", format!("overlay overlay {upper} lowerdir=R/1/fs")),
        (SnapshotKind::Active, "2rm 1r", format!("overlay overlay {upper} lowerdir=R/2/rootfs")),
        (SnapshotKind::Active, "2r 1r", format!("overlay overlay {upper} lowerdir=R/2/fs:R/1/fs")),
    ] {
        assert_eq!(shape(kind, given, PLAIN, None), expected, "{kind:?} {given}");
    }
}

#[test]
fn options_of_the_kernel() {
    let kernel = Kernel { index: true, userxattr: true, ..PLAIN };
    assert_eq!(
        shape(SnapshotKind::View, "2 1", kernel, None),
        "overlay overlay index=off userxattr lowerdir=R/2/fs:R/1/fs"
    );
    // Not on bind mounts, which know no such options.
    assert_eq!(shape(SnapshotKind::View, "1", kernel, None), "bind R/1/fs ro rbind");
}

#[test]
fn id_mapping_only_where_it_works() {
    let mapping = mapping();
    let old = Kernel { mapped_layers: false, ..PLAIN };
    let map = "uidmap=0:9:1 gidmap=0:9:1";
    let upper = "workdir=R/9/work upperdir=R/9/fs";
    for (kind, given, kernel, expected) in [
        (SnapshotKind::Active, "", PLAIN, format!("bind R/9/fs {map} rw rbind")),
        (
            SnapshotKind::Active,
            "2 1",
            PLAIN,
            format!("overlay overlay {map} {upper} lowerdir=R/2/fs:R/1/fs"),
        ),
        (SnapshotKind::View, "2 1", PLAIN, format!("overlay overlay {map} lowerdir=R/2/fs:R/1/fs")),
        (SnapshotKind::View, "1", PLAIN, "read-only view".to_owned()),
        (SnapshotKind::Active, "2 1r", PLAIN, "in the repository r.org".to_owned()),
        (SnapshotKind::Active, "2rm 1r", PLAIN, "in the repository r.org".to_owned()),
        (SnapshotKind::Active, "1", old, "Linux 5.19".to_owned()),
    ] {
        let shape = shape(kind, given, kernel, Some(&mapping));
        let refused = shape.starts_with("refused") && shape.contains(&expected);
        assert!(shape == expected || refused, "{kind:?} {given}: {shape}");
    }
}
