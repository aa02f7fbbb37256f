//! What of an image the repository format cannot hold, or its clients do not show.
//!
//! An image is not worth losing for any of it, but nobody should have to find out by himself. So it is counted
//! and told, with examples.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::layer::LayerPath;

/// How many paths are told for each remark.
const EXAMPLES: usize = 3;

/// Kinds of remarks; extended attributes by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Remark {
    /// The format keeps this name for itself.
    ReservedName,
    /// A link's target has a `$(…)`, in which clients put a variable of theirs.
    Variable,
    /// A `user.*` attribute of something that Linux gives none.
    NoUserXattr(Vec<u8>),
    /// A name or value over 255 bytes, or a 256th attribute.
    XattrTooLarge(Vec<u8>),
    /// A name with `@` or `~`.
    XattrPaged(Vec<u8>),
    /// A name that clients answer themselves.
    XattrShadowed(Vec<u8>),
}

impl Remark {
    fn text(&self) -> String {
        let shown = |name: &[u8]| name.escape_ascii().to_string();
        match self {
            Self::ReservedName => {
                "names are left out, because CernVM-FS marks its catalogs with them".to_owned()
            }
            Self::Variable => {
                "symlinks have $(…) in their target, where clients put a variable of their own \
                 environment"
                    .to_owned()
            }
            Self::NoUserXattr(name) => format!(
                "names lack the extended attribute {}, which Linux gives to files and directories only",
                shown(name)
            ),
            Self::XattrTooLarge(name) => format!(
                "names lack the extended attribute {}, for which CernVM-FS has no room (255 attributes, \
                 names and values of 255 bytes)",
                shown(name)
            ),
            Self::XattrPaged(name) => format!(
                "names lack the extended attribute {}, whose @ or ~ would keep clients since 2.12 from \
                 reading it, and containers from changing the file",
                shown(name)
            ),
            Self::XattrShadowed(name) => format!(
                "names have the extended attribute {}, in whose place clients show one of their own",
                shown(name)
            ),
        }
    }
}

/// How often something was remarked, and where first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Cases {
    count: u64,
    examples: Vec<LayerPath>,
}

/// Remarks on a tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Remarks(BTreeMap<Remark, Cases>);

impl Remarks {
    pub(super) fn add(&mut self, remark: Remark, path: &LayerPath) {
        let cases = self.0.entry(remark).or_default();
        cases.count += 1;
        if cases.examples.len() < EXAMPLES {
            cases.examples.push(path.clone());
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (remark, cases) in other.0 {
            let known = self.0.entry(remark).or_default();
            known.count += cases.count;
            let room = EXAMPLES - known.examples.len();
            known.examples.extend(cases.examples.into_iter().take(room));
        }
    }

    /// One line per kind, for people.
    fn lines(&self) -> Vec<String> {
        let line = |(remark, cases): (&Remark, &Cases)| {
            let examples: Vec<_> = cases.examples.iter().map(ToString::to_string).collect();
            let more = if cases.count > EXAMPLES as u64 { ", …" } else { "" };
            format!("{} {}: {}{more}", cases.count, remark.text(), examples.join(", "))
        };
        self.0.iter().map(line).collect()
    }
}

/// The remarks of a whole transaction; its threads add to them.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Remarks>);

impl Tally {
    pub(super) fn add(&self, remarks: Remarks) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(remarks);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}

/// Whether clients would put something else in place of a part of this link target: `$(…)`.
pub(super) fn has_variable(target: &[u8]) -> bool {
    let begin = target.windows(2).position(|window| window == b"$(");
    begin.is_some_and(|at| target[at..].contains(&b')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_and_told_with_examples() {
        let path = |name: &str| LayerPath::clean(name.as_bytes()).unwrap();
        let tally = Tally::default();
        let long = || Remark::XattrTooLarge(b"user.l\xff".to_vec());
        for names in [["a", "b"], ["c", "d"]] {
            let mut remarks = Remarks::default();
            for name in names {
                remarks.add(long(), &path(name));
            }
            remarks.add(Remark::ReservedName, &path("x/.cvmfscatalog"));
            tally.add(remarks);
        }
        let lines = tally.lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("2 names are left out"), "{lines:?}");
        assert!(lines[0].ends_with(": /x/.cvmfscatalog, /x/.cvmfscatalog"), "{lines:?}");
        assert!(
            lines[1].starts_with("4 names lack the extended attribute user.l\\xff,"),
            "{lines:?}"
        );
        assert!(lines[1].ends_with(": /a, /b, /c, …"), "{lines:?}");
    }

    #[test]
    fn variables_of_clients_are_found() {
        for (target, expected) in [
            ("$(HOME)", true),
            ("/a/$(X:-y)/b", true),
            ("$()", true),
            (")$(", false),
            ("$(open", false),
            ("$HOME", false),
            ("(x)", false),
            ("", false),
        ] {
            assert_eq!(has_variable(target.as_bytes()), expected, "{target}");
        }
    }
}
