//! `ducc verify`.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, bail};
use ducc::convert::{Again, At, BatchSettings, LayersAgain, Request, convert};
use ducc::notification::{Conversion, Notifications};
use ducc::progress::{Progress, Style};
use ducc::removal::{Stop, mend_aliases};
use ducc::repository::Repository;
use ducc::source;
use ducc::verify::{
    Comparison, RepairPlan, Republication, Republications, Settings, Verdict, discard_damaged,
    republications,
};
use layer_layout::{Digest, ImageReference, LayerDigest, PublicName};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::look::{Found, Look};
use super::advice;
use super::signals::{COMMIT_PATIENCE, blocking};
use super::source_options::source_options;
use crate::cli::verify::Verify;
use crate::screen;

/// How many images are compared with their registries at a time; each registry has a limit of its own besides.
const COMPARISONS: usize = 64;

/// The report for programs (`--json`).
#[derive(Debug, Serialize, Default)]
struct Report {
    /// Number of images that were looked at.
    images: usize,
    /// Number of those that were compared with their registries.
    compared: usize,
    /// Whether the content of files was compared, too.
    data: bool,
    /// What is wrong.
    faults: Vec<Found>,
    /// Images whose name leads to another one in the registry.
    moved: Vec<Moved>,
    /// What could not be looked at.
    not_compared: Vec<NotCompared>,
    /// Number of layers that have to be fetched again.
    layers_to_fetch: usize,
    /// Number of images of which something has to be published again.
    images_to_publish: usize,
    /// The images that were published again (`--repair`).
    repaired: Vec<String>,
    /// What went wrong, with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Moved {
    image: String,
    /// Digest of the published manifest.
    published: Digest,
    /// Digest of the manifest that the name leads to.
    now: Digest,
}

#[derive(Debug, Serialize)]
struct NotCompared {
    image: String,
    reason: String,
}

/// Looks at images, tells what is wrong with them, and mends it if that is asked for. Listeners are told what is
/// published again.
pub(crate) async fn run(
    arguments: Verify,
    notifications: Notifications,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let mut report = Report::default();
    let json = arguments.common.json;
    let result = verify_and_repair(arguments, notifications, &cancel, &mut report).await;
    if json {
        report.error = result.as_ref().err().map(advice::explain);
        screen::say(serde_json::to_string(&report)?);
    } else {
        report.lines(result.is_ok()).iter().for_each(screen::say);
    }
    result
}

impl Report {
    fn lines(&self, is_good: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let faults = self.faults.iter();
        lines.extend(faults.map(|Found { image, text, .. }| format!("{image}: {text}")));
        lines.extend(self.moved.iter().map(|Moved { image, published, now }| {
            format!("{image}: moved: it is {now} in the registry now; {published} is published")
        }));
        lines.extend(
            self.not_compared
                .iter()
                .map(|NotCompared { image, reason }| format!("{image}: not compared: {reason}")),
        );
        lines.extend(self.repaired.iter().map(|image| format!("{image}: published again")));
        if is_good && self.repaired.is_empty() {
            let compared = match self.compared {
                0 => String::new(),
                number => format!(", {number} compared with their registries"),
            };
            lines.push(format!("{} images, nothing is wrong{compared}", self.images));
        }
        lines
    }

    fn found(&mut self, look: Look) -> (RepairPlan, usize) {
        let Look { verdicts, mut faults, plan, .. } = look;
        self.images = verdicts.len();
        self.layers_to_fetch = plan.layers.len();
        self.images_to_publish = plan.images.len();
        for Verdict { place, comparison, not_compared, .. } in verdicts {
            let image = place.to_string();
            if let Some(Comparison::Moved { published, now }) = comparison {
                self.moved.push(Moved { image: image.clone(), published, now });
            }
            self.compared +=
                usize::from(comparison.is_some_and(|it| !matches!(it, Comparison::NotCompared(_))));
            let not_compared = not_compared.into_iter();
            self.not_compared
                .extend(not_compared.map(|reason| NotCompared { image: image.clone(), reason }));
        }
        self.faults.append(&mut faults);
        (plan, self.faults.len())
    }
}

async fn verify_and_repair(
    arguments: Verify,
    notifications: Notifications,
    cancel: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Verify { repository, images: wanted, offline, data, repair, download, limits, common } =
        arguments;
    let access = common.access.access();
    let opening = tokio::task::spawn_blocking(move || {
        let repository = repository.open(None, &access)?;
        repository.finish_abandoned()?;
        Ok::<_, ducc::repository::Error>(repository)
    });
    let repository = interruptible(cancel, opening).await???;
    if data && offline && !repository.expands_variables() {
        bail!(
            "a directory keeps no hashes of its files, so --data compares them with the registry's layers: leave out \
             --offline"
        );
    }
    let source = source_options(&download, None)?;
    report.data = data;
    let settings = Settings {
        registry: (!offline).then(|| source.clone()),
        data,
        limits: limits.limits(),
        at_a_time: COMPARISONS,
    };
    let look = look::look(&repository, &wanted, &settings);
    let look = interruptible(cancel, look).await??;
    let has_wrong_aliases = look.has_wrong_aliases;
    let (plan, number) = report.found(look);
    if number == 0 {
        return report.is_compared();
    }
    if !repair {
        bail!(
            "{number} faults in {} images; to mend them (--repair), {} layers have to be fetched again and {} images \
             published again",
            report.images,
            report.layers_to_fetch,
            report.images_to_publish
        );
    }
    let repairs = Repairs {
        repository: Arc::clone(&repository),
        source,
        settings: BatchSettings {
            commit_patience: COMMIT_PATIENCE,
            ..BatchSettings::new(limits.limits(), Progress::new(Style::Lines), notifications)
        },
        cancel: cancel.clone(),
    };
    let names = repairs.carry_out(&plan, report).await?;
    if has_wrong_aliases {
        repairs.mend_aliases().await?;
    }
    repository.refresh()?;
    let look = look::look(&repository, &names, &settings);
    let left = interruptible(cancel, look).await??;
    if let [first, ..] = &left.faults[..] {
        bail!(
            "{} faults are left after the repair, among them: {}: {}",
            left.faults.len(),
            first.image,
            first.text
        );
    }
    report.is_compared()
}

impl Report {
    /// Fails if something could not be looked at: then nobody knows whether it is right.
    fn is_compared(&self) -> anyhow::Result<()> {
        let mut images: Vec<_> = self.not_compared.iter().map(|it| &it.image).collect();
        images.dedup();
        anyhow::ensure!(
            images.is_empty(),
            "{} of {} images could not be compared with their registries (see above); --offline leaves registries out",
            images.len(),
            self.images
        );
        Ok(())
    }
}

/// Waits for what leaves nothing behind when it is given up.
async fn interruptible<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    cancel.run_until_cancelled(work).await.context("interrupted")
}

/// How images are published again.
struct Repairs {
    repository: Arc<dyn Repository>,
    source: source::Options,
    settings: BatchSettings,
    cancel: CancellationToken,
}

impl Repairs {
    async fn mend_aliases(&self) -> anyhow::Result<()> {
        let (repository, stop) = (Arc::clone(&self.repository), Arc::new(Stop::default()));
        let held = Arc::clone(&stop);
        blocking(&self.cancel, &stop, move || {
            let mut wait = |text: &str| {
                tracing::warn!("{text}; waiting");
                true
            };
            repository.refresh()?;
            Ok(mend_aliases(&*repository, &mut wait, &held)?)
        })
        .await
    }

    /// Publishes again what a plan says, image by image, and gives their names.
    async fn carry_out(
        &self,
        plan: &RepairPlan,
        report: &mut Report,
    ) -> anyhow::Result<Vec<PublicName>> {
        let source = &self.source;
        let asking = republications(&self.repository, plan, source, COMPARISONS);
        let Republications { images, unknown } = interruptible(&self.cancel, asking).await??;
        let mut names: BTreeMap<PublicName, Vec<Republication>> = BTreeMap::new();
        for image in images {
            names.entry(image.place.name.clone()).or_default().push(image);
        }
        let mut failed = BTreeSet::new();
        for (place, reason) in unknown {
            tracing::error!("{place}: {reason}");
            failed.insert(place.name);
        }
        let (repository, damaged) = (Arc::clone(&self.repository), plan.damaged.clone());
        let discarding = tokio::task::spawn_blocking(move || {
            damaged.iter().try_for_each(|tree| discard_damaged(&*repository, tree))
        });
        discarding.await??;
        let mut layers = plan.layers.clone();
        for (name, images) in &names {
            anyhow::ensure!(
                !self.cancel.is_cancelled(),
                "interrupted; {} of {} images were published again",
                report.repaired.len(),
                names.len()
            );
            let told = Conversion::started(&self.settings.notifications, &name.to_string());
            let result = self.publish(images, &mut layers, &told).await;
            told.ended(result.as_ref().err().map(|error| format!("{error:#}")).as_deref());
            match result {
                Ok(()) => report.repaired.push(name.to_string()),
                Err(error) => {
                    tracing::error!("{name}: {}", advice::explain(&error));
                    failed.insert(name.clone());
                }
            }
        }
        if !failed.is_empty() {
            let all = names.keys().chain(&failed).collect::<BTreeSet<_>>().len();
            bail!("{} of {all} images could not be published again", failed.len());
        }
        Ok(names.into_keys().collect())
    }

    /// Publishes the images of a name again, and tells of each. What is fetched of `layers`, which are wrong, is right from then on.
    async fn publish(
        &self,
        images: &[Republication],
        layers: &mut BTreeSet<LayerDigest>,
        told: &Conversion<'_>,
    ) -> anyhow::Result<()> {
        for image in images {
            let Republication { place, reference, identity, platform, link, flat, not_compared } =
                image.clone();
            let mut report = ducc::report::Report::new(reference.to_string());
            let request = Request {
                reference: ImageReference::Registry(reference),
                name: None,
                platforms: None,
                at: Some(At { place, link, identity: Some(identity) }),
                flat,
                thin: None,
                again: Again {
                    trees: true,
                    layers: LayersAgain::These(layers.clone()),
                    ..Again::default()
                },
                source: source::Options { platform, ..self.source.clone() },
            };
            let repository = Arc::clone(&self.repository);
            let converting =
                convert(&request, repository, &self.settings, &self.cancel, &mut report);
            let converted = converting.await;
            match not_compared {
                None => converted?,
                Some(reason) => converted.with_context(|| {
                    format!(
                        "it could not be compared with its registry ({reason}), so only {identity} can take its place"
                    )
                })?,
            }
            told.published(&report.image, &report);
            let fetched = report.layers.iter().filter(|layer| layer.fetched);
            layers.retain(|wrong| !fetched.clone().any(|layer| layer.digest == *wrong));
        }
        Ok(())
    }
}
