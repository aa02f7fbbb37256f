//! How overlayfs stores the removal of names from lower layers. Layers have this form in a repository.
//!
//! Rule: Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories". A layer tar
//! expresses the same with `.wh.` names (OCI image-spec, `layer.md`, "Representing Changes"), which never
//! reach a repository.

/// Prefix of the last component of a tar entry; the rest of the component is a name that is removed from the layers
/// below.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Last component of a tar entry that hides everything that the layers below have in the same directory.
pub const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// Prefix of AUFS bookkeeping names (`.wh..wh.aufs`, `.wh..wh.plnk`, …), which mean nothing to an image.
pub const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// Major and minor number of the character device that takes the place of a removed name.
pub const WHITEOUT_DEVICE: (u32, u32) = (0, 0);

/// Extended attribute of an opaque directory: nothing of the directories with its path in lower layers is seen. Obeyed
/// by mounts without the option `userxattr`; only root can write it.
pub const TRUSTED_OPAQUE: &str = "trusted.overlay.opaque";

/// The same mark for mounts with the option `userxattr`. Ordinary users can write it.
pub const USER_OPAQUE: &str = "user.overlay.opaque";

/// Value of both marks.
pub const OPAQUE_VALUE: &[u8] = b"y";

/// Extended attributes with these prefixes belong to overlayfs itself. Those of an untrusted layer would control the
/// mount (redirects, opaque marks), so an unpacker drops them.
pub const PRIVATE_XATTR_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
