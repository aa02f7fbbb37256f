//! `ducc convert` and `ducc loop`: rounds over what wish lists want.

mod lists;
mod repository;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ducc::convert::{Again, BatchSettings};
use ducc::notification::Notifications;
use ducc::progress::Progress;
use ducc::repository::Locator;
use ducc::source;
use ducc::wish::IgnoreErrors;
use ducc::wish::registry_tags::RegistryTags;
use ducc::wish::source::{ReadError, ignore_errors_file};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::lists::{ExpandedList, Lists};
use self::repository::{RepositoryRound, Share};
use super::advice::with_causes;
use super::round_report;
use super::signals::{COMMIT_PATIENCE, Interruption};
use super::source_options::{list_options, source_options};
use crate::cli::global::Verbosity;
use crate::cli::round::{Convert, Loop, RoundOptions};
use crate::{
    EXIT_FAILED, EXIT_LIST_BROKEN, EXIT_LIST_UNREADABLE, EXIT_NO_PASSWORD, EXIT_NO_REPOSITORY,
    EXIT_PARTIAL, logging, screen,
};

/// What came of a round over all lists.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Of each repository.
    repositories: Vec<ducc::round::RoundReport>,
    /// What kept lists or repositories from being taken into account.
    errors: Vec<String>,
    #[serde(skip)]
    status: u8,
    /// Whether there are errors other than that lists or repositories are not there.
    #[serde(skip)]
    may_pass: bool,
}

impl Summary {
    /// Notes an error. Of several exit statuses the first counts.
    fn fail(&mut self, status: u8, error: String) {
        self.errors.push(error);
        self.may_pass |=
            ![EXIT_LIST_UNREADABLE, EXIT_LIST_BROKEN, EXIT_NO_REPOSITORY].contains(&status);
        if self.status == 0 {
            self.status = status;
        }
    }

    /// Whether nothing at all could be done, because no list is usable or the repositories do not exist.
    fn is_hopeless(&self) -> bool {
        self.repositories.is_empty() && !self.errors.is_empty() && !self.may_pass
    }
}

/// One round, and the exit status.
pub(crate) async fn convert(
    arguments: Convert,
    verbosity: Option<Verbosity>,
    notifications: &Notifications,
) -> u8 {
    let Convert { round } = arguments;
    let (json, quiet) = (round.output.json, round.output.quiet);
    let publisher = match Publisher::new(round, verbosity, notifications, Kind::Once) {
        Ok(publisher) => publisher,
        Err(error) => return fail(&error),
    };
    let interruption = Interruption::cancels(publisher.cancel.clone());
    let summary = publisher.round().await;
    show(&summary, json, quiet);
    interruption.status().await.unwrap_or(summary.status)
}

/// Round after round, until a signal ends it, or the first has found nothing that it could work on.
pub(crate) async fn run_loop(
    arguments: Loop,
    verbosity: Option<Verbosity>,
    notifications: &Notifications,
) -> u8 {
    let Loop { round, interval } = arguments;
    let (json, quiet) = (round.output.json, round.output.quiet);
    let publisher = match Publisher::new(round, verbosity, notifications, Kind::Loop) {
        Ok(publisher) => publisher,
        Err(error) => return fail(&error),
    };
    let interruption = Interruption::cancels(publisher.cancel.clone());
    let mut is_first = true;
    loop {
        let summary = publisher.round().await;
        show(&summary, json, quiet);
        if is_first && summary.is_hopeless() {
            return interruption.status().await.unwrap_or(summary.status);
        }
        is_first = false;
        let pause = tokio::time::sleep(interval);
        if publisher.cancel.run_until_cancelled(pause).await.is_none() {
            break;
        }
    }
    interruption.status().await.unwrap_or(EXIT_FAILED)
}

/// The images whose failures the file that `DUCC_IGNORE_ERRORS_FILE` names lets pass.
fn ignored_errors() -> anyhow::Result<IgnoreErrors> {
    let Some(path) = std::env::var_os("DUCC_IGNORE_ERRORS_FILE").filter(|path| !path.is_empty())
    else {
        return Ok(IgnoreErrors::default());
    };
    let (ignore, faults) = ignore_errors_file(Path::new(&path))?;
    for fault in faults {
        tracing::warn!("{}:{fault}", path.display());
    }
    Ok(ignore)
}

fn fail(error: &anyhow::Error) -> u8 {
    logging::complain(&format!("{error:#}"));
    EXIT_FAILED
}

/// Who runs rounds.
struct Publisher {
    options: RoundOptions,
    lists: Lists,
    ignore: IgnoreErrors,
    source: source::Options,
    notifications: Notifications,
    progress: Progress,
    cancel: CancellationToken,
    kind: Kind,
    is_first: AtomicBool,
}

/// How often rounds are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything is tried, and what is missing at the end is the result.
    Once,
    /// What fails is left alone for a while, and nobody waits for a result.
    Loop,
}

impl Publisher {
    fn new(
        options: RoundOptions,
        verbosity: Option<Verbosity>,
        notifications: &Notifications,
        kind: Kind,
    ) -> anyhow::Result<Self> {
        let progress = Progress::new(logging::style_of_rounds(options.output.quiet));
        logging::start(&progress, options.output.quiet, verbosity);
        options.skip.warn();
        let sources =
            options.wish_lists.iter().map(|list| list.parse()).collect::<Result<_, _>>()?;
        let source = source_options(&options.download, None)?;
        let lists =
            Lists::new(sources, list_options(&options.download), &options.state.directory());
        Ok(Self {
            lists,
            ignore: ignored_errors()?,
            source,
            notifications: notifications.clone(),
            progress,
            cancel: CancellationToken::new(),
            kind,
            is_first: AtomicBool::new(true),
            options,
        })
    }

    /// One round over all lists. What goes wrong is in the summary, and remembered for `ducc status`.
    async fn round(&self) -> Summary {
        let now = Timestamp::now();
        let mut summary = self.round_at(now).await;
        if !self.cancel.is_cancelled() {
            self.lists.remember_errors(&summary.errors, now);
            if let Some(trouble) = self.lists.take_trouble() {
                summary.fail(EXIT_PARTIAL, trouble);
            }
        }
        summary
    }

    async fn round_at(&self, now: Timestamp) -> Summary {
        let mut summary = Summary::default();
        let tags = Arc::new(RegistryTags::new(self.source.clone()));
        let reading = self.lists.read(tags, &self.ignore, now);
        let (lists, lost) = match self.cancel.run_until_cancelled(reading).await {
            Some(lists) => lists,
            None => {
                summary.fail(EXIT_FAILED, "interrupted; nothing was published".to_owned());
                return summary;
            }
        };
        for error in &lost {
            let status = match error {
                ReadError::Unreadable { .. } => EXIT_LIST_UNREADABLE,
                ReadError::Broken { .. } => EXIT_LIST_BROKEN,
            };
            summary.fail(status, with_causes(error));
        }
        if let Some(trouble) = self.lists.take_trouble() {
            summary.fail(EXIT_PARTIAL, trouble);
        }
        if self.kind == Kind::Once
            && let Err(error) = self.check_password(&lists).await
        {
            summary.fail(EXIT_NO_PASSWORD, format!("{error:#}"));
            return summary;
        }
        for share in self.shares(lists, &mut summary) {
            if self.cancel.is_cancelled() {
                break;
            }
            let repository = share.locator.to_string();
            match self.repository_round(share).await {
                Ok(report) => {
                    if !report.is_success() && summary.status == 0 {
                        summary.status = EXIT_PARTIAL;
                    }
                    summary.repositories.push(report);
                }
                Err(error) => {
                    let status = match error.downcast_ref::<ducc::repository::Error>() {
                        Some(error) if error.is_no_such_repository() => EXIT_NO_REPOSITORY,
                        _ => EXIT_FAILED,
                    };
                    summary
                        .fail(status, format!("{repository}: {}", super::advice::explain(&error)));
                }
            }
        }
        self.is_first.store(false, Ordering::Relaxed);
        summary
    }

    /// Whether thin images can be pushed, before anything is done. Rule: DUCC.
    async fn check_password(&self, lists: &[ExpandedList]) -> anyhow::Result<()> {
        if !self.options.skip.allows_thin() || source::credentials::push_password().is_ok() {
            return Ok(());
        }
        for wish in lists.iter().flat_map(|list| list.expansion.wishes()) {
            let Some(thin) = &wish.thin else { continue };
            anyhow::ensure!(
                self.source.credentials.has_login(thin.registry(), thin.repository()).await?,
                "thin images are to be pushed to {}, but there is no login for it: set \
                 DUCC_OUTPUT_REGISTRY_PASS or log in, or push none (--skip-thin-image)",
                thin.registry()
            );
        }
        Ok(())
    }

    /// The lists of each repository.
    fn shares(&self, lists: Vec<ExpandedList>, summary: &mut Summary) -> Vec<Share> {
        let mut shares: BTreeMap<String, Share> = BTreeMap::new();
        for list in lists {
            let locator = match (&self.options.repository, &list.repository) {
                (Some(locator), _) => Ok(locator.clone()),
                (None, Some(text)) => text.parse::<Locator>().map_err(|error| error.to_string()),
                (None, None) => Err("it names no repository (cvmfs_repo)".to_owned()),
            };
            match locator {
                Ok(locator) => {
                    let share = shares
                        .entry(locator.to_string())
                        .or_insert_with(|| Share { locator, lists: Vec::new() });
                    share.lists.push(list);
                }
                Err(reason) => {
                    let text = format!("{}: {reason}; name one with --repository", list.name);
                    summary.fail(EXIT_LIST_BROKEN, text);
                }
            }
        }
        shares.into_values().collect()
    }

    async fn repository_round(&self, share: Share) -> anyhow::Result<ducc::round::RoundReport> {
        let options = &self.options;
        RepositoryRound {
            share,
            options,
            source: &self.source,
            again: self.again(),
            batch: BatchSettings {
                commit_patience: COMMIT_PATIENCE,
                ..BatchSettings::new(
                    options.limits.limits(),
                    self.progress.clone(),
                    self.notifications.clone(),
                )
            },
            pauses: self.kind == Kind::Loop,
            push_password: source::credentials::push_password().ok(),
            cancel: &self.cancel,
        }
        .run()
        .await
    }

    /// What is to be made again is made again in the first round only.
    fn again(&self) -> Again {
        let again = self.options.again();
        if self.is_first.load(Ordering::Relaxed) {
            return again;
        }
        Again { unfit_flat: again.unfit_flat, ..Again::default() }
    }
}

fn show(summary: &Summary, json: bool, quiet: bool) {
    if json {
        match serde_json::to_string(summary) {
            Ok(json) => screen::say(json),
            Err(error) => screen::warn(format_args!("ducc: cannot write the report: {error}")),
        }
        return;
    }
    for report in &summary.repositories {
        let (figures, rest) = {
            let mut lines = round_report::lines(report).into_iter();
            (lines.next(), lines)
        };
        if !quiet {
            figures.into_iter().for_each(screen::say);
        }
        for line in rest {
            // Images that have failed are in the log.
            if line.starts_with(round_report::ERROR) {
                logging::complain(&line);
            } else {
                screen::warn(format_args!("ducc: {line}"));
            }
        }
    }
    summary.errors.iter().for_each(|error| logging::complain(error));
}
