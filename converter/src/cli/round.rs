//! The command line of `ducc convert`, `ducc loop` and `ducc status`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ducc::convert::{Again, LayersAgain};
use ducc::repository::{Locator, own_directory};
use ducc::round::{Grouping, Shard};

use super::repository::AccessOptions;
use super::{DownloadOptions, LimitOptions, OutputOptions, SkipOptions, ThinFormat};

pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    everything that is wished for is in the repositories
  1    nothing could be done; the last lines on standard error say why and what to do
  2    the command line is wrong
  3    some images are missing; the last lines on standard error name each with its reason
  101  a list wants thin images, and there is no password to push them with
  102  a wish list cannot be read
  103  a wish list cannot be understood
  104  a repository does not exist
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)";

pub(crate) const LOOP_EXIT_STATUS: &str = "\
Exit status:
  1    nothing could be done; the last lines on standard error say why and what to do
  2    the command line is wrong
  102  the first round could read no wish list
  103  the first round could understand no wish list
  104  the first round found no repository
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)";

pub(crate) const STATUS_EXIT_STATUS: &str = "\
Exit status:
  0    the last rounds found everything that is wished for in the repositories
  1    nothing is known of a repository, or what is remembered cannot be read
  2    the command line is wrong
  3    images are missing, or a wish list or a repository cannot be used";

#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) round: RoundOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Loop {
    #[command(flatten)]
    pub(crate) round: RoundOptions,

    /// Seconds from the end of a round to the beginning of the next.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = super::seconds)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RoundOptions {
    /// Wish lists: a file, http(s)://URL, or git+URL//PATH[@BRANCH] with a URL of https, ssh or file.
    #[arg(required = true, value_name = "WISHLIST")]
    pub(crate) wish_lists: Vec<String>,

    /// Publish into this repository, whatever the lists say (cvmfs_repo).
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Option<Locator>,

    /// Fetch and unpack layers again, although they are there.
    #[arg(short = 'f', long)]
    pub(crate) overwrite_layers: bool,

    /// Make merged and flat roots again, although they are there.
    #[arg(short = 'g', long)]
    pub(crate) convert_again: bool,

    /// Look into the flat roots of images that are up to date, and make those again that lack files for Apptainer or are closed
    /// to other users. Costs a look into the repository for each image.
    #[arg(long)]
    pub(crate) verify_flat: bool,

    #[command(flatten)]
    pub(crate) skip: SkipOptions,

    /// Publish all platforms of each image for which the list does not name any, not only this machine's.
    #[arg(short = 'm', long)]
    pub(crate) multi_arch: bool,

    /// The form of the thin images.
    #[arg(long, value_enum, default_value_t = ThinFormat::Snapshotter)]
    pub(crate) thin_format: ThinFormat,

    /// Take part I of N of the images: 0/N to N-1/N, or pod/N on the pods of a Kubernetes StatefulSet.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,

    #[command(flatten)]
    pub(crate) work: WorkOptions,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,

    #[command(flatten)]
    pub(crate) limits: LimitOptions,

    #[command(flatten)]
    pub(crate) output: OutputOptions,

    #[command(flatten)]
    pub(crate) state: StateOptions,

    #[command(flatten, next_help_heading = "CernVM-FS repositories")]
    pub(crate) access: AccessOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How much at a time")]
pub(crate) struct WorkOptions {
    /// How many images to prepare at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    pub(crate) jobs: usize,

    /// How many images to compare with their registries at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub(crate) checks: usize,

    /// Publish so many images that are ready at once.
    #[arg(long, value_name = "N", default_value_t = Grouping::default().images, value_parser = at_least_one)]
    pub(crate) commit_images: usize,

    /// Publish an image that is ready after so many seconds at the latest.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = super::seconds)]
    pub(crate) commit_interval: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateOptions {
    /// Directory of what is remembered between rounds, which only saves work [default: /var/lib/ducc for root, else
    /// ~/.local/state/ducc].
    #[arg(long = "state", value_name = "DIR", env = "DUCC_STATE")]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Repositories as in the lists or on the command line of the rounds [default: all that are known].
    pub(crate) repositories: Vec<String>,

    #[command(flatten)]
    pub(crate) state: StateOptions,

    /// Print one JSON object to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

impl StateOptions {
    /// What was given, or `/var/lib/ducc` for root, or `$XDG_STATE_HOME/ducc` (`~/.local/state/ducc`) for others.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| {
            own_directory("/var/lib/ducc", "XDG_STATE_HOME", ".local/state", "ducc")
        })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number from 1 on".to_owned()),
    }
}

impl RoundOptions {
    /// What is made although it is there.
    pub(crate) fn again(&self) -> Again {
        let layers = if self.overwrite_layers { LayersAgain::All } else { LayersAgain::default() };
        Again {
            trees: self.convert_again || self.overwrite_layers,
            layers,
            unfit_flat: self.verify_flat,
        }
    }

    pub(crate) fn grouping(&self) -> Grouping {
        Grouping { images: self.work.commit_images, interval: self.work.commit_interval }
    }
}
