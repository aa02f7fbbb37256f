//! Doing it. All of this may block.

use std::collections::BTreeSet;

use layer_layout::{ImagePlace, RepositoryPath, path};

use super::unwanted::Bookkeeping;
use super::{Batch, Error, Options, Plan, Result, Stop, Subject, plan};
use crate::aliases;
use crate::attempts::Attempts;
use crate::inventory::Inventory;
use crate::repository::{Repository, Transaction, Turn};

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// The images whose names are gone.
    pub images: Vec<ImagePlace>,
    /// All paths that are gone.
    pub paths: Vec<RepositoryPath>,
    /// How many changes of the repository that took.
    pub batches: usize,
}

impl Removed {
    /// Adds what went in one change.
    pub fn add(&mut self, batch: &Batch) {
        self.images.extend(batch.images.iter().cloned());
        self.paths.extend(batch.paths.iter().cloned());
        self.batches += 1;
    }
}

/// Removes what can go, batch by batch, and gives each to `gone` when it is. Each batch is published only if nobody has
/// changed the repository since it was planned; if somebody has, the rest is planned anew.
///
/// It ends before a change if `stop` says so.
///
/// Gives the last plan, for what it says about what is left.
///
/// # Errors
/// If it cannot be planned, or the repository cannot be changed.
pub fn carry_out(
    repository: &dyn Repository,
    subject: &Subject,
    options: &Options,
    wait: &mut dyn FnMut(&str) -> bool,
    stop: &Stop,
    gone: &mut dyn FnMut(&Batch),
) -> Result<Plan> {
    let mut images = Vec::new();
    despite_others(repository, stop, |turn| {
        stop.check()?;
        let transaction = repository.begin(wait)?;
        transaction.require_unchanged()?;
        let inventory = Inventory::take(repository)?;
        let plan = plan(repository, &inventory, &left(subject, &images), options)?;
        if let Some(schedule) = &plan.schedule {
            let path = path::remove_schedule();
            transaction.write_file(&path, schedule)?;
            stop.change(|| Ok(transaction.publish(&[path])?))?;
            std::mem::take(turn).end();
        }
        for batch in &plan.batches {
            stop.change(|| publish(repository, &*transaction, batch))?;
            images.extend(batch.images.iter().cloned());
            std::mem::take(turn).end();
            gone(batch);
        }
        Ok(plan)
    })
}

/// Makes a change of the books, and makes it again if somebody else has changed them meanwhile.
///
/// # Errors
/// If the books cannot be read or written.
pub fn keep_books(
    repository: &dyn Repository,
    wait: &mut dyn FnMut(&str) -> bool,
    stop: &Stop,
    change: impl Fn(&dyn Repository) -> Result<Bookkeeping>,
) -> Result<Bookkeeping> {
    despite_others(repository, stop, |_turn| {
        let transaction = repository.begin(wait)?;
        let books = change(repository)?;
        if !books.is_empty() {
            books.write(&*transaction)?;
            stop.change(|| Ok(transaction.commit()?))?;
        }
        Ok(books)
    })
}

/// Does something again that others have overtaken, in a turn of its own, as far as they take turns. Of several changes,
/// the first that succeeds ends it.
fn despite_others<T>(
    repository: &dyn Repository,
    stop: &Stop,
    mut attempt: impl FnMut(&mut Turn) -> Result<T>,
) -> Result<T> {
    let attempts = Attempts::default();
    let mut turn = Turn::default();
    loop {
        match attempt(&mut turn) {
            Err(Error::Repository(error)) if error.is_overtaken() => {
                attempts.again()?;
                tracing::info!("{error}: doing so");
                turn.end();
                turn = repository.turn(&mut || stop.check().is_ok());
            }
            result => {
                turn.end();
                return result;
            }
        }
    }
}

/// What of the subject is left to do.
fn left(subject: &Subject, removed: &[ImagePlace]) -> Subject {
    match subject {
        Subject::Expired => Subject::Expired,
        Subject::Images(places) => {
            let is_left = |place: &&ImagePlace| !removed.contains(place);
            Subject::Images(places.iter().filter(is_left).cloned().collect())
        }
    }
}

/// Makes the links right that lead clients to the directories of their platforms.
///
/// # Errors
/// If the repository cannot be read or changed.
pub fn mend_aliases(
    repository: &dyn Repository,
    wait: &mut dyn FnMut(&str) -> bool,
    stop: &Stop,
) -> Result<()> {
    despite_others(repository, stop, |_turn| {
        let transaction = repository.begin(wait)?;
        let wrong = aliases::wrong(repository)?;
        if wrong.is_empty() {
            return Ok(());
        }
        transaction.require_unchanged()?;
        let paths = aliases::correct(&*transaction, wrong)?;
        stop.change(|| Ok(transaction.publish(&paths)?))
    })
}

fn publish(
    repository: &dyn Repository,
    transaction: &dyn Transaction,
    batch: &Batch,
) -> Result<()> {
    transaction.require_unchanged()?;
    for path in &batch.paths {
        transaction.remove(path)?;
    }
    let mut paths = batch.paths.clone();
    if batch.images.iter().any(|place| place.architecture.is_some()) {
        let gone = batch.paths.iter().collect();
        let outlook = aliases::after(repository, &BTreeSet::new(), &gone)?;
        if repository.expands_variables() {
            // In a CernVM-FS repository it stays by itself, with the catalog that begins there. Elsewhere it goes with the
            // last name in it, and others may put something there until then.
            for directory in outlook.emptied {
                transaction.remove(&directory)?;
                paths.push(directory);
            }
        }
        paths.extend(aliases::correct(transaction, outlook.wrong)?);
    }
    if let Some(schedule) = &batch.schedule {
        let path = path::remove_schedule();
        transaction.write_file(&path, schedule)?;
        paths.push(path);
    }
    Ok(transaction.publish(&paths)?)
}
