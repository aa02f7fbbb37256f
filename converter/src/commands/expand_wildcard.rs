//! `ducc expand-wildcard`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ducc::wish::expand::{Expander, Outcome};
use ducc::wish::registry_tags::RegistryTags;
use ducc::wish::source::{ListSource, Options, Reading};
use ducc::wish::{IgnoreErrors, List, Severity, list};
use jiff::Timestamp;
use layer_layout::RegistryReference;
use serde::Serialize;

use super::advice;
use super::source_options::{list_options, source_options};
use crate::cli::wish::ExpandWildcard;
use crate::screen;

/// The report for programs (`--json`).
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The images that are known, as lists name them.
    images: Vec<String>,
    /// What is not known, and why.
    errors: Vec<String>,
}

/// Prints or writes the images.
pub(crate) async fn run(arguments: ExpandWildcard) -> anyhow::Result<()> {
    let mut report = Report::default();
    let result = expand(&arguments, &mut report).await;
    if !arguments.json {
        report.errors.iter().for_each(|error| screen::warn(format_args!("ducc: {error}")));
    }
    let result = result.and_then(|()| report.is_complete(&arguments));
    let ExpandWildcard { output, lines, json, .. } = arguments;
    if json {
        if let Err(error) = &result
            && report.errors.is_empty()
        {
            report.errors.push(advice::explain(error));
        }
        screen::say(serde_json::to_string(&report)?);
    } else if lines {
        report.images.iter().for_each(screen::say);
    } else if result.is_ok() {
        match &output {
            Some(path) => write(path, &report.images)?,
            None => screen::say_lines(yaml(&report.images)),
        }
    }
    result
}

async fn expand(arguments: &ExpandWildcard, report: &mut Report) -> anyhow::Result<()> {
    let options = source_options(&arguments.download, None)?;
    let mut lists = Vec::new();
    if let Some(image) = &arguments.image {
        let _checked: RegistryReference = image.parse()?;
        lists.push((image.clone(), single(image)?));
    }
    for source in &arguments.wishlists {
        let (name, list, errors) = read(source, &list_options(&arguments.download)).await?;
        report.errors.extend(errors);
        lists.push((name, list));
    }
    let tags = Arc::new(RegistryTags::new(options));
    let expander = Expander::new(tags, Timestamp::now(), IgnoreErrors::default());
    for (name, list) in &lists {
        for entry in expander.expand(name, list).await.entries {
            for remark in &entry.remarks {
                tracing::warn!(list = name, line = entry.line, image = entry.text, "{remark}");
            }
            match entry.outcome {
                Outcome::Images(wishes) => {
                    let images = wishes.into_iter().map(|wish| wish.reference.to_string());
                    report.images.extend(images);
                }
                Outcome::Failed(error) => {
                    let reason = advice::explain(&error.into());
                    report.errors.push(format!("{name}:{}: {reason}", entry.line));
                }
            }
        }
    }
    Ok(())
}

impl Report {
    /// Fails if it does not hold everything that was asked for.
    fn is_complete(&self, arguments: &ExpandWildcard) -> anyhow::Result<()> {
        let is_one_pattern = arguments.image.is_some() && arguments.wishlists.is_empty();
        match (self.errors.len(), &arguments.output) {
            (0, _) if self.images.is_empty() && is_one_pattern => bail!("there is no such image"),
            (0, _) => Ok(()),
            (number, Some(path)) => {
                bail!("{number} entries are not known, so {} is not written", path.display())
            }
            (number, None) if arguments.lines || arguments.json => {
                bail!("{number} entries are not known")
            }
            (number, None) => bail!(
                "{number} entries are not known, so nothing is printed; --lines shows the others"
            ),
        }
    }
}

/// A list with one entry.
fn single(image: &str) -> anyhow::Result<List> {
    // A name that has been parsed has no character that means something in quotes.
    let text = format!("input: ['{image}']\n");
    list::parse(text.as_bytes()).list.context("this is a bug in ducc, please report it")
}

/// Reads a list. Gives its name, the list, and what is wrong with entries that are not understood; tells remarks.
pub(super) async fn read(
    source: &ListSource,
    options: &Options,
) -> anyhow::Result<(String, List, Vec<String>)> {
    let Reading { list, faults, .. } = source.read(None, options).await?;
    let name = source.to_string();
    let mut errors = Vec::new();
    for fault in &faults {
        let text = format!("{name}:{fault}");
        match fault.severity {
            Severity::Remark => screen::warn(format_args!("ducc: {text}")),
            Severity::Entry | Severity::List => errors.push(text),
        }
    }
    Ok((name, list, errors))
}

/// What `prune-images --expanded-images` reads. Names of images need no quotes in YAML.
fn yaml(images: &[String]) -> String {
    match images {
        [] => "images: []\n".to_owned(),
        _ => format!("images:\n- {}\n", images.join("\n- ")),
    }
}

fn write(path: &Path, images: &[String]) -> anyhow::Result<()> {
    std::fs::write(path, yaml(images))
        .with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(file = %path.display(), count = images.len(), "images written");
    Ok(())
}
