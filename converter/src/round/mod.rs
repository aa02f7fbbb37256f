//! One round over the images of a repository: each is compared with its registry, and converted if it has changed.
//!
//! An image that has not changed costs one request to its registry and two look-ups in the repository. Images that have
//! are prepared several at a time and published in groups. An image that fails is remembered, tried again after a pause
//! that grows, and holds up nobody.
//!
//! | file | what it is for |
//! |---|---|
//! | `wanted` | what is kept in step |
//! | `shard` | which of it is this publisher's |
//! | `look` | whether an image has changed |
//! | `conversions` | images on their way into the repository |
//! | `slots` | whose turn it is to be prepared |
//! | `grouping` | when those that are ready are published |
//! | `report` | what a round did |

mod conversions;
mod grouping;
mod look;
mod report;
mod shard;
mod slots;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::grouping::Grouping;
pub use self::report::{ConvertedImage, FailedImage, RoundReport};
pub use self::shard::{Shard, ShardError};
pub use self::wanted::{Common, Wanted};

use self::conversions::Conversions;
use self::look::{Look, Looked, Looker};
use crate::convert::{self, BatchSettings, Resolved};
use crate::notification::{Conversion, Notifications};
use crate::report::{Report, Status};
use crate::repository::Repository;
use crate::state::{Failure, Memory, SeenImage, State};
use crate::{Error, Result};

/// Images that are under way at a time, most of them waiting. It bounds memory.
const UNDER_WAY: usize = 512;

/// Images of which the repository is asked at a time what it has of them.
const LOOKED_UP: usize = 128;

/// How long after its next try was due a failure is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(72);

/// How a round is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is common to its images.
    pub common: Common,
    /// How they are prepared.
    pub batch: BatchSettings,
    /// How many images are compared with their registries at a time; each registry has a limit of its own besides.
    pub looks: usize,
    /// How many images are prepared at a time.
    pub jobs: usize,
    /// When those that are ready are published.
    pub grouping: Grouping,
    /// Whether images that failed in an earlier round are left alone for a while.
    pub pauses: bool,
}

/// What a round works with.
pub struct Round {
    /// Where the images go.
    pub repository: Arc<dyn Repository>,
    /// What earlier rounds have left.
    pub state: Arc<Memory>,
    /// How it is run.
    pub settings: Settings,
    /// Cancelled when the user gives up: what is being published is finished, the rest is left.
    pub cancel: CancellationToken,
}

/// What is known of an image before its registry is asked.
struct Known {
    /// What an earlier round has seen of it.
    seen: Option<SeenImage>,
    /// What the repository has under its name; `None` if it has nothing.
    published: Result<Option<String>>,
    /// Whether it failed the last time.
    has_failed: bool,
    /// Its place in the round.
    place: usize,
}

/// What became of an image.
enum Outcome {
    Unchanged,
    Converted(ConvertedImage),
    Failed { name: String, reason: String, may_fail: bool },
    Interrupted,
}

impl Round {
    /// Brings the repository in step with `wanted`, and reports.
    pub async fn run(self, mut wanted: Vec<Wanted>) -> RoundReport {
        let begun = Instant::now();
        let now = Timestamp::now();
        let mut report = RoundReport::new(self.repository.name().to_owned(), now);
        report.images = wanted.len();
        let failures = self.failures(now);
        // Stable: within a priority the order of the lists stays.
        wanted.sort_by_key(|image| std::cmp::Reverse(image.priority));
        if self.settings.pauses {
            wanted.retain(|image| match failures.get(&image.name.to_string()) {
                Some(failure) if failure.next > now => {
                    let failure = failure.clone();
                    report.waiting.push(FailedImage { failure, may_fail: image.may_fail });
                    false
                }
                _ => true,
            });
        }
        let mut seen = self.state.ask(State::images);
        let work = Arc::new(self.work());
        let mut tasks = JoinSet::new();
        let mut wanted = wanted.into_iter();
        let mut places = 0..;
        loop {
            let images: Vec<Wanted> = wanted.by_ref().take(LOOKED_UP).collect();
            if images.is_empty() {
                break;
            }
            let published = work.looker.published(&images).await;
            for ((image, published), place) in images.into_iter().zip(published).zip(&mut places) {
                while tasks.len() >= UNDER_WAY
                    && let Some(ended) = tasks.join_next().await
                {
                    self.note(ended, &mut report);
                }
                let name = image.name.to_string();
                let has_failed = failures.contains_key(&name);
                let known = Known { seen: seen.remove(&name), published, has_failed, place };
                // Before the task begins, so that images are looked at in their order.
                let look = Arc::clone(&work.looks).acquire_owned().await;
                let look = look.expect("nobody closes the semaphore");
                let work = Arc::clone(&work);
                tasks.spawn(async move { work.image(image, known, look).await });
            }
        }
        drop(seen);
        work.conversions.no_more();
        while let Some(ended) = tasks.join_next().await {
            self.note(ended, &mut report);
        }
        if let Some(work) = Arc::into_inner(work) {
            work.conversions.end().await;
        }
        report.converted.sort_by(|a, b| a.name.cmp(&b.name));
        report.failed.sort_by(|a, b| a.failure.name.cmp(&b.failure.name));
        report.errors.extend(self.state.take_trouble());
        report.seconds = begun.elapsed().as_secs_f64();
        report
    }

    /// What is known of images that failed. Those that nobody has tried since are forgotten: nobody wishes for them any
    /// more.
    fn failures(&self, now: Timestamp) -> BTreeMap<String, Failure> {
        let mut failures = BTreeMap::new();
        for failure in self.state.ask(State::failures) {
            if now.duration_since(failure.next) > FORGOTTEN {
                self.state.ask(|state| state.clear_failure(&failure.name));
            } else {
                failures.insert(failure.name.clone(), failure);
            }
        }
        failures
    }

    fn work(&self) -> Work {
        let Self { repository, state, settings, cancel } = self;
        let conversions = Conversions::new(
            Arc::clone(repository),
            conversions::Settings {
                jobs: settings.jobs,
                grouping: settings.grouping,
                batch: settings.batch.clone(),
            },
            cancel.clone(),
        );
        Work {
            looker: Looker { repository: Arc::clone(repository), common: settings.common.clone() },
            looks: Arc::new(Semaphore::new(settings.looks.max(1))),
            conversions,
            repository: Arc::clone(repository),
            state: Arc::clone(state),
            common: settings.common.clone(),
            notifications: settings.batch.notifications.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Adds what became of an image to the report.
    fn note(&self, outcome: Result<Outcome, JoinError>, report: &mut RoundReport) {
        match outcome {
            Err(error) => report.errors.push(Error::from(error).to_string()),
            Ok(Outcome::Unchanged) => report.unchanged += 1,
            Ok(Outcome::Converted(image)) => report.converted.push(image),
            Ok(Outcome::Interrupted) => report.interrupted += 1,
            Ok(Outcome::Failed { name, reason, may_fail }) => {
                let failure = self.state.add_failure(&name, &reason, Timestamp::now());
                report.failed.push(FailedImage { failure, may_fail });
            }
        }
    }
}

/// What the images of a round share.
struct Work {
    looker: Looker,
    looks: Arc<Semaphore>,
    conversions: Conversions,
    repository: Arc<dyn Repository>,
    state: Arc<Memory>,
    common: Common,
    notifications: Notifications,
    cancel: CancellationToken,
}

impl Work {
    async fn image(&self, wanted: Wanted, known: Known, look: OwnedSemaphorePermit) -> Outcome {
        let name = wanted.name.to_string();
        let (may_fail, has_failed) = (wanted.may_fail, known.has_failed);
        match self.keep_in_step(&wanted, known, look).await {
            Ok(outcome) => {
                // What was only not reached in an earlier round is remembered already.
                if has_failed && matches!(outcome, Outcome::Unchanged) {
                    self.state.ask(|state| state.clear_failure(&name));
                }
                outcome
            }
            Err(_) if self.cancel.is_cancelled() => Outcome::Interrupted,
            Err(error) => {
                let reason = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(image = name, "{reason}");
                Outcome::Failed { name, reason, may_fail }
            }
        }
    }

    async fn keep_in_step(
        &self,
        wanted: &Wanted,
        known: Known,
        permit: OwnedSemaphorePermit,
    ) -> Result<Outcome> {
        let place = known.place;
        if self.cancel.is_cancelled() {
            return Ok(Outcome::Interrupted);
        }
        let looking = self.looker.look(wanted, known);
        let look = self.cancel.run_until_cancelled(looking).await.ok_or(Error::Cancelled)?;
        drop(permit);
        let look = look.inspect_err(|error| {
            let told = Conversion::started(&self.notifications, &wanted.reference.to_string());
            told.ended(Some(&error.to_string()));
        })?;
        match look {
            Look::Unchanged(seen) => {
                if let Some(seen) = seen {
                    self.remember(wanted, &seen);
                }
                Ok(Outcome::Unchanged)
            }
            // In a place of its own: nearly all images have not changed, and what they wait with should be small.
            Look::Changed(looked) => {
                Box::pin(self.convert(wanted, looked, place)).await.map(Outcome::Converted)
            }
        }
    }

    async fn convert(
        &self,
        wanted: &Wanted,
        looked: Option<Box<Looked>>,
        place: usize,
    ) -> Result<ConvertedImage> {
        let request = wanted.reference.to_string();
        let told = Conversion::started(&self.notifications, &request);
        let (image, mut report) = match looked {
            Some(looked) => (Some(looked.image), looked.report),
            None => (None, Report::new(request.clone())),
        };
        let result = self.publish(wanted, image, place, &told, &mut report).await;
        told.ended(result.as_ref().err().map(ToString::to_string).as_deref());
        result?;
        Ok(ConvertedImage {
            name: wanted.name.to_string(),
            layers_fetched: report.layers_fetched,
            bytes_in: report.bytes_in,
            remarks: report.remarks,
        })
    }

    async fn publish(
        &self,
        wanted: &Wanted,
        image: Option<Resolved>,
        place: usize,
        told: &Conversion<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let request = wanted.request(&self.common)?;
        let image = self.conversions.convert(&request, image, place, report).await?;
        if report.status == Status::Converted {
            tracing::info!(image = %wanted.name, "published");
            told.published(&wanted.name.to_string(), report);
        }
        if let Some(thin) = &wanted.thin {
            let (name, push) = (self.repository.name(), wanted.push(&self.common));
            let pushing = convert::push_thin(thin, &image, name, &push);
            let pushed = self.cancel.run_until_cancelled(pushing).await;
            report.thin = Some(pushed.ok_or(Error::CancelledBeforeThin)??);
        }
        if let Some(seen) = self.looker.seen(wanted, image.source_digest()).await? {
            self.remember(wanted, &seen);
        }
        Ok(())
    }

    /// Remembers that an image is in step. If that fails, the next round looks at it more closely, that is all.
    fn remember(&self, wanted: &Wanted, seen: &SeenImage) {
        let name = wanted.name.to_string();
        self.state.ask(|state| state.put_image(&name, seen));
        self.state.ask(|state| state.clear_failure(&name));
    }
}
