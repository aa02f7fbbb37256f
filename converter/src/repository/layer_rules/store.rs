//! What a target has to offer for a layer to be unpacked into it.

use crate::layer::{Content, LayerPath, Metadata};
use crate::repository::Result;

/// A layer that is being unpacked: what stands at a name, and making it so. It decides nothing.
///
/// Besides its tree it keeps notes on directories, which concern the lower layers: whether an entry describes a
/// directory, whether it is opaque, and which names the layer removes from it. The notes on a directory go
/// with it.
pub(in crate::repository) trait LayerStore {
    /// A handle on a directory of the layer, good until that is removed.
    type Directory: Copy;

    /// The layer's root, which is there from the beginning.
    fn root(&self) -> Self::Directory;

    /// The directory at a name; `None` if nothing or something else is there.
    fn directory(&mut self, at: Name<'_, Self::Directory>) -> Result<Option<Self::Directory>>;

    /// What stands at a name where no directory is; `None` if nothing does.
    fn obstacle(&mut self, at: Name<'_, Self::Directory>) -> Result<Option<Obstacle>>;

    /// The target of the symlink at a name; `None` if none is there.
    fn symlink(&mut self, at: Name<'_, Self::Directory>) -> Result<Option<Vec<u8>>>;

    /// Makes a directory; returns `None` and does nothing if the name is taken. Without `metadata`, no entry
    /// describes it.
    fn make_directory(
        &mut self,
        at: Name<'_, Self::Directory>,
        metadata: Option<&Metadata>,
    ) -> Result<Option<Self::Directory>>;

    /// Makes what holds no names; returns `false` and does nothing if the name is taken. `content` is that of a
    /// file.
    fn make_leaf(
        &mut self,
        at: Name<'_, Self::Directory>,
        leaf: Leaf<'_>,
        metadata: &Metadata,
        content: &mut Content<'_>,
    ) -> Result<bool>;

    /// Gives the leaf `target` a further name.
    fn link(
        &mut self,
        at: Name<'_, Self::Directory>,
        target: Name<'_, Self::Directory>,
    ) -> Result<Linked>;

    /// Removes what has a name, if anything has, with all in it. Returns whether it was a directory.
    fn remove(&mut self, at: Name<'_, Self::Directory>) -> Result<bool>;

    /// Notes that an entry describes a directory, which has these attributes from now on.
    fn describe(
        &mut self,
        directory: Self::Directory,
        path: &LayerPath,
        metadata: &Metadata,
    ) -> Result<()>;

    /// Notes that nothing of the lower layers is seen in a directory.
    fn mark_opaque(&mut self, directory: Self::Directory, path: &LayerPath) -> Result<()>;

    /// The notes on a directory, names to remove left aside.
    fn marks(&mut self, directory: Self::Directory, path: &LayerPath) -> Result<Marks>;

    /// Notes that a name is removed from the lower layers, also if this layer has it.
    fn note_removed(&mut self, at: Name<'_, Self::Directory>) -> Result<()>;

    /// Whether that was noted.
    fn is_removed(&mut self, at: Name<'_, Self::Directory>) -> Result<bool>;

    /// All names of a directory for which it was noted.
    fn removed(&mut self, directory: Self::Directory) -> Result<Vec<Vec<u8>>>;

    /// The directories in a directory, sorted by name.
    fn subdirectories(
        &mut self,
        directory: Self::Directory,
    ) -> Result<Vec<Subdirectory<Self::Directory>>>;

    /// Makes a whiteout unless the name is taken. It has mode 0, owner 0:0 and time 0, so that a layer is
    /// always unpacked alike.
    fn make_whiteout(&mut self, at: Name<'_, Self::Directory>) -> Result<()>;

    /// Puts the opaque mark and the attributes of a directory where they belong: nothing in it changes any
    /// more. Those in it come first.
    fn close_directory(&mut self, directory: Self::Directory, path: &LayerPath) -> Result<()>;
}

/// A name in a directory of a layer, whether or not anything has it.
#[derive(Debug, Clone, Copy)]
pub(in crate::repository) struct Name<'a, D> {
    pub(in crate::repository) directory: D,
    /// Its single component.
    pub(in crate::repository) name: &'a [u8],
    /// The whole path in the layer.
    pub(in crate::repository) path: &'a LayerPath,
}

/// What holds no names and can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Leaf<'a> {
    File { size: u64 },
    Symlink { target: &'a [u8] },
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// What is in the way where a path should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Obstacle {
    Symlink,
    Other,
}

/// What became of a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Linked {
    Done,
    /// Nothing was done, because the new name is taken.
    Taken,
    /// Nothing was done, because the layer does not have the target.
    NoTarget,
    /// Nothing was done, because the target is a directory.
    ToDirectory,
}

/// Notes on a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::repository) struct Marks {
    /// Whether an entry describes it. Otherwise only its content implies it.
    pub(in crate::repository) described: bool,
    /// Whether nothing of the lower layers is seen in it.
    pub(in crate::repository) opaque: bool,
}

/// A directory in another one.
#[derive(Debug)]
pub(in crate::repository) struct Subdirectory<D> {
    pub(in crate::repository) name: Vec<u8>,
    pub(in crate::repository) directory: D,
    pub(in crate::repository) marks: Marks,
}
