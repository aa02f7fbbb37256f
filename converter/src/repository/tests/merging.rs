//! Layers to be merged.

use layer_layout::RepositoryPath;
use proptest::prelude::*;

use super::describe::{With, dir, fifo, file, gone, link, opaque, symlink};
use super::{CAPABILITY, Described, layerfs, unpack};
use crate::repository::Transaction;

/// A lower layer with a bit of everything.
pub(in crate::repository) fn base() -> Vec<Described> {
    vec![
        dir("").at(1),
        dir("d").mode(0o750).owner(1, 2).at(2),
        dir("d/e").at(3).xattr("user.low", b"1"),
        file("d/e/f", "low").mode(0o4755).xattr("security.capability", CAPABILITY),
        link("d/e/g", "d/e/f"),
        file("d/f", "low"),
        file("f", "low").owner(3, 4),
        fifo("p"),
        symlink("s", "d"),
        dir("usr").at(4),
        dir("usr/lib").at(5),
        file("usr/lib/low", "low"),
        symlink("lib", "usr/lib"),
    ]
}

/// Layers that lie on it.
pub(in crate::repository) fn pairs() -> Vec<(&'static str, Vec<Described>)> {
    vec![
        ("nothing", vec![dir("")]),
        ("whiteout of a directory", vec![dir(""), gone("d")]),
        ("whiteout of a file", vec![dir(""), dir("d"), gone("d/f")]),
        ("whiteout of a symlink", vec![gone("s")]),
        ("opaque over existing", vec![dir("d"), opaque("d"), file("d/new", "new")]),
        ("opaque, mark last", vec![dir("d"), file("d/new", "new"), opaque("d")]),
        ("opaque root", vec![dir("").at(9), opaque(""), file("new", "new")]),
        ("nested opaque", vec![dir("d"), dir("d/e"), opaque("d/e"), gone("d/f")]),
        ("opaque in opaque", vec![dir("d"), opaque("d"), dir("d/e"), opaque("d/e"), gone("d/e/f")]),
        ("file over directory", vec![file("d", "new")]),
        ("directory over file", vec![dir("f"), file("f/x", "new")]),
        ("directory over symlink", vec![dir("s"), file("s/x", "new")]),
        ("directory becomes symlink", vec![symlink("d", "usr")]),
        ("whiteout and again, a file", vec![gone("f"), file("f", "new")]),
        ("again and whiteout, a file", vec![file("f", "new"), gone("f")]),
        ("whiteout and again, a directory", vec![gone("d"), dir("d"), file("d/x", "new")]),
        ("again and whiteout, a directory", vec![dir("d"), file("d/x", "new"), gone("d")]),
        ("whiteout of nothing", vec![gone("nothing"), dir("d"), gone("d/nothing"), gone("n/n")]),
        (
            "new attributes only",
            vec![dir("d").mode(0o1777).owner(7, 8).at(9).xattr("user.up", b"2")],
        ),
        ("hard link to a lower file", vec![dir("d"), link("d/new", "f")]),
        ("hard link to a lower group", vec![dir("d"), dir("d/e"), link("d/e/new", "d/e/g")]),
        ("hard link to a lower symlink", vec![link("t", "s")]),
        ("implied over a directory", vec![file("d/e/new", "new")]),
        ("implied over a symlink", vec![file("lib/new", "new"), gone("lib/low")]),
        ("new hard links", vec![file("n", "new"), link("m", "n"), link("f", "n")]),
    ]
}

/// Unpacks layers (base first), completing those that need it; topmost first.
pub(in crate::repository) fn stack(
    transaction: &dyn Transaction,
    name: &str,
    layers: &[&[Described]],
) -> Vec<RepositoryPath> {
    let mut stack: Vec<RepositoryPath> = Vec::new();
    for (at, entries) in layers.iter().enumerate() {
        let path = layerfs(&format!("{name} {at}"));
        let ends = unpack(transaction, &path, entries).unwrap();
        if !ends.is_empty() {
            transaction.complete_layer(&path, &ends, &stack).unwrap();
        }
        stack.insert(0, path);
    }
    stack
}

/// One entry over a few names, the root among them.
pub(in crate::repository) fn any_entry() -> impl Strategy<Value = Described> {
    let path = proptest::collection::vec(prop_oneof!["a", "b", "c"], 0..4)
        .prop_map(|names| names.join("/"));
    (path, 0..9, 0..4_i64).prop_map(|(path, kind, time)| match kind {
        0..=3 => dir(&path).at(time),
        4 => gone(&path),
        5 => opaque(&path),
        6 => symlink(&path, "a").at(time),
        _ => file(&path, "x").at(time),
    })
}
