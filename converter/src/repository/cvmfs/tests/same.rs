//! Both targets make the same of the same layers, entry by entry.

use std::collections::BTreeMap;
use std::path::Path;

use layer_layout::{RepositoryPath, path};
use proptest::prelude::*;

use super::{Scene, keys};
use crate::repository::directory::tests::TestDirectory;
use crate::repository::tests::describe::{With, device, dir, file, gone, link, opaque};
use crate::repository::tests::merging::{any_entry, base, pairs};
use crate::repository::tests::user::as_ordinary_user;
use crate::repository::tests::{CAPABILITY, Described, Target, layerfs, rootfs, snapshot, unpack};
use crate::repository::{Error, Transaction, TreeEditor};

/// Layers, base first.
type Layers = Vec<Vec<Described>>;

/// What became of some layers: trees by their places, and what was said.
#[derive(Debug, Default)]
struct Outcome {
    said: Vec<String>,
    trees: BTreeMap<RepositoryPath, snapshot::Tree>,
}

fn flat(name: &str) -> RepositoryPath {
    path::flat(&layer_layout::Digest::of(name.as_bytes()).into())
}

/// Paths are shown by the two targets in ways of their own.
fn told(error: &Error) -> String {
    match error {
        Error::System { cause, .. } => format!("{:?}", cause.kind()),
        error => format!("{error:?}"),
    }
}

/// Unpacks and completes layers; gives their places, topmost first, as far as they fit on each other.
fn stack(
    transaction: &dyn Transaction,
    name: &str,
    layers: &Layers,
    said: &mut Vec<String>,
) -> Vec<RepositoryPath> {
    let mut stack: Vec<RepositoryPath> = Vec::new();
    for (at, entries) in layers.iter().enumerate() {
        let path = layerfs(&format!("{name} {at}"));
        match unpack(transaction, &path, entries) {
            Err(error) => {
                said.push(told(&error));
                continue;
            }
            Ok(ends) => {
                said.push(format!("{ends:?}"));
                let completed = transaction.complete_layer(&path, &ends, &stack);
                said.push(completed.as_ref().map_or_else(told, |done| format!("{done:?}")));
                if completed.is_ok() {
                    stack.insert(0, path);
                }
            }
        }
    }
    stack
}

fn edit(tree: &mut dyn TreeEditor, said: &mut Vec<String>) {
    let mut say = |result: crate::repository::Result<()>| {
        said.push(result.map_or_else(|error| told(&error), |()| String::new()));
    };
    say(tree.open_root());
    for path in ["a/b/c", "s/new", "d/e/f/x", "lib/y", "dev"] {
        say(tree.ensure_directory(Path::new(path)));
    }
    for path in ["a", "b/new", "d/f", "lib/low", "usr/lib/low", "s"] {
        say(tree.write_file(Path::new(path), 0o750, b"written"));
        say(tree.ensure_file(Path::new(path), 0o640));
    }
    for path in ["c", "usr/l", "d/e/g", ".run"] {
        say(tree.ensure_symlink(Path::new(path), "target"));
    }
}

/// Publishes layers and what is merged of them, in one change or in two.
fn outcome<T: Target>(cases: &[(String, Layers)], at_once: bool) -> Outcome {
    let target = T::new();
    let mut outcome = Outcome::default();
    let Outcome { said, trees } = &mut outcome;
    let mut transaction = target.begin();
    let mut places = Vec::new();
    for (name, layers) in cases {
        said.push(name.clone());
        places.push((name, stack(&*transaction, name, layers, said)));
    }
    if !at_once {
        transaction.commit().unwrap();
        transaction = target.begin();
    }
    for (name, stack) in &places {
        said.push((*name).clone());
        transaction.merge(&rootfs(name), stack).unwrap();
        edit(&mut *transaction.share(&flat(name), Some(&rootfs(name))).unwrap(), said);
    }
    transaction.commit().unwrap();
    for (name, stack) in places {
        for path in stack.into_iter().chain([rootfs(name), flat(name)]) {
            let tree = snapshot::linked_within_directories(target.tree(&path));
            trees.insert(path, tree);
        }
    }
    outcome
}

fn assert_same(cases: &[(String, Layers)]) {
    let expected = outcome::<TestDirectory>(cases, true);
    for at_once in [true, false] {
        let got = outcome::<Scene>(cases, at_once);
        assert_eq!(got.said, expected.said);
        let places = |outcome: &Outcome| outcome.trees.keys().cloned().collect::<Vec<_>>();
        assert_eq!(places(&got), places(&expected));
        for ((path, got), expected) in got.trees.iter().zip(expected.trees.values()) {
            snapshot::assert_same(got, &grouped_like(expected, got), path.as_str());
        }
    }
}

/// The tree with the hard links of another one, all of which it must have. It may have more: a file of a lower
/// layer with a name in an upper one is one inode in a directory, and two in catalogs.
fn grouped_like(tree: &snapshot::Tree, other: &snapshot::Tree) -> snapshot::Tree {
    let mut tree = tree.clone();
    for (name, node) in other {
        let first = tree.get(&node.group).map(|first| first.group.clone());
        let Some(mine) = tree.get_mut(name) else { continue };
        assert_eq!(first.as_ref(), Some(&mine.group), "{name} and {} are one file", node.group);
    }
    for (name, node) in &mut tree {
        if let Some(other) = other.get(name) {
            node.group.clone_from(&other.group);
        }
    }
    tree
}

#[test]
fn trees_are_those_of_the_directory_target() {
    let cases: Vec<_> =
        pairs().into_iter().map(|(name, upper)| (name.to_owned(), vec![base(), upper])).collect();
    assert_same(&cases);
}

#[test]
fn an_ordinary_users_result_is_that_of_root() {
    let entries = [
        dir("").mode(0o555).owner(1, 2),
        dir("d").mode(0),
        file("d/f", "x")
            .mode(0o6755)
            .xattr("security.capability", CAPABILITY)
            .xattr("trusted.t", b""),
        device("null", 1, 3).owner(0, 5),
        gone("w"),
        dir("o"),
        opaque("o"),
    ];
    let publish = |scene: Scene| {
        let transaction = scene.begin();
        unpack(&*transaction, &layerfs("x"), &entries).unwrap();
        transaction.merge(&rootfs("x"), &[layerfs("x")]).unwrap();
        edit(&mut *transaction.share(&flat("x"), Some(&rootfs("x"))).unwrap(), &mut Vec::new());
        assert_eq!(transaction.shortfalls(), [""; 0]);
        transaction.commit().unwrap();
        [layerfs("x"), rootfs("x"), flat("x")].map(|path| scene.tree(&path))
    };
    let keys = keys();
    let users = as_ordinary_user(|| publish(Scene::with(keys, None)));
    let roots = publish(Scene::new());
    for (user, root) in users.iter().zip(&roots) {
        snapshot::assert_same(user, root, "an ordinary user's tree");
    }
}

/// Also links, of which many lead nowhere.
fn any_entry_or_link() -> impl Strategy<Value = Described> {
    let path = || {
        proptest::collection::vec(prop_oneof!["a", "b", "c"], 1..3)
            .prop_map(|names| names.join("/"))
    };
    prop_oneof![
        5 => any_entry(),
        1 => (path(), path()).prop_map(|(name, target)| link(&name, &target)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_layers_become_the_same(
        stacks in proptest::collection::vec(
            proptest::collection::vec(
                proptest::collection::vec(any_entry_or_link(), 0..10), 1..4), 8)
    ) {
        let cases = stacks.into_iter().enumerate().map(|(at, mut layers)| {
            for layer in &mut layers {
                layer.insert(0, dir(""));
            }
            (format!("{at}"), layers)
        });
        assert_same(&cases.collect::<Vec<_>>());
    }
}
