//! What the repository format cannot hold of an image, or its clients do not show.

use crate::repository::shortfalls;

/// Kinds of shortfalls; extended attributes by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shortfall {
    /// The format keeps this name for itself.
    ReservedName,
    /// A `user.*` attribute of something that Linux gives none.
    NoUserXattr(Vec<u8>),
    /// A name or value over 255 bytes, or a 256th attribute.
    XattrTooLarge(Vec<u8>),
    /// A name with `@` or `~`.
    XattrPaged(Vec<u8>),
    /// A name that clients answer themselves.
    XattrShadowed(Vec<u8>),
}

impl shortfalls::Shortfall for Shortfall {
    fn text(&self) -> String {
        let shown = |name: &[u8]| name.escape_ascii().to_string();
        match self {
            Self::ReservedName => {
                "names are left out, because CernVM-FS marks its catalogs with them".to_owned()
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

/// The shortfalls of a tree.
pub(super) type Shortfalls = shortfalls::Shortfalls<Shortfall>;

/// The shortfalls of a transaction.
pub(super) type Tally = shortfalls::Tally<Shortfall>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LayerPath;

    #[test]
    fn cases_are_counted_and_told_with_examples() {
        let path = |name: &str| LayerPath::clean(name.as_bytes()).unwrap();
        let tally = Tally::default();
        let long = || Shortfall::XattrTooLarge(b"user.l\xff".to_vec());
        for names in [["a", "b"], ["c", "d"]] {
            let mut shortfalls = Shortfalls::default();
            for name in names {
                shortfalls.count_at(long(), &path(name));
            }
            shortfalls.count_at(Shortfall::ReservedName, &path("x/.cvmfscatalog"));
            tally.add(shortfalls);
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
}
