//! Wish lists, read and expanded for one round.

use std::path::Path;
use std::sync::Arc;

use ducc::removal::{ListWishes, Wanted};
use ducc::state::Memory;
use ducc::wish::expand::{Expander, Expansion};
use ducc::wish::registry_tags::RegistryTags;
use ducc::wish::source::{self, Kept, ListSource, ReadError};
use ducc::wish::{Fault, IgnoreErrors, List, Severity};
use jiff::Timestamp;

use crate::commands::advice::with_causes;
use crate::commands::list_troubles::{self, Trouble};

/// The lists of the command line, with what is kept of them between rounds.
pub(super) struct Lists {
    sources: Vec<ListSource>,
    options: source::Options,
    kept: Memory,
}

/// A list as it counts in a round.
pub(super) struct ExpandedList {
    /// What the list is called, without secrets.
    pub(super) name: String,
    /// The repository that it names.
    pub(super) repository: Option<String>,
    pub(super) expansion: Expansion,
    /// What is wrong with it, although it is used.
    pub(super) faults: Vec<String>,
    /// What its authors should know.
    remarks: Vec<String>,
}

impl Lists {
    /// Remembers the lists in `directory`.
    pub(super) fn new(
        sources: Vec<ListSource>,
        options: source::Options,
        directory: &Path,
    ) -> Self {
        Self { sources, options, kept: Memory::at(&list_troubles::database(directory)) }
    }

    /// Reads and expands all lists, if the last good version of each can be remembered or not. The second part of the
    /// result tells why others cannot be used.
    pub(super) async fn read(
        &self,
        tags: Arc<RegistryTags>,
        ignore: &IgnoreErrors,
        now: Timestamp,
    ) -> (Vec<ExpandedList>, Vec<ReadError>) {
        self.kept.try_again();
        let expander = Expander::new(tags, now, ignore.clone());
        let (mut lists, mut lost) = (Vec::new(), Vec::new());
        for source in &self.sources {
            let name = source.to_string();
            let document = source.id().to_string();
            let kept = self.kept.ask(|state| state.document(&document));
            let kept: Option<Kept> = kept.and_then(|json| serde_json::from_str(&json).ok());
            let reading = match source.read(kept.as_ref(), &self.options).await {
                Ok(reading) => reading,
                Err(error) => {
                    lost.push(error);
                    continue;
                }
            };
            if kept.as_ref() != Some(&reading.kept) {
                let json =
                    serde_json::to_string(&reading.kept).expect("texts can be written as JSON");
                self.kept.ask(|state| state.put_document(&document, &json));
            }
            let told = |fault: &Fault| format!("{name}:{fault}");
            let (remarks, faults): (Vec<_>, Vec<_>) =
                (reading.faults.iter()).partition(|fault| fault.severity == Severity::Remark);
            let remarks: Vec<_> = remarks.into_iter().map(told).collect();
            let mut faults: Vec<_> = faults.into_iter().map(told).collect();
            if let source::State::Stale(error) = &reading.state {
                faults.push(format!("{}; its last good version is used", with_causes(error)));
            }
            let List { repository, .. } = &reading.list;
            let repository = repository.clone();
            let expansion = expander.expand(&name, &reading.list).await;
            lists.push(ExpandedList { name, repository, expansion, faults, remarks });
        }
        (lists, lost)
    }

    /// Remembers what kept lists or repositories from being taken into account in a round that began at `now`.
    pub(super) fn remember_errors(&self, errors: &[String], now: Timestamp) {
        let lists = self.sources.iter().map(ToString::to_string).collect();
        let trouble = Trouble { lists, begun: now, errors: errors.to_vec() };
        self.kept.ask(|state| list_troubles::put(state, trouble));
    }

    /// What has gone wrong with remembering lists since the last call.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.kept.take_trouble()
    }
}

impl ExpandedList {
    /// What the list wants, for those who remove what nobody wants.
    pub(super) fn wishes(&self) -> ListWishes {
        ListWishes { list: self.name.clone(), wanted: Wanted::of(&self.expansion) }
    }

    /// Entries whose images are not known, in words.
    pub(super) fn failures(&self) -> impl Iterator<Item = (String, bool)> {
        self.expansion.failed().map(|(entry, error)| {
            let text = format!("{}:{}: {}", self.name, entry.line, with_causes(error));
            (text, entry.errors_are_ignored)
        })
    }

    /// What a user should know of the list and its entries, in words.
    pub(super) fn remarks(&self) -> impl Iterator<Item = String> {
        let of_entries = self.expansion.entries.iter().flat_map(|entry| {
            let place = format!("{}:{}: {}", self.name, entry.line, entry.text);
            entry.remarks.iter().map(move |remark| format!("{place}: {remark}"))
        });
        self.remarks.iter().cloned().chain(of_entries)
    }
}
