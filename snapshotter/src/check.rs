//! `cvmfs-snapshotter check`: which snapshots cannot be mounted, and why.
//!
//! It only reads, beside the daemon or without one, and asks repositories as the daemon does: with a deadline, through
//! processes that may get stuck in its place.

use layer_layout::text::one_line;
use serde::Serialize;

use crate::config::Config;
use crate::directories::Directories;
use crate::error::{Error, Result};
use crate::repository::Repositories;
use crate::snapshot::Record;
use crate::store::Store;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many snapshots there are.
    pub snapshots: usize,
    /// How many of them have their content in a repository.
    pub remote: usize,
    /// Those that cannot be mounted, in byte order of their names.
    pub broken: Vec<Broken>,
}

/// A snapshot that cannot be mounted.
#[derive(Debug, Serialize)]
pub struct Broken {
    /// Its key or name.
    pub name: String,
    /// Its number, which names its directory.
    pub id: i64,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Report {
    /// What people are told, one line for each broken snapshot and one for all.
    pub fn lines(&self) -> Vec<String> {
        let broken = self.broken.iter().map(|broken| {
            format!("{} ({}): {}", one_line(&broken.name), broken.id, one_line(&broken.problem))
        });
        let Self { snapshots, remote, .. } = self;
        let all = format!(
            "{snapshots} snapshots, {remote} of them in repositories: {} cannot be mounted",
            self.broken.len()
        );
        broken.chain([all]).collect()
    }
}

/// Looks at every snapshot of the configured root directory.
///
/// # Errors
/// If there are no records, or they cannot be read.
pub async fn check(config: &Config) -> anyhow::Result<Report> {
    let directories = Directories::unlocked(&config.root);
    let store = Store::open_existing(&directories.database())?;
    let repositories = Repositories::new(config, &Repositories::default());
    let mut records = store.records()?;
    records.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    let mut report = Report { snapshots: records.len(), remote: 0, broken: Vec::new() };
    for record in records {
        report.remote += usize::from(record.remote.is_some());
        if let Err(error) = look(&directories, &repositories, &record).await {
            // It may have been removed since the records were read.
            if store.confirm(&record.info.name, record.id).is_ok() {
                let (name, id) = (record.info.name, record.id.0);
                report.broken.push(Broken { name, id, problem: error.to_string() });
            }
        }
    }
    Ok(report)
}

async fn look(
    directories: &Directories,
    repositories: &Repositories,
    record: &Record,
) -> Result<()> {
    directories.check_whole(record.id, record.remote.is_some())?;
    let Some(remote) = &record.remote else { return Ok(()) };
    let merged = remote.rootfs.as_ref().map(|_| (remote, true));
    let needed = [(remote, false)].into_iter().chain(merged);
    repositories.check(needed).await.map_err(Error::from)
}
