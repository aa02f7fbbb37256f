//! How overlayfs stores the removal of names from lower layers, which is how layers stand in a repository.
//!
//! Rule: Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories". A layer tar
//! spells the same with `.wh.` names (OCI image-spec, `layer.md`, "Representing Changes"); those never
//! reach a repository.

/// Prefix of a tar entry that removes the name behind it from the layers below.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Last component of a tar entry that hides everything the layers below have in its directory.
pub const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// Prefix of AUFS bookkeeping names (`.wh..wh.aufs`, `.wh..wh.plnk`, …), which mean nothing to an image.
pub const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// Major and minor number of the character device that stands for a removed name.
pub const WHITEOUT_DEVICE: (u32, u32) = (0, 0);

/// Marks a directory whose lower namesakes are hidden; read by mounts made with CAP_SYS_ADMIN.
pub const TRUSTED_OPAQUE: &str = "trusted.overlay.opaque";

/// The same mark for mounts with the option `userxattr`, and all that an ordinary user can write.
pub const USER_OPAQUE: &str = "user.overlay.opaque";

/// Value of both marks.
pub const OPAQUE_VALUE: &[u8] = b"y";

/// Extended attributes with these prefixes belong to overlayfs itself. In an untrusted layer they would
/// steer the mount (redirects, opaque marks), so an unpacker drops them.
pub const PRIVATE_XATTR_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
