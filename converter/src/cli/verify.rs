//! The command line of `ducc verify`.

use clap::Args;
use ducc::repository::Locator;
use layer_layout::PublicName;

use super::removal::{Common, image};

pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0    nothing is wrong
  1    something is wrong, or could not be looked at
  2    the command line is wrong
  104  the repository does not exist";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The repository: a directory, cvmfs+file:///DIR, cvmfs+s3://BUCKET/PREFIX?endpoint=URL, or the name of one in
    /// /etc/cvmfs/repositories.d.
    pub(crate) repository: Locator,

    /// The images, as they were named when they were published, or by their paths in the repository [default: all].
    #[arg(value_name = "IMAGE", value_parser = image)]
    pub(crate) images: Vec<PublicName>,

    #[command(flatten)]
    pub(crate) common: Common,
}
