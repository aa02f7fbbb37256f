//! Paths of the layout in the repository.

use cvmfs_repository::path::TreePath;
use layer_layout::RepositoryPath;

/// A path of the layout as the repository engine's type.
pub(super) fn tree_path(path: &RepositoryPath) -> TreePath {
    path.as_str().split('/').fold(TreePath::ROOT, |path, name| path.join(name.as_bytes()))
}
