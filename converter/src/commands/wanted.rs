//! Which images are wished for, from all that a command line names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ducc::removal::Wanted;
use ducc::wish::IgnoreErrors;
use ducc::wish::expand::Expander;
use ducc::wish::registry_tags::RegistryTags;
use ducc::wish::source::{PruneSources, prune_config};
use jiff::Timestamp;
use layer_layout::PublicName;

use super::expand_wildcard::read;
use super::source_options::{list_options, source_options};
use crate::cli::removal::{PruneImages, image};
use crate::screen;

/// The file with the sources, if none is named and it is there. The name is DUCC's.
const CONFIG: &str = "ducc-prune.yaml";

/// What all sources together want. A source that cannot be read is an error, because all its images would count as
/// unwanted; an entry that cannot be resolved leaves the images of its repository alone, and is told.
pub(super) async fn wanted_from(arguments: &PruneImages) -> anyhow::Result<Wanted> {
    let PruneSources { wish_lists, expanded_images } = sources(arguments)?;
    if wish_lists.is_empty() && expanded_images.is_empty() {
        bail!(
            "nothing says which images are wished for; name wish lists, --expanded-images or --config"
        );
    }
    let mut wanted = Wanted::default();
    for file in &expanded_images {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        wanted.add(Wanted::all_platforms(self::expanded_images(&text, file)?));
    }
    let options = source_options(&arguments.download, None)?;
    let tags = Arc::new(RegistryTags::new(options));
    let expander = Expander::new(tags, Timestamp::now(), IgnoreErrors::default());
    for list in &wish_lists {
        let (name, list, errors) = read(list, &list_options(&arguments.download)).await?;
        errors.iter().for_each(|error| screen::warn(format_args!("ducc: {error}")));
        let expansion = expander.expand(&name, &list).await;
        for (entry, error) in expansion.failed() {
            tracing::warn!(list = name, line = entry.line, "{}", super::advice::with_causes(error));
        }
        wanted.add(Wanted::of(&expansion));
    }
    Ok(wanted)
}

/// What the command line and the file name together.
fn sources(arguments: &PruneImages) -> anyhow::Result<PruneSources> {
    let mut sources = PruneSources {
        wish_lists: arguments.wish_lists.clone(),
        expanded_images: arguments.expanded_images.clone(),
    };
    let path = match &arguments.config {
        Some(path) => path,
        None if Path::new(CONFIG).exists() => Path::new(CONFIG),
        None => return Ok(sources),
    };
    let more = prune_config(path)?;
    tracing::info!(
        config = %path.display(),
        wish_lists = more.wish_lists.len(),
        expanded_images = more.expanded_images.len(),
        "sources of wishes"
    );
    sources.wish_lists.extend(more.wish_lists);
    sources.expanded_images.extend(more.expanded_images);
    Ok(sources)
}

/// The images in a file that `expand-wildcard` has written: the key `images`, and an image in each line below it.
fn expanded_images(text: &str, file: &Path) -> anyhow::Result<BTreeSet<PublicName>> {
    let mut names = BTreeSet::new();
    let mut begun = false;
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |reason: &str| format!("{}, line {number}: {reason}", file.display());
        match line.trim() {
            "" | "---" => {}
            comment if comment.starts_with('#') => {}
            "images:" if !begun => begun = true,
            // A list without images.
            "images: []" if !begun => begun = true,
            item if begun && item.starts_with("- ") => {
                let item = item[2..].trim().trim_matches(['"', '\'']);
                names.insert(image(item).map_err(|error| anyhow::anyhow!(wrong(&error)))?);
            }
            _ => bail!(wrong("expected `images:` and then `- IMAGE` in each line")),
        }
    }
    if !begun {
        bail!("{} has no list `images:`; nothing is pruned", file.display());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_images_are_read() {
        let read = |text: &str| {
            let names = expanded_images(text, Path::new("list.yaml"));
            names.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let good = "# by expand-wildcard\nimages:\n    - https://r.io/b:2\n    - 'r.io/a:1'\n";
        assert_eq!(read(good).unwrap(), ["r.io/a:1", "r.io/b:2"]);
        assert_eq!(read("images: []\n").unwrap(), [""; 0]);
        for (text, expected) in [
            ("", "no list"),
            ("images:\n- r.io/a:*\n", "line 2"),
            ("images:\n  nested: x\n", "line 2"),
            ("wishlists:\n- x\n", "line 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
