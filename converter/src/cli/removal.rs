//! The command lines of what removes images.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ducc::repository::Locator;
use ducc::wish::source::ListSource;
use jiff::Timestamp;
use layer_layout::{ImageReference, PublicName};

use super::DownloadOptions;
use super::repository::{AccessOptions, days};

pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    done, or nothing to do
  1    not done, or only partly; the last lines on standard error say why and what to do
  2    the command line is wrong
  104  the repository does not exist
  130  interrupted (SIGINT); run the same command again to go on
  143  terminated (SIGTERM), likewise";

#[derive(Debug, Args)]
pub(crate) struct GarbageCollection {
    /// The repository: a directory, cvmfs+file:///DIR, cvmfs+s3://BUCKET/PREFIX?endpoint=URL, or the name of one in
    /// /etc/cvmfs/repositories.d.
    pub(crate) repository: Locator,

    /// How long images and content stay after they have become unwanted. DUCC's default was 0, counted from when the
    /// content was published.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = days)]
    pub(crate) grace_period: Duration,

    /// Change nothing; show what would be removed and how many bytes it holds.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Also remove what DUCC has left in .chains and .dirty-chains. Only DUCC itself reads that.
    #[arg(long)]
    pub(crate) ducc_chains: bool,

    /// Then remove the objects that no retained revision refers to, as `ducc repository gc` does with its defaults.
    #[arg(long)]
    pub(crate) objects: bool,

    /// Take this as the present time, for instance to see with --dry-run what will be removed by then.
    #[arg(long, value_name = "RFC3339")]
    pub(crate) now: Option<Timestamp>,

    /// DUCC keeps there what it has found, and removes it in a second step.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) gc_db: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteImage {
    /// The repository.
    pub(crate) repository: Locator,

    /// The image, as it was named when it was published, or by its path in the repository. Of an image for several
    /// platforms, all of them.
    #[arg(value_parser = image)]
    pub(crate) image: PublicName,

    /// Change nothing; show what would be removed and how many bytes it holds.
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct PruneImages {
    /// The repository.
    pub(crate) repository: Locator,

    /// Wish lists: files, https://… or git+https://HOST/REPOSITORY//PATH[@BRANCH] (also git+ssh and git+file). What none of
    /// them wishes for becomes unwanted.
    #[arg(value_name = "WISHLIST")]
    pub(crate) wish_lists: Vec<ListSource>,

    /// A YAML file with the keys `wishlists` and `expanded_images`, each a list of what could be named here
    /// [default: ./ducc-prune.yaml, if there is one].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// A file with the key `images`, a list of images that are wished for, as `ducc expand-wildcard` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) expanded_images: Vec<PathBuf>,

    /// Change nothing; show what would become unwanted.
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What all of these commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// At the end, print a report as one JSON object to standard output, even after a failure.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten, next_help_heading = "CernVM-FS repositories")]
    pub(crate) access: AccessOptions,
}

/// An image by its reference or by its public name.
pub(crate) fn image(text: &str) -> Result<PublicName, String> {
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let reference: ImageReference = text.parse().map_err(|error| format!("{error}"))?;
    let name = match &reference {
        ImageReference::Registry(reference) => reference.public_name(),
        _ => None,
    };
    name.ok_or_else(|| format!("{text} is not the name of one published image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_in_several_ways() {
        for (text, name) in [
            ("r.io/a:1", Some("r.io/a:1")),
            ("https://r.io/a:1", Some("r.io/a:1")),
            ("http://r.io:5000/a/b:1", Some("r.io:5000/a/b:1")),
            ("r.io/a:*", None),
            ("r.io/a", None),
            ("oci:dir", None),
        ] {
            assert_eq!(image(text).ok().map(|name| name.to_string()).as_deref(), name, "{text}");
        }
    }
}
