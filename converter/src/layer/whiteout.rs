//! Names that begin with `.wh.`.
//!
//! Rule: OCI image-spec, `layer.md`, "Whiteouts" and "Opaque Whiteout". Other `.wh..wh.` names are AUFS's own
//! bookkeeping, which old layers may still contain. The type of such an entry does not matter: AUFS made hard
//! links, other programs make empty files.
//!
//! Only the last component of a name counts. `.wh..wh.plnk/` is where AUFS kept files with several names, and later
//! entries are hard links to those: containerd, Docker and Podman unpack what is in such a directory like anything else.

use layer_layout::LayerPath;
use layer_layout::overlay::{AUFS_PREFIX, OPAQUE_WHITEOUT, WHITEOUT_PREFIX};

/// What a clean path of a tar stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The path itself.
    Name,
    /// A whiteout of this path.
    Whiteout(LayerPath),
    /// An opaque mark on this directory.
    Opaque(LayerPath),
    /// Nothing: AUFS's bookkeeping.
    Bookkeeping,
}

/// Finds out what a path stands for.
///
/// # Errors
/// A reason, if it looks like a whiteout and cannot be one.
pub(super) fn meaning(path: &LayerPath) -> Result<Meaning, &'static str> {
    let Some((directory, name)) = path.split() else {
        return Ok(Meaning::Name);
    };
    if name == OPAQUE_WHITEOUT {
        return Ok(Meaning::Opaque(directory));
    }
    if name.starts_with(AUFS_PREFIX) {
        return Ok(Meaning::Bookkeeping);
    }
    match name.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Meaning::Name),
        Some(b"" | b"." | b"..") => Err("the whiteout names nothing that it could remove"),
        Some(removed) => Ok(Meaning::Whiteout(directory.join(removed))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let path = |text: &str| LayerPath::clean(text.as_bytes()).unwrap();
        let whiteout = |text| Ok(Meaning::Whiteout(path(text)));
        let opaque = |text| Ok(Meaning::Opaque(path(text)));
        let nothing = Err("the whiteout names nothing that it could remove");
        let cases = [
            ("", Ok(Meaning::Name)),
            ("etc/passwd", Ok(Meaning::Name)),
            ("a.wh.b", Ok(Meaning::Name)),
            (".wh", Ok(Meaning::Name)),
            (".WH.a", Ok(Meaning::Name)),
            (".wh.a", whiteout("a")),
            ("etc/.wh.passwd", whiteout("etc/passwd")),
            ("./etc//.wh.passwd/", whiteout("etc/passwd")),
            (".wh.wh.a", whiteout("wh.a")),
            (".wh....", whiteout("...")),
            (".wh..a", whiteout(".a")),
            (".wh..wh..opq", opaque("")),
            ("etc/.wh..wh..opq", opaque("etc")),
            (".wh..wh.aufs", Ok(Meaning::Bookkeeping)),
            (".wh..wh.", Ok(Meaning::Bookkeeping)),
            (".wh..wh..opq2", Ok(Meaning::Bookkeeping)),
            ("a/.wh..wh.orph", Ok(Meaning::Bookkeeping)),
            (".wh..wh.plnk", Ok(Meaning::Bookkeeping)),
            (".wh..wh.plnk/23.45", Ok(Meaning::Name)),
            (".wh..wh.plnk/.wh.a", whiteout(".wh..wh.plnk/a")),
            (".wh.a/b", Ok(Meaning::Name)),
            ("a/.wh.b/c/d", Ok(Meaning::Name)),
            (".wh.a/.wh..wh.plnk", Ok(Meaning::Bookkeeping)),
            (".wh.", nothing.clone()),
            ("a/.wh.", nothing.clone()),
            (".wh..", nothing.clone()),
            (".wh...", nothing),
        ];
        for (text, expected) in cases {
            assert_eq!(meaning(&path(text)), expected, "{text}");
        }
    }
}
