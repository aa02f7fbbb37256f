//! What a group of prepared images changes in the repository when it is published.

use std::collections::BTreeSet;

use jiff::Timestamp;
use layer_layout::{Architecture, ImagePlace, RepositoryPath, path};

use super::batch::Prepared;
use super::prepare::Files;
use super::workspace::Workspace;
use crate::Result;
use crate::inventory::View;
use crate::removal::unwanted;
use crate::repository::{self, Published};

/// Writes records and names of the images into the transaction and publishes all of it. Images that have the names now
/// enter the schedule for removal. The result says of each image whether it was part of it.
///
/// # Errors
/// If nothing was published.
pub(super) fn publish(work: &Workspace, images: &[Prepared]) -> Result<Vec<Result<()>>> {
    let now = Timestamp::now();
    let (transaction, seen) = (&**work.transaction, Seen(work));
    let mut paths: Vec<RepositoryPath> = Vec::new();
    let (mut replaced, mut published) = (Vec::new(), BTreeSet::new());
    let mut outcomes = Vec::new();
    for image in images {
        let before = paths.len();
        let written = image.targets().try_for_each(|(target, stack)| {
            let former = unwanted::replaced(&seen, &target.place, target.config_digest(), now)?;
            target.write_names(work, stack, &mut paths)?;
            replaced.extend(former);
            Ok(())
        });
        if written.is_ok() {
            published.extend(image.targets().map(|(target, _)| target.place.clone()));
        } else {
            // What it has written is not named, so it does not appear.
            paths.truncate(before);
        }
        outcomes.push(written);
    }
    write_aliases(work, &published, &mut paths)?;
    let books = unwanted::moved(&seen, replaced, &published, now)?;
    books.write(transaction)?;
    paths.extend(books.files().map(|(path, _)| path));
    transaction.publish(&paths)?;
    work.forget_published();
    Ok(outcomes)
}

/// A repository as it will be when all that is prepared is published. Directories are listed as they are.
struct Seen<'a>(&'a Workspace);

impl View for Seen<'_> {
    fn read(&self, path: &RepositoryPath) -> repository::Result<Option<Vec<u8>>> {
        self.0.transaction.read(path)
    }

    fn lookup(&self, path: &RepositoryPath) -> repository::Result<Option<Published>> {
        self.0.transaction.lookup(path)
    }

    fn list(
        &self,
        directory: Option<&RepositoryPath>,
    ) -> repository::Result<Vec<(String, Published)>> {
        self.0.repository.list(directory)
    }
}

/// Writes the links that lead clients from the names of their processors to the directories of platforms.
fn write_aliases(
    work: &Workspace,
    published: &BTreeSet<ImagePlace>,
    paths: &mut Vec<RepositoryPath>,
) -> Result<()> {
    let mut architectures: BTreeSet<Architecture> =
        published.iter().filter_map(|place| place.architecture.clone()).collect();
    if architectures.is_empty() {
        return Ok(());
    }
    for (name, published) in work.repository.list(Some(&path::architectures()))? {
        if published == Published::Directory {
            architectures.extend(name.parse::<Architecture>());
        }
    }
    let mut files = Files { work, paths };
    for (link, target) in path::aliases(&architectures) {
        files.link(&link, target)?;
    }
    Ok(())
}
