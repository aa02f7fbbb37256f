//! `ducc expand-wildcard`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ducc::source::Source;
use ducc::wish::expand::{Expander, Outcome};
use ducc::wish::registry_tags::RegistryTags;
use ducc::wish::source::{ListSource, Options, Reading};
use ducc::wish::{IgnoreErrors, List, Severity, list};
use jiff::Timestamp;
use layer_layout::{ImageReference, RegistryReference};

use super::advice;
use super::source_options::{list_options, source_options};
use crate::cli::wish::ExpandWildcard;

/// Prints or writes the images.
pub(crate) async fn run(arguments: ExpandWildcard) -> anyhow::Result<()> {
    let options = source_options(&arguments.download, None)?;
    let mut lists = Vec::new();
    let mut unknown = 0;
    if let Some(image) = &arguments.image {
        let reference: RegistryReference = image.parse()?;
        if !reference.is_wildcard() {
            let source = Source::open(&ImageReference::Registry(reference), &options).await?;
            source.resolve(None).await?;
            return Ok(());
        }
        lists.push((image.clone(), single(image)?));
    }
    for list in &arguments.wishlists {
        let (list, faults) = read(list, &list_options(&arguments.download)).await?;
        lists.push(list);
        unknown += faults;
    }
    let tags = Arc::new(RegistryTags::new(options));
    let expander = Expander::new(tags, Timestamp::now(), IgnoreErrors::default());
    let mut images = Vec::new();
    for (name, list) in &lists {
        for entry in expander.expand(name, list).await.entries {
            for remark in &entry.remarks {
                tracing::warn!(list = name, line = entry.line, image = entry.text, "{remark}");
            }
            match entry.outcome {
                Outcome::Images(wishes) => {
                    images.extend(wishes.into_iter().map(|wish| wish.reference.to_string()));
                }
                Outcome::Failed(error) => {
                    unknown += 1;
                    eprintln!("ducc: {name}:{}: {}", entry.line, advice::explain(&error.into()));
                }
            }
        }
    }
    match &arguments.output {
        Some(path) if unknown == 0 => write(path, &images)?,
        Some(_) => {}
        None => images.iter().for_each(|image| println!("{image}")),
    }
    match (unknown, &arguments.output) {
        (0, _) if images.is_empty() && arguments.image.is_some() => bail!("there is no such image"),
        (0, _) => Ok(()),
        (_, Some(path)) => {
            bail!("{unknown} entries are not known, so {} is not written", path.display())
        }
        (_, None) => bail!("{unknown} entries are not known"),
    }
}

/// A list with one pattern.
fn single(image: &str) -> anyhow::Result<List> {
    // A name that has been parsed has no character that means something in quotes.
    let text = format!("input: ['{image}']\n");
    list::parse(text.as_bytes()).list.context("this is a bug in ducc, please report it")
}

/// Reads a list, and tells how many of its entries are not understood.
pub(super) async fn read(
    source: &ListSource,
    options: &Options,
) -> anyhow::Result<((String, List), usize)> {
    let Reading { list, faults, .. } = source.read(None, options).await?;
    let name = source.to_string();
    for fault in &faults {
        eprintln!("ducc: {name}:{fault}");
    }
    let bad = faults.iter().filter(|fault| fault.severity > Severity::Remark).count();
    Ok(((name, list), bad))
}

/// Writes the file that `prune-images --expanded-images` reads. Names of images need no quotes in YAML.
fn write(path: &Path, images: &[String]) -> anyhow::Result<()> {
    let text = match images {
        [] => "images: []\n".to_owned(),
        _ => format!("images:\n- {}\n", images.join("\n- ")),
    };
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(file = %path.display(), count = images.len(), "images written");
    Ok(())
}
