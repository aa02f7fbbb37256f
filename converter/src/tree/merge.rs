//! The one place that knows how an upper directory covers a lower one.
//!
//! Rule: Linux `Documentation/filesystems/overlayfs.rst`, "Upper and Lower", "Directories", "whiteouts and
//! opaque directories":
//! - a name of the upper directory hides the lower one of that name;
//! - except that two directories of one name merge, with the attributes of the upper, unless the upper is
//!   marked opaque;
//! - a whiteout hides the lower name and is itself not seen.
//!
//! The rule works on one directory at a time, so that a merge of layers with millions of names needs the
//! memory of one directory. A directory of the result carries all directories that contribute to it
//! (topmost first); its own content is got by applying the rule to their listings.

use std::collections::BTreeMap;

/// What the rule needs to know of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A directory; `opaque` if nothing of the layers below is seen in it.
    Directory {
        /// The overlayfs mark, see [`layer_layout::overlay`].
        opaque: bool,
    },
    /// Nothing is here, and nothing of the layers below is seen.
    Whiteout,
    /// Anything else: a file, a link, a device, …
    Leaf,
}

/// The names in one directory of one layer, with what each is and the caller's handle on it.
pub type Listing<T> = BTreeMap<Vec<u8>, (Class, T)>;

/// One name in the result of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged<T> {
    /// Nothing is seen, and nothing will be whatever lies below. Only a stack that is not yet at its
    /// bottom holds these; [`seen`] drops them.
    Whiteout,
    /// A name that is no directory.
    Leaf(T),
    /// A directory.
    Directory {
        /// The directories that contribute, topmost first; the first gives the attributes.
        sources: Vec<T>,
        /// Whether an opaque mark ends the list, so that lower directories contribute no more.
        closed: bool,
    },
}

impl<T> From<(Class, T)> for Merged<T> {
    fn from((class, item): (Class, T)) -> Self {
        match class {
            Class::Whiteout => Self::Whiteout,
            Class::Leaf => Self::Leaf(item),
            Class::Directory { opaque } => Self::Directory { sources: vec![item], closed: opaque },
        }
    }
}

/// What is seen of one name if `upper` lies over `lower`.
pub fn merge<T>(lower: Merged<T>, upper: Merged<T>) -> Merged<T> {
    match (lower, upper) {
        (
            Merged::Directory { sources: below, closed },
            Merged::Directory { mut sources, closed: false },
        ) => {
            sources.extend(below);
            Merged::Directory { sources, closed }
        }
        // A name that merges with no directory here ends the search there, too: what lies under a file or
        // a whiteout is hidden from the directory above it.
        (_, Merged::Directory { sources, .. }) => Merged::Directory { sources, closed: true },
        (_, upper) => upper,
    }
}

/// The names of a directory that several layers contribute to. `listings` comes **topmost first**, the
/// order of overlayfs's `lowerdir`; the result is sorted by the bytes of the names.
pub fn stack<T>(listings: impl IntoIterator<Item = Listing<T>>) -> BTreeMap<Vec<u8>, Merged<T>> {
    let mut result: BTreeMap<Vec<u8>, Merged<T>> = BTreeMap::new();
    for listing in listings {
        for (name, lower) in listing {
            let merged = match result.remove(&name) {
                Some(upper) => merge(lower.into(), upper),
                None => lower.into(),
            };
            result.insert(name, merged);
        }
    }
    result
}

/// The same at the bottom of the stack: whiteouts have done their work and are gone.
pub fn seen<T>(stack: BTreeMap<Vec<u8>, Merged<T>>) -> BTreeMap<Vec<u8>, Merged<T>> {
    stack.into_iter().filter(|(_, merged)| !matches!(merged, Merged::Whiteout)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: Class = Class::Directory { opaque: false };
    const OPAQUE: Class = Class::Directory { opaque: true };
    const LEAF: Class = Class::Leaf;
    const GONE: Class = Class::Whiteout;

    /// One name in several layers, topmost first; the item is the layer's place from the top.
    fn one(classes: &[Class]) -> Option<Merged<usize>> {
        let listings = classes
            .iter()
            .enumerate()
            .map(|(at, &class)| Listing::from([(b"x".to_vec(), (class, at))]));
        seen(stack(listings)).remove(b"x".as_slice())
    }

    fn directory(sources: &[usize], closed: bool) -> Option<Merged<usize>> {
        Some(Merged::Directory { sources: sources.to_vec(), closed })
    }

    #[test]
    fn what_is_seen_of_one_name() {
        let cases: &[(&[Class], Option<Merged<usize>>)] = &[
            (&[LEAF], Some(Merged::Leaf(0))),
            (&[GONE], None),
            (&[DIR], directory(&[0], false)),
            (&[LEAF, LEAF], Some(Merged::Leaf(0))),
            (&[LEAF, DIR], Some(Merged::Leaf(0))),
            (&[GONE, DIR], None),
            (&[GONE, GONE, LEAF], None),
            (&[LEAF, GONE, LEAF], Some(Merged::Leaf(0))),
            (&[DIR, DIR], directory(&[0, 1], false)),
            (&[DIR, DIR, DIR], directory(&[0, 1, 2], false)),
            (&[OPAQUE, DIR], directory(&[0], true)),
            (&[DIR, OPAQUE, DIR], directory(&[0, 1], true)),
            (&[DIR, LEAF, DIR], directory(&[0], true)),
            (&[DIR, GONE, DIR], directory(&[0], true)),
            (&[DIR, DIR, GONE, DIR], directory(&[0, 1], true)),
            (&[GONE, DIR, DIR], None),
        ];
        for (classes, expected) in cases {
            assert_eq!(&one(classes), expected, "{classes:?}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        let upper = Listing::from([(b"a".to_vec(), (LEAF, 'u')), (b"b".to_vec(), (GONE, 'u'))]);
        let lower = Listing::from([(b"b".to_vec(), (DIR, 'l')), (b"c".to_vec(), (LEAF, 'l'))]);
        let merged = seen(stack([upper, lower]));
        let expected = [(b"a".to_vec(), Merged::Leaf('u')), (b"c".to_vec(), Merged::Leaf('l'))];
        assert_eq!(merged.into_iter().collect::<Vec<_>>(), expected);
    }

    proptest::proptest! {
        /// Merging in any grouping gives the same: layers can be merged once and lie under others later.
        #[test]
        fn grouping_does_not_matter(picks in proptest::collection::vec(0..4usize, 3)) {
            let [a, b, c] = [0, 1, 2].map(|at| {
                Merged::from(([DIR, OPAQUE, LEAF, GONE][picks[at]], at))
            });
            let right = merge(merge(c.clone(), b.clone()), a.clone());
            let left = merge(c, merge(b, a));
            proptest::prop_assert_eq!(left, right);
        }
    }
}
