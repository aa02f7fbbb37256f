//! One attempt to publish an image: everything is prepared in a transaction, which is then committed, or undone
//! if something fails or the user gives up.
//!
//! What a repository does may block for minutes, if its storage does not answer. So all of it happens on
//! threads that may block, in steps, and no step is begun after the user has given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use layer_layout::RepositoryPath;

use super::fetch::{self, Unpacked, Unpacking};
use super::layer_stack::LayerStack;
use super::target::Target;
use super::workspace::Workspace;
use super::{Conversion, blocking};
use crate::progress::LayerProgress;
use crate::report::Report;
use crate::repository::SharedTransaction;
use crate::source::Source;
use crate::{Error, Result};

/// How long a step that is under way is waited for when the user gives up. Most end sooner; one that waits for a
/// storage that does not answer goes on alone, and undoes the transaction at its end. If the program ends
/// before, the next publisher removes what is left.
const PATIENCE: Duration = Duration::from_secs(5);

impl Conversion<'_> {
    /// Publishes the image, unless another publisher or a garbage collection has come in between.
    pub(super) async fn publish(
        &self,
        source: &Arc<Source>,
        target: &Arc<Target>,
        report: &mut Report,
    ) -> Result<()> {
        let transaction = self.until_cancelled(self.begin()).await??;
        let (repository, target) = (Arc::clone(&self.repository), Arc::clone(target));
        let work = Workspace { transaction, repository, target };
        let prepared = self.with_patience(self.prepare(&work, source, report)).await;
        let remarks = match prepared.unwrap_or(Err(Error::Cancelled)) {
            Ok(remarks) => remarks,
            Err(error) => {
                undo(work).await;
                return Err(error);
            }
        };
        let committed = self.with_patience(commit(work)).await;
        committed.unwrap_or(Err(Error::CancelledInCommit))?;
        for remark in &remarks {
            tracing::warn!("{remark}");
        }
        report.remarks.extend(remarks);
        Ok(())
    }

    async fn begin(&self) -> Result<SharedTransaction> {
        let transaction = self.in_repository(|repository| {
            Ok(repository.begin(&mut |busy| {
                tracing::warn!("{busy}; waiting");
                true
            })?)
        });
        transaction.await.map(Arc::new)
    }

    /// Waits for `work`; `None` if the user has given up and it does not come to an end.
    async fn with_patience<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let at_an_end = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            result = work => Some(result),
            () = at_an_end => {
                tracing::warn!("not waiting for the repository any longer");
                None
            }
        }
    }

    /// Prepares all that is missing of the image, names last. Returns remarks for the report.
    async fn prepare(
        &self,
        work: &Workspace,
        source: &Arc<Source>,
        report: &mut Report,
    ) -> Result<Vec<String>> {
        // Another publisher may have been at work while this one waited for the lock.
        let missing = self.step(work, |work| work.target.missing_layers(&*work.repository)).await?;
        report.fetched(&missing);
        (report.bytes_in, report.bytes_out) = (0, 0);

        let mut stack = LayerStack::default();
        let missing = missing.into_iter().map(Unpacking::for_all_images).collect();
        stack.add(self.fetch(work, source, missing, report).await?);
        let mut stack =
            self.step(work, move |work| work.write_layer_records(&stack).map(|()| stack)).await?;
        loop {
            let placed = self.step(work, move |work| {
                let unpacking = stack.place_layers(work)?;
                Ok((stack, unpacking))
            });
            let unpacking;
            (stack, unpacking) = placed.await?;
            let Some(unpacking) = unpacking else { break };
            stack.add(self.fetch(work, source, vec![unpacking], report).await?);
        }

        let stack = Arc::new(stack);
        let lower = Arc::clone(&stack);
        self.step(work, move |work| work.merge(&lower)).await?;
        let mut remarks = self.step(work, Workspace::make_flat).await?;
        self.step(work, move |work| work.write_names(&stack)).await?;
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        remarks.extend(work.transaction.shortfalls());
        Ok(remarks)
    }

    /// One step of the work, where it may block.
    async fn step<T: Send + 'static>(
        &self,
        work: &Workspace,
        step: impl FnOnce(&Workspace) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let work = work.clone();
        blocking(move || step(&work)).await
    }

    /// Fetches and unpacks layers, several at a time.
    async fn fetch(
        &self,
        work: &Workspace,
        source: &Arc<Source>,
        layers: Vec<Unpacking>,
        report: &mut Report,
    ) -> Result<BTreeMap<RepositoryPath, Unpacked>> {
        let jobs: Vec<_> = layers
            .into_iter()
            .map(|unpacking| fetch::Job {
                image: work.target.image.reference.clone(),
                progress: self.progress.layer(&unpacking.layer.digest(), unpacking.layer.blob.size),
                limits: self.request.limits,
                unpacking,
            })
            .collect();
        let progress: Vec<_> = jobs.iter().map(|job| job.progress.clone()).collect();
        let result = fetch::all(source, &work.transaction, jobs, self.cancel).await;
        report.bytes_in += progress.iter().map(LayerProgress::total).sum::<u64>();
        let unpacked = result?;
        report.bytes_out += unpacked.values().map(|layer| layer.unpacked_bytes).sum::<u64>();
        Ok(unpacked)
    }
}

async fn commit(work: Workspace) -> Result<()> {
    blocking(move || {
        let transaction = Arc::into_inner(work.transaction);
        let transaction = transaction.expect("each step has given its part back at its end");
        Ok(transaction.commit()?)
    })
    .await
}

/// Undoes the transaction. A step that is still under way does it at its end.
async fn undo(work: Workspace) {
    let undone = blocking(move || {
        drop(work);
        Ok(())
    });
    if let Err(error) = undone.await {
        tracing::error!("{error}");
    }
}
