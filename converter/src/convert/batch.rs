//! Images that are prepared in one transaction and published in groups.
//!
//! Every revision of a repository makes each client in the world fetch new catalogs, so images that are ready at about
//! the same time should appear in one revision. [Preparing](Batch::prepare) an image fetches, unpacks and merges what is
//! missing of it, and leaves nothing that anybody sees. [Publishing](Batch::publish) a group writes the records and names
//! of its images and makes all of it visible at once, while others of the batch are still being prepared. What images
//! share is made once, by the first of them that needs it. An image that fails takes no other with it: nothing of it is
//! named when the group is published, so nothing of it appears.
//!
//! Publishers of the same repository take turns, so that none of them makes catalogs in vain. What does not depend on
//! the others is stored before the turn begins; then a group is put on top of the newest revision. Prepared trees stay as
//! they are; only what depends on the neighbours is done again: the places of layers, and records and names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use layer_layout::path;
use tokio_util::sync::CancellationToken;

use super::fetch::{self, Unpacking};
use super::group;
use super::layer_stack::LayerStack;
use super::patience::{PATIENCE, Patience, blocking};
use super::resolve::Resolved;
use super::target::Target;
use super::workspace::Workspace;
use crate::attempts::Attempts;
use crate::layer::Limits;
use crate::notification::Notifications;
use crate::progress::{LayerProgress, Progress};
use crate::report::Report;
use crate::repository::{self, Repository, Transaction, Turn};
use crate::source::Source;
use crate::{Error, Result};

/// How the images of a batch are prepared.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// What no layer may exceed.
    pub limits: Limits,
    /// What a person sees.
    pub progress: Progress,
    /// Who is told of layers.
    pub notifications: Notifications,
    /// How long a commit that is under way is waited for when the user gives up.
    pub commit_patience: Duration,
}

impl BatchSettings {
    /// With the patience of somebody who waits for one image.
    pub fn new(limits: Limits, progress: Progress, notifications: Notifications) -> Self {
        Self { limits, progress, notifications, commit_patience: PATIENCE }
    }
}

/// Images on their way into a repository. Clones are the same batch.
#[derive(Clone)]
pub struct Batch(Arc<Shared>);

/// A batch, as its steps on other threads share it.
struct Shared {
    work: Arc<Workspace>,
    limits: Limits,
    progress: Progress,
    patience: Patience,
    commit_patience: Duration,
}

/// An image of which everything but records and names is prepared.
#[derive(Debug, Clone)]
pub struct Prepared {
    image: Resolved,
    /// Those at this image, of which publishing it may need some.
    attempts: Attempts,
    /// Where the layers of each of its targets stand.
    stacks: Vec<LayerStack>,
    remarks: Vec<String>,
}

impl Prepared {
    /// What a user should know although nothing failed.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// What it consists of, with the places of the layers.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&Arc<Target>, &LayerStack)> + Clone {
        self.image.targets().iter().zip(&self.stacks)
    }
}

impl Batch {
    /// Begins a batch when no other publisher keeps the repository locked.
    ///
    /// # Errors
    /// If the repository cannot be written, or the user gives up.
    pub async fn begin(
        repository: &Arc<dyn Repository>,
        settings: BatchSettings,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let BatchSettings { limits, progress, notifications, commit_patience } = settings;
        let patience = Patience::new(cancel.clone());
        let beginning = Arc::clone(repository);
        let transaction = blocking(move || {
            Ok(beginning.begin(&mut |busy| {
                tracing::warn!("{busy}; waiting");
                true
            })?)
        });
        let transaction = Arc::new(patience.until_cancelled(transaction).await??);
        let work = Workspace::new(Arc::clone(repository), transaction, notifications);
        let work = Arc::new(work);
        Ok(Self(Arc::new(Shared { work, limits, progress, patience, commit_patience })))
    }

    /// Prepares all of an image except for its records and names, and tells the report what it fetched. `attempts` are
    /// those at this image.
    ///
    /// # Errors
    /// If a layer cannot be fetched, is not what the image promises, or cannot be written, or the user gives up.
    pub async fn prepare(
        &self,
        image: &Resolved,
        attempts: &Attempts,
        report: &mut Report,
    ) -> Result<Prepared> {
        let Shared { patience, .. } = &*self.0;
        let preparing = self.prepare_image(image, attempts.clone(), report);
        let prepared = patience.with_patience(PATIENCE, preparing).await;
        prepared.unwrap_or(Err(Error::Cancelled))
    }

    async fn prepare_image(
        &self,
        image: &Resolved,
        attempts: Attempts,
        report: &mut Report,
    ) -> Result<Prepared> {
        let (mut stacks, mut remarks) = (Vec::new(), Vec::new());
        for target in image.targets() {
            let (work, wanted) = (Arc::clone(&self.0.work), Arc::clone(target));
            // Another publisher may have been at work while this one waited for the lock.
            let missing = self.step(move || wanted.missing_layers(&work)).await?;
            self.fetch(image.source(), target, missing, report).await?;
            let stack = self.place_layers(image.source(), target, report).await?;
            let made = self.make_trees(target, &stack).await?;
            for remark in stack.remarks().iter().cloned().chain(made) {
                // The same image can be published in two places.
                if !remarks.contains(&remark) {
                    remarks.push(remark);
                }
            }
            stacks.push(stack);
        }
        Ok(Prepared { image: image.clone(), attempts, stacks, remarks })
    }

    /// Finds the place of each layer, and fetches those that have to stand somewhere else.
    async fn place_layers(
        &self,
        source: &Arc<Source>,
        target: &Arc<Target>,
        report: &mut Report,
    ) -> Result<LayerStack> {
        let mut stack = LayerStack::default();
        loop {
            let (work, of) = (Arc::clone(&self.0.work), Arc::clone(target));
            let placed = self.step(move || {
                let unpacking = stack.place_layers(&work, &of)?;
                Ok((stack, unpacking))
            });
            let unpacking;
            (stack, unpacking) = placed.await?;
            let Some(unpacking) = unpacking else { return Ok(stack) };
            self.fetch(source, target, vec![unpacking], report).await?;
        }
    }

    /// Makes the merged root and, if it was asked for, the flat root. Returns remarks for the report.
    async fn make_trees(&self, target: &Arc<Target>, stack: &LayerStack) -> Result<Vec<String>> {
        // An image without layers has no chain that could be merged.
        if let Some(top) = target.top_chain() {
            let lower = stack.lower_directories().to_vec();
            let merge = || {
                let (work, of) = (Arc::clone(&self.0.work), Arc::clone(target));
                self.step(move || of.merge(&work, &lower))
            };
            self.0.work.pool.once(&path::chain_rootfs(&top), merge).await?;
        }
        let remarks = Arc::new(Mutex::new(Vec::new()));
        if target.flat {
            let flat = path::flat(&target.config_digest());
            let share = || {
                let (work, of) = (Arc::clone(&self.0.work), Arc::clone(target));
                let remarks = Arc::clone(&remarks);
                self.step(move || {
                    let made = of.make_flat(&work)?;
                    remarks.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
                    Ok(())
                })
            };
            self.0.work.pool.once(&flat, share).await?;
        }
        let mut remarks = remarks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *remarks))
    }

    /// Makes images of the batch visible, all at once, when it is this publisher's turn. The result says for each, in
    /// order, what became of it: an image can turn out to be unpublishable when somebody else has changed what it stands
    /// on, and it may have to be prepared again.
    ///
    /// # Errors
    /// If none of them was published.
    pub async fn publish(&self, images: Vec<Prepared>) -> Result<Vec<Result<()>>> {
        self.store(&images).await?;
        self.turn().await?.publish(images).await
    }

    /// Stores what is prepared of images, so that publishing them is over quickly. Nobody sees it yet.
    ///
    /// # Errors
    /// If something cannot be stored, or the user gives up.
    pub async fn store(&self, images: &[Prepared]) -> Result<()> {
        let targets = images.iter().flat_map(Prepared::targets);
        let trees: Vec<_> = targets.flat_map(|(target, stack)| target.trees(stack)).collect();
        let work = Arc::clone(&self.0.work);
        let storing = self.step(move || Ok(work.transaction.store(&trees)?));
        let stored = self.0.patience.with_patience(PATIENCE, storing).await;
        stored.unwrap_or(Err(Error::Cancelled))
    }

    /// Waits until no other publisher says that it is about to publish.
    ///
    /// # Errors
    /// If the user gives up.
    pub async fn turn(&self) -> Result<BatchTurn> {
        let (work, cancel) = (Arc::clone(&self.0.work), self.0.patience.token().clone());
        let turn = self.step(move || Ok(work.repository.turn(&mut || !cancel.is_cancelled())));
        let turn = self.0.patience.until_cancelled(turn).await??;
        Ok(BatchTurn { batch: self.clone(), turn })
    }

    async fn publish_despite_others(&self, mut images: Vec<Prepared>) -> Result<Vec<Result<()>>> {
        let mut outcomes: Vec<Result<()>> = images.iter().map(|_| Ok(())).collect();
        let mut has_changed = self.change(|transaction| transaction.catch_up()).await?;
        loop {
            if has_changed {
                tracing::info!("another publisher was faster; putting the group on top");
                for (image, outcome) in images.iter_mut().zip(&mut outcomes) {
                    if outcome.is_ok() {
                        *outcome = self.put_on_top(image).await;
                    }
                }
            }
            let work = Arc::clone(&self.0.work);
            let at: Vec<_> = (0..images.len()).filter(|&at| outcomes[at].is_ok()).collect();
            let group: Vec<_> = at.iter().map(|&at| images[at].clone()).collect();
            if group.is_empty() {
                return Ok(outcomes);
            }
            let published = blocking(move || group::publish(&work, &group)).await;
            match published {
                Err(error) if error.is_overtaken() && !error.is_collected() => {
                    tracing::debug!("{error}");
                    for at in at {
                        outcomes[at] = images[at].attempts.again().map_err(Error::from);
                    }
                }
                result => {
                    for (at, outcome) in at.into_iter().zip(result?) {
                        outcomes[at] = outcome;
                    }
                    return Ok(outcomes);
                }
            }
            has_changed = self.change(|transaction| transaction.rebase().map(|()| true)).await?;
        }
    }

    /// Reads what others have published; `read` tells whether that has changed anything for the transaction.
    async fn change(
        &self,
        read: impl FnOnce(&dyn Transaction) -> repository::Result<bool> + Send + 'static,
    ) -> Result<bool> {
        let work = Arc::clone(&self.0.work);
        blocking(move || {
            let has_changed = read(&**work.transaction)?;
            if has_changed {
                work.forget_published();
            }
            Ok(has_changed)
        })
        .await
    }

    /// Does again for a prepared image what depends on what others have published.
    async fn put_on_top(&self, image: &mut Prepared) -> Result<()> {
        let mut report = Report::new(String::new());
        for (target, stack) in image.image.targets().iter().zip(&mut image.stacks) {
            *stack = self.place_layers(image.image.source(), target, &mut report).await?;
            self.make_trees(target, stack).await?;
        }
        Ok(())
    }

    /// What could not be kept of the batch's images, a line each.
    pub fn shortfalls(&self) -> Vec<String> {
        self.0.work.transaction.shortfalls()
    }

    /// Ends the batch. What is prepared and not published is undone, by a step that is still under way at its end.
    pub async fn end(self) {
        let undone = blocking(move || {
            drop(self);
            Ok(())
        });
        if let Err(error) = undone.await {
            tracing::error!("{error}");
        }
    }

    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.patience.step(step).await
    }

    /// Fetches and unpacks layers, several at a time.
    async fn fetch(
        &self,
        source: &Arc<Source>,
        target: &Arc<Target>,
        layers: Vec<Unpacking>,
        report: &mut Report,
    ) -> Result<()> {
        let jobs: Vec<_> = layers
            .into_iter()
            .map(|unpacking| fetch::Job {
                image: target.image.reference.clone(),
                name: target.place.name.to_string(),
                progress: self
                    .0
                    .progress
                    .layer(&unpacking.layer.digest(), unpacking.layer.blob.size),
                limits: self.0.limits,
                unpacking,
            })
            .collect();
        let progress: Vec<_> = jobs.iter().map(|job| job.progress.clone()).collect();
        let result = fetch::all(source, &self.0.work, jobs, self.0.patience.token()).await;
        report.bytes_in += progress.iter().map(LayerProgress::total).sum::<u64>();
        let fetched = result?;
        report.bytes_out += fetched.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let layers: Vec<_> = fetched.into_iter().map(|(layer, _)| layer).collect();
        report.add_fetched(&layers);
        Ok(())
    }
}

/// A turn in which images of a batch are published.
pub struct BatchTurn {
    batch: Batch,
    turn: Turn,
}

impl BatchTurn {
    /// Makes images visible as [`Batch::publish`] does, and ends the turn.
    ///
    /// # Errors
    /// If none of them was published.
    pub async fn publish(self, images: Vec<Prepared>) -> Result<Vec<Result<()>>> {
        let Self { batch, turn } = self;
        let Shared { patience, .. } = &*batch.0;
        patience.check()?;
        let publishing = async {
            let published = batch.publish_despite_others(images).await;
            blocking(move || {
                turn.end();
                Ok(())
            })
            .await?;
            published
        };
        let published = patience.with_patience(batch.0.commit_patience, publishing).await;
        published.unwrap_or(Err(Error::CancelledInCommit))
    }
}
