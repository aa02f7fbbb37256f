//! What the running kernel offers, as far as mount options depend on it. It is looked up for every request, because
//! a module can be loaded at any time.

use std::path::Path;
use std::{fs, io};

/// First release with `userxattr` (overlayfs documentation, "User xattr").
const USERXATTR: (u32, u32) = (5, 11);
/// First release whose overlayfs accepts lower directories on id-mapped mounts.
const MAPPED_LAYERS: (u32, u32) = (5, 19);

/// The features of a kernel that matter for mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// overlayfs has the inode index, which must be turned off because mounts share directories.
    pub index: bool,
    /// This process is in a user namespace, where overlay mounts keep their marks in `user.overlay.*`.
    pub userxattr: bool,
    /// An overlay can have id-mapped lower directories.
    pub mapped_layers: bool,
}

impl Kernel {
    /// The features of the running kernel.
    pub fn running() -> Self {
        let release = release(&rustix::system::uname().release().to_string_lossy());
        Self {
            index: Path::new("/sys/module/overlay/parameters/index").exists(),
            userxattr: release >= USERXATTR
                && in_user_namespace(fs::read_to_string("/proc/self/uid_map")),
            mapped_layers: release >= MAPPED_LAYERS,
        }
    }
}

/// Major and minor number of a release such as `6.18.44-generic`; zeros if the text is not a release.
fn release(text: &str) -> (u32, u32) {
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The first user namespace maps all ids to themselves (user_namespaces(7)).
fn in_user_namespace(map: io::Result<String>) -> bool {
    map.is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (text, expected) in
            [("6.18.44-fc", (6, 18)), ("5.4", (5, 4)), ("4.18.0-553.el8", (4, 18)), ("", (0, 0))]
        {
            assert_eq!(release(text), expected, "{text}");
        }
    }

    #[test]
    fn user_namespaces() {
        for (map, expected) in [
            ("         0          0 4294967295\n", false),
            ("         0       1000          1\n", true),
            ("0 0 1\n1 100000 65536\n", true),
        ] {
            assert_eq!(in_user_namespace(Ok(map.to_owned())), expected, "{map:?}");
        }
        assert!(!in_user_namespace(Err(io::Error::other("no /proc"))));
    }
}
