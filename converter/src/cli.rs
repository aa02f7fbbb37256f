//! The command line.

pub(crate) mod drop_in;
pub(crate) mod global;
pub(crate) mod removal;
pub(crate) mod repository;
pub(crate) mod round;
pub(crate) mod verify;
pub(crate) mod wish;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ducc::convert::ThinForm;
use ducc::layer::Limits;
use layer_layout::{ImageReference, Platform, PublicName, RegistryReference};

use clap_complete::Shell;
use ducc::repository::Locator;
use global::GlobalOptions;
use repository::{AccessOptions, RepositoryCommand};

const EXIT_STATUS: &str = "\
Exit status:
  0    all that was asked for is in the repository (and the thin image in its registry)
  1    it is not; the last lines on standard error say why and what to do
  2    the command line is wrong
  104  the repository does not exist
  130  interrupted (SIGINT); nothing was published, unless standard error says otherwise
  143  terminated (SIGTERM), likewise";

const EXAMPLES: &str = "\
Examples:
  ducc convert-single-image registry.hub.docker.com/library/debian:12 /srv/ducc/unpacked.example.org
  ducc convert-single-image --thin-image-name registry.example.org/thin/tool:1 \\
      quay.io/org/tool:1 /srv/ducc/unpacked.example.org
  ducc repository create unpacked.example.org --storage file:///srv/cvmfs/unpacked.example.org
  ducc convert-single-image quay.io/org/tool:1 cvmfs+file:///srv/cvmfs/unpacked.example.org
  ducc convert-single-image --public-name registry.example.org/org/tool:dev \\
      docker-archive:tool.tar /srv/ducc/unpacked.example.org";

/// Publishes container images into CernVM-FS repositories.
#[derive(Debug, Parser)]
#[command(name = "ducc", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring repositories in step with wish lists.
    #[command(after_help = round::EXIT_STATUS)]
    Convert(Box<round::Convert>),

    /// Bring repositories in step with wish lists, again and again.
    ///
    /// Ends at once if the first round finds no list that it can use, or no repository; later rounds go on in any case.
    #[command(after_help = round::LOOP_EXIT_STATUS)]
    Loop(Box<round::Loop>),

    /// Show what the last rounds of `convert` or `loop` did, and which images are not mended.
    #[command(after_help = round::STATUS_EXIT_STATUS)]
    Status(round::Status),

    /// Convert one image: its layers, its merged root, its flat root and, if asked, a thin image.
    #[command(after_help = EXIT_STATUS, after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
    ConvertSingleImage(Box<ConvertSingleImage>),

    #[command(subcommand)]
    Wishlist(wish::WishlistCommand),
    CheckImageSyntax(wish::CheckImageSyntax),
    ExpandWildcard(wish::ExpandWildcard),
    DownloadManifest(wish::DownloadManifest),

    /// Remove images that have been unwanted for longer than the grace period, and what nothing refers to.
    #[command(visible_alias = "gc", after_help = removal::EXIT_STATUS)]
    GarbageCollection(removal::GarbageCollection),

    /// Remove one image at once: its names, and what only it refers to.
    #[command(after_help = removal::EXIT_STATUS)]
    DeleteImage(removal::DeleteImage),

    /// Mark images that are not wished for as unwanted; `garbage-collection` removes them after the grace period.
    #[command(after_help = removal::EXIT_STATUS)]
    PruneImages(Box<removal::PruneImages>),

    /// Check that published images are what they should be.
    #[command(after_help = verify::EXIT_STATUS)]
    Verify(Box<verify::Verify>),

    /// Create, check and maintain a CernVM-FS repository that is written natively.
    #[command(subcommand, arg_required_else_help = true)]
    Repository(RepositoryCommand),

    /// DUCC's: make a store for Podman. Not in this version; run flat roots directly.
    #[command(hide = true)]
    CreatePodmanStore(CreatePodmanStore),

    /// Print the completions for a shell, to be stored where the shell finds them.
    #[command(alias = "completion")]
    Completions {
        /// The shell.
        shell: Shell,
    },

    /// Write the manual pages of all commands.
    ManPages {
        /// An existing directory.
        directory: PathBuf,
    },

    /// Print the version.
    #[command(visible_alias = "v")]
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct CreatePodmanStore {
    /// Image, repository and directory of the store. None of them counts.
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertSingleImage {
    /// The image: [https://|http://]REGISTRY/REPOSITORY:TAG[@DIGEST], oci:DIR[:TAG], oci-archive:FILE[#TAG] or
    /// docker-archive:FILE[#TAG].
    ///
    /// There is no default registry and no default tag; for Docker Hub write
    /// registry.hub.docker.com/library/NAME:TAG.
    pub(crate) image: ImageReference,

    /// The repository: a directory that exists (PATH or dir://PATH), a CernVM-FS repository in its storage
    /// (cvmfs+file:///DIR or cvmfs+s3://BUCKET/PREFIX?endpoint=URL), or the name of one in
    /// /etc/cvmfs/repositories.d.
    pub(crate) repository: Locator,

    /// The platform to take from a multi-platform image, for instance linux/arm64 [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Publish all platforms of a multi-platform image.
    #[arg(short = 'm', long, conflicts_with = "platform")]
    pub(crate) multi_arch: bool,

    /// Publish under this name instead of the image's own.
    #[arg(long, value_name = "REGISTRY/REPOSITORY:TAG")]
    pub(crate) public_name: Option<PublicName>,

    /// What the repository is called on the nodes, for thin images [default: the last component of its
    /// path].
    #[arg(long, value_name = "FQRN")]
    pub(crate) repository_name: Option<String>,

    #[command(flatten)]
    pub(crate) skip: SkipOptions,

    /// If the image is up to date, look into its flat root, and make it again if it lacks files for Apptainer or is closed to
    /// other users.
    #[arg(long)]
    pub(crate) verify_flat: bool,

    #[command(flatten)]
    pub(crate) thin: ThinOptions,

    #[command(flatten)]
    pub(crate) download: DownloadOptions,

    #[command(flatten)]
    pub(crate) limits: LimitOptions,

    #[command(flatten)]
    pub(crate) output: OutputOptions,

    #[command(flatten, next_help_heading = "CernVM-FS repositories")]
    pub(crate) access: AccessOptions,

    /// Split trees into nested catalogs of at most about this many entries [default: see docs/converter.md].
    #[arg(long, value_name = "N", help_heading = "CernVM-FS repositories", value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) catalog_entries: Option<u32>,
}

/// What is not to be made of images.
#[derive(Debug, Args)]
pub(crate) struct SkipOptions {
    /// Make no flat root file systems and no public paths (for Apptainer and Singularity).
    #[arg(short = 's', long)]
    pub(crate) skip_flat: bool,

    /// Push no thin images, whatever lists or other options say.
    #[arg(short = 'i', long)]
    pub(crate) skip_thin_image: bool,

    /// DUCC then makes no layers, and neither thin images nor Podman stores, which need them. Here everything consists of
    /// layers, so they are always made.
    #[arg(short = 'd', long, hide = true)]
    pub(crate) skip_layers: bool,

    /// No Podman store is made in any case.
    #[arg(short = 'p', long, hide = true)]
    pub(crate) skip_podman: bool,
}

impl SkipOptions {
    /// Whether thin images are wanted if something names them.
    pub(crate) fn allows_thin(&self) -> bool {
        !self.skip_thin_image && !self.skip_layers
    }

    /// Says which options mean less than with DUCC.
    pub(crate) fn warn(&self) {
        if self.skip_layers {
            tracing::warn!(
                "--skip-layers: no thin image is pushed, but layers are made, because everything consists of them"
            );
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Thin image")]
pub(crate) struct ThinOptions {
    /// Push a thin image: a manifest of a few KB whose layers nodes find in the repository.
    #[arg(long, value_name = "REGISTRY/REPOSITORY:TAG")]
    pub(crate) thin_image_name: Option<ThinName>,

    /// The form of the thin image.
    #[arg(long, value_enum, default_value_t = ThinFormat::Snapshotter, requires = "thin_image_name")]
    pub(crate) thin_format: ThinFormat,

    /// User name for pushing; the password comes from DUCC_OUTPUT_REGISTRY_PASS [default: as in Docker's
    /// and Podman's auth files].
    #[arg(short = 'u', long, value_name = "USER")]
    pub(crate) username: Option<String>,
}

/// The name of a thin image; an empty one, which is DUCC's default, is none.
#[derive(Debug, Clone)]
pub(crate) struct ThinName(pub(crate) Option<RegistryReference>);

impl FromStr for ThinName {
    type Err = layer_layout::Error;

    fn from_str(text: &str) -> Result<Self, layer_layout::Error> {
        Ok(Self(if text.is_empty() { None } else { Some(text.parse()?) }))
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ThinFormat {
    /// For nodes with cvmfs-snapshotter: one placeholder for each layer, the original configuration.
    Snapshotter,
    /// DUCC's: one layer whose thin.json lists all.
    Graphdriver,
}

impl From<ThinFormat> for ThinForm {
    fn from(format: ThinFormat) -> Self {
        match format {
            ThinFormat::Snapshotter => Self::Snapshotter,
            ThinFormat::Graphdriver => Self::GraphDriver,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Download")]
pub(crate) struct DownloadOptions {
    /// How many layers to fetch at a time, of all images together; 0 means all at once.
    #[arg(long, value_name = "N", env = "DUCC_MAX_CONCURRENT_DOWNLOADS", default_value_t = 3)]
    pub(crate) max_concurrent_downloads: usize,

    /// How many requests one registry gets at a time; 0 means no limit.
    #[arg(long, value_name = "N", env = "DUCC_MAX_REQUESTS_PER_REGISTRY", default_value_t = 8)]
    pub(crate) max_requests_per_registry: usize,

    /// Where mirrors and other places for images are configured [default: $CONTAINERS_REGISTRIES_CONF, or
    /// /etc/containers/registries.conf and registries.conf.d].
    #[arg(long, value_name = "FILE")]
    pub(crate) registries_conf: Option<PathBuf>,

    /// Accept only images signed with this cosign key, a public key in PEM; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature_key: Vec<PathBuf>,

    /// How often to try a download before giving up.
    #[arg(short = 'r', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,

    /// Give up a connection that has delivered nothing for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) stall_timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits for each layer")]
pub(crate) struct LimitOptions {
    /// Entries in its tar.
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    pub(crate) max_entries: u64,

    /// Size of a single file.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().file_size)]
    pub(crate) max_file_size: u64,

    /// Size of the uncompressed tar.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unpacked_size)]
    pub(crate) max_unpacked_size: u64,

    /// Components of a path.
    #[arg(long, value_name = "N", default_value_t = Limits::default().path_depth)]
    pub(crate) max_path_depth: usize,
}

impl LimitOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            entries: self.max_entries,
            file_size: self.max_file_size,
            unpacked_size: self.max_unpacked_size,
            path_depth: self.max_path_depth,
            ..Limits::default()
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// At the end, print a report as one JSON object to standard output, even after a failure.
    #[arg(long)]
    pub(crate) json: bool,

    /// Show errors only.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
