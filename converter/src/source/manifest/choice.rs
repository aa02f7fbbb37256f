//! Which image of an index is that for a platform.

use layer_layout::Platform;

use super::{DocumentError, Index, IndexEntry, Unusable};

/// The most entries that are asked what they are for.
const MAX_ASKED: usize = 32;

/// What an index says about the image for a platform.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Choice<'a> {
    /// This is it.
    Entry(&'a IndexEntry),
    /// No entry says that it is, but these do not say what they are for: their configurations do. The first that fits is
    /// to be taken; none, if there are none.
    OneOf(Vec<&'a IndexEntry>),
}

/// The entry for a platform. The base variant, which runs everywhere, is preferred; otherwise the first entry
/// that fits is taken.
pub(in super::super) fn choose<'a>(
    entries: impl IntoIterator<Item = &'a IndexEntry>,
    wanted: &Platform,
) -> Choice<'a> {
    let entries: Vec<&IndexEntry> = entries.into_iter().collect();
    let accepted = || {
        let offers = entries.iter().filter_map(|&entry| Some((entry, entry.platform.as_ref()?)));
        offers.filter(|(_, platform)| wanted.accepts(platform))
    };
    let chosen = accepted()
        .find(|(_, platform)| platform.is_base_variant())
        .or_else(|| accepted().next())
        .map(|(entry, _)| entry);
    match chosen {
        Some(entry) => Choice::Entry(entry),
        None => {
            let silent = entries.into_iter().filter(|entry| entry.platform.is_none());
            Choice::OneOf(silent.take(MAX_ASKED).collect())
        }
    }
}

impl Index {
    /// What is wrong with entries that would otherwise be taken into account. What they are for may not be known.
    pub(in super::super) fn obstacles(
        &self,
        matters: impl Fn(&Platform) -> bool,
    ) -> impl Iterator<Item = DocumentError> {
        let matters = move |unusable: &&Unusable| unusable.platform.as_ref().is_none_or(&matters);
        self.unusable.iter().filter(matters).map(Unusable::error)
    }

    /// The platforms that the entries name.
    pub(in super::super) fn platforms(&self) -> Vec<Platform> {
        self.entries.iter().filter_map(|entry| entry.platform.clone()).collect()
    }
}
