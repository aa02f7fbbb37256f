//! What a group of prepared images changes in the repository when it is published.

use std::collections::BTreeSet;

use jiff::Timestamp;
use layer_layout::RepositoryPath;

use super::batch::Prepared;
use super::workspace::Workspace;
use crate::inventory::View;
use crate::removal::unwanted;
use crate::repository::{self, Published};
use crate::{Result, aliases};

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
    let architectures = published.iter().filter_map(|place| place.architecture.clone()).collect();
    let outlook = aliases::after(&seen, &architectures, &BTreeSet::new())?;
    paths.extend(aliases::correct(transaction, outlook.wrong)?);
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
