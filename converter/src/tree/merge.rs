//! The one place that knows how an upper directory covers a lower one, or merges with it.
//!
//! Rule: Linux `Documentation/filesystems/overlayfs.rst`, "Upper and Lower", "Directories", "whiteouts and
//! opaque directories":
//! - a name of the upper directory hides the lower one of that name;
//! - except that two directories of one name merge, with the attributes of the upper, unless the upper is
//!   marked opaque;
//! - a whiteout hides the lower name and is not seen itself.
//!
//! The rule works on one directory at a time, so that merging layers with millions of names needs only the
//! memory for one directory. A directory in the result lists the directories that contribute to it, topmost
//! first; applying the rule to their listings gives its content.

use std::collections::BTreeMap;

/// What the rule needs to know about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A directory.
    Directory {
        /// Whether it hides everything from the layers below (see [`layer_layout::overlay`]).
        opaque: bool,
    },
    /// Nothing, and it hides the name in the layers below.
    Whiteout,
    /// Anything else: a file, a link, a device, …
    Leaf,
}

/// The names in one directory of one layer: what each is, and the caller's handle on it.
pub type Listing<T> = BTreeMap<Vec<u8>, (Class, T)>;

/// One name in the result of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged<T> {
    /// Nothing is seen, whatever lies below. Only a stack to which lower layers may still be added needs
    /// these; [`seen`] drops them.
    Whiteout,
    /// A name that is not a directory.
    Leaf(T),
    /// A directory.
    Directory {
        /// The directories that contribute, topmost first; the first one gives the attributes.
        sources: Vec<T>,
        /// Whether the list is complete, so that no lower directory contributes.
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

/// What is seen of a name if `upper` lies over `lower`.
pub fn merge<T>(lower: Merged<T>, upper: Merged<T>) -> Merged<T> {
    match (lower, upper) {
        (
            Merged::Directory { sources: below, closed },
            Merged::Directory { mut sources, closed: false },
        ) => {
            sources.extend(below);
            Merged::Directory { sources, closed }
        }
        // The lower name is not a directory, so nothing merges. It also hides whatever lies below it, so
        // nothing ever will.
        (_, Merged::Directory { sources, .. }) => Merged::Directory { sources, closed: true },
        (_, upper) => upper,
    }
}

/// The names in a directory to which several layers contribute. `listings` are **topmost first**, as in
/// overlayfs's `lowerdir`; the result is sorted by the bytes of the names.
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

/// What is seen of a complete stack: whiteouts have done their work and are gone.
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
