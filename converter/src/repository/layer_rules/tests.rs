//! The rules over a store that is nothing but memory, and that fails where it is used against its contract.

use std::collections::{BTreeMap, BTreeSet};

use super::{LayerRules, LayerStore, Leaf, Linked, Marks, Name, Obstacle, Subdirectory};
use crate::layer::{Content, ContentProgress, LayerPath, Metadata};
use crate::repository::tests::Described;
use crate::repository::tests::describe::{clean, dir, fifo, file, gone, link, opaque, symlink};
use crate::repository::{EntryError, Error, OpenEnds, Result};

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Directory(usize),
    /// With the path under which it was made.
    Leaf(char, LayerPath),
    Whiteout,
}

#[derive(Debug, Default)]
struct Directory {
    names: BTreeMap<Vec<u8>, Item>,
    marks: Marks,
    removed: BTreeSet<Vec<u8>>,
    closed: bool,
}

/// Directories by number; `None` those that were removed.
#[derive(Debug)]
struct Memory {
    directories: Vec<Option<Directory>>,
    /// The targets of symlinks, by the path under which they were made.
    symlinks: BTreeMap<LayerPath, Vec<u8>>,
    /// What cannot be removed, as if somebody put it there again and again.
    stubborn: Option<LayerPath>,
}

type At<'a> = Name<'a, usize>;

impl Memory {
    fn new() -> Self {
        let directories = vec![Some(Directory::default())];
        Self { directories, symlinks: BTreeMap::new(), stubborn: None }
    }

    fn get(&mut self, directory: usize) -> &mut Directory {
        let directory = self.directories[directory].as_mut().expect("the directory is still there");
        assert!(!directory.closed, "a closed directory is left alone");
        directory
    }

    fn put(&mut self, at: At<'_>, item: Item) -> bool {
        let names = &mut self.get(at.directory).names;
        let free = !names.contains_key(at.name);
        if free {
            names.insert(at.name.to_vec(), item);
        }
        free
    }

    fn drop_tree(&mut self, directory: usize) {
        for item in self.directories[directory].take().unwrap().names.into_values() {
            if let Item::Directory(inner) = item {
                self.drop_tree(inner);
            }
        }
    }

    /// Every name with a sign: `?` a directory that no entry describes, `/` an opaque one, `!` a whiteout, `@` a
    /// symlink, `=` any other leaf with the path under which it was made if that is another.
    fn told(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut work = vec![(LayerPath::ROOT, 0)];
        while let Some((path, number)) = work.pop() {
            let directory = self.directories[number].as_ref().unwrap();
            assert!(directory.closed, "{path} is closed");
            let implied = if directory.marks.described { "" } else { "?" };
            let opaque = if directory.marks.opaque { "/" } else { "" };
            lines.push((path.clone(), format!("{implied}{opaque}")));
            for (name, item) in &directory.names {
                let path = path.join(name);
                match item {
                    Item::Directory(number) => work.push((path, *number)),
                    Item::Leaf(sign, first) if *first == path => {
                        lines.push((path, sign.to_string()));
                    }
                    Item::Leaf(sign, first) => lines.push((path, format!("{sign}{first}"))),
                    Item::Whiteout => lines.push((path, "!".to_owned())),
                }
            }
        }
        lines.sort();
        lines.into_iter().map(|(path, sign)| format!("{path}{sign}")).collect()
    }
}

impl LayerStore for Memory {
    type Directory = usize;

    fn root(&self) -> usize {
        0
    }

    fn directory(&mut self, at: At<'_>) -> Result<Option<usize>> {
        Ok(match self.get(at.directory).names.get(at.name) {
            Some(&Item::Directory(number)) => Some(number),
            _ => None,
        })
    }

    fn obstacle(&mut self, at: At<'_>) -> Result<Option<Obstacle>> {
        Ok(self.get(at.directory).names.get(at.name).map(|item| match item {
            Item::Directory(_) => panic!("{} is no obstacle", at.path),
            Item::Leaf('@', _) => Obstacle::Symlink,
            _ => Obstacle::Other,
        }))
    }

    fn symlink(&mut self, at: At<'_>) -> Result<Option<Vec<u8>>> {
        let item = self.get(at.directory).names.get(at.name).cloned();
        Ok(match item {
            Some(Item::Leaf('@', path)) => self.symlinks.get(&path).cloned(),
            _ => None,
        })
    }

    fn make_directory(&mut self, at: At<'_>, metadata: Option<&Metadata>) -> Result<Option<usize>> {
        let number = self.directories.len();
        if !self.put(at, Item::Directory(number)) {
            return Ok(None);
        }
        let marks = Marks { described: metadata.is_some(), opaque: false };
        self.directories.push(Some(Directory { marks, ..Directory::default() }));
        Ok(Some(number))
    }

    fn make_leaf(
        &mut self,
        at: At<'_>,
        leaf: Leaf<'_>,
        _: &Metadata,
        _: &mut Content<'_>,
    ) -> Result<bool> {
        let sign = if let Leaf::Symlink { target } = leaf {
            self.symlinks.insert(at.path.clone(), target.to_vec());
            '@'
        } else {
            '='
        };
        Ok(self.put(at, Item::Leaf(sign, at.path.clone())))
    }

    fn link(&mut self, at: At<'_>, target: At<'_>) -> Result<Linked> {
        Ok(match self.get(target.directory).names.get(target.name).cloned() {
            None => Linked::NoTarget,
            Some(Item::Directory(_)) => Linked::ToDirectory,
            Some(item) => match self.put(at, item) {
                true => Linked::Done,
                false => Linked::Taken,
            },
        })
    }

    fn remove(&mut self, at: At<'_>) -> Result<bool> {
        if self.stubborn.as_ref() == Some(at.path) {
            return Ok(false);
        }
        match self.get(at.directory).names.remove(at.name) {
            Some(Item::Directory(number)) => {
                self.drop_tree(number);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn describe(&mut self, directory: usize, _: &LayerPath, _: &Metadata) -> Result<()> {
        self.get(directory).marks.described = true;
        Ok(())
    }

    fn mark_opaque(&mut self, directory: usize, _: &LayerPath) -> Result<()> {
        self.get(directory).marks.opaque = true;
        Ok(())
    }

    fn marks(&mut self, directory: usize, _: &LayerPath) -> Result<Marks> {
        Ok(self.get(directory).marks)
    }

    fn note_removed(&mut self, at: At<'_>) -> Result<()> {
        self.get(at.directory).removed.insert(at.name.to_vec());
        Ok(())
    }

    fn is_removed(&mut self, at: At<'_>) -> Result<bool> {
        Ok(self.get(at.directory).removed.contains(at.name))
    }

    fn removed(&mut self, directory: usize) -> Result<Vec<Vec<u8>>> {
        Ok(self.get(directory).removed.iter().cloned().collect())
    }

    fn subdirectories(&mut self, directory: usize) -> Result<Vec<Subdirectory<usize>>> {
        let names = self.get(directory).names.clone();
        Ok(names
            .into_iter()
            .filter_map(|(name, item)| match item {
                Item::Directory(directory) => {
                    let marks = self.get(directory).marks;
                    Some(Subdirectory { name, directory, marks })
                }
                _ => None,
            })
            .collect())
    }

    fn make_whiteout(&mut self, at: At<'_>) -> Result<()> {
        self.put(at, Item::Whiteout);
        Ok(())
    }

    fn close_directory(&mut self, directory: usize, path: &LayerPath) -> Result<()> {
        for subdirectory in self.get(directory).names.clone().into_values() {
            if let Item::Directory(number) = subdirectory {
                let inner = self.directories[number].as_ref().unwrap();
                assert!(inner.closed, "what is in {path} is closed before it");
            }
        }
        self.get(directory).closed = true;
        Ok(())
    }
}

fn unpack_into(store: Memory, entries: &[Described]) -> Result<(Memory, OpenEnds)> {
    let mut rules = LayerRules::new(store);
    for (entry, _) in entries {
        let mut progress = ContentProgress::new(0, []);
        rules.apply(entry, &mut Content::new(&mut progress, &mut std::io::empty()))?;
    }
    rules.finish()
}

fn unpack(entries: &[Described]) -> Result<(Memory, OpenEnds)> {
    unpack_into(Memory::new(), entries)
}

#[test]
fn what_entries_make() {
    // The root, which no entry describes and which is open to the lower layers, is left out.
    let cases: &[(&[Described], &[&str])] = &[
        (&[dir("d"), file("d/f", "")], &["/d", "/d/f="]),
        (&[file("d/f", "")], &["/d?", "/d/f="]),
        (&[file("d/f", ""), dir("d")], &["/d", "/d/f="]),
        // The last entry counts.
        (&[file("a", ""), symlink("a", "x"), fifo("a")], &["/a="]),
        (&[dir("a"), file("a/b/c", ""), file("a", "")], &["/a="]),
        (&[file("a", ""), dir("a"), file("a/b", "")], &["/a", "/a/b="]),
        (&[file("a/b/c", ""), file("a/b", ""), dir("a/b")], &["/a?", "/a/b"]),
        (&[file("a/b/c", ""), file("a", ""), file("a-b", "")], &["/a=", "/a-b="]),
        // Hard links.
        (&[file("a", ""), link("b", "a"), link("c", "b")], &["/a=", "/b=/a", "/c=/a"]),
        (&[symlink("a", "x"), link("b", "a")], &["/a@", "/b@/a"]),
        (&[file("a", ""), file("b", ""), link("b", "a")], &["/a=", "/b=/a"]),
        (&[file("a", ""), link("b", "a"), file("a", "")], &["/a=", "/b=/a"]),
        (&[file("a", ""), file("d/f", ""), link("d", "a")], &["/a=", "/d=/a"]),
        (&[file("a", ""), link("d/e/b", "a")], &["/a=", "/d?", "/d/e?", "/d/e/b=/a"]),
        // Hard links whose targets come later; a link to a link, too.
        (&[link("b", "a"), file("a", "")], &["/a=", "/b=/a"]),
        (&[link("d/b", "e/a"), file("e/a", "")], &["/d?", "/d/b=/e/a", "/e?", "/e/a="]),
        (&[link("c", "b"), link("b", "a"), file("a", "")], &["/a=", "/b=/a", "/c=/a"]),
        (&[link("c", "a"), link("b", "c"), symlink("a", "x")], &["/a@", "/b@/a", "/c@/a"]),
        (
            &[link("b", "s/a"), symlink("s", "d"), file("d/a", "")],
            &["/b=/d/a", "/d?", "/d/a=", "/s@"],
        ),
        (&[link("b", "a"), file("a", ""), gone("a")], &["/a=", "/b=/a"]),
        // Through symlinks of the layer.
        (&[symlink("l", "d"), file("l/f", "")], &["/d?", "/d/f=", "/l@"]),
        (&[symlink("l", "d"), dir("d"), file("l/e/f", "")], &["/d", "/d/e?", "/d/e/f=", "/l@"]),
        (&[symlink("l", "/d/e"), dir("l/f")], &["/d?", "/d/e?", "/d/e/f", "/l@"]),
        (&[symlink("d/l", "../e"), fifo("d/l/f")], &["/d?", "/d/l@", "/e?", "/e/f="]),
        (&[symlink("l", "../../.."), file("l/f", "")], &["/f=", "/l@"]),
        (
            &[symlink("l", "m"), symlink("m", "d/."), file("l/f", "")],
            &["/d?", "/d/f=", "/l@", "/m@"],
        ),
        (
            &[symlink("l", "m/../f"), symlink("m", "d/e"), gone("l/x")],
            &["/d?", "/d/f?", "/d/f/x!", "/l@", "/m@"],
        ),
        (&[symlink("l", "d"), opaque("l")], &["/d?/", "/l@"]),
        (
            &[symlink("l", "d"), file("d/a", ""), link("b", "l/a")],
            &["/b=/d/a", "/d?", "/d/a=", "/l@"],
        ),
        (
            &[symlink("l", "d"), file("l/a", ""), link("l/b", "l/a")],
            &["/d?", "/d/a=", "/d/b=/d/a", "/l@"],
        ),
        // An entry for the name itself replaces the symlink.
        (&[symlink("l", "d"), dir("l"), file("l/f", "")], &["/l", "/l/f="]),
        // Marks.
        (&[gone("a"), gone("d/b")], &["/a!", "/d?", "/d/b!"]),
        (&[gone("a"), file("a", "")], &["/a="]),
        (&[gone("a"), file("a/b", "")], &["/a?/", "/a/b="]),
        (&[dir("a"), gone("a"), gone("a/b")], &["/a/"]),
        (&[opaque("d"), gone("d/e/f"), dir("d/e")], &["/d?/", "/d/e"]),
        (&[opaque("d"), gone("d/e"), dir("d/e")], &["/d?/", "/d/e"]),
        (&[opaque("d"), opaque("d/e")], &["/d?/", "/d/e?/"]),
        (&[dir("a"), gone("a/x"), file("a", ""), dir("a")], &["/a"]),
        (&[dir("a"), opaque("a"), file("a", ""), dir("a")], &["/a"]),
    ];
    for (entries, expected) in cases {
        let (store, _) = unpack(entries).unwrap();
        assert_eq!(store.told()[1..], **expected, "{entries:?}");
    }
    let (store, _) = unpack(&[opaque(""), dir(""), gone("a"), dir("b")]).unwrap();
    assert_eq!(store.told(), ["//", "/b"]);
}

#[test]
fn what_only_lower_layers_can_tell() {
    /// Entries, implied directories, links to lower layers with their targets.
    type Case<'a> = (&'a [Described], &'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (&[dir("a"), file("a/b/c", ""), file("d/e", "")], &["a/b", "d"], &[]),
        // Not in the order of the tree.
        (&[file("a/x/f", ""), file("a-b/f", "")], &["a", "a-b", "a/x"], &[]),
        (&[gone("a"), file("a/b/c", "")], &[], &[]),
        (&[opaque("a"), file("a/b/c", "")], &["a"], &[]),
        (&[opaque(""), file("a/b/c", "")], &[], &[]),
        (&[link("x", "low")], &[], &[("x", "low")]),
        (&[link("x", "d/low")], &[], &[("x", "d/low")]),
        (&[symlink("s", "d"), link("x", "s/low")], &[], &[("x", "d/low")]),
        // In a circle, each still means a lower file at most.
        (&[link("x", "y"), link("y", "x")], &[], &[("x", "y"), ("y", "y")]),
        (&[link("x", "y"), link("y", "low")], &[], &[("x", "low"), ("y", "low")]),
        (&[link("x", "low"), link("y", "x")], &[], &[("x", "low"), ("y", "low")]),
        (&[link("x", "low"), link("y", "z"), link("x", "y")], &[], &[("x", "z"), ("y", "z")]),
        (
            &[link("a-b/x", "l"), link("a/x", "l"), dir("a"), dir("a-b")],
            &[],
            &[("a/x", "l"), ("a-b/x", "l")],
        ),
        // The name becomes something else.
        (&[link("x", "low"), file("x", "")], &[], &[]),
        (&[link("x", "low"), dir("x")], &[], &[]),
        (&[link("x", "low"), file("y", ""), link("x", "y")], &[], &[]),
        (&[dir("d"), link("d/x", "low"), file("d", "")], &[], &[]),
        (&[dir("d"), link("d/e/x", "low"), file("d", ""), dir("d")], &[], &[]),
        (
            &[dir("d"), link("d/x", "low"), dir("d-e"), link("d-e/x", "l"), file("d", "")],
            &[],
            &[("d-e/x", "l")],
        ),
    ];
    for (entries, implied, links) in cases {
        let ends = match unpack(entries) {
            Ok((_, ends)) => ends,
            Err(error) => panic!("{entries:?}: {error}"),
        };
        let expected = OpenEnds {
            implied_directories: implied.iter().map(|path| clean(path)).collect(),
            lower_links: links.iter().map(|(a, b)| (clean(a), clean(b))).collect(),
        };
        assert_eq!(ends, expected, "{entries:?}");
    }
}

#[test]
fn what_is_refused() {
    use EntryError::{
        LinkToDirectory, LinkToItself, LinkToNothing, Root, SymlinkLoop, ThroughFile,
    };
    let cases: &[(&[Described], &str, EntryError)] = &[
        (&[file("", "")], "", Root),
        (&[gone("")], "", Root),
        (&[link("", "a")], "", Root),
        (&[symlink("a", "a"), file("a/b/c", "")], "a/b/c", SymlinkLoop),
        (&[symlink("a", "b"), symlink("b", "/a/c"), opaque("a/d")], "a/d", SymlinkLoop),
        (&[symlink("a", "f"), file("f", ""), file("a/b", "")], "f/b", ThroughFile(clean("f"))),
        (&[file("a", ""), gone("a/b")], "a/b", ThroughFile(clean("a"))),
        (&[link("a", "low"), dir("a/b")], "a/b", ThroughFile(clean("a"))),
        (&[file("d/a", ""), opaque("d/a")], "d/a", ThroughFile(clean("d/a"))),
        (&[link("a", "a")], "a", LinkToItself),
        (&[link("a", "")], "a", LinkToDirectory(clean(""))),
        (&[dir("d"), link("a", "d")], "a", LinkToDirectory(clean("d"))),
        (&[link("d/a", "d")], "d/a", LinkToDirectory(clean("d"))),
        (&[symlink("s", "s"), link("a", "s/x/y")], "a", SymlinkLoop),
        (&[link("a", "s/x/y"), symlink("s", "s")], "a", SymlinkLoop),
        (&[link("a", "d"), dir("d")], "a", LinkToDirectory(clean("d"))),
        (&[link("s", "low"), link("a", "s/x")], "a", ThroughFile(clean("s"))),
        // The link takes the place of what held its target, and now nothing can hold that.
        (&[dir("d"), file("d/f", ""), link("d", "d/f")], "d", ThroughFile(clean("d"))),
        // Whoever makes a place for the lower file must not go through anything either.
        (&[link("a", "b/x"), link("b", "low")], "a", ThroughFile(clean("b"))),
        // Hidden by the layer itself, at any height.
        (&[link("a", "low"), gone("low")], "a", LinkToNothing(clean("low"))),
        (&[link("a", "d/e/low"), gone("d")], "a", LinkToNothing(clean("d/e/low"))),
        (&[link("a", "d/e/low"), opaque("d")], "a", LinkToNothing(clean("d/e/low"))),
        (&[link("a", "d/low"), opaque("")], "a", LinkToNothing(clean("d/low"))),
    ];
    for (entries, path, reason) in cases {
        match unpack(entries) {
            Err(Error::Entry { path: is, reason: why }) => {
                assert_eq!((&is, &why), (&clean(path), reason), "{entries:?}");
            }
            other => panic!("{entries:?}: {other:?}"),
        }
    }
}

#[test]
fn more_directories_than_are_remembered() {
    let mut entries = Vec::new();
    for round in 0..2 {
        for at in 0..600 {
            entries.push(file(&format!("d/{at}/f{round}"), ""));
        }
    }
    let (store, ends) = unpack(&entries).unwrap();
    assert_eq!((store.told().len(), ends.implied_directories.len()), (2 + 3 * 600, 601));
}

#[test]
fn a_name_that_cannot_be_vacated_is_an_error() {
    for entries in [
        [file("x", ""), file("a", ""), file("a", "")],
        [file("x", ""), file("a", ""), dir("a")],
        [file("x", ""), file("a", ""), link("a", "x")],
    ] {
        let store = Memory { stubborn: Some(clean("a")), ..Memory::new() };
        match unpack_into(store, &entries) {
            Err(Error::System { cause, .. }) => {
                assert_eq!(cause.kind(), std::io::ErrorKind::AlreadyExists, "{entries:?}");
            }
            other => panic!("{entries:?}: {other:?}"),
        }
    }
}
