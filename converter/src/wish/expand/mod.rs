//! From the entries of a list to the images that there are.
//!
//! What cannot be found out is an outcome of its own, [`Outcome::Failed`]: an entry whose registry does not answer, or
//! answers that it has no tags at all, wishes for images that are not known now. [`Expansion::keeps`] tells who
//! removes images what this means for them.

mod select;
mod tags;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use layer_layout::{PublicName, RegistryReference};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

pub use tags::{Created, Question, Tags};

use super::ignore::IgnoreErrors;
use super::image::Wish;
use super::list::{Entry, Images, List};
use crate::source;

/// How many entries are expanded at a time. Most need no question, and registries have their own limit.
const AT_A_TIME: usize = 16;

/// Expands lists. The tags of a repository are asked for once in the life of an expander, however many entries and lists
/// need them, so a new one is needed for each round.
#[derive(Debug)]
pub struct Expander<T> {
    tags: Arc<T>,
    now: Timestamp,
    ignore_errors: IgnoreErrors,
    listed: Arc<Mutex<HashMap<RepositoryKey, Listed>>>,
}

/// Scheme, registry and repository, and the credentials, with which a registry may show more.
type RepositoryKey = (String, Option<String>);

/// The tags of a repository, once somebody has asked.
type Listed = Arc<OnceCell<Result<Arc<[String]>, Arc<source::Error>>>>;

/// What a list wishes for.
#[derive(Debug)]
pub struct Expansion {
    /// Its entries, in order.
    pub entries: Vec<Expanded>,
    /// Whether the list has no entries that are not understood.
    pub complete: bool,
}

/// What an entry wishes for.
#[derive(Debug)]
pub struct Expanded {
    /// The entry's line.
    pub line: usize,
    /// The image or pattern as it was written.
    pub text: String,
    /// A reference in the repository of its images.
    pub repository: RegistryReference,
    /// The images.
    pub outcome: Outcome,
    /// What a user should know although nothing failed.
    pub remarks: Vec<String>,
    /// Whether a failure of this entry shall not fail the run (`ignoreErrors`).
    pub errors_are_ignored: bool,
}

/// The images of an entry.
#[derive(Debug)]
pub enum Outcome {
    /// They are known. There may be none, if none of the repository's tags is meant.
    Images(Vec<Wish>),
    /// They are not known. This is not the same as none.
    Failed(ExpandError),
}

/// Why the images of an entry are not known.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// The tags of the repository could not be listed.
    #[error("cannot tell which images {text} stands for")]
    Unlisted {
        /// The entry.
        text: String,
        /// What happened.
        #[source]
        cause: Arc<source::Error>,
    },
    /// It could not be found out how old images are.
    #[error("cannot tell which images of {text} are the newest or young enough")]
    Undated {
        /// The entry.
        text: String,
        /// What happened.
        #[source]
        cause: source::Error,
    },
    /// The registry lists no tags, which an expansion takes for a mistake.
    #[error(
        "the registry says that the repository of {text} has no tags at all; what was published from it is kept; \
         remove the entry if nothing of it is wished for any more"
    )]
    NoTags {
        /// The entry.
        text: String,
    },
    /// The program is being shut down.
    #[error("the expansion of {text} was interrupted")]
    Interrupted {
        /// The entry.
        text: String,
    },
}

/// Whether a published image is wished for.
#[derive(Debug, Clone, Copy)]
pub enum Keeps<'a> {
    /// It is.
    Wished,
    /// That is not known, and nobody may act as if it were not. The entry whose images are not known, if it is that.
    Unknown(Option<&'a Expanded>),
    /// It is not.
    Unwished,
}

impl Expansion {
    /// The images that are known to be wished for.
    pub fn wishes(&self) -> impl Iterator<Item = &Wish> {
        self.entries.iter().flat_map(|entry| match &entry.outcome {
            Outcome::Images(images) => images.as_slice(),
            Outcome::Failed(_) => &[],
        })
    }

    /// The entries whose images are not known.
    pub fn failed(&self) -> impl Iterator<Item = (&Expanded, &ExpandError)> {
        self.entries.iter().filter_map(|entry| match &entry.outcome {
            Outcome::Images(_) => None,
            Outcome::Failed(error) => Some((entry, error)),
        })
    }

    /// Whether an image that is published is wished for. If the list has an entry that is not understood, nothing is
    /// known to be unwished; if an entry could not be expanded, nothing of its repository is.
    ///
    /// This walks through the list; for many images make a set of the names of [`Self::wishes`] first, and ask this
    /// about the rest.
    pub fn keeps(&self, name: &PublicName) -> Keeps<'_> {
        if self.wishes().any(|wish| wish.reference.public_name().as_ref() == Some(name)) {
            return Keeps::Wished;
        }
        let failed = self.failed().map(|(entry, _)| entry);
        let mut of_repository = failed.filter(|entry| {
            let (registry, repository) =
                (entry.repository.registry(), entry.repository.repository());
            let below = name.to_string();
            let rest = below.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/'));
            let rest = rest.and_then(|rest| rest.strip_prefix(repository));
            rest.is_some_and(|rest| rest.starts_with(':'))
        });
        match of_repository.next() {
            Some(entry) => Keeps::Unknown(Some(entry)),
            None if !self.complete => Keeps::Unknown(None),
            None => Keeps::Unwished,
        }
    }
}

impl<T: Tags> Expander<T> {
    /// An expander that asks `tags`. Ages are counted back from `now`. Failures of images that `ignore_errors` or their
    /// list covers are to be ignored.
    pub fn new(tags: Arc<T>, now: Timestamp, ignore_errors: IgnoreErrors) -> Self {
        Self { tags, now, ignore_errors, listed: Arc::default() }
    }

    /// Expands a list. `name` is what its user calls it.
    pub async fn expand(&self, name: &str, list: &List) -> Expansion {
        let name: Arc<str> = name.into();
        let limit = Arc::new(Semaphore::new(AT_A_TIME));
        let mut running = JoinSet::new();
        let mut found: Vec<Option<(Outcome, Vec<String>)>> = Vec::new();
        for (index, entry) in list.entries.iter().enumerate() {
            match &entry.images {
                Images::One(reference) => {
                    let wish = self.wish(&name, list, entry, reference.clone());
                    found.push(Some((Outcome::Images(vec![wish]), Vec::new())));
                }
                Images::Many { repository, selection } => {
                    found.push(None);
                    let question = Question {
                        reference: repository.clone(),
                        platforms: entry.settings.platforms.clone(),
                        credentials: entry.settings.credentials.clone(),
                    };
                    let (tags, listed, now) =
                        (Arc::clone(&self.tags), self.listed(&question), self.now);
                    let (selection, text) = (selection.clone(), entry.text.clone());
                    let limit = Arc::clone(&limit);
                    running.spawn(async move {
                        // Nobody closes the semaphore.
                        let _permit = limit.acquire_owned().await;
                        (index, images(&tags, &listed, &question, &selection, &text, now).await)
                    });
                }
            }
        }
        while let Some(result) = running.join_next().await {
            match result {
                Ok((index, Ok(select::Chosen { images, remarks }))) => {
                    let entry = &list.entries[index];
                    let wish = |image| self.wish(&name, list, entry, image);
                    let wishes = images.into_iter().map(wish).collect();
                    found[index] = Some((Outcome::Images(wishes), remarks));
                }
                Ok((index, Err(error))) => {
                    found[index] = Some((Outcome::Failed(error), Vec::new()));
                }
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        let expanded = |(entry, found): (&Entry, Option<_>)| {
            let (outcome, remarks) = found.unwrap_or_else(|| {
                let text = entry.text.clone();
                (Outcome::Failed(ExpandError::Interrupted { text }), Vec::new())
            });
            let repository = entry.images.reference().clone();
            let errors_are_ignored = self.ignores(list, &repository);
            let (line, text) = (entry.at.line, entry.text.clone());
            Expanded { line, text, repository, outcome, remarks, errors_are_ignored }
        };
        let entries = list.entries.iter().zip(found).map(expanded).collect();
        Expansion { entries, complete: list.complete }
    }

    fn listed(&self, question: &Question) -> Listed {
        let reference = &question.reference;
        let (scheme, registry) = (reference.scheme(), reference.registry());
        let repository = format!("{scheme}://{registry}/{}", reference.repository());
        let key = (repository, question.credentials.clone());
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(listed.entry(key).or_default())
    }

    fn ignores(&self, list: &List, reference: &RegistryReference) -> bool {
        let name = reference.to_string();
        list.ignore_errors.covers(&name) || self.ignore_errors.covers(&name)
    }

    fn wish(
        &self,
        name: &Arc<str>,
        list: &List,
        entry: &Entry,
        reference: RegistryReference,
    ) -> Wish {
        let settings = &entry.settings;
        Wish {
            // An image for which the template makes no name is published without a thin image; the list's faults tell.
            thin: settings.thin.as_ref().and_then(|template| template.apply(&reference).ok()),
            // DUCC looks at the entry as it was written, which may be a pattern.
            errors_are_ignored: self.ignores(list, &reference)
                || self.ignores(list, entry.images.reference()),
            platforms: settings.platforms.clone(),
            flat: settings.flat,
            user: list.user.clone(),
            credentials: settings.credentials.clone(),
            priority: settings.priority,
            list: Arc::clone(name),
            line: entry.at.line,
            reference,
        }
    }
}

/// The images of a pattern.
async fn images<T: Tags>(
    tags: &Arc<T>,
    listed: &Listed,
    question: &Question,
    selection: &super::list::Selection,
    text: &str,
    now: Timestamp,
) -> Result<select::Chosen, ExpandError> {
    let text = || text.to_owned();
    let ask = || async { tags.list_tags(question).await.map(Arc::from).map_err(Arc::new) };
    let all = match listed.get_or_init(ask).await {
        Ok(all) => Arc::clone(all),
        Err(cause) => {
            return Err(ExpandError::Unlisted { text: text(), cause: Arc::clone(cause) });
        }
    };
    if all.is_empty() {
        return Err(ExpandError::NoTags { text: text() });
    }
    let mut chosen = select::select(tags, question, selection, &all, now)
        .await
        .map_err(|cause| ExpandError::Undated { text: text(), cause })?;
    if chosen.images.is_empty() {
        let count = all.len();
        chosen.remarks.push(format!("none of the {count} tags of the repository is meant by it"));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
