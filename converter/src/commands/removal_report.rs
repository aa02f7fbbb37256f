//! What the commands tell that remove images.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ducc::removal::{Batch, Stop};
use layer_layout::RepositoryPath;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::advice;
use super::repository::ObjectsRemoved;
use super::signals::blocking;
use crate::screen;

/// The report, for people and for programs (`--json`).
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether images are only marked as unwanted.
    #[serde(skip)]
    pub(super) marks: bool,
    /// Whether nothing was changed.
    pub(super) dry_run: bool,
    /// The images whose names are gone.
    pub(super) images: Vec<String>,
    /// All paths that are gone.
    pub(super) paths: Vec<RepositoryPath>,
    /// Bytes in files at these paths, counted only if nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    /// Number of changes of the repository.
    pub(super) changes: usize,
    /// Images that have become unwanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unwanted: Vec<String>,
    /// Images that were to be removed and are wanted again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rescued: Vec<String>,
    /// Number of images whose grace period is not over.
    pub(super) waiting: usize,
    /// Number of layers, chains and flat roots that nothing refers to, and whose grace period begins now.
    pub(super) found: usize,
    /// Number of DUCC's own chains that were left alone.
    pub(super) ducc_chains: usize,
    /// What the collection of objects did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) objects: Option<ObjectsRemoved>,
    /// What went wrong, with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            marks: false,
            dry_run,
            images: Vec::new(),
            paths: Vec::new(),
            bytes: None,
            changes: 0,
            unwanted: Vec::new(),
            rescued: Vec::new(),
            waiting: 0,
            found: 0,
            ducc_chains: 0,
            objects: None,
            error: None,
        }
    }

    /// Adds what goes in one change of the repository.
    pub(super) fn add(&mut self, batch: &Batch) {
        self.images.extend(batch.images.iter().map(ToString::to_string));
        self.paths.extend(batch.paths.iter().cloned());
        self.changes += 1;
    }

    /// The report as lines.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        if self.dry_run {
            lines.extend(self.paths.iter().map(|path| format!("would remove {path}")));
        }
        for image in &self.unwanted {
            lines.push(format!("not wished for: {image}"));
        }
        for image in &self.rescued {
            lines.push(format!("wished for again: {image}"));
        }
        lines.push(self.summary());
        if let Some(objects) = &self.objects {
            lines.push(objects.to_string());
        }
        lines
    }

    fn summary(&self) -> String {
        if self.marks {
            let does = if self.dry_run { "would mark" } else { "marked" };
            let (unwanted, rescued) = (self.unwanted.len(), self.rescued.len());
            return format!("{does} {unwanted} images as unwanted; {rescued} are wished for again");
        }
        let does = if self.dry_run { "would remove" } else { "removed" };
        let mut text = format!("{does} {} images, {} paths", self.images.len(), self.paths.len());
        if let Some(bytes) = self.bytes {
            text += &format!(" ({bytes} bytes)");
        }
        for (number, what) in [
            (self.waiting, "images wait until their grace period is over"),
            (self.found, "layers, chains and flat roots that nothing refers to begin to wait"),
            (self.ducc_chains, "chains of DUCC were left alone (--ducc-chains removes them)"),
        ] {
            if number > 0 {
                text += &format!("; {number} {what}");
            }
        }
        text
    }
}

/// A report to which work adds while it goes on.
#[derive(Debug, Clone)]
pub(super) struct Growing(Arc<Mutex<Report>>);

impl Growing {
    /// The report as it is now. Whoever holds it keeps its reader waiting.
    pub(super) fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does blocking work that may be interrupted ([`blocking`]), and gives the report as far as it has come, and how it ended.
pub(super) async fn gather(
    report: Report,
    cancel: &CancellationToken,
    work: impl FnOnce(&Stop, &Growing) -> anyhow::Result<()> + Send + 'static,
) -> (Report, anyhow::Result<()>) {
    let unsaid = Report::new(report.dry_run);
    let (growing, stop) = (Growing(Arc::new(Mutex::new(report))), Arc::new(Stop::default()));
    let (added, held) = (growing.clone(), Arc::clone(&stop));
    let result = blocking(cancel, &stop, move || work(&held, &added)).await;
    let report = std::mem::replace(&mut *growing.lock(), unsaid);
    (report, result)
}

/// Tells the report, and hands on how it ended.
pub(super) fn finish(
    mut report: Report,
    json: bool,
    result: anyhow::Result<()>,
) -> anyhow::Result<()> {
    if json {
        report.error = result.as_ref().err().map(advice::explain);
        screen::say(serde_json::to_string(&report)?);
    } else if result.is_ok() || !report.paths.is_empty() {
        for line in report.lines() {
            screen::say(line);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_there_is_to_say() {
        let mut report = Report::new(false);
        assert_eq!(report.lines(), ["removed 0 images, 0 paths"]);
        (report.dry_run, report.bytes, report.waiting) = (true, Some(7), 2);
        report.paths = vec![layer_layout::path::remove_schedule()];
        let expected = [
            "would remove .metadata/remove-schedule.json",
            "would remove 0 images, 1 paths (7 bytes); 2 images wait until their grace period is over",
        ];
        assert_eq!(report.lines(), expected);
    }

    #[tokio::test]
    async fn what_was_done_is_told_if_the_rest_is_not_waited_for() {
        let cancel = CancellationToken::new();
        let (release, is_released) = std::sync::mpsc::channel::<()>();
        let signal = cancel.clone();
        let (report, result) = gather(Report::new(false), &cancel, move |_, report| {
            let paths = vec![layer_layout::path::remove_schedule()];
            report.lock().add(&Batch { images: Vec::new(), paths, schedule: None });
            signal.cancel();
            // As if it waited for somebody else for ever.
            let _ = is_released.recv();
            Ok(())
        })
        .await;
        drop(release);
        assert!(result.unwrap_err().to_string().contains("interrupted"));
        assert_eq!((report.paths.len(), report.changes), (1, 1));
    }
}
