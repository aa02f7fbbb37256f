//! The attributes of a name, apart from its content, as the repository format stores them.

use std::collections::BTreeMap;

use cvmfs_repository::catalog::MARKER;
use cvmfs_repository::entry::{Device, Entry, EntryKind};
use cvmfs_repository::xattr::Xattrs;
use layer_layout::overlay::{
    OPAQUE_VALUE, PRIVATE_XATTR_PREFIXES, TRUSTED_OPAQUE, USER_OPAQUE, WHITEOUT_DEVICE,
};

use super::shortfall::{Shortfall, Shortfalls};
use super::staged::Attributes;
use crate::layer::{self, LayerPath, Metadata};
use crate::repository::{Result, TreeNode};
use crate::tree::Class;

/// Permission bits with setuid, setgid and sticky.
const MODE_BITS: u32 = 0o7777;
/// Symlinks have no modes of their own in Linux; all look like this.
const SYMLINK_MODE: u32 = 0o777;

/// Linux allows these only on files and directories (xattr(7)).
const USER_PREFIX: &[u8] = b"user.";

/// Characters at which clients since 2.12 cut off a name to find a page number. They list such a name but
/// give no value for it, and overlayfs cannot copy up a file that has an attribute without a value.
const PAGE_MARKS: &[u8] = b"@~";

/// Attributes for which clients have their own values, whatever is stored.
const CLIENTS_OWN: [&str; 47] = [
    "user.authz",
    "user.catalog_counters",
    "user.chunk_list",
    "user.chunks",
    "user.compression",
    "user.direct_io",
    "user.expires",
    "user.external_file",
    "user.external_host",
    "user.external_timeout",
    "user.external_url",
    "user.fqrn",
    "user.hash",
    "user.hitrate",
    "user.host",
    "user.host_list",
    "user.inode_max",
    "user.lhash",
    "user.logbuffer",
    "user.maxfd",
    "user.ncleanup24",
    "user.nclg",
    "user.ndiropen",
    "user.ndownload",
    "user.nioerr",
    "user.nopen",
    "user.pid",
    "user.proxy",
    "user.proxy_list",
    "user.proxy_list_external",
    "user.pubkeys",
    "user.rawlink",
    "user.repo_counters",
    "user.repo_metainfo",
    "user.revision",
    "user.root_hash",
    "user.rx",
    "user.speed",
    "user.tag",
    "user.timeout",
    "user.timeout_direct",
    "user.timestamp_last_ioerr",
    "user.uptime",
    "user.usedfd",
    "user.useddirp",
    "user.version",
    "xfsroot.rawlink",
];

/// What attributes belong to, as far as it matters to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeType {
    Directory,
    File,
    Symlink,
    /// A device or fifo.
    Special,
}

/// The attributes of an entry of a layer. What cannot be stored, or cannot be read later, is counted.
pub(super) fn pack(
    metadata: &Metadata,
    node_type: NodeType,
    path: &LayerPath,
    shortfalls: &mut Shortfalls,
) -> Attributes {
    let Metadata { mode, uid, gid, mtime, .. } = *metadata;
    let mode = match node_type {
        NodeType::Symlink => SYMLINK_MODE,
        _ => mode & MODE_BITS,
    };
    let xattrs = pack_xattrs(&metadata.xattrs, node_type, path, shortfalls);
    Attributes { mode, uid, gid, mtime, xattrs }
}

fn pack_xattrs(
    xattrs: &layer::Xattrs,
    node_type: NodeType,
    path: &LayerPath,
    shortfalls: &mut Shortfalls,
) -> Xattrs {
    if xattrs.is_empty() {
        return Xattrs::default();
    }
    let has_user = matches!(node_type, NodeType::Directory | NodeType::File);
    let mut kept = BTreeMap::new();
    for (name, value) in xattrs {
        if !has_user && name.starts_with(USER_PREFIX) {
            shortfalls.count_at(Shortfall::NoUserXattr(name.clone()), path);
            continue;
        }
        if name.iter().any(|byte| PAGE_MARKS.contains(byte)) {
            shortfalls.count_at(Shortfall::XattrPaged(name.clone()), path);
            continue;
        }
        kept.insert(name.clone(), value.clone());
    }
    let (packed, refused) = Xattrs::pack(&kept);
    for name in refused {
        kept.remove(&name);
        shortfalls.count_at(Shortfall::XattrTooLarge(name), path);
    }
    for name in kept.into_keys() {
        if CLIENTS_OWN.iter().any(|own| own.as_bytes() == name) {
            shortfalls.count_at(Shortfall::XattrShadowed(name), path);
        }
    }
    packed
}

/// The attributes that clients see of a name that is to have `metadata`; `None` if the format keeps the name for itself.
pub(super) fn kept(name: &[u8], node: &TreeNode, metadata: &Metadata) -> Option<Metadata> {
    let node_type = match node {
        TreeNode::Directory => NodeType::Directory,
        TreeNode::File { .. } => NodeType::File,
        TreeNode::Symlink(_) => NodeType::Symlink,
        _ => NodeType::Special,
    };
    if name == MARKER {
        return None;
    }
    let packed = pack(metadata, node_type, &LayerPath::ROOT, &mut Shortfalls::default());
    self::metadata(&packed).ok()
}

/// The attributes in terms of a layer, without the marks of overlayfs.
pub(super) fn metadata(attributes: &Attributes) -> Result<Metadata> {
    let Attributes { mode, uid, gid, mtime, ref xattrs } = *attributes;
    let mut xattrs = unpack(xattrs)?;
    xattrs.retain(|name, _| !is_private(name));
    Ok(Metadata { mode, uid, gid, mtime, xattrs })
}

fn unpack(xattrs: &Xattrs) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let damaged = || cvmfs_repository::Error::Corrupt {
        what: "an entry's list of extended attributes".to_owned(),
        reason: "it cannot be unpacked".to_owned(),
    };
    Ok(xattrs.unpack().ok_or_else(damaged)?)
}

/// Whether this attribute is reserved for overlayfs.
fn is_private(name: &[u8]) -> bool {
    PRIVATE_XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether there may be a mark of overlayfs among these attributes. This does not unpack them, since most
/// have none.
fn may_be_marked(xattrs: &Xattrs) -> bool {
    let Some(blob) = xattrs.blob() else { return false };
    PRIVATE_XATTR_PREFIXES
        .iter()
        .any(|prefix| blob.windows(prefix.len()).any(|window| window == *prefix))
}

/// Marks a directory for both kinds of overlay mounts.
pub(super) fn mark_opaque(directory: &mut Entry) -> Result<()> {
    let mut xattrs = unpack(&directory.xattrs)?;
    for mark in [TRUSTED_OPAQUE, USER_OPAQUE] {
        xattrs.insert(mark.into(), OPAQUE_VALUE.to_vec());
    }
    directory.xattrs = Xattrs::pack(&xattrs).0;
    Ok(())
}

/// Removes the marks of overlayfs from a directory.
pub(super) fn strip(directory: &mut Entry) -> Result<()> {
    if may_be_marked(&directory.xattrs) {
        let mut xattrs = unpack(&directory.xattrs)?;
        xattrs.retain(|name, _| !is_private(name));
        directory.xattrs = Xattrs::pack(&xattrs).0;
    }
    Ok(())
}

/// What the overlay rule needs to know about an entry.
pub(super) fn class(entry: &Entry) -> Result<Class> {
    Ok(match entry.kind {
        EntryKind::Directory => {
            let mut opaque = false;
            if may_be_marked(&entry.xattrs) {
                let xattrs = unpack(&entry.xattrs)?;
                opaque = [TRUSTED_OPAQUE, USER_OPAQUE].iter().any(|mark| {
                    xattrs.get(mark.as_bytes()).is_some_and(|value| value == OPAQUE_VALUE)
                });
            }
            Class::Directory { opaque }
        }
        EntryKind::Character(Device { major, minor }) if (major, minor) == WHITEOUT_DEVICE => {
            Class::Whiteout
        }
        _ => Class::Leaf,
    })
}
