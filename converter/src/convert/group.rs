//! What a group of prepared images changes in the repository when it is published.

use std::collections::BTreeSet;

use jiff::Timestamp;
use layer_layout::RepositoryPath;
use layer_layout::record::ScheduledImage;

use super::batch::Prepared;
use super::origins::Origins;
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
    let mut origins = Origins::default();
    let parts: Vec<Result<Part>> =
        images.iter().map(|image| Part::write(work, image, &mut origins, now)).collect();
    // All images are noted in the records of layers before these are written.
    origins.write(work)?;
    let mut paths: Vec<RepositoryPath> = Vec::new();
    let (mut replaced, mut published) = (Vec::new(), BTreeSet::new());
    let mut outcomes = Vec::new();
    for (image, part) in images.iter().zip(parts) {
        let written = part.and_then(|mut part| {
            for (target, stack) in image.targets() {
                target.write_names(work, stack, &mut part.paths)?;
            }
            Ok(part)
        });
        // What one that fails has written is not named, so it does not appear.
        outcomes.push(written.map(|part| {
            paths.extend(part.paths);
            replaced.extend(part.replaced);
            published.extend(image.targets().map(|(target, _)| target.place.clone()));
        }));
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

/// What a group publishes of an image.
struct Part {
    paths: Vec<RepositoryPath>,
    /// The images that have its names now.
    replaced: Vec<ScheduledImage>,
}

impl Part {
    /// Writes the records of an image, and notes it in those of its layers.
    fn write(
        work: &Workspace,
        image: &Prepared,
        origins: &mut Origins,
        now: Timestamp,
    ) -> Result<Self> {
        let mut part = Self { paths: Vec::new(), replaced: Vec::new() };
        for (target, stack) in image.targets() {
            let config = target.config_digest();
            let former = unwanted::replaced(&Seen(work), &target.place, config, now)?;
            part.replaced.extend(former);
            target.write_records(work, stack, &mut part.paths)?;
            part.paths.extend(origins.add(work, target)?);
        }
        Ok(part)
    }
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
