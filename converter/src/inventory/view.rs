//! Looking at a repository without changing it.

use cvmfs_repository::crew::Crew;
use layer_layout::RepositoryPath;

use crate::repository::{Published, Repository, Result};

/// What can be seen of a repository. Several threads may look at the same time.
pub trait View: Sync {
    /// Reads a published small file; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>>;

    /// What is published at a path, without following a symlink there.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>>;

    /// What is published in a directory, or in the root.
    ///
    /// # Errors
    /// If the directory is there and cannot be read.
    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>>;
}

impl<R: Repository + ?Sized> View for R {
    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        Repository::read(self, path)
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        Repository::lookup(self, path)
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        Repository::list(self, directory)
    }
}

/// How many things are read at a time: where the repository is far away, reading is waiting.
const READERS: usize = 16;

/// Threads that read.
pub fn readers() -> Crew {
    Crew::new(READERS)
}

/// Hands out all directories below `root` that `enter` lets pass, and `root` itself, each with what is in it.
///
/// # Errors
/// If one cannot be read, and those of `each`.
pub(super) fn walk(
    view: &(impl View + ?Sized),
    root: Option<RepositoryPath>,
    mut each: impl FnMut(Option<&RepositoryPath>, &[(String, Published)]) -> Result<()>,
    enter: impl Fn(Option<&RepositoryPath>, &str) -> bool,
) -> Result<()> {
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        let directory = directory.as_ref();
        let mut names = view.list(directory)?;
        // Looked at in the order of their paths, those that share a catalog come one after the other.
        names.sort_by(|(a, _), (b, _)| b.cmp(a));
        each(directory, &names)?;
        let below = names.iter().filter(|(name, published)| {
            *published == Published::Directory && enter(directory, name)
        });
        open.extend(
            below.filter_map(|(name, _)| RepositoryPath::of_name(directory, name).map(Some)),
        );
    }
    Ok(())
}
