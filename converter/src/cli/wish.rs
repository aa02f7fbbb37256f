//! The command lines of what is about wish lists and names of images only.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ducc::wish::source::ListSource;
use layer_layout::Platform;

use super::DownloadOptions;

/// Check wish lists.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum WishlistCommand {
    /// Say what is wrong with wish lists, each fault with its line and column.
    ///
    /// Exit status: 0 all lists are sound, remarks aside; 1 some are not, or cannot be read.
    Check(CheckWishlist),
}

#[derive(Debug, Args)]
pub(crate) struct CheckWishlist {
    /// The lists: files, https://… or git+https://HOST/REPOSITORY//PATH[@BRANCH] (also git+ssh and git+file).
    #[arg(required = true, value_name = "LIST")]
    pub(crate) lists: Vec<ListSource>,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what the parts of an image's name are.
///
/// Exit status: 0 it is the name of an image, or a pattern for several; 1 it is not.
#[derive(Debug, Args)]
#[command(visible_aliases = ["check-image", "image-check"])]
pub(crate) struct CheckImageSyntax {
    /// The name: [https://|http://]REGISTRY/REPOSITORY:TAG[@DIGEST]. Only the first one counts.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,

    /// Print two lines of comma-separated values instead of a table.
    #[arg(short = 'z', long)]
    pub(crate) machine_friendly: bool,

    /// Print one JSON object instead of a table, even after a failure.
    #[arg(long, conflicts_with = "machine_friendly")]
    pub(crate) json: bool,
}

/// List the images that a pattern, or a whole wish list, stands for now, as YAML with the key `images`.
///
/// An image that is no pattern stands for itself, whether it is there or not.
///
/// Exit status: 0 all images are known; 1 some are not, because a registry did not answer or a list is not sound. Then
/// no YAML is printed, and no file is written: whoever reads it would take it for all. --lines and --json show those that
/// are known.
#[derive(Debug, Args)]
pub(crate) struct ExpandWildcard {
    /// The image or pattern.
    #[arg(required_unless_present = "wishlists")]
    pub(crate) image: Option<String>,

    /// A wish list; can be given several times.
    #[arg(short = 'w', long = "wishlist", value_name = "LIST")]
    pub(crate) wishlists: Vec<ListSource>,

    /// Write the YAML to this file, which `prune-images --expanded-images` reads, instead of printing it.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Print one image in each line.
    #[arg(long, conflicts_with = "output")]
    pub(crate) lines: bool,

    /// Print one JSON object, even after a failure.
    #[arg(long, conflicts_with_all = ["output", "lines"])]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,
}

/// Print the manifest of an image, as DUCC spells it.
///
/// Exit status: 0 it is printed; 1 it cannot be fetched, or the name is not that of one image.
#[derive(Debug, Args)]
#[command(visible_alias = "get-manifest")]
pub(crate) struct DownloadManifest {
    /// The image: [https://|http://]REGISTRY/REPOSITORY:TAG[@DIGEST]. Only the first one counts.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,

    /// User name for the registry; the password comes from DUCC_OUTPUT_REGISTRY_PASS [default: as in
    /// DUCC_AUTH_REGISTRIES, Docker's and Podman's auth files].
    #[arg(short = 'u', long, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) username: String,

    /// The platform to take from a multi-platform image, for instance linux/arm64 [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,
}
