//! What published trees look like, to compare them.

use layer_layout::Digest;

use crate::layer::Metadata;
use crate::tree::Class;

/// A directory of a published tree, with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeDirectory {
    /// Whether it hides what lower layers have there.
    pub opaque: bool,
    /// Its attributes, without the marks of overlayfs.
    pub metadata: Metadata,
    /// Its names, in any order.
    pub entries: Vec<TreeEntry>,
}

/// A name in a published tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The name, without a slash.
    pub name: Vec<u8>,
    /// What it means to the layers below.
    pub class: Class,
    /// What it is.
    pub node: TreeNode,
    /// Its attributes, without the marks of overlayfs.
    pub metadata: Metadata,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// What tells its content from others'.
        content: ContentId,
    },
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A character device.
    CharacterDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What tells the content of a file from that of others. Equal ones mean equal content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentId {
    /// The file itself, which may have other names: its device and inode. Other files may have the same content.
    Inode(u64, u64),
    /// The objects that hold it. Others hold other content, or the same in another form.
    Objects(String),
    /// The SHA-256 of the content, of a file that is not in a repository.
    Sha256(Digest),
}

/// What became of reading a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// All of it was read, and what is stored is what the repository says.
    Intact,
    /// What is stored is not what the repository says, or cannot be read from the disk.
    Damaged(String),
    /// This process may not read it, as an ordinary user.
    Forbidden(String),
    /// No regular file is there.
    Absent,
}

impl TreeNode {
    /// Whether the content of both may be the same. It is if the identities are equal; files in a directory that are
    /// separate and of one size may be copies of each other.
    pub fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { size, content }, Self::File { size: other_size, content: other }) => {
                let separate = matches!(content, ContentId::Inode(..));
                size == other_size && (content == other || separate)
            }
            _ => self == other,
        }
    }
}
