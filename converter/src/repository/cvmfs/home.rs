//! Where in the repository the layout is.

use cvmfs_repository::path::TreePath;
use layer_layout::RepositoryPath;

/// The directory of the repository that the layout is in: its root, or one that is shared with nobody else. All paths of
/// the layout begin there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home(TreePath);

impl Home {
    /// The directory at a path; the root without one.
    pub(super) fn new(below: Option<&RepositoryPath>) -> Self {
        let root = Self(TreePath::ROOT);
        Self(below.map_or(TreePath::ROOT, |below| root.path(below)))
    }

    /// The directory itself.
    pub(super) fn root(&self) -> TreePath {
        self.0.clone()
    }

    /// A path of the layout as the repository engine's type.
    pub(super) fn path(&self, path: &RepositoryPath) -> TreePath {
        let names = path.as_str().split('/');
        names.fold(self.root(), |path, name| path.join(name.as_bytes()))
    }
}
