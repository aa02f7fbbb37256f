//! What wish lists say about images that are published.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use layer_layout::record::WishRecord;
use layer_layout::{Architecture, ImagePlace, PublicName, RepositoryPath, path};

use super::{Error, Result};
use crate::inventory::View;
use crate::repository::Published;
use crate::wish;
use crate::wish::expand::{Expanded, Expansion};

/// What one wish list wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The images that it is known to want.
    pub names: BTreeMap<PublicName, Platforms>,
    /// Of which others it is not known.
    pub unknown: Unknown,
}

/// Of which images it is not known whether they are wanted. What is not known to be unwanted is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Of none: the list could be read and resolved.
    #[default]
    None,
    /// Of those from these repositories, each with its registry, because a pattern could not be resolved.
    Repositories(BTreeSet<(String, String)>),
    /// Of all, because the list, or a line of it, could not be read.
    All,
}

/// What a list says about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Wanted,
    Unknown,
    Unwanted,
}

/// Which platforms of an image are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All that are published.
    All,
    /// These, each as [`Architecture::of`] gives it. What is published without a platform of its own is wanted, too.
    Only(BTreeSet<Architecture>),
}

/// A wish list in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListWishes {
    /// What the list is called in the repository: its path or URL, without secrets. The same in each round.
    pub list: String,
    /// What it wants.
    pub wanted: Wanted,
}

impl Wanted {
    /// These names on all their platforms, and nothing else.
    pub fn all_platforms(names: impl IntoIterator<Item = PublicName>) -> Self {
        let names = names.into_iter().map(|name| (name, Platforms::All)).collect();
        Self { names, unknown: Unknown::None }
    }

    /// What a list wants whose patterns have been resolved, as far as that is known. Of an image without platforms of its
    /// own, all that are published are wanted: earlier lists may have asked for more.
    pub fn of(expansion: &Expansion) -> Self {
        let mut wanted = Self::default();
        for wish in expansion.wishes() {
            let platforms = match &wish.platforms {
                wish::Platforms::HostOnly | wish::Platforms::All => Platforms::All,
                wish::Platforms::List(platforms) => {
                    Platforms::Only(platforms.iter().filter_map(Architecture::of).collect())
                }
            };
            if let Some(name) = wish.reference.public_name() {
                wanted.add_name(name, platforms);
            }
        }
        let repository = |(entry, _): (&Expanded, _)| {
            let reference = &entry.repository;
            (reference.registry().to_owned(), reference.repository().to_owned())
        };
        let unresolved: BTreeSet<_> = expansion.failed().map(repository).collect();
        if !expansion.complete {
            wanted.unknown = Unknown::All;
        } else if !unresolved.is_empty() {
            wanted.unknown = Unknown::Repositories(unresolved);
        }
        wanted
    }

    /// What this list or another one wants.
    pub fn add(&mut self, other: Self) {
        for (name, platforms) in other.names {
            self.add_name(name, platforms);
        }
        match (&mut self.unknown, other.unknown) {
            (_, Unknown::None) => {}
            (Unknown::Repositories(own), Unknown::Repositories(others)) => own.extend(others),
            (Unknown::All, _) => {}
            (unknown, other) => *unknown = other,
        }
    }

    fn add_name(&mut self, name: PublicName, platforms: Platforms) {
        match (self.names.entry(name), platforms) {
            (Entry::Vacant(entry), platforms) => drop(entry.insert(platforms)),
            (Entry::Occupied(mut entry), platforms) => match (entry.get_mut(), platforms) {
                (Platforms::Only(own), Platforms::Only(others)) => own.extend(others),
                (own, _) => *own = Platforms::All,
            },
        }
    }

    /// What a list wants that could not be read.
    pub fn nothing_known() -> Self {
        Self { names: BTreeMap::new(), unknown: Unknown::All }
    }

    /// What is said about an image.
    pub(super) fn says(&self, place: &ImagePlace) -> Answer {
        let ImagePlace { name, architecture } = place;
        let wanted = match (self.names.get(name), architecture) {
            (None, _) => false,
            (Some(Platforms::Only(wanted)), Some(architecture)) => {
                // DUCC's directories may leave out a variant.
                let own = Architecture::of(&architecture.platform());
                wanted.contains(own.as_ref().unwrap_or(architecture))
            }
            (Some(_), _) => true,
        };
        let is_unknown = match &self.unknown {
            Unknown::None => false,
            Unknown::Repositories(repositories) => {
                repositories.contains(&(name.registry().to_owned(), name.repository().to_owned()))
            }
            Unknown::All => true,
        };
        match (wanted, is_unknown) {
            (true, _) => Answer::Wanted,
            (false, true) => Answer::Unknown,
            (false, false) => Answer::Unwanted,
        }
    }
}

/// What all lists that publish into a repository want, as far as it is known.
pub(super) struct Wishes {
    /// Of the lists of this round: their records from before, and what they want now.
    pub(super) own: Vec<(WishRecord, Wanted)>,
    /// Of all others, what they wanted last.
    others: Vec<WishRecord>,
}

impl Wishes {
    /// Reads the records of all lists.
    pub(super) fn read(view: &(impl View + ?Sized), lists: &[ListWishes]) -> Result<Self> {
        let mut records = BTreeMap::new();
        let directory = path::wishes();
        for (name, published) in view.list(Some(&directory))? {
            if let (Published::Other, Some(path)) =
                (published, RepositoryPath::of_name(Some(&directory), &name))
                && let Some(json) = view.read(&path)?
            {
                let record = WishRecord::parse(&json)
                    .map_err(|error| Error::Record { path: path.clone(), error })?;
                records.insert(path, record);
            }
        }
        let own = lists
            .iter()
            .map(|ListWishes { list, wanted }| {
                let record = records.remove(&path::wish_record(list)).unwrap_or_default();
                (WishRecord { list: list.clone(), ..record }, wanted.clone())
            })
            .collect();
        Ok(Self { own, others: records.into_values().collect() })
    }

    /// Whether any list wants an image. If a list does not say, it counts whether it wanted it last.
    pub(super) fn contain(&self, place: &ImagePlace) -> bool {
        let own = |(record, wanted): &(WishRecord, Wanted)| match wanted.says(place) {
            Answer::Wanted => true,
            Answer::Unknown => record.names.contains(&place.name),
            Answer::Unwanted => false,
        };
        self.own.iter().any(own)
            || self.others.iter().any(|record| record.names.contains(&place.name))
    }
}
