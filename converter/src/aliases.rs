//! The links that lead clients from the names of their processors to the directories of platforms.
//!
//! A client asks for `.multiarch/aarch64`, and the images are in `.multiarch/arm64:v8`. A link that leads nowhere takes all
//! images from such clients, so whoever adds or removes a directory sees to the links in the same change.

use std::collections::{BTreeMap, BTreeSet};

use layer_layout::{Architecture, RepositoryPath, path};

use crate::inventory::View;
use crate::repository::{Published, Result, Transaction};

/// A link that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAlias {
    /// The link.
    pub path: RepositoryPath,
    /// What it says; `None` if there is none.
    pub found: Option<String>,
    /// What it should say; `None` if there is no directory for it.
    pub expected: Option<String>,
}

/// How things stand after a change.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// The links that are wrong then.
    pub(crate) wrong: Vec<WrongAlias>,
    /// The directories in which nothing is left then.
    pub(crate) emptied: Vec<RepositoryPath>,
}

/// How things stand when directories of these architectures have been added, and what is `gone` has been removed. No link
/// should lead to a directory in which nothing is left then.
///
/// # Errors
/// If a directory cannot be listed.
pub(crate) fn after(
    view: &(impl View + ?Sized),
    added: &BTreeSet<Architecture>,
    gone: &BTreeSet<&RepositoryPath>,
) -> Result<Outlook> {
    let (mut directories, mut emptied) = (added.clone(), Vec::new());
    let mut links: BTreeMap<RepositoryPath, (Option<String>, Option<String>)> = BTreeMap::new();
    for (name, published) in view.list(Some(&path::architectures()))? {
        let Some(path) = RepositoryPath::of_name(Some(&path::architectures()), &name) else {
            continue;
        };
        match published {
            Published::Directory => {
                let below = format!("{path}/");
                let shrinks = gone.iter().any(|gone| gone.as_str().starts_with(&below));
                if !shrinks || is_anything_left(view, &path, gone)? {
                    directories.extend(name.parse::<Architecture>());
                } else {
                    emptied.push(path);
                }
            }
            Published::Symlink(target) if path::is_alias(&name) => {
                links.entry(path).or_default().0 = Some(target);
            }
            _ => {}
        }
    }
    for (path, target) in path::aliases(&directories) {
        links.entry(path).or_default().1 = Some(target);
    }
    let wrong = |(path, (found, expected))| WrongAlias { path, found, expected };
    let wrong = links.into_iter().map(wrong).filter(|alias| alias.found != alias.expected);
    Ok(Outlook { wrong: wrong.collect(), emptied })
}

/// The links that lead nowhere or elsewhere. Those that are missing are not among them: DUCC makes fewer.
///
/// # Errors
/// If a directory cannot be listed.
pub fn wrong(view: &(impl View + ?Sized)) -> Result<Vec<WrongAlias>> {
    let Outlook { mut wrong, .. } = after(view, &BTreeSet::new(), &BTreeSet::new())?;
    wrong.retain(|alias| alias.found.is_some());
    Ok(wrong)
}

/// Prepares what makes these links right, and gives their paths to be published.
///
/// # Errors
/// If one cannot be prepared.
pub(crate) fn correct(
    transaction: &dyn Transaction,
    wrong: Vec<WrongAlias>,
) -> Result<Vec<RepositoryPath>> {
    let mut paths = Vec::new();
    for WrongAlias { path, expected, .. } in wrong {
        match expected {
            Some(target) => {
                if transaction.lookup(&path)? == Some(Published::Directory) {
                    // Of those for the same platform the other one is left.
                    transaction.remove(&path)?;
                }
                transaction.symlink(&path, &target)?;
            }
            None => transaction.remove(&path)?,
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Whether a directory holds anything but directories when this is gone.
fn is_anything_left(
    view: &(impl View + ?Sized),
    directory: &RepositoryPath,
    gone: &BTreeSet<&RepositoryPath>,
) -> Result<bool> {
    let mut open = vec![directory.clone()];
    while let Some(directory) = open.pop() {
        for (name, published) in view.list(Some(&directory))? {
            let Some(path) = RepositoryPath::of_name(Some(&directory), &name) else {
                return Ok(true);
            };
            match published {
                _ if gone.contains(&path) => {}
                Published::Directory => open.push(path),
                _ => return Ok(true),
            }
        }
    }
    Ok(false)
}
