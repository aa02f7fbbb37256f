//! What is wrong in a repository in which others may be at work.
//!
//! A directory is not seen as it was at one moment: while a publisher is at work, an image can seem to be faulty of which
//! one part was read before it was published again, and another part after that. Such images are looked at once more.

use std::sync::Arc;
use std::time::Duration;

use ducc::aliases::{self, WrongAlias};
use ducc::inventory::{self, Inventory};
use ducc::removal;
use ducc::repository::Repository;
use ducc::verify::{RepairPlan, Settings, Verdict, verify_with};
use layer_layout::{ImagePlace, PublicName};
use serde::Serialize;

/// How often images that seem to be faulty are looked at again while a publisher is at work.
const LOOKS: u32 = 10;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(300);

/// What was found in a repository.
pub(super) struct Look {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) faults: Vec<Found>,
    pub(super) plan: RepairPlan,
    /// Whether aliases of platforms' directories are among the faults.
    pub(super) has_wrong_aliases: bool,
}

/// A fault.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    /// The image, or the document of which nobody knows whose it is.
    pub(super) image: String,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// Looks at the images of these names, or at all.
pub(super) async fn look(
    repository: &Arc<dyn Repository>,
    wanted: &[PublicName],
    settings: &Settings,
) -> anyhow::Result<Look> {
    let mut seen = Seen::of(repository, wanted, settings).await?;
    if !seen.is_certain && seen.has_faults() {
        seen.look_again(repository, settings).await?;
    }
    let Seen { inventory, verdicts, aliases, .. } = seen;
    let mut faults = Vec::new();
    for verdict in &verdicts {
        let image = verdict.place.to_string();
        faults.extend(verdict.faults.iter().map(|fault| Found {
            image: image.clone(),
            kind: fault.kind(),
            text: fault.to_string(),
        }));
    }
    // What belongs to no single image is told only if all are looked at.
    if wanted.is_empty() {
        let own: Vec<_> =
            verdicts.iter().map(|verdict| verdict.place.metadata_directory()).collect();
        for broken in inventory.broken.iter().filter(|broken| !own.contains(&broken.path)) {
            faults.push(Found {
                image: broken.path.to_string(),
                kind: "document",
                text: broken.reason.clone(),
            });
        }
        faults.extend(aliases.iter().map(|WrongAlias { path, found, expected }| {
            let should = match expected {
                Some(expected) => format!("should lead to {expected:?}"),
                None => "no directory is there for it".to_owned(),
            };
            let found = found.as_deref().unwrap_or_default();
            let text = format!("it leads clients to {found:?}; {should}");
            Found { image: path.to_string(), kind: "link", text }
        }));
    }
    let has_wrong_aliases = wanted.is_empty() && !aliases.is_empty();
    let plan = RepairPlan::new(&inventory, &verdicts);
    Ok(Look { verdicts, faults, plan, has_wrong_aliases })
}

/// What was seen.
struct Seen {
    inventory: Inventory,
    /// The aliases of platforms' directories that are wrong.
    aliases: Vec<WrongAlias>,
    verdicts: Vec<Verdict>,
    /// Whether nobody was at work meanwhile, so that what seems to be wrong is.
    is_certain: bool,
}

/// What belongs together if nobody was at work meanwhile.
struct Listing {
    quiet: Option<String>,
    inventory: Inventory,
    aliases: Vec<WrongAlias>,
    places: Vec<ImagePlace>,
}

impl Seen {
    async fn of(
        repository: &Arc<dyn Repository>,
        wanted: &[PublicName],
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let Listing { quiet, inventory, aliases, places } = list(repository).await?;
        for name in wanted {
            if !places.iter().any(|place| place.name == *name) {
                return Err(removal::Error::NoSuchImage(name.to_string()).into());
            }
        }
        let is_wanted = |place: &ImagePlace| wanted.is_empty() || wanted.contains(&place.name);
        let places = places.into_iter().filter(is_wanted).collect();
        let verdicts = verify_with(repository, places, settings).await?;
        let is_certain = is_quiet_since(repository, quiet).await?;
        Ok(Self { inventory, aliases, verdicts, is_certain })
    }

    fn has_faults(&self) -> bool {
        self.has_faults_of_none() || self.verdicts.iter().any(is_faulty)
    }

    /// Whether something is wrong that belongs to no single image.
    fn has_faults_of_none(&self) -> bool {
        !self.inventory.broken.is_empty() || !self.aliases.is_empty()
    }

    /// Looks at the images that seem to be faulty until nobody is at work or they seem to be right, and then compares them
    /// once more as `settings` say: what is fetched for that is fetched once. Those that are gone by now are none of ours.
    async fn look_again(
        &mut self,
        repository: &Arc<dyn Repository>,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        let seemed: Vec<_> = self.verdicts.extract_if(.., |verdict| is_faulty(verdict)).collect();
        let seemed: Vec<_> = seemed.into_iter().map(|verdict| verdict.place).collect();
        let within = Settings { registry: None, data: false, ..settings.clone() };
        for _ in 0..LOOKS {
            tokio::time::sleep(PAUSE).await;
            let (verdicts, is_certain) = self.look_at(repository, &seemed, &within).await?;
            let is_right = !self.has_faults_of_none() && !verdicts.iter().any(is_faulty);
            if is_certain || is_right {
                break;
            }
        }
        // Only layers are dear.
        let looks = if settings.data { 1 } else { LOOKS };
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let (verdicts, is_certain) = self.look_at(repository, &seemed, settings).await?;
            let is_right = !self.has_faults_of_none() && !verdicts.iter().any(is_faulty);
            if is_certain || is_right || look + 1 == looks {
                self.verdicts.extend(verdicts);
                break;
            }
        }
        self.verdicts.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(())
    }

    /// Looks at those of the places that are there, and tells whether nobody was at work meanwhile.
    async fn look_at(
        &mut self,
        repository: &Arc<dyn Repository>,
        places: &[ImagePlace],
        settings: &Settings,
    ) -> anyhow::Result<(Vec<Verdict>, bool)> {
        let Listing { quiet, inventory, aliases, places: there } = list(repository).await?;
        (self.inventory, self.aliases) = (inventory, aliases);
        let places = places.iter().filter(|place| there.contains(place)).cloned().collect();
        let verdicts = verify_with(repository, places, settings).await?;
        Ok((verdicts, is_quiet_since(repository, quiet).await?))
    }
}

fn is_faulty(verdict: &Verdict) -> bool {
    !verdict.faults.is_empty()
}

async fn list(repository: &Arc<dyn Repository>) -> anyhow::Result<Listing> {
    let repository = Arc::clone(repository);
    let listing = tokio::task::spawn_blocking(move || {
        let quiet = repository.quiet_since()?;
        let inventory = Inventory::take(&*repository)?;
        let aliases = aliases::wrong(&*repository)?;
        let places = inventory::places(&*repository)?;
        Ok::<_, ducc::repository::Error>(Listing { quiet, inventory, aliases, places })
    });
    Ok(listing.await??)
}

/// Whether no publisher has been at work since [`Repository::quiet_since`] gave `before`.
async fn is_quiet_since(
    repository: &Arc<dyn Repository>,
    before: Option<String>,
) -> anyhow::Result<bool> {
    let repository = Arc::clone(repository);
    let now = tokio::task::spawn_blocking(move || repository.quiet_since()).await??;
    Ok(before.is_some() && before == now)
}
