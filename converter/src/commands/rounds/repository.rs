//! One repository in a round: what lists want of it, and what became of that.

use std::sync::Arc;

use anyhow::Context;
use ducc::convert::{Again, BatchSettings, ThinRequest};
use ducc::removal::{self, unwanted};
use ducc::repository::{Access, Locator, Repository};
use ducc::round::{Common, Round, RoundReport, Settings, Wanted};
use ducc::source;
use ducc::state::{Memory, State};
use ducc::wish::{Platforms, Wish, merge};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::lists::ExpandedList;
use crate::cli::round::RoundOptions;
use crate::commands::signals::blocking;

/// The lists of one repository.
pub(super) struct Share {
    pub(super) locator: Locator,
    pub(super) lists: Vec<ExpandedList>,
}

/// A round over the images of one repository.
pub(super) struct RepositoryRound<'a> {
    pub(super) share: Share,
    pub(super) options: &'a RoundOptions,
    pub(super) source: &'a source::Options,
    pub(super) again: Again,
    pub(super) batch: BatchSettings,
    pub(super) pauses: bool,
    /// For the accounts that lists name.
    pub(super) push_password: Option<String>,
    pub(super) cancel: &'a CancellationToken,
}

impl RepositoryRound<'_> {
    pub(super) async fn run(self) -> anyhow::Result<RoundReport> {
        let Self { share, options, .. } = &self;
        let state = Some(options.state.directory());
        let access = Access { state, ..options.access.clone().access() };
        let locator = share.locator.clone();
        let opening = tokio::task::spawn_blocking(move || locator.open(None, &access));
        let opened = self.cancel.run_until_cancelled(opening).await.context("interrupted")?;
        let repository = opened??;
        let path = State::path(&options.state.directory(), repository.name());
        let state = Arc::new(Memory::at(&path));
        let bookkeeping = self.keep_books(&repository).await?;

        let wishes = share.lists.iter().flat_map(|list| list.expansion.wishes().cloned());
        let merged = merge::merge(wishes);
        let wanted: Vec<Wanted> = merged
            .wishes
            .into_iter()
            .filter_map(|wish| self.wanted(wish))
            .filter(|image| options.shard.is_none_or(|shard| shard.takes(&image.name.to_string())))
            .collect();
        let round = Round {
            repository: Arc::clone(&repository),
            state: Arc::clone(&state),
            settings: Settings {
                common: Common {
                    source: self.source.clone(),
                    again: self.again.clone(),
                    push_password: self.push_password.clone(),
                },
                batch: self.batch.clone(),
                looks: options.work.checks,
                jobs: options.work.jobs,
                grouping: options.grouping(),
                pauses: self.pauses,
            },
            cancel: self.cancel.clone(),
        };
        let mut report = round.run(wanted).await;
        report.errors.extend(merged.conflicts.iter().map(ToString::to_string));
        report.remarks.extend(bookkeeping);
        for list in &share.lists {
            report.errors.extend(list.faults.iter().cloned());
            for (text, ignored) in list.failures() {
                if ignored { &mut report.remarks } else { &mut report.errors }.push(text);
            }
            report.remarks.extend(list.remarks());
        }
        let json = serde_json::to_string(&report)?;
        state.ask(|state| state.put_document(State::ROUND, &json));
        report.errors.extend(state.take_trouble());
        Ok(report)
    }

    /// Notes what the lists want, what has become unwanted, and what is wanted again. Returns remarks.
    async fn keep_books(&self, repository: &Arc<dyn Repository>) -> anyhow::Result<Vec<String>> {
        let lists: Vec<_> = self.share.lists.iter().map(ExpandedList::wishes).collect();
        let repository = Arc::clone(repository);
        let stop = Arc::new(removal::Stop::default());
        let held = Arc::clone(&stop);
        let books = blocking(self.cancel, &stop, move || {
            repository.finish_abandoned()?;
            repository.refresh()?;
            let now = Timestamp::now();
            let books = unwanted::round(&*repository, &lists, now)?;
            if books.is_empty() {
                return Ok(books);
            }
            let mut wait = |busy: &str| {
                tracing::warn!("{busy}; waiting");
                true
            };
            let books = removal::keep_books(&*repository, &mut wait, &held, |view| {
                unwanted::round(view, &lists, now)
            })?;
            Ok(books)
        });
        let books = books.await.context("cannot note what the wish lists want")?;
        let unwanted = books.unwanted.iter().map(|image| {
            format!(
                "{image} is not wished for any more; it is removed when its grace period is over"
            )
        });
        let rescued =
            books.rescued.iter().map(|image| format!("{image} is wished for again and stays"));
        let broken = books.broken.iter().map(|broken| {
            format!("{broken}; it is not wished for any more, but stays until that is mended")
        });
        Ok(unwanted.chain(rescued).chain(broken).collect())
    }

    fn wanted(&self, wish: Wish) -> Option<Wanted> {
        let thin = wish.thin.filter(|_| self.options.skip.allows_thin());
        let form = self.options.thin_format.into();
        Some(Wanted {
            name: wish.reference.public_name()?,
            reference: wish.reference,
            platforms: match wish.platforms {
                Platforms::HostOnly if self.options.multi_arch => Platforms::All,
                platforms => platforms,
            },
            flat: wish.flat && !self.options.skip.skip_flat,
            thin: thin.map(|reference| ThinRequest { reference, form }),
            user: wish.user,
            credentials: wish.credentials,
            priority: wish.priority,
            may_fail: wish.errors_are_ignored,
        })
    }
}
