//! `ducc verify`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use ducc::convert::{Again, BatchSettings, LayersAgain, Request, convert};
use ducc::inventory::Inventory;
use ducc::notification::Notifications;
use ducc::progress::{Progress, Style};
use ducc::repository::Repository;
use ducc::verify::{RepairPlan, Verdict, verify};
use ducc::{removal, source};
use layer_layout::{Architecture, ImagePlace, ImageReference, Platform, PublicName};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::advice;
use super::source_options::source_options;
use crate::cli::verify::Verify;

/// How often images that seem to be faulty are looked at again while a publisher is at work, and after what pause: a
/// directory is not seen as it was at one moment.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// The report for programs (`--json`).
#[derive(Debug, Serialize, Default)]
struct Report {
    /// Number of images that were looked at.
    images: usize,
    /// What is wrong.
    faults: Vec<Found>,
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
struct Found {
    image: String,
    kind: &'static str,
    text: String,
}

/// Looks at images, tells what is wrong with them, and mends it if that is asked for.
pub(crate) async fn run(arguments: Verify) -> anyhow::Result<()> {
    let mut report = Report::default();
    let json = arguments.common.json;
    let result = verify_and_repair(arguments, &mut report).await;
    if json {
        report.error = result.as_ref().err().map(advice::explain);
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for Found { image, text, .. } in &report.faults {
            println!("{image}: {text}");
        }
        for image in &report.repaired {
            println!("{image}: published again");
        }
        if result.is_ok() && report.repaired.is_empty() {
            println!("{} images, nothing is wrong", report.images);
        }
    }
    result
}

async fn verify_and_repair(arguments: Verify, report: &mut Report) -> anyhow::Result<()> {
    let Verify { repository, images: wanted, repair, download, limits, common } = arguments;
    let access = common.access.access();
    let opening = tokio::task::spawn_blocking(move || {
        let repository = repository.open(None, &access)?;
        repository.finish_abandoned()?;
        Ok::<_, ducc::repository::Error>(repository)
    });
    let repository = opening.await??;
    let look = async |wanted: Vec<PublicName>| {
        let repository = Arc::clone(&repository);
        tokio::task::spawn_blocking(move || look(&*repository, &wanted)).await?
    };
    let found = look(wanted).await?;
    report.images = found.places.len();
    report.layers_to_fetch = found.plan.layers.len();
    report.images_to_publish = found.plan.images.len();
    let number = found.faults.len();
    report.faults = found.faults;
    if number == 0 {
        return Ok(());
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
        source: source_options(&download, None)?,
        settings: BatchSettings::new(
            limits.limits(),
            Progress::new(Style::Lines),
            Notifications::default(),
        ),
    };
    let names = repairs.carry_out(&found.plan, report).await?;
    repository.refresh()?;
    let left = look(names).await?;
    if let [first, ..] = &left.faults[..] {
        bail!(
            "{} faults are left after the repair, among them: {}: {}",
            left.faults.len(),
            first.image,
            first.text
        );
    }
    Ok(())
}

/// What was found in a repository.
struct Look {
    places: Vec<ImagePlace>,
    faults: Vec<Found>,
    plan: RepairPlan,
}

/// Looks at the images of these names, or at all.
fn look(repository: &dyn Repository, wanted: &[PublicName]) -> anyhow::Result<Look> {
    let quiet = repository.quiet_since()?;
    let inventory = Inventory::take(repository)?;
    let all = ducc::inventory::places(repository)?;
    for name in wanted {
        if !all.iter().any(|place| place.name == *name) {
            return Err(removal::Error::NoSuchImage(name.to_string()).into());
        }
    }
    let is_wanted = |place: &ImagePlace| wanted.is_empty() || wanted.contains(&place.name);
    let places: Vec<ImagePlace> = all.into_iter().filter(is_wanted).collect();
    let verdicts = verdicts(repository, &places)?;
    let is_certain = quiet.is_some() && quiet == repository.quiet_since()?;
    let mut seen = Seen { inventory, verdicts, is_certain };
    for _ in 0..LOOKS {
        if seen.is_certain || !seen.has_faults() {
            break;
        }
        std::thread::sleep(PAUSE);
        seen.look_again(repository)?;
    }
    let Seen { inventory, verdicts, .. } = seen;
    let places: Vec<_> = verdicts.iter().map(|verdict| verdict.place.clone()).collect();
    let found = |verdict: &Verdict| {
        let image = verdict.place.to_string();
        let faults = verdict.faults.iter();
        let found = faults.map(move |fault| Found {
            image: image.clone(),
            kind: fault.kind(),
            text: fault.to_string(),
        });
        found.collect::<Vec<_>>()
    };
    let mut faults: Vec<Found> = verdicts.iter().flat_map(found).collect();
    // What belongs to no single image is told only if all are looked at.
    if wanted.is_empty() {
        let own: Vec<_> = places.iter().map(ImagePlace::metadata_directory).collect();
        for broken in inventory.broken.iter().filter(|broken| !own.contains(&broken.path)) {
            faults.push(Found {
                image: broken.path.to_string(),
                kind: "document",
                text: broken.reason.clone(),
            });
        }
    }
    let plan = RepairPlan::new(&inventory, &verdicts);
    Ok(Look { places, faults, plan })
}

fn verdicts(repository: &dyn Repository, places: &[ImagePlace]) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(places.len());
    verify(repository, places, |verdict| verdicts.push(verdict))?;
    Ok(verdicts)
}

/// What was seen of a repository in which others may be at work.
struct Seen {
    inventory: Inventory,
    verdicts: Vec<Verdict>,
    /// Whether nobody was at work meanwhile, so that what seems to be wrong is.
    is_certain: bool,
}

impl Seen {
    fn has_faults(&self) -> bool {
        let is_faulty = |verdict: &Verdict| !verdict.faults.is_empty();
        !self.inventory.broken.is_empty() || self.verdicts.iter().any(is_faulty)
    }

    /// Looks once more at the images that seem to be faulty. Those that are gone by now are none of ours.
    fn look_again(&mut self, repository: &dyn Repository) -> anyhow::Result<()> {
        let quiet = repository.quiet_since()?;
        self.inventory = Inventory::take(repository)?;
        let there = ducc::inventory::places(repository)?;
        let is_faulty = |verdict: &mut Verdict| !verdict.faults.is_empty();
        let faulty = self.verdicts.extract_if(.., is_faulty).map(|verdict| verdict.place);
        let faulty: Vec<_> = faulty.filter(|place| there.contains(place)).collect();
        self.verdicts.extend(verdicts(repository, &faulty)?);
        self.verdicts.sort_by(|a, b| a.place.cmp(&b.place));
        self.is_certain = quiet.is_some() && quiet == repository.quiet_since()?;
        Ok(())
    }
}

/// How images are published again.
struct Repairs {
    repository: Arc<dyn Repository>,
    source: source::Options,
    settings: BatchSettings,
}

impl Repairs {
    /// Publishes again what a plan says, image by image, and gives their names.
    async fn carry_out(
        &self,
        plan: &RepairPlan,
        report: &mut Report,
    ) -> anyhow::Result<Vec<PublicName>> {
        let mut names: BTreeMap<&PublicName, Vec<Platform>> = BTreeMap::new();
        for place in plan.images.keys() {
            let platforms = names.entry(&place.name).or_default();
            platforms.extend(place.architecture.as_ref().map(Architecture::platform));
        }
        let mut failed = 0;
        for (name, platforms) in &names {
            match self.publish(name, platforms, plan).await {
                Ok(()) => report.repaired.push(name.to_string()),
                Err(error) => {
                    tracing::error!("{name}: {}", advice::explain(&error));
                    failed += 1;
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} images could not be published again", names.len());
        }
        Ok(names.into_keys().cloned().collect())
    }

    async fn publish(
        &self,
        name: &PublicName,
        platforms: &[Platform],
        plan: &RepairPlan,
    ) -> anyhow::Result<()> {
        let reference = name.to_string();
        let request = Request {
            reference: ImageReference::Registry(reference.parse()?),
            name: Some(name.clone()),
            platforms: (!platforms.is_empty())
                .then(|| source::Platforms::Listed(platforms.to_vec())),
            flat: true,
            thin: None,
            again: Again { trees: true, layers: LayersAgain::These(plan.layers.clone()) },
            source: self.source.clone(),
        };
        let mut report = ducc::report::Report::new(reference);
        let (repository, never) = (Arc::clone(&self.repository), CancellationToken::new());
        convert(&request, repository, &self.settings, &never, &mut report).await?;
        Ok(())
    }
}
