//! The command line of `ducc verify`.

use clap::Args;
use ducc::repository::Locator;
use layer_layout::PublicName;

use super::removal::{Common, image};
use super::{DownloadOptions, LimitOptions};

pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    nothing is wrong, or all of it was mended (--repair)
  1    something is wrong, or could not be compared with its registry, read or mended
  2    the command line is wrong
  104  the repository does not exist
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The repository: a directory, cvmfs+file:///DIR, cvmfs+s3://BUCKET/PREFIX?endpoint=URL, or the name of one in
    /// /etc/cvmfs/repositories.d.
    pub(crate) repository: Locator,

    /// The images, as they were named when they were published, or by their paths in the repository [default: all].
    #[arg(value_name = "IMAGE", value_parser = image)]
    pub(crate) images: Vec<PublicName>,

    /// Ask no registry: look only at whether what is published fits together.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) offline: bool,

    /// Compare the content of all files, too. The layers are fetched, each once, and every file of the published ones is
    /// compared with them: type, mode, owner, size, content, targets, extended attributes. In a CernVM-FS repository
    /// every object is read and its hash compared; with --offline that alone.
    #[arg(long)]
    pub(crate) data: bool,

    /// Publish again what is wrong, from the registries. Layers are fetched again only where they are wrong
    /// themselves.
    #[arg(long)]
    pub(crate) repair: bool,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,

    #[command(flatten)]
    pub(crate) limits: LimitOptions,

    #[command(flatten)]
    pub(crate) common: Common,
}
