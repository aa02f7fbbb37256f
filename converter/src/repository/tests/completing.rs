//! What a layer takes from the layers below it.

use super::describe::{With, clean, dir, file, gone, link, opaque, symlink};
use super::{Described, Target, layerfs, snapshot, unpack};
use crate::repository::{Completion, EntryError, Error, Inherited, Result, Transaction};

/// Unpacks `lower` (base first) and completes `upper` above it.
fn completed(
    transaction: &dyn Transaction,
    name: &str,
    lower: &[&[Described]],
    upper: &[Described],
) -> Result<Inherited> {
    let mut parents = Vec::new();
    for (at, entries) in lower.iter().enumerate() {
        // Named by content, as layers are.
        let path = layerfs(&format!("{entries:?}"));
        if transaction.merge(&layerfs("probe"), std::slice::from_ref(&path)).is_err() {
            unpack(transaction, &path, entries).unwrap_or_else(|e| panic!("{name} {at}: {e}"));
        }
        parents.insert(0, path);
    }
    let path = layerfs(name);
    let ends = unpack(transaction, &path, upper)?;
    let completion = transaction.complete_layer(&path, &ends, &parents)?;
    assert_eq!(transaction.completion(&ends, &parents)?, completion, "{name}");
    Ok(completion)
}

/// A layer's names with what they are: a directory with its mode if that is not 0755, `!` a whiteout, `/`
/// an opaque directory, `=` content.
fn told(tree: &snapshot::Tree) -> Vec<String> {
    let below_root = tree.iter().filter(|(name, _)| !name.is_empty());
    below_root
        .map(|(name, node)| match node.mode {
            0o020_000 => format!("{name}!"),
            mode if mode & 0o170_000 == 0o040_000 => {
                let opaque = node.xattrs.contains_key(b"trusted.overlay.opaque".as_slice());
                let mode =
                    if mode == 0o040_755 { String::new() } else { format!(" {:o}", mode & 0o7777) };
                format!("{name}{}{mode}", if opaque { "/" } else { "" })
            }
            _ => format!("{name}={}", String::from_utf8_lossy(&node.content)),
        })
        .collect()
}

/// Name, lower layers (base first), upper layer, what the upper one has then.
type Case<'a> = (&'a str, &'a [&'a [Described]], &'a [Described], &'a [&'a str]);

pub(in crate::repository) fn implied_directories_follow_the_layers_below<T: Target>() {
    let merged: &[Described] = &[
        dir("usr").mode(0o711),
        dir("usr/lib").mode(0o750),
        dir("usr/lib/sub").mode(0o700),
        file("usr/lib/low", "low"),
        symlink("lib", "usr/lib"),
        symlink("abs", "/usr/lib"),
        symlink("up", "../../usr/../lib"),
        symlink("new", "usr/made/deep"),
        symlink("usr/back", "../usr"),
        symlink("circle", "circle"),
        symlink("tofile", "usr/lib/low"),
    ];
    let cases: &[Case<'_>] = &[
        ("a directory", &[merged], &[file("usr/x", "1")], &["usr 711", "usr/x=1"]),
        ("nothing", &[merged], &[file("no/x", "1")], &["no", "no/x=1"]),
        ("no layer", &[], &[file("no/x", "1")], &["no", "no/x=1"]),
        (
            "a file",
            &[merged],
            &[file("usr/lib/low/x", "1")],
            &["usr 711", "usr/lib 750", "usr/lib/low", "usr/lib/low/x=1"],
        ),
        ("a symlink", &[merged], &[file("lib/x", "1")], &["lib 750", "lib/x=1"]),
        ("an absolute symlink", &[merged], &[file("abs/x", "1")], &["abs 750", "abs/x=1"]),
        (
            "a symlink over a symlink, out of the root and back",
            &[merged],
            &[file("up/x", "1")],
            &["up 750", "up/x=1"],
        ),
        ("a symlink to nothing", &[merged], &[file("new/x", "1")], &["new", "new/x=1"]),
        ("a symlink to itself", &[merged], &[file("circle/x", "1")], &["circle", "circle/x=1"]),
        ("a symlink to a file", &[merged], &[file("tofile/x", "1")], &["tofile", "tofile/x=1"]),
        (
            "a symlink below another",
            &[merged],
            &[file("lib/sub/x", "1"), file("usr/back/lib/sub/y", "2")],
            &[
                "lib 750",
                "lib/sub 700",
                "lib/sub/x=1",
                "usr 711",
                "usr/back 711",
                "usr/back/lib 750",
                "usr/back/lib/sub 700",
                "usr/back/lib/sub/y=2",
            ],
        ),
        (
            "marks in place of a symlink",
            &[merged],
            &[gone("lib/low"), opaque("abs"), file("abs/x", "1")],
            &["abs/ 750", "abs/x=1", "lib 750", "lib/low!"],
        ),
        (
            "both names in the tar",
            &[merged],
            &[
                file("lib/x", "1"),
                file("lib/low", "1"),
                dir("usr"),
                dir("usr/lib").mode(0o777),
                file("usr/lib/x", "2"),
                gone("usr/lib/low"),
            ],
            &[
                "lib 750",
                "lib/low=1",
                "lib/x=1",
                "usr",
                "usr/lib 777",
                "usr/lib/low!",
                "usr/lib/x=2",
            ],
        ),
        (
            "an entry for the name replaces the symlink",
            &[merged],
            &[dir("lib"), file("lib/sub/x", "1")],
            &["lib", "lib/sub 700", "lib/sub/x=1"],
        ),
        (
            "the middle layer removed it",
            &[merged, &[gone("usr")]],
            &[file("usr/lib/x", "1")],
            &["usr", "usr/lib", "usr/lib/x=1"],
        ),
        (
            "the middle layer gives the attributes",
            &[merged, &[dir("usr").mode(0o701)]],
            &[file("usr/lib/x", "1")],
            &["usr 701", "usr/lib 750", "usr/lib/x=1"],
        ),
        (
            "the middle layer is opaque",
            &[merged, &[opaque("")]],
            &[file("usr/x", "1")],
            &["usr", "usr/x=1"],
        ),
    ];
    let place = T::new();
    let transaction = place.begin();
    for (name, lower, upper, _) in cases {
        completed(&*transaction, name, lower, upper).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    transaction.commit().unwrap();
    for (name, _, _, expected) in cases {
        assert_eq!(told(&place.tree(&layerfs(name))), *expected, "{name}");
    }
}

pub(in crate::repository) fn symlinks_that_are_replaced_are_told<T: Target>() {
    let base: &[Described] = &[
        dir("usr/lib"),
        dir("dir"),
        file("file", ""),
        symlink("lib", "usr/lib"),
        symlink("dangling", "nowhere"),
        symlink("usr/lib/l", "/dir"),
    ];
    let cases: &[(&[Described], &[&str])] = &[
        (&[file("lib/x", ""), file("dir/x", ""), file("file/x", ""), file("new/x", "")], &["lib"]),
        (&[file("lib/l/x", ""), file("dangling/x", "")], &["dangling", "lib"]),
        (&[file("usr/lib/l/x/y", "")], &["usr/lib/l"]),
        (&[dir("lib"), file("lib/l/x", "")], &[]),
        (&[symlink("lib", "usr/lib"), file("lib/x", "")], &[]),
    ];
    let place = T::new();
    let transaction = place.begin();
    for (upper, expected) in cases {
        let inherited = completed(&*transaction, "x", &[base], upper).unwrap();
        let expected: Vec<_> = expected.iter().map(|path| clean(path)).collect();
        assert_eq!(inherited.replaced_symlinks, expected, "{upper:?}");
    }
}

pub(in crate::repository) fn links_to_lower_files_bring_both_names<T: Target>() {
    let base: &[Described] = &[
        dir("d").mode(0o700),
        file("d/f", "low"),
        symlink("s", "d/f"),
        symlink("l", "d"),
        file("g", "low"),
        link("h", "g"),
    ];
    let cases: &[Case<'_>] = &[
        ("a file", &[base], &[link("x", "d/f")], &["d 700", "d/f=low", "x=low"]),
        ("a symlink", &[base], &[link("x", "s")], &["s=d/f", "x=d/f"]),
        ("two links", &[base], &[link("x", "g"), link("y", "x")], &["g=low", "x=low", "y=low"]),
        ("the target comes later", &[base], &[link("x", "g"), file("g", "n")], &["g=n", "x=n"]),
        (
            "through a lower symlink",
            &[base],
            &[link("l/x", "l/f")],
            &["d 700", "d/f=low", "l 700", "l/x=low"],
        ),
        (
            "in the middle layer",
            &[base, &[file("g", "mid")]],
            &[link("x", "g")],
            &["g=mid", "x=mid"],
        ),
    ];
    let place = T::new();
    let transaction = place.begin();
    for (name, lower, upper, _) in cases {
        completed(&*transaction, name, lower, upper).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    transaction.commit().unwrap();
    for (name, _, _, expected) in cases {
        let tree = place.tree(&layerfs(name));
        assert_eq!(told(&tree), *expected, "{name}");
        if let (Some(x), Some(g)) = (tree.get("x"), tree.get("g")) {
            assert_eq!(x.group == g.group, x.content == g.content, "{name}");
        }
    }
}

pub(in crate::repository) fn times_of_directories_that_get_a_name_are_kept<T: Target>() {
    let place = T::new();
    let transaction = place.begin();
    let lower: &[Described] = &[dir("t").at(3), file("t/f", "low"), symlink("l", "t")];
    let upper = [dir("").at(1), dir("d").mode(0o500).at(2), link("d/x", "t/f"), file("l/y", "")];
    completed(&*transaction, "x", &[lower], &upper).unwrap();
    transaction.commit().unwrap();
    let tree = place.tree(&layerfs("x"));
    let times = ["", "d", "t"].map(|name| tree[name].mtime.0);
    assert_eq!(times, [1, 2, 3]);
    assert_eq!(tree["d"].mode, 0o040_500);
}

pub(in crate::repository) fn what_does_not_fit_on_the_layers_below_is_refused<T: Target>() {
    use EntryError::{LinkToDirectory, LinkToNothing};
    let base: &[Described] = &[
        dir("d"),
        file("d/g", ""),
        symlink("circle", "circle"),
        symlink("tofile", "d/g"),
        symlink("tod", "d"),
    ];
    let cases: &[(&[Described], &str, EntryError)] = &[
        (&[link("x", "nothing")], "x", LinkToNothing(clean("nothing"))),
        (&[link("x", "d")], "x", LinkToDirectory(clean("d"))),
        (&[link("x", "d/nothing")], "x", LinkToNothing(clean("d/nothing"))),
        (&[link("x", "circle/g")], "x", LinkToNothing(clean("circle/g"))),
        (&[link("x", "tofile/g")], "x", LinkToNothing(clean("tofile/g"))),
        // What the link leads to is hidden by the layer.
        (&[file("d", ""), link("x", "tod/g")], "x", LinkToNothing(clean("d/g"))),
        (&[gone("d"), link("x", "tod/g")], "x", LinkToNothing(clean("d/g"))),
    ];
    let place = T::new();
    let transaction = place.begin();
    for (upper, path, reason) in cases {
        match completed(&*transaction, "x", &[base], upper) {
            Err(Error::Entry { path: is, reason: why }) => {
                assert_eq!((&is, &why), (&clean(path), reason), "{upper:?}");
            }
            other => panic!("{upper:?}: {other:?}"),
        }
    }
}

pub(in crate::repository) fn a_completion_tells_whether_another_stack_gives_the_same<T: Target>() {
    let base: &[Described] = &[dir("d").mode(0o700), file("d/f", "low"), file("other", "")];
    let upper = [file("d/x", ""), link("y", "d/f")];
    let cases: &[(&str, &[&[Described]], bool)] = &[
        ("the same", &[base], true),
        ("above something else", &[base, &[file("else", "")]], true),
        ("below something else", &[&[file("d/f", "")], base], true),
        ("another mode", &[base, &[dir("d").mode(0o701)]], false),
        ("another time", &[base, &[dir("d").mode(0o700).at(1)]], false),
        ("another owner", &[base, &[dir("d").mode(0o700).owner(1, 1)]], false),
        ("another attribute", &[base, &[dir("d").mode(0o700).xattr("user.x", b"1")]], false),
        ("another file", &[base, &[file("d/f", "other"), dir("d").mode(0o700)]], false),
        ("a symlink", &[&[dir("e").mode(0o700), file("e/f", ""), symlink("d", "e")]], false),
    ];
    let place = T::new();
    let transaction = place.begin();
    let first = completed(&*transaction, "first", &[base], &upper).unwrap().completion;
    for (name, lower, same) in cases {
        let completion = completed(&*transaction, name, lower, &upper).unwrap().completion;
        assert_eq!(completion == first, *same, "{name}");
    }
    let json = serde_json::to_string(&first).unwrap();
    assert!(json.starts_with("\"sha256:"), "{json}");
    assert_eq!(serde_json::from_str::<Completion>(&json).unwrap(), first);
}
